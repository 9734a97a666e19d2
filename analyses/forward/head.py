"""A model's head: all that lies between the last residual state and the logits.

It is the final norm if the model has one (of the kind it has, which need not be that of its blocks), the unembedding with
its bias, and the soft cap of the logits if there is one; nothing else. Whether blocks put their norms before or after what
they compute, run attention and MLP in parallel or share parameters is no matter of the head. `check_last_state` compares
with the model's logits, so that a model with anything else after its last state is refused.

The output vocabulary may differ from that of the prompts (`d_vocab_out`). Then nothing says which number is which token of
the other one: answers and intermediates are numbers of the output vocabulary, the tokens of prompts of the input's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...tasks.models.trm import TRM
from ...tasks.questions.padding import aligned
from ...tasks.transformerlens import Model
from .agreement import check_passes
from .at_rest import at_rest
from .decoder import Decoder, Map, device_of
from .model import described

ROUNDINGS = 64  # by how many roundings of the largest logit the head may differ from the model's forward pass
MOST = 0.05  # and never by more than this share of it, in types that round coarsely


def decode(model: Model, states: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab_out"]:
    """The logits that the model would give if these were its last residual states."""
    return ends_of(model).decode(states)


@dataclass(frozen=True, eq=False)
class Ends:
    """What is before the first state and after the last one.

    Attributes:
        embedded: tokens and their mask to what enters the first layer.
        embed_tokens: tokens to what they add to it, without position.
        decode: last states to logits.
        W_U: what logits are products with; biases and soft caps left out.
    """

    embedded: Callable[[Int[Tensor, "query pos"], Bool[Tensor, "query pos"] | None], Float[Tensor, "query pos d_model"]]
    embed_tokens: Map
    decode: Map
    W_U: Float[Tensor, "d_model d_vocab_out"]


def ends_of(model: Model) -> Ends:
    """The two ends of a model."""
    if isinstance(model, TRM):
        W_U: Any = model.unembed.W_U
        return Ends(lambda tokens, _: model.embedded(tokens), model.embedded, lambda states: states @ W_U, W_U)
    decoder = described(model)
    return Ends(decoder.embedded, decoder.embed_tokens, decoder.decode, decoder.W_U)


def check_last_state(
    model: Model,
    tokens: Int[Tensor, "query pos"],
    answer_position: int,
    states: Float[Tensor, "query pos d_model"],
) -> None:
    """Compare what the head makes of the last residual states with the model's logits, at every position of every prompt.

    Prompts with trailing pads are asked as `residual_states` asks them.

    Raises:
        ValueError: if they differ by more than rounding, are not finite, or change from one pass to the next.
    """
    model = at_rest(model)
    prompts = aligned(model, tokens.to(states.device), answer_position)
    told = {} if isinstance(model, TRM) else {"attention_mask": prompts.mask}
    expected, found = model(prompts.tokens, **told), decode(model, states)
    if (broken := ~expected.isfinite().flatten(1).all(1)).any():
        n, first = int(broken.sum()), int(broken.nonzero()[0, 0])
        raise ValueError(f"the model's logits are not finite on {n} of {len(tokens)} prompts, the first is {first}")
    error, size = (found - expected).abs().flatten(1).amax(1), float(expected.abs().max())
    share = min(ROUNDINGS * torch.finfo(expected.dtype).eps, MOST)
    if not (agree := error <= share * size).all():
        again = model(prompts.tokens, **told)
        check_passes(expected.flatten(1), again.flatten(1), tokens, model.cfg.n_layers)
        n, first = int((~agree).sum()), int((~agree).nonzero()[0, 0])
        raise ValueError(
            f"final norm, unembedding and soft cap of the last residual state differ by {float(error.max()):.2g} (of "
            f"{size:.2g}) from the model's logits, on {n} of {len(tokens)} prompts, the first is {first}: the model "
            "computes something else after its last state, which no lens knows"
        )


def same_vocabulary(model: Model) -> bool:
    """Whether a number means the same token in a prompt and in the logits, so that the prompt's tokens can be read."""
    return model.cfg.d_vocab_out == model.cfg.d_vocab


def token_embeddings(model: Model) -> Float[Tensor, "d_vocab d_model"]:
    """What the model adds to the residual stream for each token, without position: normed, where it norms embeddings."""
    with torch.no_grad():
        return ends_of(model).embed_tokens(torch.arange(model.cfg.d_vocab, device=device_of(model))[None])[0]


def unembedding_directions(model: Model) -> Float[Tensor, "d_vocab_out d_model"]:
    """What each token's logit is the dot product with, after the final norm; biases and soft cap left out."""
    return ends_of(model).W_U.T


def final_direction(
    decoder: Decoder,
    residual: Float[Tensor, "query d_model"],
    answers: Int[Tensor, " query"],
    foils: Int[Tensor, " query"],
) -> Float[Tensor, "query d_model"]:
    """The direction whose dot product with a part of the residual stream is its share of logit(answer) − logit(foil).

    Of the logits before the soft cap, if there is one: only these are sums of shares. The final norm's scale is fixed at
    that of the whole `residual`; its bias and the unembedding's belong to no part.
    """
    unembedding = decoder.W_U.T
    direction = unembedding[answers.to(residual.device)] - unembedding[foils.to(residual.device)]
    return direction if decoder.norm is None else decoder.norm.direction(direction, residual)
