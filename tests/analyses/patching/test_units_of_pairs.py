"""Errors and intervals of effects are over units: copies of a pair that are one unit change nothing but n."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import strong_model, wide_pairs

from grokscope.analyses import activation_patch, attribute_attention, edge_attribution, path_patch, transplant
from grokscope.analyses import discover as discovered
from grokscope.analyses.patching.circuit_runs import CircuitRuns
from grokscope.analyses.patching.gap import gap_and_reason
from grokscope.tasks import PromptPairs

MODEL = strong_model(0)
MEASURES = {
    "path_patch": lambda pairs: path_patch(MODEL, pairs),
    "activation_patch": lambda pairs: activation_patch(MODEL, pairs),
    "edge_attribution": lambda pairs: edge_attribution(MODEL, pairs),
    "transplant": lambda pairs: transplant(MODEL, strong_model(2), circuit(), pairs, allow_shared=True),
    "attribute_attention": lambda pairs: attribute_attention(MODEL, pairs, steps=2),
}


def circuit() -> object:
    return discovered(MODEL, wide_pairs(0), top_k=20)


def copied(pairs: PromptPairs, n: int) -> PromptPairs:
    return pairs.take(torch.arange(len(pairs)).repeat(n))


@pytest.mark.parametrize("name", MEASURES)
def test_copies_of_pairs_change_no_error_and_no_interval(name: str) -> None:
    pairs = wide_pairs(0)
    plain, many = (MEASURES[name](each).table for each in (pairs, copied(pairs, 3)))
    assert (many["n"] == 36).all() and (many["n_units"] == plain["n_units"]).all() and (plain["n_units"] == 12).all()
    numbers = plain.select_dtypes("number").drop(columns=["n", "n_units"]).columns
    np.testing.assert_allclose(many[numbers], plain[numbers], atol=1e-9)
    alone = dataclasses.replace(copied(pairs, 3), unit=torch.arange(36))  # as if copies were new queries
    errors = [column for column in numbers if "stderr" in column or "low" in column]
    narrow = MEASURES[name](alone).table
    assert not np.allclose(narrow[errors], plain[errors], equal_nan=True)


@pytest.mark.parametrize("name", MEASURES)
def test_a_single_unit_has_effects_and_no_error(name: str) -> None:
    pairs = wide_pairs(0)
    result = MEASURES[name](dataclasses.replace(pairs, unit=torch.zeros(12, dtype=torch.long)))
    errors = [column for column in result.table if "stderr" in column or column.endswith(("_low", "_high"))]
    assert result.table[errors].isna().all(axis=None) and result.table[errors].shape[1]
    if name not in ("attribute_attention",):
        assert "no interval" in result.caption


def test_runs_of_circuits_and_the_gap_draw_units() -> None:
    pairs = wide_pairs(0)
    runs, more = (CircuitRuns(MODEL, each) for each in (pairs, copied(pairs, 4)))
    changes = runs.metric([runs.graph.edges[::2], runs.graph.edges[::3]]) - runs.empty
    for a, b in zip(runs.ratios(changes, seed=0), more.ratios(np.tile(changes, 4), seed=0), strict=True):
        np.testing.assert_allclose(a, b)
    np.testing.assert_allclose(runs.gap[1], more.gap[1])
    # 64 queries of 4 units whose gaps are far apart: by query the gap looks known, by unit it is not
    gaps, unit = np.repeat([0.2, 1.0, 6.0, 10.0], 16), np.repeat(np.arange(4), 16)
    by_query, by_unit = (gap_and_reason(gaps, each, seed=0) for each in (np.arange(64), unit))
    assert not by_query[2] and "not known well enough" in by_unit[2]
    assert by_unit[1] == pytest.approx(gap_and_reason(gaps[::16], np.arange(4), seed=0)[1])
