"""Where the answer's information is: the effect of the whole residual stream at one position, cut by cut.

After each layer and at each position the clean run's state is replaced by the corrupt run's, exactly. What is replaced is
the state and not what a component writes, so the numbers do not depend on how the function is divided into heads, neurons or
blocks: two models that hold the same states at the same moments have the same profile. It says where, never what.
"""

from itertools import product

import numpy as np
import pandas as pd
import torch

from ...circuits.arguments import common_problems, refuse
from ...circuits.progress import bar
from ...tasks import PromptPairs
from ...tasks.models.trm import TRM
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.transformerlens import Model
from ..forward.engine import engine_of
from ..forward.state_runs import with_states
from ..patching.gap import Ends, below_rounding, check_metric, gap_and_reason, undefined
from ..patching.metrics import AnyMetric, logit_difference
from ..patching.resolution import resolution_of
from ..statistics import bootstrap_ratio
from .profile import Profile

STATE = "state"
"""The measure's name."""


@torch.no_grad()
def state_profile(
    model: Model,
    pairs: PromptPairs,
    *,
    metric: AnyMetric = logit_difference,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> Profile:
    """Patch the whole state, after each layer and at each position by itself (noising).

    Args:
        model: any model that `graph_of` accepts; left unmodified.
        pairs: clean and corrupt prompts.
        metric: a `Metric`, or a function of logits, answers and foils that gives one number for each query; by default the
            logit difference in nats.
        max_memory: bytes that may be used, results included; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the bootstrap.

    Returns:
        The profile: shares of the clean–corrupt gap, as of `activation_patch`, with 95 % bootstrap intervals over units.

    Raises:
        ValueError: for no pair, or tokens and positions that the model does not have (all problems at once); for models with
            options that cannot be done exactly, with hooks or with logits that are not finite; for a metric of the wrong
            shape, or without a finite number for some prompts.
        MemoryError: if not a single pair of prompts fits into `max_memory`.
    """
    refuse(pairs_problems(pairs=pairs) + common_problems(max_memory=max_memory, progress=progress, seed=seed))
    pairs.check_against(model)
    deltas, ends = _changes(model, pairs, metric, max_memory, progress=progress)
    _, _, reason = gap_and_reason(ends.gaps, pairs.unit, seed=seed)
    reason = below_rounding(ends.gaps, ends.rounding, ends.resolution) or reason
    share, interval = np.full(len(deltas), np.nan), np.full((len(deltas), 2), np.nan)
    if not reason:
        finite = np.where(np.isfinite(deltas), deltas, np.nan)
        share, _, interval = bootstrap_ratio(finite, ends.donor_gaps, unit=pairs.unit, seed=seed)
    table = pd.DataFrame(list(product(range(-1, model.cfg.n_layers), pairs.roles)), columns=pd.Index(["layer", "role"]))
    table = table.assign(measure=STATE, value=share, low=interval[:, 0], high=interval[:, 1])
    return Profile(
        table.assign(n=len(pairs), n_units=pairs.n_units),
        model.cfg.model_name,
        str(pairs.recipe.get("split", "")),
        f"share of the {ends.metric.name} gap",
        reason or undefined(ends.metric.name, deltas),
    )


def _changes(
    model: Model, pairs: PromptPairs, metric: AnyMetric, max_memory: int | None, *, progress: bool
) -> tuple[np.ndarray, Ends]:
    """m(patched) − m(clean) by cell and query, and the metric on both prompts."""
    exact = "replay" if isinstance(model, TRM) else "fast"  # the engines whose runs hold states
    engine = engine_of(model, pairs.roles, pairs.answer_position, max_memory=max_memory, engine=exact)
    cells = list(product(range(-1, engine.graph.n_layers), range(len(pairs.roles))))
    deltas, resolution = np.empty((len(cells), len(pairs))), resolution_of(model, engine.graph)
    ends = Ends(metric, len(pairs), "noising", resolution)
    batches = engine.batches(len(pairs), "copies", results=deltas.nbytes)
    check_metric(engine, metric, pairs, resolution, batches)
    with bar(deltas.size, "patching states", show=progress) as shown_bar:
        for part_rows in batches:
            part, rows = pairs.take(part_rows), part_rows.numpy()
            clean, corrupt = engine.run(part.clean, part.corrupt)
            by_query = ends.note(rows, part, clean, corrupt)
            for place, (layer, position) in enumerate(cells):
                state = corrupt.state(layer)[None, :, position]
                deltas[place, rows] = by_query(with_states(clean, layer, {position: state})[0]) - ends.base[rows]
                shown_bar.update(len(rows))
    return deltas, ends
