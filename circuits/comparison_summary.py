"""The answer to "do they use the same circuit?" in sentences, with the yardsticks that it rests on."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd

from .columns import Columns
from .explanation import Explanation, counted_units, without_rows
from .plain_text import counted, plain
from .result import Result
from .units import fixed, interval
from .verdicts import CUT, Verdict, mean, verdicts
from .yardstick import yardstick

LONGEST_LINE = 140  # characters for the pairs in the first line
ALL_EDGES = "effects of all edges, kept or not"
SCALE = "0 is equal, 1 nothing in common"
PATH = (
    "Edges describe how a model is written down. Whether two models take one path: analyses.profile_distance of two "
    "analyses.state_profile (where), analyses.content_distance of two analyses.direction_transfer (what), or these and how "
    "much by analyses.path_distances, whose help has a whole example; over graphs analyses.equivalence."
)


@dataclass(frozen=True, eq=False)
class ComparisonSummary(Result):
    """What is said of each two conditions; prints its sentences.

    Attributes:
        table: a row for each two conditions a and b, with
            verdict, reason: see `circuits.verdicts`;
            distance, low, high: Jensen–Shannon, between the effects of all edges, kept or not, with its 95 % interval over
            units; of several trainings the mean, the lowest and the highest;
            aligned, aligned_low, aligned_high: the same after the best alignment of loops and heads;
            halves, halves_bound: how far two halves of one circuit are apart, mean and the 2.5 % furthest apart;
            chance, chance_bound: the same of shuffled circuits, mean and the 5 % most alike;
            replicates, replicates_high: of replicates, mean and the highest; NaN without any;
            margin: NaN if none was named;
            shared, lost, gained: numbers of kept edges in both, in a only, in b only;
            n, n_units: queries and their units.
        sentences: one for each two conditions, of several after one on what their distances are, and before the reasons
            that they have in common; then on what that rests, the shipped study's replicates if there are no others, and
            where to go on.
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

    def explain(self) -> Explanation:
        """The word and the distance of each two conditions, the yardsticks, and what the word rests on."""
        if self.table.empty:
            return without_rows("No two conditions")
        rows: list[Any] = self.table.to_dict("records")
        said = [_with(f"{_pair(row)}: {row['verdict']}", f"and {fixed(row['distance'], 3)} apart", row) for row in rows]
        known = [
            f"{_pair(row)} {row_bounds}, {_yardsticks(row)}"
            for row in rows
            if (row_bounds := interval(row["low"], row["high"]))
        ]
        return Explanation(
            measured=f"The Jensen–Shannon distance between the {ALL_EDGES}, of each two conditions, next to yardsticks.",
            on=f"{counted(len(rows), 'pair')} of conditions ({', '.join(map(_pair, rows))}), "
            f"{counted_units(min(rows, key=lambda row: row['n']), 'query', 'queries')}.",
            means=f"{'; '.join(said)} ({SCALE}).",
            sure=f"The 95 % intervals over units are: {'; '.join(known)}." if known else "No interval was computed.",
            would_change=f"{'; '.join(_what_they_rest_on(rows))}.",
        )

    def __repr__(self) -> str:
        return plain("\n".join(self.sentences))


def summary_of(
    table: pd.DataFrame, differences: pd.DataFrame, labels: Sequence[str], margin: float | None, measured: Mapping[str, Any]
) -> ComparisonSummary:
    """The summary of a comparison; see there for the arguments."""
    found = verdicts(table, differences, labels, margin)
    sentences = [*(_of_several(found) if len(found) > 1 else map(_sentence, found)), *_scope(found)]
    if estimated := estimates(measured):
        sentences.append(f"Distances are between all effects, of which {estimated}: no interval knows their error.")
    sentences += [] if any(each.within for each in found) or not found else [yardstick(measured)]
    return ComparisonSummary(pd.DataFrame([_row(each, margin) for each in found]), (*sentences, PATH))


def estimates(measured: Mapping[str, Any]) -> str:
    """Of how many effects of which circuits there are estimates alone; empty if all are measured."""
    counts = measured.get("estimated") or {}
    return " and ".join(f"{n:,} of {label} are estimates" for label, n in counts.items())


def headline(found: Sequence[Verdict], labels: Sequence[str]) -> str:
    """One line: the word and the distance of each two conditions, as far as a line holds them, and the yardsticks."""
    if not found:
        return " / ".join(labels)
    if len(found) > 1:
        return _line_of_several(found)
    row = _row(found[0])
    cut = f" ({row['reason']})" if row["reason"].startswith(CUT) else ""
    apart = "" if np.isnan(row["distance"]) else f", {_interval(row, 'distance')} apart ({ALL_EDGES}), {_yardsticks(row)}"
    return f"{_pair(row)}: {row['verdict']}{cut}{apart}"


def intervals(found: Sequence[Verdict]) -> str:
    """Over what intervals are, or why there are none."""
    lacking: dict[str, list[str]] = {}
    for each in found:
        if (n_units := min(distance.n_units for distance in each.across)) < 2:
            why = "all queries are one unit" if n_units else "a circuit has no changes by query (per_query=True keeps them)"
            lacking.setdefault(why, []).append(" / ".join(each.conditions))
    if not lacking:
        return "95 % intervals over units"
    if sum(map(len, lacking.values())) == len(found):
        return f"no intervals: {'; '.join(lacking)}"
    of_pairs = "; ".join(f"{', '.join(pairs)}: {why}" for why, pairs in lacking.items())
    return f"95 % intervals over units, none of {of_pairs}"


