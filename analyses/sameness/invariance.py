"""Whether measured effects are about what a model computes: they must be the same in exact rewrites of it.

A model's weights can be changed in ways that change nothing of what it computes, see `forward.rewritten`. What is said of a
component's part in the answer must not change either. This is a check of measurement and model together, in the user's own
model: of an effect that moves, no more can be said than of the basis that a head's values happen to be written in.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ...circuits import Circuit, Result
from ...circuits.arguments import LARGEST_SEED, common_problems, refuse, whole_problems
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...circuits.plain_text import counted
from ...circuits.units import fixed, shown
from ...tasks import PromptPairs
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.transformerlens import Model
from ..forward.engine import Choice, engine_of
from ..forward.model import check_reachable
from ..forward.places import asked_as
from ..forward.rewritten import rewrite_problems, rewritten
from ..patching.effects import PatchingResult
from ..patching.exact import path_patch
from ..patching.judging import circuit_problems
from ..patching.metrics import AnyMetric, logit_difference
from ..patching.resolution import resolution_of

ROUNDINGS = 16  # by how many roundings of the largest logit two models may differ that compute the same
MOST_REWRITES = 1000
_MEASURED = ("n", "n_units", "n_edges", "same_function", "effect_change", "effect_size", "logit_change", "logit_size")
_MEASURED += ("correlation",)


@dataclass(frozen=True, eq=False)
class InvarianceResult(Result):
    """What exact rewrites of a model change in its logits and in the effects of a circuit's edges.

    Attributes:
        table: a row for each rewrite:
            rewrite: its number; seed: of it;
            logit_change: the largest difference of a logit at the answer position, of clean and corrupt prompts, between the
            two models; logit_size: the model's largest |logit|;
            same_function: whether that is no more than rounding; where it is not, the rest of the row says nothing;
            effect_change: the largest difference of an effect, as a share of the gap; effect_size: the largest |effect|;
            correlation: Pearson's, of the effects in both models; NaN if there is one edge or all effects are alike;
            n_edges: the circuit's edges; n: prompt pairs; n_units: of their units.
        model: the model's name.
        metric: name of the metric.
        method: how effects were measured.
        reason: why effects have no number; empty if they have.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(
            numbers="logit_change logit_size effect_change effect_size correlation",
            whole="rewrite seed n_edges n n_units",
            flags="same_function",
        ),
    ]
    model: str
    metric: str
    method: str
    reason: str

    @property
    def same_function(self) -> bool:
        """Whether every rewrite computes the same."""
        return bool(self.table["same_function"].all())

    @property
    def effect_change(self) -> float:
        """The largest over all rewrites, as a share of the gap; NaN if one has no number."""
        return float(np.max(self.table["effect_change"].to_numpy(dtype=float)))

    @property
    def caption(self) -> str:
        """Model, metric, the largest changes and numbers of rewrites, edges and pairs in one line."""
        first, largest = self.table.iloc[0], self.table.max()
        text = f"{self.model} · {self.metric} · {len(self.table)} rewrites, {first['n_edges']} edges · largest changes: "
        text += f"logits {shown(largest['logit_change'])} of {shown(first['logit_size'])}, "
        text += f"effects {shown(self.effect_change)} of {shown(first['effect_size'])} · n = {first['n']}"
        wrong = int((~self.table["same_function"]).sum())
        text += f" · {wrong} rewrites compute something else, which says nothing of effects" if wrong else ""
        return text + (f" · no effects: {self.reason}" if self.reason else "")

    def explain(self) -> Explanation:
        """How far the effects of edges move in rewrites, next to their size."""
        rows = self.table.reindex(columns=list(_MEASURED))
        same = rows[rows["same_function"].isin([True])]
        n, n_units, n_edges = (int(most) for most in rows[["n", "n_units", "n_edges"]].max().fillna(0))
        effects = {name: shown(same[name].max()) for name in ("effect_change", "effect_size")}
        nothing = self.reason or ("" if len(same) else "no rewrite computes the same")
        found = (
            f"The largest change of an effect is {effects['effect_change']} of the gap; 0 is no change, and the largest "
            f"effect is {effects['effect_size']}."
        )
        least = same["correlation"].min()
        alike = f", and effects before and after correlate by at least {fixed(least, 3)}" if least == least else ""
        logits = f"logits of up to {shown(same['logit_size'].max())} change by up to {shown(same['logit_change'].max())}"
        tried = f". In those that were tried {logits}{alike}"
        return Explanation(
            measured=f"Logits and effects ({self.method}) in the model and in {counted(len(rows), 'exact rewrite')} of it, "
            "which have other weights and compute the same.",
            on=f"{self.model}, {counted(n_edges, 'edge')} of a circuit, by {self.metric}; n = {n} prompt pairs over "
            f"{counted(n_units, 'unit')}.",
            means=f"Nothing of effects: {nothing}." if nothing else found,
            sure=f"No interval was computed; n = {n}. Rewrites that compute something else, and so say nothing of effects: "
            f"{len(rows) - len(same)} of {len(rows)}.",
            would_change=f"A rewrite of the same function in which an effect changes{tried if len(same) else ''}.",
        )


