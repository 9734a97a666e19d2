"""New facts for a trained model, and the questions that tell whether it composes them with what it knew.

He et al. 2026 (arXiv 2601.09049, section 5.1) train a model further on new facts between old entities and ask for
compositions of new with old, old with new, and new with new. Their data exposes old facts as second hops some eighteen
times and new ones never. Here both are treated alike: as many old facts as there are new ones are set aside as probes, and
their compositions are left out of the further training, like those of the new facts. The compositions of all other old facts
stay in it, so that nothing needs to be forgotten.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int

from ...circuits.arguments import is_one_of, make_native, native, refuse, seed_problems, shortly, whole_problems
from ...circuits.plain_text import counted, one_line
from ...circuits.same_content import ByContent
from ..questions.graph import Compositions, KnowledgeGraph
from ..questions.queries import Queries
from ..questions.supervision import Supervision, added_compositions
from ..questions.task import Task
from ..questions.twohop import TwoHopTask, two_hop

CELLS: Mapping[str, str] = {
    "new+old": "test_inferred_ood_id",
    "old+new": "test_inferred_id_ood",
    "new+new": "test_inferred_ood",
}
"""The kinds of new compositions, first hop first, and the split of the further task that holds each."""


@dataclass(frozen=True, eq=False)
class NewFacts(ByContent):
    """A task, and the one that is trained after it.

    Attributes:
        before: the task whose facts are old.
        task: what is trained next: all old facts, the new ones as its "OOD" facts, and the trained ID+ID compositions of
            `before` without those of probes. A run on it reports `CELLS`, the retention of old compositions as
            `test_inferred_iid`, of old facts as `id_atomic`, and the memory of new facts as `ood_atomic`.
        is_probe: which facts of `task` are the old ones in questions of `CELLS`; those that `random` draws are in no trained
            composition.
        exposure: compositions of each new fact as second hop that are in training, at most.
        seed: of everything drawn.
    """

    before: TwoHopTask
    task: TwoHopTask
    is_probe: Bool[np.ndarray, " fact"]
    exposure: int
    seed: int

    def __post_init__(self) -> None:
        make_native(self, "exposure", "seed")
        refuse(whole_problems(0, exposure=self.exposure) + seed_problems(self.seed))

    @one_line
    def __repr__(self) -> Iterator[str]:
        yield f"{counted(int(self.task.is_ood.sum()), 'new fact')} on {len(self.before.graph):,} old ones"
        yield counted(int(self.is_probe.sum()), "probe")
        yield f"exposure {self.exposure}"
        yield f"seed {self.seed}"

    @classmethod
    def random(cls, before: Task, *, n: int = 128, exposure: int = 0, seed: int = 0) -> "NewFacts":
        """Draw new facts in free (head, relation) slots, tails uniform, and as many old ID facts as probes.

        Args:
            before: the two-hop task trained first. Its supervision plays no part: the further training is the same.
            n: number of new facts and of probes.
            exposure: train this many compositions of each new fact as second hop (fewer, if there are fewer), with old
                facts that are no probes as first hops. Doses are nested and change no test.
            seed: fixes facts, tails and probes.

        Raises:
            TypeError: if the task is of another kind.
            ValueError: if there are fewer free slots or ID facts than n, or exposure is negative; all problems at once.

        >>> before = TwoHopTask.random(n_entities=20, n_relations=8, out_degree=5, seed=0)
        >>> new = NewFacts.random(before, n=20)
        >>> len(new.task.split("ood_atomic")), len(new.questions("new+old")) > 0
        (20, True)
        """
        before = two_hop(before)
        n, exposure, seed = native((n, exposure, seed))
        refuse(_problems(before, n, exposure) + seed_problems(seed))
        graph, is_new, old = extended(before.graph, _new_triples(before.graph, n, np.random.default_rng([seed, 4])))
        id_facts = old[~before.is_ood]
        is_probe = np.zeros(len(graph), dtype=bool)
        is_probe[np.random.default_rng([seed, 5]).permutation(id_facts)[:n]] = True
        trained = old[before.trained]
        trained = trained[~is_probe[trained].any(1)]
        old_tests = old[before.tests["test_inferred_iid"]]
        tests = cells(graph, is_new, is_probe) | {"test_inferred_iid": old_tests[~is_probe[old_tests].any(1)]}
        task = TwoHopTask(graph, is_new, trained, trained[:0], tests, Supervision(), seed, before.layout)
        return cls(before, _exposed(task, is_probe, exposure), is_probe, exposure, seed)

    def questions(self, cell: str) -> Queries:
        """The questions of a cell, `new+old`, `old+new` or `new+new`; old facts in them are probes.

        Raises:
            KeyError: if there is no such cell; the message lists them.
        """
        if not is_one_of(cell, CELLS):
            raise KeyError(f"no cell {shortly(cell)}; the cells are {', '.join(CELLS)}")
        return replace(self.task.split(CELLS[cell]), split=cell)


def _problems(before: TwoHopTask, n: int, exposure: int) -> list[str]:
    """Why n new facts cannot be drawn, or exposed that often."""
    graph, n_id = before.graph, int((~before.is_ood).sum())
    problems = whole_problems(1, n=n)
    if not problems and n > min(graph.n_free_slots, n_id):
        problems.append(
            f"n={n} new facts and probes asked for, there can be 1 to {min(graph.n_free_slots, n_id)}: "
            f"{graph.n_free_slots} (head, relation) are free, {n_id} facts are ID"
        )
    return problems + whole_problems(0, exposure=exposure)


Triple = tuple[int, int, int]


def _new_triples(graph: KnowledgeGraph, n: int, rng: np.random.Generator) -> list[Triple]:
    """Facts in n free (head, relation) slots, with any tail."""
    heads, relations = (graph.fact_of < 0).nonzero()
    slots = rng.permutation(len(heads))[:n]
    tails = rng.integers(graph.n_entities, size=n)
    return list(zip(heads[slots].tolist(), relations[slots].tolist(), tails.tolist(), strict=True))


def extended(
    graph: KnowledgeGraph, triples: list[Triple]
) -> tuple[KnowledgeGraph, Bool[np.ndarray, " fact"], Int[np.ndarray, " old"]]:
    """The graph with more facts, which of its facts are new, and where each old fact is now."""
    larger = KnowledgeGraph.from_triples(
        [*graph.triples, *triples], n_entities=graph.n_entities, n_relations=graph.n_relations
    )
    old = larger.fact_of[graph.heads, graph.relations]
    is_new = np.ones(len(larger), dtype=bool)
    is_new[old] = False
    return larger, is_new, old


def cells(
    graph: KnowledgeGraph, is_new: Bool[np.ndarray, " fact"], is_probe: Bool[np.ndarray, " fact"]
) -> dict[str, Compositions]:
    """The compositions of each of `CELLS`, by the split that holds it."""
    hop1, hop2 = graph.compositions.T
    asked = {"new+old": is_new[hop1] & is_probe[hop2], "old+new": is_probe[hop1] & is_new[hop2]}
    asked["new+new"] = is_new[hop1] & is_new[hop2]
    return {CELLS[cell]: graph.compositions[chosen] for cell, chosen in asked.items()}


def _exposed(task: TwoHopTask, is_probe: Bool[np.ndarray, " fact"], exposure: int) -> TwoHopTask:
    """The task with at most `exposure` compositions of each new fact as second hop."""
    hop1, hop2 = task.graph.compositions.T
    pool = task.graph.compositions[~task.is_ood[hop1] & ~is_probe[hop1] & task.is_ood[hop2]]
    supervision = Supervision(hop2_share=float(exposure > 0), hop2_compositions=exposure)
    new = np.flatnonzero(task.is_ood)
    added = added_compositions(
        supervision, one_ood=pool, is_ood=task.is_ood, test_ood=np.stack([new, new], axis=1), seed=task.seed
    )
    return replace(task, added=added, supervision=supervision)
