"""Single edges and nodes patched exactly, many in one batch, each computed only from where it matters.

A copy of the cached run differs from it in what one input reads, or one node writes. What follows is the same computation
for all copies that enter at the same layer and position, so these are stacked and finished together; edges into the
logits need no layer at all. The literal interventions of `literal` are the oracle.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain, groupby
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import Edge, Node
from .cached import CachedRun, Copies, LayerCache, finish, placed
from .decoder import Layer
from .layer import attention_weights, biased, head_outputs, linear, mlp_output, normalised, summed, turned, turned_with_one
from .places import Differences, Logits, Sublayer, component, sublayer_of


def edge_logits(run: CachedRun, edges: Sequence[Edge], differences: Differences, *, n_copies: int) -> Logits:
    """The logits with each edge patched by itself, some edges at a time.

    Args:
        run: the base prompts.
        edges: an edge whose nodes have no role is patched at all positions at once.
        differences: see `Differences`.
        n_copies: of each query, at once.
    """

    def enter(chunk: list[int]) -> Iterator[_Part]:
        for _, places in groupby(chunk, key=lambda i: _input_kind(edges[i].receiver)):
            yield _inputs_changed(run, edges, list(places), differences)

    @cache
    def changes(sender: Node, start: int, stop: int) -> bool:
        return bool(differences[sender][:, start:stop].any())

    spans = [_span(run, edge.receiver) for edge in edges]
    changed = [changes(component(edge.sender), each.start, each.stop) for edge, each in zip(edges, spans, strict=True)]
    return _stacked(run, [edge.receiver for edge in edges], enter, n_copies, changed)


def input_logits(run: CachedRun, other: CachedRun, receivers: Sequence[Node], *, n_copies: int) -> Logits:
    """As `edge_logits`, with each input reading all that it reads in another run."""

    def enter(chunk: list[int]) -> Iterator[_Part]:
        for i in chunk:
            change = other.read_by(receivers[i]) - run.read_by(receivers[i])
            yield _reading(run, [i], [receivers[i]], change[None], torch.zeros(1, dtype=torch.long, device="cpu"))

    changed = [bool((other.read_by(r) != run.read_by(r))[:, _span(run, r)].any()) for r in receivers]
    return _stacked(run, receivers, enter, n_copies, changed)


def node_logits(run: CachedRun, nodes: Sequence[Node], differences: Differences, *, n_copies: int) -> Logits:
    """As `edge_logits`, with all readers of each node patched."""

    def enter(chunk: list[int]) -> Iterator[_Part]:
        return (_node_changed(run, i, nodes[i], differences[component(nodes[i])][None]) for i in chunk)

    changed = [bool(differences[component(node)][:, _span(run, node)].any()) for node in nodes]
    return _stacked(run, nodes, enter, n_copies, changed)


def differences(base: CachedRun, donor: CachedRun, targets: Sequence[Edge] | Sequence[Node]) -> Differences:
    """What the targets' components write on the donor prompts minus what they write on the base prompts."""
    components = dict.fromkeys(component(target.sender if isinstance(target, Edge) else target) for target in targets)
    sublayers = dict.fromkeys(sublayer_of(base.graph, node) for node in components)
    changes = {at: _change(base, donor, at) for at in sublayers}  # of one sublayer at a time
    return {node: changes[sublayer_of(base.graph, node)][:, :, max(node.head, 0)] for node in components}


def _change(base: CachedRun, donor: CachedRun, at: Sublayer) -> Float[Tensor, "query pos node d_model"]:
    """What each node of a sublayer writes more in the donor run; of heads what their change of what is gathered writes."""
    (kind, layer), block = at, base.decoder.layers[max(0, at[1])]
    only_gathered = kind == "head" and block.norm_after is None and base.heads is None and donor.heads is None
    if only_gathered and base.decoder.source is donor.decoder.source:
        return head_outputs(block, donor.layers[layer].z - base.layers[layer].z)
    return donor.written_by(at) - base.written_by(at)


class _Part(NamedTuple):
    """Copies that differ in one layer from the cached run, at the positions `rows`.

    `reads` is what the layer's MLP has yet to read there; without it `residual` is what leaves the layer.
    """

    places: list[int]
    rows: slice
    residual: Copies
    reads: Copies | None = None


