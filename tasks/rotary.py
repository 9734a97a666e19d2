"""Rotary positions (Su et al. 2021, arXiv 2104.09864), as a HookedTransformer turns queries and keys.

Scores then depend on how far apart two positions are, not on where they are, so that a model may be asked longer prompts
than it was trained on. Halves of a head are turned against each other, as in GPT-NeoX.
"""

import torch
from jaxtyping import Float
from torch import Tensor

BASE = 10_000


def turns(
    n_pos: int, d_head: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str
) -> tuple[Float[Tensor, "pos d_head"], Float[Tensor, "pos d_head"]]:
    """Cosine and sine of the angles by which each position turns each number of a head.

    >>> cosine, sine = turns(2, 2, device="cpu")
    >>> bool(sine[1, 0] == torch.sin(torch.tensor(1.0)))
    True
    """
    places = torch.arange(n_pos, dtype=dtype, device=device)
    waves = BASE ** (torch.arange(d_head // 2, dtype=dtype, device=device) / (d_head / 2))
    angles = (places[:, None] / waves).repeat(1, 2)
    return angles.cos(), angles.sin()


def turned(
    values: Float[Tensor, "*rows d_head"], cosine: Float[Tensor, "*#rows d_head"], sine: Float[Tensor, "*#rows d_head"]
) -> Float[Tensor, "*rows d_head"]:
    """Values turned by angles."""
    first, second = values.chunk(2, dim=-1)
    return values * cosine + torch.cat([-second, first], dim=-1) * sine
