"""The seam is enough: with the engine of hooked runs in place of the fast one, every effect comes out the same."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import no_hooks_left, random_model, strong_model, wide_pairs

from grokscope.analyses import activation_patch, edge_attribution, graph_of, path_patch, run_with_edges, transplant
from grokscope.analyses.forward import engine
from grokscope.analyses.forward.hook_points import points_of
from grokscope.analyses.forward.hooks_engine import HooksEngine
from grokscope.analyses.patching.circuit_runs import CircuitRuns
from grokscope.circuits import Circuit, ComputationGraph
from grokscope.tasks import PromptPairs
from grokscope.tasks.transformerlens import HookedTransformer

Measurement = Callable[[HookedTransformer, PromptPairs], object]


def longer_paths(model: HookedTransformer, pairs: PromptPairs) -> object:
    ends = ["embed@h -> logits@r2", "L0H1@h -> MLP1@r2", "embed@r1 -> L1H1.q@r2"]
    return path_patch(model, pairs, edges=ends, through=["MLP0@h", "L1H0@r2", "MLP0@r2"], per_query=True).deltas


def backgrounds(model: HookedTransformer, pairs: PromptPairs) -> object:
    edges = graph_of(model, pairs.roles, -1).edges[::3]
    runs = [CircuitRuns(model, pairs, background=name) for name in ("corrupt", "resampled", "mean")]
    return np.stack([each for run in runs for each in (run.full, run.empty, *run.metric([edges]))])


def transplanted(model: HookedTransformer, pairs: PromptPairs) -> object:
    circuit = Circuit.from_effects(path_patch(model, pairs), top_k=12)
    return transplant(model, random_model(9), circuit, pairs, allow_shared=True).table[["own", "other"]].to_numpy(copy=True)


MEASUREMENTS: dict[str, Measurement] = {
    "edges": lambda model, pairs: path_patch(model, pairs, per_query=True).deltas,
    "denoising": lambda model, pairs: path_patch(model, pairs, direction="denoising", per_query=True).deltas,
    "edges at all positions": lambda model, pairs: path_patch(model, pairs, positions="together", per_query=True).deltas,
    "paths": longer_paths,
    "nodes": lambda model, pairs: activation_patch(model, pairs, per_query=True).deltas,
    "a circuit": lambda model, pairs: run_with_edges(model, pairs, graph_of(model, pairs.roles, -1).edges[::2]),
    "backgrounds": backgrounds,
    "transplant": transplanted,
    "eap": lambda model, pairs: edge_attribution(model, pairs, per_query=True).deltas,
    "ig inputs": lambda model, pairs: edge_attribution(model, pairs, method="eap_ig_inputs", per_query=True).deltas,
    "ig nodes": lambda model, pairs: edge_attribution(model, pairs, method="eap_ig_activations", per_query=True).deltas,
}


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_second_engine_gives_the_same_effects(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    model, pairs = strong_model(0), wide_pairs(0)
    fast = torch.as_tensor(MEASUREMENTS[name](model, pairs))
    built = []
    monkeypatch.setattr(engine, "FastEngine", lambda model, graph, memory: built.append(_hooks(model, graph)) or built[-1])
    slow = torch.as_tensor(MEASUREMENTS[name](model, pairs))
    assert built and fast.abs().max() > 1e-3
    torch.testing.assert_close(fast, slow, rtol=1e-8, atol=1e-8)
    assert no_hooks_left(model)


def _hooks(model: HookedTransformer, graph: ComputationGraph) -> HooksEngine:
    return HooksEngine(model, points_of(model), graph, 2**30)


def test_both_fit_the_protocol() -> None:
    model, pairs = strong_model(0), wide_pairs(0)
    for each in (engine.engine_of(model, pairs.roles, -1), _hooks(model, graph_of(model, pairs.roles, -1))):
        assert isinstance(each, engine.Engine) and isinstance(each.run(pairs.clean)[0], engine.Run)
