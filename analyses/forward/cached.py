"""A decoder run from the middle of a layer, on many changed copies of a cached run at once.

A copy that differs from the cached run in what one component reads has to be computed only from that component on, and
in a causal model only from that position on. Only the model's weights, norms and MLPs are used; `run_and_cache` compares its
logits with the model's on every prompt, so that a model which computes anything else is refused instead of approximated.
What is computed is computed in the model's dtype. Pads are treated as the model treats them, see `tasks.questions.padding`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Node
from ...tasks.questions.padding import aligned
from ...tasks.transformerlens import Model
from .agreement import check_agreement, nudge
from .at_rest import at_rest
from .decoder import Decoder, Layer, device_of
from .hooks import refuse_hooks
from .layer import attention_output, attention_scores, gathered, head_outputs, mlp_output, normalised, project
from .model import check_described, check_model, described
from .places import Sublayer

Copies = Float[Tensor, "copy query _ d_model"]
"""Residual streams at neighbouring positions, of each copy of each query."""


@dataclass(frozen=True, eq=False)
class LayerCache:
    """What one layer computed: scores before the softmax, −∞ where a position cannot see; z before the output matrix."""

    before: Float[Tensor, "query pos d_model"]
    q: Float[Tensor, "query pos head d_head"]
    k: Float[Tensor, "query pos kv_head d_head"]
    v: Float[Tensor, "query pos kv_head d_head_v"]
    scores: Float[Tensor, "query head pos pos"]
    z: Float[Tensor, "query pos head d_head_v"]
    middle: Float[Tensor, "query pos d_model"]
    after: Float[Tensor, "query pos d_model"]


@dataclass(frozen=True, eq=False)
class CachedRun:
    """A plain run of a model on some prompts.

    Attributes:
        decoder: the model that was run, see `decoder`.
        graph: its computation graph.
        embedding: token and position embedding.
        layers: what each layer computed.
        logits: at the answer position.
        mask: which positions are no hidden pads; None: all.
        heads: by layer, what heads write on average, where norms follow that do not average; None: what `layers` give.
        changed_from: the first position at which a target that is patched at all positions is.
    """

    decoder: Decoder
    graph: ComputationGraph
    embedding: Float[Tensor, "query pos d_model"]
    layers: Sequence[LayerCache]
    logits: Float[Tensor, "query d_vocab"]
    mask: Bool[Tensor, "query pos"] | None = None
    heads: Sequence[Float[Tensor, "query pos head d_model"]] | None = None
    changed_from: int = 0

    @property
    def answer(self) -> int:
        """The position at which the answer is read."""
        return self.graph.roles.index(self.graph.answer_role)

    @property
    def stop(self) -> int:
        """One past the last position that can affect the answer."""
        return self.answer + 1 if self.graph.causal else len(self.graph.roles)

    def reached_from(self, position: int) -> int:
        """The first position that a change at `position` can reach in later layers."""
        return position if self.graph.causal else 0

    def needed_after(self, layer: int, span: slice) -> slice:
        """Positions in `span` that can still affect the logits after `layer`: after the last one, only the answer's."""
        return slice(self.answer, self.answer + 1) if layer == self.graph.n_layers - 1 else span

    def part(self, rows: slice) -> "CachedRun":
        """The run of some of the prompts."""
        layers = [LayerCache(*(getattr(cache, field.name)[rows] for field in fields(cache))) for cache in self.layers]
        mask = None if self.mask is None else self.mask[rows]
        return replace(self, embedding=self.embedding[rows], layers=layers, logits=self.logits[rows], mask=mask)

    def state(self, layer: int) -> Float[Tensor, "query pos d_model"]:
        """The residual stream after a layer; −1 is the embedding."""
        return self.layers[layer].after if layer >= 0 else self.embedding

    def written_by(self, sublayer: Sublayer) -> Float[Tensor, "query pos node d_model"]:
        """What each node of a sublayer adds to the residual stream, at all positions."""
        kind, layer = sublayer
        if kind == "head" and self.heads is not None:
            return self.heads[layer]
        if kind == "head":
            return head_outputs(self.decoder.layers[layer], self.layers[layer].z)
        written = self.embedding if kind == "embed" else self.layers[layer].after - self.layers[layer].middle
        return written[:, :, None]

    def read_by(self, receiver: Node) -> Float[Tensor, "query pos d_model"]:
        """The residual stream that an input reads, at all positions."""
        if receiver.kind == "logits":
            return self.layers[-1].after
        cache = self.layers[receiver.layer]
        return cache.before if receiver.kind == "head" else self.read_by_mlp(receiver.layer)

    def read_by_mlp(self, layer: int) -> Float[Tensor, "query pos d_model"]:
        """The residual stream that a layer's MLP reads."""
        cache = self.layers[layer]
        return cache.before if self.decoder.parallel else cache.middle


