"""Devices that models are run on: whether they are there."""

from typing import Any

import torch

from ...circuits.arguments import shortly


def device_problems(device: Any) -> list[str]:
    """Why no model can be run on a device: torch does not know it, or it is not there."""
    try:
        wanted = torch.device(device) if isinstance(device, str | torch.device) else None
    except RuntimeError:
        wanted = None
    there = devices()
    if wanted is not None and f"{wanted.type}:{wanted.index or 0}" in there:
        return []
    shown = [name.removesuffix(":0") for name in there]
    return [f"device is {shortly(device)}, there are here {', '.join(map(repr, shown))}"]


def devices() -> list[str]:
    """The devices that torch sees here, with their numbers."""
    found = ["cpu:0", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    return [*found, *(["mps:0"] if torch.backends.mps.is_available() else [])]
