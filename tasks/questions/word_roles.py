"""Roles in words: which slot or word of a text each of its tokens belongs to, and how positions are called by that."""

from collections.abc import Sequence
from itertools import dropwhile, groupby
from typing import NamedTuple

from .template import Piece
from .tokenised import Prompts, Span, Tokenised, parted


class Label(NamedTuple):
    """What a token belongs to: by its number a slot or word, or nothing of it (−1).

    Attributes:
        piece: its number among the pieces of the text.
        name: that of the piece; of other tokens what they say.
        is_slot: whether it is a slot.
    """

    piece: int
    name: str
    is_slot: bool = False


def labels_of(prompt: Tokenised, pieces: Sequence[Piece], bos: int | None) -> list[Label]:
    """For each token of a prompt the slot or word that it stands for, at least in part; slots come first."""
    found = []
    for token, span, shown in zip(prompt.tokens, prompt.spans, prompt.shown, strict=True):
        meant = [n for n, piece in enumerate(pieces) if _share(prompt.text, span, piece)]
        meant.sort(key=lambda n: not pieces[n].is_slot)
        if meant:
            found.append(Label(meant[0], pieces[meant[0]].name, pieces[meant[0]].is_slot))
        else:
            found.append(Label(-1, "bos" if token == bos and span[0] == span[1] else valid(shown)))
    return found


def roles_of(labels: Sequence[Label]) -> tuple[str, ...]:
    """The name of each position, all different.

    Several tokens of one slot or word are numbered from 1 on. Slots have their names to themselves; a word or sign that
    comes again is called `to.2`.
    """
    names: list[tuple[str, bool]] = []
    for (piece, name, is_slot), group in groupby(labels):
        n = len(list(group))
        if n == 1 or piece < 0:
            names += [(valid(name), is_slot)] * n
        else:
            names += [(f"{valid(name)}{number}", is_slot) for number in range(1, n + 1)]
    taken, found = {name for name, is_slot in names if is_slot}, []
    for name, is_slot in names:
        role, number = name, 1
        while role in found or (role in taken and not is_slot):
            number += 1
            role = f"{name}.{number}"
        found.append(role)
    return tuple(found)


def slot_problems(
    prompts: Prompts, labels: Sequence[Sequence[Label]], slots: Sequence[str], usual: int, *, padded: bool
) -> list[str]:
    """Why a position does not stand for the same slot or word in all prompts.

    Args:
        prompts: with what they are called.
        labels: of each prompt, those of its tokens.
        slots: of the template.
        usual: the number of the prompt whose positions give the roles.
        padded: whether positions are counted from the last one, and a shorter prompt may lack what is at the left.
    """
    wrong = [n for n, each in enumerate(labels) if not _fits(each, labels[usual], padded=padded)]
    filling = [
        {slot: _filling(prompt, each, slot) for slot in slots} for (_, prompt), each in zip(prompts, labels, strict=True)
    ]
    problems, explained = [], set()
    for slot in slots:
        if empty := [n for n, each in enumerate(filling) if not each[slot]]:
            name, prompt = prompts[empty[0]]
            problems.append(f"the slot {{{slot}}} has no token to itself in {name}: {prompt}")
        usually = filling[usual][slot]
        others = [n for n in wrong if len(filling[n][slot]) != len(usually)]
        explained |= {*others, *empty}
        if others and usually and (its := filling[others[0]][slot]):
            problems.append(
                f"the slot {{{slot}}} needs one number of tokens in all prompts: it has {len(usually)}, {parted(usually)}, "
                f"in {prompts[usual][0]}, but {len(its)}, {parted(its)}, in {prompts[others[0]][0]} ({len(others)} of "
                f"{len(prompts)} prompts differ)"
            )
    if rest := [n for n in wrong if n not in explained]:
        lines = [f"\n  {prompts[n][0]}: {prompts[n][1]}" for n in (usual, rest[0])]
        problems.append(f"{len(rest)} of {len(prompts)} prompts have other tokens between the slots" + "".join(lines))
    return problems


def _fits(labels: Sequence[Label], usual: Sequence[Label], *, padded: bool) -> bool:
    """Whether tokens stand for what the last ones of the usual prompt stand for; BOS is where a prompt begins."""
    inner = list(dropwhile(lambda label: label.piece < 0, labels))
    return (padded or len(labels) == len(usual)) and inner == list(usual[len(usual) - len(inner) :])


def _filling(prompt: Tokenised, labels: Sequence[Label], slot: str) -> list[str]:
    """The tokens of a slot."""
    return [shown for shown, label in zip(prompt.shown, labels, strict=True) if label.is_slot and label.name == slot]


def valid(word: str) -> str:
    r"""A word as a role can say it: no whitespace, nothing that does not show, no @.

    >>> valid(" Mary"), valid("a@b"), valid("\n    "), valid("<|endoftext|>")
    ('Mary', 'a(at)b', 'newline', 'endoftext')
    """
    bare = word.strip().removeprefix("<|").removesuffix("|>") or word
    kept = "".join(each for each in bare if each.isprintable() and not each.isspace()).replace("@", "(at)")
    return kept or ("newline" if "\n" in word else "space")


def _share(text: str, span: Span, piece: Piece) -> bool:
    """Whether a token and a piece have a character in common; spaces before a word are not of it."""
    start, end = max(span[0], piece.start), min(span[1], piece.end)
    return bool(text[start:end].strip()) if start < end else False
