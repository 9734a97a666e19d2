"""The logits at the answers of many prompts, from a HookedTransformer's parameters: what training runs.

In a causal model the state at h depends on h alone and the state at r1 on (h, r1), so all prompts of a batch that begin
alike share these rows of the residual stream, and answers to shorter questions are read from them. Models that see all
positions share nothing.
Gradients reach the parameters as through the HookedTransformer's forward pass, and the logits are the same up to rounding.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..rotary import turned, turns
from .config import ROTARY, ModelConfig
from .fast_block import Block, Mix, affine, normed
from .prefixes import distinct_prefixes
from .token_channel import embedded_again


def answer_logits(
    parameters: Mapping[str, Tensor],
    config: ModelConfig,
    tokens: Int[Tensor, "prompt pos"],
    positions: Int[Tensor, " prompt"],
    *,
    dtype: torch.dtype | None = None,
    share: bool = True,
) -> Float[Tensor, "prompt d_vocab"]:
    """The logits of each prompt at its answer position.

    Args:
        parameters: the trained parameters by name, see `models.trained_parameters`.
        config: the model's shape.
        tokens: prompts padded to one length. In a causal model prefixes are shared, and tokens behind the one at which the
            answer is read are ignored.
        positions: where each answer is read.
        dtype: of the matrix products; by default that of the parameters. Norms, softmax and the residual stream have
            the parameters' precision.
        share: let prompts share prefixes where they can; the sizes of what is computed then depend on what they are.
    """
    causal = not config.bidirectional
    rows = _shared_rows(tokens, positions) if share and causal else _separate_rows(tokens, positions, causal=causal)
    embedding = parameters["embed.W_E"]
    dtype = embedding.dtype if dtype is None else dtype
    residual, mix = embedding.index_select(0, rows.tokens), rows.mix
    if config.positions == ROTARY:
        mix = _turning(rows, tokens.shape[1], config)
    else:
        residual = residual + parameters["pos_embed.W_pos"].index_select(0, rows.positions)
    blocks = [Block.of(parameters, block, dtype) for block in range(config.n_blocks)]
    unembedding = embedding.T if config.tie_embeddings else parameters["unembed.W_U"]
    head = unembedding.to(dtype), parameters["unembed.b_U"].to(dtype)
    norm = parameters["ln_final.w"], parameters["ln_final.b"]
    for layer in range(config.n_layers):
        if layer in config.channels:
            residual = residual + embedded_again(affine(normed(residual, norm), head), embedding)
            continue
        wanted = rows.answers if layer == config.n_layers - 1 else None
        residual = blocks[layer % config.period].apply(residual, mix, wanted)
    return affine(normed(residual, norm), head)


class _Rows(NamedTuple):
    """The rows of the residual stream: what is embedded in each, how they see each other, where the answers are read."""

    tokens: Int[Tensor, " row"]
    positions: Int[Tensor, " row"]
    mix: Mix
    answers: Int[Tensor, " prompt"]


def _turning(rows: _Rows, n_pos: int, config: ModelConfig) -> Mix:
    """How rows see each other if queries and keys are turned by their positions first."""
    angles = turns(n_pos, config.d_model // config.n_heads, device=rows.positions.device)
    cosine, sine = (each.index_select(0, rows.positions)[:, None, None] for each in angles)

    def mix(qkv: Float[Tensor, "row 3 head d"]) -> Float[Tensor, "row head d"]:
        precise = _precise(qkv)
        seen = turned(qkv[:, :2].to(precise), cosine.to(precise), sine.to(precise)).to(qkv.dtype)
        return rows.mix(torch.cat([seen, qkv[:, 2:]], 1))

    return mix


def _separate_rows(tokens: Int[Tensor, "prompt pos"], positions: Int[Tensor, " prompt"], *, causal: bool) -> _Rows:
    """A row for each position of each prompt."""
    n_prompts, n_pos = tokens.shape
    hidden = torch.ones(n_pos, n_pos, dtype=torch.bool, device=tokens.device).triu(1) if causal else None

    def mix(qkv: Float[Tensor, "row 3 head d"]) -> Float[Tensor, "row head d"]:
        queries, keys, values = qkv.unflatten(0, (n_prompts, n_pos)).transpose(1, 3).unbind(2)  # prompt, head, pos, d
        scores = (queries @ keys.mT).to(_precise(qkv)) / math.sqrt(qkv.shape[-1])
        if hidden is not None:
            scores = scores.masked_fill(hidden, -math.inf)
        return (scores.softmax(-1).to(qkv.dtype) @ values).transpose(1, 2).flatten(0, 1)

    first = torch.arange(n_prompts, device=tokens.device) * n_pos
    return _Rows(tokens.flatten(), torch.arange(n_pos, device=tokens.device).repeat(n_prompts), mix, first + positions)


def _shared_rows(tokens: Int[Tensor, "prompt pos"], positions: Int[Tensor, " prompt"]) -> _Rows:
    """A row for each distinct beginning, the shortest first, and for each prompt that is read at its last token."""
    levels = distinct_prefixes(tokens, positions)
    sizes = [len(level.tokens) for level in levels]

    def mix(qkv: Float[Tensor, "row 3 head d"]) -> Float[Tensor, "row head d"]:
        """Each row sees the rows it goes on from, and itself; the first of all see themselves alone."""
        queries, seen = zip(*(part.split([1, 2], dim=1) for part in qkv.split(sizes)), strict=True)
        mixed = []
        for place, level in enumerate(levels[1:], start=1):
            before = [there.index_select(0, rows) for there, rows in zip(seen, level.before, strict=False)]
            mixed.append(_attend(queries[place], [*before, seen[place]]))
        return torch.cat([seen[0][:, 1], *mixed])

    first = torch.tensor([0, *sizes[:-1]], device=tokens.device).cumsum(0)
    rows = torch.stack([level.of_prompt for level in levels]) + first[:, None]
    return _Rows(
        torch.cat([level.tokens for level in levels]),
        torch.repeat_interleave(torch.tensor(sizes, device=tokens.device)),
        mix,
        rows.gather(0, positions[None])[0],
    )


def _attend(
    queries: Float[Tensor, "row 1 head d"], keys_and_values: list[Float[Tensor, "row 2 head d"]]
) -> Float[Tensor, "row head d"]:
    """What each row gathers from the rows it sees, given their keys and values."""
    keys, values = torch.stack(keys_and_values, dim=2).unbind(1)  # row, seen, head, d
    scores = (queries * keys).sum(-1, dtype=_precise(keys)) / math.sqrt(keys.shape[-1])
    return (scores.softmax(1).to(values.dtype)[..., None] * values).sum(1)


def _precise(values: Tensor) -> torch.dtype:
    """Of scores and patterns: no less than single precision."""
    return torch.promote_types(values.dtype, torch.float32)
