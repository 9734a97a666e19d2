"""Small transformers, ordinary or with parameters shared over loops, as plain HookedTransformers.

With n_loops > 1 the same blocks run again: the very same Parameter objects sit in every loop, but each loop has separate
hook points, so that activations of different loops are told apart (Dehghani et al. 2019; Wang et al. 2024, appendix E.2).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..questions.room import too_large_problems
from ..questions.task import Task
from . import fast_forward
from .config import LEARNED, ROTARY, ModelConfig
from .token_channel import put_channels

if TYPE_CHECKING:
    from ..transformerlens import HookedTransformer

__all__ = [
    "answer_logits",
    "build",
    "decayed",
    "flops_per_example",
    "load_parameters",
    "model_problems",
    "n_parameters",
    "tie_blocks",
    "tied_forward",
    "trained_parameters",
    "training_loss",
]
BYTES_OF_LAYER = 100_000  # of the modules and hook points of an unrolled layer, weights apart


def build(config: ModelConfig, task: Task, generator: torch.Generator, device: str) -> "HookedTransformer":
    """A freshly initialised model for a task.

    Matrices start normal with standard deviation 0.02, those that write into the residual stream start at zero.
    """
    from ..transformerlens import HookedTransformer, HookedTransformerConfig  # takes seconds, and runs are read without

    rotary: dict[str, Any] = {"rotary_dim": config.d_model // config.n_heads} if config.positions == ROTARY else {}
    sizes = HookedTransformerConfig(
        n_layers=config.n_layers,
        d_model=config.d_model,
        n_heads=config.n_heads,
        d_head=config.d_model // config.n_heads,
        d_mlp=config.mlp_ratio * config.d_model,
        d_vocab=task.n_tokens,
        n_ctx=task.n_positions,
        attention_dir="bidirectional" if config.bidirectional else "causal",
        positional_embedding_type="rotary" if config.positions == ROTARY else "standard",
        **rotary,
        act_fn="gelu",
        normalization_type="LN",
        init_weights=False,
        device=device,
    )
    with torch.device("cpu"):  # whatever torch's default is; the model then moves to its device
        model = HookedTransformer(sizes)
    with torch.no_grad():
        put_channels(model, config)
        tie_blocks(model, config.period)
        for name, parameter in _distinct(model, config).items():
            parameter.copy_(_initial(name, parameter.shape, generator))
        if config.tie_embeddings:
            model.unembed.W_U.copy_(model.embed.W_E.T)
    return model


def model_problems(config: ModelConfig, task: Task) -> list[str]:
    """Why no model of that shape can be built for a task."""
    n = n_parameters(config, task)
    sizes = (
        f"{n:,} parameters of d_model={config.d_model:,}, n_blocks={config.n_blocks:,} and mlp_ratio={config.mlp_ratio:,}"
    )
    problems = too_large_problems(
        f"{sizes}, applied n_loops={config.n_loops:,} times,", 4 * n + BYTES_OF_LAYER * config.n_layers
    )
    if config.bidirectional and not task.one_length:
        problems.append(
            "a bidirectional model would see what pads the shorter prompts of this task; it needs prompts of one length, "
            "as two-hop questions have them in slots: task.with_layout('slots')"
        )
    return problems


def n_parameters(config: ModelConfig, task: Task) -> int:
    """How many numbers are trained and saved, without building the model; see `trained_parameters`."""
    d_model, d_mlp = config.d_model, config.mlp_ratio * config.d_model
    block = 4 * d_model * (d_model + 1) + 2 * d_model * d_mlp + d_mlp + d_model + 2 * 2 * d_model
    embedded = (task.n_tokens + (task.n_positions if config.positions == LEARNED else 0)) * d_model
    unembedded = task.n_tokens * (1 if config.tie_embeddings else 1 + d_model)
    return embedded + config.n_blocks * block + 2 * d_model + unembedded


def tie_blocks(model: "HookedTransformer", n_blocks: int) -> None:
    """Let layer L use the Parameter objects of layer L mod n_blocks."""
    for layer in range(n_blocks, model.cfg.n_layers):
        for name, parameter in model.blocks[layer % n_blocks].named_parameters():
            path, _, leaf = name.rpartition(".")
            setattr(model.blocks[layer].get_submodule(path), leaf, parameter)


def trained_parameters(model: "HookedTransformer", config: ModelConfig) -> dict[str, nn.Parameter]:
    """The distinct parameters that training changes, by the first of their names."""
    parameters = _distinct(model, config)
    if config.tie_embeddings:
        del parameters["unembed.W_U"]
    return parameters


def _distinct(model: "HookedTransformer", config: ModelConfig) -> dict[str, nn.Parameter]:
    """The parameters outside channels, which have none of their own, each by the first of its names."""
    channels, found = tuple(f"blocks.{layer}." for layer in config.channels), dict[nn.Parameter, str]()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if not name.startswith(channels):
            found.setdefault(parameter, name)
    return {name: parameter for parameter, name in found.items()}


def tied_forward(
    model: "HookedTransformer",
    config: ModelConfig,
    tokens: Int[Tensor, "batch pos"],
    parameters: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, "batch pos d_vocab"]:
    """The model's logits with the unembedding tied if the config says so, optionally with other parameters.

    HookedTransformer has no such tie, so the module runs with W_E.T in place of W_U; gradients reach W_E through both.
    `load_parameters` then updates the module itself. Training takes the faster `fast_forward`, which tests compare with
    this one.
    """
    replaced = dict(parameters or {})
    if config.tie_embeddings:
        replaced["unembed.W_U"] = replaced.get("embed.W_E", model.embed.W_E).T
    return torch.func.functional_call(model, replaced, (tokens,))


@torch.no_grad()
def load_parameters(model: "HookedTransformer", config: ModelConfig, parameters: Mapping[str, Tensor]) -> None:
    """Copy trained parameters into the model, the tied unembedding included."""
    for name, parameter in trained_parameters(model, config).items():
        parameter.copy_(parameters[name])
    if config.tie_embeddings:
        model.unembed.W_U.copy_(model.embed.W_E.T)


def answer_logits(
    parameters: Mapping[str, Tensor],
    config: ModelConfig,
    tokens: Int[Tensor, "*run prompt pos"],
    positions: Int[Tensor, "*run prompt"],
    *,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "*run prompt d_vocab"]:
    """The logits of each prompt at its answer position, see `fast_forward.answer_logits`; of stacked runs, of each run."""
    if tokens.ndim == 2:
        return fast_forward.answer_logits(parameters, config, tokens, positions, dtype=dtype)
    how: dict[str, Any] = {"dtype": dtype, "share": False}

    def one(own: dict[str, Tensor], prompts: Tensor, places: Tensor) -> Tensor:
        return fast_forward.answer_logits(own, config, prompts, places, **how)

    return torch.vmap(one)(dict(parameters), tokens, positions)


def training_loss(
    parameters: Mapping[str, Tensor],
    config: ModelConfig,
    tokens: Int[Tensor, "*run prompt pos"],
    answers: Int[Tensor, "*run prompt"],
    positions: Int[Tensor, "*run prompt"],
    *,
    dtype: torch.dtype | None,
    label_smoothing: float,
) -> Float[Tensor, "*run"]:
    """Cross-entropy of the answers."""
    logits = answer_logits(parameters, config, tokens, positions, dtype=dtype).float()
    if tokens.ndim == 2:
        return cross_entropy(logits, answers, label_smoothing=label_smoothing)
    losses = cross_entropy(logits.flatten(0, 1), answers.flatten(), label_smoothing=label_smoothing, reduction="none")
    return losses.view_as(answers).mean(1)


def flops_per_example(config: ModelConfig, task: Task) -> float:
    """Floating-point operations of training on one prompt of full length: matrix products, backward twice forward.

    They are those of the whole prompt, so that regimes can be compared; shared prefixes need fewer. A channel costs
    two products as large as the head's: to decode the state, and to embed what it decodes.
    """
    per_layer = 2 * (4 + 2 * config.mlp_ratio) * config.d_model**2
    blocks, heads = config.n_blocks * config.n_loops * per_layer, 2 * config.d_model * task.n_tokens
    return 3.0 * task.n_positions * (blocks + (1 + 2 * len(config.channels)) * heads)


def decayed(names: Iterable[str]) -> Iterator[str]:
    """The parameters that weight decay acts on: matrices, neither biases nor norms."""
    return (name for name in names if name.rpartition(".")[2].startswith("W"))


def _initial(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    leaf = name.rpartition(".")[2]
    if leaf == "w":  # the gain of a norm
        return torch.ones(shape, device="cpu")
    if leaf.startswith("b") or leaf in ("W_O", "W_out"):
        return torch.zeros(shape, device="cpu")
    return 0.02 * torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
