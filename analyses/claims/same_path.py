"""Claim (i): grokked and non-grokked models answer in-distribution compositions along the same inference path.

He et al. 2026 (arXiv 2601.09049, section 4) argue it from lens rates that come to agree. Here the circuits themselves are
tested for equivalence, with replicate trainings as the measure of what is the same, and falsifiers are looked for one by
one. Arms: `early`, a natural run when ID questions are answered and OOD ones are not; `grokked`, the same later; `taught`, a
run whose OOD facts were in compositional training. Rules and margins: docs/preregistration.md.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import pandas as pd

from ...circuits import Circuit, draw
from ...circuits.arguments import common_problems, refuse
from ...circuits.units import fixed
from ...tasks import Checkpoint
from ...tasks.questions.pairing import n_pairable
from ..bridge.evidence import EvidenceResult
from ..bridge.lens import LensResult
from ..bridge.verdicts import bridge_is, bridge_read
from ..page import Report
from ..sameness.equivalence import equivalence
from .claim import Claim, Inputs, Job, Jobs, main_table, show_result, verdict_line
from .path_measurement import MIN_PAIRS, PathMeasurement, measure_paths
from .rules import (
    CONTRADICTED,
    EXPLORATORY,
    SUPPORTED,
    UNDECIDED,
    ClaimResult,
    Row,
    bounds_row,
    check,
    equivalence_row,
    of_role,
    rows_to_frame,
    violations_row,
)
from .specimens import AGAIN, Arms, ArmsOfStudy, Specimen, arm_checkpoints, has_arms

ARMS: ArmsOfStudy = {
    "early": ("natural", "id_generalised"),
    "grokked": ("natural", "ood_generalised"),
    "taught": ("both_hops", "ood_generalised"),
}
"""Where a study has them, see `study_arms`."""
Compared = Mapping[str, tuple[str, str]]
"""Comparisons by key, with the two arms of each."""
PAIRS: Compared = {"paper_pair": ("grokked", "taught"), "within_run": ("early", "grokked")}
LABELS = {"paper_pair": "the paper's pair", "within_run": "within a run"}  # in quantities; others are called by their key
NAME = "same inference path"
MAX_EARLY_OOD = 0.5
LAYER_READ = 0.5  # share of questions whose bridge is read after a layer, from which it counts as readable there
MOST = 0.5  # of the questions
ID, OOD, TRAINED = "test_inferred_iid", "test_inferred_ood", "train_inferred"
COMPARISONS: Mapping[str, tuple[str, ArmsOfStudy, Compared]] = {
    "main": (ID, ARMS, PAIRS),
    "OOD questions": (OOD, ARMS, {"paper_pair": PAIRS["paper_pair"]}),
    "late": (ID, {name: (arm, "final") for name, (arm, _) in ARMS.items()}, {"late": ("grokked", "taught")}),
    "untied control": (ID, {**ARMS, "untied": ("untied", "final")}, {"untied": ("grokked", "untied")}),
    "phi 5": (
        TRAINED,  # all that a model answers which has only memorised; the first arm's, which the last was trained on too
        {
            "memorised": ("natural_phi5", "memorised"),
            "early": ("natural_phi5", "id_generalised"),
            "grokked": ("natural", "ood_generalised"),
        },
        {"memorised": ("memorised", "grokked"), "early": ("early", "grokked")},
    ),
}
"""What a study is asked, by name: on which questions, with which arms, what is compared. The first is pre-registered."""
Model = TypeVar("Model", Specimen, Checkpoint)


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
        compared: the main rows by key; pairs other than the pre-registered two are for controls, each judged by itself.
        split: of the questions; OOD ones only for arms that answer them.
        n_pairs: prompt pairs asked for on each graph; those that all its models get right are used.
        n_questions: for the evidence on the bridge.
        transferred: how further trainings from these arms learned new facts, see `transfer_table`; for F5.
        seed: of pairs, halves and resampling.

    Raises:
        ValueError: if no graph has the arms that a pair needs.
    """
    refuse(common_problems(split=split, n_pairs=n_pairs, n_questions=n_questions, seed=seed))
    usable = comparable(graphs, compared)
    if not usable:
        there = {number: sorted(arms) for number, arms in graphs.items()}
        needed = dict(compared)
        raise ValueError(f"no graph has two arms to compare and a replicate of one; needed are {needed}, there are {there}")
    n_pairs = pairs_for_all(usable, split, n_pairs)
    measured = {number: measure_paths(arms, split, n_pairs, n_questions, seed=seed) for number, arms in usable.items()}
    return decide_same_path(measured, split, compared, transferred)


