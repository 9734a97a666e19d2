"""Longer paths: from a sender through given nodes to a receiver, everything else frozen.

The receiver reads the sender's donor output and what that makes of the nodes in between; these read nothing else that is
changed, and nothing else is changed before the receiver (Wang et al. 2022, arXiv 2211.00593, section 3.1 and appendix B,
where the nodes in between are the MLPs). Behind the receiver everything is computed anew.
"""

from collections.abc import Collection, Sequence
from itertools import groupby

from ...circuits import ComputationGraph, Edge, Node
from .cached import CachedRun
from .edge_sets import logits_with_edges
from .single import Differences, Logits, component


def path_logits(
    run: CachedRun, ends: Sequence[Edge], differences: Differences, through: Collection[Node], *, max_batch: int
) -> Logits:
    """The logits with each path patched by itself.

    Args:
        run: the base prompts.
        ends: sender and receiver of each path, at whatever positions.
        differences: what senders write on the donor prompts minus what they write on the base prompts.
        through: the nodes in between, the same for all paths; those that do not lie between its ends leave a path alone.
        max_batch: prompts run at once.
    """
    for sender, places in groupby(sorted(range(len(ends)), key=lambda i: ends[i].sender), lambda i: ends[i].sender):
        group = list(places)
        change = differences[component(sender)][:, run.graph.roles.index(sender.role)]
        open_edges = [path_edges(run.graph, ends[i], through) for i in group]
        yield group, logits_with_edges(run, open_edges, {sender: change}, max_batch=max_batch)


def path_edges(graph: ComputationGraph, ends: Edge, through: Collection[Node]) -> set[Edge]:
    """The edges that carry changes: along the path, and all that leave what comes after the receiver."""
    sender, receiver = ends
    writers = {sender} | {node for node in through if _order(sender) < _order(node) < _order(receiver)}
    between = writers - {sender}
    found = set()
    for edge in graph.edges:
        read_by = set(graph.outputs_of(edge.receiver)) & between
        on_path = edge.sender in writers and (read_by or edge.receiver == receiver)
        if on_path or _follows(graph, edge.sender, receiver):
            found.add(edge)
    return found


def check_paths(graph: ComputationGraph, ends: Collection[Edge], through: Collection[Node]) -> None:
    """Raise unless all nodes exist and every path goes forward; all problems are named."""
    problems = [f"{node} is no node that can matter" for node in through if node not in set(graph.senders)]
    for sender, receiver in ends:
        if sender not in set(graph.senders):
            problems.append(f"{sender} is no sender that can matter")
        if receiver not in set(graph.receivers):
            problems.append(f"{receiver} is no input that can matter")
        if _order(sender) >= _order(receiver):
            problems.append(f"{sender} -> {receiver} goes backwards")
    if problems:
        raise ValueError("these are no paths: " + "; ".join(problems[:5]))


def _order(node: Node) -> int:
    """Attention of layer L comes at 2L, its MLP at 2L + 1, the embedding before and the logits after all."""
    if node.kind == "logits":
        return 10**9
    return -1 if node.kind == "embed" else 2 * node.layer + (node.kind == "mlp")


def _follows(graph: ComputationGraph, node: Node, receiver: Node) -> bool:
    """Whether a node is what a receiver feeds, or comes later."""
    return node in graph.outputs_of(receiver) or _order(node) > _order(receiver)
