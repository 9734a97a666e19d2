"""Claim (i): grokked and non-grokked models answer in-distribution compositions along the same inference path.

He et al. 2026 (arXiv 2601.09049, section 4) argue it from lens rates that come to agree. Here the circuits themselves are
tested for equivalence, with replicate trainings as the measure of what is the same, and falsifiers are looked for one by
one. Arms: `early`, a natural run when ID questions are answered and OOD ones are not; `grokked`, the same later; `taught`, a
run whose OOD facts were in compositional training. Rules and margins: docs/preregistration.md.
"""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from ...circuits import Circuit, equivalence
from ...tasks.questions.pairs import n_pairable
from ..bridge.evidence import EvidenceResult
from ..bridge.lens import LensResult
from ..bridge.verdicts import bridge_is, bridge_read
from .path_measurement import MIN_PAIRS, PathMeasurement, measure_paths
from .rules import (
    CONTRADICTED,
    SUPPORTED,
    UNDECIDED,
    ClaimResult,
    bounds_row,
    check,
    equivalence_row,
    in_table,
    violations_row,
)
from .specimens import AGAIN, Arms, Specimen

ARMS = {
    "early": ("natural", "id_generalised"),
    "grokked": ("natural", "ood_generalised"),
    "taught": ("both_hops", "ood_generalised"),
}
"""Where a study has them, see `study_arms`."""
Compared = Mapping[str, tuple[str, str]]
"""Names of comparisons with the two arms of each."""
PAIRS: Compared = {"the paper's pair": ("grokked", "taught"), "within a run": ("early", "grokked")}
CLAIM = "same inference path"
MAX_EARLY_OOD = 0.5
READABLE = 0.5
ALL_PAIRS = ", all pairs"


def same_inference_path(
    graphs: Mapping[int, Arms],
    *,
    compared: Compared = PAIRS,
    split: str = "test_inferred_iid",
    n_pairs: int = 256,
    n_questions: int = 512,
    transferred: pd.DataFrame | None = None,
    seed: int = 0,
) -> ClaimResult:
    """Decide claim (i).

    Args:
        graphs: specimens by graph, with the arms `early`, `grokked`, `taught` and replicates of at least one of each
            compared pair (`grokked again`), as `study_arms(study, ARMS)` gives them.
        compared: the main rows; others than the pre-registered two are for controls, each judged by itself.
        split: of the questions; OOD ones only for arms that answer them.
        n_pairs: prompt pairs asked for on each graph; those that all its models get right are used.
        n_questions: for the evidence on the bridge.
        transferred: how further trainings from these arms learned new facts, see `transfer_table`; for F5.
        seed: of pairs, halves and resampling.

    Raises:
        ValueError: if no graph has the arms that a pair needs.
    """
    usable = comparable(graphs, compared)
    if not usable:
        there = {number: sorted(arms) for number, arms in graphs.items()}
        needed = dict(compared)
        raise ValueError(f"no graph has two arms to compare and a replicate of one; needed are {needed}, there are {there}")
    n_pairs = pairs_for_all(usable, split, n_pairs)
    measured = {number: measure_paths(arms, split, n_pairs, n_questions, seed=seed) for number, arms in usable.items()}
    return decide_same_path(measured, split, compared, transferred)


def comparable(graphs: Mapping[int, Arms], compared: Compared = PAIRS) -> dict[int, Arms]:
    """The graphs on which something can be compared, with the arms that are, and their replicates.

    Checkpoints called early that answer OOD questions already are left out.
    """
    names = {name + again for pair in compared.values() for name in pair for again in ("", AGAIN)}
    valid = {
        number: {name: each for name, each in arms.items() if name in names and not _late(name, each)}
        for number, arms in graphs.items()
    }
    return {number: arms for number, arms in valid.items() if any(_has(arms, pair) for pair in compared.values())}


def pairs_for_all(graphs: Mapping[int, Arms], split: str, n: int) -> int:
    """How many pairs can be asked for on every graph, at most n: circuits are compared by one recipe."""
    tasks = [next(iter(arms.values())).task for arms in graphs.values()]
    return min(n, *(n_pairable(task.split(split)) for task in tasks))


