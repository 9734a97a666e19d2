"""Single edges and nodes patched exactly, many in one batch, each computed only from where it matters.

A copy of the cached run differs from it in what one input reads, or one node writes. Behind that the same computation follows
for all copies that enter at the same layer and position, so these are stacked and finished together; edges into the logits
need no layer at all. The literal interventions of `literal` are the oracle.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

from ..circuits import Edge, Node
from .partial_forward import CachedRun, Copies, attend, finish, project, through_mlp

Differences = Mapping[Node, Float[Tensor, "query pos d_model"]]
"""By component (its role left out): what it writes on the donor prompts minus what it writes on the base prompts."""
Logits = Iterator[tuple[list[int], Float[Tensor, "target query d_vocab"]]]
"""Places in the list of targets, and the logits with each of these targets patched by itself."""


def edge_logits(run: CachedRun, edges: Sequence[Edge], differences: Differences, *, max_batch: int) -> Logits:
    """The logits with each edge patched by itself, some edges at a time.

    Args:
        run: the base prompts.
        edges: an edge whose nodes have no role is patched at all positions at once.
        differences: see `Differences`.
        max_batch: at most so many prompts are run at once, but at least one copy of each query.
    """

    def copies(chunk: list[int], first: int) -> Iterator[Copies]:
        for receiver, places in groupby(chunk, key=lambda i: edges[i].receiver):
            senders = [component(edges[i].sender) for i in places]
            yield _behind_input(run, receiver, torch.stack([differences[sender] for sender in senders]), first)

    receivers = [edge.receiver for edge in edges]
    return _stacked(run, receivers, copies, max_batch)


def node_logits(run: CachedRun, nodes: Sequence[Node], differences: Differences, *, max_batch: int) -> Logits:
    """As `edge_logits`, with all readers of each node patched."""

    def copies(chunk: list[int], first: int) -> Iterator[Copies]:
        return (_behind_node(run, nodes[i], differences[component(nodes[i])][None], first) for i in chunk)

    return _stacked(run, nodes, copies, max_batch)


def component(node: Node) -> Node:
    """The node without position and input."""
    return node._replace(role="", input="")


@torch.no_grad()
def _stacked(
    run: CachedRun, nodes: Sequence[Node], copies: Callable[[list[int], int], Iterator[Copies]], max_batch: int
) -> Logits:
    """Finish what enters at the same place together."""
    entries = [_entry(run, node) for node in nodes]
    n_at_once = max(1, max_batch // len(run.embedding))
    for (layer, first), places in groupby(
        sorted(range(len(nodes)), key=lambda i: (entries[i], nodes[i])), entries.__getitem__
    ):
        group = list(places)
        for start in range(0, len(group), n_at_once):
            chunk = group[start : start + n_at_once]
            yield chunk, finish(run, layer, torch.cat(list(copies(chunk, first))), first)


def _entry(run: CachedRun, node: Node) -> tuple[int, int]:
    """The layer that a patched copy enters, and the first position at which it differs there."""
    layer = run.graph.n_layers if node.kind == "logits" else node.layer + 1
    first = run.answer if layer == run.graph.n_layers else run.reached_from(_span(run, node).start)
    return layer, first


def _span(run: CachedRun, node: Node) -> slice:
    """The positions at which a node is patched."""
    if node.kind == "logits":
        return slice(run.answer, run.answer + 1)
    start = run.graph.roles.index(node.role) if node.role else 0
    return slice(start, start + 1 if node.role else run.stop)


def _behind_input(run: CachedRun, receiver: Node, differences: Copies, first: int) -> Copies:
    """What leaves the receiver's layer if it reads something else at its position."""
    span = _span(run, receiver)
    if receiver.kind == "logits":
        return run.layers[-1].after[:, span] + differences[:, :, span]
    if receiver.kind == "head":
        return _behind_head(run, receiver, differences[:, :, span], span)
    span = _needed(run, receiver.layer, span)
    middle = run.layers[receiver.layer].middle[:, span]
    after = through_mlp(
        run.model.blocks[receiver.layer], middle.expand(len(differences), *middle.shape), middle + differences[:, :, span]
    )
    return _placed(run, receiver.layer, after, span, first)


def _behind_head(run: CachedRun, receiver: Node, differences: Copies, span: slice) -> Copies:
    """The same for a head's queries, keys or values: only this head is computed anew."""
    block, cache, head = run.model.blocks[receiver.layer], run.layers[receiver.layer], receiver.head
    changed = project(block, receiver.input, block.ln1(cache.before[:, span] + differences), span.start, head)
    inputs = {}
    for name, values in (("q", cache.q), ("k", cache.k), ("v", cache.v)):
        base = values[:, :, head : head + 1].expand(len(differences), -1, -1, -1, -1)
        if name == receiver.input:
            base = torch.cat([base[:, :, : span.start], changed, base[:, :, span.stop :]], 2)
        inputs[name] = base
    first = run.reached_from(span.start)
    rows = _needed(run, receiver.layer, span if receiver.input == "q" else slice(first, run.stop))
    z = attend(block, inputs["q"][:, :, rows], inputs["k"], inputs["v"], rows.start)
    change = (z - cache.z[:, rows, head : head + 1])[:, :, :, 0] @ block.attn.W_O[head]
    return _placed(run, receiver.layer, through_mlp(block, cache.middle[:, rows] + change), rows, first)


def _behind_node(run: CachedRun, node: Node, difference: Copies, first: int) -> Copies:
    """What leaves a node's layer if the node writes something else at its position."""
    span = _span(run, node)
    if node.kind == "embed":
        after = run.embedding.expand(1, -1, -1, -1).clone()
        after[:, :, span] += difference[:, :, span]
        return after[:, :, first : run.stop]
    span = _needed(run, node.layer, span)
    if node.kind == "mlp":
        after = run.layers[node.layer].after[:, span] + difference[:, :, span]
    else:
        after = through_mlp(run.model.blocks[node.layer], run.layers[node.layer].middle[:, span] + difference[:, :, span])
    return _placed(run, node.layer, after, span, first)


def _needed(run: CachedRun, layer: int, span: slice) -> slice:
    """Those positions of a span that can matter behind a layer: of the last one, only the answer's."""
    return slice(run.answer, run.answer + 1) if layer == run.graph.n_layers - 1 else span


def _placed(run: CachedRun, layer: int, after: Copies, span: slice, first: int) -> Copies:
    """The residual stream behind a layer at all positions that matter, cached but for those of a span."""
    if layer == run.graph.n_layers - 1:
        return after
    cached = run.layers[layer].after.expand(len(after), -1, -1, -1)
    return torch.cat([cached[:, :, first : span.start], after, cached[:, :, span.stop : run.stop]], 2)
