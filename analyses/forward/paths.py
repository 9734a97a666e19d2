"""Longer paths: from a sender through given nodes to a receiver, everything else frozen.

The receiver reads the sender's donor output and what that makes of the nodes in between; these read nothing else that has
changed, and nothing else changes before the receiver (Wang et al. 2022, arXiv 2211.00593, section 3.1 and appendix B,
where the nodes in between are the MLPs). Everything after the receiver is recomputed.
"""

from collections.abc import Collection, Sequence
from itertools import groupby

from ...circuits import ComputationGraph, Edge, Node
from .cached import CachedRun
from .edge_sets import logits_with_edges
from .places import Differences, Logits, component, open_edges_of


def path_logits(
    run: CachedRun, ends: Sequence[Edge], differences: Differences, through: Collection[Node], *, n_paths: int
) -> Logits:
    """The logits with each path patched by itself.

    Args:
        run: the base prompts.
        ends: sender and receiver of each path, at any positions.
        differences: what senders write on the donor prompts minus what they write on the base prompts.
        through: the nodes in between, the same for all paths; a path ignores those that do not lie between its ends.
        n_paths: patched at once.

    Raises:
        ValueError: if several of the nodes in between are heads of one layer that share a norm.
    """
    coupled = not all(layer.norm_after is None and layer.attention.heads_apart for layer in run.decoder.layers)
    layers = [node.layer for node in {node._replace(role="") for node in through} if node.kind == "head"]
    if coupled and len(set(layers)) < len(layers):
        raise ValueError(
            "several heads of one layer share a norm, so what one writes depends on the others; paths through more than one "
            "of them are patched with engine='hooks', each with the others unchanged"
        )
    for sender, places in groupby(sorted(range(len(ends)), key=lambda i: ends[i].sender), lambda i: ends[i].sender):
        group = list(places)
        change = differences[component(sender)][:, run.graph.roles.index(sender.role)]
        for start in range(0, len(group), n_paths):
            some = group[start : start + n_paths]
            open_edges = open_edges_of(run.graph, [path_edges(run.graph, ends[i], through, coupled=coupled) for i in some])
            for rows, logits in logits_with_edges(run, open_edges, {sender: change}, n_sets=n_paths):
                yield [some[row] for row in rows], logits


def path_edges(graph: ComputationGraph, ends: Edge, through: Collection[Node], *, coupled: bool = False) -> set[Edge]:
    """The edges that carry changes: those along the path, and all that leave what comes after the receiver.

    Args:
        graph: the model's graph.
        ends: sender and receiver.
        through: see `path_logits`.
        coupled: whether what a head writes depends on the other heads of its layer, as under a norm of their sum.
    """
    sender, receiver = ends
    order = graph.number_of
    writers = {sender} | {node for node in through if order(sender) < order(node) < order(receiver)}
    between = writers - {sender}
    found = set()
    for edge in graph.edges:
        read_by = set(graph.outputs_of(edge.receiver)) & between
        on_path = edge.sender in writers and (read_by or edge.receiver == receiver)
        if on_path or _follows(graph, edge.sender, receiver, coupled):
            found.add(edge)
    return found


def _follows(graph: ComputationGraph, node: Node, receiver: Node, coupled: bool) -> bool:
    """Whether a node is what a receiver feeds, or comes later."""
    if coupled and receiver.kind == node.kind == "head" and node.layer == receiver.layer:
        return True
    return node in graph.outputs_of(receiver) or graph.number_of(node) > graph.number_of(receiver)
