"""A task that is not about two-hop questions: two digits modulo ten, whose carry is the intermediate.

Tokens are the digits 0 to 9, then `+`. A question `a b +` asks for (a + b) mod 10; its carry is 1 where a + b ≥ 10.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from grokscope.tasks import Donor, Part, Queries

PARTS: Mapping[str, Part] = {"sums": "trained", "new_sums": "test"}
NONE: Mapping[str, tuple[str, ...]] = {}


@dataclass(frozen=True, eq=False)
class Addition:
    """All sums of two digits, of which `tested` (rows of two digits) are never trained."""

    tested: np.ndarray
    seed: int = 0
    kind = "addition"
    splits = PARTS
    id_test = "new_sums"
    ood_test = None
    shortcuts = NONE
    regime: str = "sums"
    about: Mapping[str, float] = field(default_factory=dict)
    n_tokens: int = 11
    n_positions: int = 3
    one_length: bool = True
    n_added: int = 0
    n_reference: int = 100

    @property
    def key(self) -> str:
        return hashlib.sha256(self.tested.astype(np.int64).tobytes()).hexdigest()[:12]

    @property
    def settings(self) -> Mapping[str, int]:
        return {"seed": self.seed}

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"tested": self.tested.astype(np.int16)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], settings: Mapping[str, int]) -> "Addition":
        return cls(arrays["tested"].astype(np.int64), settings["seed"])

    def split(self, name: str) -> Queries:
        is_tested = np.zeros((10, 10), dtype=bool)
        is_tested[self.tested[:, 0], self.tested[:, 1]] = True
        a, b = torch.from_numpy(np.argwhere(is_tested == (name == "new_sums"))).T
        tokens = torch.stack([a, b, torch.full_like(a, 10)], dim=1)
        return Queries(tokens, (a + b) % 10, roles=("a", "b", "+"), intermediates={"carry": (a + b) // 10}, split=name)

    def token_name(self, token: int) -> str:
        return "0123456789+"[token]

    def n_values(self, intermediate: str) -> int:
        return {"carry": 2}[intermediate]

    def reference(self, *, seed: int, without: frozenset[int] = frozenset()) -> Queries:
        return self.split("sums").one_per_unit(seed=seed, without=without)

    def donors(self, *, intermediate: str, second_hop: str, seed: int) -> "NoDonors":
        return NoDonors()


class NoDonors:
    def of(self, queries: Queries, row: int) -> Donor | None:
        return None