@torch.no_grad()
def _stacked(
    run: CachedRun,
    nodes: Sequence[Node],
    enter: Callable[[list[int]], Iterator[_Part]],
    n_copies: int,
    changed: Sequence[bool],
) -> Logits:
    """Finish what enters at the same layer and position together.

    Where a target changes nothing the logits are the run's to the bit, so that its effect is zero and not rounding.
    """
    unchanged = [i for i, differs in enumerate(changed) if not differs]
    for start in range(0, len(unchanged), n_copies):
        some = unchanged[start : start + n_copies]
        yield some, run.logits.expand(len(some), -1, -1)
    entries = [_entry(run, node) for node in nodes]
    some = [i for i, differs in enumerate(changed) if differs]
    order = sorted(some, key=lambda i: (entries[i], _input_kind(nodes[i]), nodes[i]))
    for (layer, first), places in groupby(order, entries.__getitem__):
        group = list(places)
        for start in range(0, len(group), n_copies):
            parts = _through_mlps(run, layer - 1, list(enter(group[start : start + n_copies])))
            copies = torch.cat([placed(run, layer - 1, part.rows, part.residual, first) for part in parts])
            yield list(chain(*(part.places for part in parts))), finish(run, layer, copies, first)


def _through_mlps(run: CachedRun, layer: int, parts: list[_Part]) -> list[_Part]:
    """Run the layer's MLP for all parts that need it in one batch."""
    reads = [part.reads for part in parts if part.reads is not None]
    if not reads or not run.graph.has_mlp:
        return parts
    written = mlp_output(run.decoder.layers[layer], torch.cat([each.flatten(0, 2) for each in reads]))
    outputs = iter(written.split([each.shape[:3].numel() for each in reads]))
    return [
        part if part.reads is None else part._replace(residual=part.residual + next(outputs).view(part.reads.shape))
        for part in parts
    ]


def _entry(run: CachedRun, node: Node) -> tuple[int, int]:
    """The layer that a patched copy enters, and the first position at which it differs there."""
    layer = run.graph.n_layers if node.kind == "logits" else node.layer + 1
    first = run.answer if layer == run.graph.n_layers else run.reached_from(_span(run, node).start)
    return layer, first


def _span(run: CachedRun, node: Node) -> slice:
    """The positions at which a node is patched."""
    if node.kind == "logits":
        return slice(run.answer, run.answer + 1)
    start = run.graph.roles.index(node.role) if node.role else run.changed_from
    return slice(start, start + 1 if node.role else run.stop)


def _input_kind(node: Node) -> tuple[str, int, str, str]:
    """What inputs have in common that are computed together: all heads' queries, keys or values at one position."""
    return node.kind, node.layer, node.role, node.input


def _inputs_changed(run: CachedRun, edges: Sequence[Edge], places: list[int], differences: Differences) -> _Part:
    """Some inputs of one kind, each of which reads another output of one sender."""
    senders = list(dict.fromkeys(component(edges[i].sender) for i in places))
    changes = torch.stack([differences[sender] for sender in senders])
    which = torch.tensor([senders.index(component(edges[i].sender)) for i in places], device="cpu")
    return _reading(run, places, [edges[i].receiver for i in places], changes, which)


def _reading(
    run: CachedRun,
    places: list[int],
    receivers: Sequence[Node],
    changes: Float[Tensor, "change query _ d_model"],
    which: Int[Tensor, " copy"],
) -> _Part:
    """Copies in which inputs of one kind, sorted by head, each read one of some changes more."""
    receiver = receivers[0]
    span = _span(run, receiver)
    if receiver.kind == "head":
        rows, middle = _heads_changed(run, receivers, changes[:, :, span], which, span)
        return _left_by_attention(run, places, receiver.layer, rows, middle)
    if receiver.kind == "logits":
        return _Part(places, span, run.layers[-1].after[:, span] + changes[which][:, :, span])
    span = run.needed_after(receiver.layer, span)
    middle, changed = run.layers[receiver.layer].middle[:, span], changes[which][:, :, span]
    return _Part(places, span, middle.expand_as(changed), run.read_by_mlp(receiver.layer)[:, span] + changed)


def _left_by_attention(run: CachedRun, places: list[int], layer: int, rows: slice, middle: Copies) -> _Part:
    """Copies in which attention adds something else; an MLP in parallel to it does not read that."""
    if not run.decoder.parallel:
        return _Part(places, rows, middle, middle)
    cache = run.layers[layer]
    return _Part(places, rows, middle + (cache.after - cache.middle)[:, rows])


