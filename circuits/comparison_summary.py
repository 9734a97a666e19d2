"""The answer to "do they use the same circuit?" in sentences, with the yardsticks that it rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd

from .columns import Columns
from .plain_text import plain
from .result import Result
from .units import fixed
from .verdicts import DIFFERENT, SAME, UNDECIDED, Verdict, mean, verdicts
from .yardstick import yardstick

PATH = (
    "Edges describe how a model is written down. Whether two models take one path: analyses.path_distances, and over graphs "
    "analyses.equivalence."
)


@dataclass(frozen=True, eq=False)
class ComparisonSummary(Result):
    """What is said of each two conditions; prints its sentences.

    Attributes:
        table: a row for each two conditions a and b, with
            verdict, reason: see `circuits.verdicts`;
            distance, low, high: Jensen–Shannon, with its 95 % interval over units; of several trainings the mean, the lowest
            and the highest;
            aligned, aligned_low, aligned_high: the same after the best alignment of loops and heads;
            halves, halves_bound: how far two halves of one circuit are apart, mean and the 2.5 % furthest apart;
            chance, chance_bound: the same of shuffled circuits, mean and the 5 % most alike;
            replicates, replicates_high: of replicates, mean and the highest; NaN without any;
            margin: NaN if none was named;
            shared, lost, gained: numbers of kept edges in both, in a only, in b only;
            n, n_units: queries and their units.
        sentences: one for each two conditions; then on what that rests, the shipped study's replicates if there are no
            others, and where to go on.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(
            words="a b verdict reason", numbers="distance low high halves chance replicates margin", whole="lost gained n"
        ),
    ]
    sentences: tuple[str, ...]

    @property
    def caption(self) -> str:
        """All sentences."""
        return " ".join(self.sentences)

    def __repr__(self) -> str:
        return plain("\n".join(self.sentences))


def summary_of(
    table: pd.DataFrame, differences: pd.DataFrame, labels: Sequence[str], margin: float | None, measured: Mapping[str, Any]
) -> ComparisonSummary:
    """The summary of a comparison; see there for the arguments."""
    found = verdicts(table, differences, labels, margin)
    sentences = [*map(_sentence, found), *_scope(found)]
    sentences += [] if any(each.within for each in found) or not found else [yardstick(measured)]
    return ComparisonSummary(pd.DataFrame([_row(each, margin) for each in found]), (*sentences, PATH))


def headline(found: Sequence[Verdict], labels: Sequence[str]) -> str:
    """One line: of two conditions the verdict and its numbers, of more how often each word is said."""
    if len(found) != 1:
        counts = {word: sum(each.word == word for each in found) for word in (DIFFERENT, SAME, UNDECIDED)}
        said = ", ".join(f"{n} {word}" for word, n in counts.items() if n)
        return " / ".join(labels) + (f" · of {len(found)} pairs {said}" if found else "")
    (only,) = found
    row = _row(only)
    return f"{' / '.join(only.conditions)}: {only.word}, {_interval(row, 'distance')} apart, {_yardsticks(row)}"


def _row(verdict: Verdict, margin: float | None = None) -> dict[str, Any]:
    across, within = verdict.across, verdict.within
    a, b = verdict.conditions
    numbers = {
        "distance": mean(each.value for each in across),
        "low": min(each.low for each in across),
        "high": max(each.high for each in across),
        "aligned": mean(each.aligned for each in across),
        "aligned_low": min(each.aligned_low for each in across),
        "aligned_high": max(each.aligned_high for each in across),
        "halves": mean(each.halves for each in across),
        "halves_bound": max(each.halves_bound for each in across),
        "chance": mean(each.chance for each in across),
        "chance_bound": min(each.chance_bound for each in across),
        "replicates": mean(each.value for each in within),
        "replicates_high": max((each.high for each in within), default=np.nan),
        "margin": np.nan if margin is None else margin,
    }
    sizes = {"n": min(each.n for each in across), "n_units": min(each.n_units for each in across)}
    said = {"a": a, "b": b, "verdict": verdict.word, "reason": verdict.reason}
    return {**said, **numbers, **verdict.counts, **sizes}


def _sentence(verdict: Verdict) -> str:
    row, (a, b) = _row(verdict), verdict.conditions
    word = f"{verdict.word} ({verdict.reason})" if verdict.reason else verdict.word
    if np.isnan(row["distance"]):
        return f"{a} / {b}: {word}."
    aligned = f"{_interval(row, 'aligned', 'aligned_low', 'aligned_high')} after the best alignment of loops and heads"
    return (
        f"{a} / {b}: {word}. They are {_interval(row, 'distance')} apart (Jensen–Shannon distance of effects: 0 is equal, 1 "
        f"nothing in common; {aligned}); {_yardsticks(row)}. Kept edges from {a} to {b}: {row['shared']} stay, "
        f"{row['lost']} lost (in {a} only), {row['gained']} gained (in {b} only)."
    )


def _yardsticks(row: Mapping[str, Any]) -> str:
    """What the distance is held against, as far as it is known."""
    known = {
        "two halves of one circuit": (row["halves"], f"97.5 % within {fixed(row['halves_bound'], 3)}"),
        "replicates": (row["replicates"], f"at most {fixed(row['replicates_high'], 3)}"),
        "chance": (row["chance"], f"5 % within {fixed(row['chance_bound'], 3)}"),
    }
    return ", ".join(f"{name} {fixed(value, 3)} ({bound})" for name, (value, bound) in known.items() if not np.isnan(value))


def _interval(row: Mapping[str, Any], value: str, low: str = "low", high: str = "high") -> str:
    shown = fixed(row[value], 3)
    return shown if np.isnan(row[low]) else f"{shown} [{fixed(row[low], 3)}, {fixed(row[high], 3)}]"


def _scope(found: Sequence[Verdict]) -> list[str]:
    """Of what the words are said."""
    if not found:
        return []
    n, n_units = (min(getattr(d, name) for each in found for d in each.across) for name in ("n", "n_units"))
    sizes = f"{n} queries ({n_units} units), intervals 95 % over units"
    if not any(each.within for each in found):
        return [
            f"About these models on questions like these {sizes}: without replicates nothing follows for other trainings."
        ]
    return [f"About these trainings on questions like these {sizes}; over trainings analyses.equivalence decides."]
