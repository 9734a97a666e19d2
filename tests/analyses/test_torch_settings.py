"""What a notebook may have set up for all of torch: results do not depend on it, or are refused by name."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import jaxtyping
import pytest
import torch
from calls import ASKED, CALLS, SPLIT
from conftest import wide_pairs
from handset import handset_model
from same import assert_same

from grokscope import analyses
from grokscope.analyses.patching.gap import metric_values
from grokscope.analyses.patching.resolution import Resolution
from grokscope.circuits import Circuit, Result
from grokscope.tasks import (
    ModelConfig,
    PromptPairs,
    TrainConfig,
    TwoHopTask,
    build_model,
    exact_match,
    make_pairs,
    predictions,
    train,
)
from grokscope.tasks.transformerlens import HookedTransformer


@pytest.fixture(scope="module")
def pairs(evidence_world: TwoHopTask) -> PromptPairs:
    return make_pairs(evidence_world, split=ASKED, contrast="bridge", n=8, seed=0)


@pytest.fixture(scope="module")
def circuit(evidence_world: TwoHopTask) -> Circuit:
    others = make_pairs(evidence_world, split=SPLIT, contrast="bridge", n=8, seed=0)
    return analyses.discover(handset_model(evidence_world.graph), others, progress=False)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """As for users: the type hints, which tests check, are not checked."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@contextmanager
def default_device() -> Iterator[None]:
    """Another device than the model's; on this one, every number that is asked of it is an error."""
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def default_dtype() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


SETTINGS = {"default device": default_device, "default dtype": default_dtype}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", CALLS)
def test_torchs_defaults_change_no_result(
    name: str,
    setting: str,
    evidence_world: TwoHopTask,
    pairs: PromptPairs,
    circuit: Circuit,
) -> None:
    model = handset_model(evidence_world.graph)

    def outcome() -> object:
        try:
            return CALLS[name](model, evidence_world, pairs, circuit)
        except ValueError as error:  # such as too few questions: the same either way
            return str(error)

    expected = outcome()
    with SETTINGS[setting]():
        found = outcome()
    if isinstance(expected, str):
        assert found == expected
    elif isinstance(expected, Result):
        assert_same(expected, found)
    elif isinstance(expected, dict):
        assert all(torch.equal(expected[key], found[key]) for key in expected)
    else:
        assert torch.equal(expected, found) if isinstance(expected, torch.Tensor) else type(found) is type(expected)


@pytest.mark.parametrize("setting", SETTINGS)
def test_nor_a_task_a_model_or_its_training(setting: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    def everything() -> list[object]:
        made = TwoHopTask.random(n_entities=24, n_relations=14, out_degree=10, ood_fraction=0.15, test_fraction=0.1, seed=0)
        asked = make_pairs(made, split=SPLIT, contrast="bridge", n=8, seed=0)
        run = train(made, ModelConfig.tiny(), TrainConfig.tiny(max_steps=10), tmp_path_factory.mktemp("run"), progress=False)
        fresh, model = build_model(ModelConfig.tiny(), made, seed=1), run.checkpoint("final").model()
        queries = made.split(ASKED)
        return [
            asked.key,
            [asked.halves()[0].key, asked.take(torch.tensor([0, 2], device="cpu")).key],
            [each.tolist() for each in (*fresh.state_dict().values(), *model.state_dict().values())],
            [exact_match(model, queries).tolist(), predictions(model, queries.tokens, -1).tolist()],
            run.metrics.drop(columns=[name for name in run.metrics if "second" in name]),
        ]

    expected = everything()
    with SETTINGS[setting]():
        found = everything()
    for number, (one, other) in enumerate(zip(expected, found, strict=True)):
        assert_same(one, other, str(number))


@pytest.mark.parametrize("name", CALLS)
def test_autocast_is_refused_by_name(
    name: str,
    evidence_world: TwoHopTask,
    pairs: PromptPairs,
    circuit: Circuit,
) -> None:
    model = handset_model(evidence_world.graph)
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(ValueError, match=r"torch\.autocast is on: .* in torch\.bfloat16 on cpu"),
    ):
        CALLS[name](model, evidence_world, pairs, circuit)


