"""Chains of facts, each of which starts where the one before ends, and the questions that ask for their last tail."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int

from .graph import KnowledgeGraph, size_problems
from .layout import to_prompts
from .queries import Queries
from .room import too_large_problems

Chains = Int[np.ndarray, "_ _"]
"""The number of each hop's fact, a row for each chain."""
LISTS_OF_CHAINS = 4  # that are held at once while they are drawn: all, shuffled, and two parts


def all_chains(graph: KnowledgeGraph, n_hops: int) -> Chains:
    """Every chain of so many facts, sorted by the first fact, then by the second, and so on.

    >>> graph = KnowledgeGraph.from_triples([(0, 0, 1), (1, 0, 0)], n_entities=2, n_relations=1)
    >>> all_chains(graph, 3).tolist()
    [[0, 1, 0], [1, 0, 1]]
    """
    chains = np.arange(len(graph))[:, None]
    for _ in range(n_hops - 1):
        chains = graph.extended(chains)
    return chains


def chain_queries(
    graph: KnowledgeGraph,
    chains: Chains,
    split: str,
    *,
    n_hops: int,
    intermediates: Sequence[str],
    layout: str = "compact",
    pad: int = 0,
) -> Queries:
    """The questions that ask for the tail of each chain.

    Args:
        graph: the facts.
        chains: all of one length.
        split: its name.
        n_hops: how many facts the longest questions of the task rest on; shorter ones have −1 in place of a fact.
        intermediates: names for the tails of the first facts, one after the other. The last fact's tail is the answer, and
            also the intermediate of that place where longer questions go on from there.
        layout: see `layout`.
        pad: the token that fills free slots.
    """
    relations = graph.n_entities + graph.relations[chains]
    prompts, roles, answer_position = to_prompts(np.column_stack([graph.heads[chains[:, 0]], relations]), layout, pad=pad)
    tails = torch.from_numpy(graph.tails[chains])
    missing = np.full((len(chains), n_hops - chains.shape[1]), -1)
    facts = {f"hop{hop}": torch.from_numpy(each.copy()) for hop, each in enumerate(np.hstack([chains, missing]).T, start=1)}
    return Queries(
        torch.from_numpy(prompts),
        tails[:, -1],
        roles=roles,
        answer_position=answer_position,
        intermediates=dict(zip(intermediates, tails.T, strict=False)),
        unit=facts["hop1"],
        facts=facts,
        split=split,
    )


def zero_hop_queries(entities: Int[np.ndarray, " entity"], split: str, *, layout: str = "compact", pad: int = 0) -> Queries:
    """Entities that ask for themselves (Lin et al. 2025): bridge and unit are the entity, and there is no fact (−1)."""
    prompts, roles, answer_position = to_prompts(entities[:, None], layout, pad=pad)
    tokens, none = torch.from_numpy(entities), torch.full((len(entities),), -1, device="cpu")
    return Queries(
        torch.from_numpy(prompts),
        tokens,
        roles=roles,
        answer_position=answer_position,
        intermediates={"bridge": tokens},
        unit=tokens,
        facts={"hop1": none, "hop2": none},
        split=split,
    )


def too_many_problems(*, n_hops: int, n_entities: int, n_relations: int, out_degree: int) -> list[str]:
    """Why the chains of a graph of these sizes cannot be listed: too many for this machine's memory."""
    if problems := size_problems(n_entities, n_relations, out_degree):
        return problems
    n_chains = n_entities * out_degree**n_hops
    what = f"n_hops={n_hops} over n_entities={n_entities:,} with out_degree={out_degree:,} makes {n_chains:,} chains, which"
    return too_large_problems(what, LISTS_OF_CHAINS * 8 * n_hops * n_chains)
