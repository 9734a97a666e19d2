"""What is edited and what is asked of a model, before and after: the same for every method."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...tasks import Queries, exact_match
from ...tasks.questions.editable import Editable
from ...tasks.transformerlens import Model
from .fact_edit import Dependents, FactEdit, choose_edits, composed_by_split, dependents, facts_by_split

Met = Bool[Tensor, " _"]
Right = Callable[[Queries], Met]
"""Which questions are answered as they say."""
SAMPLE = 1000  # composed questions on other facts whose accuracy is measured before and after an edit
ABLE = 0.5  # share of right answers among the questions with a fact at a place, from which on the fact works there


def right_by(model: Model) -> Right:
    """What a model answers."""
    return lambda queries: exact_match(model, queries)


@dataclass(frozen=True, eq=False)
class Asked:
    """What is edited, and what is asked before and after.

    Attributes:
        edits: the facts and their new values.
        found: of each, the questions whose answers change.
        others: all atomic questions as `facts`, and as `composed` a sample of the others, of each split its share of
            `SAMPLE`: a part for each split, with what is answered right before any edit.
        parts: what each split is for.
        works: by place, for each fact, the share of right answers among all questions with it there; NaN without any.
        before: what the model answers before any edit.
    """

    edits: list[FactEdit]
    found: list[list[Dependents]]
    others: Mapping[str, list[tuple[Queries, Met]]]
    parts: Mapping[str, str]
    works: Mapping[str, Float[Tensor, " fact"]]
    before: Right

    @classmethod
    def of(cls, model: Model, task: Editable, n_edits: int, *, seed: int) -> "Asked":
        """Draw edits among the facts that a model answers right.

        Raises:
            ValueError: if there are none.
        """
        facts, composed, before = facts_by_split(task), composed_by_split(task), right_by(model)
        others = {"facts": [(queries, before(queries)) for queries in facts.values()]}
        known = [queries.take(right) for queries, right in others["facts"]]
        edits = choose_edits(task, known, composed, n_edits, seed=seed)
        if not edits:
            n = sum(map(len, known))
            raise ValueError(f"no fact can be changed: {n} facts are answered right, and no question rests on any of them")
        found = [dependents(task, composed, edit.fact, edit.value) for edit in edits]
        others["composed"] = [(queries, before(queries)) for queries in _sampled(composed, seed)]
        n_facts = 1 + max(int(column.max()) for queries in facts.values() for column in queries.facts.values())
        return cls(edits, found, others, dict(task.splits), _works(composed, before, n_facts), before)

    def able(self, some: Dependents) -> Met:
        """For which questions all other facts that the new answer rests on work at their places."""
        found = torch.ones(len(some), dtype=torch.bool, device="cpu")
        for place, facts in some.after.facts.items():
            if place != some.place:
                found &= (facts < 0) | (self.works[place][facts] >= ABLE)
        return found


def _sampled(composed: Mapping[str, Queries], seed: int) -> list[Queries]:
    generator, total = torch.Generator().manual_seed(int(seed)), sum(map(len, composed.values()))
    orders = [torch.randperm(len(queries), generator=generator, device="cpu") for queries in composed.values()]
    sizes = [-(-SAMPLE * len(queries) // total) for queries in composed.values()]
    return [queries.take(order[:n]) for queries, order, n in zip(composed.values(), orders, sizes, strict=True)]


def _works(composed: Mapping[str, Queries], right: Right, n_facts: int) -> dict[str, Float[Tensor, " fact"]]:
    met = torch.cat([right(queries) for queries in composed.values()]).double()
    places = dict.fromkeys(place for queries in composed.values() for place in queries.facts)
    columns = {
        place: torch.cat([queries.facts.get(place, -torch.ones_like(queries.unit)) for queries in composed.values()])
        for place in places
    }
    shares = {}
    for place, column in columns.items():
        asked = column >= 0
        n_right = torch.bincount(column[asked], weights=met[asked], minlength=n_facts)
        shares[place] = n_right / torch.bincount(column[asked], minlength=n_facts)
    return shares
