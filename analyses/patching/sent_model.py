"""A model on its way to other processes: its structure, sent with every call, and its numbers, sent once.

Joblib and dask would send a model again with every call, 650 MB of GPT-2's size. So all numbers lie in a file, and the
structure holds tensors without numbers in their places. Dask can also hold data for its workers, but what it was handed is
lost with the last worker that has it, and all calls that need it are cancelled.
"""

import copy
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import numpy
from torch import Tensor
from torch.nn import Module, Parameter

from ...tasks.transformerlens import Model

NAME = "numbers"


@dataclass(frozen=True, eq=False)
class SentModel:
    """A model without its numbers.

    Attributes:
        path: of the file with its numbers.
        key: of this sending; calls that have the same key have the same model.
        structure: the model with a slot in place of each tensor.
        slots: tensors without numbers, of the same shapes, dtypes and strides.
        devices: where each tensor lies.
    """

    path: Path
    key: str
    structure: Any
    slots: list[Tensor]
    devices: list[str]


def sent(model: Model, path: Path) -> SentModel:
    """A model's structure, after writing the bytes of all its tensors to a file; the model stays as it is."""
    tensors = list({id(each): each for each in _tensors(model)}.values())
    slots = [_like(each, each.detach().to("meta")) for each in tensors]
    structure = copy.deepcopy(model, {id(each): slot for each, slot in zip(tensors, slots, strict=True)})
    plain = [each.detach().cpu().reshape(-1).view(torch.uint8).numpy() for each in tensors]
    numpy.save_file({NAME: np.concatenate(plain)}, path)
    return SentModel(path, uuid.uuid4().hex, structure, slots, [str(each.device) for each in tensors])


def received(model: SentModel) -> Model:
    """The model again, with tensors that lie in memory as those of the first one do, since bits may depend on it.

    Raises:
        FileNotFoundError: if its file is not seen here.
    """
    if not model.path.exists():
        raise FileNotFoundError(f"{model.path}: this worker does not see it; name a folder by keep_in= that all workers see")
    numbers, tensors, start = numpy.load_file(model.path)[NAME], [], 0
    for slot, device in zip(model.slots, model.devices, strict=True):
        stop = start + slot.numel() * slot.element_size()
        values = torch.from_numpy(numbers[start:stop].copy()).view(slot.dtype).view(slot.shape)
        tensors.append(_like(slot, torch.empty_like(slot, device=device, requires_grad=False).copy_(values)))
        start = stop
    return copy.deepcopy(model.structure, {id(slot): each for slot, each in zip(model.slots, tensors, strict=True)})


def _like(tensor: Tensor, values: Tensor) -> Tensor:
    """Values as a parameter if the tensor is one."""
    return Parameter(values, tensor.requires_grad) if isinstance(tensor, Parameter) else values


def _tensors(model: Any) -> Iterator[Tensor]:
    """Every tensor that some module holds: parameters, buffers and what it keeps of its last call."""
    for module in Module.modules(model):  # some models hide modules from their own `modules`
        held = vars(module)
        for group in (held, *(each for each in held.values() if isinstance(each, dict))):
            yield from (each for each in group.values() if isinstance(each, Tensor))
