"""The files of weights in a run: each distinct trained parameter once, in safetensors."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor
from transformer_lens import HookedTransformer

from ..models.building import load_parameters, trained_parameters
from ..models.config import ModelConfig
from ..writing import write_atomic


class CheckpointError(ValueError):
    """A checkpoint or run cannot be read; the message names the file and what is wrong with it."""


def checkpoint_path(folder: Path, step: int) -> Path:
    """The file with the weights of a step."""
    return folder / "checkpoints" / f"step_{step:08d}.safetensors"


def write_checkpoint(folder: Path, step: int, parameters: Mapping[str, Tensor]) -> None:
    """Save the distinct trained parameters of one step."""
    content = save_tensors({name: p.contiguous() for name, p in parameters.items()}, metadata={"step": str(step)})
    write_atomic(checkpoint_path(folder, step), content)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The distinct trained parameters in a checkpoint's file, in the dtypes they were saved in.

    Raises:
        FileNotFoundError: if the file is gone.
        CheckpointError: if it is truncated.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or no safetensors file: {error}") from error


def load_weights(model: HookedTransformer, config: ModelConfig, path: Path) -> None:
    """Put a checkpoint's weights into a model.

    Raises:
        FileNotFoundError: if the file is gone.
        CheckpointError: if it is truncated or does not fit the config.
    """
    expected = {name: tuple(p.shape) for name, p in trained_parameters(model, config).items()}
    parameters = read_weights(path)
    found = {name: tuple(p.shape) for name, p in parameters.items()}
    if found != expected:
        raise CheckpointError(f"{path} does not fit {config}: {'; '.join(differences(found, expected))}")
    load_parameters(model, config, parameters)


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
