"""What a result says in plain sentences: what was measured, on what, what that means, how sure, what would change it."""

import dataclasses
import html
from collections.abc import Iterator
from dataclasses import dataclass

from .plain_text import plain


@dataclass(frozen=True)
class Explanation:
    """Five answers about a result, each one or two sentences that are made from its fields. Prints them, a line each.

    Attributes:
        measured: what was measured, and how.
        on: which model, questions and places it was measured on, with n.
        means: the result's main number, and what such a number means.
        sure: its interval, or what else says how far to trust it; where there is none, that is said.
        would_change: what another result would take: a threshold that was not crossed, a choice that was made.

    >>> print(Explanation("How many.", "On 3 questions.", "2 are right.", "Of 3 little can be said.", "More questions."))
    What was measured: How many.
    On what: On 3 questions.
    What it means: 2 are right.
    How sure: Of 3 little can be said.
    What would change it: More questions.
    """

    measured: str
    on: str
    means: str
    sure: str
    would_change: str

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Question and answer, in the order in which they are read."""
        return zip(QUESTIONS, dataclasses.astuple(self), strict=True)

    def __str__(self) -> str:
        return "\n".join(f"{question}: {answer}" for question, answer in self)

    def __repr__(self) -> str:
        return plain(str(self))

    def _repr_html_(self) -> str:
        rows = "".join(f"<dt>{question}</dt><dd>{html.escape(answer)}</dd>" for question, answer in self)
        return f"<dl>{rows}</dl>"


QUESTIONS = ("What was measured", "On what", "What it means", "How sure", "What would change it")
