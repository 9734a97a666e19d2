"""Whether a circuit does the work: run it alone, everything else corrupt, next to random circuits of its size."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from transformer_lens import HookedTransformer

from ..circuits import Circuit, Edge, Result
from ..tasks import PromptPairs
from .edge_sets import run_with_edge_sets
from .hooks import logits_at
from .metrics import Metric, logit_difference
from .patching import gap_and_reason, metric_by_query
from .statistics import bootstrap_ratio


@dataclass(frozen=True, eq=False)
class FaithfulnessResult(Result):
    """How much of the clean–corrupt gap a circuit keeps.

    Attributes:
        table: a row for the circuit and one for each random circuit, with
            edges: `circuit` or `random 1`, …; n_edges: how many;
            faithfulness: [m(circuit alone) − m(corrupt)] / [m(clean) − m(corrupt)], a ratio of sums over queries;
            low, high: its 95 % bootstrap interval over queries;
            n: number of queries; gap: mean m(clean) − m(corrupt).
        model: the model's name.
        pairs: hash of the pairs it was judged on.
        chosen_on: hash of the pairs it was chosen on.
        recipe: how the judging pairs were made.
        reason: why the numbers are NaN, otherwise empty.
    """

    model: str
    pairs: str
    chosen_on: str
    recipe: Mapping[str, Any]
    reason: str

    @property
    def faithfulness(self) -> float:
        """Of the circuit."""
        return float(self.table["faithfulness"].iloc[0])

    @property
    def p_value(self) -> float:
        """Share of random circuits at least as faithful, the circuit counted among them."""
        if self.reason:
            return float("nan")
        random = self.table["faithfulness"].iloc[1:]
        return float((1 + (random >= self.faithfulness).sum()) / (1 + len(random)))

    @property
    def caption(self) -> str:
        """The finding in one line."""
        row, random = self.table.iloc[0], self.table["faithfulness"].iloc[1:]
        if self.reason:
            return f"{self.model}: undefined, {self.reason}"
        kept = f"{row['n_edges']} edges keep {row['faithfulness']:.2f} [{row['low']:.2f}, {row['high']:.2f}] of the gap"
        null = f"{len(random)} random circuits of that size at most {random.max():.2f} (p = {self.p_value:.3f})"
        return f"{self.model}: {kept} on {row['n']} pairs; {null}"


def faithfulness(
    model: HookedTransformer,
    circuit: Circuit,
    pairs: PromptPairs,
    *,
    n_random: int = 20,
    metric: Metric = logit_difference,
    seed: int = 0,
) -> FaithfulnessResult:
    """Run a circuit's kept edges on the clean prompts with all other edges corrupt.

    The null: random subsets of the measured edges, of the same size.

    Args:
        model: the model the circuit is of; it is left as it was.
        circuit: chosen on other pairs than these.
        pairs: what to judge it on.
        n_random: number of random circuits.
        metric: see `path_patch`.
        seed: of the random circuits and the bootstrap.

    Raises:
        ValueError: if the circuit was chosen on these very pairs.
    """
    chosen_on = str(circuit.provenance.get("pairs", "unknown"))
    if chosen_on == pairs.key:
        raise ValueError("the circuit was chosen on these very pairs; judge it on others, e.g. pairs.halves()")
    kept = circuit.kept_edges
    everything = [
        Edge.parse(f"{sender} -> {receiver}")
        for sender, receiver in zip(circuit.table["sender"], circuit.table["receiver"], strict=True)
    ]
    rng = np.random.default_rng(seed)
    random = [[everything[i] for i in rng.permutation(len(everything))[: len(kept)]] for _ in range(n_random)]
    plain = [
        metric_by_query(metric, logits_at(model, tokens, pairs.answer_position, []), pairs)
        for tokens in (pairs.clean, pairs.corrupt)
    ]
    gaps: Float[np.ndarray, " query"] = plain[0] - plain[1]
    kept_metric = metric_by_query(metric, run_with_edge_sets(model, pairs, [kept, *random]), pairs)
    gap, _, reason = gap_and_reason(gaps, seed=seed)
    share, _, interval = bootstrap_ratio(kept_metric - plain[1], gaps, seed=seed)
    if reason:
        share, interval = np.full_like(share, np.nan), np.full_like(interval, np.nan)
    table = pd.DataFrame(
        {
            "edges": ["circuit", *(f"random {i}" for i in range(1, n_random + 1))],
            "n_edges": len(kept),
            "faithfulness": share,
            "low": interval[:, 0],
            "high": interval[:, 1],
            "n": len(pairs),
            "gap": gap,
        }
    )
    return FaithfulnessResult(table, model.cfg.model_name, pairs.key, chosen_on, dict(pairs.recipe), reason)
