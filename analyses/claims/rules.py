"""What a claim function returns, and how a quantity over graphs becomes a word.

A quantity says `supported`, `contradicted` or `undecided`; `invalid` if its criterion fails on a control. It supports by its
one-sided 95 % bounds; it contradicts by bounds at .05 divided by the number m of rows that could contradict the same claim,
so that of the rows that are tested together one contradicts a claim that holds in at most .05 of the cases. Rules are those
of docs/explanation/preregistration.md; `gatekeeping` makes the verdict of a claim from its rows.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pandas as pd

from ...circuits import Result
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...circuits.plain_text import counted
from ...circuits.units import fixed, interval
from ..bounds import (
    ALPHA,
    MIN_GRAPHS,
    Bounds,
    difference_bounds,
    distance_bounds,
    graphs_to_exclude,
    mean_bounds,
    rate_bounds,
    share_bounds,
)
from ..plots.claims import quantity_rows
from ..sameness.equivalence import EquivalenceResult
from ..validity.audit_result import Audited, AuditResult
from .decisive import CONTRADICTED, INVALID, SUPPORTED, UNDECIDED, decisive_row, fewest, n_shown, row_in_words

Role = Literal["main", "falsifier", "control", "beside"]
DECIDING: tuple[Role, ...] = ("main", "falsifier")
EXPLORATORY = "exploratory; does not enter the verdict"
FALSE_ALARM = 0.05  # how often one graph may do something by mistake
RARE = 0.4  # of graphs: what can occur, but in surely fewer of them, is said not to
SHARE_OF_GRAPHS = "share of graphs"
KINDS: Mapping[Any, str] = {
    distance_bounds: "distance",
    share_bounds: "share of questions",
    difference_bounds: "difference of two shares",
    mean_bounds: "difference of two areas under a curve",
}
"""By the function that bounds a quantity, what it is."""
MOST = 0.5  # of graphs: a rule is broken if surely more of them break it, a control passed if more are right


@dataclass(frozen=True)
class Row:
    """One quantity of a claim.

    Attributes:
        key: stable name by which verdicts and sentences find the row, such as `where.early`.
        role: `main` and `falsifier` rows decide, in this order; a `control` row says whether the criterion of main rows can
            be believed; `beside` rows are exploratory and do not enter the verdict.
        quantity, split: what was measured, on which questions.
        value, low, high: the estimate with its one-sided 95 % bounds.
        margin: what it is compared with, if anything.
        n, unit: how many graphs, runs or questions it rests on.
        m: how many rows could contradict the same claim; strict_low, strict_high: the bounds at .05/m, by which this one
            contradicts.
        says: `supported`, `contradicted`, `undecided` or `invalid`; empty if there is no rule.
        rule: how it is decided.
        kind: of number that it is, which is what the axis of its panel says.
        against: what the number is held against, in a few words.
        band_low, band_high: the row supports the claim if its bounds lie between these; NaN if there is no such rule.
        by_graph: the quantity on each graph; of what occurs or not 1 or 0, NaN where it cannot be said.
    """

    key: str
    role: Role
    quantity: str
    split: str
    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    margin: float = float("nan")
    n: int = 0
    unit: str = "graphs"
    m: int = 1
    strict_low: float = float("nan")
    strict_high: float = float("nan")
    says: str = ""
    rule: str = ""
    kind: str = ""
    against: str = ""
    band_low: float = float("nan")
    band_high: float = float("nan")
    by_graph: Mapping[Any, float] = field(default_factory=dict)


COLUMNS = tuple(each.name for each in dataclasses.fields(Row) if each.name != "by_graph")
POINTS = ("key", "graph", "value")
_Rows = Annotated[
    pd.DataFrame,
    Columns(words="quantity split unit says rule", numbers="value low high margin", whole="n"),
]


def no_points() -> pd.DataFrame:
    """The points of no row."""
    return pd.DataFrame(columns=pd.Index(POINTS))


@dataclass(frozen=True, eq=False)
class ClaimResult(Result):
    """What the evidence says about a claim.

    Attributes:
        table: the decisive quantities, the controls of their criteria, and exploratory ones, a `Row` each; the columns are
            its fields.
        falsifiers: the same columns, for what would contradict a claim whose main rows support it.
        checks: a row for each check that ran, with check, passed and detail.
        claim: its name.
        verdict: `supported`, `contradicted` or `undecided`, see `gatekeeping`.
        sentence: the same in plain words.
        would_change: what evidence would change the verdict.
        reason: which rows made the verdict, or why there is none.
        m: how many rows could contradict the claim at the step at which it was decided.
        smallest_n: the fewest graphs that a row of that step rests on.
        points: a row for each graph of a main row, with key, graph and value, see `Row.by_graph`.
        audited: the table of `audit`; empty if nobody gathered what it needs.
    """

    table: _Rows
    falsifiers: _Rows
    checks: Annotated[pd.DataFrame, Columns(words="check detail", flags="passed")]
    claim: str
    verdict: str
    sentence: str
    would_change: str
    reason: str = ""
    m: int = 0
    smallest_n: int = 0
    points: Annotated[pd.DataFrame, Columns(words="key", numbers="value")] = field(default_factory=no_points)
    audited: Audited = field(default_factory=pd.DataFrame)

    @property
    def caption(self) -> str:
        """Claim, verdict, what it rests on, and the sentence."""
        rests = f" (m = {self.m} rows at .05/m, {fewest(self.smallest_n)} graphs; {self.reason})" if self.m else ""
        return f"{self.claim}: {self.verdict}{rests}. {self.sentence}"

    def audit(self) -> AuditResult:
        """The claim by the 28 criteria of Mechanistic Validity, from what was measured when it was decided.

        Raises:
            ValueError: if nothing was gathered for it.
        """
        if self.audited.empty:
            raise ValueError(f"nothing was gathered to audit {self.claim!r}; claims that are decided on a study are audited")
        return AuditResult(self.audited, f"{self.claim}, {self.verdict}")

    @property
    def n_unclear(self) -> dict[str, int]:
        """By main row, on how many graphs it has no value."""
        missing = self.points.loc[self.points["value"].isna(), "key"]
        return {key: int((missing == key).sum()) for key in self.table["key"]}

    @property
    def rows(self) -> pd.DataFrame:
        """Those of both tables."""
        return pd.concat([self.table, self.falsifiers], ignore_index=True)

    @property
    def decisive(self) -> pd.Series | None:
        """The row that the verdict hangs on, see `decisive_row`; None if no main row has a number."""
        return decisive_row(self.verdict, self.rows)

    def explain(self) -> Explanation:
        """The verdict, the row that it hangs on, and what would give another one."""
        main, row = self.table[self.table["role"] == "main"], self.decisive
        hangs, bounds = "no row, since no main row has a number", ""
        if row is not None:
            hangs, bounds = row_in_words(str(row["key"]), row), interval(row["low"], row["high"], 2)
        return Explanation(
            measured=f"{counted(len(main), 'main row')}, which decide together, and "
            f"{counted(len(self.falsifiers), 'falsifier')}, which count once every main row supports the claim.",
            on=f"{n_shown(main)} under a main row; questions: {', '.join(dict.fromkeys(main['split'])) or 'none'}.",
            means=f"{self.claim}: {self.verdict}. {self.sentence}",
            sure=f"One-sided 95 % bounds of the row that the verdict hangs on: {bounds or 'not held'}. A row contradicts by "
            f"bounds at .05/m, of m = {self.m} rows; the step that decided rests on {fewest(self.smallest_n)} graphs.",
            would_change=f"The verdict hangs on {hangs}. {self.would_change}",
        )

    def figure(self) -> Any:
        """All quantities with their bounds, coloured by what they say."""
        rows = self.rows
        title = f"{self.claim}: {self.verdict} · {n_shown(rows)} · bars: one-sided 95 % bounds"
        return quantity_rows(rows, title=title)


def equivalence_row(asked: Row, result: EquivalenceResult, m: int) -> Row:
    """*same* supports, *different* contradicts.

    Args:
        asked: key, role, quantity and split of the row; so in the functions below.
        result: of the test, made with alpha = .05 / m.
        m: rows that could contradict the claim; so in the functions below.

    Raises:
        ValueError: if a row that decides rests on a test with another alpha.
    """
    if asked.role in DECIDING and not math.isclose(result.alpha, ALPHA / m):
        raise ValueError(f"{asked.key}: of {m} rows each is tested at {ALPHA / m:g}, the test was made at {result.alpha:g}")
    says = {"same": SUPPORTED, "different": CONTRADICTED}.get(result.verdict, UNDECIDED)
    numbers = {"value": result.value, "low": result.low, "high": result.high, "margin": result.margin}
    how = (
        f"supports if distance and ratio are surely within {result.margin:g} and {result.max_ratio:g} and no graph is far "
        f"beyond, contradicts if surely above {result.margin:g} and 1"
    )
    strict = {"m": m, "strict_low": result.strict_low, "kind": KINDS[distance_bounds]}
    shown = {"against": f"margin {result.margin:g}{_ratio(result)}", "band_low": 0.0, "band_high": result.margin}
    shown["by_graph"] = result.table.set_index("graph")["distance"].to_dict()
    rule = f"{result.finding}; {how}"
    return dataclasses.replace(asked, n=len(result.table), says=says, rule=rule, **numbers, **strict, **shown)


def _ratio(result: EquivalenceResult) -> str:
    """The second condition, where it is what keeps a distance within the margin from being the same."""
    if result.verdict == "same" or not result.high <= result.margin:
        return ""
    ratio = f"{fixed(result.ratio, 2)} {interval(result.ratio_low, result.ratio_high, 2)}"
    return f", ratio to replicates {ratio}, at most {result.max_ratio:g}"


def bounds_row(
    asked: Row,
    values: pd.Series,
    bounds: Callable[..., Bounds],
    rule: str,
    *,
    m: int = 1,
    supports: Callable[[Bounds], bool] | None = None,
    contradicts: Callable[[Bounds], bool] | None = None,
) -> Row:
    """A quantity over graphs with its bounds, if there are at least `MIN_GRAPHS`.

    Args:
        asked: what is bounded.
        values: by graph; where one is NaN, nothing is decided.
        bounds: of `analyses.bounds`, called with the values and alpha.
        rule: how the bounds decide, or why it is shown.
        m: see above.
        supports: whether the 95 % bounds support the claim; without it and the next the row says nothing.
        contradicts: whether the bounds at .05/m contradict it.
    """
    n, decides = len(values), supports is not None or contradicts is not None
    kind = KINDS.get(getattr(bounds, "func", bounds), "")
    asked = dataclasses.replace(asked, kind=kind, by_graph=values.to_dict())
    if n < MIN_GRAPHS:
        word = UNDECIDED if decides else ""
        return dataclasses.replace(asked, says=word, rule=f"{rule}; needed are {MIN_GRAPHS} graphs", n=n, m=m)
    if lacking := values.index[values.isna()].tolist():
        word, graphs = UNDECIDED if decides else "", ", ".join(map(str, lacking))
        return dataclasses.replace(asked, says=word, rule=f"{rule}; nothing measured on graph {graphs}", n=n, m=m)
    plain, strict = (bounds(values.to_numpy(dtype=float), alpha=alpha) for alpha in (ALPHA, ALPHA / m))
    says = _word(supports and supports(plain), contradicts and contradicts(strict)) if decides else ""
    return _with_bounds(asked, plain, strict, n, m, says, rule)


def occurrence_row(asked: Row, occurred: Sequence[bool | None], rule: str, *, m: int) -> Row:
    """Something that is claimed to be possible: a few graphs support it, none of many contradicts it.

    Args:
        asked: what is claimed to occur.
        occurred: by graph, in their order; None where it cannot be said, which counts against either word.
        rule: what counts as occurring on one graph.
        m: see above.
    """
    least = graphs_to_exclude(RARE, alpha=ALPHA / m)
    against = f"occurs if surely above {FALSE_ALARM:g}, ruled out below {RARE:g}, which takes {least} graphs"
    asked = _of_words(asked, occurred, against, (FALSE_ALARM, 1.0))
    n, sure, possible = len(occurred), sum(each is True for each in occurred), sum(each is not False for each in occurred)
    low, high = rate_bounds(sure, n).low, rate_bounds(possible, n).high
    strict = Bounds(0.0, rate_bounds(sure, n, alpha=ALPHA / m).low, rate_bounds(possible, n, alpha=ALPHA / m).high)
    full = (
        f"{rule}; {sure} of {n} graphs, {possible - sure} unclear; supports if the rate is surely above {FALSE_ALARM:g}, "
        f"contradicts if surely below {RARE:g}, for which none of {least} graphs may; exact bounds"
    )
    if not n:
        return dataclasses.replace(asked, says=UNDECIDED, rule=full, m=m)
    says = SUPPORTED if low > FALSE_ALARM else CONTRADICTED if strict.high < RARE else UNDECIDED
    if n < MIN_GRAPHS:
        says, full = UNDECIDED, f"{full}; needed are {MIN_GRAPHS} graphs"
    return _with_bounds(asked, Bounds(sure / n, low, high), strict, n, m, says, full)


def violations_row(asked: Row, violated: Sequence[bool | None], rule: str, *, m: int) -> Row:
    """A rule that should hold on every graph: contradicts if surely most graphs break it, supports if surely few do.

    Args:
        asked: what a violation is.
        violated: by graph; None where it cannot be said, which counts against either word.
        rule: what counts as a violation on one graph.
        m: see above.
    """
    asked = _of_words(asked, violated, f"at most {MOST:g}", (0.0, MOST))
    n, sure, possible = len(violated), sum(each is True for each in violated), sum(each is not False for each in violated)
    full = (
        f"{rule}; {sure} of {n} graphs, {possible - sure} unclear; contradicts if surely more than {MOST:g} of graphs, for "
        f"which all of {graphs_to_exclude(MOST, alpha=ALPHA / m)} must, supports if surely fewer; exact bounds"
    )
    if not n:  # the whole range would look like something measured
        return dataclasses.replace(asked, says=UNDECIDED, rule=full, m=m)
    plain = Bounds(sure / n, rate_bounds(sure, n).low, rate_bounds(possible, n).high)
    strict = Bounds(0.0, rate_bounds(sure, n, alpha=ALPHA / m).low, rate_bounds(possible, n, alpha=ALPHA / m).high)
    says = _word(plain.high < MOST, strict.low > MOST)
    return _with_bounds(asked, plain, strict, n, m, says, full)


def after_controls(row: Row, controls: Mapping[str, bool | None]) -> Row:
    """The row, or `invalid` if its criterion fails on a control or has not run on one.

    Args:
        row: that would decide.
        controls: by name, whether the criterion said what is known to be true there; None if it has not run.
    """
    if not controls:
        return dataclasses.replace(row, says=INVALID, rule=f"no control; {row.rule}")
    wrong = [f"{name}: {'not run' if passed is None else 'fails'}" for name, passed in controls.items() if not passed]
    if not wrong:
        return row
    return dataclasses.replace(row, says=INVALID, rule=f"controls: {'; '.join(wrong)}; {row.rule}")


def passes(outcomes: Sequence[bool | None]) -> bool | None:
    """Whether a criterion passes a control: wrong on no graph and right on most; None if it has not run on any.

    Args:
        outcomes: by graph, whether it is right there; None where it says nothing or has not run.
    """
    if all(word is None for word in outcomes):
        return None
    return False not in outcomes and sum(word is True for word in outcomes) > MOST * len(outcomes)


def control_row(asked: Row, outcomes: Sequence[bool | None]) -> Row:
    """A control of a criterion: on how many graphs, or trainings, it says what is so; outcomes as of `passes`."""
    right, wrong, n = sum(word is True for word in outcomes), sum(word is False for word in outcomes), len(outcomes)
    rule = f"right on {right}, wrong on {wrong} of {n} {asked.unit}; passes if wrong on none and right on most"
    says = SUPPORTED if passes(outcomes) else INVALID
    asked = dataclasses.replace(asked, kind=f"share of {asked.unit}")
    return dataclasses.replace(asked, value=right / n if n else float("nan"), n=n, says=says, rule=rule)


def check(name: str, passed: bool, detail: str) -> dict[str, Any]:
    """A row of a claim's checks."""
    return {"check": name, "passed": passed, "detail": detail}


