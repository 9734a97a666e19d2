"""Claim (i): grokked and non-grokked models answer in-distribution compositions along the same inference path.

He et al. 2026 (arXiv 2601.09049, section 4) argue it from lens rates that come to agree. Here trainings of equal age are
compared that differ in status, that is in whether they answer out-of-distribution questions: `early`, a natural run when ID
questions are answered and OOD ones are not, with `early taught`, a run whose OOD facts were in compositional training; and
at step 3,100 `late` with `late taught`: by then the path has changed with age, while natural runs still answer few OOD
questions. They take the same path if they are close by three measures: where the answer's information is, what is held
there, and how much depends on it. Pairs that differ in age, the paper's among them, stand beside; so do controls that never
answer OOD questions but share no weights. Rules and margins: docs/explanation/preregistration.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ...circuits.arguments import common_problems, refuse
from ...circuits.conditions import condition_of
from ...circuits.progress import bar
from ...circuits.units import fixed
from ..bounds import distance_bounds, mean_bounds
from ..bridge.standing import used_anywhere
from ..bridge.verdicts import bridge_is
from ..sameness.equivalence import RESOLUTION
from ..sameness.path_distances import MARGINS
from .audit_measurement import AuditMeasurement, measure_audits
from .by_age import decide_by_age
from .claim import Claim, Inputs, Job, Jobs, verdict_line
from .claim_audit import with_audit
from .contrasts import (
    BY_AGE,
    BY_STATUS,
    MIXED,
    N_MAIN,
    Contrast,
    Measured,
    beside_row,
    control_rows,
    couples,
    decided,
    main_row,
    unfit,
    with_two_arms,
)
from .decisive import CONTRADICTED, SUPPORTED, UNDECIDED, panel_of
from .gatekeeping import decide
from .path_checks import path_checks
from .path_measurement import JENSEN_SHANNON, PathMeasurement, measure_paths, n_measured
from .rules import (
    EXPLORATORY,
    ClaimResult,
    Row,
    bounds_row,
    points_of,
    rows_to_frame,
    violations_row,
)
from .same_path_shown import SamePathFinding, show_circuits, show_paths
from .shared_steps import arms_at_shared_steps
from .specimens import Arms, ArmsOfStudy, arm_checkpoints, graphs_problems, has_arms, if_saved, mixes_tokens, mixing_shape

LATE = 3_100  # a step that every run of 15,000 saves
ARMS: ArmsOfStudy = {
    "early": ("natural", "id_generalised"),
    "early taught": ("both_hops", "ood_generalised"),
    "late": ("natural", if_saved(LATE)),
    "late taught": ("both_hops", if_saved(LATE)),
    "grokked": ("natural", "ood_generalised"),
    "final": ("natural", "final"),
    "final taught": ("both_hops", "final"),
}
"""Where a study has them, see `study_arms`."""
CONTROLS: ArmsOfStudy = {"early control": ("untied", if_saved("id_generalised")), "final control": ("untied", "final")}
"""Arms that a study may lack."""
PAPER = (
    Contrast("paper", "grokked", "early taught", "age"),
    Contrast("within_run", "early", "grokked", "age and status"),
    Contrast("final_taught", "final", "final taught", "supervision"),
    Contrast("untied", "final control", "final", "sharing and status"),
)
"""Pairs that stand beside: the paper's, one that changes age and status at once, one that changes neither, and a control
that never answers OOD questions and shares no weights between layers."""
NAME = "same inference path"
MOST = 0.5  # of the questions
AUDITS = "audits"
ID, OOD, TRAINED = "test_inferred_iid", "test_inferred_ood", "train_inferred"
COMPARISONS: Mapping[str, tuple[str, ArmsOfStudy, Sequence[Contrast]]] = {
    "main": (ID, {**ARMS, **CONTROLS}, ()),
    "OOD questions": (OOD, {name: ARMS[name] for name in ("early taught", "grokked")}, PAPER[:1]),
    "phi 5": (
        TRAINED,  # all that a model answers which has only memorised; the first arm's, which the last was trained on too
        {"memorised": ("natural_phi5", "memorised"), "grokked": ARMS["grokked"]},
        (Contrast("phi5", "memorised", "grokked", "age and status"),),
    ),
}
"""What a study is asked, by name: on which questions, with which arms, and what of it stands beside. The first decides."""
LEARNED = {"paper": ("grokked", "taught"), "within_run": ("early", "grokked")}
"""By contrast, whose further trainings are compared, by their names in `transfer_table`."""


def same_inference_path(
    graphs: Mapping[int, Arms],
    *,
    split: str = ID,
    n_pairs: int = 256,
    n_questions: int = 512,
    transferred: pd.DataFrame | None = None,
    progress: bool = True,
    seed: int = 0,
) -> ClaimResult:
    """Decide claim (i).

    Args:
        graphs: specimens by graph with their steps, as `study_arms(study, same_path.ARMS)` gives them: `early` and
            `early taught`, `late` and `late taught`, and a replicate of one of either two (`late again`).
        split: of the questions, which all arms must answer.
        n_pairs: prompt pairs asked for on each graph, at most; those that all its models get right are used.
        n_questions: for the evidence on the bridge and the transfer of its directions, at most.
        transferred: how further trainings from these arms learned new facts, see `transfer_table`; stands beside.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of pairs, questions, halves and resampling.

    Raises:
        ValueError: if no graph has two arms that are compared.
    """
    common = common_problems(split=split, n_pairs=n_pairs, n_questions=n_questions, progress=progress, seed=seed)
    refuse(graphs_problems(graphs) + common)
    contrasts = (*BY_STATUS, *PAPER, MIXED)
    settings = (split, couples(contrasts), n_pairs, n_questions, seed)
    usable = with_two_arms(graphs, contrasts)
    with bar(sum(map(n_measured, usable.values())), "measuring paths", show=progress) as shown:
        measured = {graph: measure_paths(arms, *settings, done=shown.update) for graph, arms in usable.items()}
    mixes = any(mixing_shape(arms) is not None for arms in usable.values())
    return decide_same_path(measured, split, transferred, mixes=mixes)


def decide_same_path(
    measured: Measured,
    split: str,
    transferred: pd.DataFrame | None = None,
    beside: Sequence[Row] = (),
    *,
    mixes: bool = False,
    audits: Mapping[int, AuditMeasurement] | None = None,
) -> ClaimResult:
    """Claim (i) from what was measured.

    Args:
        measured: by graph.
        split: of the questions.
        transferred: see `same_inference_path`.
        beside: rows of other questions that are shown.
        mixes: whether the models mix tokens: their loop makes anew what one layer loses, and a lens may read no bridge.
        audits: by graph, of the circuits that are compared.
    """
    found = [decided(measured, measure, contrast) for contrast in BY_STATUS for measure in MARGINS]
    main = [main_row(each, split, N_MAIN) for each in found]
    against = _falsifiers(measured, split, mixes=mixes)
    controls = [row for each in found for row in control_rows(each, split)]
    shown = [*beside_rows(measured, split, (*PAPER, MIXED)), *_circuit_rows(measured, split), *beside]
    decision = decide([*main, *against])
    result = ClaimResult(
        rows_to_frame([*main, *controls, *shown]),
        rows_to_frame([*against, *_learning_of_new_facts(transferred)]),
        pd.DataFrame(path_checks(measured, found)),
        NAME,
        decision.verdict,
        _sentence(main, decision.verdict),
        _would_change(),
        decision.reason,
        decision.m,
        decision.smallest_n,
        points_of(main),
    )
    return with_audit(result, audits)


def beside_rows(measured: Measured, split: str, contrasts: Sequence[Contrast]) -> list[Row]:
    """Rows without a verdict for contrasts of which some graph has the arms."""
    there = [each for each in contrasts if any({each.a, each.b} <= set(one.steps) for one in measured.values())]
    return [beside_row(decided(measured, measure, contrast, 1), split) for contrast in there for measure in MARGINS]


def _circuit_rows(measured: Measured, split: str) -> Iterator[Row]:
    """Jensen–Shannon distances of circuits, which an exact rewrite of a model moves."""
    for contrast in (*BY_STATUS, *PAPER, MIXED):
        for form in JENSEN_SHANNON.values():
            between = _circuit_distances(measured, contrast, form, replicates=False)
            if between.empty:
                continue
            within = _circuit_distances(measured, contrast, form, replicates=True)
            rule = f"Jensen–Shannon, replicates {fixed(float(within.mean()), 3)}; an idle block moves it; {EXPLORATORY}"
            quantity = f"circuits, {form}, {contrast.label}: {contrast.varies}"
            asked = Row(f"circuits_{form}.{contrast.key}.beside", "beside", quantity, split)
            yield bounds_row(asked, between, partial(distance_bounds, resolution=RESOLUTION), rule)


def _circuit_distances(measured: Measured, contrast: Contrast, form: str, *, replicates: bool) -> pd.Series:
    """The mean distance on each graph, between the arms or within each."""
    arms, found = {contrast.a, contrast.b}, {}
    for graph, each in measured.items():
        table = each.circuit_distances
        ends = [{condition_of(a), condition_of(b)} for a, b in zip(table["a"], table["b"], strict=True)]
        wanted = [(len(end) == 1 and end < arms) if replicates else end == arms for end in ends]
        values = table[form][np.array(wanted, dtype=bool)].dropna()
        found |= {graph: float(values.mean())} if len(values) else {}
    return pd.Series(found, dtype=float)


def _falsifiers(measured: Measured, split: str, *, mixes: bool) -> list[Row]:
    """The bridge is used in one arm of a couple of equal age only; early, the answer can be read before the bridge."""
    m, is_used = len(BY_STATUS) + 1, used_anywhere if mixes else bridge_is
    rows = []
    for contrast in BY_STATUS:
        both = [each.evidence for each in measured.values() if not unfit(each, contrast)]
        says = [[is_used(each[arm]) for arm in (contrast.a, contrast.b)] for each in both]
        outcomes = [a != b if {a, b} <= {"yes", "no"} else None for a, b in says]
        quantity = f"bridge used by {contrast.a} or by {contrast.b} only"
        asked = Row(f"used.{contrast.key}", "falsifier", quantity, split)
        rows.append(violations_row(asked, outcomes, "one says yes, the other no", m=m))
    return [*rows, _answer_first(measured, split, m, mixes=mixes)]


def _answer_first(measured: Measured, split: str, m: int, *, mixes: bool) -> Row:
    """Of models that mix tokens nothing is said where a lens reads no bridge in most questions."""
    first = [each.lens["early"].queries for each in measured.values() if not unfit(each, BY_STATUS[0])]
    blind = [mixes and each["first_bridge"].notna().mean() <= MOST for each in first]
    before = [bool((each["first_answer"] < each["first_bridge"]).mean() > MOST) for each in first]
    outcomes = [None if unread else word for word, unread in zip(before, blind, strict=True)]
    asked = Row("answer_first.early", "falsifier", "early: the answer is readable before the bridge", split)
    return violations_row(asked, outcomes, f"so in more than {MOST:g} of the questions", m=m)


def _learning_of_new_facts(transferred: pd.DataFrame | None) -> Iterator[Row]:
    """Whether models trained further from two arms learn to compose new facts at another pace."""
    if transferred is None:
        return
    for name, (a, b) in LEARNED.items():
        rows = transferred[(transferred["exposure"] == 0) & transferred["arm"].isin((a, b))]
        if set(rows["arm"]) != {a, b}:
            continue
        area = rows.pivot_table(index="seed", columns="arm", values="area")  # the mean over cells
        reached = rows.groupby("arm")["to_90"].agg(lambda steps: f"{steps.notna().sum()} of {len(steps)}")
        rule = (
            "area under the curve of exact match, mean over cells; .9 was reached in "
            f"{reached[a]} cells from {a}, {reached[b]} from {b}; {EXPLORATORY}"
        )
        asked = Row(f"pace.{name}", "beside", f"learning of new facts, {a} − {b}", "new facts")
        yield bounds_row(asked, (area[a] - area[b]).dropna(), partial(mean_bounds, resolution=0.01), rule)


def _sentence(main: Sequence[Row], verdict: str) -> str:
    """What the comparisons at equal age say, and which of them say nothing."""
    words = {SUPPORTED: "the same", CONTRADICTED: "different"}
    told = [row for row in main if row.value == row.value]
    silent = [_what(row) for row in main if row.value != row.value]
    parts = [f"{_what(row)}: {words.get(row.says, row.says)} ({fixed(row.value, 2)}, {row.against})" for row in told]
    parts += [f"nothing can be said of {', '.join(silent)}"] if silent else []
    ends = {SUPPORTED: "Supported", CONTRADICTED: "Contradicted", UNDECIDED: "Left open"}
    told = "; ".join(parts)
    return f"{ends[verdict]} at equal age. {told[:1].upper()}{told[1:]}."


def _what(row: Row) -> str:
    return ", ".join(filter(None, panel_of(row.key)))


def _would_change() -> str:
    margins = ", ".join(f"{measure} {margin:g}" for measure, margin in MARGINS.items())
    return (
        "Models of equal age, one of which answers OOD questions, surely further apart than the margin "
        f"({margins}) and than replicate trainings by one measure, or a falsifier in surely most graphs, would contradict "
        "it; distances surely within the margins by all three measures, early and late, on at least three graphs, would "
        "support it."
    )


def _jobs(inputs: Inputs) -> Jobs:
    jobs: dict[str, dict[int, Job]] = {name: dict(_comparison_jobs(inputs, name)) for name in COMPARISONS}
    return jobs | {AUDITS: {graph: _audit_job(graph, job, inputs) for graph, job in jobs["main"].items()}}


def _audit_job(graph: int, job: Job, inputs: Inputs) -> Job:
    """Of the circuits of a graph's two arms of equal age, as they are compared."""
    arms: Any = job.subject  # checkpoints by arm, as `_comparison_jobs` gives them
    compared = {name: arms[name] for name in (BY_STATUS[0].a, BY_STATUS[0].b) if name in arms}
    settings = (ID, inputs.n_pairs, inputs.seed)
    return Job(f"audit-same_path-g{graph}", AuditMeasurement, measure_audits, compared, settings)


