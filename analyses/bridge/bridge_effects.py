"""What the bridge adds to the state at a cell, the token there being equal.

Questions with one bridge are not those with another in all else: over the questions that means are taken of, each bridge
meets other tokens at r2. The difference of two bridges' mean states at r2 then holds a difference of r2 tokens, and to take
it out or to add it changes what is asked. So at positions whose token is no part of the unit, a state is taken as the sum of
one part for its bridge and one for the token, fitted by least squares; the former is the bridge's effect. At the other
positions (h and r1 of a two-hop question), where the tokens decide the bridge, the effect is the mean state.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...tasks import Queries
from .bridge_means import MIN_UNITS_FOR_MEAN, BridgeMeans


class BridgeEffects:
    """The effects of all values of an intermediate at every cell.

    Args:
        means: gives states and values.
        queries: several questions for some units, by which a token is known to be no part of one. Where each question is
            a unit, all effects are mean states.

    Attributes:
        intermediate: its name.
        known: the values that have an effect.
        n_bytes: of the states.
    """

    def __init__(self, means: BridgeMeans, queries: Queries) -> None:
        self.intermediate, self._run, tokens = means.intermediate, means.run, means.questions.tokens
        self.known = (means.counts >= MIN_UNITS_FOR_MEAN).nonzero()[:, 0]
        self.n_bytes = means.run.n_bytes
        values = _one_hot(means.values, len(means.counts))
        equal = torch.linalg.pinv(values)  # averages
        self._weights = [
            _adjusted(values, tokens[:, position]) if apart else equal
            for position, apart in enumerate(apart_from_unit(queries).tolist())
        ]

    def of(self, layer: int, position: int, values: Int[Tensor, " query"]) -> Float[Tensor, "query d_model"]:
        """The effect of each value at a cell, up to a vector that all values share."""
        states = self._run.state(layer)[:, position]
        return (self._weights[position].to(states) @ states)[values]

    def overall(self, layer: int, position: int) -> Float[Tensor, " d_model"]:
        """The mean effect at a cell over the values that have one."""
        return self.of(layer, position, self.known).mean(0)


def apart_from_unit(queries: Queries) -> Bool[Tensor, " pos"]:
    """The positions at which questions of one unit have different tokens."""
    _, unit = queries.unit.unique(return_inverse=True)
    first = unit.new_full((int(unit.max()) + 1,), len(unit)).scatter_reduce_(
        0, unit, torch.arange(len(unit), device="cpu"), "amin"
    )
    return (queries.tokens != queries.tokens[first[unit]]).any(0)


def _adjusted(values: Float[Tensor, "query value"], tokens: Int[Tensor, " query"]) -> Float[Tensor, "value query"]:
    """By which weights the states give each value's part in the fit of values and tokens."""
    _, token = tokens.unique(return_inverse=True)
    both = torch.cat([values, _one_hot(token, int(token.max()) + 1)], 1)
    return torch.linalg.pinv(both)[: values.shape[1]]


def _one_hot(labels: Int[Tensor, " query"], n_labels: int) -> Float[Tensor, "query label"]:
    return torch.nn.functional.one_hot(labels.cpu(), n_labels).double()
