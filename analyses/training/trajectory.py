"""A circuit's growth over a run's checkpoints: which edges come and go, when they are half grown, how stable it is."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd

from ...circuits import Circuit, ComputationGraph, Edge, Result
from ...circuits.arguments import common_problems, is_whole, native, number_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation, without_rows
from ...circuits.plain_text import counted, named
from ...circuits.progress import with_bar
from ...circuits.similarity import jensen_shannon, weighted_overlap
from ...circuits.units import shown
from ...tasks import PromptPairs, Run
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.questions.validity import taken_problems
from ..patching.choosing import said, shared_with_choosing
from ..patching.circuit_runs import CircuitRuns, check_enough
from ..patching.discovery import discover
from ..patching.metrics import cross_entropy
from ..plots.curves import growth_curves
from .by_step import ascending
from .growth import MILESTONES, reached


class Part(NamedTuple):
    """A part of a path: the edges from one kind of sender into one kind of receiver at one role."""

    sender: str
    receiver: str
    role: str

    def has(self, edge: Edge) -> bool:
        """Whether an edge is of this part."""
        receiver = edge.receiver.input or edge.receiver.kind
        return (edge.sender.kind, receiver, edge.receiver.role) == self


TWO_HOP_PARTS = {
    "hop 1": Part("head", "mlp", "r1"),
    "bridge moved": Part("mlp", "v", "r1"),
    "hop 2": Part("head", "mlp", "r2"),
}
"""The parts of the path of two-hop questions."""
ONSETS = {"ID ≥ .5": 0.5, **{name: least for name, least in MILESTONES.items() if not name.startswith("train")}}


@dataclass(frozen=True, eq=False)
class CircuitTrajectory(Result):
    """Circuits of one run, checkpoint by checkpoint, all on the same pairs.

    Attributes:
        table: a row for each step and edge with step, sender, receiver, effect, stderr, kept, n and gap; effects are NaN
            where they have no number.
        changes: a row for each edge that is ever kept with its birth (first step kept), death (first step after its last;
            NaN if kept to the end) and n_kept, at how many of the n_steps.
        stability: a row for each step with n_kept, weighted_overlap and jensen_shannon with the previous step's circuit and
            (…_final) with the last one's; loss of the whole model on the clean prompts, restricted (only the final circuit
            live) and excluded (all but it), in nats per query: cross-entropy of the answer (Nanda et al. 2023, section 5.1,
            with a circuit in place of frequencies), on pairs that the circuits were not chosen on.
        milestones: a row for each part of the path (of two-hop questions `hop 1`, `bridge moved` and `hop 2`), that is the
            strongest edge of its kind in the final circuit, with edge, final effect and step: the first from which on it
            stays above half of that; and for accuracies, with the first step of three evaluations in a row that reach them.
        run: the run's name.
        graph: the model's computation graph.
        provenance: how the effects were measured, the same at every step; reasons: by step, why effects have no number;
            losses: n, key and recipe of the pairs on which losses were measured, and what they share with the others.
    """

    table: Annotated[
        pd.DataFrame, Columns(words="sender receiver", numbers="effect stderr gap", whole="step n", flags="kept")
    ]
    changes: pd.DataFrame
    stability: pd.DataFrame
    milestones: pd.DataFrame
    run: str
    graph: ComputationGraph
    provenance: Mapping[str, Any]

    @property
    def circuits(self) -> dict[int, Circuit]:
        """The circuit of each step, for `circuits.draw` to play."""
        found = {}
        for step, rows in self.table.groupby("step"):
            reason = self.provenance.get("reasons", {}).get(str(step), "")
            about = {**self.provenance, "model": f"{self.run}, step {step:,}", "reason": reason}
            found[int(str(step))] = Circuit(rows.drop(columns="step").reset_index(drop=True), self.graph, about)
        return found

    @property
    def caption(self) -> str:
        """The run and n in one line."""
        steps = self.table["step"].nunique()
        text = f"{self.run} · circuits at {steps} steps · n = {self.table['n'].iloc[0]} pairs"
        return f"{text}{self._losses}"

    def explain(self) -> Explanation:
        """What the circuit of the last step keeps, how far it still moves, and when its parts were half grown."""
        if self.table.empty or self.stability.empty:
            return without_rows(self.run)
        last, grown = (
            self.stability.iloc[-1].to_dict(),
            self.milestones.reindex(columns=["milestone", "final_effect", "step"]),
        )
        rows = self.table[self.table["step"] == self.table["step"].iloc[-1]]
        moved = float(last.get("weighted_overlap", float("nan")))
        why = (self.provenance.get("reasons") or {}).get(f"{last['step']:.0f}", "")
        overlap = (
            f"Its weighted overlap with the step before is {shown(moved)} (1 is equal, 0 disjoint)."
            if moved == moved
            else f"How far it moved since the step before has no number{why and f': {why}'}."
        )
        errors = rows["stderr"].dropna()
        parts = ", ".join(f"{row['milestone']} from {row['step']:,.0f} on" for row in grown.dropna().to_dict("records"))
        return Explanation(
            measured=f"The effects of {counted(len(rows), 'edge')} at {counted(self.table['step'].nunique(), 'step')} of a "
            "run, on the same pairs, and the losses of the model, of the final circuit alone and of all but it.",
            on=f"{self.run}, {counted(int(rows['n'].iloc[0]), 'prompt pair')}{self._losses}.",
            means=f"At step {last['step']:,.0f} the circuit keeps {counted(int(rows['kept'].sum()), 'edge')}. {overlap}",
            sure=f"No interval over trainings is held: this is one run. At its last step "
            f"{f'effects have standard errors of at most {shown(errors.max())}' if len(errors) else 'no error is held'}.",
            would_change=f"Another rule than {named(self.provenance.get('kept', 'unknown'))}. "
            f"{f'Above half of their final effect are {parts}.' if parts else 'No part of the path has a final effect.'}",
        )

    @property
    def _losses(self) -> str:
        """On how many pairs losses were measured, where the file says that."""
        losses = self.provenance.get("losses")
        return f", losses on {losses['n']}{said(losses['shared'], losses['n'])}" if isinstance(losses, Mapping) else ""

    def figure(self) -> Any:
        """Effects of the milestones' edges, stability and losses by step, accuracy onsets dashed."""
        edges = self.milestones.dropna(subset="final_effect")["edge"].tolist()
        names = self.table["sender"] + " -> " + self.table["receiver"]
        half = 1.96 * self.table["stderr"]
        bands = {"low": self.table["effect"] - half, "high": self.table["effect"] + half}
        shown = self.table.assign(edge=names, **bands)[names.isin(edges)]
        onsets = self.milestones[self.milestones["final_effect"].isna()].dropna(subset="step")
        steps = dict(zip(onsets["milestone"], onsets["step"], strict=True))
        return growth_curves(shown, self.stability, steps, title=f"{self.caption} · bands: ±1.96 standard errors")


