"""The files of weights in a run: each distinct trained parameter once, in safetensors."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ...circuits.tensor_files import bare_metadata, labelled, metadata_of, tensors_of
from ..models.building import AnyConfig, architecture_of, trained_parameters
from ..questions.task import Task
from .folder import CheckpointError

if TYPE_CHECKING:
    from ..transformerlens import Model

KIND = "checkpoint"
MOST_SHOWN = 5  # problems of one file that a message lists


def checkpoint_bytes(step: int, parameters: Mapping[str, Tensor]) -> bytes:
    """A file with the distinct trained parameters of one step."""
    plain = save_tensors({name: p.detach().contiguous() for name, p in parameters.items()})
    return labelled(plain, KIND, {"step": str(step)})


def read_weights(data: bytes, where: str, *, step: int) -> dict[str, Tensor]:
    """The distinct trained parameters in a checkpoint's file, in the dtypes they were saved in.

    Args:
        data: the file's bytes, for which a manifest vouches.
        where: the name of the file, for messages.
        step: of training, which the file must name.

    Raises:
        FileError: if it is no checkpoint of that step, or damaged.
        CheckpointError: if its tensors are no weights, all of which are finite floats.
    """
    bare = bare_metadata(data, where)
    said = metadata_of(data, KIND, where).get("step") if bare is None else bare.get("step", str(step))
    if said != str(step):
        raise CheckpointError(f"{where}: expected the weights of step {step}, the file says step {said}")
    weights = tensors_of(data, load_tensors, where)
    if problems := value_problems(weights):
        raise CheckpointError(f"{where}: {'; '.join(problems)}; take a copy or make it again")
    return weights


def value_problems(tensors: Mapping[str, Tensor]) -> list[str]:
    """Which tensors are no floats, or not finite; of many only the first."""
    found = [
        f"{name} is of {tensor.dtype}, expected are floats"
        if not tensor.is_floating_point()
        else f"{name} holds values that are not finite"
        for name, tensor in sorted(tensors.items())
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all()
    ]
    return found[:MOST_SHOWN] + ([f"and {len(found) - MOST_SHOWN} more"] if len(found) > MOST_SHOWN else [])


def check_size(config: AnyConfig, task: Task, weights: Mapping[str, Tensor], where: str) -> None:
    """Raise if weights are far too few for a config, before a model of that size is built."""
    needed, found = architecture_of(config).n_parameters(config, task), sum(tensor.numel() for tensor in weights.values())
    if 2 * found < needed:
        raise CheckpointError(f"{where} does not fit {config}: it holds {found:,} numbers, {needed:,} are needed")


def load_weights(model: "Model", config: AnyConfig, weights: Mapping[str, Tensor], where: str) -> None:
    """Put a checkpoint's weights into a model.

    Raises:
        CheckpointError: if they do not fit the config.
    """
    check_shapes(weights, model, config, where)
    architecture_of(config).load_parameters(model, config, weights)


def check_shapes(weights: Mapping[str, Tensor], model: "Model", config: AnyConfig, where: str) -> None:
    """Raise unless weights are those of a model of that config, by their names and shapes."""
    expected = {name: tuple(p.shape) for name, p in trained_parameters(model, config).items()}
    found = {name: tuple(p.shape) for name, p in weights.items()}
    if found != expected:
        raise CheckpointError(f"{where} does not fit {config}: {'; '.join(differences(found, expected))}")


def differences(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """By their shapes, which tensors a file lacks, has without need, or has of another size."""
    lines = [f"lacks {name}" for name in sorted(expected.keys() - found.keys())]
    lines += [f"has an unknown {name}" for name in sorted(found.keys() - expected.keys())]
    lines += [
        f"{name} is {found[name]}, not {expected[name]}"
        for name in sorted(found.keys() & expected.keys())
        if found[name] != expected[name]
    ]
    return lines
