"""Templates of prompts, `"{IO} and {S} went to the {place}"`: literal text, and slots with names."""

import re
from collections.abc import Sequence
from itertools import pairwise
from string import Formatter
from typing import Any, NamedTuple

from ...circuits.arguments import shortly
from ...circuits.roles import role_problems

WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]+")


class Part(NamedTuple):
    """Of a template: a slot with its name, or literal text."""

    text: str
    is_slot: bool


class Piece(NamedTuple):
    """Of a text: the characters from start to end, which fill a slot, or are a word."""

    start: int
    end: int
    name: str
    is_slot: bool


def template_problems(template: Any) -> list[str]:
    """Why something is no template."""
    if not isinstance(template, str) or not template:
        return [
            f"template is {shortly(template)}, needed is a text with slots, as in '{{IO}} and {{S}} went to the {{place}}'"
        ]
    try:
        fields = list(Formatter().parse(template))
    except ValueError as error:
        return [f"template is {shortly(template)}, in which {error}; braces of the text itself are written twice"]
    slots = [name for _, name, _, _ in fields if name is not None]
    problems = [f"slots have names only, got a format in {{{name}}}" for _, name, form, to in fields if form or to]
    problems += [f"slots are called by names, got {{{name}}}" for name in slots if role_problems((name,))]
    twice = {name: f"{name}2" for name in slots if slots.count(name) > 1}
    problems += [f"the slot {{{name}}} is there twice; call the second one {{{other}}}" for name, other in twice.items()]
    parts = parts_of(template)
    touching = [(a.text, b.text) for a, b in pairwise(parts) if a.is_slot and b.is_slot]
    problems += [f"nothing parts the slots {{{a}}} and {{{b}}}" for a, b in touching]
    return [f"template: {', '.join(problems)}"] if problems else []


def parts_of(template: str) -> list[Part]:
    """Literal texts and slots in their order."""
    found = []
    for literal, name, _, _ in Formatter().parse(template):
        found += [Part(literal, False)] if literal else []
        found += [Part(name, True)] if name is not None else []
    joined: list[Part] = []
    for part in found:  # a brace of the text ends a literal
        if joined and not part.is_slot and not joined[-1].is_slot:
            joined[-1] = Part(joined[-1].text + part.text, False)
        else:
            joined.append(part)
    return joined


def words_of(text: str, start: int = 0) -> list[Piece]:
    """The words and signs of a text, whose first character is number `start` of a longer one."""
    return [Piece(start + each.start(), start + each.end(), each[0], False) for each in WORD.finditer(text)]


def filled(parts: Sequence[Part], text: str) -> list[Piece] | str:
    """The slots and the words between them in a text, or why it does not fit the template in one way.

    A slot is filled by characters of which neither the first nor the last is a space.

    >>> [piece.name for piece in filled(parts_of("{who} went to the {place}"), "Ann Lee went to the inn")]
    ['who', 'went', 'to', 'the', 'place']
    """
    reached = [{0}]
    for part in parts:
        reached.append(_ends(part, text, reached[-1]))
        if not reached[-1]:
            return f"does not fit the template from {_said(part)} on"
    if len(text) not in reached[-1]:
        return f"does not fit the template, which ends in {_said(parts[-1])}"
    borders = [{len(text)}]
    for part, starts in zip(reversed(parts), reversed(reached[:-1]), strict=True):
        borders.append({start for start in starts if _ends(part, text, {start}) & borders[-1]})
    borders.reverse()
    if unclear := [part for part, starts in zip(parts, borders[1:], strict=True) if len(starts) > 1]:
        return f"fits the template in several ways, by where {_said(unclear[0])} ends"
    places = [min(border) for border in borders]
    found: list[Piece] = []
    for part, (start, end) in zip(parts, pairwise(places), strict=True):
        found += [Piece(start, end, part.text, True)] if part.is_slot else words_of(part.text, start)
    return found


def _ends(part: Part, text: str, starts: set[int]) -> set[int]:
    """Where a part may end that begins at one of some places."""
    if not part.is_slot:
        return {start + len(part.text) for start in starts if text.startswith(part.text, start)}
    begins = [start for start in starts if start < len(text) and not text[start].isspace()]
    return {end for end in range(min(begins) + 1, len(text) + 1) if not text[end - 1].isspace()} if begins else set()


def _said(part: Part) -> str:
    return f"{{{part.text}}}" if part.is_slot else repr(part.text)
