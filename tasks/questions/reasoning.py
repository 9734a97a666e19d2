"""What follows from known values and from comparisons, exactly.

A relation of two entities follows if they have it in every assignment of numbers that agrees with the facts: what follows by
(anti)symmetry and transitivity (Wang et al. 2024, section 5, code). That no value lies between two neighbours or beyond the
ends is not used; at the published sizes it would decide every question from comparisons alone.
"""

import numpy as np
from jaxtyping import Bool, Int

from .balancing import LABELS, MISSING, Comparisons, labels_of


def relations(
    values: Int[np.ndarray, "attribute entity"],
    *,
    known: Bool[np.ndarray, "attribute entity"],
    compared: Comparisons,
) -> Int[np.ndarray, "attribute entity entity"]:
    """How any two facts of one attribute stand to each other, as a place in `LABELS`; −1 where that does not follow.

    Args:
        values: of all facts; only what the other arguments say of them is used.
        known: whose values are known.
        compared: whose relation is known.

    >>> values, known = np.array([[4, 1, 0, 1]]), np.array([[False, True, False, True]])
    >>> relations(values, known=known, compared=np.array([[0, 1], [1, 2]]))[0, 0].tolist()
    [1, 2, 2, 2]
    """
    n_entities = values.shape[1]
    labels, attribute = labels_of(values, compared), compared[:, 0] // n_entities
    at_most = known[:, :, None] & known[:, None] & (values[:, :, None] <= values[:, None])
    at_most |= np.eye(n_entities, dtype=bool)
    first, second = compared.T % n_entities
    for rows, place in (
        (labels != LABELS.index(">"), (attribute, first, second)),
        (labels != LABELS.index("<"), (attribute, second, first)),
    ):
        at_most[tuple(each[rows] for each in place)] = True
    for middle in range(n_entities):
        at_most |= at_most[:, :, middle, None] & at_most[:, middle, None]
    at_least = at_most.transpose(0, 2, 1)
    return np.select([at_most & ~at_least, at_most & at_least, at_least], [0, 1, 2], MISSING)


def needs_both(
    values: Int[np.ndarray, "attribute entity"],
    *,
    known: Bool[np.ndarray, "attribute entity"],
    compared: Comparisons,
    asked: Comparisons,
) -> Bool[np.ndarray, " comparison"]:
    """Which comparisons follow from values and comparisons together, but not from comparisons alone."""
    n_entities = values.shape[1]
    places = asked[:, 0] // n_entities, *(asked.T % n_entities)
    together = relations(values, known=known, compared=compared)
    alone = relations(values, known=np.zeros_like(known), compared=compared)
    return (together[places] != MISSING) & (alone[places] == MISSING)
