"""Models in which every effect is linear and the circuit is planted: attention only, each head looking everywhere alike.

Every component writes into a block of the residual stream of its own; a head's values, or the unembedding, read from the
blocks of the components that are planted as their senders, and from no other.
"""

import numpy as np
import torch

from grokscope.circuits import ComputationGraph, Edge, connected
from grokscope.tasks import PromptPairs
from grokscope.tasks.transformerlens import HookedTransformer, HookedTransformerConfig

ROLES = ("h", "r1", "r2")
N_LAYERS, N_HEADS, BLOCK, D_VOCAB = 3, 3, 4, 20


def planted_linear(seed: int, *, density: float = 0.35) -> tuple[HookedTransformer, set[Edge]]:
    """A model and the edges, at all positions, that can carry anything to the answer."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    senders = ["embed", *(f"L{layer}H{head}" for layer in range(N_LAYERS) for head in range(N_HEADS))]
    place = {name: slice(number * BLOCK, (number + 1) * BLOCK) for number, name in enumerate(senders)}
    config = HookedTransformerConfig(
        n_layers=N_LAYERS, d_model=BLOCK * len(senders), n_ctx=3, n_heads=N_HEADS, d_head=BLOCK, d_vocab=D_VOCAB,
        attn_only=True, normalization_type=None, device="cpu", dtype=torch.float64,
    )  # fmt: skip
    model = HookedTransformer(config)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def reads(names: list[str], width: int) -> torch.Tensor:
        weights = torch.zeros(config.d_model, width, dtype=torch.float64)
        for name in names:
            weights[place[name]] += normal(BLOCK, width)
        return weights

    planted = set()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embed.W_E[:, place["embed"]] = normal(D_VOCAB, BLOCK)
        for layer, block in enumerate(model.blocks):
            for head in range(N_HEADS):
                below = senders[: 1 + layer * N_HEADS]
                chosen = [name for name in below if rng.random() < density] or ["embed"]
                planted |= {(name, f"L{layer}H{head}.v") for name in chosen}
                block.attn.W_V[head] = reads(chosen, BLOCK)
                block.attn.W_O[head, :, place[f"L{layer}H{head}"]] = normal(BLOCK, BLOCK)
        last = [name for name in senders if rng.random() < density] or [senders[-1]]
        planted |= {(name, "logits") for name in last}
        model.unembed.W_U[:] = reads(last, D_VOCAB)
    graph = ComputationGraph.transformer(ROLES, "r2", N_LAYERS, N_HEADS, N_LAYERS, has_mlp=False)
    edges = [edge for edge in graph.edges if (edge.sender.component, edge.receiver.component) in planted]
    return model.eval(), connected(graph, edges)


def linear_pairs(model: HookedTransformer, seed: int, n: int = 64) -> PromptPairs:
    """Prompts that differ at every position; answer and foil are what the change favours most and least."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(D_VOCAB, (n, 3), generator=generator)
    corrupt = (clean + torch.randint(1, D_VOCAB, (n, 3), generator=generator)) % D_VOCAB
    with torch.no_grad():
        change = (model(clean) - model(corrupt))[:, -1]
    return PromptPairs(clean, corrupt, change.argmax(-1), change.argmin(-1), roles=ROLES)
