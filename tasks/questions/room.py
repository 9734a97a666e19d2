"""What something takes, against what this machine has; said before memory fills."""

import os

USABLE = 0.9  # of the machine's memory


def too_large_problems(what: str, n_bytes: float) -> list[str]:
    """Why some things, in the plural, are too large for this machine's memory, by a lower bound of what it takes."""
    there = machine_memory()
    if n_bytes <= USABLE * there:
        return []
    return [f"{what} take {n_bytes / 2**30:,.0f} GiB or more, and this machine has {there / 2**30:,.1f} GiB of memory"]


def machine_memory() -> int:
    """Bytes of memory that the machine has, free or not; unbounded where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 2**62
