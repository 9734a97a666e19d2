"""Prompts with one token replaced by another of its kind, so that the right answer changes or there is none.

The perturbations of causal tracing (Wang et al. 2024, section 3.3 and appendix D.1). Unlike the pairs of `pairs`, a
perturbed prompt need not be a question with an answer.
"""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ...circuits.arguments import is_one_of, refuse, seed_problems, shortly
from .given import queries_problems
from .queries import Queries
from .task import Task
from .twohop import TwoHopTask, two_hop

PERTURBED_ROLES = ("h", "r1", "r2")
"""The roles of a two-hop question that `perturb` can change."""


def perturb(task: Task, queries: Queries, role: str, *, seed: int) -> Int[Tensor, "query pos"]:
    """Replace one token of each two-hop query at random by one that ID facts allow and that leads to another tail or none.

    `h`: by a head of ID facts; `r1`: by a relation of h in an ID fact; `r2`: by a relation of the bridge in an ID fact with
    another tail.

    Args:
        task: two-hop questions.
        queries: of a compositional split.
        role: one of `PERTURBED_ROLES`.
        seed: of the choice.

    Returns:
        The perturbed prompts.

    Raises:
        KeyError: for another role.
        TypeError: if the task is of another kind.
        ValueError: if these are no two-hop questions of the task, or one has no such token.
    """
    known = f"to perturb; the roles are {', '.join(PERTURBED_ROLES)}"
    unknown = [] if is_one_of(role, PERTURBED_ROLES) else [f"no role {shortly(role)} {known}"]
    refuse(queries_problems(queries=queries) + seed_problems(seed), unknown=unknown)
    if problems := _problems(two_hop(task), queries):
        raise ValueError(f"{queries.split} cannot be perturbed: " + "; ".join(problems))
    graph, is_ood = two_hop(task).graph, two_hop(task).is_ood
    rng, tokens = np.random.default_rng(seed), queries.tokens.clone()
    is_id = (graph.fact_of >= 0) & ~is_ood[graph.fact_of]
    tails = np.where(graph.fact_of >= 0, graph.tails[graph.fact_of], -1)
    tails = np.concatenate([tails, np.full((1, graph.n_relations), -1)])  # what −1, no entity, leads to: nothing
    for row, (h, r1, r2) in enumerate(
        (queries.tokens[:, :3] - torch.tensor([0, 1, 1], device="cpu") * graph.n_entities).tolist()
    ):
        bridge, answer = tails[h, r1], int(queries.answers[row])
        if role == "h":
            others = np.flatnonzero(is_id.any(1))
            reached = tails[tails[others, r1], r2]
        else:
            others = np.flatnonzero(is_id[h if role == "r1" else bridge])
            reached = tails[tails[h, others], r2] if role == "r1" else tails[bridge, others]
        possible = others[reached != answer]
        if not len(possible):
            raise ValueError(f"query {row} (h {h}, r1 {r1}, r2 {r2}) of {queries.split}: no other {role} leads elsewhere")
        tokens[row, queries.roles.index(role)] = int(rng.choice(possible)) + (graph.n_entities if role != "h" else 0)
    return tokens


def _problems(task: TwoHopTask, queries: Queries) -> list[str]:
    """Why these are no two-hop questions of the task: roles, and at each what a token may be."""
    if queries.roles[:3] != PERTURBED_ROLES:
        return [f"two-hop questions begin with the roles {', '.join(PERTURBED_ROLES)}, got {', '.join(queries.roles)}"]
    n_entities, problems = task.graph.n_entities, []
    for position, role in enumerate(PERTURBED_ROLES):
        first, last = (n_entities, n_entities + task.graph.n_relations - 1) if position else (0, n_entities - 1)
        column = queries.tokens[:, position]
        if (wrong := (column < first) | (column > last)).any():
            problems.append(f"{role} is one of the tokens {first} to {last}, got {int(column[wrong][0])}")
    return problems
