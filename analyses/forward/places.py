"""Where prompts, nodes, edges and paths of a graph stand in the tensors of a run, and the types of these. Needs no model."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Edge, Node
from ...circuits.kinds import KINDS
from ...circuits.roles import ALL_POSITIONS
from ...circuits.step import indices_of

Sublayer = tuple[str, int]
"""Nodes computed together: ("embed", −1), a layer's heads ("head", L), its MLP ("mlp", L), ("logits", n_layers);
other kinds alike."""
Differences = Mapping[Node, Float[Tensor, "query pos d_model"]]
"""By component (a node without its role): what it writes on the donor prompts minus what it writes on the base prompts."""
Gradients = Mapping[Sublayer, Float[Tensor, "query pos *sender input d_model"]]
"""By sublayer: by what each of its inputs reads, in the order of `input_place`. Where reading is no sum, by what each sender
writes, in the order of `sender_place`, through this input alone."""
Gathered = Mapping[int, Float[Tensor, "query pos head d_head"]]
"""By layer: gradients by what each head gathers, before the output matrix."""
Logits = Iterator[tuple[list[int], Float[Tensor, "target query d_vocab"]]]
"""Indices into a list of targets, and the logits with each of these targets patched by itself."""
OpenEdges = Bool[Tensor, "set edge"]
"""Which of a graph's edges, in their order, are open in each set."""
Objective = Callable[[Tensor], Tensor]
"""Logits [query, d_vocab] at the answer position to one number for each query."""


def rows_of(prompts: Sequence[Int[Tensor, "_ pos"]]) -> list[slice]:
    """Which rows each of several sets of prompts has in a run of all of them."""
    ends = accumulate(map(len, prompts))
    return [slice(end - len(each), end) for each, end in zip(prompts, ends, strict=True)]


def component(node: Node) -> Node:
    """The node without position and input."""
    return node._replace(role="", input="")


def sublayer_of(graph: ComputationGraph, node: Node) -> Sublayer:
    """The sublayer that a node is part of."""
    return node.kind, graph.n_layers if node.kind == "logits" else node.layer


def is_after(graph: ComputationGraph, reader: Sublayer, sender: Sublayer) -> bool:
    """Whether a sublayer is computed after another one."""
    return graph.number_of(first_of(reader)) > graph.number_of(first_of(sender))


def first_of(sublayer: Sublayer) -> Node:
    """The first component of a sublayer."""
    kind, layer = sublayer
    return Node(kind, "", -1 if kind == "logits" else layer, 0 if KINDS[kind].is_numbered else -1)


def n_senders(graph: ComputationGraph) -> int:
    """How many nodes write at each position."""
    return graph.n_writing_before[-1]


def sender_place(graph: ComputationGraph, node: Node) -> int:
    """A sender's place among those at its position, in the order in which they write."""
    return graph.n_writing_before[graph.number_of(node)] + max(node.index, 0)


def input_place(graph: ComputationGraph, receiver: Node) -> int:
    """An input's place among those of its sublayer: of heads all queries, then keys, then values."""
    if not receiver.input:
        return max(receiver.index, 0)
    step, before = graph.steps[graph.number_of(receiver)], 0
    for entered in KINDS[step.kind].inputs:
        if entered.name == receiver.input:
            break
        before += len(indices_of(step, entered))
    return before + receiver.index


def n_inputs_of(graph: ComputationGraph, sublayer: Sublayer) -> int:
    """How many inputs a sublayer has at each position."""
    step = graph.steps[graph.number_of(first_of(sublayer))]
    return sum(len(indices_of(step, entered)) for entered in KINDS[step.kind].inputs)


def through(
    gradient: Float[Tensor, "query pos *sender input d_model"], place: int
) -> Float[Tensor, "query pos input d_model"]:
    """Of `Gradients` into a sublayer, those by what the sender at some place writes."""
    return gradient if gradient.ndim == 4 else gradient[:, :, place]


