"""Comparisons of two facts, drawn so that no label is the better guess."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

Comparisons = Int[np.ndarray, "_ 2"]
"""The numbers of two facts of one attribute, a row for each comparison; fact = attribute · n_entities + entity."""
LABELS = ("<", "=", ">")
MISSING = -1


def labels_of(values: Int[np.ndarray, "attribute entity"], pairs: Comparisons) -> Int[np.ndarray, " comparison"]:
    """How the first value stands to the second, as a place in `LABELS`.

    >>> labels_of(np.array([[3, 5, 3]]), np.array([[0, 1], [0, 2], [1, 2]])).tolist()
    [0, 1, 2]
    """
    first, second = values.ravel()[pairs].T
    return np.sign(first - second) + 1


def mirrored(pairs: Comparisons) -> Comparisons:
    """The same comparisons asked the other way round."""
    return pairs[:, ::-1]


def all_comparisons(n_attributes: int, n_entities: int) -> Comparisons:
    """Every two different facts of one attribute, once, the lower number first.

    >>> all_comparisons(2, 2).tolist()
    [[0, 1], [2, 3]]
    """
    pairs = np.stack(np.triu_indices(n_entities, k=1), axis=1)
    return (np.arange(n_attributes)[:, None, None] * n_entities + pairs).reshape(-1, 2)


def codes_of(pairs: Comparisons, n_facts: int) -> Int[np.ndarray, " comparison"]:
    """A number for each comparison that it shares with its mirror image alone."""
    return pairs.min(1) * n_facts + pairs.max(1)


def among(pairs: Comparisons, others: Sequence[Comparisons], n_facts: int) -> Bool[np.ndarray, " comparison"]:
    """Which comparisons are among others, asked either way round."""
    return np.isin(codes_of(pairs, n_facts), np.concatenate([codes_of(each, n_facts) for each in others]))


def balanced(labels: Int[np.ndarray, " comparison"], n: int) -> Int[np.ndarray, " row"]:
    """The first rows of each label, equally many of each label that occurs.

    Args:
        labels: of the comparisons.
        n: how many rows in all; where a label has too few for its share, the others take more.

    >>> balanced(np.array([0, 0, 1, 2, 0]), 3).tolist(), balanced(np.array([0, 0, 1, 2, 0]), 4).tolist()
    ([0, 2, 3], [0, 1, 2, 3])
    """
    groups = sorted((np.flatnonzero(labels == label) for label in np.unique(labels)), key=len)
    left = n
    chosen = [np.zeros(0, dtype=np.int64)]
    for place, rows in enumerate(groups):
        chosen.append(rows[: left // (len(groups) - place)])
        left -= len(chosen[-1])
    return np.sort(np.concatenate(chosen))


def n_balanced(labels: Int[np.ndarray, " comparison"], share: float = 1.0) -> int:
    """How many rows keep the labels that occur equally frequent, if of the rarest one that share is taken."""
    counts = np.unique(labels, return_counts=True)[1]
    return len(counts) * round(share * int(counts.min(initial=len(labels))))