def trajectory(
    run: Run,
    pairs: PromptPairs,
    *,
    threshold: float = 0.02,
    steps: Sequence[int] | None = None,
    parts: Mapping[str, Part] = TWO_HOP_PARTS,
    judged_on: PromptPairs | None = None,
    allow_shared: bool = False,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> CircuitTrajectory:
    """Measure every edge at every checkpoint of a run, on the same pairs.

    Args:
        run: with checkpoints.
        pairs: not filtered by correctness, or only by that of the last checkpoint, since early ones answer few.
        threshold: edges with |effect| of at least this much are kept, if connected.
        steps: some of the run's steps, in any order; all if not given.
        parts: of the path, by name, whose strongest edges are milestones.
        judged_on: pairs for the losses; if not given, effects are measured on the first of `pairs.halves()` and losses on
            the second.
        allow_shared: the losses' pairs may share prompts and units with the others, and are the same if not given; the
            result says so.
        max_memory: bytes that may be used; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the bootstraps.

    Raises:
        KeyError: if there is no checkpoint at one of the steps.
        ValueError: if there is none at all, a part is called as a milestone of accuracy, or there are too few pairs, or
            those for the losses share a prompt or unit with the others.
    """
    threshold = native(threshold)
    asked = {"pairs": pairs} | ({} if judged_on is None else {"judged_on": judged_on})
    problems = pairs_problems(**asked) + number_problems(0, threshold=threshold) + _step_problems(run, steps)
    refuse(problems + common_problems(allow_shared=allow_shared, max_memory=max_memory, progress=progress, seed=seed))
    chosen = _checked(run, steps, parts)
    if judged_on is None:
        pairs, judged_on = (pairs, pairs) if allow_shared else pairs.halves()
    check_enough(judged_on)
    shared = shared_with_choosing({"hashes": pairs.hashes}, judged_on, allow_shared=allow_shared)
    circuits = {
        step: discover(
            run.checkpoint(step).model(), pairs, threshold=threshold, max_memory=max_memory, progress=False, seed=seed
        )
        for step in with_bar(chosen, f"circuits of {run.name}", show=progress)
    }
    final = circuits[chosen[-1]]
    columns = ["step", "sender", "receiver", "effect", "stderr", "kept", "n", "gap"]
    table = pd.concat([circuit.table.assign(step=step)[columns] for step, circuit in circuits.items()], ignore_index=True)
    stability = _stability(circuits)
    measure: dict[str, Any] = {"metric": cross_entropy, "max_memory": max_memory, "progress": False, "seed": seed}
    losses = [
        _losses(CircuitRuns(run.checkpoint(step).model(), judged_on, **measure), final)
        for step in with_bar(chosen, f"losses of {run.name}", show=progress)
    ]
    milestones = pd.DataFrame([*_half_grown(table, final, parts), *_onsets(run)])
    stability = pd.concat([stability, pd.DataFrame(losses)], axis=1)
    about = {name: value for name, value in final.provenance.items() if name not in ("model", "reason", "empty")}
    about["reasons"] = {str(step): why for step, circuit in circuits.items() if (why := circuit.provenance.get("reason"))}
    about["losses"] = {"n": len(judged_on), "pairs": judged_on.key, "recipe": dict(judged_on.recipe), "shared": shared}
    return CircuitTrajectory(table, _changes(table), stability, milestones, run.name, final.graph, about)


def _checked(run: Run, steps: Sequence[int] | None, parts: Mapping[str, Part]) -> list[int]:
    """The steps in order, each once, before anything is measured."""
    if not (chosen := ascending(run.steps if steps is None else steps)):
        raise ValueError(f"{run.folder} holds no checkpoint")
    if missing := [step for step in chosen if step not in run.steps]:
        raise KeyError(f"{run.folder} has no checkpoint at the steps {missing}; there are {run.steps}")
    if problems := taken_problems("a part", parts, ONSETS, by="is a milestone of accuracy"):
        raise ValueError("; ".join(problems))
    return chosen


def _step_problems(run: Run, steps: Any) -> list[str]:
    """Why these are no numbers of steps, whether there are checkpoints there or not."""
    is_list = isinstance(steps, Collection) and not isinstance(steps, str) and len(steps)
    if steps is None or (is_list and all(map(is_whole, steps))):
        return []
    return [f"steps are one or more of {run.steps}, got {steps!r}"]


def _changes(table: pd.DataFrame) -> pd.DataFrame:
    steps = list(dict.fromkeys(table["step"]))
    rows = []
    for (sender, receiver), edge in table[table["kept"]].groupby(["sender", "receiver"], sort=False):
        last = steps.index(edge["step"].iloc[-1])
        death = float(steps[last + 1]) if last + 1 < len(steps) else float("nan")
        row = {"sender": sender, "receiver": receiver, "birth": int(edge["step"].iloc[0]), "death": death}
        rows.append(row | {"n_kept": len(edge), "n_steps": len(steps)})
    return pd.DataFrame(rows, columns=pd.Index(["sender", "receiver", "birth", "death", "n_kept", "n_steps"]))


def _stability(circuits: dict[int, Circuit]) -> pd.DataFrame:
    effects = {step: circuit.table["effect"].to_numpy(dtype=float)[:, None] for step, circuit in circuits.items()}
    final, previous, rows = effects[list(circuits)[-1]], None, []
    for step, circuit in circuits.items():
        row: dict[str, Any] = {"step": step, "n_kept": int(circuit.table["kept"].sum())}
        for name, measure in (("weighted_overlap", weighted_overlap), ("jensen_shannon", jensen_shannon)):
            row[name] = float("nan") if previous is None else float(measure(previous, effects[step])[0])
            row[f"{name}_final"] = float(measure(final, effects[step])[0])
        rows.append(row)
        previous = effects[step]
    return pd.DataFrame(rows)


def _losses(runs: CircuitRuns, final: Circuit) -> dict[str, float]:
    """The whole model's loss, with only the final circuit live, and with all but it."""
    kept = set(final.kept_edges)
    restricted, excluded = runs.metric([kept, set(runs.graph.edges) - kept])
    return {"loss": float(runs.full.mean()), "restricted": float(restricted.mean()), "excluded": float(excluded.mean())}


def _half_grown(table: pd.DataFrame, final: Circuit, parts: Mapping[str, Part]) -> list[dict[str, Any]]:
    rows = []
    for name, part in parts.items():
        candidates = final.table[[part.has(edge) for edge in final.measured_edges]]
        if not len(candidates) or candidates["effect"].isna().all():
            continue
        best = candidates.iloc[int(candidates["effect"].abs().argmax())]
        by_step = table[(table["sender"] == best["sender"]) & (table["receiver"] == best["receiver"])]
        grown = (by_step["effect"] / best["effect"] >= 0.5).to_numpy()
        since = len(grown) - int(np.argmin(grown[::-1])) if not grown.all() else 0
        row = {"milestone": name, "edge": f"{best['sender']} -> {best['receiver']}", "final_effect": float(best["effect"])}
        rows.append(row | {"step": float(by_step["step"].iloc[since])})
    return rows


def _onsets(run: Run) -> list[dict[str, Any]]:
    return [
        {"milestone": name, "edge": "", "final_effect": float("nan"), "step": reached(run, name, least)}
        for name, least in ONSETS.items()
    ]