def _comparison_jobs(inputs: Inputs, name: str) -> Iterator[tuple[int, Job]]:
    """A job for each graph that has two arms to compare, with all arms that it has."""
    split, arms, beside = COMPARISONS[name]
    if name == "main" and mixes_tokens(inputs.study):
        saved = {
            each: (arm, if_saved(moment) if isinstance(moment, str) else moment) for each, (arm, moment) in arms.items()
        }
        arms = {**saved, **arms_at_shared_steps(inputs.study)}
    there = {arm: where for arm, where in arms.items() if has_arms(inputs.study, {arm: where})}
    compared = couples(beside or (*BY_STATUS, *PAPER, MIXED, *BY_AGE))
    settings = (split, compared, inputs.n_pairs, inputs.n_questions, inputs.seed)
    for graph, checkpoints in arm_checkpoints(inputs.study, there).items():
        if any({a, b} <= set(checkpoints) for a, b in compared):
            file = f"paths-{name.replace(' ', '_')}-g{graph}"
            yield graph, Job(file, PathMeasurement, measure_paths, checkpoints, settings)


def _decide(inputs: Inputs, measured: Mapping[str, Mapping[int, Any]]) -> SamePathFinding:
    main, audits = measured["main"], measured[AUDITS]
    others = {name: each for name, each in measured.items() if name not in ("main", AUDITS)}
    mixes = mixes_tokens(inputs.study)
    architecture = "token mixing" if mixes else "causal"
    if not main:
        return SamePathFinding({}, None, {**others, "main": main}, architecture)
    beside = [row for name, each in others.items() for row in beside_rows(each, COMPARISONS[name][0], COMPARISONS[name][2])]
    result = decide_same_path(main, COMPARISONS["main"][0], inputs.transferred, beside, mixes=mixes, audits=audits)
    return SamePathFinding({"main": result}, decide_by_age(main, ID), {"main": main, **others}, architecture)


SAME_PATH = Claim(
    "(i)",
    "(i) The same inference path?",
    decide=_decide,
    say=lambda finding: verdict_line(finding.results),
    show=show_paths,
    jobs=_jobs,
    arms=ARMS,
    words="The inference paths established by non-grokked and grokked models for in-distribution compositional queries are "
    "identical.",
    results=lambda finding: {finding.architecture: finding.results["main"]} if finding.results else {},
    picture=show_circuits,
)
