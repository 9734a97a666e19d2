"""Claim (i) by age and status: how far trainings are apart that differ in one of the two, on the same graphs.

Two by two: early or late, answering out-of-distribution questions or not. The effect of status is taken at equal age, that
of age at equal status. Whether paths differ with age is another question than whether they differ with status; comparing
checkpoints that differ in both answers neither.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd

from ...circuits import Result
from ...circuits.arguments import common_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...circuits.plain_text import counted
from ...circuits.progress import bar
from ...circuits.units import fixed, interval
from ..bounds import MIN_GRAPHS, Bounds, mean_bounds
from ..plots.sameness import by_age_panels
from ..sameness.equivalence import RESOLUTION, UNDECIDED
from ..sameness.path_distances import MARGINS
from .contrasts import BY_AGE, BY_STATUS, MIXED, Decided, Measured, by_reason, couples, decided, with_two_arms
from .decisive import INVALID, n_shown
from .path_checks import contrast_checks
from .path_measurement import measure_paths, n_measured
from .specimens import Arms, graphs_problems

INTERACTIONS = {
    "answers − early": "effect of age less effect of status (early)",
    "late − early": "effect of status, late less early",
}
"""By the keys of two contrasts, what their difference is."""
MORE, LESS, ALIKE = "more", "less", "alike"


@dataclass(frozen=True, eq=False)
class ByAgeResult(Result):
    """Effects of status at equal age, of age at equal status, and their differences.

    Attributes:
        table: a row for each measure and contrast, or difference of two, with
            contrast, varies: the arms and what differs between them; `interaction` for a difference;
            value, low, high: the typical distance with one-sided 95 % bounds over graphs, or the mean difference paired by
            graph with its;
            replicates, ratio: the typical distance of replicates, and how many times that the distance is;
            margin: the largest distance that counts as none;
            verdict: `same`, `different`, `undecided`, or `invalid` if the measure fails on a control; of a difference
            `more`, `less`, `alike` (all by the margin) or `undecided`; reason: why it is undecided; n: graphs.
        points: a row for each measure, contrast and graph with distance and replicate_distance.
        checks: a row for each check, with check, passed and detail.
        split: of the questions.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(words="measure contrast varies verdict reason", numbers="value low high replicates ratio margin", whole="n"),
    ]
    points: Annotated[pd.DataFrame, Columns(words="measure contrast", numbers="distance replicate_distance")]
    checks: Annotated[pd.DataFrame, Columns(words="check detail", flags="passed")]
    split: str

    @property
    def caption(self) -> str:
        """What is shown, split and n in one line."""
        return f"distances of paths by age and status · {self.split} · {self._n} · bars: one-sided 95 % bounds"

    @property
    def _n(self) -> str:
        return n_shown(self.table.assign(unit="graphs"))

    def explain(self) -> Explanation:
        """The largest effect of status or age, and how many effects are told by which word."""
        effects, says = self.table[self.table["varies"] != "interaction"], self.table["verdict"].value_counts()
        words = ", ".join(f"{word} in {count}" for word, count in says.items())
        reasons = self.table.loc[self.table["verdict"].isin((UNDECIDED, INVALID)), ["measure", "contrast", "reason"]]
        first = [f" The first: {', '.join(filter(None, row))}." for row in reasons.astype(str).itertuples(index=False)]
        means, sure = "Nothing: no effect has a number.", f"No bounds are held; {self._n}."
        for row in effects.dropna(subset="value").nlargest(1, "value").to_dict("records"):
            means = (
                f"{row['contrast']}, which differ in {row['varies']}, are furthest apart: {fixed(row['value'], 3)} by "
                f"the measure {row['measure']}, where 0 is no difference and up to {row['margin']:g} counts as none."
            )
            sure = (
                f"One-sided 95 % bounds of that distance over {counted(int(row['n']), 'graph')} are "
                f"{interval(row['low'], row['high']) or 'not held'}; replicates are {fixed(row['replicates'], 3)} apart."
            )
        return Explanation(
            measured="How far the paths of two trainings are apart that differ in status at equal age, or in age at equal "
            f"status, by the measures {', '.join(dict.fromkeys(self.table['measure']))}; and differences of two such "
            "effects.",
            on=f"{self.split}, {self._n}.",
            means=means,
            sure=sure,
            would_change=f"More graphs, where a word is {UNDECIDED}, and controls that come out right, where it is "
            f"{INVALID}. The words: {words or 'none'}.{first[0] if first else ''}",
        )

    def figure(self) -> Any:
        """A panel for each measure: a point for each graph, typical values with bounds, margins, replicates in grey."""
        return by_age_panels(self.points, self.table[self.table["varies"] != "interaction"], title=self.caption)


