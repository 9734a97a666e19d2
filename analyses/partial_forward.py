"""A HookedTransformer run from the middle of a layer, on many changed copies of a cached run at once.

A copy that differs from the cached run in what one component reads has to be computed only from that component on, and in a
causal model only from that position on. Nothing but the model's own weights, norms and MLPs is used; `run_and_cache` compares
its logits with the model's, so that a model which computes anything else is refused instead of approximated.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.components import TransformerBlock

from ..circuits import ComputationGraph, Node
from .hooks import decode, hooks_in_place

AGREEMENT = 1e-3  # largest difference from the model's own logits, as a share of the largest of them
Copies = Float[Tensor, "copy query _ d_model"]
"""Residual streams at neighbouring positions, of each copy of each query."""


@dataclass(frozen=True, eq=False)
class LayerCache:
    """What one layer computed; z is what each head gathered, before its output matrix."""

    before: Float[Tensor, "query pos d_model"]
    q: Float[Tensor, "query pos head d_head"]
    k: Float[Tensor, "query pos head d_head"]
    v: Float[Tensor, "query pos head d_head"]
    z: Float[Tensor, "query pos head d_head"]
    middle: Float[Tensor, "query pos d_model"]
    after: Float[Tensor, "query pos d_model"]


@dataclass(frozen=True, eq=False)
class CachedRun:
    """A plain run of a model on some prompts.

    Attributes:
        model: stays as it is.
        graph: its computation graph.
        embedding: token and position embedding.
        layers: what each layer computed.
        logits: at the answer position.
    """

    model: HookedTransformer
    graph: ComputationGraph
    embedding: Float[Tensor, "query pos d_model"]
    layers: Sequence[LayerCache]
    logits: Float[Tensor, "query d_vocab"]

    @property
    def answer(self) -> int:
        """The position at which the answer is read."""
        return self.graph.roles.index(self.graph.answer_role)

    @property
    def stop(self) -> int:
        """The position behind the last that can matter."""
        return self.answer + 1 if self.graph.causal else len(self.graph.roles)

    def reached_from(self, position: int) -> int:
        """The first position that a change at `position` can reach in later layers."""
        return position if self.graph.causal else 0

    def needed_behind(self, layer: int, first: int) -> range:
        """The positions whose residual stream behind a layer can matter, if those before `first` are as cached."""
        is_last = layer == self.graph.n_layers - 1
        return range(self.answer, self.answer + 1) if is_last else range(first, self.stop)

    def written_by(self, node: Node) -> Float[Tensor, "query pos d_model"]:
        """What a component adds to the residual stream, at all positions; the node's role does not matter."""
        if node.kind == "embed":
            return self.embedding
        cache = self.layers[node.layer]
        return cache.after - cache.middle if node.kind == "mlp" else self._head_outputs[node.layer][:, :, node.head]

    @cached_property
    def _head_outputs(self) -> list[Float[Tensor, "query pos head d_model"]]:
        blocks = self.model.blocks
        return [torch.einsum("qphd,hdm->qphm", c.z, b.attn.W_O) for c, b in zip(self.layers, blocks, strict=True)]


@torch.no_grad()
def run_and_cache(model: HookedTransformer, graph: ComputationGraph, tokens: Int[Tensor, "query pos"]) -> CachedRun:
    """Run prompts once and keep what later partial runs need.

    Raises:
        ValueError: if the model carries hooks, its logits are not finite, or they differ from those computed here.
    """
    if names := hooks_in_place(model):
        raise ValueError(
            f"the model carries hooks at {', '.join(names[:4])}{', …' if len(names) > 4 else ''}, which partial runs would "
            "skip; take them off with model.reset_hooks(including_permanent=True)"
        )
    tokens = tokens.to(model.W_E.device)
    residual = embedding = embedded(model, tokens)
    layers = []
    for block in model.blocks:
        layers.append(_run_block(block, residual))
        residual = layers[-1].after
    answer = graph.roles.index(graph.answer_role)
    logits = decode(model, residual[:, answer])
    _check_logits(logits, model(tokens)[:, answer])
    return CachedRun(model, graph, embedding, layers, logits)


def embedded(model: HookedTransformer, tokens: Int[Tensor, "query pos"]) -> Float[Tensor, "query pos d_model"]:
    """Token embedding, and position embedding if the model adds one."""
    embedding = model.embed(tokens)
    return embedding + model.pos_embed(tokens) if model.cfg.positional_embedding_type == "standard" else embedding


