"""The slow, literal interventions: what exact means here. They stay as oracles for anything faster.

An edge is patched by a forward pass on the base prompts in which one input reads, instead of what one sender writes
there, what it writes on the donor prompts; everything behind the input is computed anew, norms included (Wang et al.
2022, arXiv 2211.00593, section 3.1; Goldowsky-Dill et al. 2023, arXiv 2304.05969).
"""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from ..circuits import ComputationGraph, Edge, Node
from ..tasks import PromptPairs
from .hooks import Change, Residual, graph_of, input_hook, logits_at, output_hooks, recorder


def sender_outputs(
    model: HookedTransformer, graph: ComputationGraph, tokens: Int[Tensor, "query pos"]
) -> tuple[dict[Node, Residual], Float[Tensor, "query d_vocab"]]:
    """What every sender adds to the residual stream on plain prompts, and the logits at the answer position."""
    outputs: dict[Node, Residual] = {}
    logits = logits_at(model, tokens, graph.roles.index(graph.answer_role), recorder(model, graph, outputs))
    return outputs, logits


def patch_edge(
    model: HookedTransformer,
    graph: ComputationGraph,
    base_tokens: Int[Tensor, "query pos"],
    edge: Edge,
    difference: Residual,
) -> Float[Tensor, "query d_vocab"]:
    """The logits on the base prompts when one input reads one sender's donor output.

    Args:
        model: stays as it is.
        graph: the model's graph.
        base_tokens: the prompts that are run.
        edge: which input, and which sender.
        difference: the sender's output on the donor prompts minus that on the base prompts.
    """
    hook = input_hook(graph, edge.receiver, lambda reads: reads + difference)
    return logits_at(model, base_tokens, graph.roles.index(graph.answer_role), [hook])


def patch_node(
    model: HookedTransformer,
    graph: ComputationGraph,
    base_tokens: Int[Tensor, "query pos"],
    node: Node,
    difference: Residual,
) -> Float[Tensor, "query d_vocab"]:
    """The logits on the base prompts when all readers of a node see its donor output."""
    hooks = output_hooks(graph, node, difference)
    return logits_at(model, base_tokens, graph.roles.index(graph.answer_role), hooks)


def run_with_edges(
    model: HookedTransformer,
    pairs: PromptPairs,
    edges: Iterable[Edge | str],
    *,
    background: Mapping[Node, Residual] | None = None,
) -> Float[Tensor, "query d_vocab"]:
    """The oracle of `edge_sets.run_with_edges`, which says what it does: one hooked run, every input by itself.

    The background, what closed edges carry, can be other outputs than those on the corrupt prompts.
    """
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    intact = check_edges(graph, edges, graph.edges)
    corrupt = sender_outputs(model, graph, pairs.corrupt)[0] if background is None else background
    live: dict[Node, Residual] = {}
    hooks = recorder(model, graph, live)
    for receiver in graph.receivers:
        cut = [sender for sender in graph.senders_into(receiver) if Edge(sender, receiver) not in intact]
        hooks.append(input_hook(graph, receiver, _swapping(cut, live, corrupt)))
    return logits_at(model, pairs.clean, pairs.answer_position, hooks)


def check_edges(graph: ComputationGraph, edges: Iterable[Edge | str], possible: Iterable[Edge]) -> set[Edge]:
    """The edges as a set, parsed if need be; ones that are not possible are an error that names them."""
    parsed = {Edge.parse(edge) if isinstance(edge, str) else edge for edge in edges}
    if unknown := sorted(map(str, parsed - set(possible))):
        raise KeyError(
            f"{len(unknown)} edges are not in the graph of {graph.n_layers} layers, {graph.n_heads} heads and roles "
            f"{', '.join(graph.roles)}: {'; '.join(unknown[:5])}"
        )
    return parsed


def _swapping(cut: list[Node], live: Mapping[Node, Residual], corrupt: Mapping[Node, Residual]) -> Change:
    """A change of what an input reads: the cut senders' corrupt outputs instead of their live ones."""

    def change(reads: Residual) -> Residual:
        return reads + sum((corrupt[sender] - live[sender] for sender in cut), start=torch.zeros_like(reads))

    return change
