"""Means and standard errors of parts of the queries, against those of all at once."""

import numpy as np
import pytest
import torch

from grokscope.analyses.patching.running_means import RunningMeans
from grokscope.analyses.statistics import stderr_of_mean


@pytest.mark.parametrize("size", [1, 2, 5, 30])
@pytest.mark.parametrize("seed", range(3))
def test_parts_say_what_all_say_however_units_are_cut(seed: int, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(30, 6, generator=generator, dtype=torch.float64) + 3.0
    values[:, 4] = 1 / 3  # always the same
    values[:, 5] = torch.cat([torch.ones(1), torch.zeros(29)])
    there = torch.rand(30, 6, generator=generator) < 0.7
    there[:, 0], there[:, 1], there[:, 2] = True, False, torch.arange(30) == 7
    there[:, 4:] = True
    unit = torch.randint(12, (30,), generator=generator).sort().values
    noisy = values.masked_fill(~there, torch.nan)
    means = RunningMeans(6)
    for rows in torch.arange(30).split(size):
        means.note(noisy[rows], there[rows], unit[rows])
        means.result()  # looking changes nothing
    found = means.result()
    for entry in range(6):
        rows = there[:, entry]
        assert found["n"][entry] == rows.sum() and found["n_units"][entry] == len(unit[rows].unique())
        if not rows.any():
            assert found["mean"][entry].isnan() and found["stderr"][entry].isnan()
            continue
        some = values[rows, entry].numpy()
        assert float(found["mean"][entry]) == pytest.approx(some.mean(), rel=1e-12)
        expected = stderr_of_mean(some[None], unit[rows])[0]
        np.testing.assert_allclose(float(found["stderr"][entry]), expected, rtol=1e-9, atol=1e-15)
    assert found["stderr"][2].isnan() and found["stderr"][4] == 0.0 and found["stderr"][5] > 0


def test_one_unit_has_no_standard_error() -> None:
    means = RunningMeans(2)
    for rows in torch.randn(4, 3, 2):
        means.note(rows, torch.ones(3, 2, dtype=torch.bool), torch.full((3,), 9))
    assert means.result()["stderr"].isnan().all() and means.result()["n_units"].tolist() == [1.0, 1.0]
