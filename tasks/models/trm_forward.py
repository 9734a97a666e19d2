"""The loss and the answers of a token-mixing network, from its parameters: what training runs.

States are [pos, batch, d_model], in the dtype that is asked for; `TRM` computes the same, with hook points.
"""

from collections.abc import Mapping
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

States = Float[Tensor, "all_pos batch d_model"]


def answer_logits(
    parameters: Mapping[str, Tensor],
    config: TRMConfig,
    tokens: Int[Tensor, "prompt pos"],
    positions: Int[Tensor, " prompt"],
    *,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "prompt d_vocab"]:
    """The logits of each prompt at its answer position; the arguments are as in `fast_forward.answer_logits`."""
    final = final_states(parameters, config, tokens, dtype)[config.n_prefix :]
    rows = torch.arange(len(tokens), device=tokens.device)
    return _unembedded(parameters, final[positions, rows])


def training_loss(
    parameters: Mapping[str, Tensor],
    config: TRMConfig,
    tokens: Int[Tensor, "prompt pos"],
    answers: Int[Tensor, " prompt"],
    positions: Int[Tensor, " prompt"],
    *,
    dtype: torch.dtype | None,
    label_smoothing: float,
) -> Float[Tensor, ""]:
    """Cross-entropy of the answer, and what else the config asks for.

    With `copy_loss` it is the mean over the answer and the question's tokens, each at its own position.
    """
    final = final_states(parameters, config, tokens, dtype)
    labels = _labels(config, tokens, answers, positions)
    asked = labels != NOT_ASKED
    logits = _unembedded(parameters, final[config.n_prefix :].transpose(0, 1)[asked]).float()
    losses = cross_entropy(logits, labels[asked], label_smoothing=label_smoothing, reduction="none")
    shares = (asked / asked.sum(1, keepdim=True))[asked]
    loss = (losses * shares).sum() / len(tokens)
    if not config.halting:
        return loss
    wrong = torch.zeros_like(asked).masked_scatter(asked, logits.argmax(1) != labels[asked])
    halts = (final[0].to(parameters["halt.W"].dtype) @ parameters["halt.W"] + parameters["halt.b"])[:, 0]
    return loss + HALTING_SHARE * binary_cross_entropy_with_logits(halts, (~wrong.any(1)).to(halts))


def _labels(config: TRMConfig, tokens: Tensor, answers: Tensor, positions: Tensor) -> Int[Tensor, "prompt pos"]:
    """What each position is asked for."""
    place = torch.arange(tokens.shape[1], device=tokens.device)
    labels = torch.where(place == positions[:, None], answers[:, None], NOT_ASKED)
    return torch.where(place < positions[:, None], tokens, labels) if config.copy_loss else labels


def final_states(
    parameters: Mapping[str, Tensor], config: TRMConfig, tokens: Int[Tensor, "prompt pos"], dtype: torch.dtype | None = None
) -> States:
    """z_H after the last cycle, at prefix and prompt."""
    dtype = parameters["embed.W_E"].dtype if dtype is None else dtype
    x = embedded(parameters, config, tokens.T).to(dtype)
    blocks = [block_of(parameters, config, number, dtype) for number in range(config.n_blocks)]
    z_h, z_l = (state.to(x).expand_as(x) for state in initial_states(config.d_model))
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


def embedded(parameters: Mapping[str, Tensor], config: TRMConfig, tokens: Int[Tensor, "pos batch"]) -> States:
    """What is put into every refinement of z_L."""
    scale = config.embedding_scale * config.d_model**0.5
    x = scale * embedding(tokens, parameters["embed.W_E"])
    if not config.n_prefix:
        return x
    prefix = x.new_zeros(config.n_prefix, *x.shape[1:])
    prefix = torch.cat([(scale * parameters["prefix.W"]).expand_as(prefix[:1]), prefix[1:]])
    return torch.cat([prefix, x])


def block_of(parameters: Mapping[str, Tensor], config: TRMConfig, block: int, dtype: torch.dtype) -> TRMBlock:
    """A block's weights in the dtype of the states."""
    parts = [
        Gated(*(parameters[f"core.{block}.{part}.{name}"].to(dtype) for name in Gated._fields)) for part in (MIXER, MLP)
    ]
    return TRMBlock(*parts, norm_over=0 if config.mixer_norm == "positions" else -1)


def _unembedded(parameters: Mapping[str, Tensor], states: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_vocab"]:
    return states @ parameters["unembed.W_U"].to(states.dtype)


@lru_cache
def initial_states(d_model: int) -> tuple[Float[Tensor, " d_model"], Float[Tensor, " d_model"]]:
    """z_H and z_L before the first refinement, at every position: random, of variance 1, never trained.

    They are a part of the architecture, the same for all models of a width, as they are for all published runs.
    """
    generator = torch.Generator().manual_seed(0)
    states = torch.empty(2, d_model, device="cpu", dtype=torch.float32)
    torch.nn.init.trunc_normal_(states, a=-2.0, b=2.0, generator=generator)
    z_h, z_l = states / CUT_NORMAL
    return z_h, z_l
