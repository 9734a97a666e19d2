"""What tokens are called: by a function, a mapping, a task, a tokenizer, or by their numbers."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ...circuits.arguments import native, shortly

TokenNames = Any
"""A function or mapping from tokens to words, or what names tokens itself: a task (`token_name`), a tokenizer (`decode`)."""
POSSIBLE = "a function or mapping from tokens to words, a task with token_name, or a tokenizer with decode"
NO_WORD = (LookupError, ValueError, OverflowError)  # what is raised for a token that has no name
N_NAMED = 5  # tokens that a message names


def words_of(token_names: TokenNames, model: Any, tokens: Collection[int]) -> tuple[dict[int, str], list[str]]:
    """The word of each token, and why some, or all, have none.

    Args:
        token_names: says what tokens are called; None: the model's tokenizer, if it has one, or the tokens' numbers.
        model: has the tokenizer.
        tokens: those that are to be named, each once.
    """
    name = _naming(getattr(model, "tokenizer", None) if token_names is None else token_names)
    if name is None and token_names is not None:
        return {}, [f"token_names is {shortly(token_names)}, needed is {POSSIBLE}"]
    found = {token: _word(name or str, token) for token in tokens}
    wrong = {token: why for token, (word, why) in found.items() if word is None}
    first = [f"{token} ({why})" for token, why in list(wrong.items())[:N_NAMED]]
    more = f" and {len(wrong) - N_NAMED} more" if len(wrong) > N_NAMED else ""
    who = "the model's tokenizer" if token_names is None else "token_names"
    problems = [f"{who} has no word for {len(wrong)} of the pairs' tokens: {', '.join(first)}{more}"] if wrong else []
    return {token: word for token, (word, _) in found.items() if word is not None}, problems


def _naming(given: Any) -> Callable[[int], Any] | None:
    """What says the name of a token; None if that is not how it names any. Tokenizers can be called, too, on texts."""
    if given is None or isinstance(given, type):
        return None
    if callable(getattr(given, "token_name", None)):
        return given.token_name
    if callable(getattr(given, "decode", None)):
        return lambda token: given.decode([token])
    if isinstance(given, Mapping):
        return given.__getitem__
    return given if callable(given) else None


def _word(name: Callable[[int], Any], token: int) -> tuple[str | None, str]:
    """The word of a token, or why it has none."""
    try:
        word = name(token)
    except NO_WORD as error:
        return None, f"{type(error).__name__}: {shortly(str(error))}"
    return (native(word), "") if isinstance(word, str) else (None, f"it is called {shortly(word)}")