def rows_to_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a table."""
    return pd.DataFrame([[getattr(row, name) for name in COLUMNS] for row in rows], columns=pd.Index(COLUMNS))


def points_of(rows: Sequence[Row]) -> pd.DataFrame:
    """What single graphs say of the main rows, see `ClaimResult`."""
    found = [(row.key, graph, value) for row in rows if row.role == "main" for graph, value in row.by_graph.items()]
    return pd.DataFrame(found, columns=pd.Index(POINTS))


def _of_words(asked: Row, words: Sequence[bool | None], against: str, band: tuple[float, float]) -> Row:
    """A row of what occurs on some graphs and not on others; graphs are numbered in their order."""
    by_graph = {graph: math.nan if word is None else float(word) for graph, word in enumerate(words, start=1)}
    ends = {"band_low": band[0], "band_high": band[1]}
    return dataclasses.replace(asked, kind=SHARE_OF_GRAPHS, against=against, by_graph=by_graph, **ends)


def _word(supports: bool | None, contradicts: bool | None) -> str:
    return CONTRADICTED if contradicts else SUPPORTED if supports else UNDECIDED


def _with_bounds(asked: Row, plain: Bounds, strict: Bounds, n: int, m: int, says: str, rule: str) -> Row:
    bounds = {"value": plain.value, "low": plain.low, "high": plain.high}
    strict_bounds = {"strict_low": strict.low, "strict_high": strict.high}
    return dataclasses.replace(asked, n=n, m=m, says=says, rule=rule, **bounds, **strict_bounds)
