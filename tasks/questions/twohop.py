"""Two-hop questions over a knowledge graph, split as in Wang et al. 2024 and He et al. 2026.

A query (h, r1, r2) asks for the tail t of the chain (h, r1) → b, (b, r2) → t; b is the bridge entity. The ID/OOD
split is over facts: all facts are trained as atomic queries, but compositions of OOD facts are trained only as far
as the task's Supervision says (Wang et al. 2024, section 3.1; He et al. 2026, section 2 and appendix B).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int

from . import files
from .donors import TwoHopDonors
from .graph import Compositions, KnowledgeGraph
from .layout import check_layout, laid_out, n_positions
from .queries import Queries
from .supervision import NATURAL, Supervision, added_compositions

HOP_STATUS = ("ID+ID", "OOD+ID", "ID+OOD", "OOD+OOD")  # first hop first
ATOMIC_SPLITS = ("id_atomic", "ood_atomic")
TEST_SPLITS = ("test_inferred_iid", "test_inferred_ood", "test_inferred_ood_id", "test_inferred_id_ood")
SPLITS = (*ATOMIC_SPLITS, "train_inferred", *TEST_SPLITS)
MIXED_TEST_SHARE = 0.1  # of the queries with one OOD hop, held out from every regime


@dataclass(frozen=True, eq=False)
class TwoHopTask:
    """A graph, which facts are OOD, and which compositions are trained and tested.

    Compositions are rows of two fact numbers (hop 1, hop 2).

    Attributes:
        graph: the facts.
        is_ood: which of them are OOD.
        trained: the ID+ID compositions in training.
        added: the compositions with one OOD hop in training, put there by the supervision.
        tests: the test compositions by split name; no regime trains any of them.
        supervision: how `added` was drawn; None if it was read from files that do not say.
        seed: fixes every random choice besides training.
        layout: how questions become prompts, see `tasks.layout`.
        is_atomic: which facts are trained, and asked, by themselves; None: all.
    """

    graph: KnowledgeGraph
    is_ood: Bool[np.ndarray, " fact"]
    trained: Compositions
    added: Compositions
    tests: Mapping[str, Compositions]
    supervision: Supervision | None
    seed: int
    layout: str = "compact"
    is_atomic: Bool[np.ndarray, " fact"] | None = None

    def __post_init__(self) -> None:
        check_layout(self.layout)

    @classmethod
    def random(
        cls,
        *,
        n_entities: int = 64,
        n_relations: int = 30,
        out_degree: int = 20,
        ood_fraction: float = 0.1,
        test_fraction: float = 0.03,
        phi: float | None = None,
        supervision: Supervision = NATURAL,
        layout: str = "compact",
        seed: int = 0,
    ) -> "TwoHopTask":
        """Draw a graph and split its compositions.

        Args:
            n_entities: number of entities.
            n_relations: number of relations; more than out_degree, if new facts are to find free slots.
            out_degree: facts per head.
            ood_fraction: share of the facts that are OOD.
            test_fraction: share of the ID+ID compositions held out as `test_inferred_iid`.
            phi: trained ID+ID compositions per ID fact; by default all that are not held out. Smaller values train
                a subset, with the same tests.
            supervision: the compositions with one OOD hop to add.
            layout: `"compact"`, or `"slots"` for bidirectional models, see `tasks.layout`.
            seed: fixes graph and splits; training has its own.

        Raises:
            ValueError: for impossible sizes, fractions outside [0, 1], a phi beyond what the graph can give, or an unknown
                layout.

        >>> task = TwoHopTask.random(n_entities=20, n_relations=8, out_degree=5, seed=0)
        >>> len(task.split("id_atomic")), len(task.split("ood_atomic"))
        (90, 10)
        """
        fractions = {"ood_fraction": ood_fraction, "test_fraction": test_fraction}
        if bad := [f"{name} is a fraction between 0 and 1, got {x}" for name, x in fractions.items() if not 0 <= x <= 1]:
            raise ValueError("; ".join(bad))
        graph = KnowledgeGraph.random(n_entities=n_entities, n_relations=n_relations, out_degree=out_degree, seed=seed)
        is_ood = np.zeros(len(graph), dtype=bool)
        ood_facts = np.random.default_rng([seed, 1]).permutation(len(graph))[: round(ood_fraction * len(graph))]
        is_ood[ood_facts] = True
        shuffled = np.random.default_rng([seed, 2]).permutation(graph.compositions)
        id_id, ood_id, id_ood, ood_ood = _by_hop_status(shuffled, is_ood)
        n_test = round(test_fraction * len(id_id))
        tests = {
            "test_inferred_iid": id_id[:n_test],
            "test_inferred_ood": ood_ood,
            "test_inferred_ood_id": ood_id[: round(MIXED_TEST_SHARE * len(ood_id))],
            "test_inferred_id_ood": id_ood[: round(MIXED_TEST_SHARE * len(id_ood))],
        }
        n_trained = _n_trained(phi, n_id_facts=int((~is_ood).sum()), n_available=len(id_id) - n_test)
        natural = cls(graph, is_ood, id_id[n_test : n_test + n_trained], id_id[:0], tests, NATURAL, seed)
        return natural.with_layout(layout).with_supervision(supervision)

    @classmethod
    def paper(cls, *, supervision: Supervision = NATURAL, layout: str = "slots", seed: int = 0) -> "TwoHopTask":
        """The published sizes: 2,000 entities, 200 relations, 20 facts each, 5 % OOD, φ = 18 (He et al. 2026, section 2)."""
        return cls.random(
            n_entities=2000,
            n_relations=200,
            out_degree=20,
            ood_fraction=0.05,
            test_fraction=0.004,  # about their 3,000 test queries
            phi=18.0,
            supervision=supervision,
            layout=layout,
            seed=seed,
        )

    @classmethod
    def from_files(cls, folder: str | Path) -> "TwoHopTask":
        """Read a folder in the published JSON formats, see `tasks.files`.

        Folders of the authors' generator have no mixed test splits: a tenth of the untrained queries with one OOD hop
        is drawn for them, always the same.
        """
        content = files.read_folder(Path(folder))
        graph, is_ood = content.graph, content.is_ood
        both_id = ~is_ood[content.trained].any(1)
        tests = dict(content.tests)
        if "test_inferred_ood_id" not in tests:
            tests |= _untrained_mixed(graph, is_ood, content.trained)
        return cls(
            graph, is_ood, content.trained[both_id], content.trained[~both_id], tests, content.supervision, content.seed
        )

    def to_files(self, folder: str | Path) -> Path:
        """Write the task in the published JSON formats, see `tasks.files`; returns the folder.

        Raises:
            ValueError: if some facts are not trained by themselves, which those formats cannot say.
        """
        if self.is_atomic is not None:
            raise ValueError(
                f"{int((~self.is_atomic).sum())} facts are not trained by themselves; these formats cannot say so"
            )
        files.write_folder(
            Path(folder),
            graph=self.graph,
            is_ood=self.is_ood,
            splits={name: self.with_layout("compact").split(name) for name in SPLITS},
            supervision=self.supervision,
            seed=self.seed,
        )
        return Path(folder)

    def with_supervision(self, supervision: Supervision) -> "TwoHopTask":
        """The same graph, OOD facts and tests, with another dose of compositional supervision."""
        _, ood_id, id_ood, _ = _by_hop_status(self.graph.compositions, self.is_ood)
        held_out = [self.tests["test_inferred_ood_id"], self.tests["test_inferred_id_ood"]]
        one_ood = _without(np.concatenate([ood_id, id_ood]), np.concatenate(held_out), len(self.graph))
        added = added_compositions(
            supervision, one_ood=one_ood, is_ood=self.is_ood, test_ood=self.tests["test_inferred_ood"], seed=self.seed
        )
        return replace(self, added=added, supervision=supervision)

    def with_layout(self, layout: str) -> "TwoHopTask":
        """The same questions, laid out in another way.

        Raises:
            ValueError: if there is no such layout.
        """
        return replace(self, layout=layout)

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary: entities, then relations, then the token that fills free slots, if there are any."""
        return self._pad + (self.layout == "slots")

    @property
    def n_positions(self) -> int:
        """Length of the longest prompt."""
        return n_positions(self.layout)

    @property
    def _pad(self) -> int:
        return self.graph.n_entities + self.graph.n_relations

    def token_name(self, token: int) -> str:
        """What a token is called in figures: `e12`, `r3`, or `_` where a slot is free."""
        n_entities = self.graph.n_entities
        if token >= self._pad:
            return "_"
        return f"e{token}" if token < n_entities else f"r{token - n_entities}"

    @property
    def phi(self) -> float:
        """Trained ID+ID compositions per ID fact (He et al. 2026, appendix B.3)."""
        return len(self.trained) / max(1, int((~self.is_ood).sum()))

    @cached_property
    def key(self) -> str:
        """A hash of graph, splits, training compositions and layout: equal keys, equal tasks."""
        graph = self.graph
        arrays = [graph.heads, graph.relations, graph.tails, self.is_ood, self.trained, self.added]
        arrays += [self.tests[name] for name in TEST_SPLITS] + ([] if self.is_atomic is None else [self.is_atomic])
        sizes = (graph.n_entities, graph.n_relations)
        digest = hashlib.sha256(str(sizes if self.layout == "compact" else (*sizes, self.layout)).encode())
        for array in arrays:
            digest.update(str(array.shape).encode() + np.ascontiguousarray(array, dtype=np.int64).tobytes())
        return digest.hexdigest()[:12]

    @property
    def regime(self) -> str:
        """The supervision's name, for labels."""
        return self.supervision.name if self.supervision else "from files"

    def split(self, name: str) -> Queries:
        """The queries of one split.

        Raises:
            KeyError: if there is no such split; the message lists them.
        """
        if name not in SPLITS:
            raise KeyError(f"no split {name!r}; the splits are {', '.join(SPLITS)}")
        if name in ATOMIC_SPLITS:
            chosen = self.is_ood == (name == "ood_atomic")
            return self._atomic(np.flatnonzero(chosen if self.is_atomic is None else chosen & self.is_atomic), name)
        hops = np.concatenate([self.trained, self.added]) if name == "train_inferred" else self.tests[name]
        return self._inferred(hops, name)

    def reference(self, *, seed: int, without: frozenset[int] = frozenset()) -> Queries:
        """A random trained composition for each ID fact as first hop, leaving some facts out: for means and probes."""
        questions = self.split("train_inferred").one_per_unit(seed=seed, without=without)
        return questions.take(~torch.from_numpy(self.is_ood)[questions.unit])

    def donors(self, *, second_hop: str, seed: int) -> TwoHopDonors:
        """Finds facts whose states may take the place of a question's own, see `TwoHopDonors`."""
        return TwoHopDonors(self, second_hop, np.random.default_rng(seed))

    def n_values(self, intermediate: str) -> int:
        """How many values an intermediate can have; they are the first tokens.

        Raises:
            KeyError: if the task has no such intermediate.
        """
        if intermediate != "bridge":
            raise KeyError(f"no intermediate {intermediate!r}; two-hop questions have 'bridge'")
        return self.graph.n_entities

    def _atomic(self, facts: Int[np.ndarray, " fact"], split: str) -> Queries:
        graph = self.graph
        questions = np.stack([graph.heads[facts], graph.n_entities + graph.relations[facts]], axis=1)
        tails = graph.tails[facts]
        return self._queries(questions, tails, tails, facts, np.full_like(facts, -1), split)

    def _inferred(self, hops: Compositions, split: str) -> Queries:
        graph, (hop1, hop2) = self.graph, hops.T
        relations = graph.n_entities + graph.relations
        questions = np.stack([graph.heads[hop1], relations[hop1], relations[hop2]], axis=1)
        return self._queries(questions, graph.tails[hop2], graph.tails[hop1], hop1.copy(), hop2.copy(), split)

    def _queries(
        self,
        questions: Int[np.ndarray, "query token"],
        answers: Int[np.ndarray, " query"],
        bridges: Int[np.ndarray, " query"],
        hop1: Int[np.ndarray, " query"],
        hop2: Int[np.ndarray, " query"],
        split: str,
    ) -> Queries:
        prompts, roles, answer_position = laid_out(questions, self.layout, pad=self._pad)
        facts = {"hop1": torch.from_numpy(hop1), "hop2": torch.from_numpy(hop2)}
        return Queries(
            torch.from_numpy(prompts),
            torch.from_numpy(answers),
            roles=roles,
            answer_position=answer_position,
            intermediates={"bridge": torch.from_numpy(bridges)},
            unit=facts["hop1"],
            facts=facts,
            split=split,
        )