def from_first_change(base: CachedRun, donor: CachedRun) -> CachedRun:
    """The base run, to be patched from the first token on that the donor prompts have otherwise.

    Before it nothing in a causal model differs, if both are runs of one model that hides the same pads.
    """
    same_mask = base.mask is donor.mask or (base.mask is not None and donor.mask is not None and base.mask.equal(donor.mask))
    if not base.graph.causal or not same_mask or base.decoder.source is not donor.decoder.source:
        return base
    differs = (base.embedding != donor.embedding).flatten(2).any(2).any(0)[: base.answer]
    return replace(base, changed_from=int(differs.int().argmax()) if differs.any() else base.answer)


@torch.no_grad()
def run_and_cache(model: Model, graph: ComputationGraph, tokens: Int[Tensor, "query pos"]) -> CachedRun:
    """Run prompts once and cache what later partial runs need.

    Raises:
        ValueError: if the model carries hooks, an answer would be read at a pad, or for some prompt the model's logits are
            not finite or differ from those computed here.
    """
    check_model(model)
    refuse_hooks(model)
    model = at_rest(model)
    check_described(model, len(graph.roles))
    tokens, decoder = tokens.to(device_of(model)), described(model)
    answer = graph.roles.index(graph.answer_role)
    prompts = aligned(model, tokens, answer)
    embedding = decoder.embedded(prompts.tokens, prompts.mask)
    layers = _run_layers(decoder, embedding, prompts.mask)
    run = CachedRun(decoder, graph, embedding, layers, decoder.decode(layers[-1].after[:, answer]), prompts.mask)
    check_agreement(model, tokens, answer, run.logits, lambda: _nudged(run))
    return run


def averaged(runs: Iterable[CachedRun], n: int) -> CachedRun:
    """A run of n prompts in which every node writes its mean over all prompts of some runs, taken one after the other.

    Since reading is a sum, inputs then read the mean of what they read.
    """
    total, n_prompts = None, 0
    for run in runs:
        if any(layer.norm_after is not None for layer in run.decoder.layers):
            heads = [run.written_by(("head", layer)) for layer in range(run.graph.n_layers)]
            run = replace(run, heads=heads)
        summed = _combined(lambda values: values.sum(0, keepdim=True), run)
        total = summed if total is None else _combined(torch.add, total, summed)
        n_prompts += len(run.embedding)
    if total is None:
        raise ValueError("there is no run to average")
    return _combined(lambda values: (values / n_prompts).expand(n, *values.shape[1:]), total)


@torch.no_grad()
def silenced(run: CachedRun) -> CachedRun:
    """A run of the same prompts in which no node writes anything; nobody asks it where heads look, so nothing is there.

    Inputs read what belongs to no node, see `head_outputs`: the output biases of attention in the layers below them.
    """
    nothing = _combined(lambda values: values.new_zeros(()).expand_as(values), run)
    residual, layers = nothing.embedding, []
    for layer, cache in zip(run.decoder.layers, nothing.layers, strict=True):
        before, residual = residual, residual + _of_no_head(layer)
        layers.append(replace(cache, before=before, middle=residual, after=residual))
    heads = [residual.new_zeros(()).expand(*cache.z.shape[:3], residual.shape[2]) for cache in nothing.layers]
    logits = run.decoder.decode(residual[:, run.answer])
    return replace(nothing, layers=layers, heads=heads, logits=logits, mask=run.mask)


def _of_no_head(layer: Layer) -> Float[Tensor, " d_model"]:
    """What a layer's attention adds that no head writes: its bias, or where a norm follows, the norm's."""
    if layer.norm_after is None:
        return layer.attention.b_O
    return torch.zeros_like(layer.attention.b_O) if layer.norm_after.bias is None else layer.norm_after.bias


def _combined(combine: Callable[..., Tensor], *runs: CachedRun) -> CachedRun:
    """A run that holds, everywhere, what is made of the values that some runs hold there; of no prompt what it hides."""
    layers = [
        LayerCache(*(combine(*(getattr(cache, field.name) for cache in caches)) for field in fields(LayerCache)))
        for caches in zip(*(run.layers for run in runs), strict=True)
    ]
    embedding, logits = (combine(*(getattr(run, name) for run in runs)) for name in ("embedding", "logits"))
    heads = (
        None if runs[0].heads is None else [combine(*each) for each in zip(*(run.heads or () for run in runs), strict=True)]
    )
    return replace(runs[0], embedding=embedding, layers=layers, logits=logits, heads=heads, mask=None)


def finish(run: CachedRun, layer: int, residual: Copies, first: int) -> Float[Tensor, "copy query d_vocab"]:
    """The logits at the answer position of copies that enter a layer.

    Args:
        run: the cached run, which the copies equal before position `first`.
        layer: where to start; the number of layers means that only the head is left.
        residual: what enters the layer, at the positions that `run.needed_after` gives for the layer before.
        first: the first position at which copies differ.
    """
    for number in range(layer, run.graph.n_layers):
        residual = advance(run, number, residual, first)
    return run.decoder.decode(residual[:, :, 0])


