"""A random knowledge graph: which entity each (head, relation) leads to.

What every two-hop task is about, after Wang et al. 2024 (arXiv 2405.15071, section 3.1): each head has the same number of
distinct relations, chosen without replacement; each tail is uniform over all entities, so loops and repeats occur.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int

from ...circuits.arguments import make_native, native, refuse, seed_problems, shortly, whole_problems
from ...circuits.same_content import ByContent
from .cards import graph_line
from .room import too_large_problems

MOST_SLOTS = 2**28  # (head, relation) pairs; `fact_of` takes 8 bytes for each

BYTES_OF_FACT = 5 * 8  # head, relation, tail, and what sorts and marks them
BYTES_OF_COMPOSITION = 3 * 16  # two fact numbers: all compositions, shuffled, and split
Compositions = Int[np.ndarray, "_ 2"]
"""Chains of two facts, a row each: the number of the first hop's fact, then of the second's."""


@dataclass(frozen=True, eq=False)
class KnowledgeGraph(ByContent):
    """Atomic facts (head, relation) → tail, at most one tail for each (head, relation), sorted by head, then relation.

    Entities are numbered from 0 to n_entities − 1, relations from 0 to n_relations − 1, facts by their place in the
    three arrays.

    >>> graph = KnowledgeGraph.random(n_entities=4, n_relations=3, out_degree=2, seed=0)
    >>> len(graph), graph.n_free_slots
    (8, 4)
    """

    n_entities: int
    n_relations: int
    heads: Int[np.ndarray, " fact"]
    relations: Int[np.ndarray, " fact"]
    tails: Int[np.ndarray, " fact"]

    def __post_init__(self) -> None:
        make_native(self, "n_entities", "n_relations")
        if problems := graph_problems(self.n_entities, self.n_relations, self.heads, self.relations, self.tails):
            raise ValueError("this is no knowledge graph: " + "; ".join(problems))

    @classmethod
    def random(cls, *, n_entities: int, n_relations: int, out_degree: int, seed: int) -> "KnowledgeGraph":
        """Draw a graph in which every entity heads `out_degree` facts.

        With n_relations > out_degree some (head, relation) slots stay free for new facts.

        Raises:
            ValueError: if a head would need more relations than there are, or a size is not positive.
        """
        n_entities, n_relations, out_degree, seed = native((n_entities, n_relations, out_degree, seed))
        refuse(size_problems(n_entities, n_relations, out_degree) + seed_problems(seed))
        rng = np.random.default_rng(seed)
        relations = np.stack([np.sort(rng.permutation(n_relations)[:out_degree]) for _ in range(n_entities)])
        heads = np.repeat(np.arange(n_entities), out_degree)
        tails = rng.integers(n_entities, size=n_entities * out_degree)
        return cls(n_entities, n_relations, heads, relations.reshape(-1), tails)

    @classmethod
    def from_triples(cls, triples: Sequence[tuple[int, int, int]], *, n_entities: int, n_relations: int) -> "KnowledgeGraph":
        """The graph of the given (head, relation, tail) triples, in any order."""
        facts = np.array(sorted(triples), dtype=np.int64).reshape(-1, 3)
        return cls(n_entities, n_relations, facts[:, 0], facts[:, 1], facts[:, 2])

    def __len__(self) -> int:
        return len(self.heads)

    __repr__ = graph_line

    @cached_property
    def key(self) -> str:
        """A hash of sizes and facts: equal keys, equal graphs."""
        digest = hashlib.sha256(str((self.n_entities, self.n_relations)).encode())
        for array in (self.heads, self.relations, self.tails):
            digest.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
        return digest.hexdigest()[:12]

    @property
    def triples(self) -> list[tuple[int, int, int]]:
        """The facts as (head, relation, tail)."""
        return list(zip(self.heads.tolist(), self.relations.tolist(), self.tails.tolist(), strict=True))

    @property
    def n_free_slots(self) -> int:
        """How many (head, relation) have no tail yet."""
        return self.n_entities * self.n_relations - len(self)

    @cached_property
    def fact_of(self) -> Int[np.ndarray, "entity relation"]:
        """The fact that starts with (head, relation), or −1 where there is none."""
        table = np.full((self.n_entities, self.n_relations), -1)
        table[self.heads, self.relations] = np.arange(len(self))
        return table

    @cached_property
    def compositions(self) -> Compositions:
        """All chains of two facts, as fact numbers (hop 1, hop 2): the tail of the first is the head of the second."""
        return self.extended(np.arange(len(self))[:, None])

    def extended(self, chains: Int[np.ndarray, "chain hop"]) -> Int[np.ndarray, "_ hop_and_next"]:
        """Each chain of facts with every fact that starts where it ends, in the order of chains, then of facts."""
        first_of_head = np.searchsorted(self.heads, np.arange(self.n_entities + 1))
        ends = self.tails[chains[:, -1]]
        n_continuations = np.diff(first_of_head)[ends]
        of = np.repeat(np.arange(len(chains)), n_continuations)
        offset = np.arange(len(of)) - np.repeat(np.cumsum(n_continuations) - n_continuations, n_continuations)
        return np.column_stack([chains[of], first_of_head[ends[of]] + offset])


def graph_problems(n_entities: Any, n_relations: Any, heads: Any, relations: Any, tails: Any) -> list[str]:
    """All that keeps two sizes and three arrays, which may be anything, from being a graph."""
    facts = {"heads": heads, "relations": relations, "tails": tails}
    if problems := [*slot_problems(n_entities, n_relations), *_array_problems(facts)]:
        return problems
    sizes = {"heads": n_entities, "relations": n_relations, "tails": n_entities}
    problems = [
        f"{name} must lie between 0 and {sizes[name] - 1}, got {values.min()} to {values.max()}"
        for name, values in facts.items()
        if len(values) and not 0 <= values.min() <= values.max() < sizes[name]
    ]
    slots = heads.astype(np.int64) * n_relations + relations.astype(np.int64)
    return problems + ([] if problems else _order_problems(slots, n_relations))


def slot_problems(n_entities: Any, n_relations: Any) -> list[str]:
    """Why no graph has these sizes."""
    problems = whole_problems(1, n_entities=n_entities, n_relations=n_relations)
    if not problems and n_entities * n_relations > MOST_SLOTS:
        problems = [f"n_entities × n_relations is {n_entities * n_relations:,}, there can be {MOST_SLOTS:,} at most"]
    return problems


def _array_problems(facts: Mapping[str, Any]) -> list[str]:
    """Which arrays are no columns of whole numbers, or not of one length."""
    problems = [
        f"{name} must be whole numbers, one for each fact, got "
        + (f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else shortly(array))
        for name, array in facts.items()
        if not (isinstance(array, np.ndarray) and array.ndim == 1 and np.issubdtype(array.dtype, np.integer))
    ]
    if not problems and len({len(array) for array in facts.values()}) > 1:
        problems = [f"{name} are {len(array):,}" for name, array in facts.items()]
        problems = [f"heads, relations and tails must be of one length: {', '.join(problems)}"]
    return problems


def _order_problems(slots: Int[np.ndarray, " fact"], n_relations: int) -> list[str]:
    """What is wrong with the order of the (head, relation) slots: repeats first, as they hide a contradiction."""
    if (np.diff(slots) > 0).all():
        return []
    values, counts = np.unique(slots, return_counts=True)
    if (counts > 1).any():
        head, relation = divmod(int(values[counts > 1][0]), n_relations)
        return [
            f"{(counts > 1).sum()} (head, relation) have two tails, the first is (head {head}, relation {relation}); "
            "each (head, relation) can have only one"
        ]
    return ["facts must be sorted by head, then relation; use KnowledgeGraph.from_triples for any order"]


def size_problems(n_entities: Any, n_relations: Any, out_degree: Any) -> list[str]:
    """Why no graph can be drawn of these sizes: too few relations, or more facts and compositions than memory holds."""
    if problems := whole_problems(1, n_entities=n_entities, n_relations=n_relations, out_degree=out_degree):
        return problems
    if out_degree > n_relations:
        return [
            f"out_degree={out_degree} asks for more relations per head than the n_relations={n_relations} there are; "
            f"out_degree can be at most {n_relations}, and less than that to leave slots for new facts"
        ]
    facts, slots = n_entities * out_degree, n_entities * n_relations
    n_bytes = BYTES_OF_FACT * facts + BYTES_OF_COMPOSITION * facts * out_degree + 8 * slots
    sizes = f"a graph of n_entities={n_entities:,}, n_relations={n_relations:,} and out_degree={out_degree:,}"
    return too_large_problems(f"{sizes} has {facts:,} facts and about {facts * out_degree:,} compositions, which", n_bytes)
