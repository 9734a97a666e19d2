"""Interchange: put the state of a question with another bridge into a question and see whether the answer follows.

If the state at a cell holds the bridge entity in the form that the second hop takes, a donor with bridge b′ makes the
model answer tail(b′, r2) (cross-query patching, Ye et al. 2025, arXiv 2505.23653; interchange interventions, Geiger et al.
2021, arXiv 2106.02997). In a causal model the whole state at r1 is a function of (h, r1) alone, so that a model which
memorised (h′, r1′, r2) passes as well: the decisive rows are donors whose composition was never trained, donors with the
same bridge, which must not change the answer, and the bridge's direction alone.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from ..circuits import ComputationGraph, Result
from ..tasks import Queries, TwoHopTask
from .fast_patching import with_state
from .hooks import graph_of
from .partial_forward import CachedRun, run_and_cache
from .plots import lens_heatmaps
from .statistics import wilson

WHOLE_STATE = ("held out", "trained", "same bridge", "other bridge")
DIRECTION = ("bridge direction", "random direction")
MIN_FACTS = 2  # hop-1 facts behind a bridge's mean state


@dataclass(frozen=True, eq=False)
class InterchangeResult(Result):
    """What the model answers with another question's state.

    Attributes:
        table: a row for each layer (−1: the embedding), position and donor, with
            donor: `held out` and `trained`: a state of (h′, r1′, r2), which leads to tail(b′, r2) and was not, or was, among
            the training compositions (`trained` only if there are such); `same bridge`: another fact's state with the
            same bridge; `other bridge`: a third bridge's state, judged by tail(b′, r2); `bridge direction`: the mean state
            of b′ minus that of b added, both over questions about other facts; `random direction`: a random vector of
            that length added;
            success: share of answers tail(b′, r2), or for `same bridge` of unchanged answers;
            low, high: its 95 % Wilson interval, with the question's hop-1 fact as unit;
            kept: share of unchanged answers;
            n, n_facts: questions and their hop-1 facts.
        model: the model's name.
        split: the questions' split.
        second_hop: whether the facts (b′, r2) are ID or OOD.
        n_asked: questions, of which those answered correctly for which all donors exist are used.
    """

    model: str
    split: str
    second_hop: str
    n_asked: int

    @property
    def caption(self) -> str:
        """Model, split and n in one line."""
        row = self.table.iloc[0]
        used = f"n = {row['n']} of {self.n_asked} questions over {row['n_facts']} hop-1 facts"
        return f"{self.model} · {self.split} · (b′, r2) {self.second_hop} · {used}"

    def figure(self) -> Any:
        """Heat maps of success, layer × position, for each donor."""
        table = self.table.rename(columns={"donor": "target"})
        return lens_heatmaps({"": table}, list(dict.fromkeys(table["target"])), value="success", title=self.caption)


@torch.no_grad()
def interchange(
    model: HookedTransformer,
    task: TwoHopTask,
    queries: Queries,
    *,
    second_hop: Literal["ID", "OOD"] = "ID",
    seed: int = 0,
) -> InterchangeResult:
    """Exchange the state at every layer and position for that of donors of several kinds.

    Args:
        model: any HookedTransformer whose options `hooks.graph_of` accepts; it is left as it was.
        task: gives the facts and what was trained.
        queries: two-hop questions of the task.
        second_hop: whether the donors' (b′, r2) are ID or OOD facts; their (h′, r1′) are ID facts.
        seed: of the choice of donors and of the random directions.

    Raises:
        ValueError: if no question is answered correctly and has all donors.
    """
    graph = graph_of(model, queries.roles, queries.answer_position)
    rng = np.random.default_rng(seed)
    donors = _Donors(task, second_hop, rng)
    right = run_and_cache(model, graph, queries.tokens).logits.argmax(-1).cpu() == queries.answers
    found = [(row, donors.of(int(queries.hop1[row]), int(queries.hop2[row]))) for row in right.nonzero()[:, 0].tolist()]
    found = [(row, each) for row, each in found if each is not None]
    centroids = _Centroids(model, graph, task, {int(queries.hop1[row]) for row, _ in found}, seed)
    found = [(row, each) for row, each in found if centroids.has(int(queries.bridges[row]), each["bridge"])]
    if not found:
        raise ValueError(f"none of the {len(queries)} questions of {queries.split} is answered correctly and has all donors")
    asked = queries.take(torch.tensor([row for row, _ in found]))
    wanted = torch.tensor([each["answer"] for _, each in found])
    kinds = [kind for kind in WHOLE_STATE if kind in found[0][1]]
    runs = {kind: _donor_run(model, graph, asked, [each[kind] for _, each in found]) for kind in kinds}
    run, new_bridges = run_and_cache(model, graph, asked.tokens), torch.tensor([each["bridge"] for _, each in found])
    generator, rows = torch.Generator().manual_seed(seed), []
    for layer in range(-1, graph.n_layers):
        for position, role in enumerate(graph.roles):
            own = run.state(layer)[:, position]
            change = centroids.of(layer, position, new_bridges) - centroids.of(layer, position, asked.bridges)
            random = torch.randn(change.shape, generator=generator, dtype=torch.float64).to(change)
            random = random / random.norm(dim=-1, keepdim=True) * change.norm(dim=-1, keepdim=True)
            states = {kind: runs[kind].state(layer)[:, position] for kind in kinds}
            states |= dict(zip(DIRECTION, (own + change, own + random), strict=True))
            answers = with_state(run, layer, position, torch.stack(list(states.values()))).argmax(-1).cpu()
            for donor, answered in zip(states, answers, strict=True):
                place = {"layer": layer, "role": role, "donor": donor}
                rows.append(place | _outcome(answered, asked, asked.answers if donor == "same bridge" else wanted))
    return InterchangeResult(pd.DataFrame(rows), model.cfg.model_name, queries.split, second_hop, len(queries))


def _outcome(answered: Int[Tensor, " query"], asked: Queries, wanted: Int[Tensor, " query"]) -> dict[str, float]:
    n_facts = len(asked.hop1.unique())
    success, kept = (float((answered == answers).double().mean()) for answers in (wanted, asked.answers))
    low, high = wilson(success, n_facts)
    return {"success": success, "low": low, "high": high, "kept": kept, "n": len(asked), "n_facts": n_facts}


def _donor_run(model: HookedTransformer, graph: ComputationGraph, asked: Queries, facts: list[tuple[int, int]]) -> CachedRun:
    """A run of the questions with h and r1 of other facts."""
    tokens = asked.tokens.clone()
    tokens[:, :2] = torch.tensor(facts)
    return run_and_cache(model, graph, tokens)


class _Donors:
    """Finds, for a question, other facts (h′, r1′) of each kind, all to be asked with its r2."""

    def __init__(self, task: TwoHopTask, second_hop: str, rng: np.random.Generator) -> None:
        self.task, self.graph, self.rng = task, task.graph, rng
        compositions = self.graph.compositions
        n_facts = np.array([len(self.graph), 1])
        in_training = np.concatenate([task.trained, task.added]) @ n_facts
        usable = ~task.is_ood[compositions[:, 0]] & (task.is_ood[compositions[:, 1]] == (second_hop == "OOD"))
        self.compositions = compositions[usable]
        self.trained: Bool[np.ndarray, " composition"] = np.isin(self.compositions @ n_facts, in_training)
        self.relations = self.graph.relations[self.compositions[:, 1]]
        self.bridges = self.graph.tails[self.compositions[:, 0]]
        self.answers = self.graph.tails[self.compositions[:, 1]]

    def of(self, hop1: int, hop2: int) -> dict[str, Any] | None:
        """Tokens (h′, r1′) by kind, with the new bridge and answer; None if a kind has no donor.

        Held-out and trained donors have the same new bridge and so the same new answer.
        """
        bridge, answer = self.graph.tails[hop1], self.graph.tails[hop2]
        fits = (self.relations == self.graph.relations[hop2]) & (self.bridges != bridge) & (self.answers != answer)
        possible = np.unique(self.bridges[fits & ~self.trained])
        if self.trained.any():
            possible = np.intersect1d(possible, self.bridges[fits & self.trained])
        same = np.flatnonzero((self.graph.tails == bridge) & ~self.task.is_ood)
        same = same[same != hop1]
        if not len(possible) or not len(same):
            return None
        new = self.rng.choice(possible)
        new_answer = int(self.answers[fits & (self.bridges == new)][0])
        other = fits & (self.bridges != new) & (self.answers != new_answer)
        if not other.any():
            return None
        kinds = {
            "held out": self.compositions[fits & (self.bridges == new) & ~self.trained, 0],
            "trained": self.compositions[fits & (self.bridges == new) & self.trained, 0],
            "same bridge": same,
            "other bridge": self.compositions[other, 0],
        }
        chosen = {kind: self._tokens(int(self.rng.choice(facts))) for kind, facts in kinds.items() if len(facts)}
        return chosen | {"bridge": int(new), "answer": new_answer}

    def _tokens(self, fact: int) -> tuple[int, int]:
        return int(self.graph.heads[fact]), self.graph.n_entities + int(self.graph.relations[fact])


class _Centroids:
    """Mean states of trained ID questions by bridge, none of them about the facts that are asked about."""

    def __init__(
        self, model: HookedTransformer, graph: ComputationGraph, task: TwoHopTask, without: set[int], seed: int
    ) -> None:
        queries = task.split("train_inferred")
        order = torch.randperm(len(queries), generator=torch.Generator().manual_seed(seed))
        first_of_fact: dict[int, int] = {}
        for row in order.tolist():  # one question for each fact: states repeat
            if (fact := int(queries.hop1[row])) not in without and not task.is_ood[fact]:
                first_of_fact.setdefault(fact, row)
        chosen = queries.take(torch.tensor(sorted(first_of_fact.values())))
        self.run, self.bridges = run_and_cache(model, graph, chosen.tokens), chosen.bridges
        self.counts = torch.bincount(self.bridges, minlength=task.graph.n_entities)

    def has(self, *bridges: int) -> bool:
        """Whether there are enough facts for the means of these bridges."""
        return all(self.counts[bridge] >= MIN_FACTS for bridge in bridges)

    def of(self, layer: int, position: int, bridges: Int[Tensor, " query"]) -> Float[Tensor, "query d_model"]:
        """The mean state of each bridge at a cell."""
        states = self.run.state(layer)[:, position]
        sums = states.new_zeros(len(self.counts), states.shape[1]).index_add_(0, self.bridges.to(states.device), states)
        return (sums / self.counts.to(states.device)[:, None].clamp(min=1))[bridges.to(states.device)]
