"""A text as a model reads it: its tokens, and where in the text each of them stands."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Span = tuple[int, int]


@dataclass(frozen=True)
class Tokenised:
    """A text as a model reads it.

    Attributes:
        text: what was tokenised.
        tokens: as the model reads them, BOS included where it prepends one; nothing that a tokenizer puts after the text.
        spans: for each token the characters of the text that it stands for; an empty span for what is not of the text.
        shown: for each token what it says.
    """

    text: str
    tokens: tuple[int, ...]
    spans: tuple[Span, ...]
    shown: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    def __str__(self) -> str:
        return parted(self.shown)


Prompts = Sequence[tuple[str, Tokenised]]
"""All prompts with what they are called in errors: the clean and the corrupt one of pair 0, those of pair 1, and so on."""


def tokeniser_problems(model: Any) -> list[str]:
    """Why a model cannot be asked texts."""
    tokenizer: Any = getattr(model, "tokenizer", None)
    instead = "give its tokens to PromptPairs instead"
    if tokenizer is None:
        set_one = "set one (model.set_tokenizer(…)), or " if hasattr(model, "set_tokenizer") else ""
        return [f"the model, a {type(model).__name__}, has no tokenizer; {set_one}{instead}"]
    if not callable(tokenizer) or not hasattr(model, "to_tokens"):
        return [f"a {type(model).__name__} with a {type(tokenizer).__name__} tokenises no texts; {instead}"]
    if not getattr(tokenizer, "is_fast", False):
        why = "does not say where in a text its tokens stand"
        return [f"the model's tokenizer, a {type(tokenizer).__name__}, {why} (it is not a fast one); {instead}"]
    if hasattr(model, "set_tokenizer") and model.cfg.tokenizer_prepends_bos is None:
        return [f"a {type(model).__name__} knows nothing of its tokenizer; give it one by model.set_tokenizer(…)"]
    if getattr(tokenizer, "pad_token_id", None) is None:
        return ["the model's tokenizer has no pad token, and TransformerLens needs one; set model.tokenizer.pad_token"]
    return []


def tokenised(model: Any, text: str) -> Tokenised:
    """A text as the model's `to_tokens` gives it.

    Raises:
        ValueError: if the tokenizer gives other tokens when it is asked for their places.
    """
    tokens = model.to_tokens([text], truncate=False, move_to_device=False)[0].tolist()
    spans = _spans(model.tokenizer, text, tokens)
    n_after = next((n for n, (start, end) in enumerate(reversed(spans)) if end > start), 0)  # such as an EOS
    kept = len(tokens) - n_after
    shown = tuple(model.tokenizer.decode([token]) for token in tokens[:kept])
    return Tokenised(text, tuple(tokens[:kept]), tuple(spans[:kept]), shown)


def _spans(tokenizer: Any, text: str, tokens: Sequence[int]) -> list[Span]:
    """Where in the text the tokens stand.

    TransformerLens puts BOS before the text as characters where the tokenizer puts none, and removes the tokenizer's.
    """
    for before in ("", tokenizer.bos_token or ""):
        asked = tokenizer(before + text, return_offsets_mapping=True)
        ids, places = list(asked["input_ids"]), asked["offset_mapping"]
        for first in range(len(ids) - len(tokens) + 1):
            if ids[first : first + len(tokens)] == tokens:
                n, inside = len(before), places[first : first + len(tokens)]
                return [(max(start - n, 0), max(end - n, 0)) for start, end in inside]
    raise ValueError(f"the tokenizer gives other tokens for {text!r} than the model's to_tokens")


def parted(shown: Iterable[str]) -> str:
    r"""Tokens with bars between them.

    >>> print(parted([" Mary", ":", "\n"]))
    | Mary|:|\n|
    """
    return "|".join(each.replace("\n", "\\n").replace("\t", "\\t") for each in ("", *shown, ""))


def next_token(model: Any, prompt: Tokenised, answer: str) -> int | None:
    """The token by which an answer follows a prompt; None if there is no such one, or the tokenizer does not know it.

    Where the tokenizer would join it to the end of the prompt, as the parts of a year, it is what the answer is alone.
    """
    longer, n = tokenised(model, prompt.text + answer).tokens, len(prompt)
    following = list(longer[n:]) if longer[:n] == prompt.tokens else []
    tokens = following if len(following) == 1 else _alone(model, answer)
    token = tokens[0] if len(tokens) == 1 else None
    return None if token == model.tokenizer.unk_token_id and answer.strip() != model.tokenizer.unk_token else token


def why_not_one(model: Any, prompt: Tokenised, answer: str) -> str:
    """The tokens of an answer that is not one, and a way to write it that is."""
    tokens = _alone(model, answer)
    said = "the tokenizer does not know it" if len(tokens) == 1 else f"{len(tokens)} tokens"
    said = f"{said}, {parted(model.tokenizer.decode([token]) for token in tokens)}"
    other = answer.lstrip() if answer[0].isspace() else f" {answer}"
    return (
        f"{said}; did you mean {other!r}, which is one?" if other and next_token(model, prompt, other) is not None else said
    )


def unknown_problems(model: Any, prompts: Prompts) -> list[str]:
    """Words for which the tokenizer has no token but the one for all that it does not know."""
    unknown, found = model.tokenizer.unk_token_id, {}
    for name, prompt in prompts:
        for token, (start, end) in zip(prompt.tokens, prompt.spans, strict=True):
            if token == unknown and start < end and (word := prompt.text[start:end]).strip() != model.tokenizer.unk_token:
                found.setdefault(word, name)
    said = ", ".join(f"{word!r} ({name})" for word, name in found.items())
    return [f"the tokenizer does not know {said}"] if found else []


def _alone(model: Any, text: str) -> list[int]:
    return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])
