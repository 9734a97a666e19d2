"""Two-hop questions, facts and zero-hop questions as `Queries`, from the numbers of facts and entities."""

import numpy as np
import torch
from jaxtyping import Int

from .graph import Compositions, KnowledgeGraph
from .layout import to_prompts
from .queries import Queries
from .splits import IDENTITY_SPLIT


def two_hop_questions(graph: KnowledgeGraph, hops: Compositions, layout: str, split: str) -> Queries:
    """(h, r1, r2) → t, clustered by the first fact."""
    hop1, hop2 = hops.T
    relations = graph.n_entities + graph.relations
    questions = np.stack([graph.heads[hop1], relations[hop1], relations[hop2]], axis=1)
    facts = {"hop1": hop1.copy(), "hop2": hop2.copy()}
    return _queries(graph, questions, graph.tails[hop2], graph.tails[hop1], facts["hop1"], facts, layout, split)


def atomic_questions(graph: KnowledgeGraph, facts: Int[np.ndarray, " fact"], layout: str, split: str) -> Queries:
    """(h, r) → t; the bridge is the answer, and there is no second fact (−1)."""
    questions = np.stack([graph.heads[facts], graph.n_entities + graph.relations[facts]], axis=1)
    tails, hops = graph.tails[facts], {"hop1": facts, "hop2": np.full_like(facts, -1)}
    return _queries(graph, questions, tails, tails, facts, hops, layout, split)


def zero_hop_questions(graph: KnowledgeGraph, entities: Int[np.ndarray, " entity"], layout: str) -> Queries:
    """An entity alone asks for itself (Lin et al. 2025): bridge and unit are the entity, there is no fact (−1)."""
    none = np.full_like(entities, -1)
    facts = {"hop1": none, "hop2": none.copy()}
    return _queries(graph, entities[:, None], entities, entities, entities, facts, layout, IDENTITY_SPLIT)


def _queries(
    graph: KnowledgeGraph,
    questions: Int[np.ndarray, "query token"],
    answers: Int[np.ndarray, " query"],
    bridges: Int[np.ndarray, " query"],
    unit: Int[np.ndarray, " query"],
    facts: dict[str, Int[np.ndarray, " query"]],
    layout: str,
    split: str,
) -> Queries:
    prompts, roles, answer_position = to_prompts(questions, layout, pad=graph.n_entities + graph.n_relations)
    return Queries(
        torch.from_numpy(prompts),
        torch.from_numpy(answers),
        roles=roles,
        answer_position=answer_position,
        intermediates={"bridge": torch.from_numpy(bridges)},
        unit=torch.from_numpy(unit),
        facts={name: torch.from_numpy(column) for name, column in facts.items()},
        split=split,
    )
