"""The logit lens: what would be answered if the rest of the model were skipped.

Each state of the residual stream goes through the final norm and the unembedding (nostalgebraist 2020; Wang et al.
2024, section 3.3). Readable is not used, and in a causal model the bridge at r1 is readable as soon as the atomic
fact is known; what tells is when it becomes readable, next to what chance gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from ..circuits import Result
from ..tasks import Queries
from .hooks import decode, residual_states
from .plots import lens_heatmaps
from .statistics import wilson

TARGETS = ("bridge", "answer", "shuffled bridge")


@dataclass(frozen=True, eq=False)
class LensResult(Result):
    """How readable bridge and answer are at each layer and position.

    Attributes:
        table: a row for each layer (−1 is the embedding, L what leaves layer L), role and target (`bridge`, `answer`, and
            as the null `shuffled bridge`, the bridge of another query), with
            top1: share of queries whose most likely token is the target, and its 95 % interval low, high
                (Wilson's, with the number of distinct hop-1 facts as its n, since states repeat per fact);
            mean_rank: mean rank of the target, 0 is first, ties count against it;
            mrr: mean of 1 / (rank + 1);
            probability: mean probability of the target;
            n: number of queries; n_facts: distinct hop-1 facts among them.
        model: the model's name.
        split: what the queries are.
        any_cell: share of queries whose target is top-1 at any layer and position, by target; the measure of He et al.
            2026 (section 3), embeddings included.
    """

    model: str
    split: str
    any_cell: Mapping[str, float]

    @property
    def bridge_found_any(self) -> float:
        """Share of queries whose bridge is top-1 at any layer and position."""
        return self.any_cell["bridge"]

    @property
    def caption(self) -> str:
        """Model, split and n in one line."""
        row = self.table.iloc[0]
        return f"{self.model} · {self.split} · n = {row['n']} queries over {row['n_facts']} hop-1 facts"

    def figure(self) -> Any:
        """Heat maps of the top-1 rates, layer × position."""
        return lens_heatmaps({"": self.table}, TARGETS, value="top1", title=self.caption)


@torch.no_grad()
def logit_lens(model: HookedTransformer, queries: Queries, *, seed: int = 0) -> LensResult:
    """Read bridge and answer off every layer and position.

    Args:
        model: any HookedTransformer; it is left as it was.
        queries: two-hop queries.
        seed: of the shuffle that gives each query another query's bridge, for the null.

    Raises:
        ValueError: if there is no query.
    """
    if not len(queries):
        raise ValueError(f"{queries.split} holds no query")
    order = torch.randperm(len(queries), generator=torch.Generator().manual_seed(seed))
    targets = dict(zip(TARGETS, (queries.bridges, queries.answers, queries.bridges[order]), strict=True))
    n_facts = len(queries.hop1.unique())
    rows, found = [], {target: torch.zeros(len(queries), dtype=torch.bool) for target in targets}
    for layer, states in residual_states(model, queries.tokens).items():
        log_probabilities = decode(model, states).log_softmax(-1).cpu()
        for position, role in enumerate(queries.roles):
            for target, tokens in targets.items():
                ranks, log_p = _rank_and_log_probability(log_probabilities[:, position], tokens)
                found[target] |= ranks == 0
                rows.append({"layer": layer, "role": role, "target": target} | _summary(ranks, log_p, n_facts))
    table = pd.DataFrame(rows).assign(n=len(queries), n_facts=n_facts)
    any_cell = {target: float(hits.double().mean()) for target, hits in found.items()}
    return LensResult(table, model.cfg.model_name, queries.split, any_cell)


def _rank_and_log_probability(
    log_probabilities: Float[Tensor, "query d_vocab"], tokens: Int[Tensor, " query"]
) -> tuple[Int[Tensor, " query"], Float[Tensor, " query"]]:
    """How many other tokens are at least as likely as the target, and the target's log-probability."""
    log_p = log_probabilities.gather(1, tokens[:, None])
    return (log_probabilities >= log_p).sum(1) - 1, log_p[:, 0]


def _summary(ranks: Int[Tensor, " query"], log_p: Float[Tensor, " query"], n_facts: int) -> dict[str, float]:
    values = ranks.numpy().astype(float)
    top1 = float((values == 0).mean())
    low, high = wilson(top1, n_facts)
    mean_rank, reciprocal = float(values.mean()), float(np.mean(1 / (values + 1)))
    probability = float(log_p.double().exp().mean())
    return {
        "top1": top1,
        "low": low,
        "high": high,
        "mean_rank": mean_rank,
        "mrr": reciprocal,
        "probability": probability,
    }
