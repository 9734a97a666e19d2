"""Exact patching finds every planted edge, and finds nothing where the truth is shuffled."""

import numpy as np
import pandas as pd
import pytest

from grokscope.analyses.validity import planted
from grokscope.analyses.validity.planted import planted_auroc
from grokscope.tasks.models.by_hand import BRIDGE_EDGES, handset_model

measured = planted_auroc.__wrapped__  # each time anew


@pytest.mark.parametrize("seed", range(3))
def test_every_planted_edge_has_a_larger_effect_than_any_other(seed: int) -> None:
    area, n_planted, n = planted_auroc(seed=seed)
    assert area == 1.0 and n_planted == len(BRIDGE_EDGES) == 6 and n > 50


def test_a_shuffled_truth_is_found_no_better_than_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact patching runs once; of its edges others are said to be the planted ones."""
    found = planted.path_patch
    tables: list[pd.DataFrame] = []

    def once(*args: object, **how: object) -> object:
        result = found(*args, **how)
        tables.append(result.table)
        monkeypatch.setattr(planted, "path_patch", lambda *args, **how: result)
        return result

    monkeypatch.setattr(planted, "path_patch", once)
    assert measured(seed=0)[0] == 1.0
    names, rng, areas = tables[0]["sender"] + " -> " + tables[0]["receiver"], np.random.default_rng(0), []
    for _ in range(60):
        monkeypatch.setattr(planted, "BRIDGE_EDGES", tuple(rng.choice(names, size=6, replace=False)))
        area, n_planted, n = measured(seed=0)
        areas.append(area)
        assert n_planted == 6 and n == len(names)
    spread = float(np.std(areas))
    assert abs(np.mean(areas) - 0.5) < 4 * spread / len(areas) ** 0.5 < 0.1 and min(areas) < 0.4
    monkeypatch.setattr(planted, "BRIDGE_EDGES", tuple(set(names) - set(BRIDGE_EDGES)))
    assert measured(seed=0)[0] == 0.0


def test_a_model_without_the_second_hop_has_nothing_to_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pair is answered right, so that none is left to patch."""
    monkeypatch.setattr(planted, "handset_model", lambda graph, **how: handset_model(graph, misaligned=True, **how))
    with pytest.raises(ValueError, match="pair"):
        measured(seed=0)
