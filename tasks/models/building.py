"""Models for tasks, of any architecture of this project, and what training and files have to know of each."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...circuits.arguments import refuse, seed_problems
from ..questions.devices import device_problems
from ..questions.task import Task
from . import token_mixing, transformer
from .config import ModelConfig
from .trm_config import TRMConfig

AnyConfig = ModelConfig | TRMConfig
"""The shape of a model."""


@runtime_checkable
class Architecture(Protocol):
    """What differs between architectures; `transformer` and `token_mixing` are such modules."""

    def build(self, config: Any, task: Task, generator: torch.Generator, device: str) -> Any:
        """A freshly initialised model for a task."""
        ...

    def model_problems(self, config: Any, task: Task) -> list[str]:
        """Why no model of that shape can be built for a task."""
        ...

    def n_parameters(self, config: Any, task: Task) -> int:
        """How many numbers are trained and saved, without building the model."""
        ...

    def trained_parameters(self, model: Any, config: Any) -> dict[str, nn.Parameter]:
        """The distinct parameters that training changes, by name."""
        ...

    def load_parameters(self, model: Any, config: Any, parameters: Mapping[str, Tensor]) -> None:
        """Copy trained parameters into the model."""
        ...

    def decayed(self, names: Iterable[str]) -> Iterable[str]:
        """The parameters that weight decay acts on."""
        ...

    def answer_logits(
        self,
        parameters: Mapping[str, Tensor],
        config: Any,
        tokens: Int[Tensor, "*run prompt pos"],
        positions: Int[Tensor, "*run prompt"],
        *,
        dtype: torch.dtype | None = None,
    ) -> Float[Tensor, "*run prompt d_vocab"]:
        """The logits of each prompt at its answer position; parameters and prompts of several runs may be stacked."""
        ...

    def training_loss(
        self,
        parameters: Mapping[str, Tensor],
        config: Any,
        tokens: Int[Tensor, "*run prompt pos"],
        answers: Int[Tensor, "*run prompt"],
        positions: Int[Tensor, "*run prompt"],
        *,
        dtype: torch.dtype | None,
        label_smoothing: float,
    ) -> Float[Tensor, "*run"]:
        """What a step of training lowers."""
        ...

    def flops_per_example(self, config: Any, task: Task) -> float:
        """Floating-point operations of training on one prompt."""
        ...


ARCHITECTURES: Mapping[type, Architecture] = MappingProxyType(
    {ModelConfig: cast(Architecture, transformer), TRMConfig: cast(Architecture, token_mixing)}
)
"""By the class of a model's config."""


def architecture_of(config: AnyConfig) -> Architecture:
    """The architecture of a config."""
    return ARCHITECTURES[type(config)]


def build_model(config: AnyConfig, task: Task, *, seed: int = 0, device: str = "cpu") -> Any:
    """A freshly initialised model for a task: a HookedTransformer, or a TRM if it mixes tokens without attention.

    Args:
        config: the model's shape.
        task: gives vocabulary and prompt length.
        seed: of the initial weights; the global random state is neither used nor changed.
        device: where the parameters live.

    Raises:
        ValueError: if the model is bidirectional or mixes tokens, and the task's prompts are not of one length.
    """
    refuse(model_problems(config, task) + seed_problems(seed) + device_problems(device))
    return architecture_of(config).build(config, task, torch.Generator().manual_seed(int(seed)), device)


def model_problems(config: AnyConfig, task: Task) -> list[str]:
    """Why no model of that shape can be built for a task."""
    return architecture_of(config).model_problems(config, task)


def trained_parameters(model: Any, config: AnyConfig) -> dict[str, nn.Parameter]:
    """The distinct parameters that training changes, by the first of their names."""
    return architecture_of(config).trained_parameters(model, config)