def same_path_by_age(
    graphs: Mapping[int, Arms],
    *,
    split: str = "test_inferred_iid",
    n_pairs: int = 256,
    n_questions: int = 512,
    progress: bool = True,
    seed: int = 0,
) -> ByAgeResult:
    """Measure the effects of age and of status on the path.

    Args:
        graphs: specimens by graph with their steps, as `study_arms(study, same_path.ARMS)` gives them: `early`,
            `early taught`, `late`, `late taught`, `final`, `early control`, `final control`, as far as there are, and
            replicates.
        split: of the questions, which all arms must answer.
        n_pairs: prompt pairs asked for on each graph, at most; those that all its models get right are used.
        n_questions: for the evidence on the bridge and the transfer of its directions, at most.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of pairs, questions, halves and resampling.

    Raises:
        ValueError: if no graph has two arms that are compared.
    """
    common = common_problems(split=split, n_pairs=n_pairs, n_questions=n_questions, progress=progress, seed=seed)
    refuse(graphs_problems(graphs) + common)
    settings = (split, couples(_CONTRASTS), n_pairs, n_questions, seed)
    usable = with_two_arms(graphs, _CONTRASTS)
    n = sum(n_measured(arms, describe=False) for arms in usable.values())
    with bar(n, "measuring paths", show=progress) as shown:
        measured = {
            graph: measure_paths(arms, *settings, describe=False, done=shown.update) for graph, arms in usable.items()
        }
    return decide_by_age(measured, split)


def decide_by_age(measured: Measured, split: str) -> ByAgeResult:
    """The effects from what was measured, by graph; see `same_path_by_age`."""
    rows, points = [], []
    for measure in MARGINS:
        found = {each.key: decided(measured, measure, each) for each in _CONTRASTS}
        rows += [_effect(each) for each in found.values()] + list(_interactions(measure, found))
        points += [row for each in found.values() for row in _points(each)]
    columns = ["measure", "contrast", "graph", "distance", "replicate_distance"]
    checks = pd.DataFrame(contrast_checks(measured, (*BY_STATUS, *BY_AGE)))
    return ByAgeResult(pd.DataFrame(rows), pd.DataFrame(points, columns=pd.Index(columns)), checks, split)


_CONTRASTS = (*BY_STATUS, *BY_AGE, MIXED)


def _effect(found: Decided) -> dict[str, Any]:
    contrast, result = found.contrast, found.result
    names = ("value", "low", "high", "replicates", "ratio")
    numbers = {name: float("nan") if result is None else getattr(result, name) for name in names}
    reason = by_reason(found.left_out) if result is None else result.reason
    failed = [each.quantity for each in found.controls if not each.passed]
    row = {"measure": found.measure, "contrast": contrast.label, "varies": contrast.varies, **numbers}
    row |= {"margin": MARGINS[found.measure], "verdict": found.verdict, "n": 0 if result is None else len(result.table)}
    return row | {"reason": f"controls: {'; '.join(failed)}" if failed else reason}


def _points(found: Decided) -> Iterator[dict[str, Any]]:
    for row in [] if found.result is None else found.result.table.to_dict("records"):
        numbers = {name: row[name] for name in ("graph", "distance", "replicate_distance")}
        yield {"measure": found.measure, "contrast": found.contrast.label, **numbers}


def _interactions(measure: str, found: Mapping[str, Decided]) -> Iterator[dict[str, Any]]:
    """Differences of two effects, on the graphs that have both."""
    for key, quantity in INTERACTIONS.items():
        more, less = (_by_graph(found[name]) for name in key.split(" − "))
        difference = (more - less).dropna()
        row = {"measure": measure, "contrast": quantity, "varies": "interaction", "n": len(difference), "reason": ""}
        row |= dict.fromkeys(("value", "low", "high", "replicates", "ratio", "margin"), float("nan"))
        if len(difference) < MIN_GRAPHS:
            yield row | {"verdict": UNDECIDED, "reason": f"needed are {MIN_GRAPHS} graphs with both"}
            continue
        bounds = mean_bounds(difference.to_numpy(float), resolution=RESOLUTION)
        verdict = _of_difference(bounds, MARGINS[measure])
        reason = "the bounds include the margin" if verdict == UNDECIDED else ""
        yield row | bounds._asdict() | {"margin": MARGINS[measure], "verdict": verdict, "reason": reason}


def _of_difference(bounds: Bounds, margin: float) -> str:
    """Whether one effect is surely larger than another by more than a margin, or surely not."""
    if -margin <= bounds.low and bounds.high <= margin:
        return ALIKE
    return MORE if bounds.low > margin else LESS if bounds.high < -margin else UNDECIDED


def _by_graph(found: Decided) -> pd.Series:
    table = pd.DataFrame(columns=["graph", "distance"]) if found.result is None else found.result.table
    return table.set_index("graph")["distance"].astype(float)
