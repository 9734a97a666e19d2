"""Other facts whose states may take the place of a question's own, sorted by what putting them there can show."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from .queries import Queries

if TYPE_CHECKING:
    from .twohop import TwoHopTask


@dataclass(frozen=True, eq=False)
class Donor:
    """Prompts whose states may take the place of a question's own.

    Attributes:
        prompts: by kind of donor.
        value: the intermediate that those of another value lead to.
        answer: the answer that follows from it in this question.
    """

    prompts: Mapping[str, Int[Tensor, " pos"]]
    value: int
    answer: int


class TwoHopDonors:
    """Finds, for a question, other facts (h′, r1′) of each kind, all to be asked with its r2."""

    def __init__(self, task: "TwoHopTask", second_hop: str, rng: np.random.Generator) -> None:
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

    def of(self, queries: Queries, row: int) -> Donor | None:
        """The prompts (h′, r1′, r2) by kind, with the new bridge and answer; None if a kind has no donor.

        Held-out and trained donors have the same new bridge and so the same new answer.
        """
        hop1, hop2 = int(queries.hop1[row]), int(queries.hop2[row])
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
        chosen = {kind: int(self.rng.choice(facts)) for kind, facts in kinds.items() if len(facts)}
        prompts = {kind: self._asking(queries.tokens[row], fact) for kind, fact in chosen.items()}
        return Donor(prompts, int(new), new_answer)

    def _asking(self, tokens: Int[Tensor, " pos"], fact: int) -> Int[Tensor, " pos"]:
        """The prompt with another first fact."""
        tokens = tokens.clone()
        first = int(self.graph.heads[fact]), self.graph.n_entities + int(self.graph.relations[fact])
        tokens[:2] = torch.tensor(first)
        return tokens
