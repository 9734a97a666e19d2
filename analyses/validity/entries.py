"""From what the instruments say of a circuit to a word for each criterion, by a threshold that stands in its row.

Thresholds were set before any audit was run. A number meets one by the bound of its interval, where it has one.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd
from scipy.stats import hypergeom

from ...circuits.units import fixed
from ..bridge.own_pairs import RANDOM
from ..patching.faithfulness import FaithfulnessResult
from ..patching.other_prompts import OtherPromptsResult
from ..statistics import Share, newcombe_interval
from .audit_result import Entry, not_measured
from .evidence_of_circuit import CircuitEvidence

HALF = 0.5  # the share of a gap, of answers or of edges beyond which a thing counts as so
LEAST = 2  # ablations, instruments, alternatives
ALIKE = 0.7  # rank correlations and split halves
WEIGHTS, PLANTED = 0.7, 0.85  # areas under ROC curves
ROUNDING = 1e-3  # of effects, by which an exact rewrite may move them
FLAT, GROWS = 0.1, 0.9  # share of answers still moved where a plateau is; rank correlation of dose and effect
SMALL = 0.1  # of a trained model's gap
ALPHA = 0.05
EDGES, PAIRS, QUESTIONS = "edges", "pairs", "questions"
ENDS = ("value", "low", "high")


class Missing(Exception):
    """An instrument that has not run, with the reason."""


def entries_of(found: CircuitEvidence) -> Iterator[Entry]:
    """An entry for each criterion that one circuit can be judged by; V1 and V2 follow from these, see `audited`."""
    for code, make in MAKERS.items():
        try:
            yield make(found)
        except Missing as missing:
            yield not_measured(code, str(missing))


def _there(found: CircuitEvidence, field: str) -> Any:
    """A result.

    Raises:
        Missing: if there is none.
    """
    if (value := getattr(found, field)) is None:
        raise Missing(found.reasons.get(field, "nothing was given to measure it with"))
    return value


def _judged(found: CircuitEvidence) -> FaithfulnessResult:
    """The circuit alone and knocked out.

    Raises:
        Missing: if no share of the gap can be taken.
    """
    if found.faithfulness.reason:
        raise Missing(found.faithfulness.reason)
    return found.faithfulness


def _numbers(found: Mapping[str, float], what: str) -> Mapping[str, float]:
    """The numbers as they are.

    Raises:
        Missing: if some are none, with their names.
    """
    if without := [name for name, value in found.items() if math.isnan(value)]:
        raise Missing(f"no {what} of {', '.join(without)}")
    return found


def _falsifiable(found: CircuitEvidence) -> Entry:
    edges, kept = _there(found, "predicted"), set(found.circuit.kept_edges)
    hits, n = len(kept.intersection(edges)), len(found.circuit.table)
    p = float(hypergeom.sf(hits - 1, n, len(kept), len(edges)))
    says = f"{hits} of {len(edges)} predicted edges are among the {len(kept)} kept of {n} (p = {p:.3g})"
    rule = f"of the predicted edges more than by chance, p < {ALPHA:g}"
    return Entry("C1", p < ALPHA, "audit(predicted=...)", says, hits / len(edges), rule=rule, n=len(edges), unit=EDGES)


def _weights(found: CircuitEvidence) -> Entry:
    scores = _there(found, "composition")
    if math.isnan(scores.auroc):
        raise Missing("no pair of components has found edges, or all have")
    rule = f"pairs with found edges compose more than others, area under the ROC curve ≥ {WEIGHTS:g}"
    n = scores.n_found + scores.n_others
    met = scores.auroc >= WEIGHTS
    return Entry("C2", met, "composition_scores", scores.caption, scores.auroc, rule=rule, n=n, unit="component pairs")


def _task_specific(found: CircuitEvidence) -> Entry:
    row = _most(_there(found, "other_tasks"), "high")
    rule = f"on other tasks it surely keeps less than {HALF:g} of the gap"
    return _of_row("C3", row, float(row["high"]) < HALF, ("kept", "low", "high"), f"keeps of {row['prompts']}", rule)


def _minimal(found: CircuitEvidence) -> Entry:
    needed = _judged(found).edges["needed"]
    share = float(needed.mean())
    says = f"{int(needed.sum())} of {len(needed)} edges are needed one by one"
    rule = "every edge is needed"
    return Entry("C4", share == 1.0, "faithfulness", says, share, rule=rule, n=len(needed), unit=EDGES)


def _convergent(found: CircuitEvidence) -> Entry:
    others = found.named[found.named["kind"] == "instrument"]
    overlap, alike = (dict(zip(others["name"], others[column], strict=True)) for column in ("overlap", "correlation"))
    agree = [value >= HALF for value in _numbers(overlap, "overlap").values()]
    says = "; ".join(
        f"{name}: overlap {fixed(value, 2)}, rank correlation {fixed(alike[name], 2)}" for name, value in overlap.items()
    )
    rule = f"at least {LEAST} others share ≥ {HALF:g} of the strongest edges (Jaccard)"
    value = min(overlap.values())
    return Entry(
        "C5", sum(agree) >= LEAST, "edge_attribution", says, value, rule=rule, n=len(found.circuit.table), unit=EDGES
    )


def _necessary(found: CircuitEvidence) -> Entry:
    result = found.necessity
    measured = result.table.dropna(subset="without_high").sort_values("without_high")
    if len(measured) < LEAST:
        raise Missing(
            "; ".join(f"{row['ablation']}: {row['reason']}" for row in result.table.to_dict("records") if row["reason"])
        )
    worst = measured.iloc[LEAST - 1]
    rule = f"by at least {LEAST} ablations surely less than {HALF:g} of the gap is left"
    numbers = dict(zip(ENDS, map(float, worst[["without", "without_low", "without_high"]]), strict=True))
    met = len(result.needed_by) >= LEAST
    return Entry("I1", met, "necessity", result.caption, rule=rule, n=int(worst["n"]), unit=PAIRS, **numbers)


def _sufficient(found: CircuitEvidence) -> Entry:
    result, row = _judged(found), found.faithfulness.table.iloc[0]
    met = row["low"] > HALF and result.p_value < ALPHA
    rule = f"surely keeps more than {HALF:g} of the gap, and more than random circuits (p < {ALPHA:g})"
    numbers = dict(zip(ENDS, map(float, row[["faithfulness", "low", "high"]]), strict=True))
    return Entry("I2", bool(met), "faithfulness", result.finding, rule=rule, n=int(row["n"]), unit=PAIRS, **numbers)


def _specific(found: CircuitEvidence) -> Entry:
    """By the state, if an intermediate and a control variable are known; else by what the circuit carries of a control."""
    if found.graded is not None and found.graded.control:
        graded, gap = found.graded, found.graded.specific
        rule = f"the direction surely turns {HALF:g} more of the answers than one as long of a control variable"
        says = f"{graded.intermediate} against {graded.control}; {graded.caption}"
        return _of_share("I3", gap.low > HALF, says, gap, rule)
    row, own = _most(_there(found, "controls"), "high"), _judged(found).faithfulness
    rule = f"of a control variable's gap it surely keeps less than {HALF:g} of what it keeps of its own"
    return _of_row("I3", row, float(row["high"]) < HALF * own, ("kept", "low", "high"), f"keeps of {row['prompts']}", rule)


def _consistent(found: CircuitEvidence) -> Entry:
    said = {str(name): float(value) for name, value in zip(found.named["name"], found.named["correlation"], strict=True)}
    said |= {f"replicate {i}": value for i, value in enumerate(found.replicates, start=1)}
    if found.reliability is not None:
        rows = found.reliability.table.set_index("quantity")["value"]
        said["halves of the pairs"] = float(rows["rank correlation"])
    value = min(_numbers(said, "rank correlation").values())
    says = "; ".join(f"{name} {fixed(each, 2)}" for name, each in said.items())
    rule = f"rank correlation of effects ≥ {ALIKE:g} with each"
    return Entry("I4", value >= ALIKE, "audit", says, value, rule=rule, n=len(said), unit="comparisons")


def _not_collateral(found: CircuitEvidence) -> Entry:
    result, row = _judged(found), found.faithfulness.table.iloc[0]
    random = result.table.iloc[1:]["without"]
    says = f"without it {fixed(row['without'], 2)} is left, without random circuits a median of {fixed(random.median(), 2)}"
    rule = f"less is left than without random circuits, p < {ALPHA:g}"
    return Entry(
        "I5",
        result.p_complete < ALPHA,
        "faithfulness",
        says,
        result.p_complete,
        rule=rule,
        n=len(random),
        unit="random circuits",
    )


def _no_rival(found: CircuitEvidence) -> Entry:
    result = _there(found, "rivals")
    if not result.best:
        raise Missing(result.finding)
    row = result.table[result.table["edges"] == result.best].iloc[0]
    rule = "every rival is surely less faithful"
    numbers = dict(zip(ENDS, map(float, row[["difference", "difference_low", "difference_high"]]), strict=True))
    met = not result.as_faithful
    return Entry("I6", met, "rival_circuits", result.finding, rule=rule, n=int(row["n"]), unit=PAIRS, **numbers)


def _reached(found: CircuitEvidence) -> Entry:
    graded = _there(found, "graded")
    rule = f"a probe surely reads the new value in more than {HALF:g} of the changed states"
    return _of_share("E1", graded.reached.low > HALF, graded.caption, graded.reached, rule)


def _graded(found: CircuitEvidence) -> Entry:
    graded = _there(found, "graded")
    largest = float(graded.table.loc[graded.table["direction"] == graded.intermediate, "moved"].max())
    met = graded.monotone >= GROWS and largest >= HALF and abs(graded.plateau) <= FLAT
    says = (
        f"half of the largest effect ({fixed(largest, 2)} of answers) at dose {fixed(graded.threshold, 2)}; over the last "
        f"fifth of doses {fixed(graded.plateau, 2)} more"
    )
    rule = f"grows with the dose (rank correlation ≥ {GROWS:g}) to ≥ {HALF:g} of answers, then changes by ≤ {FLAT:g}"
    n = int(graded.table["n"].iloc[0])
    return Entry("E2", bool(met), "graded_response", says, graded.monotone, rule=rule, n=n, unit=QUESTIONS)


def _on_task(found: CircuitEvidence) -> Entry:
    row, own = _most(_there(found, "other_tasks"), "lost_high"), 1 - float(_judged(found).table["without"].iloc[0])
    rule = f"other tasks surely lose less than {HALF:g} of what the task loses, {fixed(own, 2)}"
    columns = ("lost", "lost_low", "lost_high")
    return _of_row("E3", row, float(row["lost_high"]) < HALF * own, columns, f"loses of {row['prompts']}", rule)


def _size(found: CircuitEvidence) -> Entry:
    low, high = found.gap_interval
    gap = float(found.faithfulness.table["gap"].iloc[0])
    result = found.faithfulness
    says = f"a gap of {fixed(gap, 2)} {result.unit} by {result.metric}".strip()
    met = not result.reason and (low > 0 or high < 0)
    return Entry("E4", met, "faithfulness", says, gap, low, high, "an interval without 0", len(found.pairs), PAIRS)


def _robust(found: CircuitEvidence) -> Entry:
    row = _most(_there(found, "other_splits"), "low", least=True)
    rule = f"on each that can be judged it surely keeps more than {HALF:g} of the gap"
    return _of_row("E5", row, float(row["low"]) > HALF, ("kept", "low", "high"), f"keeps of {row['prompts']}", rule)


def _reliable(found: CircuitEvidence) -> Entry:
    result = _there(found, "reliability")
    if result.reason:
        raise Missing(result.reason)
    row = result.table.set_index("quantity").loc["correlation"]
    numbers = dict(zip(ENDS, map(float, row[["value", "low", "high"]]), strict=True))
    rule = f"split-half correlation surely ≥ {ALIKE:g}"
    return Entry(
        "M1",
        bool(row["low"] >= ALIKE),
        "split_half",
        result.caption,
        rule=rule,
        n=int(row["n_units"]),
        unit="units",
        **numbers,
    )


def _invariant(found: CircuitEvidence) -> Entry:
    result = _there(found, "invariance")
    if result.reason or not result.same_function:
        raise Missing(result.reason or result.caption)
    met = result.effect_change < ROUNDING
    rule = f"no effect moves by {ROUNDING:g} of the gap"
    n = len(result.table)
    return Entry("M2", met, "invariance", result.caption, result.effect_change, rule=rule, n=n, unit="rewrites")


def _beyond_baselines(found: CircuitEvidence) -> Entry:
    graded = _there(found, "graded")
    if math.isnan(found.untrained_gap):
        raise Missing(found.reasons.get("untrained_gap", "no untrained model was given"))
    at_one = graded.table[graded.table["dose"] == 1.0]
    own, random = (at_one[at_one["direction"] == each].iloc[0] for each in (graded.intermediate, RANDOM))
    moved, by_chance, n_units = float(own["moved"]), float(random["moved"]), int(own["n_facts"])
    gap = Share(moved - by_chance, *newcombe_interval(moved, by_chance, n_units), int(own["n"]), n_units)
    says = (
        f"the direction turns {fixed(moved, 2)} of the answers, random vectors as long {fixed(by_chance, 2)}; an untrained "
        f"model has {fixed(found.untrained_gap, 3)} of the gap"
    )
    rule = f"surely more than random vectors, and the untrained gap is less than {SMALL:g} of the trained one"
    return _of_share("M3", bool(gap.low > 0) and found.untrained_gap < SMALL, says, gap, rule)


def _planted(found: CircuitEvidence) -> Entry:
    area, n_planted, n = found.planted
    says = f"{n_planted} planted of {n} edges of a two-hop model set by hand"
    return Entry(
        "M4", area >= PLANTED, "path_patch", says, area, rule=f"area under the ROC curve ≥ {PLANTED:g}", n=n, unit=EDGES
    )


def _calibrated(found: CircuitEvidence) -> Entry:
    floor, ceiling = found.ends
    random = _judged(found).table.iloc[1:]["faithfulness"]
    says = (
        f"no edge keeps {fixed(floor, 3)}, all {fixed(ceiling, 3)}, random circuits a median of {fixed(random.median(), 3)}"
    )
    met = abs(floor) < ROUNDING and abs(ceiling - 1) < ROUNDING and len(random) > 0
    rule = "floor 0, ceiling 1, and random circuits are known"
    return Entry("M5", met, "faithfulness", says, ceiling - floor, rule=rule, n=len(found.pairs), unit=PAIRS)


def _on_target(found: CircuitEvidence) -> Entry:
    row = _most(found.on_target, "low")
    rule = f"alone it surely keeps more than {HALF:g} of the right answers"
    return _of_row("M6", row, float(row["low"]) > HALF, ("kept", "low", "high"), "keeps of right answers", rule)


def _alternatives(found: CircuitEvidence) -> Entry:
    random = len(_judged(found).table) - 1
    rivals = sum(map(bool, _there(found, "rivals").edges.values()))
    n = (random > 0) + rivals
    says = f"{random} random circuits; {rivals} rivals without its edges"
    return Entry(
        "V4", n >= LEAST, "rival_circuits", says, n, rule=f"at least {LEAST} were measured", n=n, unit="alternatives"
    )


def _scope(found: CircuitEvidence) -> Entry:
    about = {**found.circuit.provenance, "n": len(found.pairs)}
    asked = ("model", "contrast", "metric", "direction", "n")
    told = [name for name in asked if about.get(name)]
    says = ", ".join(f"{name} {about[name]}" for name in told)
    return Entry(
        "V5",
        len(told) == len(asked),
        "discover",
        says,
        len(told) / len(asked),
        rule=f"{', '.join(asked)} are told",
        n=len(asked),
        unit="fields",
    )


def _of_share(code: str, met: bool, says: str, share: Share, rule: str) -> Entry:
    return Entry(code, met, "graded_response", says, share.value, share.low, share.high, rule, share.n, QUESTIONS)


def _of_row(code: str, row: pd.Series, met: bool, columns: tuple[str, str, str], what: str, rule: str) -> Entry:
    value, low, high = (float(row[column]) for column in columns)
    says = f"{what} {fixed(value, 2)}"
    return Entry(code, met, "judge_on", says, value, low, high, rule, int(row["n"]), PAIRS)


def _most(result: OtherPromptsResult, column: str, *, least: bool = False) -> pd.Series:
    """The prompts that have most in a column, or least: of the bound that decides, so that it holds for all if for these.

    Raises:
        Missing: if nothing could be measured.
    """
    rows = result.table.dropna(subset=column).sort_values(column)
    if rows.empty:
        raise Missing("; ".join(f"{row.prompts}: {row.reason}" for row in result.table.itertuples()))
    return rows.iloc[0 if least else -1]


MAKERS: Mapping[str, Callable[[CircuitEvidence], Entry]] = {
    "C1": _falsifiable,
    "C2": _weights,
    "C3": _task_specific,
    "C4": _minimal,
    "C5": _convergent,
    "I1": _necessary,
    "I2": _sufficient,
    "I3": _specific,
    "I4": _consistent,
    "I5": _not_collateral,
    "I6": _no_rival,
    "E1": _reached,
    "E2": _graded,
    "E3": _on_task,
    "E4": _size,
    "E5": _robust,
    "M1": _reliable,
    "M2": _invariant,
    "M3": _beyond_baselines,
    "M4": _planted,
    "M5": _calibrated,
    "M6": _on_target,
    "V4": _alternatives,
    "V5": _scope,
}
"""By criterion, what makes its entry; E6 and V3 are about more than one circuit."""
