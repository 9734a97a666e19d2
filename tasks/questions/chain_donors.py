"""Donors for questions of k hops: other beginnings of a chain, which lead to another entity or to the same one."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool

from ...circuits.plain_text import one_line
from .chain_splits import status_codes
from .chains import Chains, all_chains, chain_queries
from .donors import Donor
from .queries import Queries
from .question_donors import QuestionDonors

if TYPE_CHECKING:
    from .khop import KHopTask


class ChainDonors:
    """Finds, for a question of k hops, others that begin elsewhere and go on by the same relations.

    For the i-th intermediate a donor has other tokens up to the i-th relation, at least one of them: all their facts are ID.
    The fact that reads the intermediate is of a status that is chosen, those after it are ID. Kinds: see `QuestionDonors`.

    Args:
        task: gives facts, and which chains are trained.
        intermediate: its name.
        second_hop: `"ID"` or `"OOD"`: the status of the fact that reads the intermediate.
        rng: draws one donor of each kind.
    """

    def __init__(self, task: "KHopTask", intermediate: str, second_hop: str, rng: np.random.Generator) -> None:
        self.task, self.intermediate, self.second_hop, self.rng = task, intermediate, second_hop, rng
        self.hop = 1 + task.intermediates.index(intermediate)
        self.by_length: dict[int, QuestionDonors] = {}

    @one_line
    def __repr__(self) -> Iterator[str]:
        yield f"other {self.intermediate}"
        yield f"read by {self.second_hop} facts"

    def of(self, queries: Queries, row: int) -> Donor | None:
        """The donor for a question; None if a kind is missing, or the intermediate is the question's answer."""
        length = sum(int(column[row]) >= 0 for column in queries.facts.values())
        if length <= self.hop:
            return None
        if length not in self.by_length:
            self.by_length[length] = self._among(length)
        return self.by_length[length].of(queries, row)

    def _among(self, length: int) -> QuestionDonors:
        """Donors among all questions of a length that may be some."""
        task = self.task
        chains = all_chains(task.graph, length)
        wanted, status = 2**self.hop if self.second_hop == "OOD" else 0, status_codes(task.two_hops.is_ood, chains)
        begins_id = status % 2**self.hop == 0
        chains, is_wanted = chains[begins_id], torch.from_numpy(status[begins_id] == wanted)
        names = {"n_hops": task.n_hops, "intermediates": task.intermediates}
        questions = chain_queries(task.graph, chains, "donors", **names)
        roles = questions.roles[: self.hop + 1]
        trained = torch.from_numpy(self._trained(chains))
        return QuestionDonors(questions, trained, roles, self.intermediate, self.rng, may_differ=is_wanted)

    def _trained(self, chains: Chains) -> Bool[np.ndarray, " chain"]:
        """Which of some chains are in training."""
        two_hops, length = self.task.two_hops, chains.shape[1]
        of_two = np.concatenate([two_hops.trained, two_hops.added])
        trained = of_two if length == 2 else self.task.trained.get(length, chains[:0])
        _, code = np.unique(np.concatenate([chains, trained]), axis=0, return_inverse=True)
        return np.isin(code.reshape(-1)[: len(chains)], code.reshape(-1)[len(chains) :])
