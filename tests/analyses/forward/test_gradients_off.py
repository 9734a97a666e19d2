"""Gradients switched off around a call, half precision, and an interrupt: the numbers stay, and so does the model."""

import contextlib
import math
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import no_hooks_left, random_model, strong_model, wide_pairs

from grokscope import analyses
from grokscope.analyses.forward import agreement, literal
from grokscope.analyses.forward.cached import run_and_cache
from grokscope.circuits import Node
from grokscope.tasks import ModelConfig, PromptPairs, TrainConfig, TwoHopTask, train
from grokscope.tasks.transformerlens import HookedTransformer

ONE_PART: dict[str, Any] = {"steps": 2, "tolerance": math.inf}  # of the line; where it is halved is asked once, of inputs
METHODS: dict[str, dict[str, Any]] = {"eap": {}, "eap_ig_inputs": {}, "eap_ig_activations": ONE_PART, "atp_star": {}}


def numbers(model: HookedTransformer, pairs: PromptPairs) -> dict[str, np.ndarray]:
    found = {"edges": analyses.path_patch(model, pairs, per_query=True, progress=False).deltas}
    for method, how in METHODS.items():
        found[method] = analyses.edge_attribution(model, pairs, method=method, per_query=True, **how).deltas
    table = analyses.attribute_attention(model, pairs).table
    return found | {each: table[each].to_numpy() for each in ("pattern", "integrated", "direct", "knockout")}


@cache
def exact() -> dict[str, np.ndarray]:
    """With gradients on, in double precision."""
    return numbers(strong_model(0), wide_pairs(0))


@contextlib.contextmanager
def switched_off() -> Iterator[None]:
    torch.set_grad_enabled(False)
    try:
        yield
    finally:
        torch.set_grad_enabled(True)


OFF = {"no_grad": torch.no_grad, "switched off": switched_off, "inference_mode": torch.inference_mode}


@pytest.mark.parametrize("made_inside", [False, True])
@pytest.mark.parametrize("off", OFF)
def test_gradients_are_turned_on_where_they_are_needed(off: str, made_inside: bool) -> None:
    model, pairs = strong_model(0), wide_pairs(0)
    expected = exact()
    with OFF[off]():
        if made_inside:
            model, pairs = strong_model(0), wide_pairs(0)
        inside, enabled = numbers(model, pairs), torch.is_grad_enabled()
    assert not enabled and torch.is_grad_enabled()
    for found in (inside, numbers(model, pairs)):  # what was made in inference mode serves outside, too
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-10, atol=1e-10, err_msg=name)


