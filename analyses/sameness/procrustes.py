"""The turn that lays the code of one model onto that of another, judged on other facts than it was fitted to.

Residual streams have no common basis: a model whose stream is turned as a whole computes the same. What two codes can share
is their geometry, the lengths of their vectors and the angles between them.
"""

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int

RANK = 1e-6  # of the largest singular value: below it a direction is rounding, since models run in single precision
N_FOLDS = 10  # of the facts; with two, codes of young models agree a fifth less with those of their replicates

States = Float[np.ndarray, "fact _"]
"""Of each fact, the state at one position or the states at several, one after the other."""
Code = Float[np.ndarray, "value _"]
"""The same for each value."""


def turn(source: Code, target: Code) -> Float[np.ndarray, "from to"]:
    """What turns the source's vectors onto the target's best; both are centred first, and may differ in width.

    It is the orthogonal Procrustes solution (`scipy.linalg.orthogonal_procrustes`) on the space in which both vary. The
    rest of the source's space goes to 0; scipy would complete the turn there by chance, so that a model and an exact
    rewrite of it got different ones.

    >>> by = turn(np.eye(3), np.eye(3)[[1, 2, 0]])
    >>> np.allclose(np.array([1.0, -1.0, 0.0]) @ by, [0.0, 1.0, -1.0])
    True
    """
    (left, source_sizes, source_axes), (right, target_sizes, target_axes) = (
        scipy.linalg.svd(each - each.mean(0), full_matrices=False) for each in (source, target)
    )
    core = (left * source_sizes).T @ (right * target_sizes)  # as small as the number of values, however wide the streams
    first, sizes, last = scipy.linalg.svd(core)
    n = int((sizes > RANK * sizes.max()).sum())
    return source_axes.T @ first[:, :n] @ last[:n] @ target_axes


def mean_states(states: States, values: Int[np.ndarray, " fact"]) -> Code:
    """The mean state of each of the values 0, 1, …."""
    return np.stack([states[values == value].mean(0) for value in range(values.max() + 1)])


def carried_over(
    source: States,
    target: States,
    values: Int[np.ndarray, " fact"],
    fold: Int[np.ndarray, " fact"],
    onto: Int[np.ndarray, " value"],
) -> Code:
    """The source's mean states in the target's space, there as far from their mean, by root mean square, as the target's.

    A fact's state is turned by what was fitted to the mean states over the facts of the other folds: of a code of the
    fact, and not of its value alone, nothing is left.

    The scale makes lengths equal: that of least squares would shorten the code by as much as the two disagree, and so count
    a disagreement twice.

    Args:
        source: the donor's states.
        target: the model's states of the same facts.
        values: of each fact; each has facts in two folds or more.
        fold: of each fact.
        onto: the target's value that each of the source's is laid onto; its own, but for a null.
    """
    turned = np.empty((len(source), target.shape[1]))
    for each in np.unique(fold):
        rest = fold != each
        fitted = mean_states(source[rest], values[rest])
        by = turn(fitted, mean_states(target[rest], values[rest])[onto])
        turned[~rest] = (source[~rest] - fitted.mean(0)) @ by
    code, like = mean_states(turned, values), mean_states(target, values)
    size = np.linalg.norm(code - code.mean(0))
    is_rounding = size <= RANK * np.linalg.norm(source)
    return code * (0.0 if is_rounding else np.linalg.norm(like - like.mean(0)) / size)


def folds_by_value(values: Int[np.ndarray, " fact"], *, seed: int) -> Int[np.ndarray, " fact"]:
    """A fold for each fact; those of one value are spread as evenly as can be.

    >>> sorted(folds_by_value(np.array([7, 7, 7]), seed=0).tolist())
    [0, 1, 2]
    """
    fold = np.empty(len(values), dtype=int)
    order = np.random.default_rng(seed).permutation(len(values))
    for value in np.unique(values):
        facts = order[values[order] == value]
        fold[facts] = np.arange(len(facts)) % N_FOLDS
    return fold
