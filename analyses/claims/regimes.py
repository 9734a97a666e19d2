"""Every arm at every phase: what it answers, what can be read from it, and what it uses.

He et al. 2026 (arXiv 2601.09049, section 4) compare two rates, each of one run in each regime. Here every run of a
study gives a row for each phase, with exact match, the lens, a probe and the causal use of the bridge on the same questions,
so that accuracy and circuit can be seen to come apart, or not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd

from ...circuits import Result
from ...circuits.arguments import common_problems, name_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...circuits.plain_text import counted
from ...circuits.progress import bar
from ...circuits.units import fixed, interval
from ...tasks import Checkpoint, Run, Study, shortcut_accuracy
from ...tasks.transformerlens import Model
from ..bridge.evidence import EvidenceResult, bridge_evidence
from ..bridge.evidence_verdicts import MIN_UNITS_TO_JUDGE
from ..bridge.lens import logit_lens
from ..bridge.pair_donors import HELD_OUT
from ..bridge.verdicts import ANYWHERE, bridge_is, bridge_read, bridge_roles
from ..page import Report
from ..plots.regimes import accuracy_against_use
from .claim import Inputs, Job
from .specimens import last_before_ood

BEFORE = "before"  # what `last_before_ood` finds


@dataclass(frozen=True, eq=False)
class RegimeResult(Result):
    """What each run answers and uses at each of its phases.

    Attributes:
        table: a row for each run and phase (also `before`: the last saved step at which a run knows the OOD facts and does
            not compose them), with run, arm, seed, replicate, phase, step;
            exact_match on n_reported questions; floor: the best shortcut's;
            found_any: share of questions whose bridge a lens finds after any layer at any position; read: after the best
            layer at r1, where causal models make the bridge, or in bidirectional ones at the best position;
            correct_not_found: share answered correctly whose bridge is found nowhere;
            probe, probe_at: the best held-out linear probe of the bridge after any layer at any position, and where;
            bridge_effect: share of answers that the difference of two bridges' mean states turns, beyond control, where it
            turns most, with its 95 % interval low, high, on questions of `used_split` answered right; whole states are no
            measure of it, since they ask other questions; n_facts: hop-1 facts it rests on; NaN below
            `evidence_verdicts.MIN_UNITS_TO_JUDGE`;
            donor_right: share of the questions with the other bridge that the model answers right by themselves;
            used: whether the bridge is used after any layer, at any position or at all together (see `bridge_evidence`);
            `undecided (ceiling)` if too few of those questions are answered to tell.
            The best of several places is the largest value, so a little high.
        split: what the questions are.
        used_split: what those are on which use is measured.
    """

    table: Annotated[pd.DataFrame, Columns(words="run arm phase used", numbers="exact_match", whole="seed step")]
    split: str
    used_split: str

    @property
    def caption(self) -> str:
        """Runs, graphs and split in one line."""
        runs, graphs = (self.table[name].nunique() for name in ("run", "seed"))
        return (
            f"{counted(runs, 'run')} on {counted(graphs, 'graph')} · exact match on {self.split}, use on {self.used_split}"
        )

    @property
    def summary(self) -> pd.DataFrame:
        """A row for each arm and phase: medians over runs, and in how many the bridge is used."""
        columns = ["exact_match", "floor", "found_any", "correct_not_found", "probe", "bridge_effect"]
        groups = self.table.groupby(["arm", "phase"], sort=False)
        used = groups["used"].agg(lambda says: int((says == "yes").sum()))
        return groups[columns].median().assign(used=used, runs=groups.size()).reset_index()

    def explain(self) -> Explanation:
        """In how many runs and phases the bridge is used, and what they answer with it and without."""
        rows, used = self.table, self.table["used"].value_counts()
        open_words = [f"{word} in {count}" for word, count in used.items() if word not in ("yes", "no")]
        strongest = rows.dropna(subset="bridge_effect").nlargest(1, "bridge_effect").to_dict("records")
        effect = [
            f"The largest effect of a bridge is {fixed(row['bridge_effect'], 2)}, its 95 % interval over hop-1 facts "
            f"{interval(row['low'], row['high'], 2) or 'is not held'}."
            for row in strongest
        ]
        return Explanation(
            measured="Of each run at each of its phases the share of questions answered right, and whether the bridge is "
            "used: whether the difference of two bridges' mean states turns the answer, beyond its control.",
            on=f"{self.caption}; {counted(len(rows), 'row')}, a run at a phase each.",
            means=f"The bridge is used in {used.get('yes', 0)} of {counted(len(rows), 'row')}, and surely not in "
            f"{used.get('no', 0)}. Exact match, of which 1 is all right, is {_range(rows, 'yes')} where it is used, "
            f"{_range(rows, 'no')} where it is surely not.",
            sure=f"No interval of exact match is held. {effect[0] if effect else 'No effect of a bridge has a number.'}",
            would_change="Rows with high exact match and no use of the bridge would be accuracy without circuit, rows with "
            f"use and low exact match circuit without accuracy. Rows that cannot be told: {', '.join(open_words) or '0'}.",
        )

    def figure(self) -> Any:
        """Exact match against causal use, a dot for each run and phase."""
        return accuracy_against_use(self.table, title=f"{self.caption} · bars: 95 % over hop-1 facts")


def _range(rows: pd.DataFrame, used: str) -> str:
    """From where to where exact match goes in rows with that word."""
    found = rows.loc[rows["used"] == used, "exact_match"].dropna()
    return f"between {fixed(found.min(), 2)} and {fixed(found.max(), 2)}" if len(found) else "not known"


def compare_regimes(
    study: Study,
    *,
    split: str = "test_inferred_ood",
    used_split: str = "test_inferred_ood_id",
    n_questions: int = 512,
    progress: bool = True,
    seed: int = 0,
) -> RegimeResult:
    """Measure all runs of a study at all their phases.

    Args:
        study: with the weights of its phases.
        split: two-hop questions.
        used_split: those on which use is measured. Interventions need right answers, and a model that does not answer
            OOD+OOD questions yet answers some with the same bridges whose second hop is ID.
        n_questions: for the evidence on the bridge.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of questions, halves and donors.

    Raises:
        ValueError: if the study holds no run.
    """
    common = common_problems(split=split, n_questions=n_questions, progress=progress, seed=seed)
    refuse(common + name_problems(used_split=used_split))
    if not study.runs:
        raise ValueError(f"{study.folder} holds no run")
    with bar(
        sum(len(set(moments_of(run).values())) for run in study.runs.values()), "opening checkpoints", show=progress
    ) as shown:
        rows = [measure_run(run, split, used_split, n_questions, seed, shown.update).table for run in study.runs.values()]
    return regimes_of(study, rows, split, used_split)


def moments_of(run: Run) -> dict[str, int]:
    """By phase its step, where weights were saved."""
    moments = {**run.phases, **({BEFORE: step} if (step := last_before_ood(run)) is not None else {})}
    return {phase: step for phase, step in moments.items() if step in run.steps}


def measure_run(
    run: Run,
    split: str,
    used_split: str,
    n_questions: int,
    seed: int = 0,
    done: Callable[[], object] = lambda: None,
) -> Result:
    """The rows of one run, without its arm; `done` is called after each checkpoint, else as `compare_regimes`."""
    moments = moments_of(run)
    at_step: dict[int, dict[str, Any]] = {}  # several phases may begin at the same step
    for step in set(moments.values()):
        checkpoint = run.checkpoint(step)
        model = checkpoint.model()
        evidence = bridge_evidence(model, run.task, used_split, n=n_questions, progress=False, seed=seed)
        at_step[step] = _row(checkpoint, model, run, split, seed) | _use(evidence)
        done()
    ordered = sorted(moments.items(), key=lambda moment: moment[1])
    return Result(pd.DataFrame([{"run": run.name, "phase": phase, **at_step[step]} for phase, step in ordered]))


def regimes_of(study: Study, rows: Sequence[pd.DataFrame], split: str, used_split: str) -> RegimeResult:
    """The result of a study from the rows of its runs."""
    together = pd.concat(rows, ignore_index=True)
    table = together.rename(columns={"held_out": "bridge_effect"})  # its name in measurements cached before
    return RegimeResult(study.describe(table, ("arm", "seed", "replicate")), split, used_split)


def regime_jobs(inputs: Inputs, split: str, used_split: str) -> dict[str, Job]:
    """A job for each run of a study."""
    settings = (split, used_split, inputs.n_questions, inputs.seed)
    return {name: Job(f"regime-{name}", Result, measure_run, run, settings) for name, run in inputs.study.runs.items()}


def show_regimes(result: RegimeResult, report: Report) -> None:
    """Figure and summary, on the page of claim (ii)."""
    report.figure(
        result.figure(),
        "A panel for each family of arms, a symbol for each run at a phase: exact match on OOD+OOD questions upwards, "
        "across the share of answers that the difference of two bridges' mean states turns, where it turns most. Upper left "
        "would be accuracy without circuit, lower right is circuit without accuracy. Squares: training compositions "
        "memorised; triangles: ID answers; diamonds: OOD facts known, not composed; stars: OOD answers; circles: the end. "
        "Filled where the bridge is used.",
    )
    report.table(result.summary)


def _row(checkpoint: Checkpoint, model: Model, run: Run, split: str, seed: int) -> dict[str, Any]:
    questions = run.task.split(split)
    lens = logit_lens(model, questions, progress=False, seed=seed)
    together = lens.found_by_correct.set_index("quantity")["value"]
    return {
        "step": checkpoint.step,
        "exact_match": checkpoint.accuracy[split],
        "n_reported": run.n_reported[split],
        "floor": max(shortcut_accuracy(run.task, questions).values()),
        "found_any": lens.bridge_found_any,
        "read": bridge_read(lens, bridge_roles(model))["top1"].max(),
        "correct_not_found": together["P(correct, not found)"],
    }


def _use(evidence: EvidenceResult) -> dict[str, Any]:
    columns = ["measure", "layer", "role", "value", "excess", "low", "high", "n_facts", "donor_right"]
    measures = evidence.measures.reindex(columns=columns)
    measures = measures[measures["layer"] >= 0]
    probes = measures[measures["measure"] == "probe"].sort_values("value")
    turned = measures[measures["measure"] == "direction"].sort_values("excess")
    nan = float("nan")
    probe = {"probe": nan, "probe_at": ""}
    if len(probes):
        best = probes.iloc[-1]
        probe = {"probe": best["value"], "probe_at": f"L{best['layer']} {best['role']}"}
    use: dict[str, Any] = {"bridge_effect": nan, "low": nan, "high": nan, "n_facts": 0}
    if len(turned) and turned["n_facts"].max() >= MIN_UNITS_TO_JUDGE:
        best = turned.iloc[-1]
        use = {"bridge_effect": best["excess"], "low": best["low"], "high": best["high"], "n_facts": best["n_facts"]}
    ceiling = measures.loc[measures["measure"] == HELD_OUT, "donor_right"].max()
    return probe | use | {"donor_right": ceiling, "used": bridge_is(evidence, roles=ANYWHERE)}
