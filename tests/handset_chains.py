"""What tests know of the models of `tasks.models.by_hand_chains`: their edges, and pairs made of the graph itself."""

import itertools

import numpy as np
import torch

from grokscope.tasks import KnowledgeGraph, PromptPairs

GRAPH = KnowledgeGraph.random(n_entities=8, n_relations=6, out_degree=5, seed=1)
VALUES = np.random.default_rng(0).integers(4, size=(3, 6))
COMPARED = ("attribute", "e1", "e2")
N_VALUES, N_LABELS = int(VALUES.max()) + 1, 3

RETRIEVED = (
    "embed@attribute -> L0H0.v@attribute",
    *(f"{each}@{e} -> MLP0@{e}" for e in ("e1", "e2") for each in ("L0H0", "embed")),
)
TAKEN = ("MLP0@e1 -> L1H0.v@e1", "L1H0@e2 -> MLP1@e2", "MLP0@e2 -> MLP1@e2", "MLP1@e2 -> logits@e2")
COMPARISON_EDGES = (*RETRIEVED, *TAKEN)
"""All edges of a comparison."""
FIRST_ENTITY_EDGES = ("embed@e1 -> MLP0@e1", "MLP0@e1 -> L1H0.v@e1", "L1H0@e2 -> MLP1@e2", "MLP1@e2 -> logits@e2")
"""All edges that carry a change of e1."""
SECOND_ENTITY_EDGES = ("embed@e2 -> MLP0@e2", "MLP0@e2 -> MLP1@e2", "MLP1@e2 -> logits@e2")
"""All edges that carry a change of e2."""
ATOMIC_EDGES = (
    "embed@attribute -> L0H0.v@attribute", "L0H0@e1 -> MLP0@e1", "embed@e1 -> MLP0@e1", "MLP0@e1 -> logits@e1",
)  # fmt: skip
"""All edges of the question `attribute e1`."""
COMPARISON_LOOKUP_EDGES = (
    "embed@attribute -> L1H0.v@attribute", "L1H0@e2 -> MLP1@e2", "embed@e1 -> L1H1.v@e1", "L1H1@e2 -> MLP1@e2",
    "embed@e2 -> MLP1@e2", "MLP1@e2 -> logits@e2",
)  # fmt: skip
"""All edges of a memorised comparison."""


def roles_of(n_hops: int) -> tuple[str, ...]:
    return ("h", *(f"r{hop}" for hop in range(1, n_hops + 1)))


def chain_edges(n_hops: int) -> list[str]:
    """All edges of a chain: for three hops the ten of
    embed@h → L0H0.v@h, L0H0@r1 → MLP0@r1, embed@r1 → MLP0@r1, MLP0@r1 → L1H0.v@r1, … , MLP2@r3 → logits@r3.
    """
    found = []
    for hop in range(1, n_hops + 1):
        layer, at, before = hop - 1, f"r{hop}", f"MLP{hop - 2}@r{hop - 1}" if hop > 1 else "embed@h"
        found += [f"{before} -> L{layer}H0.v@{before.split('@')[1]}", f"L{layer}H0@{at} -> MLP{layer}@{at}"]
        found += [f"embed@{at} -> MLP{layer}@{at}"]
    return [*found, f"MLP{n_hops - 1}@r{n_hops} -> logits@r{n_hops}"]


def chain_lookup_edges(n_hops: int) -> list[str]:
    """All edges of a memorised chain: every token to the last relation, in the last layer."""
    last, layer = f"r{n_hops}", n_hops - 1
    carried = [
        edge
        for place, role in enumerate(roles_of(n_hops)[:-1])
        for edge in (f"embed@{role} -> L{layer}H{place}.v@{role}", f"L{layer}H{place}@{last} -> MLP{layer}@{last}")
    ]
    return [*carried, f"embed@{last} -> MLP{layer}@{last}", f"MLP{layer}@{last} -> logits@{last}"]


def edges_from(edges: list[str], role: str) -> list[str]:
    """The edges of a chain that carry a change of one token alone."""
    found, reached = [], {f"embed@{role}"}
    for edge in edges:
        sender, receiver = edge.split(" -> ")
        if sender in reached:
            found.append(edge)
            reached |= {receiver, *_outputs(receiver, edges)}
    return found


