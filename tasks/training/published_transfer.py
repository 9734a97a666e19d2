"""New facts as He et al. 2026 (arXiv 2601.09049, section 5.1) draw them, text and code, which say different things.

New facts come in chains (a, r1) → b, (b, r2) → t, the entities uniform (here: heads among those with a free relation), the
relations unused by that head. Some of what was trained before is trained again. By the text that is a number of
in-distribution facts and all compositions among them; by the code a number of *items*: facts in random order, ID and OOD
alike, each with every trained composition it takes part in. So nearly all items are compositions, and their other fact need
not be trained again. Either way old facts are trained as second hops and new ones never, which `NewFacts.random` balances.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Int

from ...circuits.arguments import is_one_of, native, refuse, seed_problems, shortly, whole_problems
from ..questions.graph import Compositions, KnowledgeGraph
from ..questions.supervision import Supervision
from ..questions.task import Task
from ..questions.twohop import TwoHopTask, two_hop
from .transfer import NewFacts, Triple, cells, extended

OLD_PER_NEW = 4  # 8,000 old items or facts to 2,000 new facts


def published_new_facts(
    before: Task, *, n: int = 128, n_old: int | None = None, reading: str = "items", seed: int = 0
) -> NewFacts:
    """The published further training, at any size.

    Args:
        before: the two-hop task trained first; of its compositions only ID+ID ones are trained again.
        n: number of new facts, an even one.
        n_old: how much is trained again; by default four times n, as published.
        reading: what n_old counts: `items` (the code) or `facts` (the text).
        seed: of chains and old facts.

    Returns:
        New facts whose `is_probe` are the old ones trained again: the cells ask for their compositions with new facts.

    Raises:
        TypeError: if the task is of another kind.
        ValueError: if n is odd or below 2, the reading unknown, there is less than n_old to train again, or there are
            fewer free (head, relation) slots than n; all problems at once.

    >>> before = TwoHopTask.random(n_entities=20, n_relations=8, out_degree=5, seed=0)
    >>> len(published_new_facts(before, n=10).task.split("ood_atomic"))
    10
    """
    before = two_hop(before)
    n, n_old, seed = native((n, n_old, seed))
    refuse(_problems(before, n, n_old, reading) + seed_problems(seed))
    n_old = OLD_PER_NEW * n if n_old is None else n_old
    graph, is_new, old = extended(before.graph, _chains(before.graph, n // 2, np.random.default_rng([seed, 6])))
    chosen, trained = READINGS[reading](before, n_old, np.random.default_rng([seed, 7]))
    is_probe = np.zeros(len(graph), dtype=bool)
    is_probe[old[chosen]] = True
    tests = cells(graph, is_new, is_probe) | {"test_inferred_iid": old[before.tests["test_inferred_iid"]]}
    trained = old[trained]
    task = TwoHopTask(
        graph, is_new, trained, trained[:0], tests, Supervision(), seed, before.layout, is_atomic=is_new | is_probe
    )
    return NewFacts(before, task, is_probe, 0, seed)


def _old_items(before: TwoHopTask, n: int, rng: np.random.Generator) -> tuple[Int[np.ndarray, " old"], Compositions]:
    """Facts in random order, each with all trained compositions it takes part in, until there are n items."""
    facts: list[int] = []
    taken = np.zeros(len(before.trained), dtype=bool)
    for fact in rng.permutation(len(before.graph)).tolist():
        if len(facts) + taken.sum() >= n:
            break
        facts.append(fact)
        more = np.flatnonzero((before.trained == fact).any(1) & ~taken)
        taken[more[: max(0, n - len(facts) - int(taken.sum()))]] = True
    return np.array(facts), before.trained[taken]


def _old_facts(before: TwoHopTask, n: int, rng: np.random.Generator) -> tuple[Int[np.ndarray, " old"], Compositions]:
    """As many ID facts as asked for, and the trained compositions among them."""
    facts = rng.permutation(np.flatnonzero(~before.is_ood))[:n]
    return facts, before.trained[np.isin(before.trained, facts).all(1)]


READINGS: Mapping[str, Callable[[TwoHopTask, int, np.random.Generator], tuple[Int[np.ndarray, " old"], Compositions]]] = {
    "items": _old_items,
    "facts": _old_facts,
}


def _chains(graph: KnowledgeGraph, n: int, rng: np.random.Generator) -> list[Triple]:
    """Two facts each, the tail of the first the head of the second, all in free slots."""
    is_free = graph.fact_of < 0

    def slot() -> tuple[int, int]:
        head = int(rng.choice(np.flatnonzero(is_free.any(1))))
        relation = int(rng.choice(np.flatnonzero(is_free[head])))
        is_free[head, relation] = False
        return head, relation

    chains = [(*slot(), *slot(), int(rng.integers(graph.n_entities))) for _ in range(n)]
    return [triple for head, r1, bridge, r2, tail in chains for triple in ((head, r1, bridge), (bridge, r2, tail))]


def _problems(before: TwoHopTask, n: int, n_old: int | None, reading: str) -> list[str]:
    """Why n new facts cannot be drawn, or n_old items trained again."""
    graph, not_whole = before.graph, whole_problems(2, n=n)
    problems = [] if n_old is None else whole_problems(1, n_old=n_old)
    if not not_whole and n_old is None:
        n_old = OLD_PER_NEW * n
    if not not_whole and n % 2:
        not_whole.append(f"new facts come in chains of two, so n is an even number, got {n}")
    if not not_whole and n > graph.n_free_slots:
        not_whole.append(f"n={n} new facts, but only {graph.n_free_slots} (head, relation) are free")
    there = {"items": len(graph) + len(before.trained), "facts": int((~before.is_ood).sum())}
    if not is_one_of(reading, there):
        problems.append(f"no reading {shortly(reading)}; the readings are {', '.join(there)}")
    elif not problems and n_old is not None and n_old > there[reading]:
        problems.append(f"n_old={n_old} {reading} to train again, there are {there[reading]}")
    return not_whole + problems