@torch.no_grad()
def invariance(
    model: Model,
    circuit: Circuit,
    pairs: PromptPairs,
    *,
    n_rewrites: int = 2,
    metric: AnyMetric = logit_difference,
    max_memory: int | None = None,
    engine: Choice = "auto",
    progress: bool = True,
    seed: int = 0,
) -> InvarianceResult:
    """Measure the effects of a circuit's edges in a model and in exact rewrites of it.

    Args:
        model: a HookedTransformer or a TRM; left unmodified.
        circuit: its kept edges are measured, with positions together if the circuit's are.
        pairs: clean and corrupt prompts.
        n_rewrites: how many, see `rewritten`.
        metric: a `Metric`, or a function of logits, answers and foils that gives one number for each query; by default the
            logit difference in nats.
        max_memory: bytes that may be used; by default a quarter of what is free.
        engine: see `path_patch`.
        progress: show bars, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the first rewrite; each further one has the next.

    Raises:
        KeyError: if the circuit is of another model.
        ValueError: all problems at once: for a circuit without an edge; for models that cannot be rewritten; and as
            `path_patch`.
    """
    common: dict[str, Any] = {"max_memory": max_memory, "engine": engine, "progress": progress}
    problems = pairs_problems(pairs=pairs) + whole_problems(1, most=MOST_REWRITES, n_rewrites=n_rewrites)
    problems += common_problems(**common, seed=seed)
    check_reachable(model)
    refuse(problems + _circuit_problems(circuit) + rewrite_problems(model))
    pairs.check_against(model)
    edges = circuit.kept_edges
    common |= {**asked_as(circuit.graph, edges), "metric": metric}
    before, logits, rows = path_patch(model, pairs, **common), _logits(model, pairs, max_memory, engine), []
    for number in range(n_rewrites):
        drawn = (int(seed) + number) % (LARGEST_SEED + 1)
        new = rewritten(model, seed=drawn)
        changed = _changed_logits(model, before, logits, _logits(new, pairs, max_memory, engine))
        after = path_patch(new, pairs, **common)
        rows.append({"rewrite": number + 1, "seed": drawn, **changed, **_changed_effects(before, after)})
    table = pd.DataFrame(rows).assign(n_edges=len(edges), n=len(pairs), n_units=pairs.n_units)
    return InvarianceResult(table, before.model, before.metric, before.method, before.reason)


def _circuit_problems(circuit: Any) -> list[str]:
    if problems := circuit_problems(circuit=circuit):
        return problems
    if circuit.table["kept"].any():
        return []
    return ["the circuit has no edge" + (f": {circuit.why_empty}" if circuit.why_empty else "")]


def _logits(model: Model, pairs: PromptPairs, max_memory: int | None, engine: Choice) -> Float[Tensor, "prompt d_vocab"]:
    """Of all clean, and then all corrupt prompts of each batch, at the answer position."""
    runner = engine_of(model, pairs.roles, pairs.answer_position, max_memory=max_memory, engine=engine)
    batches = runner.batches(len(pairs), "copies", results=16 * len(pairs) * model.cfg.d_vocab_out)
    runs = (run for rows in batches for run in runner.run(pairs.clean[rows], pairs.corrupt[rows]))
    return torch.cat([run.logits.cpu().double() for run in runs])


def _changed_logits(
    model: Model,
    before: PatchingResult,
    logits: Float[Tensor, "prompt d_vocab"],
    new: Float[Tensor, "prompt d_vocab"],
) -> dict[str, Any]:
    """How far the logits move, beside their size, and whether rounding may do that."""
    change, size = float((new - logits).abs().max()), float(logits.abs().max())
    allowed = ROUNDINGS * resolution_of(model, before.graph).share * size
    return {"logit_change": change, "logit_size": size, "same_function": change <= allowed}


def _changed_effects(before: PatchingResult, after: PatchingResult) -> dict[str, float]:
    """How far effects move, beside their size, and how they correlate."""
    old, new = (each.table["effect"].to_numpy(dtype=float) for each in (before, after))
    varied = len(old) > 1 and old.std() > 0 and new.std() > 0  # False for NaN, too
    return {
        "effect_change": float(np.abs(new - old).max()),
        "effect_size": float(np.abs(old).max()),
        "correlation": float(np.corrcoef(old, new)[0, 1]) if varied else float("nan"),
    }
