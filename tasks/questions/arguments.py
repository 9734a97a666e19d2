"""Settings that are refused before any work; see `circuits.arguments` for those that need no torch."""

from typing import Any

import torch

from ...circuits.arguments import MOST_REPEATS as MOST_REPEATS
from ...circuits.arguments import choice_problems as choice_problems
from ...circuits.arguments import common_problems as common_problems
from ...circuits.arguments import flag_problems as flag_problems
from ...circuits.arguments import is_whole as is_whole
from ...circuits.arguments import name_problems as name_problems
from ...circuits.arguments import names_problems as names_problems
from ...circuits.arguments import number_problems as number_problems
from ...circuits.arguments import process_problems as process_problems
from ...circuits.arguments import refuse as refuse
from ...circuits.arguments import seed_problems as seed_problems
from ...circuits.arguments import shortly as shortly
from ...circuits.arguments import whole_problems as whole_problems


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
