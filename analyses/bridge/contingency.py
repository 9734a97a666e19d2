"""Found and correct: whether the questions whose bridge is found are those answered correctly, or only equally many.

He et al. 2026 report the two rates side by side; that says little about P(correct, not found), which the claim that
accuracy and circuit come apart rests on.
"""

import einops
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from ...circuits.arguments import common_problems, number_problems, refuse
from ..statistics import wilson


def found_by_correct(
    found: Bool[np.ndarray, " query"],
    correct: Bool[np.ndarray, " query"],
    facts: Int[np.ndarray, " query"],
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How often a reading and a correct answer go together, query by query.

    Args:
        found: whether something was read in each query.
        correct: whether the query was answered correctly.
        facts: the unit of each query, by which intervals are clustered.
        n_bootstrap: resamples of units for the last two rows.
        seed: of the resampling.

    Returns:
        A row for each quantity with value, low, high (95 %: Wilson's over units for shares, percentiles of resampled units
        for the phi coefficient and the mutual information, which is in nats and never below 0; NaN for a single unit),
        n queries and n_facts, the number of their units.

    Raises:
        ValueError: if there is no query.

    >>> f, c = np.array([True, True, False]), np.array([True, False, False])
    >>> found_by_correct(f, c, np.arange(3)).set_index("quantity")["value"]["P(correct | found)"]
    np.float64(0.5)
    """
    refuse(common_problems(n_bootstrap=n_bootstrap, seed=seed))
    if not len(facts):
        raise ValueError("no question: there is none that is found or correct")
    shares = {
        "P(correct)": (correct, np.ones_like(correct)),
        "P(found)": (found, np.ones_like(found)),
        "P(correct | found)": (correct, found),
        "P(found | correct)": (found, correct),
        "P(correct, not found)": (correct & ~found, np.ones_like(found)),
        "P(found, not correct)": (found & ~correct, np.ones_like(found)),
    }
    rows = []
    for quantity, (event, among) in shares.items():
        n, n_facts = int(among.sum()), len(np.unique(facts[among]))
        value = float(event[among].mean()) if n else float("nan")
        low, high = wilson(value, n_facts)
        rows.append({"quantity": quantity, "value": value, "low": low, "high": high, "n": n, "n_facts": n_facts})
    cells = _cells_by_fact(found, correct, facts)
    draws = np.random.default_rng(seed).multinomial(len(cells), np.full(len(cells), 1 / len(cells)), size=n_bootstrap)
    for quantity, compute in (("phi coefficient", _phi), ("mutual information", _mutual_information)):
        value, resampled = float(compute(cells.sum(0)[None])[0]), compute(draws @ cells)
        known = resampled[~np.isnan(resampled)] if len(cells) > 1 else resampled[:0]
        low, high = np.quantile(known, [0.025, 0.975]).tolist() if len(known) else (float("nan"), float("nan"))
        row = {"quantity": quantity, "value": value, "low": low, "high": high}
        rows.append(row | {"n": len(found), "n_facts": len(cells)})
    return pd.DataFrame(rows)


def frechet_bounds(found: float, correct: float) -> pd.DataFrame:
    """What the two rates alone allow, if nothing is known query by query (Fréchet 1951).

    Args:
        found: share of queries in which something was read.
        correct: share of queries answered correctly.

    Returns:
        A row for `P(correct, not found)`, `P(found, not correct)` and `P(correct, found)` with the bounds low and high.

    Raises:
        ValueError: if one of them is no fraction.
    """
    refuse(number_problems(0, most=1, found=found, correct=correct))
    rows = [
        ("P(correct, not found)", max(0.0, correct - found), min(correct, 1 - found)),
        ("P(found, not correct)", max(0.0, found - correct), min(found, 1 - correct)),
        ("P(correct, found)", max(0.0, found + correct - 1), min(found, correct)),
    ]
    return pd.DataFrame(rows, columns=pd.Index(["quantity", "low", "high"]))


def _cells_by_fact(
    found: Bool[np.ndarray, " query"], correct: Bool[np.ndarray, " query"], facts: Int[np.ndarray, " query"]
) -> Int[np.ndarray, "fact 4"]:
    """Counts of neither, only correct, only found, both, for each unit."""
    _, fact = np.unique(facts, return_inverse=True)
    cells = np.zeros((fact.max() + 1, 4), dtype=np.int64)
    np.add.at(cells, (fact, 2 * found.astype(int) + correct), 1)
    return cells


def _phi(cells: Int[np.ndarray, "sample 4"]) -> Float[np.ndarray, " sample"]:
    neither, only_correct, only_found, both = cells.astype(float).T
    f, c = only_found + both, only_correct + both
    with np.errstate(invalid="ignore"):
        return (both * neither - only_found * only_correct) / np.sqrt(
            f * c * (neither + only_correct) * (neither + only_found)
        )


def _mutual_information(cells: Int[np.ndarray, "sample 4"]) -> Float[np.ndarray, " sample"]:
    joint = einops.rearrange(cells / cells.sum(1, keepdims=True), "sample (found correct) -> sample found correct", found=2)
    independent = joint.sum(2, keepdims=True) * joint.sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(joint > 0, joint * np.log(joint / independent), 0.0)
    return terms.sum((1, 2))
