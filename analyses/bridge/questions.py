"""Questions chosen by their hop-1 fact, the unit at which states repeat: one for each fact, or halves that share none."""

import numpy as np
import torch

from ...tasks import Queries, TwoHopTask


def one_question_per_fact(queries: Queries, *, seed: int, without: frozenset[int] = frozenset()) -> Queries:
    """A random question about each hop-1 fact, in the facts' order, leaving some facts out."""
    order = np.random.default_rng(seed).permutation(len(queries))
    facts, first = np.unique(queries.hop1.numpy()[order], return_index=True)
    return queries.take(torch.from_numpy(order[first[~np.isin(facts, list(without))]]))


def trained_id_questions(task: TwoHopTask, *, seed: int, without: frozenset[int] = frozenset()) -> Queries:
    """A random trained composition for each ID fact, leaving some facts out."""
    questions = one_question_per_fact(task.split("train_inferred"), seed=seed, without=without)
    return questions.take(~torch.from_numpy(task.is_ood)[questions.hop1])


def sample(queries: Queries, n: int, *, max_facts: int, seed: int) -> Queries:
    """At most n of the questions, at random, about at most so many hop-1 facts."""
    order = np.random.default_rng(seed).permutation(len(queries))
    facts, first = np.unique(queries.hop1.numpy()[order], return_index=True)
    chosen = facts[np.argsort(first)[:max_facts]]
    order = order[np.isin(queries.hop1.numpy()[order], chosen)]
    return queries.take(torch.from_numpy(np.sort(order[:n])))


def halves_by_fact(queries: Queries, *, seed: int) -> tuple[Queries, Queries]:
    """Two parts of the questions that have no hop-1 fact in common, each with half of the facts."""
    facts = np.unique(queries.hop1.numpy())
    half = np.random.default_rng(seed).permutation(facts)[: len(facts) // 2]
    is_first = torch.from_numpy(np.isin(queries.hop1.numpy(), half))
    return queries.take(is_first), queries.take(~is_first)
