"""Functional transfer between checkpoints: does one model understand what another one's components write?

Two models can have circuits of one shape whose components write in different codes. In turn, each component of a circuit in
model A, on the corrupt prompt, gets what that component of model B writes on the clean prompt; the share of A's gap that
this restores is compared with what A's clean activation restores. To run A restricted to B's circuit:
`faithfulness(A, circuit_of_B)`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from transformer_lens import HookedTransformer

from ...circuits import Circuit, Node, Result
from ...tasks import PromptPairs
from ..forward.engine import MAX_BATCH, engine_of
from ..plots.bars import transplant_bars
from ..statistics import resampled_ratios
from .gap import Ends, below_rounding, gap_and_reason, undefined
from .metrics import AnyMetric, logit_difference
from .resolution import resolution_of


@dataclass(frozen=True, eq=False)
class TransplantResult(Result):
    """What another model's activations restore.

    Attributes:
        table: a row for each component of the circuit at a position, with node; own: share of A's gap that A's clean
            activation restores; other: what B's restores; their 95 % bootstrap intervals over queries own_low,
            own_high, other_low, other_high; n; gap: A's, in the metric's unit.
        receiver: model A's name.
        donor: model B's name.
        reason: why shares are NaN; empty if they are not.
        metric: name of the metric.
        unit: of the metric; empty if nobody said.
    """

    receiver: str
    donor: str
    reason: str
    metric: str = ""
    unit: str = ""

    @property
    def caption(self) -> str:
        """Models and n in one line."""
        undefined = f" · undefined: {self.reason}" if self.reason else ""
        n = int(self.table["n"].iloc[0])
        pairs = f"n = {n} pairs" if n > 1 else "n = 1 pair: no interval"
        return f"{self.receiver} with activations of {self.donor} · {pairs}{undefined}"

    def figure(self) -> Any:
        """Both shares by component, with their intervals."""
        return transplant_bars(self.table, title=f"{self.caption} · bars: 95 % intervals")


def transplant(
    model: HookedTransformer,
    donor: HookedTransformer,
    circuit: Circuit,
    pairs: PromptPairs,
    *,
    metric: AnyMetric = logit_difference,
    seed: int = 0,
) -> TransplantResult:
    """Put the donor's clean activations, component by component, into the model's corrupt run.

    Args:
        model: A, which is run; left unmodified.
        donor: B, whose activations are put in; of the same computation graph and width.
        circuit: whose components are exchanged.
        pairs: clean and corrupt prompts.
        metric: see `path_patch`.
        seed: of the bootstrap.

    Raises:
        ValueError: if the models' graphs or widths differ, the circuit is of another graph or empty, or the metric has no
            finite number for some prompts.
    """
    for each in (model, donor):
        pairs.check_against(each)
    engine, theirs = (engine_of(each, pairs.roles, pairs.answer_position) for each in (model, donor))
    if problems := [
        f"{name}: {a} and {b}"
        for name, a, b in (
            ("graph", engine.graph, theirs.graph),
            ("d_model", model.cfg.d_model, donor.cfg.d_model),
            ("graph of the circuit", engine.graph, circuit.graph),
        )
        if a != b
    ]:
        raise ValueError(f"activations do not fit, the models differ in {'; '.join(problems)}")
    nodes = sorted({edge.sender for edge in circuit.kept_edges}, key=engine.graph.senders.index)
    if not nodes:
        raise ValueError("the circuit keeps no edge")
    clean, corrupt = engine.run(pairs.clean, pairs.corrupt)
    other, _ = theirs.run(pairs.clean, pairs.corrupt)
    ends = Ends(metric, len(pairs), "denoising", resolution_of(model, engine.graph))
    by_query = ends.note(np.arange(len(pairs)), pairs, corrupt, clean)
    changes = []
    for source in (clean, other):
        found = np.empty((len(nodes), len(pairs)))
        for places, logits in engine.node_logits(corrupt, source, nodes, max_batch=MAX_BATCH):
            found[places] = by_query(logits) - ends.base
        changes.append(found)
    share, resampled = resampled_ratios(np.concatenate(changes), ends.gaps, seed=seed)
    gap, _, reason = gap_and_reason(ends.gaps, seed=seed)
    if reason := below_rounding(ends.gaps, ends.rounding, ends.resolution) or reason:
        share, resampled = np.full_like(share, np.nan), np.full_like(resampled, np.nan)
    reason = reason or undefined(ends.metric.name, np.concatenate(changes))
    table, names = _table(nodes, share, resampled, len(pairs), gap), (model.cfg.model_name, donor.cfg.model_name)
    return TransplantResult(table, *names, reason, ends.metric.name, ends.metric.unit)


def _table(nodes: list[Node], share: np.ndarray, resampled: np.ndarray, n: int, gap: float) -> pd.DataFrame:
    low, high = np.quantile(resampled, [0.025, 0.975], axis=1)
    columns: dict[str, Any] = {"node": list(map(str, nodes))}
    for name, rows in (("own", slice(None, len(nodes))), ("other", slice(len(nodes), None))):
        columns |= {name: share[rows], f"{name}_low": low[rows], f"{name}_high": high[rows]}
    return pd.DataFrame(columns).assign(n=n, gap=gap)
