"""Whether a circuit is needed, by several kinds of ablation side by side: what is left of the gap when it is knocked out.

A circuit is knocked out by closing its edges and leaving all others open. What the closed ones carry is a choice, and the
answer may hang on it (Zhang & Nanda 2024, arXiv 2309.16042; Miller et al. 2024, arXiv 2407.08734): values of the corrupt
prompts, of other pairs' corrupt prompts, means, or zeros. A circuit that is needed by one of them alone may be needed only
for what that ablation breaks. Every ablation has a gap of its own, so that shares of different rows are of different gaps.

Few edges may carry everything, such as the only one into the answer. Then random circuits that contain one of these take the
gap away as well, and that they do says nothing against the circuit: see `random_without` and `p` next to what is left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, get_args

import numpy as np
import pandas as pd

from ...circuits import Circuit, Edge, Result
from ...circuits.arguments import MOST_REPEATS, choice_problems, common_problems, names_problems, refuse, whole_problems
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation, counted_units, without_rows
from ...circuits.plain_text import counted
from ...circuits.random_circuits import random_circuits
from ...circuits.units import fixed, shown, unit_of
from ...tasks import PromptPairs
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.transformerlens import Model
from ..forward.engine import Choice
from .choosing import said, shared_with_choosing
from .circuit_runs import Background, CircuitRuns, check_enough
from .faithfulness import alone_and_without
from .judging import circuit_problems, edges_to_judge, runs_to_judge
from .metrics import AnyMetric, as_metric, logit_difference

ALPHA = 0.05
FEWEST_RANDOM = 19  # random circuits, the least with which a p-value can be as small as ALPHA: 1 of 20
MOST_LEFT = 0.5  # share of the gap; a circuit without which more may be left is not called needed
_NUMBERS = "kept kept_low kept_high without without_low without_high random_without random_least p gap"


@dataclass(frozen=True, eq=False)
class NecessityResult(Result):
    """What is left of the gap without a circuit, by kind of ablation.

    Attributes:
        table: a row for each ablation, with
            ablation: what closed edges carry: corrupt, mean, resampled or zero, see `analyses.patching.circuit_runs`;
            kept: what the circuit alone keeps of the gap, [m(circuit) − m(empty)] / [m(clean) − m(empty)], a ratio of sums
            over queries; kept_low, kept_high: its 95 % bootstrap interval over units of queries, see `PromptPairs.unit`;
            without: the same of all other measured edges, the circuit knocked out; without_low, without_high;
            random_without: median over random circuits (connected, of its size, edges in similar places; the same ones in
            all rows) of what is left without them; random_least: the least that is left; NaN if none were drawn;
            p: share of random circuits whose knock-out leaves no more, the circuit counted among them;
            gap: mean m(clean) − m(empty), in the metric's unit; n: number of queries; n_units: of their units;
            reason: why the row's shares are NaN; empty if they are not.
        model: the model's name.
        pairs: hash of the pairs it was judged on.
        chosen_on: hash of the pairs it was chosen on.
        recipe: how the judging pairs were made.
        n_edges: how many the circuit has.
        n_random: how many random circuits were drawn.
        metric: name of the metric.
        unit: of the metric; empty if nobody said.
        shared: how many of the judging pairs share something with the pairs that the circuit was chosen on, see
            `choosing.shared_with_choosing`; empty if the circuit does not say on which (old or foreign files).
    """

    table: Annotated[pd.DataFrame, Columns(words="ablation reason", numbers=_NUMBERS, whole="n n_units")]
    model: str
    pairs: str
    chosen_on: str
    recipe: Mapping[str, Any]
    n_edges: int
    n_random: int
    metric: str = ""
    unit: str = ""
    shared: Mapping[str, int] = field(default_factory=dict)

    @property
    def needed_by(self) -> tuple[str, ...]:
        """The ablations by which more than half of the gap is lost without the circuit, by the whole of the interval.

        That may hold of a random circuit, too: see `more_than_random`.
        """
        return tuple(self.table.loc[self.table["without_high"] < MOST_LEFT, "ablation"])

    @property
    def more_than_random(self) -> tuple[str, ...]:
        """The ablations by which its knock-out leaves less than that of random circuits of its size does, p ≤ .05."""
        return tuple(self.table.loc[self.table["p"] <= ALPHA, "ablation"])

    @property
    def caption(self) -> str:
        """The model and the finding in one line."""
        return f"{self.model}{f' · {self.metric}' if self.metric else ''}: {self.finding}"

    @property
    def finding(self) -> str:
        """The caption without the model."""
        left, n = ", ".join(map(_left, self.table.to_dict("records"))), int(self.table["n"].iloc[0])
        edges = "its one edge" if self.n_edges == 1 else f"its {self.n_edges} edges"
        needed = f"needed by {len(self.needed_by)} of {len(self.table)} ablations{self._next_to_random}"
        return f"without {edges} there is left of the gap {left}; {needed}; {n} pairs{said(self.shared, n)}"

    @property
    def _next_to_random(self) -> str:
        """By how many ablations more is lost than without random circuits, if these are enough; empty without any."""
        if not self.n_random:
            return ""
        if self.n_random < FEWEST_RANDOM:
            return f"; whether that is more than by chance takes {FEWEST_RANDOM} random circuits, not {self.n_random}"
        return f", more than {self.n_random} random circuits of its size by {len(self.more_than_random)} (p ≤ {ALPHA})"

    def explain(self) -> Explanation:
        """What is left of the gap without the circuit, by kind of ablation."""
        if self.table.empty:
            return without_rows(self.model)
        row, rows = self.table.iloc[0].to_dict(), self.table.to_dict("records")
        names, n_needed = ", ".join(self.table["ablation"]), len(self.needed_by)
        left = ", ".join(f"{fixed(each['without'], 2)} ({each['ablation']})" for each in rows if not each["reason"])
        gaps = ", ".join(f"{shown(each['gap'])} ({each['ablation']})" for each in rows if each["gap"] == each["gap"])
        return Explanation(
            measured=f"What is left of the gap when the circuit, {counted(self.n_edges, 'edge')}, is knocked out; closed "
            f"edges carry other values ({names}).",
            on=f"{self.model}, {counted_units(row)}{said(self.shared, row['n'])}. Every ablation has a gap of its own"
            f"{f', in {unit_of(self.metric, self.unit)}: {gaps}' if gaps else ', and none is known'}.",
            means=f"The circuit is needed by {n_needed} of {counted(len(rows), 'ablation')}. Without it there is left of "
            f"the gap {left or 'nothing that has a number'} (1 is all of it, 0 nothing).",
            sure=f"What is left, with 95 % intervals over resampled units: {', '.join(map(_left, rows))}. Needed by "
            f"{n_needed} of {len(rows)}{self._next_to_random or '; no random circuit was drawn'}.",
            would_change=f"An interval of what is left that reaches {MOST_LEFT}: the circuit is needed where all of it is "
            "below. Or another ablation.",
        )


def _left(row: Mapping[Any, Any]) -> str:
    """`0.02 [0.01, 0.03] (mean, random 0.91, p = 0.048)`."""
    if row["reason"]:
        return f"an undefined share ({row['ablation']}: {row['reason']})"
    share, low, high = (fixed(row[name], 2) for name in ("without", "without_low", "without_high"))
    drawn = not np.isnan(row["random_without"])
    random = f", random {fixed(row['random_without'], 2)}, p = {row['p']:.3f}" if drawn else ""
    return f"{share} [{low}, {high}] ({row['ablation']}{random})"


def necessity(
    model: Model,
    circuit: Circuit,
    pairs: PromptPairs,
    *,
    ablations: Sequence[Background] = ("corrupt", "mean", "resampled", "zero"),
    n_random: int = 20,
    allow_shared: bool = False,
    metric: AnyMetric = logit_difference,
    max_memory: int | None = None,
    engine: Choice = "auto",
    progress: bool = True,
    seed: int = 0,
) -> NecessityResult:
    """Knock a circuit out by several kinds of ablation, next to random circuits of its size.

    Each row is what `faithfulness` finds with that background, without its curve and its edges one by one.

    Args:
        model: see `faithfulness`. Left unmodified.
        circuit: chosen on other pairs than these; `pairs.halves()` gives two sets that share nothing.
        pairs: what to judge it on.
        ablations: what closed edges carry, each in a row, see `CircuitRuns`.
        n_random: number of random circuits; 0 for none. With 20 the smallest p is 1/21.
        allow_shared: see `faithfulness`.
        metric: see `path_patch`.
        max_memory: bytes that may be used, results included; by default a quarter of what is free.
        engine: see `path_patch`.
        progress: show a bar, in terminals and notebooks, for what takes longer than two seconds.
        seed: of the random circuits, the resampled prompts and the bootstrap.

    Raises:
        ValueError: if ablations are none, unknown or named twice; and as `faithfulness` does.
    """
    counts = whole_problems(0, most=MOST_REPEATS, n_random=n_random)
    common = common_problems(allow_shared=allow_shared, max_memory=max_memory, engine=engine, progress=progress, seed=seed)
    refuse(circuit_problems(circuit=circuit) + pairs_problems(pairs=pairs) + _ablation_problems(ablations) + counts + common)
    pairs.check_against(model)
    check_enough(pairs)
    shared = shared_with_choosing(circuit.provenance, pairs, allow_shared=allow_shared)
    kept = edges_to_judge(circuit)
    how: dict[str, Any] = {"metric": metric, "max_memory": max_memory, "engine": engine, "progress": progress, "seed": seed}

    @cache  # drawn once, as soon as the model's graph is known to be the circuit's
    def random() -> list[list[Edge]]:
        return random_circuits(circuit.graph, kept, n_random, rng=np.random.default_rng(seed), progress=progress)

    def row(ablation: Background) -> dict[str, Any]:
        runs = runs_to_judge(model, circuit, pairs, background=ablation, **how)
        return {"ablation": ablation, **_measured(runs, circuit, [kept, *random()], seed=seed)}

    return NecessityResult(
        table=pd.DataFrame([row(each) for each in ablations]),
        model=model.cfg.model_name,
        pairs=pairs.key,
        chosen_on=str(circuit.provenance.get("pairs", "unknown")),
        recipe=dict(pairs.recipe),
        n_edges=len(kept),
        n_random=n_random,
        metric=as_metric(metric).name,
        unit=as_metric(metric).unit,
        shared=shared,
    )


def _measured(runs: CircuitRuns, circuit: Circuit, edge_sets: Sequence[Sequence[Edge]], *, seed: int) -> dict[str, Any]:
    """A row without the ablation's name; of the sets of edges the first is the circuit, the others are random."""
    (kept, without), (low, high) = alone_and_without(runs, circuit, edge_sets, seed=seed)
    gap, _, reason = runs.gap
    left = pd.Series(without[1:], dtype=float)
    return {
        **{"kept": kept[0], "kept_low": low[0, 0], "kept_high": high[0, 0]},
        **{"without": without[0], "without_low": low[1, 0], "without_high": high[1, 0]},
        **{"random_without": left.median(), "random_least": left.min()},
        "p": np.nan if reason else float((without <= without[0]).mean()),
        **{"gap": gap, "n": len(runs.pairs), "n_units": runs.pairs.n_units, "reason": reason},
    }


def _ablation_problems(ablations: Any) -> list[str]:
    """Why these are no ablations, each named once."""
    if problems := names_problems(ablations=ablations):
        return problems
    known = get_args(Background)
    problems = [line for each in dict.fromkeys(ablations) for line in choice_problems(ablations=(each, known))]
    twice = [name for name in dict.fromkeys(ablations) if list(ablations).count(name) > 1]
    problems += [f"ablations name {', '.join(map(repr, twice))} more than once"] if twice else []
    return problems + ([] if len(ablations) else [f"there are no ablations, possible are {', '.join(known)}"])