def _outputs(receiver: str, edges: list[str]) -> set[str]:
    """The senders that an input feeds: of a value the same head, wherever it writes."""
    name = receiver.split("@")[0].removesuffix(".v")
    return {receiver} if name == receiver.split("@")[0] else {e.split(" -> ")[0] for e in edges if e.startswith(f"{name}@")}


def chains_of(graph: KnowledgeGraph, n_hops: int) -> np.ndarray:
    """All chains, as numbers of facts, by a loop over all lists of facts."""
    facts = graph.triples
    found = [[fact] for fact in range(len(facts))]
    for _ in range(n_hops - 1):
        found = [[*chain, fact] for chain in found for fact in range(len(facts)) if facts[chain[-1]][2] == facts[fact][0]]
    return np.array(found)


def prompts_of(graph: KnowledgeGraph, chains: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """The prompts `h r1 … rk` and their answers."""
    prompts = [
        [graph.triples[chain[0]][0], *(graph.n_entities + graph.triples[fact][1] for fact in chain)] for chain in chains
    ]
    return torch.tensor(prompts), torch.tensor([graph.triples[chain[-1]][2] for chain in chains])


def chain_pairs(graph: KnowledgeGraph, n_hops: int, changed: tuple[str, ...], n: int = 24, seed: int = 0) -> PromptPairs:
    """Pairs of chains that differ in all changed tokens and in no other, and in what every hop from there on finds."""
    chains, rng, roles = chains_of(graph, n_hops), np.random.default_rng(seed), roles_of(n_hops)
    prompts, answers = prompts_of(graph, chains)
    differ, found = np.array([role in changed for role in roles]), []
    for clean in rng.permutation(len(chains)):
        fits = ((prompts != prompts[clean]).numpy() == differ).all(axis=1)
        others = [other for other in np.flatnonzero(fits) if _diverge(graph, chains[clean], chains[other], differ)]
        found += [(clean, rng.choice(others))] if others else []
        if len(found) == n:
            break
    clean, corrupt = map(list, zip(*found, strict=True))
    return PromptPairs(
        prompts[clean], prompts[corrupt], answers[clean], answers[corrupt], roles=roles, contrast=" ".join(changed)
    )


def _diverge(graph: KnowledgeGraph, clean: np.ndarray, corrupt: np.ndarray, differ: np.ndarray) -> bool:
    first = int(np.flatnonzero(differ)[0])
    return bool((graph.tails[clean] != graph.tails[corrupt])[max(first - 1, 0) :].all())


def comparison_prompts(questions: list[tuple[int, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts of attribute and one or two entities, each numbered from 0, and the answers."""
    n_attributes, first = VALUES.shape[0], N_VALUES + N_LABELS
    prompts = [[first + q[0], *(first + n_attributes + entity for entity in q[1:])] for q in questions]
    return torch.tensor(prompts), torch.tensor([_answer(q) for q in questions])


def _answer(question: tuple[int, ...]) -> int:
    values = [int(VALUES[question[0], entity]) for entity in question[1:]]
    return values[0] if len(values) == 1 else N_VALUES + 1 + (values[0] > values[1]) - (values[0] < values[1])


def comparisons() -> list[tuple[int, ...]]:
    """All questions of two entities."""
    return list(itertools.product(range(VALUES.shape[0]), *[range(VALUES.shape[1])] * 2))


def comparison_pairs(changed: tuple[str, ...], roles: tuple[str, ...] = COMPARED, n: int = 24, seed: int = 0) -> PromptPairs:
    """Pairs of questions that differ in all changed tokens and in no other, with different answers."""
    questions = comparisons() if len(roles) == 3 else sorted({q[:2] for q in comparisons()})
    prompts, answers = comparison_prompts(questions)
    differ, rng = np.array([role in changed for role in roles]), np.random.default_rng(seed)
    fits = [
        (a, b)
        for a, b in itertools.permutations(range(len(questions)), 2)
        if ((prompts[a] != prompts[b]).numpy() == differ).all() and answers[a] != answers[b]
    ]
    clean, corrupt = map(list, zip(*(fits[i] for i in rng.permutation(len(fits))[:n]), strict=True))
    return PromptPairs(
        prompts[clean], prompts[corrupt], answers[clean], answers[corrupt], roles=roles, contrast=" ".join(changed)
    )
