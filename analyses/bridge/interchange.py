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
from jaxtyping import Bool, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from ...circuits import ComputationGraph, Result
from ...tasks import Queries, TwoHopTask
from ..forward.cached import CachedRun, run_and_cache, with_state
from ..forward.model import graph_of
from ..plots.heatmaps import cell_heatmaps
from ..statistics import random_like, wilson
from .bridge_means import BridgeMeans


class Donors:
    """Finds, for a question, other facts (h′, r1′) of each kind, all to be asked with its r2."""

    def __init__(self, task: TwoHopTask, second_hop: str, rng: np.random.Generator) -> None:
        self.task, self.graph, self.rng = task, task.graph, rng
        compositions = self.graph.compositions
        n_facts = np.array([len(self.graph), 1])
        in_training = np.concatenate([task.trained, task.added]) @ n_facts
        usable = ~task.is_ood[compositions[:, 0]] & (task.is_ood[compositions[:, 1]] == (second_hop == "OOD"))
        compositions = compositions[usable]
        trained: Bool[np.ndarray, " composition"] = np.isin(compositions @ n_facts, in_training)
        relations = self.graph.relations[compositions[:, 1]]
        self.has_trained = bool(trained.any())
        self.by_relation = {r: (compositions[relations == r], trained[relations == r]) for r in np.unique(relations)}

    def of(self, hop1: int, hop2: int) -> dict[str, Any] | None:
        """Tokens (h′, r1′) by kind, with the new bridge and answer; None if a kind has no donor.

        Held-out and trained donors have the same new bridge and so the same new answer.
        """
        bridge, answer = self.graph.tails[hop1], self.graph.tails[hop2]
        if (relation := self.graph.relations[hop2]) not in self.by_relation:
            return None
        compositions, trained = self.by_relation[relation]
        bridges, answers = self.graph.tails[compositions.T]
        fits = (bridges != bridge) & (answers != answer)
        possible = np.unique(bridges[fits & ~trained])
        if self.has_trained:
            possible = np.intersect1d(possible, bridges[fits & trained])
        same = np.flatnonzero((self.graph.tails == bridge) & ~self.task.is_ood)
        same = same[same != hop1]
        if not len(possible) or not len(same):
            return None
        new = self.rng.choice(possible)
        new_answer = int(answers[fits & (bridges == new)][0])
        other = fits & (bridges != new) & (answers != new_answer)
        if not other.any():
            return None
        kinds = {
            "held out": compositions[fits & (bridges == new) & ~trained, 0],
            "trained": compositions[fits & (bridges == new) & trained, 0],
            "same bridge": same,
            "other bridge": compositions[other, 0],
        }
        chosen = {kind: self._tokens(int(self.rng.choice(facts))) for kind, facts in kinds.items() if len(facts)}
        return chosen | {"bridge": int(new), "answer": new_answer}

    def _tokens(self, fact: int) -> tuple[int, int]:
        return int(self.graph.heads[fact]), self.graph.n_entities + int(self.graph.relations[fact])


