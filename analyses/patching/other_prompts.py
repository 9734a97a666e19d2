"""What a circuit does on prompts that it was not found for: another variable, other questions, another task.

A circuit is named by its edges. On other prompts it is those of its edges that the model's graph has there. Where the answer
is read at another position, none of them leads to it; there the circuit is read out as it is: every component that sends
along one of its edges also sends to the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args

import numpy as np
import pandas as pd

from ...circuits import Circuit, ComputationGraph, Edge, Result
from ...circuits.arguments import MOST_REPEATS, common_problems, is_one_of, refuse, shortly, whole_problems
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation, without_rows
from ...circuits.plain_text import counted
from ...circuits.random_circuits import random_circuits
from ...circuits.units import fixed, interval, shown
from ...tasks import PromptPairs
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.transformerlens import Model
from ..forward.engine import Choice
from .circuit_runs import MIN_PAIRS, Background, CircuitRuns
from .judging import circuit_problems
from .metrics import AnyMetric, as_metric, logit_difference

NUMBERS = ("kept", "low", "high", "without", "without_low", "without_high", "lost", "lost_low", "lost_high")
NUMBERS += ("random", "random_lost")


@dataclass(frozen=True, eq=False)
class OtherPromptsResult(Result):
    """How much of the gap of other prompts a circuit keeps, and what is left there without it.

    Attributes:
        table: a row for each set of prompts, with
            prompts: its name; n_edges: how many edges the circuit has there;
            kept, low, high: faithfulness of the circuit alone with its 95 % bootstrap interval over units;
            without, without_low, without_high: the same of all other edges, the circuit knocked out;
            lost: 1 − without, with lost_low, lost_high;
            random, random_lost: medians of kept and lost over random circuits of its size;
            gap, n, n_units: as in `FaithfulnessResult`;
            reason: why there are no numbers; empty if there are.
        model: the model's name.
        background: what closed edges carry.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(
            words="prompts reason", numbers="kept low high without lost random random_lost gap", whole="n_edges n n_units"
        ),
    ]
    model: str
    background: str

    @property
    def caption(self) -> str:
        """The model, and what is kept and lost on each set of prompts."""
        return f"{self.model} · {self._said}"

    def explain(self) -> Explanation:
        """How much of the gap of other prompts the circuit carries."""
        if self.table.empty:
            return without_rows(self.model)
        rows = self.table.to_dict("records")
        sizes = ", ".join(f"{row['prompts']} ({counted(int(row['n']), 'pair')}, {row['n_edges']} edges)" for row in rows)
        bounds = ", ".join(
            f"{row['prompts']} {interval(row['low'], row['high'], 2)}" for row in rows if row["low"] == row["low"]
        )
        random = ", ".join(f"{shown(row['random'])} ({row['prompts']})" for row in rows if row["random"] == row["random"])
        return Explanation(
            measured="What the circuit alone keeps of the gap of prompts that it was not found for, and what is lost when "
            f"it is knocked out; closed edges carry {self.background} states.",
            on=f"{self.model}, {counted(len(rows), 'set')} of prompts: {sizes}.",
            means=f"As shares of the gap (1 is all of it, 0 nothing), {self._said}.",
            sure=f"The 95 % intervals of what is kept, over resampled units, are: {bounds}."
            if bounds
            else "No interval was computed.",
            would_change=f"Closed edges that carry something else than {self.background} states. "
            + (f"Random circuits of its size keep a median of {random}." if random else "No random circuit was drawn."),
        )

    @property
    def _said(self) -> str:
        """What is kept and lost on each set of prompts, or why that is not known."""
        said = (
            f"{row['prompts']}: " + (row["reason"] or f"keeps {fixed(row['kept'], 2)}, loses {fixed(row['lost'], 2)}")
            for row in self.table.to_dict("records")
        )
        return "; ".join(said)