def alike(columns: Sequence[Int[Tensor, " _"]], open_edges: OpenEdges) -> Int[Tensor, " set"]:
    """Sets of edges in an order in which neighbours are likely to have in common what is computed first.

    Args:
        columns: the numbers of the edges into what is computed together, in the order of computation.
        open_edges: see `OpenEdges`.
    """
    into = (open_edges[:, each] for each in columns)  # one after the other, to save memory
    differs = torch.stack([(each != each[:1]).any(1) for each in into], 1)
    return torch.where(differs.any(1), differs.int().argmax(1), len(columns)).argsort(stable=True)


def check_edges(graph: ComputationGraph, edges: Iterable[Edge | str], possible: Iterable[Edge]) -> set[Edge]:
    """The edges as a set, parsed from their names where needed.

    Raises:
        KeyError: if some are not among the possible ones; it names them.
    """
    parsed = {Edge.parse(edge) if isinstance(edge, str) else edge for edge in edges}
    if unknown := sorted(map(str, parsed - set(possible))):
        raise KeyError(
            f"{len(unknown)} edges are not in the graph of {_sizes(graph)} and roles {', '.join(graph.roles)}: "
            f"{'; '.join(unknown[:5])}"
        )
    return parsed


def _sizes(graph: ComputationGraph) -> str:
    return f"{graph.n_layers} layers" + (f", {graph.n_heads} heads" if graph.is_transformer else "")


def at_all_positions(graph: ComputationGraph, edges: Iterable[Edge | str]) -> list[Edge | str]:
    """Edges, with those of `graph.together`, or without positions, at every position where the graph has them."""
    found: list[Edge | str] = []
    for each in edges:
        edge = Edge.parse(each) if isinstance(each, str) else each
        stands_for_all = edge.receiver.role in ("", ALL_POSITIONS) and edge.receiver.role not in graph.roles
        found += _positions_of(graph).get(without_positions(edge), [edge]) if stands_for_all else [edge]
    return found


def without_positions(edge: Edge) -> Edge:
    """The edge between components."""
    return Edge(edge.sender._replace(role=""), edge.receiver._replace(role=""))


def asked_as(graph: ComputationGraph, edges: Sequence[Edge]) -> dict[str, Any]:
    """The arguments by which `path_patch` is asked for edges of a graph, whether it tells positions apart or not."""
    if graph.is_together:
        return {"edges": list(map(without_positions, edges)), "positions": "together"}
    return {"edges": edges, "positions": "separate"}


@lru_cache(maxsize=8)
def _positions_of(graph: ComputationGraph) -> Mapping[Edge, list[Edge]]:
    found: dict[Edge, list[Edge]] = {}
    for edge in graph.edges:
        found.setdefault(without_positions(edge), []).append(edge)
    return found


def open_edges_of(graph: ComputationGraph, edge_sets: Sequence[Collection[Edge]]) -> OpenEdges:
    """Sets of a graph's edges as rows of truth values."""
    place = _place_of(graph)
    found = torch.zeros(len(edge_sets), len(graph.edges), dtype=torch.bool, device="cpu")
    for row, edges in zip(found, edge_sets, strict=True):
        row[[place[edge] for edge in edges]] = True
    return found


@lru_cache(maxsize=8)
def _place_of(graph: ComputationGraph) -> Mapping[Edge, int]:
    return {edge: number for number, edge in enumerate(graph.edges)}


def check_paths(graph: ComputationGraph, ends: Collection[Edge], through: Collection[Node]) -> None:
    """Raise unless all nodes exist and every path goes forward; all problems are named."""
    senders, receivers = set(graph.senders), set(graph.receivers)
    known = {node._replace(role="") for node in senders | receivers}
    problems = [f"{node} is no node that can matter" for node in through if node not in senders]
    for sender, receiver in ends:
        if sender not in senders:
            problems.append(f"{sender} is no sender that can matter")
        if receiver not in receivers:
            problems.append(f"{receiver} is no input that can matter")
        both = {sender._replace(role=""), receiver._replace(role="")} <= known
        if both and graph.number_of(sender) >= graph.number_of(receiver):
            problems.append(f"{sender} -> {receiver} goes backwards")
    if problems:
        raise ValueError("these are no paths: " + "; ".join(problems[:5]))
