"""Where prompts, nodes, edges and paths of a graph stand in the tensors of a run, and the types of these. Needs no model."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Edge, Node
from ...circuits.roles import ALL_POSITIONS

Sublayer = tuple[str, int]
"""Nodes computed together: ("embed", −1), a layer's heads ("head", L), its MLP ("mlp", L), ("logits", n_layers)."""
Differences = Mapping[Node, Float[Tensor, "query pos d_model"]]
"""By component (a node without its role): what it writes on the donor prompts minus what it writes on the base prompts."""
Gradients = Mapping[Sublayer, Float[Tensor, "query pos input d_model"]]
"""By sublayer: of what each of its inputs reads, in the order of `input_place`."""
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


def order_of(node: Node) -> int:
    """When a node is computed: attention of layer L at 2L, its MLP at 2L + 1, the embedding first, the logits last."""
    if node.kind == "logits":
        return 10**9
    return -1 if node.kind == "embed" else 2 * node.layer + (node.kind == "mlp")


def n_senders(graph: ComputationGraph) -> int:
    """How many nodes write at each position."""
    return 1 + graph.n_layers * (graph.n_heads + graph.has_mlp)


def sender_place(graph: ComputationGraph, node: Node) -> int:
    """A sender's place among those at its position, in the order in which they write."""
    if node.kind == "embed":
        return 0
    before = 1 + node.layer * (graph.n_heads + graph.has_mlp)
    return before + (graph.n_heads if node.kind == "mlp" else node.head)


def input_place(graph: ComputationGraph, receiver: Node) -> int:
    """An input's place among those of its sublayer: all heads' queries, then keys, then values."""
    if receiver.kind != "head":
        return 0
    before = {"q": 0, "k": graph.n_heads, "v": graph.n_heads + graph.n_key_value_heads}
    return before[receiver.input] + receiver.head


def n_inputs_of(graph: ComputationGraph, sublayer: Sublayer) -> int:
    """How many inputs a sublayer has at each position."""
    return graph.n_heads + 2 * graph.n_key_value_heads if sublayer[0] == "head" else 1


def check_edges(graph: ComputationGraph, edges: Iterable[Edge | str], possible: Iterable[Edge]) -> set[Edge]:
    """The edges as a set, parsed from their names where needed.

    Raises:
        KeyError: if some are not among the possible ones; it names them.
    """
    parsed = {Edge.parse(edge) if isinstance(edge, str) else edge for edge in edges}
    if unknown := sorted(map(str, parsed - set(possible))):
        raise KeyError(
            f"{len(unknown)} edges are not in the graph of {graph.n_layers} layers, {graph.n_heads} heads and roles "
            f"{', '.join(graph.roles)}: {'; '.join(unknown[:5])}"
        )
    return parsed


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
    problems = [f"{node} is no node that can matter" for node in through if node not in senders]
    for sender, receiver in ends:
        if sender not in senders:
            problems.append(f"{sender} is no sender that can matter")
        if receiver not in receivers:
            problems.append(f"{receiver} is no input that can matter")
        if order_of(sender) >= order_of(receiver):
            problems.append(f"{sender} -> {receiver} goes backwards")
    if problems:
        raise ValueError("these are no paths: " + "; ".join(problems[:5]))