def judge_on(
    model: Model,
    circuit: Circuit,
    prompts: Mapping[str, PromptPairs],
    *,
    background: Background = "corrupt",
    n_random: int = 20,
    metric: AnyMetric = logit_difference,
    max_memory: int | None = None,
    engine: Choice = "auto",
    progress: bool = True,
    seed: int = 0,
) -> OtherPromptsResult:
    """Run a circuit alone and knock it out on other prompts than those it was found for.

    Args:
        model: the one that the circuit was found in; left unmodified.
        circuit: whose kept edges are taken.
        prompts: by name, pairs of prompts; their roles name positions as the circuit does, and those of its roles that they
            lack have no edges there.
        background: what closed edges carry, see `CircuitRuns`.
        n_random: random circuits of the same size; 0 for none.
        metric: see `path_patch`.
        max_memory: bytes that may be used; by default a quarter of what is free.
        engine: see `path_patch`.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of random circuits, resampled prompts and bootstrap.

    Raises:
        ValueError: if there are no prompts, the circuit is empty, or an argument is none of those that are possible.
    """
    counts = whole_problems(0, most=MOST_REPEATS, n_random=n_random)
    known = get_args(Background)
    choice = [] if is_one_of(background, known) else [f"no background {shortly(background)}; there are {', '.join(known)}"]
    common = common_problems(max_memory=max_memory, engine=engine, progress=progress, seed=seed)
    of_circuit = circuit_problems(circuit=circuit) or ([] if circuit.kept_edges else ["the circuit keeps no edge"])
    refuse(of_circuit + prompts_problems("prompts", prompts) + choice + counts + common)
    metric = as_metric(metric)
    for pairs in prompts.values():  # before any is measured
        if len(pairs) >= MIN_PAIRS:
            pairs.check_against(model)
    how: dict[str, Any] = {"background": background, "metric": metric, "max_memory": max_memory, "engine": engine}
    how |= {"progress": progress, "seed": seed}
    judged = (_judged(model, pairs, circuit, n_random, how) for pairs in prompts.values())
    rows = [{"prompts": name} | row for name, row in zip(prompts, judged, strict=True)]
    return OtherPromptsResult(pd.DataFrame(rows), model.cfg.model_name, background)


def prompts_problems(name: str, prompts: Any, *, each: str = "{name}: {key}") -> list[str]:
    """Why an argument is no sets of pairs by name; `each` is how the pairs of a key are called."""
    needed = f"{name} are pairs by name, such as {{'atomic': pairs}}"
    if not isinstance(prompts, Mapping) or not prompts:
        return [f"{needed}, got {shortly(prompts)}"]
    problems = [f"{needed}, got the name {shortly(key)}" for key in prompts if not isinstance(key, str)]
    called = {each.format(name=name, key=key): pairs for key, pairs in prompts.items()}
    return problems + pairs_problems(**called)


def edges_there(circuit: Circuit, graph: ComputationGraph) -> list[Edge]:
    """Which edges of another graph a circuit has, see the head of this module."""
    kept, there = circuit.kept_edges, set(graph.edges)
    found = {edge for edge in kept if edge in there}
    if graph.answer != circuit.graph.answer:
        senders = {edge.sender for edge in kept}
        found |= {edge for edge in graph.edges if edge.receiver == graph.answer and edge.sender in senders}
    return sorted(found)


def _judged(model: Model, pairs: PromptPairs, circuit: Circuit, n_random: int, how: Mapping[str, Any]) -> dict[str, Any]:
    """The row of one set of prompts."""
    row: dict[str, Any] = {"n_edges": 0, "gap": float("nan"), "n": len(pairs), "n_units": pairs.n_units}
    row |= dict.fromkeys(NUMBERS, float("nan"))
    if len(pairs) < MIN_PAIRS:
        return row | {"reason": f"{len(pairs)} pairs are too few, needed are {MIN_PAIRS}"}
    runs = CircuitRuns(model, pairs, together=circuit.graph.is_together, **how)
    edges, seed = edges_there(circuit, runs.graph), how["seed"]
    row |= {"n_edges": len(edges), "gap": runs.gap[0]}
    if runs.gap[2] or not edges:
        return row | {"reason": runs.gap[2] or "the circuit has no edge there"}
    random = random_circuits(runs.graph, edges, n_random, rng=np.random.default_rng(seed)) if _connects(runs, edges) else []
    alone = runs.open_edges([edges, *random])
    share, interval = runs.ratios(runs.metric(np.concatenate([alone, ~alone])) - runs.empty, seed=seed)
    n = len(alone)
    (low, high), (without_low, without_high) = interval[0], interval[n]
    row |= {"kept": share[0], "low": low, "high": high}
    row |= {"without": share[n], "without_low": without_low, "without_high": without_high}
    row |= {"lost": 1 - share[n], "lost_low": 1 - without_high, "lost_high": 1 - without_low}
    if random:
        row |= {"random": float(np.median(share[1:n])), "random_lost": float(1 - np.median(share[n + 1 :]))}
    return row | {"reason": ""}


def _connects(runs: CircuitRuns, edges: list[Edge]) -> bool:
    """Whether anything leads to the answer, without which there is no random circuit alike."""
    return any(edge.receiver == runs.graph.answer for edge in edges)
