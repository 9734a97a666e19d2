"""Other facts whose states may take the place of a question's own, by what putting them there can show."""

from typing import Any

import numpy as np
from jaxtyping import Bool

from ..tasks import TwoHopTask


class Donors:
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
