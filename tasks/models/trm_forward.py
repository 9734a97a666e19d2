"""The loss and the answers of a token-mixing network, from its parameters: what training runs.

States are [pos, batch, d_model], in the dtype that is asked for; `TRM` computes the same, with hook points. Parameters and
prompts of several runs may be stacked: they have a first dimension more then, of runs, and so has what is computed.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, embedding

from .trm_block import Gated, TRMBlock
from .trm_config import TRMConfig

NOT_ASKED = -100
CUT_NORMAL = 0.8796256610342398  # the standard deviation of a normal that is cut at two
HALTING_SHARE = 0.5  # of its loss, as published
MIXER, MLP = "mixer", "mlp"

States = Float[Tensor, "*run all_pos batch d_model"]


def answer_logits(
    parameters: Mapping[str, Tensor],
    config: TRMConfig,
    tokens: Int[Tensor, "*run prompt pos"],
    positions: Int[Tensor, "*run prompt"],
    *,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "*run prompt d_vocab"]:
    """The logits of each prompt at its answer position; the arguments are as in `fast_forward.answer_logits`."""
    final = final_states(parameters, config, tokens, dtype)
    return _unembedded(parameters, _at(final, config, positions[..., None, :])).squeeze(-3)


def training_loss(
    parameters: Mapping[str, Tensor],
    config: TRMConfig,
    tokens: Int[Tensor, "*run prompt pos"],
    answers: Int[Tensor, "*run prompt"],
    positions: Int[Tensor, "*run prompt"],
    *,
    dtype: torch.dtype | None,
    label_smoothing: float,
) -> Float[Tensor, "*run"]:
    """Cross-entropy of the answer, and what else the config asks for.

    With `copy_loss` it is the mean over the answer and the question's tokens, each at its own position.
    """
    final, asked = final_states(parameters, config, tokens, dtype), positions[..., None, :]
    if config.copy_loss:
        asked = torch.arange(tokens.shape[-1], device=tokens.device)[:, None].expand_as(tokens.mT)
    labels = _labels(asked, tokens, answers, positions)
    logits = _unembedded(parameters, _at(final, config, asked)).float()
    losses = cross_entropy(
        logits.flatten(0, -2), labels.flatten(), label_smoothing=label_smoothing, reduction="none", ignore_index=NOT_ASKED
    ).view_as(labels)
    loss = (losses.sum(-2) / (labels != NOT_ASKED).sum(-2)).mean(-1)
    if not config.halting:
        return loss
    right = ((logits.argmax(-1) == labels) | (labels == NOT_ASKED)).all(-2)
    halts = _halts(parameters, final[..., 0, :, :])
    to_halt = binary_cross_entropy_with_logits(halts, right.to(halts), reduction="none")
    return loss + HALTING_SHARE * to_halt.mean(-1)


def _labels(
    asked: Int[Tensor, "*run place prompt"],
    tokens: Int[Tensor, "*run prompt pos"],
    answers: Int[Tensor, "*run prompt"],
    positions: Int[Tensor, "*run prompt"],
) -> Int[Tensor, "*run place prompt"]:
    """What is asked for at some positions: the answer at its own, the question's tokens before, nothing after."""
    answers, positions = answers[..., None, :], positions[..., None, :]
    copied = torch.where(asked < positions, tokens.mT.take_along_dim(asked, -2), NOT_ASKED)
    return torch.where(asked == positions, answers, copied)


def _at(
    states: States, config: TRMConfig, asked: Int[Tensor, "*run place prompt"]
) -> Float[Tensor, "*run place prompt d_model"]:
    """The states of each prompt at some of its positions."""
    return states.take_along_dim((config.n_prefix + asked)[..., None], -3)


def _halts(parameters: Mapping[str, Tensor], first: Float[Tensor, "*run prompt d_model"]) -> Float[Tensor, "*run prompt"]:
    """The logit of halting, from the states at the first position."""
    weights, bias = parameters["halt.W"], parameters["halt.b"]
    return (first.to(weights.dtype) @ weights + bias[..., None, :])[..., 0]


