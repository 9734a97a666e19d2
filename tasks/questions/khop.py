"""Questions of k hops over a knowledge graph: (h, r1, …, rk) asks for the end of a chain of k facts.

(h, r1) → b1, (b1, r2) → b2, …, (b(k−1), rk) → t. With k = 2 these are the two-hop questions of `twohop`, bit for bit; longer
ones come beside them, on the same graph with the same OOD facts. Which lengths are trained is a choice, so that a model can
be asked for more hops than it was trained on (Kohli et al. 2026, arXiv 2604.07822; three hops also in Ye et al. 2025, arXiv
2505.23653).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ...circuits.arguments import (
    choice_problems,
    is_one_of,
    make_native,
    native,
    number_problems,
    refuse,
    seed_problems,
    shortly,
    whole_problems,
)
from ...circuits.same_content import ByContent
from .cards import chain_card, task_line
from .chain_donors import ChainDonors
from .chain_splits import drawn, patterns, status_codes, test_split, trained_split
from .chain_validity import MOST_HOPS, chain_problems, parts_from
from .chains import Chains, all_chains, chain_queries, too_many_problems
from .contrasts import Contrast
from .editable import other_tails, with_tail
from .given import queries_problems, split_problems
from .graph import KnowledgeGraph, size_problems
from .queries import Queries
from .saved_task import wide
from .splits import IDENTITY_SPLIT, n_to_train
from .supervision import NATURAL, Supervision
from .task import Part, Settings
from .twohop import TwoHopTask


@dataclass(frozen=True, eq=False)
class KHopTask(ByContent):
    """Two-hop questions and longer ones over one graph.

    No tested chain is trained. It may be a part of a trained one, though: of default sizes most two-hop test questions are
    the beginning of a trained question of three hops, which asks for what comes after their answer.

    Attributes:
        two_hops: the graph, which facts are OOD, and the two-hop questions, trained and tested.
        n_hops: of the longest questions.
        trained: by number of hops, from three on, the chains in training; of ID facts alone.
        tests: by split, the chains of three hops and more that are asked and never trained.
    """

    two_hops: TwoHopTask
    n_hops: int
    trained: Mapping[int, Chains]
    tests: Mapping[str, Chains]
    kind = "k-hop"

    def __post_init__(self) -> None:
        make_native(self, "n_hops")
        for name in ("trained", "tests"):
            if isinstance(given := getattr(self, name), Mapping):
                object.__setattr__(self, name, {key: wide(chains) for key, chains in given.items()})
        refuse(chain_problems(self.two_hops, self.n_hops, self.trained, self.tests))

    __repr__, _repr_html_ = task_line, chain_card
    fact_values, with_fact = other_tails, with_tail

    @classmethod
    def random(
        cls,
        *,
        n_hops: int = 3,
        n_entities: int = 64,
        n_relations: int = 30,
        out_degree: int = 20,
        ood_fraction: float = 0.1,
        test_fraction: float = 0.03,
        phi: Mapping[int, float | None] | None = None,
        supervision: Supervision = NATURAL,
        seed: int = 0,
    ) -> "KHopTask | TwoHopTask":
        """Draw a graph and split its chains; of two hops this is `TwoHopTask.random`.

        Args:
            n_hops: of the longest questions, 2 or more. All chains are listed, so that memory bounds it.
            n_entities: number of entities.
            n_relations: number of relations.
            out_degree: facts per head.
            ood_fraction: share of the facts that are OOD.
            test_fraction: share of the chains of ID facts held out, by number of hops (from three hops on, 1,000 at most).
            phi: by number of hops, trained chains per ID fact; None: all two-hop ones that are not held out, and as many of
                each further length (all, where no two-hop ones are trained). A length that is not named is not trained, but
                asked. By default all are trained.
            supervision: the two-hop compositions with one OOD hop to add.
            seed: fixes graph and splits, not training.

        Raises:
            ValueError: for impossible sizes and fractions, a phi beyond what the graph can give, or lengths that are none.

        >>> task = KHopTask.random(n_hops=3, n_entities=12, n_relations=8, out_degree=5, phi={2: None}, seed=0)
        >>> task.trained, len(task.split("test_3hop_iii")) > 0
        ({}, True)
        """
        n_hops, seed, phi, ood_fraction, test_fraction = native((n_hops, seed, phi, ood_fraction, test_fraction))
        sizes: dict[str, Any] = {"n_entities": n_entities, "n_relations": n_relations, "out_degree": out_degree}
        problems = number_problems(0, most=1, ood_fraction=ood_fraction, test_fraction=test_fraction) + seed_problems(seed)
        if wrong := whole_problems(2, most=MOST_HOPS, n_hops=n_hops):
            refuse(wrong + size_problems(**sizes) + problems)
        phi = dict.fromkeys(range(2, n_hops + 1)) if phi is None else phi
        refuse(_phi_problems(phi, n_hops) + too_many_problems(n_hops=n_hops, **sizes) + problems)
        settings: dict[str, Any] = {"ood_fraction": ood_fraction, "test_fraction": test_fraction, "supervision": supervision}
        two_hops = TwoHopTask.random(**sizes, **settings, phi=phi.get(2, 0.0), seed=seed)
        if n_hops == 2:
            return two_hops
        n_id = two_hops.n_reference
        trained, tests = {}, {}
        for length in range(3, n_hops + 1):
            rng = np.random.default_rng([seed, 10 + length])
            possible, tested = drawn(all_chains(two_hops.graph, length), two_hops.is_ood, test_fraction, rng)
            tests |= tested
            if length in phi:
                most = len(possible) / max(1, n_id)
                wanted = phi[length] if phi[length] is not None else min(two_hops.phi or most, most)
                chosen = possible[: n_to_train(wanted, n_id_facts=n_id, n_available=len(possible))]
                trained |= {length: chosen} if len(chosen) else {}
        return cls(two_hops, n_hops, trained, tests)

    def up_to(self, n_hops: int) -> "KHopTask | TwoHopTask":
        """The same task without its longer questions: what asks for one length of prompts asks for the longest.

        Raises:
            ValueError: if there are no questions of so many hops.
        """
        refuse(whole_problems(2, most=self.n_hops, n_hops=n_hops))
        if n_hops == 2:
            return self.two_hops
        trained = {length: chains for length, chains in self.trained.items() if length <= n_hops}
        tests = {name: chains for name, chains in self.tests.items() if chains.shape[1] <= n_hops}
        return KHopTask(self.two_hops, n_hops, trained, tests)

    @property
    def graph(self) -> KnowledgeGraph:
        """The facts."""
        return self.two_hops.graph

    @property
    def seed(self) -> int:
        """Fixes graph and splits."""
        return self.two_hops.seed

    @property
    def splits(self) -> Mapping[str, Part]:
        """Those of two-hop questions, then of each further length what is trained, and the tests by pattern."""
        found: dict[str, Part] = dict(self.two_hops.splits)
        if not len(self.two_hops.trained) + len(self.two_hops.added):
            del found["train_inferred"]
        for length in range(3, self.n_hops + 1):
            found |= {trained_split(length): "trained"} if length in self.trained else {}
            found |= dict.fromkeys(map(test_split, patterns(length)), "test")
        return found

    @property
    def trained_hops(self) -> int:
        """The number of hops of the longest questions in training."""
        return max(self.trained, default=2)

    @property
    def id_test(self) -> str:
        """New chains of ID facts, of the longest trained length."""
        return self._longest("i") if self.trained else self.two_hops.id_test

    @property
    def ood_test(self) -> str | None:
        """Chains of OOD facts alone, of the longest trained length."""
        return self._longest("o") if self.trained else self.two_hops.ood_test

    @property
    def shortcuts(self) -> Mapping[str, tuple[str, ...]]:
        """Every part of a question of each length that ends in its last relation; longer questions are asked those, too."""
        found: dict[str, tuple[str, ...]] = {}
        for length in range(2, self.n_hops + 1):
            *before, last = ("h", *(f"r{hop}" for hop in range(1, length + 1)))
            parts = [some for n in range(length) for some in combinations(before, n)]
            found |= {" ".join((*some, last)): (*some, last) for some in parts}
        return found

    @property
    def intermediates(self) -> tuple[str, ...]:
        """What lies between a question and its answer: `b1` to `b(k−1)`."""
        return tuple(f"b{hop}" for hop in range(1, self.n_hops))

    @property
    def unit_facts(self) -> Mapping[str, str]:
        """Questions are clustered by their first fact; what concerns `b2`, `b3`, … by the fact that gives it."""
        return {f"b{hop}": f"hop{hop}" for hop in range(2, self.n_hops)}

    @property
    def contrasts(self) -> Mapping[str, Contrast]:
        """One token each, and for each intermediate all tokens that decide it together."""
        relations = [f"r{hop}" for hop in range(1, self.n_hops + 1)]
        found = {"head": Contrast(("h",), differs=("b1",))}
        for hop, relation in enumerate(relations):
            found[f"relation_{hop + 1}"] = Contrast((relation,), keeps=self.intermediates[:hop])
        for hop, name in enumerate(self.intermediates, start=1):
            found[name] = Contrast(("h", *relations[:hop]), differs=(name,))
        return found

    @property
    def pair_recipe(self) -> Mapping[str, str]:
        """What pairs keep: the task's key, and the graph's, whose facts their units are."""
        return {"task": self.key, "graph": self.graph.key}

    def fact_status(self, queries: Queries) -> Int[Tensor, " query"]:
        """Which hops rest on OOD facts, see `status_codes`."""
        refuse(queries_problems(queries=queries))
        facts = torch.stack(list(queries.facts.values()), 1)
        return torch.from_numpy(status_codes(self.two_hops.is_ood, facts.numpy()))

    @property
    def regime(self) -> str:
        """The supervision of the two-hop questions, and which lengths are trained."""
        lengths = [str(length) for length in (2, *self.trained) if length > 2 or len(self.two_hops.trained)]
        return f"{self.two_hops.regime}, {' and '.join(lengths) or 'no'} hops"

    @property
    def about(self) -> Mapping[str, float]:
        """φ, by number of hops."""
        n_id = max(1, self.n_reference)
        longer = {f"phi_{length}": round(len(chains) / n_id, 2) for length, chains in self.trained.items()}
        return {**self.two_hops.about, **longer}

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary: entities, then relations."""
        return self.two_hops.n_tokens

    @property
    def n_positions(self) -> int:
        """Length of the longest prompt."""
        return self.n_hops + 1

    @property
    def one_length(self) -> bool:
        """Prompts are as long as their questions."""
        return False

    @property
    def n_added(self) -> int:
        """How many compositions of OOD facts are in training."""
        return self.two_hops.n_added

    @property
    def n_reference(self) -> int:
        """How many ID facts there are, the units of `reference`."""
        return self.two_hops.n_reference

    @property
    def layout(self) -> str:
        """Prompts are compact, see `layout`."""
        return self.two_hops.layout

    @property
    def phi(self) -> float:
        """Trained two-hop compositions per ID fact."""
        return self.two_hops.phi

    def token_name(self, token: int) -> str:
        """What a token is called in figures: `e12` or `r3`."""
        return self.two_hops.token_name(token)

    def n_values(self, intermediate: str) -> int:
        """How many values an intermediate can have; they are the first tokens.

        Raises:
            KeyError: if the task has no such intermediate.
        """
        refuse([], unknown=self._unknown(intermediate))
        return self.graph.n_entities

    def split(self, name: str) -> Queries:
        """The queries of one split; questions of fewer hops have the last of their entities as an intermediate, too.

        Raises:
            KeyError: if there is no such split; the message lists them.
        """
        refuse([], unknown=split_problems(name, self.splits))
        if name == IDENTITY_SPLIT:
            return self._zero_hops()
        chains = self.longer[name] if name in self.longer else self._shorter(name)
        return chain_queries(self.graph, chains, name, n_hops=self.n_hops, intermediates=self.intermediates)

    def reference(self, *, seed: int, without: frozenset[int] = frozenset()) -> Queries:
        """A random question of the longest length for each ID fact as first hop; a trained one if that length is trained."""
        name = trained_split(self.n_hops) if self.n_hops in self.trained else test_split("i" * self.n_hops)
        return self.split(name).one_per_unit(seed=seed, without=without)

    def donors(self, *, intermediate: str, second_hop: str, seed: int) -> ChainDonors:
        """Finds other beginnings of chains whose states may replace those of a question, see `ChainDonors`."""
        problems = choice_problems(second_hop=(second_hop, ("ID", "OOD"))) + seed_problems(seed)
        refuse(problems, unknown=self._unknown(intermediate))
        return ChainDonors(self, intermediate, second_hop, np.random.default_rng(seed))

    @property
    def settings(self) -> Settings:
        """What a saved run says of the task next to its arrays."""
        return {**self.two_hops.settings, "n_hops": self.n_hops}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Facts and splits, in 16-bit integers if they fit."""
        arrays = self.two_hops.to_arrays()
        return arrays | {name: chains.astype(arrays["heads"].dtype) for name, chains in self.longer.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], settings: Settings) -> "KHopTask":
        """Read back what `to_arrays` and `settings` gave.

        Raises:
            ValueError: if they are no k-hop task; all that is missing or wrong is named.
        """
        parts = parts_from(arrays, settings)
        return cls(TwoHopTask.from_arrays(parts.arrays, parts.settings), parts.n_hops, parts.trained, parts.tests)

    @property
    def key(self) -> str:
        """A hash of graph, splits and training compositions: equal keys, equal tasks."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(f"{self.two_hops.key} {self.n_hops}".encode())
        for name, chains in self.longer.items():
            digest.update(f"{name} {chains.shape}".encode() + np.ascontiguousarray(chains, dtype=np.int64).tobytes())
        return digest.hexdigest()[:12]

    @property
    def longer(self) -> dict[str, Chains]:
        """The chains of three hops and more, by split."""
        return {**{trained_split(length): chains for length, chains in self.trained.items()}, **self.tests}

    def _zero_hops(self) -> Queries:
        """Entities that ask for themselves; as two-hop tasks have them, with as many facts as longer questions."""
        queries = self.two_hops.split(IDENTITY_SPLIT)
        facts = {f"hop{hop}": queries.hop1 for hop in range(1, self.n_hops + 1)}  # none
        return replace(queries, facts=facts, intermediates={"b1": queries.bridges})

    def _shorter(self, name: str) -> Chains:
        """The facts, or chains of two, of one of the two-hop splits."""
        facts = np.stack([column.numpy() for column in self.two_hops.split(name).facts.values()], 1)
        return facts[:, (facts >= 0).all(0)]

    def _unknown(self, intermediate: Any) -> list[str]:
        if is_one_of(intermediate, self.intermediates):
            return []
        return [f"no intermediate {shortly(intermediate)}; these questions have {', '.join(self.intermediates)}"]

    def _longest(self, letter: str) -> str:
        return test_split(letter * self.trained_hops)


def _phi_problems(phi: Any, n_hops: int) -> list[str]:
    """Why these are no doses by number of hops."""
    if not isinstance(phi, Mapping):
        return [f"phi is {shortly(phi)}, needed are doses by number of hops, as in phi={{2: None, 3: 10.0}}"]
    known = tuple(range(2, n_hops + 1))
    unknown = [length for length in phi if length not in known]
    problems = (
        [f"phi names {', '.join(map(shortly, unknown))} hops; there are {', '.join(map(str, known))}"] if unknown else []
    )
    doses = {f"phi[{length}]": dose for length, dose in phi.items() if dose is not None}
    return problems + number_problems(0, **doses)
