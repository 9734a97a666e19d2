"""The Fréchet distance against all couplings there are, its laws, and what profiles cannot be compared."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from explained import assert_explained

from grokscope.analyses import Profile, ProfileDistance, profile_distance
from grokscope.analyses.sameness.profile_distance import discrete_frechet


def couplings(i: int, j: int) -> Iterator[list[tuple[int, int]]]:
    """Every way from the first cuts to the cuts i and j."""
    if (i, j) == (0, 0):
        yield [(0, 0)]
    for k, m in ((i - 1, j - 1), (i - 1, j), (i, j - 1)):
        if k >= 0 and m >= 0:
            for way in couplings(k, m):
                yield [*way, (i, j)]


def literal(a: np.ndarray, b: np.ndarray) -> float:
    return min(max(abs(a[i] - b[j]).max() for i, j in way) for way in couplings(len(a) - 1, len(b) - 1))


def values(seed: int, most: int = 5) -> list[np.ndarray]:
    """Three profiles of three coordinates; the numbers are few, so that cuts are often alike."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 4, size=(rng.integers(1, most + 1), 3)) / 3 for _ in range(3)]


def profile(matrix: np.ndarray, model: str = "m", roles: tuple[str, ...] = ("h", "r1", "r2"), **about: str) -> Profile:
    rows = [
        {"layer": layer - 1, "role": role, "measure": "state", "value": value, "low": value, "high": value}
        for layer, cut in enumerate(matrix)
        for role, value in zip(roles, cut, strict=True)
    ]
    table = pd.DataFrame(rows).assign(n=8, n_units=4)
    return Profile(table, model, "s", about.get("unit", "share"), about.get("reason", ""))


@pytest.mark.parametrize("seed", range(40))
def test_it_is_the_least_over_all_couplings(seed: int) -> None:
    a, b, _ = values(seed)
    found, way = discrete_frechet(a, b)
    assert found == literal(a, b) == max(abs(a[i] - b[j]).max() for i, j in way)
    assert way in list(couplings(len(a) - 1, len(b) - 1))


@pytest.mark.parametrize("seed", range(40))
def test_it_is_a_metric_that_repeats_do_not_change(seed: int) -> None:
    a, b, c = values(seed, most=8)
    rng = np.random.default_rng(seed)
    often, also = (np.repeat(each, rng.integers(1, 4, size=len(each)), axis=0) for each in (a, b))
    assert discrete_frechet(often, also)[0] == discrete_frechet(a, b)[0] == discrete_frechet(b, a)[0]
    assert discrete_frechet(a, often)[0] == 0.0
    assert discrete_frechet(a, c)[0] <= discrete_frechet(a, b)[0] + discrete_frechet(b, c)[0] + 1e-12
    once = [
        [cut for place, cut in enumerate(each.tolist()) if not place or cut != each.tolist()[place - 1]] for each in (a, b)
    ]
    assert (discrete_frechet(a, b)[0] == 0.0) == (once[0] == once[1])


def test_it_says_where_profiles_part_and_takes_coordinates_by_name() -> None:
    a = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    b = np.array([[1.0, 0.0, 0.0], [0.0, 0.6, 0.4], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    result = profile_distance(profile(a, "one"), profile(b, "two"))
    assert result.value == pytest.approx(0.4) and result.table["distance"].max() == result.value
    assert result.caption == "one and two · distance 0.400 (share) at L0 and L0, r1 state · n = 8 and 8"
    assert result.table[["layer_a", "layer_b"]].to_numpy().tolist() == [[-1, -1], [0, 0], [1, 1], [1, 2]]
    assert_explained(result)
    assert f"are {result.value:.3f} apart" in result.explain().means and "L0 and L0, r1 state" in result.explain().means
    turned = profile(b[:, ::-1], "two", roles=("r2", "r1", "h"))
    assert profile_distance(profile(a), turned).value == result.value == profile_distance(turned, profile(a)).value
    assert ProfileDistance.from_json(result.to_json()).table.equals(result.table)


def test_profiles_that_cannot_be_compared_are_refused_with_all_that_is_wrong() -> None:
    a = profile(np.eye(3), "one", reason="the gap is 0")
    other = profile(np.eye(3), "two", roles=("h", "x", "r2"), unit="nats")
    lost = replace(a, table=a.table.assign(value=np.nan))
    with pytest.raises(
        ValueError,
        match=r"only the profile of one has r1 state; only the profile of two has x state; units differ: share and nats; "
        r"9 of 9 values of one are undefined \(the gap is 0\)",
    ):
        profile_distance(lost, other)
    with pytest.raises(ValueError, match="1 of 9 values of m are undefined"):
        profile_distance(profile(np.eye(3)), replace(profile(np.eye(3)), table=profile(np.eye(3)).table.iloc[:-1]))
    twice = replace(a, table=pd.concat([a.table, a.table.head(1)]))
    with pytest.raises(ValueError, match="the profile of one has several rows for L-1 h state"):
        profile_distance(twice, a)
    with pytest.raises(ValueError, match="the profile of one has no row"):
        profile_distance(replace(a, table=a.table.head(0)), a)
