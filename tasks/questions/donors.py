"""Donors: prompts whose states may replace those of a question, sorted by what such a replacement can show."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ...circuits.plain_text import counted, named, one_line
from ...circuits.same_content import ByContent
from .graph import Compositions, KnowledgeGraph
from .queries import Queries


@dataclass(frozen=True, eq=False)
class Donor(ByContent):
    """Prompts whose states may replace those of a question.

    Attributes:
        prompts: by kind of donor.
        value: the intermediate of the donors that have another one than the question.
        answer: what follows from `value` in this question.
        answers: by kind, the right answer to the prompt itself; a kind is missing where nobody knows it.
        asks: by kind, what the prompt itself asks, in words.
    """

    prompts: Mapping[str, Int[Tensor, " pos"]]
    value: int
    answer: int
    answers: Mapping[str, int] = field(default_factory=dict)
    asks: Mapping[str, str] = field(default_factory=dict)

    @one_line
    def __repr__(self) -> Iterator[str]:
        yield from map(named, self.prompts)
        yield f"value {self.value}"
        yield f"answer {self.answer}"


@runtime_checkable
class Donors(Protocol):
    """Finds a `Donor` for a question."""

    def of(self, queries: Queries, row: int) -> Donor | None:
        """The donor for one of the questions, or None if a kind of prompt is missing."""
        ...


class TwoHopDonors:
    """Finds, for a two-hop question, other facts (h′, r1′) of each kind, to be asked with its r2.

    Args:
        graph: the facts.
        is_ood: which of them are OOD.
        in_training: the compositions that are trained.
        second_hop: `"ID"` or `"OOD"`: the status of the second facts.
        rng: draws one fact of each kind.

    A model that sees all positions at once may hold the answer anywhere. A donor that asks b′ another relation holds b′ and
    not the answer that follows from it in the question.
    """

    ASKS: ClassVar[Mapping[str, str]] = {
        "held out": "(h′, r1′, r2), never trained",
        "trained": "(h′, r1′, r2), trained",
        "same bridge": "(h″, r1″, r2), same answer",
        "other bridge": "(h‴, r1‴, r2), a third answer",
        "other r2": "(h′, r1′, r2′), another answer of b′",
    }

    def __init__(
        self,
        graph: KnowledgeGraph,
        is_ood: Bool[np.ndarray, " fact"],
        in_training: Compositions,
        second_hop: str,
        rng: np.random.Generator,
    ) -> None:
        self.graph, self.is_ood, self.rng = graph, is_ood, rng
        self.more = rng.spawn(1)[0]  # for what came later, so that the draws before stay what they were
        compositions, codes = graph.compositions, np.array([len(graph), 1])
        usable = ~is_ood[compositions[:, 0]] & (is_ood[compositions[:, 1]] == (second_hop == "OOD"))
        compositions = compositions[usable]
        trained: Bool[np.ndarray, " composition"] = np.isin(compositions @ codes, in_training @ codes)
        relations = graph.relations[compositions[:, 1]]
        self.has_trained = bool(trained.any())
        self.by_relation = {r: (compositions[relations == r], trained[relations == r]) for r in np.unique(relations)}

    @one_line
    def __repr__(self) -> Iterator[str]:
        yield f"from {counted(int((~self.is_ood).sum()), 'ID fact')} of {len(self.graph):,}"
        yield counted(len(self.by_relation), "second relation")

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
        same = np.flatnonzero((self.graph.tails == bridge) & ~self.is_ood)
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
        answers = {kind: self._answer(fact, int(relation)) for kind, fact in chosen.items()}
        of_bridge = np.flatnonzero((self.graph.heads == new) & ~np.isin(self.graph.tails, [answer, new_answer]))
        if len(of_bridge):
            second = int(self.more.choice(of_bridge))
            prompts["other r2"] = prompts["held out"].clone() if "held out" in prompts else prompts["trained"].clone()
            prompts["other r2"][2] = self.graph.n_entities + int(self.graph.relations[second])
            answers["other r2"], chosen["other r2"] = int(self.graph.tails[second]), second
        return Donor(prompts, int(new), new_answer, answers, {kind: self.ASKS[kind] for kind in chosen})

    def _answer(self, fact: int, relation: int) -> int:
        """What a question about a first fact and a second relation asks for."""
        return int(self.graph.tails[self.graph.fact_of[self.graph.tails[fact], relation]])

    def _asking(self, tokens: Int[Tensor, " pos"], fact: int) -> Int[Tensor, " pos"]:
        """The prompt with another first fact."""
        tokens = tokens.clone()
        first = int(self.graph.heads[fact]), self.graph.n_entities + int(self.graph.relations[fact])
        tokens[:2] = torch.tensor(first, device="cpu")
        return tokens
