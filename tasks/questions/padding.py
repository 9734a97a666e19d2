"""Where the answer to a padded prompt is read, and which of its positions the model does not see.

A tokenizer that pads left: TransformerLens hides the leading pads and counts positions from the first real token. One that
pads right: the model sees everything, and where the answer would be read at a trailing pad it is read at the prompt's last
real token. Such a prompt is moved to the right until that token stands at the answer position, and what moves in at its left
is hidden; in a causal model this changes no logit, and a role means the same token, counted from the answer, in all prompts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]
"""Tokens [query, pos] to logits [query, pos, d_vocab]; a model of TransformerLens is one."""


@dataclass(frozen=True, eq=False)
class Aligned:
    """Prompts whose answer is read at one position.

    Attributes:
        tokens: the prompts, some of them moved to the right.
        mask: which positions the model sees; None: all.
        moved: by how many positions each prompt was moved.
        real: which positions hold no pad, whether the model sees it or not; None: all.
    """

    tokens: Int[Tensor, "query pos"]
    mask: Bool[Tensor, "query pos"] | None
    moved: Int[Tensor, " query"]
    real: Bool[Tensor, "query pos"] | None = None


def aligned(forward: Forward, tokens: Int[Tensor, "query pos"], answer_position: int) -> Aligned:
    """The prompts as a model with the tokenizer `forward.tokenizer` is asked them; without a pad token they have no pads.

    Raises:
        ValueError: if the answer would be read at a pad; or if prompts with trailing pads would have to be moved in a
            bidirectional model, which attends to pads.
    """
    tokenizer, cfg = (getattr(forward, name, None) for name in ("tokenizer", "cfg"))
    answer = answer_position % tokens.shape[1]
    unmoved = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
    if not tokenizer or cfg is None or tokenizer.pad_token_id is None:
        return Aligned(tokens, None, unmoved)
    from transformer_lens.utilities.tokenize_utils import get_attention_mask  # a model is there, and it is loaded

    seen = get_attention_mask(tokenizer, tokens, cfg.default_prepend_bos).bool()
    if tokenizer.padding_side == "left":
        _check_answers_seen(seen[:, answer] & ~_ends_in_pad(tokenizer, tokens, answer), tokens, answer)
        seen = None if seen.all() else seen
        return Aligned(tokens, seen, unmoved, seen)
    moved = (answer + 1 - seen.sum(1)).clamp(min=0)
    _check_answers_seen(seen.any(1), tokens, answer)
    if not moved.any():
        return Aligned(tokens, None, unmoved, None if seen.all() else seen)
    if cfg.attention_dir != "causal":
        raise ValueError(
            f"{_some(moved > 0, tokens)} end in pads before the answer position {answer}, and a bidirectional model attends "
            "to pads: ask prompts of one length at a time"
        )
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    places = (columns - moved[:, None]) % tokens.shape[1]
    return Aligned(tokens.gather(1, places), columns >= moved[:, None], moved, seen.gather(1, places))


def logits_at_answer(
    forward: Forward, tokens: Int[Tensor, "query pos"], answer_position: int
) -> Float[Tensor, "query d_vocab"]:
    """The logits of a forward pass where each prompt's answer is read: at the answer position or before trailing pads."""
    prompts = aligned(forward, tokens, answer_position)
    logits = _asked(forward, tokens, **told_of_pads(forward, prompts))
    if not isinstance(logits, Tensor) or logits.ndim != 3:
        raise TypeError(
            f"a {type(forward).__name__} gives {type(logits).__name__} for tokens, not logits [query, pos, d_vocab], as a "
            "model of TransformerLens does"
        )
    places = answer_position % tokens.shape[1] - prompts.moved.to(logits.device)
    return logits[torch.arange(len(logits), device=logits.device), places]


def check_forward(forward: object) -> None:
    """Raise unless it can be asked: called on tokens, and no wrapper that hides how its model reads prompts.

    Raises:
        TypeError: naming its class.
    """
    kind = type(forward).__name__
    if _is_hooked(getattr(forward, "module", None)):
        raise TypeError(f"a {kind} does not say how its model reads prompts; pass the one that it wraps, model.module")
    if not callable(forward) or isinstance(forward, type):
        what = forward.__name__ + " itself" if isinstance(forward, type) else f"a {kind}"
        raise TypeError(f"{what} cannot be asked; {_POSSIBLE}")


_POSSIBLE = (
    "needed is a model of TransformerLens, or a function of tokens [query, pos] that gives logits [query, pos, d_vocab]"
)


def told_of_pads(forward: Forward, prompts: Aligned) -> dict[str, Tensor]:
    """What a model is told so that it hides leading pads as they are: a TransformerBridge does not look for them itself."""
    if prompts.mask is None or prompts.moved.any():
        return {}
    from ..transformerlens import TransformerBridge  # only where a model is asked

    return {"attention_mask": prompts.mask} if isinstance(forward, TransformerBridge) else {}


def _asked(forward: Callable[..., Tensor], tokens: Int[Tensor, "query pos"], **told: Tensor) -> object:
    """What it gives, logits or not; a module that cannot take tokens, such as a layer, is named."""
    if not isinstance(forward, nn.Module) or _is_hooked(forward):
        return forward(tokens, **told)
    try:
        return forward(tokens)
    except torch.OutOfMemoryError:
        raise
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"a {type(forward).__name__} could not be asked tokens ({error}); {_POSSIBLE}") from error


def _is_hooked(forward: object) -> bool:
    from ..transformerlens import Model  # only where a model is asked, see `tasks.models.building.build_model`

    return isinstance(forward, Model)


def _ends_in_pad(tokenizer: object, tokens: Int[Tensor, "query pos"], answer: int) -> Bool[Tensor, " query"]:
    """Which prompts have a pad at the answer position that is no other special token."""
    pad = tokenizer.pad_token_id  # pyright: ignore[reportAttributeAccessIssue]
    others = [getattr(tokenizer, name, None) for name in ("bos_token_id", "eos_token_id")]
    return (tokens[:, answer] == pad) & (pad not in others)


def _check_answers_seen(good: Bool[Tensor, " query"], tokens: Int[Tensor, "query pos"], answer: int) -> None:
    if not good.all():
        raise ValueError(
            f"{_some(~good, tokens)} have a pad of the tokenizer where the answer is read, at position {answer}; choose an "
            "answer_position with a real token, or set the tokenizer's padding_side to where the pads of the prompts are"
        )


def _some(which: Bool[Tensor, " query"], tokens: Int[Tensor, "query pos"]) -> str:
    """How many prompts, and the first of them."""
    first = int(which.int().argmax())
    return f"{int(which.sum())} of {len(which)} prompts (the first is number {first}, tokens {tokens[first].tolist()})"
