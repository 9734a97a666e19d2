"""Functional transfer between checkpoints: does one model understand what another one's components write?

Two models can have circuits of one shape whose components write in different codes. In turn, each component of a circuit in
model A, on the corrupt prompt, gets what that component of model B writes on the clean prompt; the share of A's gap that
this restores is compared with what A's clean activation restores. To run A restricted to B's circuit:
`faithfulness(A, circuit_of_B)`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import pandas as pd

from ...circuits import Circuit, Node, Result
from ...circuits.arguments import common_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation, counted_units, gap_in_words, largest, without_rows
from ...circuits.plain_text import counted
from ...circuits.units import after_number, interval, shown
from ...tasks import PromptPairs
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.transformerlens import Model
from ..forward.engine import engine_of
from ..plots.bars import transplant_bars
from ..statistics import bootstrap_ratio
from .choosing import said, shared_with_choosing
from .gap import Ends, below_rounding, gap_and_reason, undefined
from .metrics import AnyMetric, logit_difference
from .resolution import resolution_of


@dataclass(frozen=True, eq=False)
class TransplantResult(Result):
    """What another model's activations restore.

    Attributes:
        table: a row for each component of the circuit at a position, with node; own: share of A's gap that A's clean
            activation restores; other: what B's restores; their 95 % bootstrap intervals over units of queries own_low,
            own_high, other_low, other_high; n queries; n_units; gap: A's, in the metric's unit.
        receiver: model A's name.
        donor: model B's name.
        reason: why shares are NaN; empty if they are not.
        metric: name of the metric.
        unit: of the metric; empty if nobody said.
        shared: how many pairs share something with those that the circuit was chosen on, see
            `choosing.shared_with_choosing`; empty if the circuit does not say on which.
    """

    table: Annotated[
        pd.DataFrame, Columns(words="node", numbers="own other own_low own_high other_low other_high gap", whole="n")
    ]
    receiver: str
    donor: str
    reason: str
    metric: str = ""
    unit: str = ""
    shared: Mapping[str, int] = field(default_factory=dict)

    @property
    def caption(self) -> str:
        """Models, n, metric and gap in one line."""
        undefined = f" · undefined: {self.reason}" if self.reason else ""
        n = int(self.table["n"].iloc[0])
        one = n == 1 or ("n_units" in self.table and self.table["n_units"].iloc[0] == 1)
        pairs = (
            f"n = {n} pair{'s' if n > 1 else ''}{' of one unit' if one and n > 1 else ''}{': no interval' if one else ''}"
        )
        gap = f" · {self.metric}, gap {shown(self.table['gap'].iloc[0])}{after_number(self.unit)}" if self.metric else ""
        return f"{self.receiver} with activations of {self.donor} · {pairs}{said(self.shared, n)}{gap}{undefined}"

    def explain(self) -> Explanation:
        """What the donor's activations restore where the receiver's own restore most."""
        if self.table.empty:
            return without_rows(f"{self.receiver} with activations of {self.donor}")
        first = self.table.iloc[0].to_dict()
        row = {} if self.reason else largest(self.table.dropna(subset="other"), "own")
        means = (
            f"At {row['node']}, where {self.receiver}'s clean activation restores most, {shown(row['own'])} of the gap, "
            f"{self.donor}'s restores {shown(row['other'])} (1 is the whole gap, 0 nothing)."
            if row
            else f"Nothing: {self.reason or 'no share has a number'}."
        )
        own, other = (interval(row[f"{name}_low"], row[f"{name}_high"], 2) if row else "" for name in ("own", "other"))
        return Explanation(
            measured=f"What share of the gap comes back when one component of {self.receiver} gets, on the corrupt prompt, "
            f"what that component of {self.donor} writes on the clean one.",
            on=f"{self.receiver}, {counted_units(first)}{said(self.shared, first['n'])}. "
            + gap_in_words(first["gap"], {"metric": self.metric, "unit": self.unit}),
            means=means,
            sure=f"The 95 % intervals over resampled units are {own} and {other}." if own else "No interval was computed.",
            would_change=f"Another donor than {self.donor}; the table holds both shares at "
            f"{counted(len(self.table), 'component')}.",
        )

    def figure(self) -> Any:
        """Both shares by component, with their intervals."""
        return transplant_bars(self.table, title=f"{self.caption} · bars: 95 % intervals")


def transplant(
    model: Model,
    donor: Model,
    circuit: Circuit,
    pairs: PromptPairs,
    *,
    allow_shared: bool = False,
    metric: AnyMetric = logit_difference,
    max_memory: int | None = None,
    seed: int = 0,
) -> TransplantResult:
    """Put the donor's clean activations, component by component, into the model's corrupt run.

    Args:
        model: A, which is run; left unmodified.
        donor: B, whose activations are put in; of the same computation graph and width.
        circuit: whose components are exchanged; chosen on other pairs than these.
        pairs: clean and corrupt prompts.
        allow_shared: also take pairs that share prompts or units with those that the circuit was chosen on; the result says
            how many do.
        metric: see `path_patch`.
        max_memory: bytes that may be used, results included; by default a quarter of what is free.
        seed: of the bootstrap.

    Raises:
        ValueError: if the models' graphs or widths differ, the circuit is of another graph or empty, pairs share a prompt or
            unit with those it was chosen on, or the metric has no finite number for some prompts.
    """
    refuse(pairs_problems(pairs=pairs) + common_problems(allow_shared=allow_shared, max_memory=max_memory, seed=seed))
    for each in (model, donor):
        pairs.check_against(each)
    shared = shared_with_choosing(circuit.provenance, pairs, allow_shared=allow_shared)
    engine, theirs = (engine_of(each, pairs.roles, pairs.answer_position, max_memory=max_memory) for each in (model, donor))
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
        raise ValueError(f"the circuit keeps no edge{circuit.why_empty and f': {circuit.why_empty}'}")
    changes, resolution = np.empty((2, len(nodes), len(pairs))), resolution_of(model, engine.graph)
    ends = Ends(metric, len(pairs), "denoising", resolution)
    for part_rows in engine.batches(len(pairs), "copies", results=changes.nbytes):
        part, rows = pairs.take(part_rows), part_rows.numpy()
        clean, corrupt = engine.run(part.clean, part.corrupt)
        other, _ = theirs.run(part.clean, part.corrupt)
        by_query = ends.note(rows, part, corrupt, clean)
        for found, source in zip(changes, (clean, other), strict=True):
            for places, logits in engine.node_logits(corrupt, source, nodes):
                found[np.array(places)[:, None], rows] = by_query(logits) - ends.base[rows]
    share, _, interval = bootstrap_ratio(np.concatenate(changes), ends.gaps, unit=pairs.unit, seed=seed)
    gap, _, reason = gap_and_reason(ends.gaps, pairs.unit, seed=seed)
    if reason := below_rounding(ends.gaps, ends.rounding, ends.resolution) or reason:
        share, interval = np.full_like(share, np.nan), np.full_like(interval, np.nan)
    reason = reason or undefined(ends.metric.name, np.concatenate(changes))
    table, names = (
        _table(nodes, share, interval).assign(n=len(pairs), gap=gap, n_units=pairs.n_units),
        (model.cfg.model_name, donor.cfg.model_name),
    )
    return TransplantResult(table, *names, reason, ends.metric.name, ends.metric.unit, shared)


def _table(nodes: list[Node], share: np.ndarray, interval: np.ndarray) -> pd.DataFrame:
    low, high = interval.T
    columns: dict[str, Any] = {"node": list(map(str, nodes))}
    for name, rows in (("own", slice(None, len(nodes))), ("other", slice(len(nodes), None))):
        columns |= {name: share[rows], f"{name}_low": low[rows], f"{name}_high": high[rows]}
    return pd.DataFrame(columns)
