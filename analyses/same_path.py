"""Claim (i): grokked and non-grokked models answer in-distribution compositions along the same inference path.

He et al. 2026 (arXiv 2601.09049, section 4) argue it from lens rates that come to agree. Here the circuits themselves are
tested for equivalence, with replicate trainings as the measure of what is the same, and falsifiers are looked for one by
one. Arms: `early`, a natural run when ID questions are answered and OOD ones are not; `grokked`, the same later; `taught`, a
run whose OOD facts were in compositional training. Rules and margins: docs/preregistration.md.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..circuits import Circuit, equivalence
from ..tasks import TwoHopTask, make_pairs
from .arms import AGAIN, Arms
from .claim import (
    CONTRADICTED,
    SUPPORTED,
    UNDECIDED,
    ClaimResult,
    at_r1,
    bridge_read_at_r1,
    check,
    equivalence_row,
    in_table,
    violations_row,
)
from .discovery import discover
from .evidence import EvidenceResult, bridge_evidence
from .facts import n_pairable
from .lens import LensResult, logit_lens

ARMS = {
    "early": ("natural", "id_generalised"),
    "grokked": ("natural", "ood_generalised"),
    "taught": ("both_hops", "ood_generalised"),
}
"""Where a study has them, see `study_arms`."""
PAIRS = {"the paper's pair": ("grokked", "taught"), "within a run": ("early", "grokked")}
CLAIM = "same inference path"
MIN_PAIRS = 50  # fewer say nothing about a circuit
MAX_EARLY_OOD = 0.5
READABLE = 0.5


@dataclass(frozen=True, eq=False)
class PathMeasurement:
    """What is known of one graph's models.

    Attributes:
        circuits: by arm, all on the same pairs; empty if there are too few.
        evidence: by arm, on the bridge.
        lens: by arm.
        n_pairs: that all models get right, of n_asked.
    """

    circuits: Mapping[str, Circuit]
    evidence: Mapping[str, EvidenceResult]
    lens: Mapping[str, LensResult]
    n_pairs: int
    n_asked: int


def same_inference_path(
    graphs: Mapping[int, Arms],
    *,
    split: str = "test_inferred_iid",
    n_pairs: int = 256,
    n_questions: int = 512,
    seed: int = 0,
) -> ClaimResult:
    """Decide claim (i).

    Args:
        graphs: specimens by graph, with the arms `early`, `grokked`, `taught` and replicates of at least one of each
            compared pair (`grokked again`), as `study_arms(study, ARMS)` gives them.
        split: of the questions.
        n_pairs: prompt pairs asked for on each graph; those that all its models get right are used.
        n_questions: for the evidence on the bridge.
        seed: of pairs, halves and resampling.

    Raises:
        ValueError: if no graph has the arms that a pair needs.
    """
    valid = {number: _without_late_early(arms) for number, arms in graphs.items()}
    usable = {number: arms for number, arms in valid.items() if any(_has(arms, pair) for pair in PAIRS.values())}
    if not usable:
        there = {number: sorted(arms) for number, arms in valid.items()}
        raise ValueError(f"no graph has two arms to compare and a replicate of one; needed are {PAIRS}, there are {there}")
    n_pairs = min(n_pairs, *(n_pairable(_task(arms).split(split)) for arms in usable.values()))
    measured = {number: measure_paths(arms, split, n_pairs, n_questions, seed=seed) for number, arms in usable.items()}
    return decide_same_path(measured, split)


def measure_paths(arms: Arms, split: str, n_pairs: int, n_questions: int, *, seed: int = 0) -> PathMeasurement:
    """Circuits on the same pairs, lens and evidence of every model of a graph; arguments as of `same_inference_path`."""
    task, models = _task(arms), {name: specimen.model for name, specimen in arms.items()}
    pairs = make_pairs(task, split=split, contrast="bridge", n=n_pairs, seed=seed).keep_correct(*models.values())
    opened = models if len(pairs) >= MIN_PAIRS else {}
    return PathMeasurement(
        {name: discover(model, pairs, seed=seed) for name, model in opened.items()},
        {name: bridge_evidence(each.model, each.task, split, n=n_questions, seed=seed) for name, each in arms.items()},
        {name: logit_lens(model, task.split(split), seed=seed) for name, model in models.items()},
        len(pairs),
        pairs.n_asked,
    )


def decide_same_path(measured: Mapping[int, PathMeasurement], split: str) -> ClaimResult:
    """Claim (i) from what was measured, by graph."""
    main, falsifiers = [], []
    for name, pair in PAIRS.items():
        rows = {number: each for number, each in measured.items() if _has(each.circuits, pair)}
        main += _equivalences(name, pair, split, rows)
        falsifiers += _falsifiers(name, pair, split, rows)
    falsifiers.append(_answer_first(split, measured))
    table, against = in_table(main), in_table(falsifiers)
    verdict = _verdict(table, against)
    sentence = _sentence(table, against, verdict)
    return ClaimResult(table, against, _checks(measured), CLAIM, verdict, sentence, _would_change(table))


def _task(arms: Arms) -> TwoHopTask:
    """Any of the tasks: graph and tests are the same for all arms."""
    return next(iter(arms.values())).task


def _without_late_early(arms: Arms) -> Arms:
    """Without checkpoints called early that answer OOD questions already."""
    return {
        name: each
        for name, each in arms.items()
        if not (name.startswith("early") and each.accuracy.get("test_inferred_ood", 0.0) >= MAX_EARLY_OOD)
    }


def _has(arms: Collection[str], pair: tuple[str, str]) -> bool:
    return set(pair) <= set(arms) and any(name + AGAIN in arms for name in pair)


def _equivalences(
    name: str, pair: tuple[str, str], split: str, measured: Mapping[int, PathMeasurement]
) -> list[dict[str, Any]]:
    """The test before and after alignment of loops."""
    if not measured:
        return []
    circuits = {number: {arm: each.circuits[arm] for arm in pair} for number, each in measured.items()}
    again = {
        number: {arm: each.circuits[arm + AGAIN] for arm in pair if arm + AGAIN in each.circuits}
        for number, each in measured.items()
    }
    quantity = f"{name}: {pair[0]} / {pair[1]}, distance of circuits beyond replicates"
    return [
        equivalence_row(
            quantity + (", aligned" if aligned else ""), split, equivalence(circuits, again, pair, aligned=aligned)
        )
        for aligned in (False, True)
    ]


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
    rows = bridge_read_at_r1(lens)
    layers = rows.loc[rows["top1"] >= READABLE, "layer"]
    return None if layers.empty else int(layers.min())


def _in_one_arm_only(a: EvidenceResult, b: EvidenceResult, verdict: str, layers: list[int] | None) -> bool | None:
    """Whether one arm says yes at one of the layers at r1 and the other no at all of them; None if either is undecided."""
    if layers == []:
        return None
    says = []
    for evidence in (a, b):
        rows = at_r1(evidence)
        if layers is not None:
            rows = rows[rows["layer"].isin(layers)]
        says.append("yes" if (rows[verdict] == "yes").any() else "no" if (rows[verdict] == "no").all() else None)
    return None if None in says else says[0] != says[1]


def _answer_first(split: str, measured: Mapping[int, PathMeasurement]) -> dict[str, Any]:
    """F4: in the early arm the answer can be read before the bridge in most questions."""
    outcomes = []
    for each in measured.values():
        if "early" in each.lens:
            first = each.lens["early"].queries
            outcomes.append(bool((first["first_answer"] < first["first_bridge"]).mean() > READABLE))
    return violations_row("F4 early: answer readable before the bridge", split, outcomes, tolerated=0)


def _verdict(table: pd.DataFrame, falsifiers: pd.DataFrame) -> str:
    """Supported if both main rows are and nothing contradicts; contradicted if one is, also aligned, or a falsifier."""
    aligned = table["quantity"].str.endswith("aligned")
    plain, moved = table[~aligned]["says"].tolist(), table[aligned]["says"].tolist()
    different = any(p == m == CONTRADICTED for p, m in zip(plain, moved, strict=True))
    if different or (falsifiers["says"] == CONTRADICTED).any():
        return CONTRADICTED
    return SUPPORTED if len(plain) == len(PAIRS) and set(plain) == {SUPPORTED} else UNDECIDED


def _checks(measured: Mapping[int, PathMeasurement]) -> pd.DataFrame:
    n = {number: each.n_pairs for number, each in measured.items()}
    replicated = sum(any(AGAIN in name for name in each.lens) for each in measured.values())
    has_early = sum("early" in each.lens for each in measured.values())
    return pd.DataFrame(
        [
            check("all arms of a graph have its facts and tests", True, f"{len(n)} graphs"),
            check("replicate trainings", replicated == len(n), f"{replicated} of {len(n)} graphs"),
            check("pairs right in all models of a graph", min(n.values()) >= MIN_PAIRS, f"{n}, needed are {MIN_PAIRS}"),
            check(f"early arm below {MAX_EARLY_OOD} OOD", has_early == len(n), f"{has_early} of {len(n)} graphs"),
        ]
    )


def _sentence(table: pd.DataFrame, falsifiers: pd.DataFrame, verdict: str) -> str:
    plain = table[~table["quantity"].str.endswith("aligned")]
    says = [f"{quantity.partition(',')[0]} {says}" for quantity, says in zip(plain["quantity"], plain["says"], strict=True)]
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
