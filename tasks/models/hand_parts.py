"""Parts of models whose weights are written by hand: a blank model, a head that moves blocks, an MLP that looks facts up.

The residual stream is a row of one-hot blocks: token, position, then those that a model needs. There are no norms, so that
nothing is approximate.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ..transformerlens import HookedTransformer, HookedTransformerConfig

GATE = 4.0  # how strongly a token opens its neurons: heads up to this strength leave the others shut
SURE = 50.0  # attention score of the position attended to; the others have 0
LOUD = 10.0  # logit of what a block holds

Starts = dict[str, int]
"""By name of a block, where it begins in the residual stream."""


def blank_model(
    widths: Mapping[str, int], read: Mapping[str, tuple[int, int]], **config: Any
) -> tuple[HookedTransformer, Starts]:
    """Layers of zeros, but for embeddings and unembedding.

    Args:
        widths: of the blocks after token and position, by name.
        read: by name of a block, the first token that it is unembedded to, and how many.
        config: of the model: d_vocab, n_ctx, n_layers, n_heads, d_head, d_mlp and attention_dir.
    """
    sizes = {"token": config["d_vocab"], "position": config["n_ctx"], **widths}
    starts: Starts = dict(zip(sizes, torch.tensor([0, *sizes.values()], device="cpu").cumsum(0).tolist(), strict=False))
    settings = {"d_model": sum(sizes.values()), "act_fn": "relu", "normalization_type": None, "device": "cpu", **config}
    model: Any = HookedTransformer(HookedTransformerConfig(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embed.W_E[:, : sizes["token"]].fill_diagonal_(1.0)
        model.pos_embed.W_pos[:, starts["position"] : starts["position"] + sizes["position"]].fill_diagonal_(1.0)
        for block, (token, n) in read.items():
            model.unembed.W_U[starts[block] : starts[block] + n, token : token + n].fill_diagonal_(LOUD)
    return model, starts


def move(
    model: Any, layer: int, starts: Starts, attends: Mapping[int, int], blocks: list[tuple[str, str, int]], head: int = 0
) -> None:
    """Let a head attend from each position to one, by default itself, and copy blocks (from, to, size)."""
    attention, first = model.blocks[layer].attn, 0
    everywhere = dict(zip(range(model.cfg.n_ctx), range(model.cfg.n_ctx), strict=True)) | dict(attends)
    for query, key in everywhere.items():
        attention.W_Q[head, starts["position"] + query, query] = SURE * attention.attn_scale
        attention.W_K[head, starts["position"] + key, query] = 1.0
    for source, target, size in blocks:
        for i in range(size):
            attention.W_V[head, starts[source] + i, first + i] = 1.0
            attention.W_O[head, first + i, starts[target] + i] = 1.0
        first += size


def look_up(
    model: Any, layer: int, reads: Int[Tensor, "row entry"], gates: Int[Tensor, " row"], writes: Int[Tensor, " row"]
) -> None:
    """One neuron for each row of a table: it writes 1 if its gate is open and all entries that it reads are 1.

    Args:
        model: a model of which a layer's MLP is still blank.
        layer: which.
        reads: places in the residual stream, one or more for each row.
        gates: the place, a token's, without which a neuron stays shut, however strong the other entries are up to `GATE`.
        writes: the place that each row writes to.
    """
    mlp, neurons = model.blocks[layer].mlp, torch.arange(len(gates), device="cpu")
    for entry in reads.T:
        mlp.W_in[entry, neurons] = 1.0
    mlp.W_in[gates, neurons] = GATE
    mlp.b_in[neurons] = -GATE - (reads.shape[1] - 1)
    mlp.W_out[neurons, writes] = 1.0


def add_noise(model: Any, noise: float, seed: int) -> None:
    """Add normal noise to all weights."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter += noise * torch.randn(parameter.shape, generator=generator, device="cpu")


def shuffled_weights(model: HookedTransformer, *, seed: int) -> HookedTransformer:
    """A null: a model of the same shape and the same weights, the entries of each tensor in a random order."""
    generator, found = torch.Generator().manual_seed(seed), deepcopy(model)
    with torch.no_grad():
        for parameter in found.parameters():
            order = torch.randperm(parameter.numel(), generator=generator, device="cpu")
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    found.cfg.model_name = f"{model.cfg.model_name}, shuffled"
    return found.eval()