def finish(run: CachedRun, layer: int, residual: Copies, first: int) -> Float[Tensor, "copy query d_vocab"]:
    """The logits at the answer position of copies that enter a layer.

    Args:
        run: the cached run, which the copies equal before position `first`.
        layer: where to start; the number of layers means that only final norm and unembedding are left.
        residual: what enters the layer, at the positions `run.needed_behind(layer - 1, first)`.
        first: the first position at which copies differ.
    """
    for number in range(layer, run.graph.n_layers):
        block, cache, rows = run.model.blocks[number], run.layers[number], run.needed_behind(number, first)
        normed, own = block.ln1(residual), slice(rows.start - first, rows.stop - first)
        q = project(block, "q", normed[:, :, own], rows.start)
        k, v = (
            torch.cat([_repeated(base[:, :first], len(residual)), project(block, name, normed, first)], 2)
            for name, base in (("k", cache.k), ("v", cache.v))
        )
        z = attend(block, q, k, v, rows.start)
        middle = residual[:, :, own] + torch.einsum("cqphd,hdm->cqpm", z, block.attn.W_O) + block.attn.b_O
        residual = through_mlp(block, middle)
    return decode(run.model, residual[:, :, 0])


def project(
    block: TransformerBlock, name: str, normed: Float[Tensor, "*batch pos d_model"], first: int, head: int | None = None
) -> Float[Tensor, "*batch pos head d_head"]:
    """Queries, keys or values of all heads, or of one, for what they read at positions from `first` on."""
    heads = slice(None) if head is None else slice(head, head + 1)
    weight, bias = getattr(block.attn, f"W_{name.upper()}")[heads], getattr(block.attn, f"b_{name.upper()}")[heads]
    values = (normed @ weight.permute(1, 0, 2).flatten(1)).unflatten(-1, bias.shape) + bias
    if name == "v" or block.cfg.positional_embedding_type != "rotary":
        return values
    return block.attn.apply_rotary(values.flatten(0, -4), first).view(values.shape)


def attend(
    block: TransformerBlock,
    q: Float[Tensor, "*batch query_pos head d_head"],
    k: Float[Tensor, "*batch pos head d_head"],
    v: Float[Tensor, "*batch pos head d_head"],
    first: int,
) -> Float[Tensor, "*batch query_pos head d_head"]:
    """What each head gathers at positions from `first` on, given keys and values from position 0 on."""
    scores = q.transpose(-2, -3) @ k.transpose(-2, -3).mT / block.attn.attn_scale
    if block.cfg.attention_dir == "causal":
        query_pos, pos = scores.shape[-2:]
        hidden = torch.ones(query_pos, pos, dtype=torch.bool, device=q.device).triu(first + 1)
        scores = scores.masked_fill(hidden, -math.inf)
    return (scores.softmax(-1) @ v.transpose(-2, -3)).transpose(-2, -3)


def through_mlp(
    block: TransformerBlock, middle: Float[Tensor, "*batch d_model"], reads: Float[Tensor, "*batch d_model"] | None = None
) -> Float[Tensor, "*batch d_model"]:
    """What leaves a layer whose MLP reads `reads`, by default the residual stream before it, `middle`."""
    if block.cfg.attn_only:
        return middle
    normed = block.ln2(middle if reads is None else reads)
    return middle + block.mlp(normed.flatten(0, -3)).view(normed.shape)


def _run_block(block: TransformerBlock, before: Float[Tensor, "query pos d_model"]) -> LayerCache:
    normed = block.ln1(before)
    q, k, v = (project(block, name, normed, 0) for name in "qkv")
    z = attend(block, q, k, v, 0)
    middle = before + torch.einsum("qphd,hdm->qpm", z, block.attn.W_O) + block.attn.b_O
    return LayerCache(before, q, k, v, z, middle, through_mlp(block, middle))


def _repeated(base: Float[Tensor, "query *rest"], n: int) -> Float[Tensor, "copy query *rest"]:
    return base.expand(n, *base.shape)


def _check_logits(here: Float[Tensor, "query d_vocab"], there: Float[Tensor, "query d_vocab"]) -> None:
    if not there.isfinite().all():
        rows = (~there.isfinite().all(1)).nonzero()[:, 0].tolist()
        raise ValueError(f"the model's logits are not finite on {len(rows)} of {len(there)} prompts, the first is {rows[0]}")
    error, size = float((here - there).abs().max()), float(there.abs().max())
    if error > AGREEMENT * size:
        raise ValueError(
            f"the model's logits differ by {error:.2g} (of {size:.2g}) from those of its blocks run one by one: it computes "
            "something that partial runs do not know, so that they would not be exact"
        )
