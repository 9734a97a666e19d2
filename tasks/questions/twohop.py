"""Two-hop questions over a knowledge graph, split as in Wang et al. 2024 and He et al. 2026.

A query (h, r1, r2) asks for the tail t of the chain (h, r1) → b, (b, r2) → t; b is the bridge entity. The ID/OOD
split is over facts: all facts are trained as atomic queries, but compositions of OOD facts are trained only as far
as the task's Supervision says (Wang et al. 2024, section 3.1; He et al. 2026, section 2 and appendix B).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ...circuits.arguments import (
    choice_problems,
    is_one_of,
    is_whole,
    make_native,
    native,
    number_problems,
    refuse,
    seed_problems,
    shortly,
)
from ...circuits.destination import folder_problems, input_problems
from ...circuits.same_content import ByContent
from . import files
from .cards import task_card, task_line
from .chains import Chains, chain_queries, zero_hop_queries
from .contrasts import TWO_HOP_CONTRASTS
from .donors import TwoHopDonors
from .editable import other_tails, with_tail
from .given import queries_problems, split_problems
from .graph import Compositions, KnowledgeGraph, size_problems
from .layout import layout_problems, n_positions
from .queries import Queries
from .saved_task import arrays_of, digest_of, parts_from, refuse_task, settings_of
from .shortcuts import SHORTCUTS
from .splits import (
    ATOMIC_SPLITS,
    IDENTITY_SPLIT,
    MIXED_TEST_SHARE,
    SPLIT_PARTS,
    SPLITS,
    WITH_IDENTITY,
    by_hop_status,
    excluding,
    hop_status,
    n_to_train,
)
from .supervision import NATURAL, Supervision, added_compositions, chosen_identities
from .task import Part, Settings, Task
from .task_validity import TaskParts, task_problems


@dataclass(frozen=True, eq=False)
class TwoHopTask(ByContent):
    """A graph, which facts are OOD, and which compositions are trained and tested.

    Compositions are rows of two fact numbers (hop 1, hop 2).

    Attributes:
        graph: the facts.
        is_ood: which of them are OOD.
        trained: the ID+ID compositions in training.
        added: the compositions with one OOD hop in training, put there by the supervision.
        tests: the test compositions by split name; no regime trains any of them.
        supervision: how `added` was drawn; None if it was read from files that do not say.
        seed: fixes every random choice except those of training.
        layout: how questions become prompts, see `layout`.
        is_atomic: which facts are trained, and asked, by themselves; None: all.
        is_identity: which entities are trained, and asked, as the zero-hop question e → e; None: none.
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
    is_identity: Bool[np.ndarray, " entity"] | None = None
    kind = "two-hop"
    id_test = "test_inferred_iid"
    ood_test = "test_inferred_ood"
    shortcuts = SHORTCUTS
    contrasts = TWO_HOP_CONTRASTS

    def __post_init__(self) -> None:
        make_native(self, "seed", "layout")
        refuse_task(task_problems(self._parts))

    __repr__, _repr_html_ = task_line, task_card
    fact_values, with_fact = other_tails, with_tail

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
            layout: `"compact"`, or `"slots"` or `"four_slots"` for models that see all positions, see `layout`.
            seed: fixes graph and splits, not training.

        Raises:
            ValueError: for impossible sizes, fractions outside [0, 1], a phi beyond what the graph can give, or an unknown
                layout.

        >>> task = TwoHopTask.random(n_entities=20, n_relations=8, out_degree=5, seed=0)
        >>> len(task.split("id_atomic")), len(task.split("ood_atomic"))
        (90, 10)
        """
        n_entities, n_relations, out_degree, seed = native((n_entities, n_relations, out_degree, seed))
        ood_fraction, test_fraction, phi = native((ood_fraction, test_fraction, phi))
        problems = number_problems(0, most=1, ood_fraction=ood_fraction, test_fraction=test_fraction)
        problems += [] if phi is None else number_problems(0, phi=phi)
        problems += size_problems(n_entities, n_relations, out_degree)
        refuse(problems + layout_problems(layout) + seed_problems(seed))
        graph = KnowledgeGraph.random(n_entities=n_entities, n_relations=n_relations, out_degree=out_degree, seed=seed)
        is_ood = np.zeros(len(graph), dtype=bool)
        ood_facts = np.random.default_rng([seed, 1]).permutation(len(graph))[: round(ood_fraction * len(graph))]
        is_ood[ood_facts] = True
        shuffled = np.random.default_rng([seed, 2]).permutation(graph.compositions)
        id_id, ood_id, id_ood, ood_ood = by_hop_status(shuffled, is_ood)
        n_test = round(test_fraction * len(id_id))
        tests = {
            "test_inferred_iid": id_id[:n_test],
            "test_inferred_ood": ood_ood,
            "test_inferred_ood_id": ood_id[: round(MIXED_TEST_SHARE * len(ood_id))],
            "test_inferred_id_ood": id_ood[: round(MIXED_TEST_SHARE * len(id_ood))],
        }
        n_trained = n_to_train(phi, n_id_facts=int((~is_ood).sum()), n_available=len(id_id) - n_test)
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
        """Read a folder in the published JSON formats, see `files`.

        Folders of the authors' generator have no mixed test splits: a tenth of the untrained queries with one OOD hop
        is drawn for them, always the same.

        Raises:
            FileNotFoundError: if files are missing; all of them are named.
            DataFolderError: for all that is wrong in the files.
        """
        refuse(input_problems(folder=folder))
        content = files.read_folder(Path(folder))
        return cls(**{each.name: getattr(content, each.name) for each in fields(content)})

    def to_files(self, folder: str | Path) -> Path:
        """Write the task in the published JSON formats, see `files`; returns the folder.

        Raises:
            ValueError: if some facts are not trained by themselves, or entities as zero-hop questions, which those formats
                cannot say.
        """
        unsaid = 0 if self.is_atomic is None else int((~self.is_atomic).sum())
        why = [f"{unsaid} facts are not trained by themselves; these formats cannot say so"] if unsaid else []
        if self.is_identity is not None:
            n = int(self.is_identity.sum())
            why.append(f"{n} entities are trained as zero-hop questions, the split identity; these formats cannot say so")
        refuse(why + folder_problems(folder=folder))
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
        _, ood_id, id_ood, _ = by_hop_status(self.graph.compositions, self.is_ood)
        held_out = [self.tests["test_inferred_ood_id"], self.tests["test_inferred_id_ood"]]
        one_ood = excluding(np.concatenate([ood_id, id_ood]), np.concatenate(held_out), len(self.graph))
        added = added_compositions(
            supervision, one_ood=one_ood, is_ood=self.is_ood, test_ood=self.tests["test_inferred_ood"], seed=self.seed
        )
        is_identity = chosen_identities(supervision, self.graph.n_entities, seed=self.seed)
        return replace(self, added=added, supervision=supervision, is_identity=is_identity)

    def with_layout(self, layout: str) -> "TwoHopTask":
        """The same questions in another layout.

        Raises:
            ValueError: if there is no such layout.
        """
        return replace(self, layout=layout)

    @property
    def splits(self) -> Mapping[str, Part]:
        """`SPLITS` and what each is for; `identity` comes first in a task that trains zero-hop questions."""
        return SPLIT_PARTS if self.is_identity is None else WITH_IDENTITY

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary: entities, then relations, then the token that fills free slots, if there are any."""
        return self._pad + self.one_length

    @property
    def n_positions(self) -> int:
        """Length of the longest prompt."""
        return n_positions(self.layout)

    @property
    def one_length(self) -> bool:
        """Whether all prompts are of one length, as in slots."""
        return self.layout != "compact"

    @property
    def _pad(self) -> int:
        return self.graph.n_entities + self.graph.n_relations

    def token_name(self, token: int) -> str:
        """What a token is called in figures: `e12`, `r3`, or `_` where a slot is free."""
        if not is_whole(token) or not 0 <= token < self.n_tokens:
            raise ValueError(f"token is {shortly(token)}, the tokens of this task are 0 to {self.n_tokens - 1}")
        if token >= self._pad:
            return "_"
        return f"e{token}" if token < self.graph.n_entities else f"r{token - self.graph.n_entities}"

    @property
    def phi(self) -> float:
        """Trained ID+ID compositions per ID fact (He et al. 2026, appendix B.3)."""
        return len(self.trained) / max(1, self.n_reference)

    @property
    def about(self) -> Mapping[str, float]:
        """φ, for a study's summary."""
        return {"phi": round(self.phi, 2)}

    @property
    def n_added(self) -> int:
        """How many compositions of OOD facts are in training."""
        return len(self.added)

    @property
    def n_reference(self) -> int:
        """How many ID facts there are, the units of `reference`."""
        return int((~self.is_ood).sum())

    @property
    def key(self) -> str:
        """A hash of graph, splits, training compositions and layout: equal keys, equal tasks."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return digest_of(self._parts)

    @property
    def regime(self) -> str:
        """The supervision's name, for labels."""
        return self.supervision.name if self.supervision else "from files"

    def split(self, name: str) -> Queries:
        """The queries of one split.

        Raises:
            KeyError: if there is no such split; the message lists them.
        """
        refuse([], unknown=split_problems(name, self.splits))
        if self.is_identity is not None and name == IDENTITY_SPLIT:
            return zero_hop_queries(np.flatnonzero(self.is_identity), name, layout=self.layout, pad=self._pad)
        if name in ATOMIC_SPLITS:
            chosen = self.is_ood == (name == "ood_atomic")
            facts = np.flatnonzero(chosen if self.is_atomic is None else chosen & self.is_atomic)
            return self._queries(facts[:, None], name)
        hops = np.concatenate([self.trained, self.added]) if name == "train_inferred" else self.tests[name]
        return self._queries(hops, name)

    def reference(self, *, seed: int, without: frozenset[int] = frozenset()) -> Queries:
        """A random trained composition for each ID fact as first hop, leaving some facts out: for means and probes."""
        questions = self.split("train_inferred").one_per_unit(seed=seed, without=without)
        return questions.take(~torch.from_numpy(self.is_ood)[questions.unit])

    @property
    def pair_recipe(self) -> Mapping[str, str]:
        """What pairs keep: the task's key, and the graph's, whose facts their units are."""
        return {"task": self.key, "graph": self.graph.key}

    def fact_status(self, queries: Queries) -> Int[Tensor, " query"]:
        """The hop status of compositions, as a place in `HOP_STATUS`."""
        refuse(queries_problems(queries=queries))
        return torch.from_numpy(hop_status(self.is_ood, queries.hop1.numpy(), queries.hop2.numpy()))

    def donors(self, *, intermediate: str = "bridge", second_hop: str, seed: int) -> TwoHopDonors:
        """Finds facts whose states may replace those of a question, see `TwoHopDonors`."""
        refuse(choice_problems(second_hop=(second_hop, ("ID", "OOD"))) + seed_problems(seed), unknown=_unknown(intermediate))
        in_training = np.concatenate([self.trained, self.added])
        return TwoHopDonors(self.graph, self.is_ood, in_training, second_hop, np.random.default_rng(seed))

    def n_values(self, intermediate: str) -> int:
        """How many values an intermediate can have; they are the first tokens.

        Raises:
            KeyError: if the task has no such intermediate.
        """
        refuse([], unknown=_unknown(intermediate))
        return self.graph.n_entities

    @property
    def settings(self) -> Settings:
        """What a saved run says of the task next to its arrays."""
        return settings_of(self._parts)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Facts and splits, in 16-bit integers if they fit."""
        return arrays_of(self._parts)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], settings: Settings) -> "TwoHopTask":
        """Read back what `to_arrays` and `settings` gave.

        Raises:
            ValueError: if they are no two-hop task; all that is missing or wrong is named.
        """
        parts = parts_from(arrays, settings)
        graph = KnowledgeGraph(parts.n_entities, parts.n_relations, parts.heads, parts.relations, parts.tails)
        return cls(graph, **{each.name: getattr(parts, each.name) for each in fields(cls) if each.name != "graph"})

    @property
    def _parts(self) -> TaskParts:
        graph = self.graph
        return TaskParts(
            n_entities=graph.n_entities,
            n_relations=graph.n_relations,
            heads=graph.heads,
            relations=graph.relations,
            tails=graph.tails,
            **{each.name: getattr(self, each.name) for each in fields(self) if each.name != "graph"},
        )

    def _queries(self, chains: Chains, split: str) -> Queries:
        names: dict[str, Any] = {"n_hops": 2, "intermediates": ("bridge",)}
        return chain_queries(self.graph, chains, split, layout=self.layout, pad=self._pad, **names)


def _unknown(intermediate: Any) -> list[str]:
    return [] if is_one_of(intermediate, ("bridge",)) else [f"no intermediate {shortly(intermediate)}; there is 'bridge'"]


def two_hop(task: Task) -> TwoHopTask:
    """The same task, for what can be done with two-hop questions alone.

    Args:
        task: of any kind.

    Raises:
        TypeError: if it is a task of another kind.
    """
    if not isinstance(task, TwoHopTask):
        kind = getattr(task, "kind", type(task).__name__)
        got = f"the class {task.__name__} itself" if isinstance(task, type) else f"a task of the kind {kind!r}"
        raise TypeError(f"this needs two-hop questions, got {got}")
    return task
