"""What a claim function returns, and how outcomes on several graphs become a word.

Rules are those of docs/preregistration.md: a quantity says `supported`, `contradicted` or `undecided`; so does the claim.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pandas as pd
from scipy.stats import binom

from ...circuits import EquivalenceResult, Result
from ...circuits.columns import Columns
from ...circuits.equivalence import one_sided_bounds
from ..plots.claims import quantity_rows
from ..statistics import holm, wilson

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
Role = Literal["main", "falsifier", "beside"]
EXPLORATORY = "exploratory; does not enter the verdict"
N_GRAPHS = 5  # the number of graphs that the rules speak of
ENOUGH = 4  # of them
MIN_FOR_BOUNDS = 3  # graphs
FALSE_ALARM = 0.05  # how often one graph violates a rule by mistake


@dataclass(frozen=True)
class Row:
    """One quantity of a claim.

    Attributes:
        key: stable name by which verdicts and sentences find the row, such as `f1` or `within_run.aligned`.
        role: `main` and `falsifier` rows decide; `beside` rows are exploratory and do not enter the verdict.
        quantity, split: what was measured, on which questions.
        value, low, high: the estimate with its interval, see `rule`.
        margin: what it is compared with, if anything.
        n, unit: how many graphs, runs or questions it rests on.
        p: of as many violations or more by mistake, if violations were counted; p_holm: Holm's, over the table.
        says: `supported`, `contradicted` or `undecided`; empty if there is no rule.
        rule: how it is decided.
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
    p: float = float("nan")
    p_holm: float = float("nan")
    says: str = ""
    rule: str = ""


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))


@dataclass(frozen=True, eq=False)
class ClaimResult(Result):
    """What the evidence says about a claim.

    Attributes:
        table: the decisive quantities and exploratory ones, a `Row` each; the columns are its fields.
        falsifiers: the same columns, for what would contradict the claim.
        checks: a row for each check that ran, with check, passed and detail.
        claim: its name.
        verdict: `supported`, `contradicted` or `undecided`.
        sentence: the same in plain words.
        would_change: what evidence would change the verdict.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(words="quantity split unit says rule", numbers="value low high margin p p_holm", whole="n"),
    ]
    falsifiers: Annotated[
        pd.DataFrame,
        Columns(words="quantity split unit says rule", numbers="value low high margin p p_holm", whole="n"),
    ]
    checks: Annotated[pd.DataFrame, Columns(words="check detail", flags="passed")]
    claim: str
    verdict: str
    sentence: str
    would_change: str

    @property
    def caption(self) -> str:
        """Claim, verdict and sentence."""
        return f"{self.claim}: {self.verdict}. {self.sentence}"

    def figure(self) -> Any:
        """All quantities with their intervals, coloured by what they say."""
        rows = pd.concat([self.table, self.falsifiers], ignore_index=True)
        n = ", ".join(f"{n} {unit}" for n, unit in dict.fromkeys(zip(rows["n"], rows["unit"], strict=True)))
        return quantity_rows(rows, title=f"{self.claim}: {self.verdict} · n = {n} · bars as the rules say")


def equivalence_row(asked: Row, result: EquivalenceResult) -> Row:
    """*same* supports, *different* contradicts.

    Args:
        asked: key, role, quantity and split of the row; so in the functions below.
        result: of the test.
    """
    says = {"same": SUPPORTED, "different": CONTRADICTED}.get(result.verdict, UNDECIDED)
    numbers = {"value": result.difference, "low": result.low, "high": result.high, "margin": result.margin}
    how = "supports if the upper bound is below the margin, contradicts if the lower is above"
    return dataclasses.replace(asked, n=len(result.table), says=says, rule=f"{result.finding}; {how}", **numbers)


def violations_row(asked: Row, violated: Sequence[bool | None], *, tolerated: int) -> Row:
    """A rule over graphs: few violations support, many contradict.

    Args:
        asked: what a violation is.
        violated: by graph; None where it cannot be said.
        tolerated: violations that still support. With fewer than `N_GRAPHS` graphs that can be judged, nothing is decided.
    """
    judged = [each for each in violated if each is not None]
    count, n = sum(judged), len(judged)
    says = UNDECIDED
    if n >= N_GRAPHS and count <= tolerated * n / N_GRAPHS:
        says = SUPPORTED
    elif n >= N_GRAPHS and count >= ENOUGH * n / N_GRAPHS:
        says = CONTRADICTED
    rule = f"supports with at most {tolerated} of {N_GRAPHS} graphs, contradicts with {ENOUGH} or more; Wilson's interval"
    p = float(binom.sf(count - 1, n, FALSE_ALARM)) if n else float("nan")
    return dataclasses.replace(_share_of_graphs(asked, count, n), says=says, rule=rule, p=p)


def outcomes_row(asked: Row, outcomes: Sequence[str], rule: str) -> Row:
    """A rule whose outcome on each graph is one of the three words: most graphs decide.

    Args:
        asked: what is asked of each graph.
        outcomes: by graph.
        rule: what makes one graph say what.
    """
    n, count = len(outcomes), {word: list(outcomes).count(word) for word in (SUPPORTED, CONTRADICTED)}
    decided = [word for word, times in count.items() if n >= N_GRAPHS and times >= ENOUGH * n / N_GRAPHS]
    full = f"{rule}; {count[SUPPORTED]} graphs support, {count[CONTRADICTED]} contradict, {ENOUGH} of {N_GRAPHS} decide"
    says = decided[0] if decided else UNDECIDED
    return dataclasses.replace(_share_of_graphs(asked, count[SUPPORTED], n), says=says, rule=full)


def bounds_row(asked: Row, values: pd.Series, rule: str, says: Callable[[float, float], str] | None = None) -> Row:
    """A mean over graphs with one-sided 95 % bounds, if there are at least `MIN_FOR_BOUNDS`.

    Args:
        asked: what is averaged.
        values: by graph.
        rule: how the bounds decide, or why it is shown.
        says: what the lower and upper bound say; without it the row says nothing.
    """
    n = len(values)
    if n < MIN_FOR_BOUNDS:
        word = UNDECIDED if says else ""
        return dataclasses.replace(asked, says=word, rule=f"{rule}; needed are {MIN_FOR_BOUNDS} graphs", n=n)
    mean, low, high = one_sided_bounds(values.to_numpy(dtype=float))
    word = says(low, high) if says else ""
    return dataclasses.replace(asked, says=word, rule=rule, value=mean, low=low, high=high, n=n)


def check(name: str, passed: bool, detail: str) -> dict[str, Any]:
    """A row of a claim's checks."""
    return {"check": name, "passed": passed, "detail": detail}


def rows_to_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a table, with Holm's correction over those that have a p."""
    table = pd.DataFrame([dataclasses.asdict(row) for row in rows], columns=pd.Index(COLUMNS))
    tested = table["p"].notna()
    table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].to_numpy(dtype=float))
    return table


def of_role(table: pd.DataFrame, role: Role) -> pd.DataFrame:
    """The rows of one role, by key."""
    return table[table["role"] == role].set_index("key")


def _share_of_graphs(asked: Row, count: int, n: int) -> Row:
    """The row with a share of graphs and Wilson's interval; of no graphs there is none."""
    if not n:
        return asked
    interval = wilson(count / n, n)
    return dataclasses.replace(asked, n=n, value=count / n, low=interval.low, high=interval.high)
