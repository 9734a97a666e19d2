"""A token-mixing network as a module with hook points: what analyses run.

Hook points hold [batch, pos, d_model], or scales [batch, 1, d_model] and [batch, pos, 1]. An application of a block has
`hook_in`, `hook_mixer_out`, `mixer_norm.hook_scale`, `hook_mid`, `hook_mlp_out`, `mlp_norm.hook_scale` and `hook_out`; their
weights are in `core`, once for all applications.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import silu
from transformer_lens.hook_points import HookPoint

from ..transformerlens import HookedRootModule
from .trm_block import EPS
from .trm_config import TRMConfig
from .trm_forward import initial_states

States = Float[Tensor, "batch all_pos d_model"]


@dataclass
class TRMSizes:
    """What is known of a network as `cfg`, by TransformerLens' names.

    Attributes:
        shape: its config.
        d_vocab: tokens.
        n_ctx: length of its prompts.
        model_name: for labels.
    """

    shape: TRMConfig
    d_vocab: int
    n_ctx: int
    model_name: str = "token mixing"

    @property
    def n_layers(self) -> int:
        """Applications of a block."""
        return self.shape.n_layers

    @property
    def d_model(self) -> int:
        """Width of the states."""
        return self.shape.d_model

    @property
    def d_vocab_out(self) -> int:
        """Tokens that can be answered."""
        return self.d_vocab


class GatedMLP(nn.Module):
    """silu(x W_gate) * (x W_in), times W_out."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.W_gate, self.W_in = (nn.Parameter(torch.empty(size, hidden, device="cpu")) for _ in range(2))
        self.W_out = nn.Parameter(torch.empty(hidden, size, device="cpu"))

    def forward(self, x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """The output."""
        return (silu(x @ self.W_gate) * (x @ self.W_in)) @ self.W_out


class Core(nn.Module):
    """The weights of a block."""

    def __init__(self, shape: TRMConfig, n_pos: int) -> None:
        super().__init__()
        self.mixer = GatedMLP(n_pos, shape.d_mixer)
        self.mlp = GatedMLP(shape.d_model, shape.d_mlp)


class Scaling(nn.Module):
    """A norm without weights: divides by the root mean square along a dimension."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim, self.hook_scale = dim, HookPoint()

    def forward(self, states: States) -> States:
        """States of root mean square 1."""
        return states / self.hook_scale((states.square().mean(self.dim, keepdim=True) + EPS).sqrt())


class Application(nn.Module):
    """The hook points of one application of a block."""

    def __init__(self, shape: TRMConfig) -> None:
        super().__init__()
        self.hook_in, self.hook_mixer_out, self.hook_mid = HookPoint(), HookPoint(), HookPoint()
        self.hook_mlp_out, self.hook_out = HookPoint(), HookPoint()
        self.mixer_norm, self.mlp_norm = Scaling(1 if shape.mixer_norm == "positions" else -1), Scaling(-1)

    def forward(self, states: States, core: Core) -> States:
        """The states after it."""
        states = self.hook_in(states)
        mixed = self.hook_mixer_out(core.mixer(states.mT).mT)
        middle = self.hook_mid(self.mixer_norm(states + mixed))
        return self.hook_out(self.mlp_norm(middle + self.hook_mlp_out(core.mlp(middle))))


class TRM(HookedRootModule):
    """A tiny recursive model with token mixing, see `TRMConfig`."""

    embed: Any
    unembed: Any
    prefix: Any
    halt: Any
    z_h: Tensor
    z_l: Tensor

    def __init__(self, shape: TRMConfig, d_vocab: int, n_ctx: int) -> None:
        super().__init__()
        self.cfg = TRMSizes(shape, d_vocab, n_ctx)
        self.embed, self.unembed, self.hook_embed = nn.Module(), nn.Module(), HookPoint()
        self.embed.W_E = nn.Parameter(torch.empty(d_vocab, shape.d_model, device="cpu"))
        self.unembed.W_U = nn.Parameter(torch.empty(shape.d_model, d_vocab, device="cpu"))
        if shape.n_prefix:
            self.prefix = nn.Module()
            self.prefix.W = nn.Parameter(torch.empty(shape.d_model, device="cpu"))
        if shape.halting:
            self.halt = nn.Module()
            self.halt.W, self.halt.b = (
                nn.Parameter(torch.empty(shape.d_model, 2, device="cpu")),
                nn.Parameter(torch.empty(2, device="cpu")),
            )
        n_pos = shape.n_prefix + n_ctx
        self.core = nn.ModuleList([Core(shape, n_pos) for _ in range(shape.n_blocks)])
        self.blocks = nn.ModuleList([Application(shape) for _ in range(shape.n_layers)])
        z_h, z_l = initial_states(shape.d_model, torch.device("cpu"))
        self.register_buffer("z_h", z_h.clone(), persistent=False)
        self.register_buffer("z_l", z_l.clone(), persistent=False)
        self.setup()

    def embedded(self, tokens: Int[Tensor, "batch pos"]) -> States:
        """What is put into every refinement of z_L, the prefix included."""
        shape, W_E = self.cfg.shape, self.embed.W_E
        prompts = W_E[tokens]
        if shape.n_prefix:
            prefix = prompts.new_zeros(len(tokens), shape.n_prefix, shape.d_model)
            prefix[:, 0] = self.prefix.W
            prompts = torch.cat([prefix, prompts], 1)
        return self.hook_embed(shape.embedding_scale * shape.d_model**0.5 * prompts)

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_vocab"]:
        """The logits of every position of the prompts.

        Raises:
            ValueError: if prompts are of another length than the network's.
        """
        shape = self.cfg.shape
        if tokens.shape[-1] != self.cfg.n_ctx:
            raise ValueError(f"prompts have {tokens.shape[-1]} positions, this network mixes {self.cfg.n_ctx}")
        x = self.embedded(tokens)
        z_h, z_l = self.z_h.expand_as(x), self.z_l.expand_as(x)
        layer = 0
        for _ in range(shape.h_cycles):
            for _ in range(shape.l_cycles):
                z_l, layer = self._refined(z_l + z_h + x, layer)
            z_h, layer = self._refined(z_h + z_l, layer)
        return z_h[:, shape.n_prefix :] @ self.unembed.W_U

    def _refined(self, states: States, layer: int) -> tuple[States, int]:
        """What F makes of states from a layer on, and the next layer."""
        for core in self.core:
            states, layer = self.blocks[layer](states, core), layer + 1
        return states, layer
