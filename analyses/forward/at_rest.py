"""A model as it is when it is not being trained: without dropout, and the user's model left as it is."""

import copy
from itertools import chain

from torch.nn.modules.dropout import _DropoutNd

from ...tasks.transformerlens import HookedTransformer, Model


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
