"""The same function with other weights: copies of a model by which a measure shows whether it is about the function.

Some numbers of a model are no part of what it computes. A head's values may be written in any basis, if its output matrix
undoes that; so may queries, if keys undo it and nothing stands between their products and the scores; and neurons may come
in any order. Heads, MLPs and layers keep their names, so that effects can be compared edge by edge.
"""

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ...circuits.arguments import refuse, seed_problems
from ...tasks.models.trm import TRM
from ...tasks.transformerlens import HookedTransformer, Model
from .at_rest import as_measured
from .decoder import Attention, as_projected
from .model import described

NEURONS = {"W_in": 1, "W_gate": 1, "b_in": 0, "W_out": 0, "ln.w": 0, "ln.b": 0}
"""By name of an MLP's parameter, the axis of the neurons."""
OTHERS = {"b_out"}
SMALLEST, LARGEST = 0.5, 2.0  # singular values of the matrices by which heads are rewritten


@dataclass(frozen=True, eq=False)
class Rewrite:
    """One change of some parameters after which the model computes the same.

    Attributes:
        parameters: the changed ones.
        change: changes them in place.
    """

    parameters: tuple[Tensor, ...]
    change: Callable[[Generator], None]

    @property
    def key(self) -> tuple[int, ...]:
        """The same where layers share the parameters."""
        return tuple(map(id, self.parameters))


def rewrite_problems(model: Model) -> list[str]:
    """Why a model cannot be rewritten."""
    if not isinstance(model, HookedTransformer | TRM):
        return [f"rewritten are a HookedTransformer and a TRM; the weights of a {type(model).__name__} are not known here"]
    if getattr(model.cfg, "load_in_4bit", False):
        return ["weights of 4 bits cannot be rewritten exactly: load_in_4bit=True"]
    rewrites = _rewrites(model)
    times = Counter(key for rewrite in rewrites for key in rewrite.key)
    if any(n > 1 for n in times.values()):
        return ["layers share some parameters of a head or an MLP and not all, so that none can be rewritten by itself"]
    return [] if rewrites else ["the model has no heads and no MLP that can be rewritten"]


@torch.no_grad()
def rewritten(model: Model, *, seed: int) -> Model:
    """A copy of a model that computes the same by other weights.

    In each head values and outputs are mixed by a random invertible matrix, and so are queries and keys where positions
    are no rotations and nothing is normed or clipped between products and scores. Heads that share keys and values
    (grouped-query attention) share the matrix. The neurons of each MLP, in a token-mixing network also those that mix
    tokens, are permuted. MLPs of other kinds, such as mixtures of experts, and clipped values are left as they are.

    Args:
        model: a HookedTransformer or a TRM; left unmodified. Numbers of 16 bits have 32 in the copy, else rounding would be
            a change.
        seed: of matrices and orders.

    Returns:
        A copy in which layers share the parameters that they share in the model.

    Raises:
        ValueError: for another class; for weights of 4 bits; for layers that share some of what is rewritten together.
    """
    refuse(rewrite_problems(model) + seed_problems(seed))
    generator = torch.Generator().manual_seed(int(seed))
    new: Any = copy.deepcopy(as_measured(model))
    for rewrite in _rewrites(new):
        rewrite.change(generator)
    new.cfg.model_name = f"{model.cfg.model_name}, rewritten"
    return new


def _rewrites(model: Any) -> list[Rewrite]:
    """What can be changed, each once, however many layers share it."""
    if isinstance(model, TRM):
        found = [_neurons(mlp) for core in model.core for mlp in (core.mixer, core.mlp)]
    else:
        attentions = [layer.attention for layer in described(model).layers]
        found = [rewrite for each in attentions for rewrite in (_values(each), _scores(each))]
        found += [] if model.cfg.attn_only else [_neurons(block.mlp) for block in model.blocks]
    return list({rewrite.key: rewrite for rewrite in found if rewrite is not None}.values())


def _values(attention: Attention) -> Rewrite | None:
    """(x W_V + b_V) M, weighted and summed, times M⁻¹ W_O is what it was without M."""
    if attention.turn_v is not as_projected:
        return None
    given = attention.W_V, attention.b_V, attention.W_O

    def change(generator: Generator) -> None:
        matrices, inverses = _invertible(len(attention.W_V), attention.W_V.shape[-1], generator)
        _replace(attention.W_V, lambda values: values @ matrices)
        _replace(attention.b_V, lambda biases: _rows_times(biases, matrices))
        _replace(attention.W_O, lambda outputs: inverses.repeat_interleave(attention.n_sharing, 0) @ outputs)

    return Rewrite(given, change)


def _scores(attention: Attention) -> Rewrite | None:
    """(q M) · (k M⁻ᵀ) = q · k."""
    if attention.turn_q is not as_projected or attention.turn_k is not as_projected:
        return None
    given = attention.W_Q, attention.b_Q, attention.W_K, attention.b_K

    def change(generator: Generator) -> None:
        matrices, inverses = _invertible(len(attention.W_K), attention.W_K.shape[-1], generator)
        of_queries, of_keys = matrices.repeat_interleave(attention.n_sharing, 0), inverses.mT
        _replace(attention.W_Q, lambda queries: queries @ of_queries)
        _replace(attention.b_Q, lambda biases: _rows_times(biases, of_queries))
        _replace(attention.W_K, lambda keys: keys @ of_keys)
        _replace(attention.b_K, lambda biases: _rows_times(biases, of_keys))

    return Rewrite(given, change)


def _neurons(mlp: Any) -> Rewrite | None:
    """The output is a sum over neurons, in any order; None for an MLP that has other parameters, too."""
    named = dict(mlp.named_parameters())
    if "W_out" not in named or set(named) - {*NEURONS, *OTHERS}:
        return None
    given = {name: each for name, each in named.items() if name in NEURONS}

    def change(generator: Generator) -> None:
        order = torch.randperm(len(named["W_out"]), generator=generator, device="cpu")
        for name, each in given.items():
            each.copy_(each.index_select(NEURONS[name], order.to(each.device)))

    return Rewrite(tuple(given.values()), change)


def _replace(parameter: Tensor, change: Callable[[Tensor], Tensor]) -> None:
    """Change a parameter in place, computed in double on the processor."""
    parameter.copy_(change(parameter.detach().cpu().double()))


def _rows_times(rows: Float[Tensor, "head d_head"], matrices: Float[Tensor, "head d_head d_head"]) -> Tensor:
    return (rows[:, None] @ matrices)[:, 0]


def _invertible(
    n: int, size: int, generator: Generator
) -> tuple[Float[Tensor, "head size size"], Float[Tensor, "head size size"]]:
    """Random matrices, none close to singular, and their inverses."""
    draw = partial(torch.randn, n, size, size, generator=generator, dtype=torch.float64, device="cpu")
    left, right = torch.linalg.qr(draw()).Q, torch.linalg.qr(draw()).Q
    scales = torch.rand(n, 1, size, generator=generator, dtype=torch.float64, device="cpu")
    scales = SMALLEST + (LARGEST - SMALLEST) * scales
    return left * scales @ right.mT, right / scales @ left.mT