def comparable(graphs: Mapping[int, Mapping[str, Model]], compared: Compared = PAIRS) -> dict[int, dict[str, Model]]:
    """The graphs on which a pair can be compared, with the arms of these pairs and their replicates.

    Checkpoints called early that already answer OOD questions are left out.
    """
    names = {name + again for pair in compared.values() for name in pair for again in ("", AGAIN)}
    valid = {
        number: {name: each for name, each in arms.items() if name in names and not _late(name, each)}
        for number, arms in graphs.items()
    }
    return {number: arms for number, arms in valid.items() if any(_has(arms, pair) for pair in compared.values())}


def pairs_for_all(graphs: Mapping[int, Mapping[str, Model]], split: str, n: int) -> int:
    """A number of pairs that every graph has, at most n: circuits are compared by one recipe."""
    tasks = [next(iter(arms.values())).task for arms in graphs.values()]
    return min(n, *(n_pairable(task.split(split)) for task in tasks))


def decide_same_path(
    measured: Mapping[int, PathMeasurement],
    split: str,
    compared: Compared = PAIRS,
    transferred: pd.DataFrame | None = None,
) -> ClaimResult:
    """Claim (i) from what was measured, by graph; see `same_inference_path`."""
    main: list[Row] = []
    beside: list[Row] = []
    falsifiers: list[Row] = []
    for name, pair in compared.items():
        right = {number: each.circuits for number, each in measured.items() if _has(each.circuits, pair)}
        everything = {number: each.circuits_all for number, each in measured.items() if _has(each.circuits_all, pair)}
        main += _equivalences(name, pair, split, right)
        beside += [_on_all_pairs(row) for row in _equivalences(name, pair, split, everything)]
        falsifiers += _falsifiers(name, pair, split, [measured[number] for number in right])
        if transferred is not None and set(pair) <= set(transferred["arm"]):
            falsifiers.append(_learning_of_new_facts(name, pair, transferred))
    if any("early" in pair for pair in compared.values()):
        falsifiers.append(_answer_first(split, measured))
    table, against = rows_to_frame(main + beside), rows_to_frame(falsifiers)
    verdict = _verdict(table, against, compared)
    sentence = _sentence(table, against, compared, verdict)
    return ClaimResult(table, against, _checks(measured, compared), NAME, verdict, sentence, _would_change(table))


def _late(name: str, model: Specimen | Checkpoint) -> bool:
    return name in ("early", "early" + AGAIN) and model.accuracy.get("test_inferred_ood", 0.0) >= MAX_EARLY_OOD


def _has(arms: Collection[str], pair: tuple[str, str]) -> bool:
    return set(pair) <= set(arms) and any(name + AGAIN in arms for name in pair)


def _aligned(name: str) -> str:
    """The key of a comparison's row after alignment of loops."""
    return f"{name}.aligned"


def _where(name: str, pair: tuple[str, str]) -> str:
    return f"{LABELS.get(name, name)}: {pair[0]} / {pair[1]}"


def _equivalences(name: str, pair: tuple[str, str], split: str, found: Mapping[int, Mapping[str, Circuit]]) -> list[Row]:
    """The test before and after alignment of loops, on circuits by graph and arm."""
    if not found:
        return []
    circuits = {number: {arm: each[arm] for arm in pair} for number, each in found.items()}
    again = {number: {arm: each[arm + AGAIN] for arm in pair if arm + AGAIN in each} for number, each in found.items()}
    quantity = f"{_where(name, pair)}, distance of circuits beyond replicates"
    plain, aligned = (equivalence(circuits, again, pair, aligned=each) for each in (False, True))
    return [
        equivalence_row(Row(name, "main", quantity, split), plain),
        equivalence_row(Row(_aligned(name), "main", f"{quantity}, aligned", split), aligned),
    ]


def _on_all_pairs(row: Row) -> Row:
    """The same row on all pairs, right or wrong."""
    rule = f"right and wrong pairs alike, by the same rule it says {row.says}; {EXPLORATORY}"
    return replace(row, key=f"{row.key}.all_pairs", role="beside", quantity=f"{row.quantity}, all pairs", says="", rule=rule)