def hop_status(
    is_ood: Bool[np.ndarray, " fact"], hop1: Int[np.ndarray, " query"], hop2: Int[np.ndarray, " query"]
) -> Int[np.ndarray, " query"]:
    """Which hops of each composition rest on OOD facts, as a place in `HOP_STATUS`."""
    return is_ood[hop1] + 2 * is_ood[hop2].astype(int)


def _by_hop_status(compositions: Compositions, is_ood: Bool[np.ndarray, " fact"]) -> list[Compositions]:
    """The compositions by hop status, in the order of `HOP_STATUS`."""
    status = hop_status(is_ood, *compositions.T)
    return [compositions[status == code] for code in range(len(HOP_STATUS))]


def _n_trained(phi: float | None, *, n_id_facts: int, n_available: int) -> int:
    """How many ID+ID compositions phi asks for."""
    if phi is None:
        return n_available
    if not 0 <= phi * n_id_facts <= n_available + 0.5:
        raise ValueError(
            f"phi={phi:g} asks for {phi * n_id_facts:.0f} trained ID+ID compositions of {n_id_facts} ID facts, but the "
            f"graph has {n_available} besides the test queries; phi can be between 0 and "
            f"{n_available / max(1, n_id_facts):.2f}"
        )
    return min(round(phi * n_id_facts), n_available)


def _without(rows: Compositions, banned: Compositions, n_facts: int) -> Compositions:
    """The rows that are not among `banned`."""
    codes = np.array([n_facts, 1])
    return rows[~np.isin(rows @ codes, banned @ codes)]


def _untrained_mixed(
    graph: KnowledgeGraph, is_ood: Bool[np.ndarray, " fact"], trained: Compositions
) -> dict[str, Compositions]:
    """A tenth of the queries with one OOD hop, none of them trained, as the two mixed test splits."""
    shuffled = np.random.default_rng([0, 3]).permutation(graph.compositions)
    _, ood_id, id_ood, _ = _by_hop_status(shuffled, is_ood)
    return {
        name: _without(rows, trained, len(graph))[: round(MIXED_TEST_SHARE * len(rows))]
        for name, rows in (("test_inferred_ood_id", ood_id), ("test_inferred_id_ood", id_ood))
    }