def decide_same_path(
    measured: Mapping[int, PathMeasurement],
    split: str,
    compared: Compared = PAIRS,
    transferred: pd.DataFrame | None = None,
) -> ClaimResult:
    """Claim (i) from what was measured, by graph; see `same_inference_path`."""
    main, beside, falsifiers = [], [], []
    for name, pair in compared.items():
        rows = {number: each for number, each in measured.items() if _has(each.circuits, pair)}
        main += _equivalences(name, pair, split, {number: each.circuits for number, each in rows.items()})
        everything = {number: each.circuits_all for number, each in measured.items() if _has(each.circuits_all, pair)}
        beside += [_beside(row) for row in _equivalences(name, pair, split, everything)]
        falsifiers += _falsifiers(name, pair, split, rows)
        if transferred is not None and set(pair) <= set(transferred["arm"]):
            falsifiers.append(_learning_of_new_facts(name, pair, transferred))
    if any("early" in pair for pair in compared.values()):
        falsifiers.append(_answer_first(split, measured))
    table, against = in_table(main), in_table(falsifiers)
    verdict = _verdict(table, against, len(compared))
    sentence = _sentence(table, against, verdict)
    shown = in_table(main + beside)
    return ClaimResult(shown, against, _checks(measured, compared), CLAIM, verdict, sentence, _would_change(table))


def _late(name: str, specimen: Specimen) -> bool:
    return name.startswith("early") and specimen.accuracy.get("test_inferred_ood", 0.0) >= MAX_EARLY_OOD


def _has(arms: Collection[str], pair: tuple[str, str]) -> bool:
    return set(pair) <= set(arms) and any(name + AGAIN in arms for name in pair)


def _equivalences(
    name: str, pair: tuple[str, str], split: str, found: Mapping[int, Mapping[str, Circuit]]
) -> list[dict[str, Any]]:
    """The test before and after alignment of loops, on circuits by graph and arm."""
    if not found:
        return []
    circuits = {number: {arm: each[arm] for arm in pair} for number, each in found.items()}
    again = {number: {arm: each[arm + AGAIN] for arm in pair if arm + AGAIN in each} for number, each in found.items()}
    quantity = f"{name}: {pair[0]} / {pair[1]}, distance of circuits beyond replicates"
    return [
        equivalence_row(
            quantity + (", aligned" if aligned else ""), split, equivalence(circuits, again, pair, aligned=aligned)
        )
        for aligned in (False, True)
    ]


def _beside(row: dict[str, Any]) -> dict[str, Any]:
    """The same row on all pairs, right or wrong, which decides nothing."""
    rule = f"beside, right and wrong pairs alike; by the same rule it says {row['says']}"
    return row | {"quantity": row["quantity"] + ALL_PAIRS, "says": "", "rule": rule}


def _falsifiers(
    name: str, pair: tuple[str, str], split: str, measured: Mapping[int, PathMeasurement]
) -> list[dict[str, Any]]:
    """F1 to F3 of a pair of arms."""
    a, b = pair
    reads = [tuple(_first_readable(each.lens[arm]) for arm in pair) for each in measured.values()]
    moved = [None if None in read else read[0] != read[1] for read in reads]
    apart = {"necessary": [], "used": []}
    for each, read in zip(measured.values(), reads, strict=True):
        layers = {"necessary": [layer for layer in set(read) if layer is not None], "used": None}
        for verdict, outcomes in apart.items():
            outcomes.append(_in_one_arm_only(each.evidence[a], each.evidence[b], verdict, layers[verdict]))
    where = f"{name}: {a} / {b}, "
    return [
        violations_row(f"F1 {where}bridge first readable at another layer", split, moved, tolerated=1),
        violations_row(f"F2 {where}bridge necessary in one arm only", split, apart["necessary"], tolerated=0),
        violations_row(f"F3 {where}bridge used in one arm only", split, apart["used"], tolerated=0),
    ]


def _first_readable(lens: LensResult) -> int | None:
    """The first layer after which the bridge is read at r1 in half of the questions."""
    rows = bridge_read(lens)
    layers = rows.loc[rows["top1"] >= READABLE, "layer"]
    return None if layers.empty else int(layers.min())


def _in_one_arm_only(a: EvidenceResult, b: EvidenceResult, verdict: str, layers: list[int] | None) -> bool | None:
    """Whether one arm says yes at one of the layers at r1 and the other no at all of them; None if either is undecided."""
    if layers == []:
        return None
    says = [bridge_is(evidence, verdict, layers) for evidence in (a, b)]
    return None if UNDECIDED in says else says[0] != says[1]