WHOLE_STATE = ("held out", "trained", "same bridge", "other bridge")
DIRECTION = ("bridge direction", "random direction")


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
            success: share of answers tail(b′, r2), or for `same bridge` of right answers, tail(b, r2);
            low, high: its 95 % Wilson interval, with the question's hop-1 fact as unit;
            kept: share of right answers;
            n, n_facts: questions and their hop-1 facts.
        model: the model's name.
        split: the questions' split.
        second_hop: whether the facts (b′, r2) are ID or OOD.
        answered: whether the questions used are those answered `right` or `wrong`.
        n_asked: questions, of which those so answered for which all donors exist are used.
    """

    model: str
    split: str
    second_hop: str
    answered: str
    n_asked: int

    @property
    def caption(self) -> str:
        """Model, split and n in one line."""
        row = self.table.iloc[0]
        used = f"n = {row['n']} of {self.n_asked} questions, answered {self.answered}, over {row['n_facts']} hop-1 facts"
        return f"{self.model} · {self.split} · (b′, r2) {self.second_hop} · {used}"

    def figure(self) -> Any:
        """Heat maps of success, layer × position, for each donor."""
        return cell_heatmaps(self.table, "donor", "success", title=self.caption)


@torch.no_grad()
def interchange(
    model: HookedTransformer,
    task: TwoHopTask,
    queries: Queries,
    *,
    second_hop: Literal["ID", "OOD"] = "ID",
    answered: Literal["right", "wrong"] = "right",
    seed: int = 0,
) -> InterchangeResult:
    """Exchange the state at every layer and position for that of donors of several kinds.

    Args:
        model: any HookedTransformer whose options `hooks.graph_of` accepts; it is left as it was.
        task: gives the facts and what was trained.
        queries: two-hop questions of the task.
        second_hop: whether the donors' (b′, r2) are ID or OOD facts; their (h′, r1′) are ID facts.
        answered: ask the questions that the model answers right, or those it answers wrong: if these follow donors, what
            reads the bridge works, and what fails is the fact (b, r2) as a second hop.
        seed: of the choice of donors and of the random directions.

    Raises:
        ValueError: if no question is so answered and has all donors.
    """
    graph = graph_of(model, queries.roles, queries.answer_position)
    means = BridgeMeans(model, graph, task, queries, seed=seed)
    asked, found = questions_with_donors(
        model, graph, task, queries, means, second_hop=second_hop, answered=answered, seed=seed
    )
    wanted = torch.tensor([each["answer"] for each in found])
    runs = donor_runs(model, graph, asked, found)
    run, new_bridges = run_and_cache(model, graph, asked.tokens), torch.tensor([each["bridge"] for each in found])
    generator, rows = torch.Generator().manual_seed(seed), []
    for layer in range(-1, graph.n_layers):
        for position, role in enumerate(graph.roles):
            own = run.state(layer)[:, position]
            change = means.of(layer, position, new_bridges) - means.of(layer, position, asked.bridges)
            states = {kind: runs[kind].state(layer)[:, position] for kind in runs}
            states |= dict(zip(DIRECTION, (own + change, own + random_like(change, generator)), strict=True))
            answers = with_state(run, layer, position, torch.stack(list(states.values()))).argmax(-1).cpu()
            for donor, given in zip(states, answers, strict=True):
                place = {"layer": layer, "role": role, "donor": donor}
                rows.append(place | _outcome(given, asked, asked.answers if donor == "same bridge" else wanted))
    return InterchangeResult(pd.DataFrame(rows), model.cfg.model_name, queries.split, second_hop, answered, len(queries))


def questions_with_donors(
    model: HookedTransformer,
    graph: ComputationGraph,
    task: TwoHopTask,
    queries: Queries,
    means: BridgeMeans,
    *,
    second_hop: str,
    answered: str = "right",
    seed: int,
) -> tuple[Queries, list[dict[str, Any]]]:
    """The questions answered right, or wrong, that have all donors and mean states, and these donors.

    Raises:
        ValueError: if there are none.
    """
    donors = Donors(task, second_hop, np.random.default_rng(seed))
    right = run_and_cache(model, graph, queries.tokens).logits.argmax(-1).cpu() == queries.answers
    wanted = (right == (answered == "right")).nonzero()[:, 0].tolist()
    found = [(row, donors.of(int(queries.hop1[row]), int(queries.hop2[row]))) for row in wanted]
    kept = [(row, each) for row, each in found if each and means.has(int(queries.bridges[row]), each["bridge"])]
    if not kept:
        raise ValueError(f"none of the {len(queries)} questions of {queries.split} is answered {answered} and has donors")
    return queries.take(torch.tensor([row for row, _ in kept])), [each for _, each in kept]


def donor_runs(
    model: HookedTransformer, graph: ComputationGraph, asked: Queries, found: list[dict[str, Any]]
) -> dict[str, CachedRun]:
    """By kind of donor, a run of the questions with h and r1 of that donor."""
    runs = {}
    for kind in (kind for kind in WHOLE_STATE if kind in found[0]):
        tokens = asked.tokens.clone()
        tokens[:, :2] = torch.tensor([each[kind] for each in found])
        runs[kind] = run_and_cache(model, graph, tokens)
    return runs


def _outcome(answered: Int[Tensor, " query"], asked: Queries, wanted: Int[Tensor, " query"]) -> dict[str, float]:
    n_facts = len(asked.hop1.unique())
    success, kept = (float((answered == answers).double().mean()) for answers in (wanted, asked.answers))
    low, high = wilson(success, n_facts)
    return {"success": success, "low": low, "high": high, "kept": kept, "n": len(asked), "n_facts": n_facts}