def _falsifiers(name: str, pair: tuple[str, str], split: str, measured: Collection[PathMeasurement]) -> list[Row]:
    """F1 to F3 of a pair of arms."""
    a, b = pair
    reads = [tuple(_first_readable(each.lens[arm]) for arm in pair) for each in measured]
    moved = [None if None in read else read[0] != read[1] for read in reads]
    necessary = [
        _in_one_arm_only(
            each.evidence[a], each.evidence[b], "necessary", [layer for layer in set(read) if layer is not None]
        )
        for each, read in zip(measured, reads, strict=True)
    ]
    used = [_in_one_arm_only(each.evidence[a], each.evidence[b], "used", None) for each in measured]

    def asked(number: int, quantity: str) -> Row:
        return Row(f"f{number}.{name}", "falsifier", f"F{number} {_where(name, pair)}, {quantity}", split)

    return [
        violations_row(asked(1, "bridge first readable at another layer"), moved, tolerated=1),
        violations_row(asked(2, "bridge necessary in one arm only"), necessary, tolerated=0),
        violations_row(asked(3, "bridge used in one arm only"), used, tolerated=0),
    ]


def _first_readable(lens: LensResult) -> int | None:
    """The first layer after which the bridge is read at r1 in half of the questions."""
    rows = bridge_read(lens)
    layers = rows.loc[rows["top1"] >= LAYER_READ, "layer"]
    return None if layers.empty else int(layers.min())


def _in_one_arm_only(a: EvidenceResult, b: EvidenceResult, verdict: str, layers: list[int] | None) -> bool | None:
    """Whether one arm says yes at one of the layers at r1 and the other no at all of them; None if either is undecided."""
    if layers == []:
        return None
    says = [bridge_is(evidence, verdict, layers) for evidence in (a, b)]
    return says[0] != says[1] if set(says) <= {"yes", "no"} else None


def _answer_first(split: str, measured: Mapping[int, PathMeasurement]) -> Row:
    """F4: in the early arm the answer can be read before the bridge in most questions."""
    outcomes = []
    for each in measured.values():
        if "early" in each.lens:
            first = each.lens["early"].queries
            outcomes.append(bool((first["first_answer"] < first["first_bridge"]).mean() > MOST))
    asked = Row("f4", "falsifier", "F4 early: answer readable before the bridge", split)
    return violations_row(asked, outcomes, tolerated=0)


def _learning_of_new_facts(name: str, pair: tuple[str, str], transferred: pd.DataFrame) -> Row:
    """F5: models trained further from the two arms learn to compose new facts at another pace."""
    rows = transferred[(transferred["exposure"] == 0) & transferred["arm"].isin(pair)]
    area = rows.pivot_table(index="seed", columns="arm", values="area")  # the mean over cells
    reached = rows.groupby("arm")["to_90"].agg(lambda steps: f"{steps.notna().sum()} of {len(steps)}")
    a, b = pair
    rule = (
        f"{EXPLORATORY}, since no threshold was set: area under the curve of exact match, mean over cells, one-sided 95 % "
        f"bounds, Student's t over graphs; .9 was reached in {reached[a]} cells from {a}, {reached[b]} from {b}"
    )
    quantity = f"F5 {LABELS.get(name, name)}: {a} − {b}, learning of new facts"
    return bounds_row(Row(f"f5.{name}", "beside", quantity, "new facts"), (area[a] - area[b]).dropna(), rule)


def _verdict(table: pd.DataFrame, falsifiers: pd.DataFrame, compared: Compared) -> str:
    """Supported if all main rows are and nothing contradicts; contradicted if one is, also aligned, or a falsifier."""
    says = of_role(table, "main")["says"]
    plain, aligned = ([says.get(key) for key in keys] for keys in (compared, map(_aligned, compared)))
    different = any(p == a == CONTRADICTED for p, a in zip(plain, aligned, strict=True))
    if different or (of_role(falsifiers, "falsifier")["says"] == CONTRADICTED).any():
        return CONTRADICTED
    return SUPPORTED if set(plain) == {SUPPORTED} else UNDECIDED


def _checks(measured: Mapping[int, PathMeasurement], compared: Compared) -> pd.DataFrame:
    n = {number: each.n_pairs for number, each in measured.items()}
    replicated = sum(any(name + AGAIN in each.lens for name in each.lens) for each in measured.values())
    rows = [
        check("replicate trainings", replicated == len(n), f"{replicated} of {len(n)} graphs"),
        check("pairs right in all models of a graph", min(n.values()) >= MIN_PAIRS, f"{n}, needed are {MIN_PAIRS}"),
    ]
    if any("early" in pair for pair in compared.values()):
        has_early = sum("early" in each.lens for each in measured.values())
        rows.append(check(f"early arm below {MAX_EARLY_OOD} OOD", has_early == len(n), f"{has_early} of {len(n)} graphs"))
    return pd.DataFrame(rows)


