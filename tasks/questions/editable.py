"""What a task must say for a fact of it to be changed after training, and how questions over a graph say it.

A fact is an atomic question and its answer. A changed fact changes the answers of questions that rest on it, and which other
facts some of them rest on: with (h, r1) → b′ in place of b, (h, r1, r2) goes on from (b′, r2), if there is such a fact.
"""

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int

from ...circuits.arguments import native, refuse, whole_problems
from .chains import Chains, chain_queries
from .given import queries_problems
from .graph import KnowledgeGraph
from .queries import Queries
from .task import Task

if TYPE_CHECKING:
    from .khop import KHopTask
    from .twohop import TwoHopTask


@runtime_checkable
class Editable(Task, Protocol):
    """A task whose facts can be changed one at a time.

    Its atomic questions rest on one fact each, the only number from 0 on in their `facts`; its other questions name there
    every fact that they rest on, at the place (the column) at which it is used.
    """

    def fact_values(self, fact: int) -> Int[np.ndarray, " value"]:
        """The answers, as tokens, that a fact could have in place of its own.

        Raises:
            ValueError: if there is no such fact.
        """
        ...

    def with_fact(self, queries: Queries, *, fact: int, value: int) -> Queries:
        """Questions as they are to be answered if one fact had another answer.

        What is returned are those of the same prompts that still have an answer, in the same order, with the answers,
        intermediates and facts that they then have; roles, answer position, units and split are the same. Numbers of facts
        stay what they are. Questions that rest on no changed fact come back as they are.

        Args:
            queries: questions of this task, of one split.
            fact: its number.
            value: one of `fact_values`.

        Raises:
            ValueError: if there is no such fact, or it cannot have that value.
        """
        ...


def editable(task: Any) -> Editable:
    """The same task, for what changes facts.

    Raises:
        TypeError: if its facts cannot be changed.
    """
    if isinstance(task, type) or not isinstance(task, Editable):
        kind = getattr(task, "kind", type(task).__name__)
        got = f"the class {task.__name__} itself" if isinstance(task, type) else f"a task of the kind {kind!r}"
        raise TypeError(f"facts are changed in tasks that have fact_values and with_fact; got {got}")
    return task


def other_tails(task: "TwoHopTask | KHopTask", fact: int) -> Int[np.ndarray, " value"]:
    """`Editable.fact_values` of questions over a graph: all entities but the fact's tail."""
    refuse(_fact_problems(task.graph, fact))
    return np.delete(np.arange(task.graph.n_entities), task.graph.tails[fact])


def with_tail(task: "TwoHopTask | KHopTask", queries: Queries, *, fact: int, value: int) -> Queries:
    """`Editable.with_fact` of questions over a graph: they keep head and relations, and go where these now lead."""
    problems = whole_problems(0, most=task.graph.n_entities - 1, value=value)
    refuse(queries_problems(queries=queries) + _fact_problems(task.graph, fact) + problems)
    graph = with_other_tail(task.graph, fact, value)
    columns = [column.numpy() for column in queries.facts.values() if not (column < 0).all()]
    if not columns:  # no question, or zero-hop ones, which rest on no fact
        return queries
    chains, rows = followed(graph, np.column_stack(columns))
    made = chain_queries(
        graph,
        chains,
        queries.split,
        n_hops=len(queries.facts),
        intermediates=tuple(queries.intermediates),
        layout=task.layout,
        pad=graph.n_entities + graph.n_relations,
    )
    assert torch.equal(made.tokens, queries.tokens[torch.from_numpy(rows)])
    return made


def with_other_tail(graph: KnowledgeGraph, fact: int, value: int) -> KnowledgeGraph:
    """The graph with another tail of one fact; facts keep their numbers.

    Raises:
        ValueError: if there is no such fact or entity.
    """
    refuse(_tail_problems(graph, fact, value))
    tails = graph.tails.copy()
    tails[native(fact)] = native(value)
    return KnowledgeGraph(graph.n_entities, graph.n_relations, graph.heads, graph.relations, tails)


def followed(graph: KnowledgeGraph, chains: Chains) -> tuple[Int[np.ndarray, "_ hop"], Int[np.ndarray, " _"]]:
    """Where the first facts and the relations of chains lead in a graph, and which of the chains lead anywhere.

    >>> graph = KnowledgeGraph.from_triples([(0, 0, 1), (1, 0, 0)], n_entities=2, n_relations=1)
    >>> followed(with_other_tail(graph, 0, 0), np.array([[0, 1], [1, 0]]))[0].tolist()
    [[0, 0], [1, 0]]
    """
    relations, hops = graph.relations[chains], [chains[:, 0]]
    for hop in range(1, chains.shape[1]):
        before = hops[-1]
        hops.append(np.where(before < 0, -1, graph.fact_of[graph.tails[before], relations[:, hop]]))
    found = np.column_stack(hops)
    rows = np.flatnonzero((found >= 0).all(1))
    return found[rows], rows


def _tail_problems(graph: KnowledgeGraph, fact: Any, value: Any) -> list[str]:
    return _fact_problems(graph, fact) + whole_problems(0, most=graph.n_entities - 1, value=value)


def _fact_problems(graph: KnowledgeGraph, fact: Any) -> list[str]:
    return whole_problems(0, most=len(graph) - 1, fact=fact)
