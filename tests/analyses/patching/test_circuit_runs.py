"""Circuits alone on each background against literal hooked runs, input by input."""

import jaxtyping
import numpy as np
import pytest
import torch
from conftest import no_hooks_left, random_model, random_settings, strong_model, wide_pairs

from grokscope.analyses import graph_of
from grokscope.analyses.forward.literal import run_with_edges, sender_outputs
from grokscope.analyses.patching.circuit_runs import CircuitRuns


def backgrounds(model: object, pairs: object, seed: int) -> dict[str, dict]:
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed)).tolist()
    other = {row: order[place - 1] for place, row in enumerate(order)}
    rows = [other[row] for row in range(len(pairs))]
    assert all(row != place for place, row in enumerate(rows))
    return {
        "corrupt": corrupt,
        "resampled": sender_outputs(model, graph, pairs.corrupt[rows])[0],
        "mean": {node: value.mean(0, keepdim=True).expand_as(value) for node, value in corrupt.items()},
    }


@pytest.mark.parametrize("seed", range(4))
def test_every_background_equals_a_literal_run(seed: int) -> None:
    settings = random_settings(seed) | {"n_layers": 2, "n_heads": 2, "n_blocks": 1}
    model = strong_model(0) if seed == 0 else random_model(seed, **settings)
    pairs = wide_pairs(0)
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    rng = np.random.default_rng(seed)
    edges = [edge for edge in graph.edges if rng.random() < 0.5]
    rows = torch.arange(len(pairs))
    for name, outputs in backgrounds(model, pairs, seed=3).items():
        runs = CircuitRuns(model, pairs, background=name, seed=3)
        logits = run_with_edges(model, graph, pairs.clean, edges, outputs)
        literal = logits[rows, pairs.answers] - logits[rows, pairs.foils]
        np.testing.assert_allclose(runs.metric([edges])[0], literal.double().numpy(), atol=1e-10)
        np.testing.assert_allclose(runs.metric([graph.edges])[0], runs.full, atol=1e-10)
    assert no_hooks_left(model)


def test_shares_are_one_for_all_edges_and_zero_for_none() -> None:
    model, pairs = strong_model(1), wide_pairs(1)
    runs = CircuitRuns(model, pairs)
    np.testing.assert_allclose(runs.share([runs.graph.edges, []]), [1.0, 0.0], atol=1e-12)


def test_what_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the caller's message, not the test suite's
    model, pairs = strong_model(2), wide_pairs(2)
    with pytest.raises(ValueError, match="no background 'zero'; there are corrupt, resampled, mean"):
        CircuitRuns(model, pairs, background="zero")
    with pytest.raises(ValueError, match="7 pairs are too few to judge circuits on, needed are 8"):
        CircuitRuns(model, pairs.take(torch.arange(7)))
    with pytest.raises(KeyError, match="1 edges are not in the graph"):
        CircuitRuns(model, pairs).metric([["MLP7@h -> MLP8@h"]])
