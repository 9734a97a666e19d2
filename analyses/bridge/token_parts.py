"""The part of a state that a token has in it: a variable of the question that is no intermediate, as a control for one."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits.arguments import refuse
from ...tasks import Queries
from .bridge_effects import apart_from_unit
from .bridge_means import MIN_UNITS_FOR_MEAN, BridgeMeans

Cell = tuple[int, int]
"""Layer (−1: the embedding) and position."""


def token_turn(means: BridgeMeans, asked: Queries, cell: Cell, at: int, *, seed: int) -> Float[Tensor, "query d_model"]:
    """The difference of the parts that another token, drawn at random, and a question's own have in states at a cell.

    States are sums of one part for the value and one for the token; a token too rare to have one gets the mean part.
    """
    known, tokens = known_tokens(means, at), means.questions.tokens[:, at].contiguous()
    rows, own = torch.isin(tokens, known), asked.tokens[:, at].contiguous()
    labels = means.values[rows], torch.searchsorted(known, tokens[rows])
    columns = [torch.nn.functional.one_hot(each).double() for each in labels]
    weights = torch.linalg.pinv(torch.cat(columns, 1))[columns[0].shape[1] :]
    states = means.run.state(cell[0])[rows, cell[1]]
    parts = weights.to(states) @ states
    rank = torch.searchsorted(known, own).clamp(max=len(known) - 1)
    further = torch.randint(1, len(known), own.shape, generator=torch.Generator().manual_seed(seed), device="cpu")
    is_known = (known[rank] == own)[:, None].to(parts.device)
    return parts[(rank + further) % len(known)] - torch.where(is_known, parts[rank], parts.mean(0))


def known_tokens(means: BridgeMeans, at: int) -> Int[Tensor, " token"]:
    """The tokens at a position that enough units have, in order."""
    tokens, counts = means.questions.tokens[:, at].unique(return_counts=True)
    return tokens[counts >= MIN_UNITS_FOR_MEAN]


def control_role(queries: Queries, means: BridgeMeans, control: str | None) -> str:
    """The role given, or the last one whose token is no part of the unit and can be exchanged; empty if there is none."""
    apart = [control] if control else [queries.roles[at] for at in apart_from_unit(queries).nonzero()[:, 0].tolist()]
    found = [role for role in apart if len(known_tokens(means, queries.roles.index(role))) > 1]
    few = f"the control needs two tokens at {control} that {MIN_UNITS_FOR_MEAN} units have each; there are fewer"
    refuse([few] if control and not found else [])
    return found[-1] if found else ""