def test_autocast_that_is_off_is_fine(evidence_world: TwoHopTask, pairs: PromptPairs) -> None:
    model = handset_model(evidence_world.graph)
    expected = analyses.path_patch(model, pairs, progress=False)
    with torch.autocast("cpu", enabled=False):
        assert_same(analyses.path_patch(model, pairs, progress=False), expected)


WRAPPERS = {
    "OptimizedModule": (lambda model: torch.compile(model), "_orig_mod"),
    "DataParallel": (torch.nn.DataParallel, "module"),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_wrapped_model_is_refused_with_where_it_is(
    name: str,
    wrapper: str,
    evidence_world: TwoHopTask,
    pairs: PromptPairs,
    circuit: Circuit,
    unchecked: None,
) -> None:
    if name == "accuracy_by_exposure" and wrapper == "OptimizedModule":
        pytest.skip("asks for predictions, which a compiled model gives as the model does")
    wrap, inside = WRAPPERS[wrapper]
    with pytest.raises(TypeError, match=rf"a .*\.?{wrapper}.*; pass the one that it wraps, model.{inside}$"):
        CALLS[name](wrap(handset_model(evidence_world.graph)), evidence_world, pairs, circuit)


@pytest.mark.parametrize("name", CALLS)
def test_a_model_without_numbers_is_refused(
    name: str,
    evidence_world: TwoHopTask,
    pairs: PromptPairs,
    circuit: Circuit,
) -> None:
    model: HookedTransformer = handset_model(evidence_world.graph).to("meta")
    with pytest.raises(ValueError, match=r"the model holds no numbers: .* on the meta device"):
        CALLS[name](model, evidence_world, pairs, circuit)


class Elsewhere(torch.Tensor):
    """Numbers on a device that, as Apple's, knows none of 64 bits."""

    @classmethod
    def __torch_function__(cls, function: object, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        name, kwargs = getattr(function, "__name__", ""), kwargs or {}
        if function == torch.Tensor.device.__get__:  # pyright: ignore[reportAttributeAccessIssue]
            return torch.device("mps")
        if name == "cpu":
            return args[0].as_subclass(torch.Tensor)
        if name == "double" or any(each is torch.float64 for each in (*args, *kwargs.values())):
            raise TypeError("Cannot convert a MPS Tensor to float64")
        return super().__torch_function__(function, types, args, kwargs)


def test_where_the_device_has_no_double_precision_metrics_are_taken_on_the_cpu(unchecked: None) -> None:
    pairs = wide_pairs(0)
    logits = torch.randn(len(pairs), 64, generator=torch.Generator().manual_seed(0))
    there = logits.as_subclass(Elsewhere)
    with pytest.raises(TypeError, match="float64"):
        there.double()
    for metric in (analyses.logit_difference, analyses.cross_entropy, analyses.exact_match, analyses.kl_to_clean):
        expected = metric_values(metric, logits, pairs, logits)
        found = metric_values(metric, there, pairs, there)
        assert type(found) is torch.Tensor and found.dtype == torch.float64 and torch.equal(found, expected)
    resolution = Resolution(torch.float32, 1e-6)
    assert torch.equal(resolution.moved(there), resolution.moved(logits))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_patterns_of_any_precision_are_shown(dtype: torch.dtype) -> None:
    patterns = torch.eye(3, device="cpu").expand(1, 2, 3, 3).to(dtype).requires_grad_()
    one, other = (
        analyses.view_attention(each, list("abc"), causal=True, title="t").html for each in (patterns, patterns.float())
    )
    assert re.sub(r"attention-[0-9a-f]+", "", one) == re.sub(r"attention-[0-9a-f]+", "", other)


@pytest.mark.parametrize("shape", [(1, 2, 2, 2), (1, 2, 3, 2), (1, 2, 4, 4), (2, 3, 3)])
def test_tokens_that_are_not_one_for_each_position_are_refused(shape: tuple[int, ...], unchecked: None) -> None:
    with pytest.raises(ValueError, match=r"a token for each position, got \(.*\) and 3 tokens"):
        analyses.view_attention(torch.rand(shape), list("abc"), causal=True, title="t")
