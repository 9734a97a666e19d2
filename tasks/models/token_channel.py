"""A discrete channel beside the state of a loop: after each loop but the last, the most likely token is embedded again.

After Fu et al. 2026, "DiscoLoop" (arXiv 2607.00341, abstract): the bridge can be decoded after the first loop, but the state
is badly aligned with the bridge's embedding; a loop that carries a discrete embedding channel and the continuous state
generalises in far fewer steps. That is theirs. How the channel is made is our choice, since the abstract does not say it:

- At every position the state is read as the model's own head reads it, by the final norm and the unembedding, whose
  parameters are shared. The channel has none of its own.
- What it writes is the embedding of the most likely token, without the position's. It is added to the state, unscaled,
  neither joined to it nor put in its place.
- The token is chosen hard. A step function has no gradient, so the gradient is that of the embedding which is expected under
  the softmax of the logits (straight-through, Bengio et al. 2013); that of the embedding itself goes to the chosen row.

In the module the channel is a layer of its own, whose heads write nothing and whose MLP is the channel. So it can be
patched, ablated and drawn as any MLP. Changes of finite size in it are exact; attributions by gradient are straight-through.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from .config import ModelConfig


def embedded_choice(
    logits: Float[Tensor, "*batch d_vocab"], embedding: Float[Tensor, "d_vocab d_model"]
) -> Float[Tensor, "*batch d_model"]:
    """The embedding of the most likely token; its gradient in the logits is that of the expected embedding.

    Of equally likely tokens it is one.

    >>> embedded_choice(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0], [5.0, 5.0]]))
    tensor([[0., 3.]])
    """
    chosen = embedding[logits.argmax(-1)]
    if not (torch.is_grad_enabled() and logits.requires_grad):
        return chosen
    expected = logits.softmax(-1).to(embedding.dtype) @ embedding.detach()
    return chosen + (expected - expected.detach())  # adds exactly zero


class TokenChannel(nn.Module):
    """The channel in the place of a HookedTransformer's MLP: it reads the normed state and adds an embedding."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.W_E, self.W_U, self.b_U = model.embed.W_E, model.unembed.W_U, model.unembed.b_U

    def forward(self, normed: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What it adds, if it reads this."""
        return embedded_choice(linear(normed, self.W_U.T, self.b_U), self.W_E)


def put_channels(model: Any, config: ModelConfig) -> None:
    """Make the layers between loops channels: heads that write nothing, then the final norm and a `TokenChannel`."""
    for layer in config.channels:
        block = model.blocks[layer]
        block.mlp, block.ln2.w, block.ln2.b = TokenChannel(model), model.ln_final.w, model.ln_final.b
        for part in (block.ln1, block.attn):
            for parameter in part.parameters():
                parameter.requires_grad_(False).zero_()
    model.setup()  # hook points by name