def final_states(
    parameters: Mapping[str, Tensor],
    config: TRMConfig,
    tokens: Int[Tensor, "*run prompt pos"],
    dtype: torch.dtype | None = None,
) -> States:
    """z_H after the last cycle, at prefix and prompt."""
    dtype = parameters["embed.W_E"].dtype if dtype is None else dtype
    x = embedded(parameters, config, tokens.mT).to(dtype)
    blocks = [block_of(parameters, config, number, dtype) for number in range(config.n_blocks)]
    z_h, z_l = (state.to(dtype).expand_as(x) for state in initial_states(config.d_model, x.device))
    for cycle in range(config.h_cycles):
        blind = config.last_cycle_only and cycle < config.h_cycles - 1
        with torch.set_grad_enabled(torch.is_grad_enabled() and not blind):
            for _ in range(config.l_cycles):
                z_l = _refined(z_l + z_h + x, blocks)
            z_h = _refined(z_h + z_l, blocks)
    return z_h


def _refined(states: States, blocks: list[TRMBlock]) -> States:
    for block in blocks:
        states = block(states)
    return states


def embedded(parameters: Mapping[str, Tensor], config: TRMConfig, tokens: Int[Tensor, "*run pos batch"]) -> States:
    """What is put into every refinement of z_L."""
    scale = config.embedding_scale * config.d_model**0.5
    x = scale * _looked_up(parameters["embed.W_E"], tokens)
    if not config.n_prefix:
        return x
    prefix = x.new_zeros(*x.shape[:-3], config.n_prefix, *x.shape[-2:])
    learned = (scale * parameters["prefix.W"])[..., None, None, :].expand_as(prefix[..., :1, :, :])
    return torch.cat([learned, prefix[..., 1:, :, :], x], -3)


def _looked_up(W_E: Float[Tensor, "*run d_vocab d_model"], tokens: Int[Tensor, "*run pos batch"]) -> States:
    """Each token's embedding; of stacked runs each has its own table."""
    if W_E.ndim == 2:
        return embedding(tokens, W_E)
    first = W_E.shape[1] * torch.arange(len(W_E), device=W_E.device)
    return embedding(tokens + first[:, None, None], W_E.flatten(0, 1))


def block_of(parameters: Mapping[str, Tensor], config: TRMConfig, block: int, dtype: torch.dtype) -> TRMBlock:
    """A block's weights in the dtype of the states."""
    parts = [
        Gated(*(parameters[f"core.{block}.{part}.{name}"].to(dtype) for name in Gated._fields)) for part in (MIXER, MLP)
    ]
    return TRMBlock(*parts, norm_over=-3 if config.mixer_norm == "positions" else -1)


def _unembedded(
    parameters: Mapping[str, Tensor], states: Float[Tensor, "*run place prompt d_model"]
) -> Float[Tensor, "*run place prompt d_vocab"]:
    logits = states.flatten(-3, -2) @ parameters["unembed.W_U"].to(states.dtype)
    return logits.unflatten(-2, states.shape[-3:-1])


@lru_cache
def initial_states(d_model: int, device: torch.device) -> tuple[Float[Tensor, " d_model"], Float[Tensor, " d_model"]]:
    """z_H and z_L before the first refinement, at every position: random, of variance 1, never trained.

    They are a part of the architecture, the same for all models of a width, as they are for all published runs.
    """
    z_h, z_l = cut_normal((2, d_model), torch.Generator().manual_seed(0)).to(device)
    return z_h, z_l


def cut_normal(shape: Sequence[int], generator: torch.Generator) -> Float[Tensor, "*shape"]:
    """Normal numbers that are cut at two, scaled to variance 1: quantiles of uniform ones.

    Torch has `trunc_normal_`, which draws other numbers from one version to the next, and weights are of no use with other
    initial states than they were trained with.
    """
    uniform = torch.empty(*shape, device="cpu", dtype=torch.float32).uniform_(-1, 1, generator=generator)
    return (uniform * math.erf(2 / math.sqrt(2))).erfinv() * math.sqrt(2) / CUT_NORMAL
