"""A discrete channel beside the state of a loop: after each loop but the last, what is decoded is embedded again.

After Fu et al. 2026, "DiscoLoop" (arXiv 2607.00341, abstract): the bridge can be decoded after the first loop, but the state
is badly aligned with the bridge's embedding; a loop that carries a discrete embedding channel and the continuous state
generalises in far fewer steps. That is theirs. How the channel is made is our choice, since the abstract does not say it:

- At every position the state is read as the model's own head reads it: final norm, unembedding, softmax at temperature 1.
  All parameters are shared with the head and the embedding; the channel has none of its own.
- It writes the embedding that is expected under these probabilities, without the position's. Once the head is sure of a
  token this is the token's embedding; where it is not, nothing is chosen. A hard choice with a straight-through gradient
  learned more slowly, and integrals of gradients do not add up over its jumps.
- What it writes is added to the state, neither joined to it nor put in its place, `SCALE` times: embeddings have norms near
  1, where states have several times that after the first loop and more after each.

In the module the channel is a layer of its own, whose heads write nothing and whose MLP is the channel. So it can be
patched, ablated and drawn as any MLP. That a state holds an embedding after it is so by construction, in any model.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from .config import ModelConfig

SCALE = 4.0


def embedded_again(
    logits: Float[Tensor, "*batch d_vocab"], embedding: Float[Tensor, "d_vocab d_model"]
) -> Float[Tensor, "*batch d_model"]:
    """What the channel writes where the head gives these logits: the expected embedding, `SCALE` times.

    >>> embedded_again(torch.tensor([[0.0, 999.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
    tensor([[ 0., 12.],
            [ 2.,  6.]])
    """
    precise = torch.promote_types(embedding.dtype, torch.float32)
    return SCALE * (logits.to(precise).softmax(-1).to(embedding.dtype) @ embedding)


class TokenChannel(nn.Module):
    """The channel in the place of a HookedTransformer's MLP: it reads the normed state."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.W_E, self.W_U, self.b_U = model.embed.W_E, model.unembed.W_U, model.unembed.b_U

    def forward(self, normed: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What it adds, if it reads this."""
        return embedded_again(linear(normed, self.W_U.T, self.b_U), self.W_E)


def put_channels(model: Any, config: ModelConfig) -> None:
    """Make the layers between loops channels: heads that write nothing, then the final norm and a `TokenChannel`."""
    for layer in config.channels:
        block = model.blocks[layer]
        block.mlp, block.ln2.w, block.ln2.b = TokenChannel(model), model.ln_final.w, model.ln_final.b
        for part in (block.ln1, block.attn):
            for parameter in part.parameters():
                parameter.requires_grad_(False).zero_()
    model.setup()  # hook points by name