def test_training_does_not_depend_on_it(task: TwoHopTask, tmp_path: Path) -> None:
    config, losses = TrainConfig.tiny(max_steps=4, evaluate_every=2, n_checkpoints=1), []
    for name, off in {"on": contextlib.nullcontext, **OFF}.items():
        with off():
            losses.append(train(task, ModelConfig.tiny(), config, tmp_path / name, progress=False).metrics["loss"].tolist())
    assert all(each == losses[0] for each in losses[1:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_each_dtype_gives_what_it_can_resolve(dtype: torch.dtype) -> None:
    """The error is a few of the dtype's last digits, of the largest value of each kind."""
    pairs, model = wide_pairs(0), strong_model(0).to(dtype)
    assert model.cfg.dtype == dtype
    for name, values in numbers(model, pairs).items():
        error = np.nanmax(np.abs(values - exact()[name])) / np.nanmax(np.abs(exact()[name]))
        assert error < 48 * torch.finfo(dtype).eps, name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("engine", ["fast", "hooks"])
def test_half_precision_is_measured_in_single_with_the_same_weights(dtype: torch.dtype, engine: str) -> None:
    """To the bit the effects of the model converted by hand; and those by hooks in 16 bits, up to rounding."""
    pairs, model, converted = wide_pairs(0), strong_model(0).to(dtype), strong_model(0).to(dtype).to(torch.float32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    how: dict[str, Any] = {"engine": engine, "per_query": True, "progress": False}
    found, expected = (analyses.path_patch(each, pairs, **how).deltas for each in (model, converted))
    assert found is not None and expected is not None and np.array_equal(found, expected)
    assert model.cfg.dtype == dtype and no_hooks_left(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(value.dtype != before[name].dtype for name, value in model.state_dict().items())

    graph, rows = analyses.graph_of(model, pairs.roles, -1), torch.arange(len(pairs))
    (clean, base), (corrupt, _) = (literal.sender_outputs(model, graph, tokens) for tokens in (pairs.clean, pairs.corrupt))
    in_half = []
    for sender, receiver in graph.edges[::7]:
        hook = literal.input_hook(graph, receiver, lambda reads, by=corrupt[sender] - clean[sender]: reads + by)
        change = literal.logits_at(model, pairs.clean, -1, [hook]).double() - base.double()
        in_half.append((change[rows, pairs.answers] - change[rows, pairs.foils]).numpy())
    error = np.abs(np.array(in_half) - found[::7]).max() / np.abs(found).max()
    assert 0 < error < 48 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n_layers", [1, 6])
def test_what_rounding_does_not_explain_is_refused_in_every_dtype(dtype: torch.dtype, n_layers: int) -> None:
    """A model that computes something else passes neither by luck nor is one refused that only rounds."""
    for seed in range(6):
        model, pairs = random_model(seed, n_layers=n_layers, dtype=dtype), wide_pairs(seed)
        graph = analyses.graph_of(model, pairs.roles, -1)
        run = run_and_cache(model, graph, pairs.clean)
        plain = model.forward
        with torch.no_grad():
            error = float((run.logits - agreement.own_logits(model, pairs.clean, -1)).abs().max())
        model.forward = lambda tokens, plain=plain, **options: plain(tokens, **options).clamp(-1, 1)
        with pytest.raises(ValueError, match=r"where rounding explains .*something that partial runs do not know"):
            run_and_cache(model, graph, pairs.clean)
        assert error <= 32 * torch.finfo(dtype).eps * n_layers * float(run.logits.abs().max())


def test_probes_and_lens_read_half_precision(donor_world: TwoHopTask) -> None:
    model = random_model(0, d_vocab=donor_world.n_tokens)
    queries = donor_world.split("test_inferred_iid")
    for each in (model, model.to(torch.bfloat16)):
        assert len(analyses.logit_lens(each, queries).table)
        probes = analyses.probe_bridge(each, queries, transfer=[], targets=["answer"]).table
        assert probes["accuracy"].between(0, 1).all()


def interrupted(after: int) -> Callable[..., torch.Tensor]:
    """A metric that is interrupted at its n-th call."""
    calls = []

    def metric(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return analyses.logit_difference(logits, answers, foils)

    return metric


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_an_interrupt_leaves_the_model_as_it_was(after: int) -> None:
    model, pairs = strong_model(0), wide_pairs(0)
    before, settings = {name: value.clone() for name, value in model.state_dict().items()}, model.cfg.to_dict()

    class Stopping(dict[Node, torch.Tensor]):
        def __getitem__(self, node: Node) -> torch.Tensor:
            raise KeyboardInterrupt

    def stop(activation: torch.Tensor, hook: object) -> torch.Tensor:
        raise KeyboardInterrupt

    graph = analyses.graph_of(model, pairs.roles, -1)
    metric = interrupted(after)
    for call in (
        lambda: analyses.path_patch(model, pairs, metric=metric, progress=False),
        lambda: analyses.edge_attribution(model, pairs, metric=metric),
        lambda: analyses.attribute_attention(model, pairs, metric=metric),
        lambda: literal.logits_at(model, pairs.clean, -1, [("blocks.1.hook_mlp_out", stop)]),
        lambda: literal.run_with_edges(model, graph, pairs.clean, [], Stopping()),
    ):
        with pytest.raises(KeyboardInterrupt):
            call()
        assert no_hooks_left(model) and not model.training and torch.is_grad_enabled()
        assert model.cfg.to_dict() == settings
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad and parameter.grad is None and torch.equal(parameter, before[name])
