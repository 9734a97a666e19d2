"""The logits at the answers of many prompts, from a HookedTransformer's parameters: what training runs.

In a causal model the state at h depends on h alone and the state at r1 on (h, r1), so all compact prompts of a batch that
begin alike share these rows of the residual stream; zero-hop and atomic answers are read from them. Other prompts share
nothing.
Gradients reach the parameters as through the HookedTransformer's forward pass, and the logits are the same up to rounding.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .config import ModelConfig
from .fast_block import Block, Mix, affine, normed


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
        tokens: prompts of one length. If they have three tokens and the model is causal, prefixes are shared; what comes
            after the token at which the answer is read is then ignored.
        positions: where each answer is read.
        dtype: of the matrix products; by default that of the parameters. Norms, softmax and the residual stream have
            the parameters' precision.
        share: let prompts share prefixes where they can, which depends on what they are.
    """
    shares = share and not config.bidirectional and tokens.shape[1] == 3
    rows = _shared_rows(tokens, positions) if shares else _separate_rows(tokens, positions, causal=not config.bidirectional)
    embedding = parameters["embed.W_E"]
    dtype = embedding.dtype if dtype is None else dtype
    residual = embedding.index_select(0, rows.tokens) + parameters["pos_embed.W_pos"].index_select(0, rows.positions)
    blocks = [Block.of(parameters, block, dtype) for block in range(config.n_blocks)]
    for layer in range(config.n_layers):
        wanted = rows.answers if layer == config.n_layers - 1 else None
        residual = blocks[layer % config.n_blocks].apply(residual, rows.mix, wanted)
    unembedding = embedding.T if config.tie_embeddings else parameters["unembed.W_U"]
    states = normed(residual, (parameters["ln_final.w"], parameters["ln_final.b"]))
    return affine(states, (unembedding.to(dtype), parameters["unembed.b_U"].to(dtype)))


class _Rows(NamedTuple):
    """The rows of the residual stream: what is embedded in each, how they see each other, where the answers are read."""

    tokens: Int[Tensor, " row"]
    positions: Int[Tensor, " row"]
    mix: Mix
    answers: Int[Tensor, " prompt"]


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


def _shared_rows(tokens: Int[Tensor, "prompt 3"], positions: Int[Tensor, " prompt"]) -> _Rows:
    """A row for each distinct h, then for each distinct (h, r1), then for each two-hop prompt's r2."""
    is_two_hop = positions == 2
    prefixes, second = distinct_prefixes(tokens), tokens[is_two_hop, 2]
    of_query = prefixes.prefix_of[is_two_hop]
    n_heads, n_prefixes, n_queries = sizes = len(prefixes.heads), len(prefixes.relations), len(second)
    head_of_query = prefixes.head_of[of_query]

    def mix(qkv: Float[Tensor, "row 3 head d"]) -> Float[Tensor, "row head d"]:
        """A row at h sees itself alone, one at r1 also its h, one at r2 also its h and r1."""
        (_, at_h), (q_r1, at_r1), (q_r2, at_r2) = (
            part.split([1, 2], dim=1) for part in qkv.split([n_heads, n_prefixes, n_queries])
        )
        z_r1 = _attend(q_r1, [at_h.index_select(0, prefixes.head_of), at_r1])
        before = [at_h.index_select(0, head_of_query), at_r1.index_select(0, of_query)]
        return torch.cat([at_h[:, 1], z_r1, _attend(q_r2, [*before, at_r2])])

    place = torch.cumsum(is_two_hop, 0) - 1 + n_heads + n_prefixes
    before_r2 = torch.where(positions == 0, prefixes.head_of[prefixes.prefix_of], n_heads + prefixes.prefix_of)
    return _Rows(
        torch.cat([prefixes.heads, prefixes.relations, second]),
        torch.repeat_interleave(torch.tensor(sizes, device=tokens.device)),
        mix,
        torch.where(is_two_hop, place, before_r2),
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


@dataclass(frozen=True, eq=False)
class Prefixes:
    """The distinct beginnings of a batch of prompts, and which prompt has which.

    Attributes:
        heads: the distinct first tokens.
        relations: the second token of each distinct (h, r1).
        head_of: which of `heads` each (h, r1) begins with.
        prefix_of: which (h, r1) each prompt begins with.
    """

    heads: Int[Tensor, " head"]
    relations: Int[Tensor, " prefix"]
    head_of: Int[Tensor, " prefix"]
    prefix_of: Int[Tensor, " prompt"]


def distinct_prefixes(tokens: Int[Tensor, "prompt pos"]) -> Prefixes:
    """Find the distinct first tokens and pairs of first tokens of some prompts."""
    base = int(tokens.max()) + 1
    codes, prefix_of = torch.unique(tokens[:, 0] * base + tokens[:, 1], return_inverse=True)
    heads, head_of = torch.unique(codes // base, return_inverse=True)
    return Prefixes(heads, codes % base, head_of, prefix_of)