def advance(run: CachedRun, layer: int, residual: Copies, first: int) -> Copies:
    """What leaves a layer that copies enter, at the positions that `run.needed_after` gives; see `finish`."""
    block, cache, rows = run.decoder.layers[layer], run.layers[layer], run.needed_after(layer, slice(first, run.stop))
    normed, queries = normalised(block, residual), slice(rows.start - first, rows.stop - first)
    q = project(block, "q", normed[:, :, queries], rows.start, run.mask)
    k, v = (
        torch.cat([base[:, :first].expand(len(residual), -1, -1, -1, -1), project(block, name, normed, first, run.mask)], 2)
        for name, base in (("k", cache.k), ("v", cache.v))
    )
    z = gathered(block, attention_scores(block, q, k, rows.start, run.mask), v)
    before = residual[:, :, queries]
    return after_layer(run.decoder, block, before, before + attention_output(block, z))


def after_layer(
    decoder: Decoder, layer: Layer, before: Float[Tensor, "*batch d_model"], middle: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, "*batch d_model"]:
    """What leaves a layer, given what enters it and the same with what attention adds."""
    return middle + mlp_output(layer, before if decoder.parallel else middle)


def _run_layers(
    decoder: Decoder,
    embedding: Float[Tensor, "query pos d_model"],
    mask: Bool[Tensor, "query pos"] | None,
    change: Callable[[Tensor], Tensor] = lambda residual: residual,
) -> list[LayerCache]:
    """All layers; each reads what `change` makes of what the one before leaves."""
    layers, residual = [], embedding
    for layer in decoder.layers:
        layers.append(_run_layer(decoder, layer, change(residual), mask))
        residual = layers[-1].after
    return layers


def _nudged(run: CachedRun) -> Float[Tensor, "query d_vocab"]:
    """The logits if every state had been rounded otherwise."""
    change = partial(nudge, generator=torch.Generator().manual_seed(0))
    layers = _run_layers(run.decoder, run.embedding, run.mask, change)
    return run.decoder.decode(change(layers[-1].after[:, run.answer]))


def _run_layer(
    decoder: Decoder, layer: Layer, before: Float[Tensor, "query pos d_model"], mask: Bool[Tensor, "query pos"] | None
) -> LayerCache:
    normed = normalised(layer, before)
    q, k, v = (project(layer, name, normed, 0, mask) for name in "qkv")
    scores = attention_scores(layer, q, k, 0, mask)
    z = gathered(layer, scores, v)
    middle = before + attention_output(layer, z)
    return LayerCache(before, q, k, v, scores, z, middle, after_layer(decoder, layer, before, middle))


States = Mapping[int, Float[Tensor, "copy query d_model"]]
"""By position: what replaces the whole residual stream there, for each copy of each query."""


def cached_with(run: CachedRun, layer: int, replaced: Sequence[States]) -> Float[Tensor, "copy query d_vocab"]:
    """The logits with the residual stream replaced at some positions after a layer and after those that follow it.

    Args:
        run: the cached run.
        layer: after which the first states are put in; −1: the embedding.
        replaced: by layer, from `layer` on; those of layers that the model does not have are ignored.
    """
    last, (states, *further) = run.graph.n_layers - 1, replaced
    n_copies, positions = len(next(iter(states.values()))), [position for each in replaced for position in each]
    if min(positions) >= run.stop or (layer == last and run.answer not in states):
        return run.logits.expand(n_copies, -1, -1)  # to the bit, where nothing can reach the answer
    first = run.reached_from(min(positions))
    rows = run.needed_after(layer, slice(first, run.stop))
    residual = _replaced(run.state(layer)[:, rows].expand(n_copies, -1, -1, -1), states, rows)
    for number, each in zip(range(layer + 1, last + 1), further, strict=False):
        rows = run.needed_after(number, slice(first, run.stop))
        residual = _replaced(advance(run, number, residual, first), each, rows)
        layer = number
    return finish(run, layer + 1, residual, first)


def _replaced(residual: Copies, states: States, rows: slice) -> Copies:
    """The residual stream at the positions `rows`, with the states put in that stand at one of them."""
    residual = residual.clone()
    for position, state in states.items():
        if rows.start <= position < rows.stop:
            residual[:, :, position - rows.start] = state
    return residual


def placed(run: CachedRun, layer: int, rows: slice, residual: Copies, first: int) -> Copies:
    """The residual stream after a layer (−1: the embedding) from position `first` on: cached, except at `rows`."""
    if layer == run.graph.n_layers - 1:
        return residual
    cached = run.state(layer).expand(len(residual), -1, -1, -1)
    return torch.cat([cached[:, :, first : rows.start], residual, cached[:, :, rows.stop : run.stop]], 2)