def _line_of_several(found: Sequence[Verdict]) -> str:
    rows = [_row(each) for each in found]
    words = [f"{_pair(row)} {row['verdict']}" for row in rows]
    whole = [_with(word, _interval(row, "distance"), row) for word, row in zip(words, rows, strict=True)]
    without = [_with(word, fixed(row["distance"], 3), row) for word, row in zip(words, rows, strict=True)]
    said = whole if _n_fitting(whole) == len(found) else without
    n = max(1, _n_fitting(said))
    left = Counter(row["verdict"] for row in rows[n:])
    more = f" and {len(found) - n} more ({', '.join(f'{times} {word}' for word, times in left.items())})" if left else ""
    bounds = {
        "two halves of one circuit within": (max, "halves_bound"),
        "replicates within": (max, "replicates_high"),
        "chance from": (min, "chance_bound"),
    }
    known = {name: [row[column] for row in rows if not np.isnan(row[column])] for name, (_, column) in bounds.items()}
    yardsticks = "".join(f", {name} {fixed(bounds[name][0](each), 3)}" for name, each in known.items() if each)
    return f"{', '.join(said[:n])}{more} apart ({ALL_EDGES}){yardsticks}"


def _with(word: str, distance: str, row: Mapping[str, Any]) -> str:
    """A word and the distance, if there is one."""
    return word if np.isnan(row["distance"]) else f"{word} {distance}"


def _n_fitting(said: Sequence[str]) -> int:
    """How many of them fit into a line."""
    return int((np.cumsum([len(each) + 2 for each in said]) <= LONGEST_LINE).sum())


def _of_several(found: Sequence[Verdict]) -> list[str]:
    """What the distances are, a short sentence for each two conditions, and the reasons that several have in common."""
    shared = [reason for reason, n in Counter(each.reason for each in found).items() if reason and n > 1]
    first = (
        f"Jensen–Shannon distances, between the {ALL_EDGES}: {SCALE}; aligned: after the best alignment of loops and heads."
    )
    common = [
        f"{', '.join(' / '.join(each.conditions) for each in found if each.reason == reason)}: {reason}."
        for reason in shared
    ]
    return [first, *(_short_sentence(each, each.reason in shared) for each in found), *common]


def _short_sentence(verdict: Verdict, is_shared: bool) -> str:
    row = _row(verdict)
    word = f"{verdict.word} ({verdict.reason})" if verdict.reason and not is_shared else verdict.word
    if np.isnan(row["distance"]):
        return f"{_pair(row)}: {word}."
    aligned = f"aligned {_interval(row, 'aligned', 'aligned_low', 'aligned_high')}"
    counts = f"{row['shared']} kept edges stay, {row['lost']} lost, {row['gained']} gained"
    return f"{_pair(row)}: {word}, {_interval(row, 'distance')} apart, {aligned}; {_yardsticks(row)}; {counts}."


def _what_they_rest_on(rows: Sequence[Mapping[Any, Any]]) -> Iterator[str]:
    """Why words are said, each reason once, and what would undo *different* where the two are closest."""
    for reason in dict.fromkeys(row["reason"] for row in rows):
        alike = [row for row in rows if row["reason"] == reason]
        if reason:
            yield f"{', '.join(map(_pair, alike))}, {alike[0]['verdict']}: {reason}"
        else:
            yield _undone(min(alike, key=lambda row: row["aligned_low"]))


def _undone(row: Mapping[Any, Any]) -> str:
    """What would undo *different*."""
    aligned = _interval(row, "aligned", "aligned_low", "aligned_high")
    apart = {
        "two halves of one circuit": "halves_bound",
        "replicates": "replicates_high",
        "the margin, with noise": "margin",
    }
    known = [f"{name} {fixed(row[column], 3)}" for name, column in apart.items() if row[column] == row[column]]
    return (
        f"{_pair(row)} would be undecided if the interval after the best alignment of loops and heads, {aligned}, reached a "
        f"yardstick: {', '.join(known)}"
    )


def _pair(row: Mapping[str, Any]) -> str:
    return f"{row['a']} / {row['b']}"


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
        f"{a} / {b}: {word}. They are {_interval(row, 'distance')} apart (Jensen–Shannon distance between the {ALL_EDGES}: "
        f"{SCALE}; {aligned}); {_yardsticks(row)}. Kept edges from {a} to {b}: {row['shared']} stay, "
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
    return f"{fixed(row[value], 3)} {interval(row[low], row[high])}".rstrip()


def _scope(found: Sequence[Verdict]) -> list[str]:
    """Of what the words are said."""
    if not found:
        return []
    n, n_units = (min(getattr(d, name) for each in found for d in each.across) for name in ("n", "n_units"))
    sizes = f"{n} queries{f' ({n_units} units)' if n_units else ''}, {intervals(found)}"
    if not any(each.within for each in found):
        return [
            f"About these models on questions like these {sizes}. Without replicates nothing follows for other trainings."
        ]
    return [f"About these trainings on questions like these {sizes}. Over trainings analyses.equivalence decides."]
