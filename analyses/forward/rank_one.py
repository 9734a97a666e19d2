"""A rank-one change of what an MLP writes out with, so that one prompt gets another answer.

After Meng et al. 2022 (arXiv 2202.05262, section 3.1): W_out is a linear memory of pairs of a key, the MLP's hidden state,
and a value, what it writes. With u = C⁻¹k / (k · C⁻¹k), W_out + u dᵀ adds d to what is written at the key k, and k′ · u
times d at another key k′; with C the second moment of the other keys, that is least on average. The key is that of the
prompt where its answer is read. Unlike there, d starts as what turns the write into the mean write of other prompts
with the wanted answer, so that the value is written as the model itself writes it, and gradient steps follow only as long as
the answer is not given with enough probability. They are taken through the changed weights themselves, wherever these are
used: at every position and, of blocks that are shared, in every loop.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...tasks.transformerlens import HookedTransformer, Model
from .differentiable import gradients_on

RIDGE = 1e-4  # of the mean second moment of a key's entry, added to each
STEP = 0.05  # of a gradient step, times the root mean square of an entry of what is usually written
MOST_STEPS = 200


def check_editable(model: Model) -> None:
    """Raise unless its layers have MLPs that write with one matrix.

    Raises:
        TypeError: naming its class.
    """
    if not isinstance(model, HookedTransformer) or model.cfg.attn_only:
        what = "a model without MLPs" if isinstance(model, HookedTransformer) else f"a {type(model).__name__}"
        raise TypeError(f"rank-one edits are of an MLP's output weights in a HookedTransformer, got {what}")


def _layers(net: Any) -> list[int]:
    """The layers whose MLPs write with one matrix; a token channel does not."""
    return [layer for layer in range(net.cfg.n_layers) if hasattr(net.blocks[layer].mlp, "W_out")]


def rank_one_direction(moment: Float[Tensor, "d_mlp d_mlp"], key: Float[Tensor, " d_mlp"]) -> Float[Tensor, " d_mlp"]:
    """The u with u · key = 1 whose product with the keys of a second moment is least on average.

    Raises:
        ValueError: if the key is 0: nothing that is written depends on the weights there.
    """
    if not bool(key.any()):
        raise ValueError("no hidden unit of the MLP is active at this prompt's answer: its output weights cannot be edited")
    ridge = RIDGE * max(float(moment.diagonal().mean()), torch.finfo(moment.dtype).tiny)
    solved = torch.linalg.solve(moment + ridge * torch.eye(len(key), dtype=moment.dtype, device=key.device), key)
    return solved / (key @ solved)


@dataclass(frozen=True, eq=False)
class WrittenFacts:
    """What the MLP of a layer reads and writes at prompts of one kind.

    Attributes:
        model: left as it is.
        tokens, answers: the prompts; answers are those that are right so far.
        answer_position: where answers are read.
        layer: whose MLP is changed.
        sharing: the layers that use the same output weights, this one among them.
        keys: by sharing layer, the hidden states at all positions.
        writes: what this layer's MLP writes at the answer position.
    """

    model: Any
    tokens: Int[Tensor, "prompt pos"]
    answers: Int[Tensor, " prompt"]
    answer_position: int
    layer: int
    sharing: tuple[int, ...]
    keys: Mapping[int, Float[Tensor, "prompt pos d_mlp"]]
    writes: Float[Tensor, "prompt d_model"]

    @classmethod
    @torch.no_grad()
    def of(
        cls, model: Model, tokens: Int[Tensor, "prompt pos"], answers: Int[Tensor, " prompt"], answer_position: int
    ) -> "WrittenFacts":
        """Of the layer whose MLP the answers rest on most, the first of equals.

        With its write at the answer position replaced by the mean over the prompts, their cross-entropy is highest.

        Raises:
            TypeError: see `check_editable`.
        """
        check_editable(model)
        net: Any = model
        device = net.cfg.device
        tokens, answers, at = tokens.to(device), answers.to(device), answer_position % tokens.shape[1]
        layers = _layers(net)
        names = [_hidden(layer) for layer in layers] + [_written(layer) for layer in layers]
        _, cache = net.run_with_cache(tokens, names_filter=names)
        writes = {layer: cache[_written(layer)][:, at] for layer in layers}
        losses = [_loss_without(net, tokens, answers, at, layer, writes[layer].mean(0)) for layer in layers]
        layer = layers[int(torch.tensor(losses, device="cpu").argmax())]
        weights = {each: net.blocks[each].mlp.W_out for each in layers}
        sharing = tuple(other for other in layers if weights[other] is weights[layer])
        keys = {each: cache[_hidden(each)] for each in sharing}
        return cls(net, tokens, answers, at, layer, sharing, keys, writes[layer])

    @property
    def moment(self) -> Float[Tensor, "d_mlp d_mlp"]:
        """The sum over all keys of their products with themselves, on the CPU in double precision."""
        flat = torch.cat([each.flatten(0, 1) for each in self.keys.values()]).cpu().double()
        return flat.T @ flat

    def moment_of(self, row: int) -> Float[Tensor, "d_mlp d_mlp"]:
        """The same of one prompt."""
        flat = torch.cat([each[row] for each in self.keys.values()]).cpu().double()
        return flat.T @ flat


def rank_one_edit(
    written: WrittenFacts, moment: Float[Tensor, "d_mlp d_mlp"], row: int, value: int, *, sure: float
) -> tuple[Model, int]:
    """A copy of the model in which one prompt is answered with another value, and the gradient steps that this took.

    Args:
        written: the model at all prompts.
        moment: `written.moment`.
        row: of the prompt.
        value: the token that it shall answer.
        sure: the least probability of the value at which no more steps are taken; there are `MOST_STEPS` at most.
    """
    key = written.keys[written.layer][row, written.answer_position]
    direction = rank_one_direction(moment - written.moment_of(row), key.cpu().double()).to(key)
    change, n_steps = _change_of_write(written, direction, row, value, sure)
    made = copy.deepcopy(written.model)
    with torch.no_grad():
        made.blocks[written.layer].mlp.W_out += torch.outer(direction, change)
    return made, n_steps


def _change_of_write(
    written: WrittenFacts, direction: Float[Tensor, " d_mlp"], row: int, value: int, sure: float
) -> tuple[Float[Tensor, " d_model"], int]:
    """What the edit adds to the write at the key."""
    others = (written.answers == value).nonzero()[:, 0]
    start = written.writes[others].mean(0) - written.writes[row] if len(others) else torch.zeros_like(written.writes[row])
    size = STEP * float(written.writes.square().mean().sqrt())
    prompt, wanted = written.tokens[row : row + 1], torch.tensor([value], device=written.tokens.device)
    with gradients_on():
        change = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([change], lr=size)
        for step in range(MOST_STEPS + 1):
            with _changed(written, direction, change):
                logits = written.model(prompt)[:, written.answer_position]
            if step == MOST_STEPS or float(logits.detach().softmax(-1)[0, value]) >= sure:
                return change.detach(), step
            (change.grad,) = torch.autograd.grad(cross_entropy(logits, wanted), [change])
            optimizer.step()
    raise AssertionError("the last step returns")


@contextmanager
def _changed(written: WrittenFacts, direction: Float[Tensor, " d_mlp"], change: Float[Tensor, " d_model"]) -> Iterator[None]:
    """The model as the changed weights make it, in all layers that share them."""
    along: dict[int, Tensor] = {}

    def note(layer: int, hidden: Tensor, hook: Any) -> None:
        along[layer] = hidden @ direction

    def add(layer: int, output: Tensor, hook: Any) -> Tensor:
        return output + along[layer][..., None] * change

    hooks = [(_hidden(layer), partial(note, layer)) for layer in written.sharing]
    hooks += [(_written(layer), partial(add, layer)) for layer in written.sharing]
    with written.model.hooks(fwd_hooks=hooks):
        yield


def _loss_without(
    model: Any, tokens: Tensor, answers: Tensor, at: int, layer: int, mean: Float[Tensor, " d_model"]
) -> float:
    """The cross-entropy of the answers with a layer's write at the answer position replaced."""

    def replaced(output: Tensor, hook: Any) -> Tensor:
        output[:, at] = mean
        return output

    logits = model.run_with_hooks(tokens, fwd_hooks=[(_written(layer), replaced)])[:, at]
    return float(cross_entropy(logits.float(), answers))


def _hidden(layer: int) -> str:
    return f"blocks.{layer}.mlp.hook_post"


def _written(layer: int) -> str:
    return f"blocks.{layer}.hook_mlp_out"