def _sentence(table: pd.DataFrame, falsifiers: pd.DataFrame, compared: Compared, verdict: str) -> str:
    main, against = of_role(table, "main"), of_role(falsifiers, "falsifier")
    says = [
        f"{_where(name, pair)} {row['says']}, distance beyond replicates {fixed(row['value'], 2)}, "
        f"margin {row['margin']:.2f}"
        for name, pair in compared.items()
        for row in main[main.index == name].to_dict("records")
    ]
    broken = against.loc[against["says"] == CONTRADICTED, "quantity"].tolist()
    falsified = f"against it: {'; '.join(broken)}" if broken else "no falsifier speaks against it"
    word = {SUPPORTED: "take", CONTRADICTED: "do not take", UNDECIDED: "may or may not take"}[verdict]
    shown = "; ".join(says) or "too few pairs for circuits"
    return f"Grokked and non-grokked models {word} the same path on these questions ({shown}; {falsified})."


def _would_change(table: pd.DataFrame) -> str:
    margins = of_role(table, "main")["margin"].dropna()
    margin = f"{margins.min():.3f}" if len(margins) else "the replicates' own distance"
    return (
        f"Circuits that differ by more than replicate trainings do, beyond {margin}, before and after alignment, or a "
        "falsifier in most graphs would contradict it; bounds below that margin for both pairs of arms, on at least three "
        "graphs, would support it."
    )


@dataclass(frozen=True, eq=False)
class SamePathFinding:
    """Claim (i) on a study, by comparison, the pre-registered one first; and by graph what it rests on."""

    results: Mapping[str, ClaimResult]
    measured: Mapping[str, Mapping[int, PathMeasurement]]


def _jobs(inputs: Inputs) -> Jobs:
    wanted = {name: each for name, each in COMPARISONS.items() if has_arms(inputs.study, each[1])}
    return {name: dict(_comparison_jobs(inputs, name, *each)) for name, each in wanted.items()}


def _comparison_jobs(
    inputs: Inputs, name: str, split: str, arms: ArmsOfStudy, compared: Compared
) -> Iterator[tuple[int, Job]]:
    if not (usable := comparable(arm_checkpoints(inputs.study, arms), compared)):
        return
    settings = (split, pairs_for_all(usable, split, inputs.n_pairs), inputs.n_questions, inputs.seed)
    for graph, checkpoints in usable.items():
        yield graph, Job(f"paths-{name.replace(' ', '_')}-g{graph}", PathMeasurement, measure_paths, checkpoints, settings)


def _decide(inputs: Inputs, measured: Mapping[str, Mapping[int, PathMeasurement]]) -> SamePathFinding:
    found = {name: by_graph for name, by_graph in measured.items() if by_graph}
    results = {}
    for name, by_graph in found.items():
        split, _, compared = COMPARISONS[name]
        learned = inputs.transferred if name == "main" else None  # further trainings begin at the phases of its arms
        results[name] = decide_same_path(by_graph, split, compared, learned)
    return SamePathFinding(results, found)


def _show(finding: SamePathFinding, report: Report) -> None:
    if not finding.results:
        report.paragraph(verdict_line(finding.results))
        return
    main, *others = finding.results
    show_result(report, finding.results[main])
    for name in others:
        report.paragraph(f"Exploratory, {name}: {finding.results[name].caption}")
        report.table(main_table(finding.results[name]))
    for graph, measured in finding.measured[main].items():
        if measured.circuits:
            _show_graph(graph, measured, report)
            return


def _show_graph(graph: int, measured: PathMeasurement, report: Report) -> None:
    """Circuits, causal traces and bridge evidence of one graph, without replicates."""
    shown = {name: circuit for name, circuit in measured.circuits.items() if not name.endswith(AGAIN)}
    report.diagram(
        draw(shown, lens={name: measured.lens[name].table for name in shown}),
        f"The circuits of graph {graph}, {measured.n_pairs} pairs that all its models answer: upwards are layers, across "
        "are positions. Hover an edge for its numbers, click it to trace paths, overlay one circuit on another.",
    )
    for name in shown:
        if name in measured.traces:
            report.figure(
                measured.traces[name].figure(),
                f"Causal trace of graph {graph}, {name}: share of questions whose answer changes if that one state comes "
                "from a prompt with another h or r1.",
            )
        report.figure(
            measured.evidence[name].figure(),
            f"Bridge evidence of graph {graph}, {name}: share of questions minus control, by layer and position.",
        )


SAME_PATH = Claim(
    "(i)",
    "(i) The same inference path?",
    decide=_decide,
    say=lambda finding: verdict_line(finding.results),
    show=_show,
    jobs=_jobs,
    arms=ARMS,
)
