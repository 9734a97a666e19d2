"""Budgets in bytes: they bound what is used, change no number, and what does not fit is refused by name."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import no_hooks_left, strong_model, wide_pairs

from grokscope.analyses import (
    activation_patch,
    attribute_attention,
    causal_trace,
    discover,
    edge_attribution,
    faithfulness,
    graph_of,
    logit_lens,
    path_patch,
    query_details,
    run_with_edge_sets,
    trace_inputs,
    transplant,
)
from grokscope.analyses.forward import memory
from grokscope.analyses.patching.circuit_runs import CircuitRuns
from grokscope.analyses.patching.discovery import prune
from grokscope.analyses.patching.metrics import logit_difference
from grokscope.circuits import Circuit
from grokscope.circuits.progress import with_bar
from grokscope.tasks import PromptPairs, Queries
from grokscope.tasks.transformerlens import HookedTransformer

TIGHT, AMPLE = 2**19, 2**32
SCRIPT = Path(__file__).parents[3] / "examples" / "benchmarks" / "memory.py"


def circuit_of(model: HookedTransformer) -> Circuit:
    return Circuit.from_effects(path_patch(model, wide_pairs(1)), top_k=12)


def questions(pairs: PromptPairs) -> Queries:
    right = strong_model(1)(pairs.clean)[:, -1].argmax(-1)
    return Queries(pairs.clean, right, roles=pairs.roles, answer_position=2, split="own")


def with_bridge(model: HookedTransformer, pairs: PromptPairs) -> Queries:
    pairs = pairs.take(torch.arange(len(pairs)).repeat(4))  # many, since the lens takes little for each
    return replace(questions(pairs), intermediates={"bridge": pairs.foils})


def judged(model: HookedTransformer, pairs: PromptPairs, **options: object) -> np.ndarray:
    result = faithfulness(model, circuit_of(model), pairs, n_random=3, allow_shared=True, **options)
    return np.concatenate([result.table["faithfulness"], result.curve["faithfulness"], result.edges["own_share"]])


def longer(model: HookedTransformer, pairs: PromptPairs, **options: object) -> np.ndarray:
    ends = ["embed@h -> logits@r2", "L0H1@h -> MLP1@r2", "embed@r1 -> L1H1.q@r2"]
    return path_patch(model, pairs, edges=ends, through=["MLP0@h", "MLP0@r2"], per_query=True, **options).deltas


def with_metric(measure: Callable[..., object]) -> Callable[..., np.ndarray]:
    return lambda model, pairs, **options: np.asarray(measure(model, pairs, per_query=True, **options).deltas)


MEASURES: dict[str, Callable[..., np.ndarray]] = {
    "path_patch": with_metric(path_patch),
    "together": with_metric(lambda *args, **options: path_patch(*args, positions="together", **options)),
    "paths": longer,
    "activation_patch": with_metric(activation_patch),
    "eap": with_metric(edge_attribution),
    "eap_ig_inputs": with_metric(lambda *args, **options: edge_attribution(*args, method="eap_ig_inputs", **options)),
    "greedy": lambda *args, **options: discover(*args, greedy=0.05, **options).table["kept"].to_numpy(dtype=float),
    "faithfulness": judged,
    "transplant": lambda model, pairs, **options: (
        transplant(model, strong_model(2), circuit_of(model), pairs, allow_shared=True, **options).table["other"].to_numpy()
    ),
    "attribute_attention": lambda *args, **options: attribute_attention(*args, **options).table["integrated"].to_numpy(),
}
WITHOUT_METRIC: dict[str, Callable[..., np.ndarray]] = {
    "run_with_edge_sets": lambda model, pairs, **options: run_with_edge_sets(
        model, pairs, [graph_of(model, pairs.roles, -1).edges[::k] for k in (1, 2, 3)], **options
    ).numpy(),
    "logit_lens": lambda model, pairs, **options: (
        logit_lens(model, with_bridge(model, pairs), **options).table.select_dtypes("number").to_numpy()
    ),
    "causal_trace": lambda model, pairs, **options: (
        causal_trace(model, questions(pairs), {"h": pairs.corrupt}, **options).table["strength"].to_numpy()
    ),
    "query_details": lambda model, pairs, **options: (
        query_details(model, pairs, **options).attention.select_dtypes("number").to_numpy()
    ),
    "trace_inputs": lambda model, pairs, **options: (
        trace_inputs(model, questions(pairs), {"h": pairs.corrupt}, **options).table["strength"].to_numpy()
    ),
}


LONG = ("faithfulness", "greedy")  # half a minute each


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in MEASURES | WITHOUT_METRIC]
)
def test_the_budget_changes_no_number(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, found = [], []
    split = memory.batches
    for module in ("room", "memory"):
        monkeypatch.setattr(
            f"grokscope.analyses.forward.{module}.batches", lambda n, size: sizes.append(size) or split(n, size)
        )
    for module in ("patching.attention", "bridge.lens"):
        monkeypatch.setattr(f"grokscope.analyses.{module}.batches", lambda n, size: sizes.append(size) or split(n, size))
    measure = (MEASURES | WITHOUT_METRIC)[name]
    for max_memory in (TIGHT, AMPLE):
        sizes.append(0)
        found.append(measure(strong_model(1), wide_pairs(1, n=40), max_memory=max_memory))
    tight, ample = sizes[1 : sizes.index(0, 1)], sizes[sizes.index(0, 1) + 1 :]
    assert tight[-1] < 40 and ample[-1] >= 40  # it did run in smaller parts, and does in one where there is room
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", MEASURES | WITHOUT_METRIC)
def test_what_does_not_fit_is_refused_by_name(name: str) -> None:
    measure = (MEASURES | WITHOUT_METRIC)[name]
    with pytest.raises(MemoryError, match=r"one .* needs .* of which .* are allowed"):
        measure(strong_model(1), wide_pairs(1, n=40), max_memory=2**10)
    with pytest.raises(ValueError, match="max_memory is a number of bytes, at least 1, got 0"):
        measure(strong_model(1), wide_pairs(1, n=40), max_memory=0)


@pytest.mark.parametrize("name", MEASURES)
def test_an_interrupted_measurement_leaves_the_model_as_it_was(name: str) -> None:
    """The metric interrupts at its third call."""
    model, calls = strong_model(1), []

    def interrupting(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        calls.append(len(logits))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return logit_difference(logits, answers, foils)

    def state() -> list[object]:
        return [(p.requires_grad, p.dtype, p.grad, p.clone()) for p in model.parameters()]

    model.train()
    before = state()
    with pytest.raises(KeyboardInterrupt):
        MEASURES[name](model, wide_pairs(1, n=40), metric=interrupting)
    assert no_hooks_left(model.eval()) and torch.is_grad_enabled()
    for old, new in zip(before, state(), strict=True):
        assert old[:3] == new[:3] and torch.equal(old[3], new[3])


@pytest.mark.parametrize("seed", range(4))
def test_guesses_do_not_change_what_pruning_keeps(seed: int) -> None:
    runs, rng = CircuitRuns(strong_model(1), wide_pairs(1)), np.random.default_rng(seed)
    kept, share = np.ones(len(runs.graph.edges), dtype=bool), 1.0
    for edge in range(len(kept))[::-1]:
        kept[edge] = False
        rest = float(runs.share(kept[None])[0])
        kept[edge], share = (False, rest) if share - rest < 0.03 else (True, share)
    likely = rng.random(len(kept)) < (0.0, 0.1, 0.5, 1.0)[seed]
    expected = [edge for edge, stays in zip(runs.graph.edges, kept, strict=True) if stays]
    assert prune(runs, 0.03, likely=likely) == expected and 0 < len(expected) < len(kept)


def test_the_default_is_a_quarter_of_what_the_tighter_limit_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("8000\n")
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 1000\n")
    monkeypatch.setattr(memory, "_group_files", lambda: [("memory.max", "memory.current", tmp_path)])
    assert memory.budget(None, strong_model(0)) == 1500
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory(torch.device("cpu")) > 10**6


def test_a_bar_is_for_terminals_and_lines_are_for_files(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("grokscope.circuits.progress.DELAY", 0.0)
    for stream in (io.StringIO(), Terminal()):
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(with_bar(range(3), "counting")) == [0, 1, 2]
        assert "counting" in stream.getvalue() and ("\r" in stream.getvalue()) == stream.isatty()
    assert not list(with_bar([], "nothing", show=False))


PEAKS = ["path_patch", "paths", "eap", "eap_ig_inputs", "attribute_attention", "query_details", "logit_lens"]
PEAKS += ["faithfulness", "greedy"]


@pytest.mark.slow
@pytest.mark.parametrize("name", PEAKS)
def test_peaks_stay_under_the_budget(name: str) -> None:
    """Where without one several times as much is taken."""
    peaks = {}
    for max_memory in (24, 2**20):
        command = [sys.executable, str(SCRIPT), f"--only={name}", f"--max-memory={max_memory}", "--n-layers=2"]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks[max_memory] = json.loads(printed.splitlines()[-1])["peak MiB"]
    assert peaks[24] < 24 + 12 and peaks[2**20] > 2 * peaks[24], peaks
