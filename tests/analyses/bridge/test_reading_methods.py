"""Four readings on models set by hand, and the affine map against scikit-learn's ridge."""

import numpy as np
import pytest
import torch
from explained import assert_explained
from handset import handset_model
from sklearn.linear_model import Ridge

from grokscope.analyses import compare_readings
from grokscope.analyses.bridge.linear_probe import SHRINKAGE
from grokscope.analyses.bridge.questions import sample
from grokscope.analyses.bridge.reading_methods import affine_map
from grokscope.tasks import TwoHopTask


def test_what_another_basis_hides_from_the_lens_an_affine_readout_finds(evidence_world: TwoHopTask) -> None:
    queries = sample(evidence_world.split("test_inferred_iid"), 200, max_units=80, seed=0)
    model, rotated = (handset_model(evidence_world.graph, rotated=turned) for turned in (False, True))
    found = {}
    for name, each in (("plain", model), ("rotated", rotated)):
        table = compare_readings(each, evidence_world, queries).table
        rows = table.query("layer == 0 and role == 'r1'")
        found[name] = dict(zip(rows["reading"], rows["accuracy"], strict=True))
        before = table.query("layer == -1 and role == 'r1'")
        assert before["accuracy"].max() < 0.4  # r1 alone does not tell
    assert found["plain"] == {"lens": 1.0, "tuned lens": 1.0, "affine readout": 1.0, "probe": 1.0}
    assert found["rotated"]["lens"] < 0.2 and found["rotated"]["affine readout"] > 0.9 and found["rotated"]["probe"] > 0.9
    numbers = table.set_index("reading")["n_parameters"].groupby(level=0).first().to_dict()
    width = model.cfg.d_model
    assert numbers == {
        "lens": 0,
        "tuned lens": width * (width + 1),
        "affine readout": width * (width + 1),
        "probe": 16 * (width + 1),
    }


@pytest.mark.parametrize("n", [5, 40])
def test_the_map_is_a_ridge(n: int) -> None:
    rng = np.random.default_rng(0)
    x, y, new = rng.normal(size=(n, 8)) + 3, rng.normal(size=(n, 4)), rng.normal(size=(3, 8))
    alpha = n * SHRINKAGE * float(((x - x.mean(0)) ** 2).mean())
    expected = Ridge(alpha=alpha).fit(x, y).predict(new)
    np.testing.assert_allclose(affine_map(torch.from_numpy(x), torch.from_numpy(y))(torch.from_numpy(new)), expected)


def test_what_it_says_of_itself_is_what_it_holds(evidence_world: TwoHopTask) -> None:
    queries = sample(evidence_world.split("test_inferred_iid"), 200, max_units=80, seed=0)
    result = compare_readings(handset_model(evidence_world.graph, rotated=True), evidence_world, queries)
    assert_explained(result)
    said, most = result.explain(), result.table.groupby("reading")["accuracy"].max()
    for reading in ("affine readout", "probe"):
        assert f" {reading} {most[reading]:.2f} at L0 r1" in said.means
    assert "Readable is not used, and unreadable is not absent." in said.means and "lens 0, tuned lens" in said.would_change
