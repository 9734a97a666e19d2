"""A decoder as plain weights and functions: norms, attention, MLPs and the head, whatever class the model is of.

It is read off a model once for each run (`hooked`); tensors are the model's own parameters or views of them. Partial runs
need nothing else of a model, and every run compares what is described here with the model's logits, so that a description
cannot be wrong in silence.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import layer_norm

from ...tasks.transformerlens import Model

Map = Callable[[Tensor], Tensor]
Mask = Bool[Tensor, "query all_pos"]
"""Which positions of each prompt are no hidden pads; None stands for all."""
Turn = Callable[[Tensor, int, Mask | None], Tensor]
"""From projections [..., query, pos, head, d_head], from some first position on, to queries, keys or values."""
Bias = Callable[[slice, slice], Float[Tensor, "head query_pos pos"]]
"""What is added to the scores of some queries with some keys."""


@dataclass(frozen=True, eq=False)
class Norm:
    """A norm of the residual stream.

    Attributes:
        module: computes it.
        eps: added to the variance.
        centred: whether the mean is taken off, as in LayerNorm, or not, as in RMSNorm.
        gain: what it is multiplied by; None: 1.
        bias: what is added in the end; None: nothing.
        by_module: whether torch's kernel for LayerNorm would compute it in another precision.
    """

    module: Map
    eps: float
    centred: bool
    gain: Float[Tensor, " d_model"] | None = None
    bias: Float[Tensor, " d_model"] | None = None
    by_module: bool = False

    def __call__(self, states: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What the norm makes of states; LayerNorm by torch's kernel, faster but in half precision not the same."""
        if self.centred and not self.by_module and states.dtype.itemsize >= 4:
            return layer_norm(states, states.shape[-1:], self.gain, self.bias, self.eps)
        return self.module(states)

    def shares(
        self, parts: Float[Tensor, "*batch part d_model"], whole: Float[Tensor, "*batch d_model"]
    ) -> Float[Tensor, "*batch part d_model"]:
        """What each part of a state has of the normed whole; only the bias belongs to none.

        Given the scale of the whole a norm is linear, so that the shares of parts that add up to the whole add up, too.
        """
        if self.centred:
            parts = parts - parts.mean(-1, keepdim=True)
        shares = parts / self._scale(whole)[..., None, :]
        return shares if self.gain is None else shares * self.gain

    def direction(
        self, direction: Float[Tensor, "*batch d_model"], whole: Float[Tensor, "*batch d_model"]
    ) -> Float[Tensor, "*batch d_model"]:
        """The direction whose product with a part of a state is that of `direction` with the part's share."""
        direction = direction if self.gain is None else direction * self.gain
        if self.centred:
            direction = direction - direction.mean(-1, keepdim=True)
        return direction / self._scale(whole)

    def _scale(self, whole: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch 1"]:
        if self.centred:
            whole = whole - whole.mean(-1, keepdim=True)
        return (whole.square().mean(-1, keepdim=True) + self.eps).sqrt()


def as_projected(values: Tensor, first: int, mask: Mask | None) -> Tensor:
    """The `Turn` that changes nothing."""
    return values


@dataclass(frozen=True, eq=False)
class Attention:
    """One layer's attention.

    Attributes:
        W_Q, b_Q: of the queries of each head.
        W_K, b_K, W_V, b_V: of keys and values; fewer than heads, if neighbouring heads share them.
        W_O, b_O: of what heads write.
        scale: which scores are divided by.
        causal: whether positions see earlier ones only.
        window: how many positions are seen, the own one included; None: all.
        turn_q, turn_k, turn_v: norms, clipping and rotation between projections and scores.
        heads_apart: whether these treat each head by itself; a norm over all heads' queries does not.
        soft_cap: of scores; None: there is none.
        bias: see `Bias`.
        sinks: the score of each head for looking nowhere.
        softmax_in: the dtype of the softmax; None: that of the model.
    """

    W_Q: Float[Tensor, "head d_model d_head"]
    W_K: Float[Tensor, "kv_head d_model d_head"]
    W_V: Float[Tensor, "kv_head d_model d_head_v"]
    W_O: Float[Tensor, "head d_head_v d_model"]
    b_Q: Float[Tensor, "head d_head"]
    b_K: Float[Tensor, "kv_head d_head"]
    b_V: Float[Tensor, "kv_head d_head_v"]
    b_O: Float[Tensor, " d_model"]
    scale: float
    causal: bool
    window: int | None = None
    turn_q: Turn = as_projected
    turn_k: Turn = as_projected
    turn_v: Turn = as_projected
    heads_apart: bool = True
    soft_cap: float | None = None
    bias: Bias | None = None
    sinks: Float[Tensor, " head"] | None = None
    softmax_in: torch.dtype | None = None

    @property
    def n_sharing(self) -> int:
        """How many neighbouring heads share keys and values."""
        return len(self.W_Q) // len(self.W_K)


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer.

    Attributes:
        norm: of what attention reads; None: there is none.
        attention: its weights.
        norm_after: of what attention writes, before it joins the residual stream; None: there is none.
        mlp: from what the MLP reads in the residual stream to what it adds there, norms included; None: there is no MLP.
        parallel: whether the MLP reads what attention reads.
    """

    norm: Map | None
    attention: Attention
    norm_after: Norm | None
    mlp: Map | None
    parallel: bool = False


@dataclass(frozen=True, eq=False)
class Decoder:
    """A model; layers may share weights.

    Attributes:
        source: the model itself, which is run for its logits.
        embed_tokens: tokens to what they add to the residual stream, without position.
        embedded: tokens and their mask to what enters the first layer.
        layers: in order.
        norm: of the last states; None: there is none.
        unembed: from normed last states to logits.
        W_U: what logits are products with; soft caps and biases left out.
    """

    source: Model
    embed_tokens: Map
    embedded: Callable[[Int[Tensor, "query pos"], Mask | None], Float[Tensor, "query pos d_model"]]
    layers: Sequence[Layer]
    norm: Norm | None
    unembed: Map
    W_U: Float[Tensor, "d_model d_vocab_out"]

    @property
    def causal(self) -> bool:
        """Whether positions see earlier ones only, in every layer."""
        return all(layer.attention.causal for layer in self.layers)

    @property
    def parallel(self) -> bool:
        """Whether MLPs read what attention reads; layers are alike in this."""
        return self.layers[0].parallel

    def decode(self, states: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab_out"]:
        """The logits that the model would give if these were its last residual states."""
        return self.unembed(states if self.norm is None else self.norm.module(states))


def device_of(model: Model) -> torch.device:
    """Where its parameters are; the processor, if it has none."""
    return next((each.device for each in model.parameters()), torch.device("cpu"))


def dtype_of(model: Model) -> torch.dtype:
    """What it computes in: the type of its first parameter of floating point."""
    return next(each.dtype for each in model.parameters() if each.is_floating_point())
