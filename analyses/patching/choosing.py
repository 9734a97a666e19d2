"""Whether a circuit is judged on prompts or units that it was chosen on, which makes it look better than it is."""

from collections.abc import Mapping
from typing import Any

import torch

from ...tasks import PromptPairs


def shared_with_choosing(provenance: Mapping[str, Any], pairs: PromptPairs, *, allow_shared: bool) -> dict[str, int]:
    """How many pairs share something with those that a circuit was chosen on.

    Args:
        provenance: of the circuit, see `Circuit`.
        pairs: those on which it is to be judged.
        allow_shared: whether they may.

    Returns:
        `prompt`: how many share one at least of the two prompts; `unit`: how many share the unit, if units can be compared,
        see `PromptPairs.shared_with`. Empty if the circuit does not say on which it was chosen (old or foreign files).

    Raises:
        ValueError: if some pairs share something and that is not allowed.
    """
    n = len(pairs)
    if hashes := provenance.get("hashes"):
        rows = pairs.shared_with(hashes)
        found = {name: int(column.sum()) for name, column in rows.items()}
        n_free = int((~torch.stack(list(rows.values())).any(0)).sum())
    else:  # old files know the key of the whole set alone
        found, n_free = ({"prompt": n, "unit": n}, 0) if provenance.get("pairs") == pairs.key else ({}, n)
    if n_free < n and not allow_shared:
        apart = "pairs.apart_from(circuit.provenance['hashes']), or " if n_free else ""
        raise ValueError(
            f"{n - n_free} of these {n} pairs share something with the pairs that the circuit was chosen on "
            f"({_what(found)}), {n_free} nothing; judge it on {apart}other pairs, as pairs.halves() gives them, "
            "or say allow_shared=True"
        )
    return found


def said(shared: Mapping[str, int], n: int) -> str:
    """For captions: what n pairs have in common with the choosing pairs, as found by `shared_with_choosing`."""
    if not shared:
        return ", choosing pairs unknown"
    text = f", of {n} pairs {_what(shared)} with the choosing pairs" if any(shared.values()) else ""
    return text if "unit" in shared else f"{text}, units of the choosing pairs unknown"


def _what(shared: Mapping[str, int]) -> str:
    """`11 share a prompt and 30 a unit`."""
    counts = {name: count for name, count in shared.items() if count}
    verb = "shares" if next(iter(counts.values()), 0) == 1 else "share"
    return " and ".join(f"{count} a {name}" for name, count in counts.items()).replace(" a ", f" {verb} a ", 1)
