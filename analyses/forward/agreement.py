"""Whether a model's own forward pass gives the logits that partial runs start from, on every prompt, up to rounding.

Two ways to compute the same thing differ by rounding only, and how far rounding carries is measured, not guessed: all states
are nudged in their last digit, and what that does to the logits is the unit of the comparison. It follows from the model's
dtype, depth and size of activations. In bfloat16 and float16, in which everything is computed if the model is, a difference
smaller than what rounding does cannot be told from it.

Chance is no rounding: a model whose passes on the same prompts differ would widen what nudging measures, so it is refused
first. The second pass is made only where the first one differs by more than what is surely rounding.
"""

import threading
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ...tasks.questions.padding import aligned, told_of_pads
from ...tasks.transformerlens import Model
from ..statistics import double

NUDGES = 8.0  # differences allowed, in multiples of what nudging does; 240 random models in four dtypes need 2.0 at most
SURELY_ROUNDING = (
    8.0  # epsilons for each layer below which nothing is measured, in single and double precision; they need 3.8
)
MATMUL_EPS = {"highest": 0.0, "high": 2.0**-10, "medium": 2.0**-7}  # of single precision, if torch was asked to multiply so
COMPARED_AT_ONCE = 2**24  # logits of all positions, which bounds memory


def check_agreement(
    model: Model,
    tokens: Int[Tensor, "query pos"],
    answer_position: int,
    logits: Float[Tensor, "query d_vocab"],
    nudged: Callable[[], Float[Tensor, "query d_vocab"]],
) -> None:
    """Raise unless `logits` are those of the model's forward pass on each prompt; `nudged` computes them again, see `nudge`.

    Raises:
        ValueError: if they are not finite or differ, or change from one pass to the next; it says on which prompts, and by
            how much.
    """
    expected = own_logits(model, tokens, answer_position)
    if not (finite := (logits.isfinite() & expected.isfinite()).all(1)).all():
        raise ValueError(f"the model's logits are not finite on {_prompts(~finite, tokens)}")
    errors, size = (double(logits) - double(expected)).abs().amax(1), float(expected.abs().max())
    allowed = _eps(logits.dtype) * SURELY_ROUNDING * (model.cfg.n_layers + 1) * size
    if errors.max() <= allowed and logits.dtype.itemsize >= 4:
        return
    check_passes(expected, own_logits(model, tokens, answer_position), tokens, model.cfg.n_layers)
    allowed = NUDGES * float((double(nudged()) - double(logits)).abs().max())
    if (bad := errors > allowed).any():
        raise ValueError(
            f"the model's logits differ from those of its blocks run one by one on {_prompts(bad, tokens)}, by up to "
            f"{float(errors.max()):.2g} (of {size:.2g}), where rounding explains {allowed:.2g}: it computes "
            "something that partial runs do not know, so that they would not be exact"
        )


def check_passes(
    one: Float[Tensor, "query _"], other: Float[Tensor, "query _"], tokens: Int[Tensor, "query pos"], n_layers: int
) -> None:
    """Raise where two passes of one model differ by more than rounding.

    They round alike, but for sums whose order is left to chance: about a last digit for each layer.
    """
    share = _eps(one.dtype) * (SURELY_ROUNDING if one.dtype.itemsize >= 4 else 1.0) * (n_layers + 1)
    changes, size = (double(one) - double(other)).abs().amax(1), float(one.abs().max())
    if (bad := ~(changes <= share * size)).any():
        raise ValueError(
            f"the model's logits change from one pass to the next on {_prompts(bad, tokens)}, by up to "
            f"{float(changes.max()):.2g} (of {size:.2g}), also in evaluation mode, and no effect could be told from chance"
        )


def own_logits(model: Model, tokens: Int[Tensor, "query pos"], answer_position: int) -> Float[Tensor, "query d_vocab"]:
    """The logits of the model's forward pass where the answers are read; only there are they computed.

    It is the whole pass of the model's code, but for what enters the unembedding: the states where answers are read. A
    model that calls no `unembed` is asked for the logits at all positions.
    """
    n_at_once = max(1, COMPARED_AT_ONCE // (tokens.shape[1] * model.cfg.d_vocab_out))
    return torch.cat([_logits_of(model, part, answer_position) for part in tokens.split(n_at_once)])


def _logits_of(model: Model, tokens: Int[Tensor, "query pos"], answer_position: int) -> Float[Tensor, "query d_vocab"]:
    prompts = aligned(model, tokens, answer_position)
    at = torch.arange(len(tokens), device=tokens.device), answer_position % tokens.shape[1] - prompts.moved.to(tokens.device)
    called, here = [], threading.get_ident()

    def where_read(unembed: nn.Module, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if threading.get_ident() != here:  # another thread runs the same model
            return states
        called.append(unembed)
        return states[0][at][:, None], *states[1:]

    unembed = getattr(model, "unembed", None)
    handle = unembed.register_forward_pre_hook(where_read) if isinstance(unembed, nn.Module) else None
    try:
        logits = model(tokens, **told_of_pads(model, prompts))
    finally:
        if handle is not None:
            handle.remove()
    return logits[:, 0] if called else logits[at]


def nudge(state: Float[Tensor, "*batch d_model"], generator: torch.Generator) -> Float[Tensor, "*batch d_model"]:
    """The state with each number moved up or down by its last digit."""
    up = torch.randint(2, state.shape, generator=generator, device="cpu").to(state)
    return state * (1 + _eps(state.dtype) * (2 * up - 1))


def _eps(dtype: torch.dtype) -> float:
    """How far apart neighbouring numbers are as a share of them, after a product of matrices as torch was asked to do it."""
    eps = torch.finfo(dtype).eps
    return max(eps, MATMUL_EPS[torch.get_float32_matmul_precision()]) if dtype == torch.float32 else eps


def _prompts(which: Bool[Tensor, " query"], tokens: Int[Tensor, "query pos"]) -> str:
    """How many prompts, and the first of them."""
    first = int(which.int().argmax())
    return f"{int(which.sum())} of {len(which)} prompts, the first is {first} with the tokens {tokens[first].tolist()}"
