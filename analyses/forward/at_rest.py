"""A model as effects are measured in it: without dropout, in single precision at least, and the user's left as it is."""

import copy
from itertools import chain
from typing import Any

import torch
from torch.nn.modules.dropout import _DropoutNd

from ...tasks.transformerlens import HookedTransformer, Model, TransformerBridge

HALF = (torch.bfloat16, torch.float16)


def at_rest(model: Model) -> Model:
    """The model, or where training mode may leave things to chance a copy in evaluation mode that shares its tensors.

    A switch to evaluation mode and back would be seen by whoever else holds the model, and would be left on where a caller
    stops halfway through what an engine gives.
    """
    modules: list = list(model.modules())  # pyright: ignore[reportAttributeAccessIssue]
    training = [module for module in modules if module.training]
    if isinstance(model, HookedTransformer):  # which does nothing else in training mode
        training = [module for module in training if isinstance(module, _DropoutNd)]
    if not training:
        return model
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, shared).eval()  # pyright: ignore[reportAttributeAccessIssue]


def as_measured(model: Model) -> Model:
    """The model at rest, or where some of its numbers have 16 bits a copy in which they have 32, in twice the memory.

    Its weights are the same; what is computed from them is rounded 2¹⁶ times more finely (of bf16), so that small effects
    are no rounding.
    """
    model = at_rest(model)
    if not any(each.dtype in HALF for each in model.parameters()):
        return model
    copied: Any = copy.deepcopy(model)
    if isinstance(copied, TransformerBridge):
        copied.to(torch.float32, print_details=False)
        _convert_attributes(copied)
        return copied
    copied.float().cfg.dtype = torch.float32  # which norms of TransformerLens round to
    return copied


def _convert_attributes(bridge: Any) -> None:
    """Convert what `to` does not reach: the weights that compatibility mode keeps outside of a module's parameters."""
    for module in bridge.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, torch.Tensor) and value.dtype in HALF:
                setattr(module, name, value.float())