def _answer_first(split: str, measured: Mapping[int, PathMeasurement]) -> dict[str, Any]:
    """F4: in the early arm the answer can be read before the bridge in most questions."""
    outcomes = []
    for each in measured.values():
        if "early" in each.lens:
            first = each.lens["early"].queries
            outcomes.append(bool((first["first_answer"] < first["first_bridge"]).mean() > READABLE))
    return violations_row("F4 early: answer readable before the bridge", split, outcomes, tolerated=0)


def _learning_of_new_facts(name: str, pair: tuple[str, str], transferred: pd.DataFrame) -> dict[str, Any]:
    """F5: what is trained further from the two arms composes new facts at another pace."""
    rows = transferred[(transferred["exposure"] == 0) & transferred["arm"].isin(pair)]
    area = rows.pivot_table(index="seed", columns="arm", values="area")  # the mean over cells
    reached = rows.groupby("arm")["to_90"].agg(lambda steps: f"{steps.notna().sum()} of {len(steps)}")
    a, b = pair
    rule = (
        "beside, since no threshold was set: area under the curve of exact match, mean over cells, one-sided 95 % bounds, "
        f"Student's t over graphs; .9 was reached in {reached[a]} cells from {a}, {reached[b]} from {b}"
    )
    gap = (area[a] - area[b]).dropna()
    return bounds_row(f"F5 {name}: {a} − {b}, learning of new facts", "new facts", gap, rule)


def _verdict(table: pd.DataFrame, falsifiers: pd.DataFrame, n_main: int) -> str:
    """Supported if both main rows are and nothing contradicts; contradicted if one is, also aligned, or a falsifier."""
    aligned = table["quantity"].str.endswith("aligned")
    plain, moved = table[~aligned]["says"].tolist(), table[aligned]["says"].tolist()
    different = any(p == m == CONTRADICTED for p, m in zip(plain, moved, strict=True))
    if different or (falsifiers["says"] == CONTRADICTED).any():
        return CONTRADICTED
    return SUPPORTED if len(plain) == n_main and set(plain) == {SUPPORTED} else UNDECIDED


def _checks(measured: Mapping[int, PathMeasurement], compared: Compared) -> pd.DataFrame:
    n = {number: each.n_pairs for number, each in measured.items()}
    replicated = sum(any(AGAIN in name for name in each.lens) for each in measured.values())
    rows = [
        check("all arms of a graph have its facts and tests", True, f"{len(n)} graphs"),
        check("replicate trainings", replicated == len(n), f"{replicated} of {len(n)} graphs"),
        check("pairs right in all models of a graph", min(n.values()) >= MIN_PAIRS, f"{n}, needed are {MIN_PAIRS}"),
    ]
    if any("early" in pair for pair in compared.values()):
        has_early = sum("early" in each.lens for each in measured.values())
        rows.append(check(f"early arm below {MAX_EARLY_OOD} OOD", has_early == len(n), f"{has_early} of {len(n)} graphs"))
    return pd.DataFrame(rows)


def _sentence(table: pd.DataFrame, falsifiers: pd.DataFrame, verdict: str) -> str:
    plain = table[~table["quantity"].str.endswith("aligned")]
    plain = plain[plain["says"] != ""]
    columns = plain[["quantity", "says", "value", "margin"]].itertuples(index=False)
    says = [
        f"{str(quantity).partition(',')[0]} {word}, distance beyond replicates {value:.2f}, margin {margin:.2f}"
        for quantity, word, value, margin in columns
    ]
    broken = falsifiers.loc[falsifiers["says"] == CONTRADICTED, "quantity"].tolist()
    against = f"against it: {'; '.join(broken)}" if broken else "no falsifier speaks against it"
    word = {SUPPORTED: "take", CONTRADICTED: "do not take", UNDECIDED: "may or may not take"}[verdict]
    shown = "; ".join(says) or "too few pairs for circuits"
    return f"Grokked and non-grokked models {word} the same path on these questions ({shown}; {against})."


def _would_change(table: pd.DataFrame) -> str:
    margins = table["margin"].dropna()
    margin = f"{margins.min():.3f}" if len(margins) else "the replicates' own distance"
    return (
        f"Circuits that differ by more than replicate trainings do, beyond {margin}, before and after alignment, or a "
        "falsifier in most graphs would contradict it; bounds below that margin for both pairs of arms, on at least three "
        "graphs, would support it."
    )
