import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import spearmanr

from grokscope.circuits.similarity import jensen_shannon, overlap_at, rank_correlation, weighted_overlap


def draws(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(30, 4)), rng.normal(size=(30, 4))


@pytest.mark.parametrize("seed", range(5))
def test_each_column_equals_scipy_or_a_loop(seed: int) -> None:
    a, b = draws(seed)
    for column in range(4):
        x, y = a[:, column], b[:, column]
        assert rank_correlation(a, b)[column] == pytest.approx(spearmanr(x, y).statistic)
        signed = [np.concatenate([np.maximum(values, 0), np.maximum(-values, 0)]) for values in (x, y)]
        assert jensen_shannon(a, b)[column] == pytest.approx(jensenshannon(*signed, base=2))
        tops = [set(np.argsort(-abs(values))[:5]) for values in (x, y)]
        assert overlap_at(5)(a, b)[column] == pytest.approx(len(tops[0] & tops[1]) / len(tops[0] | tops[1]))
        common = total = 0.0
        for p, q in zip(x, y, strict=True):  # positive and negative parts as two sets
            for r, s in ((max(p, 0), max(q, 0)), (max(-p, 0), max(-q, 0))):
                common, total = common + min(r, s), total + max(r, s)
        assert weighted_overlap(a, b)[column] == pytest.approx(common / total)


def test_equal_and_opposite_and_disjoint_circuits() -> None:
    a = np.array([[1.0], [0.5], [0.0]])
    disjoint = np.array([[0.0], [0.0], [2.0]])
    assert jensen_shannon(a, a)[0] == 0.0 and weighted_overlap(a, a)[0] == overlap_at(2)(a, a)[0] == 1.0
    assert jensen_shannon(a, disjoint)[0] == 1.0 and weighted_overlap(a, disjoint)[0] == 0.0
    assert weighted_overlap(a, -a)[0] == 0.0 and jensen_shannon(a, -a)[0] == 1.0
    assert jensen_shannon(a, 3 * a)[0] == pytest.approx(0.0, abs=1e-7)
    assert weighted_overlap(a, 2 * a)[0] == pytest.approx(0.5)


def test_a_single_column_meets_all_of_the_other() -> None:
    a, b = draws(1)
    for measure in (rank_correlation, weighted_overlap, jensen_shannon):
        np.testing.assert_allclose(measure(a[:, :1], b), measure(np.repeat(a[:, :1], 4, 1), b))


def test_signed_jensen_shannon_is_a_metric_from_0_to_1() -> None:
    x, y, z = (np.random.default_rng(seed).normal(size=(6, 500)) ** 3 for seed in range(3))
    xy, yz, xz = jensen_shannon(x, y), jensen_shannon(y, z), jensen_shannon(x, z)
    assert (xz <= xy + yz + 1e-12).all() and np.allclose(xy, jensen_shannon(y, x))
    assert xy.min() > 0 and xy.max() <= 1.0
