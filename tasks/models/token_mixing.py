"""Building token-mixing networks, and what training and files have to know of them."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..questions.room import too_large_problems
from ..questions.task import Task
from .trm_config import TRMConfig
from .trm_forward import answer_logits, cut_normal, training_loss

if TYPE_CHECKING:
    from .trm import TRM

__all__ = [
    "answer_logits",
    "build",
    "decayed",
    "flops_per_example",
    "load_parameters",
    "model_problems",
    "n_parameters",
    "trained_parameters",
    "training_loss",
]
BYTES_OF_LAYER = 50_000  # of the hook points of an application
NEVER_HALTS = -5.0  # the bias that halting begins with, as published


def build(config: TRMConfig, task: Task, generator: torch.Generator, device: str) -> "TRM":
    """A freshly initialised network for a task.

    Matrices start as truncated normals of variance 1 / fan-in, the prefix and the weights of halting at zero.
    """
    from .trm import TRM  # takes seconds, and runs are read without

    with torch.device("cpu"):
        model = TRM(config, task.n_tokens, task.n_positions)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ("prefix.W", "halt.W"):
                parameter.zero_()
            elif name == "halt.b":
                parameter.fill_(NEVER_HALTS)
            else:
                fan_in = config.d_model if name == "embed.W_E" else parameter.shape[0]
                parameter.copy_(cut_normal(parameter.shape, generator) / math.sqrt(fan_in))
    return model.to(device)


def model_problems(config: TRMConfig, task: Task) -> list[str]:
    """Why no network of that shape can be built for a task."""
    n = n_parameters(config, task)
    sizes = f"{n:,} parameters of d_model={config.d_model:,}, n_blocks={config.n_blocks:,} and d_mlp={config.d_mlp:,}"
    problems = too_large_problems(f"{sizes}, in {config.n_layers:,} applications,", 4 * n + BYTES_OF_LAYER * config.n_layers)
    if not task.one_length:
        problems.append(
            "a token-mixing network needs prompts of one length, as two-hop questions have them in slots: "
            "task.with_layout('slots')"
        )
    return problems


def n_parameters(config: TRMConfig, task: Task) -> int:
    """How many numbers are trained and saved, without building the network."""
    n_pos = config.n_prefix + task.n_positions
    block = 3 * (n_pos * config.d_mixer + config.d_model * config.d_mlp)
    ends = 2 * task.n_tokens * config.d_model + (config.d_model if config.n_prefix else 0)
    return config.n_blocks * block + ends + (2 * config.d_model + 2 if config.halting else 0)


def trained_parameters(model: "TRM", config: TRMConfig) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name."""
    return dict(model.named_parameters())


@torch.no_grad()
def load_parameters(model: "TRM", config: TRMConfig, parameters: Mapping[str, Tensor]) -> None:
    """Copy trained parameters into the network."""
    for name, parameter in model.named_parameters():
        parameter.copy_(parameters[name])


def decayed(names: Iterable[str]) -> Iterable[str]:
    """The parameters that weight decay acts on: all, as published."""
    return names


def flops_per_example(config: TRMConfig, task: Task) -> float:
    """Floating-point operations of training on one prompt: matrix products, backward twice forward.

    Where gradients reach only the last cycle, the others have no backward pass.
    """
    n_pos = config.n_prefix + task.n_positions
    layer = 2 * 3 * n_pos * (config.d_model * config.d_mlp + config.d_mixer * config.d_model)
    backward = config.n_layers / (config.h_cycles if config.last_cycle_only else 1)
    n_read = task.n_positions if config.copy_loss else 1
    return (config.n_layers + 2 * backward) * layer + 3 * 2 * n_read * config.d_model * task.n_tokens
