"""What tests know of the models that are set by hand, see `tasks.models.by_hand`."""

import torch

from grokscope.tasks.models.by_hand import BRIDGE_EDGES, copies_model, handset_model, lookup_model, pair_code_model
from grokscope.tasks.models.hand_parts import SURE
from grokscope.tasks.transformerlens import HookedTransformer

__all__ = [
    "BRIDGE_EDGES",
    "RELATION_2_EDGES",
    "ROLES",
    "SURE",
    "copies_model",
    "handset_model",
    "lookup_model",
    "pair_code_model",
    "permute_heads",
]

ROLES = ("h", "r1", "r2")
RELATION_2_EDGES = ("embed@r2 -> MLP1@r2", "MLP1@r2 -> logits@r2")
"""All edges that carry a change of r2 to the answer."""


def permute_heads(model: HookedTransformer, layer: int, order: list[int]) -> None:
    """Give head i of a layer the weights of head order[i]."""
    attention = model.blocks[layer].attn
    with torch.no_grad():
        for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"):
            parameter = getattr(attention, name)
            parameter.copy_(parameter[order].clone())
