"""The verdict on a claim, from its rows in one order: main rows, then falsifiers.

A claim is a conjunction of its main rows: it is contradicted if one of them is, each tested at .05/m; supported only if all
are, which needs no correction (an intersection–union test, Berger 1982); undecided if any is undecided or invalid.
Falsifiers open only after every main row supports the claim: one of them, tested at .05 divided by their number, then
contradicts it. So no falsifier decides a claim whose main rows are open; one that is itself invalid is named and decides
nothing.

Each step contradicts a claim that holds in at most .05 of the cases. Both together hardly do so more often: a main row that
is contradicted by mistake lies on its threshold, and there rows seldom support, so that falsifiers seldom open.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .decisive import CONTRADICTED, INVALID, SUPPORTED, UNDECIDED
from .rules import Row


@dataclass(frozen=True)
class Decision:
    """A verdict and what it rests on.

    Attributes:
        verdict: `supported`, `contradicted` or `undecided`.
        reason: which rows made it, or why there is none.
        m: how many rows could contradict the claim at the step that decided.
        smallest_n: the fewest graphs that a row of that step rests on.
    """

    verdict: str
    reason: str
    m: int
    smallest_n: int


def decide(rows: Sequence[Row]) -> Decision:
    """The verdict from main rows and falsifiers; rows of other roles are left alone.

    Raises:
        ValueError: if rows of one step were not tested at .05 divided by their number.
    """
    main, falsifiers = ([row for row in rows if row.role == role] for role in ("main", "falsifier"))
    for step in (main, falsifiers):
        if wrong := [f"{row.key}: m = {row.m}" for row in step if row.m != len(step)]:
            raise ValueError(f"{len(step)} rows decide together and are tested at .05/{len(step)}; {', '.join(wrong)}")
    if not main:
        return Decision(UNDECIDED, "there is no main row", 0, 0)
    against = [row.key for row in main if row.says == CONTRADICTED]
    open_rows = [f"{row.key} {row.says}" for row in main if row.says != SUPPORTED]
    if against:
        return _decision(CONTRADICTED, f"by {', '.join(against)}", main)
    if open_rows:
        return _decision(UNDECIDED, f"main rows open: {', '.join(open_rows)}", main)
    if broken := [row.key for row in falsifiers if row.says == CONTRADICTED]:
        return _decision(CONTRADICTED, f"all main rows support it, but {', '.join(broken)} speak against it", falsifiers)
    without = [row.key for row in falsifiers if row.says == INVALID]
    rest = f" (without {', '.join(without)}: invalid)" if without else ""
    return _decision(SUPPORTED, f"all main rows support it, no falsifier speaks against it{rest}", main)


def _decision(verdict: str, reason: str, step: Sequence[Row]) -> Decision:
    return Decision(verdict, reason, len(step), min(row.n for row in step))
