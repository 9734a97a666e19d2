"""What a claim function returns, and how outcomes on several graphs become a word.

Rules are those of docs/preregistration.md: a quantity says `supported`, `contradicted` or `undecided`; so does the claim.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy.stats import binom

from ...circuits import EquivalenceResult, Result
from ...circuits.equivalence import one_sided_bounds
from ..plots.claims import quantity_rows
from ..statistics import holm, wilson

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
COLUMNS = ("quantity", "split", "value", "low", "high", "margin", "n", "unit", "p", "p_holm", "says", "rule")
N_GRAPHS = 5  # that the rules over graphs speak of
ENOUGH = 4  # of them
MIN_FOR_BOUNDS = 3  # graphs
FALSE_ALARM = 0.05  # how often one graph may violate a rule by mistake


@dataclass(frozen=True, eq=False)
class ClaimResult(Result):
    """What the evidence says about a claim.

    Attributes:
        table: the decisive quantities, a row each, with
            quantity, split: what was measured, on which questions;
            value, low, high: the estimate with its interval, see `rule`;
            margin: what it is held against, if it is;
            n, unit: how many graphs, runs or questions stand behind it;
            p: of as many violations or more by mistake, if violations were counted; p_holm: Holm's, over the table;
            says: `supported`, `contradicted` or `undecided`; empty for what is shown beside;
            rule: how it is decided.
        falsifiers: the same columns, for what would contradict the claim.
        checks: a row for each check that ran, with check, passed and detail.
        claim: its name.
        verdict: `supported`, `contradicted` or `undecided`.
        sentence: the same in plain words.
        would_change: what evidence would change the verdict.
    """

    falsifiers: pd.DataFrame
    checks: pd.DataFrame
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


def row(quantity: str, split: str, says: str, rule: str, **numbers: Any) -> dict[str, Any]:
    """A row of a claim's table; what is not given is NaN."""
    empty = dict.fromkeys(COLUMNS, float("nan"))
    return empty | {"quantity": quantity, "split": split, "says": says, "rule": rule} | numbers


def equivalence_row(quantity: str, split: str, result: EquivalenceResult) -> dict[str, Any]:
    """*same* supports, *different* contradicts."""
    says = {"same": SUPPORTED, "different": CONTRADICTED}.get(result.verdict, UNDECIDED)
    numbers = {"value": result.difference, "low": result.low, "high": result.high, "margin": result.margin}
    how = "supports if the upper bound is below the margin, contradicts if the lower is above"
    rule = f"{result.caption.partition(': ')[2]}; {how}"
    return row(quantity, split, says, rule, n=len(result.table), unit="graphs", **numbers)


def violations_row(quantity: str, split: str, violated: Sequence[bool | None], *, tolerated: int) -> dict[str, Any]:
    """A rule over graphs: few violations support, many contradict.

    Args:
        quantity: what a violation is.
        split: of the questions.
        violated: by graph; None where it cannot be said.
        tolerated: so many violations still support; with fewer than `N_GRAPHS` that can be judged nothing is decided.
    """
    judged = [each for each in violated if each is not None]
    count, n = sum(judged), len(judged)
    says = UNDECIDED
    if n >= N_GRAPHS:
        says = (
            SUPPORTED if count <= tolerated * n / N_GRAPHS else CONTRADICTED if count >= ENOUGH * n / N_GRAPHS else UNDECIDED
        )
    rule = f"supports with at most {tolerated} of {N_GRAPHS} graphs, contradicts with {ENOUGH} or more; Wilson's interval"
    p = {"p": float(binom.sf(count - 1, n, FALSE_ALARM))} if n else {}
    return row(quantity, split, says, rule, **_share_of_graphs(count, n), **p)


def outcomes_row(quantity: str, split: str, outcomes: Sequence[str], rule: str) -> dict[str, Any]:
    """A rule whose outcome on each graph is one of the three words: most graphs decide.

    Args:
        quantity: what is asked.
        split: of the questions.
        outcomes: by graph.
        rule: what makes one graph say what.
    """
    n, count = len(outcomes), {word: list(outcomes).count(word) for word in (SUPPORTED, CONTRADICTED)}
    decided = [word for word, times in count.items() if n >= N_GRAPHS and times >= ENOUGH * n / N_GRAPHS]
    full = f"{rule}; {count[SUPPORTED]} graphs support, {count[CONTRADICTED]} contradict, {ENOUGH} of {N_GRAPHS} decide"
    return row(quantity, split, decided[0] if decided else UNDECIDED, full, **_share_of_graphs(count[SUPPORTED], n))


def bounds_row(
    quantity: str, split: str, values: pd.Series, rule: str, says: Callable[[float, float], str] | None = None
) -> dict[str, Any]:
    """A mean over graphs with one-sided 95 % bounds, if there are at least `MIN_FOR_BOUNDS`.

    Args:
        quantity: what is averaged.
        split: of the questions.
        values: by graph.
        rule: how the bounds decide, or why it is shown.
        says: what the lower and upper bound say; without it the row is shown beside and decides nothing.
    """
    n = len(values)
    if n < MIN_FOR_BOUNDS:
        word = UNDECIDED if says else ""
        return row(quantity, split, word, f"{rule}; needed are {MIN_FOR_BOUNDS} graphs", n=n, unit="graphs")
    mean, low, high = one_sided_bounds(values.to_numpy(dtype=float))
    word = says(low, high) if says else ""
    return row(quantity, split, word, rule, value=mean, low=low, high=high, n=n, unit="graphs")


def check(name: str, passed: bool, detail: str) -> dict[str, Any]:
    """A row of a claim's checks."""
    return {"check": name, "passed": passed, "detail": detail}


def _share_of_graphs(count: int, n: int) -> dict[str, Any]:
    """A share with Wilson's interval, as a row has it; of no graphs there is none."""
    if not n:
        return {"n": n, "unit": "graphs"}
    interval = wilson(count / n, n)
    return {"n": n, "unit": "graphs", "value": count / n, "low": interval.low, "high": interval.high}


def in_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table with all columns of a claim."""
    table = pd.DataFrame(list(rows), columns=pd.Index(COLUMNS))
    tested = table["p"].notna()
    table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].to_numpy(dtype=float))
    return table
