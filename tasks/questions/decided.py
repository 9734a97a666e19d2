"""Whether something is decided by tokens: of several prompts that share them, all have it, or two do not."""

import numpy as np
from jaxtyping import Int
from torch import Tensor


def clash(keys: Int[Tensor, "prompt _"], labels: Int[Tensor, " prompt"]) -> tuple[int, int] | None:
    """The first two prompts that have the same key and different labels."""
    if not len(keys):
        return None
    _, first, group = np.unique(keys.numpy(), axis=0, return_index=True, return_inverse=True)
    before = first[group.reshape(-1)]
    differs = labels.numpy() != labels.numpy()[before]
    return (int(before[differs.argmax()]), int(differs.argmax())) if differs.any() else None