def _heads_changed(
    run: CachedRun,
    receivers: Sequence[Node],
    changes: Float[Tensor, "sender query _ d_model"],
    which: Int[Tensor, " copy"],
    span: slice,
) -> tuple[slice, Copies]:
    """The residual stream after attention if heads have other queries, keys or values; each copy differs in one head.

    Args:
        run: the cached run.
        receivers: sorted by head, otherwise alike.
        changes: by sender.
        which: the sender of each receiver.
        span: the positions that are patched.
    """
    layer, name = receivers[0].layer, receivers[0].input
    block, cache = run.decoder.layers[layer], run.layers[layer]
    rows = run.needed_after(layer, span if name == "q" else slice(run.reached_from(span.start), run.stop))
    projected = linear(block, name, normalised(block, cache.before[:, span] + changes))
    if block.attention.heads_apart:
        projected = turned(block, name, projected, span.start, run.mask)
    middles = []
    for index, places in groupby(range(len(receivers)), key=lambda i: receivers[i].index):
        new = projected[which[list(places)], :, :, index]
        inputs = {index: new} if block.attention.heads_apart else _together(run, layer, name, index, new, span)
        heads = ((head, values) for number, values in inputs.items() for head in _readers(block, name, number))
        written = [_Z_CHANGES[name](block, cache, *each, span, rows) @ block.attention.W_O[each[0]] for each in heads]
        middles.append(_with_written(run, layer, rows, torch.stack(written).sum(0)))
    return rows, torch.cat(middles)


Changed = Float[Tensor, "copy query _ d_head"]
"""A head's new queries, keys or values at the patched positions."""


def _readers(block: Layer, name: str, index: int) -> Sequence[int]:
    """The heads that have a query, a key or a value."""
    n = block.attention.n_sharing
    return range(index, index + 1) if name == "q" else range(index * n, (index + 1) * n)


def _together(run: CachedRun, layer: int, name: str, index: int, new: Changed, span: slice) -> dict[int, Changed]:
    """By index, all queries, keys or values with one projection new, see `turned_with_one`."""
    block = run.decoder.layers[layer]
    unchanged = linear(block, name, normalised(block, run.layers[layer].before[:, span]))
    return dict(enumerate(turned_with_one(block, name, unchanged, index, new, span.start, run.mask).unbind(3)))


def _with_written(run: CachedRun, layer: int, rows: slice, change: Copies) -> Copies:
    """The residual stream after attention, whose heads write a change of what they wrote, before a norm if there is one."""
    block, cache = run.decoder.layers[layer], run.layers[layer]
    if block.norm_after is None:
        return cache.middle[:, rows] + change
    return cache.before[:, rows] + block.norm_after(summed(block, cache.z[:, rows]) + change)


def _by_query(block: Layer, cache: LayerCache, head: int, changed: Changed, span: slice, rows: slice) -> Changed:
    """The change of what a head gathers at `rows`, with new queries."""
    attention, shared = block.attention, head // block.attention.n_sharing
    queries = changed[:, :, rows.start - span.start : rows.stop - span.start]
    products = torch.einsum("cqrd,qkd->cqrk", queries, cache.k[:, :, shared]) / attention.scale
    scores = biased(attention, products, rows, slice(0, cache.k.shape[1]), head)
    scores = scores.masked_fill(cache.scores[:, head, rows].isneginf(), -math.inf)
    weights = attention_weights(attention, scores, head)
    return torch.einsum("cqrk,qkd->cqrd", weights, cache.v[:, :, shared]) - cache.z[:, rows, head]


def _by_key(block: Layer, cache: LayerCache, head: int, changed: Changed, span: slice, rows: slice) -> Changed:
    """The same with new keys."""
    attention, base = block.attention, cache.scores[:, head, rows]
    products = torch.einsum("qrd,cqkd->cqrk", cache.q[:, rows, head], changed) / attention.scale
    columns = biased(attention, products, rows, span, head)
    columns = columns.masked_fill(base[:, :, span].isneginf(), -math.inf)
    around = base.expand(len(changed), -1, -1, -1)
    scores = torch.cat([around[..., : span.start], columns, around[..., span.stop :]], -1)
    weights = attention_weights(attention, scores, head)
    return torch.einsum("cqrk,qkd->cqrd", weights, cache.v[:, :, head // attention.n_sharing]) - cache.z[:, rows, head]


def _by_value(block: Layer, cache: LayerCache, head: int, changed: Changed, span: slice, rows: slice) -> Changed:
    """The same with new values."""
    pattern = attention_weights(block.attention, cache.scores[:, head, rows], head)[:, :, span]
    return torch.einsum("qrk,cqkd->cqrd", pattern, changed - cache.v[:, span, head // block.attention.n_sharing])


_Z_CHANGES = {"q": _by_query, "k": _by_key, "v": _by_value}


def _node_changed(run: CachedRun, place: int, node: Node, difference: Copies) -> _Part:
    """A node that writes something else."""
    if node.kind == "embed":
        span = _span(run, node)
        return _Part([place], span, run.embedding[:, span] + difference[:, :, span])
    span = run.needed_after(node.layer, _span(run, node))
    if node.kind == "mlp":
        return _Part([place], span, run.layers[node.layer].after[:, span] + difference[:, :, span])
    middle = run.layers[node.layer].middle[:, span] + difference[:, :, span]
    return _left_by_attention(run, [place], node.layer, span, middle)
