"""Worlds of attributes with ordinal values, and which comparisons of them are trained and tested.

Labels are equally frequent in tests, and in training as far as there are enough comparisons of each, see `balanced`. The
tests of one kind of pairs hold a comparison and its mirror image; neither is trained. Training holds comparisons one by one,
so that a mirror image may lack.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from ...circuits.arguments import number_problems, whole_problems
from .balancing import (
    Comparisons,
    all_comparisons,
    among,
    balanced,
    labels_of,
    mirrored,
    n_balanced,
)
from .reasoning import needs_both
from .room import too_large_problems
from .splits import MIXED_TEST_SHARE

MIXED_TESTS = ("test_compared_ood_id", "test_compared_id_ood")
COMPARED_TESTS = ("test_compared_iid", "test_compared_ood", *MIXED_TESTS)
BYTES_OF_COMPARISON = 100  # of two entities, while a world is drawn; measured


def drawing_problems(sizes: Mapping[str, Any], shares: Mapping[str, Any], phi: Any) -> list[str]:
    """Why no world can be drawn: impossible sizes or shares, or more comparisons than memory holds."""
    least = {"n_entities": 2, "n_attributes": 1, "n_levels": 2}
    wrong = [problem for name, size in sizes.items() for problem in whole_problems(least[name], **{name: size})]
    problems = wrong + number_problems(0, most=1, **shares) + ([] if phi is None else number_problems(0, phi=phi))
    if wrong:
        return problems
    n_entities, n_attributes = sizes["n_entities"], sizes["n_attributes"]
    n = n_attributes * n_entities * (n_entities - 1) // 2
    what = f"n_attributes={n_attributes:,} of n_entities={n_entities:,} have {n:,} comparisons, which"
    return problems + too_large_problems(what, BYTES_OF_COMPARISON * n)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A world at random, whose comparisons are in random order.

    Attributes:
        n_levels: how many values there are.
        seed: fixes every choice.
        values: of each fact.
        is_ood: which facts are OOD, equally many of each attribute.
    """

    n_levels: int
    seed: int
    values: Int[np.ndarray, "attribute entity"]
    is_ood: Bool[np.ndarray, "attribute entity"]

    @classmethod
    def random(cls, *, n_entities: int, n_attributes: int, n_levels: int, ood_fraction: float, seed: int) -> "Drawn":
        """Values are drawn independently of each other."""
        values = np.random.default_rng(seed).integers(n_levels, size=(n_attributes, n_entities))
        ranks = np.random.default_rng([seed, 1]).permuted(np.tile(np.arange(n_entities), (n_attributes, 1)), axis=1)
        return cls(n_levels, seed, values, ranks < round(ood_fraction * n_entities))

    @cached_property
    def by_status(self) -> tuple[Comparisons, Comparisons, Comparisons]:
        """Every two facts of one attribute once: both ID; OOD, then ID; both OOD."""
        pairs = np.random.default_rng([self.seed, 2]).permutation(all_comparisons(*self.values.shape))
        first, second = self.is_ood.ravel()[pairs].T
        mixed = np.where(first[:, None], pairs, mirrored(pairs))[first != second]
        return pairs[~first & ~second], mixed, pairs[first & second]

    def held_out(self, test_fraction: float) -> Comparisons:
        """The ID comparisons of which, and of whose mirror images, `test_compared_iid` consists."""
        return self._chosen(self.by_status[0], test_fraction)

    def trainable(self, held_out: Comparisons) -> Comparisons:
        """All other ID comparisons, both ways round."""
        id_id, n_facts = self.by_status[0], self.values.size
        left = id_id[~among(id_id, [held_out], n_facts)]
        return np.random.default_rng([self.seed, 3]).permutation(np.concatenate([left, mirrored(left)]))

    def trained(self, held_out: Comparisons, phi: float | None, *, equally: bool) -> Comparisons:
        """So many of them for each ID fact.

        Args:
            held_out: see `held_out`.
            phi: by default as many as keep the labels equally frequent.
            equally: whether to take of each label equally many as far as there are, or the first ones of any label.

        Raises:
            ValueError: if that is more than there are.
        """
        possible, n_id = self.trainable(held_out), int((~self.is_ood).sum())
        labels = labels_of(self.values, possible)
        if phi is not None and phi * n_id > len(possible) + 0.5:
            raise ValueError(
                f"phi={phi:g} asks for {phi * n_id:.0f} trained comparisons of {n_id} ID facts, but there are "
                f"{len(possible)} apart from the test questions; phi can be between 0 and {len(possible) / max(1, n_id):.2f}"
            )
        n = n_balanced(labels) if phi is None else min(round(phi * n_id), len(possible))
        return possible[balanced(labels, n)] if equally else possible[:n]

    def tests(self, held_out: Comparisons) -> Mapping[str, Comparisons]:
        """The test comparisons of a world whose facts are all trained by themselves."""
        return _both_ways(held_out, self._chosen(self.by_status[2])) | self.mixed_tests()

    def mixed_tests(self) -> dict[str, Comparisons]:
        """Those of one OOD fact and one ID fact."""
        return _mixed(self._chosen(self.by_status[1], MIXED_TEST_SHARE))

    def with_ood(self, n: int) -> Comparisons:
        """For each OOD fact n comparisons with ID facts, either way round, whatever their labels."""
        rng, n_facts = np.random.default_rng([self.seed, 4]), self.values.size
        mixed = self.by_status[1]
        mixed = rng.permutation(np.concatenate([mixed, mirrored(mixed)]))
        of = np.where(self.is_ood.ravel()[mixed[:, 0]], mixed[:, 0], mixed[:, 1])
        order = np.argsort(of, kind="stable")
        first = np.searchsorted(of[order], np.arange(n_facts))
        return mixed[np.sort(order[np.arange(len(order)) - first[of[order]] < n])]

    def reasoned_tests(self, held_out: Comparisons, trained: Comparisons) -> Mapping[str, Comparisons]:
        """The test comparisons of a world whose OOD facts are hidden: those that follow, see `needs_both`."""
        given = {"known": ~self.is_ood, "compared": trained}
        untrained = [pairs[~among(pairs, [trained], self.values.size)] for pairs in self.by_status[1:]]
        mixed, ood = (pairs[needs_both(self.values, **given, asked=pairs)] for pairs in untrained)
        return _both_ways(held_out, self._chosen(ood)) | _mixed(self._chosen(mixed, MIXED_TEST_SHARE))

    def _chosen(self, pairs: Comparisons, share: float = 1.0) -> Comparisons:
        """Equally many of each label that occurs: a share of the rarest one."""
        labels = labels_of(self.values, pairs)
        return pairs[balanced(labels, n_balanced(labels, share))]


def _both_ways(id_id: Comparisons, ood_ood: Comparisons) -> dict[str, Comparisons]:
    """The tests of two facts that are both ID or both OOD: comparisons, then their mirror images."""
    both = (np.concatenate([pairs, mirrored(pairs)]) for pairs in (id_id, ood_ood))
    return dict(zip(COMPARED_TESTS[:2], both, strict=True))


def _mixed(ood_id: Comparisons) -> dict[str, Comparisons]:
    """The mixed tests: comparisons, and their mirror images."""
    return dict(zip(MIXED_TESTS, (ood_id, mirrored(ood_id)), strict=True))
