import signal
import sys
from collections.abc import Callable, Generator
from importlib.metadata import version
from typing import no_type_check

import jaxtyping
import pytest
import torch
import transformer_lens  # noqa: F401 (what the library imports first, jaxtyping's import hook compiles again in every process)
from handset import ROLES

from grokscope.circuits import arguments, progress
from grokscope.circuits.conditions import condition_of
from grokscope.tasks import ModelConfig, PromptPairs, Run, TrainConfig, TwoHopTask, train
from grokscope.tasks.hooked_config import OnlyInTransformerLens3
from grokscope.tasks.models.transformer import tie_blocks
from grokscope.tasks.transformerlens import HookedTransformer, HookedTransformerConfig

TRANSFORMERLENS = int(version("transformer-lens").split(".")[0])

# what a shell starts in the background ignores SIGINT, as would the processes that tests start
signal.signal(signal.SIGINT, signal.default_int_handler)

# they are asked thousands of times in a call, and say by themselves what they cannot take
for each in (arguments.is_whole, arguments.is_number, arguments.native, condition_of):
    no_type_check(each)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that is marked as one of another major version of TransformerLens."""
    for mark in item.iter_markers("transformerlens"):
        if mark.args != (TRANSFORMERLENS,):
            pytest.skip(f"is about TransformerLens {mark.args[0]}, installed is {version('transformer-lens')}")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """Skip a test whose model has options that without TransformerLens 3 no HookedTransformer has."""
    try:
        return (yield)
    except OnlyInTransformerLens3 as error:
        pytest.skip(str(error))


def seeds(n: int, *, fast: int) -> list[object]:
    """Seeds 0 to n − 1 as parameters; those from `fast` on are left to `make test-slow`."""
    return [seed if seed < fast else pytest.param(seed, marks=pytest.mark.slow) for seed in range(n)]


@pytest.fixture
def as_users_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Types are not checked at every call, so that the library's own messages are seen."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def not_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shuffled circuits are not aligned, which takes long, where that is not asked about."""
    for name, value in {"MIN_ALIGNED": 1, "ALIGNED_EDGES": 0}.items():
        monkeypatch.setattr(sys.modules["grokscope.circuits.compare"], name, value)


@pytest.fixture
def few_shuffles(not_aligned: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shuffled circuits, which take most of the time, are few, where they decide nothing."""
    monkeypatch.setattr(sys.modules["grokscope.circuits.compare"], "N_PERMUTATIONS", 3)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """What is written where standard error is no terminal; every update is a line."""
    monkeypatch.setattr(progress, "DELAY", -1.0)
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    return lambda: capsys.readouterr().err.split("\n")[:-1]


@pytest.fixture(scope="session")
def task() -> TwoHopTask:
    return TwoHopTask.random(n_entities=24, n_relations=14, out_degree=10, ood_fraction=0.15, test_fraction=0.1, seed=0)


@pytest.fixture(scope="session")
def tiny_run(task: TwoHopTask, tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = TrainConfig.tiny(max_steps=60, evaluate_every=10, n_checkpoints=3)
    return train(task, ModelConfig.tiny(), config, tmp_path_factory.mktemp("runs") / "tiny", progress=False)


@pytest.fixture(scope="session")
def small_world() -> TwoHopTask:
    """A task whose graph the hand-set model solves."""
    return TwoHopTask.random(n_entities=8, n_relations=6, out_degree=5, ood_fraction=0.1, test_fraction=0.3, seed=1)


@pytest.fixture(scope="session")
def donor_world() -> TwoHopTask:
    """Enough facts for every kind of donor, few enough for the hand-set model."""
    return TwoHopTask.random(n_entities=12, n_relations=10, out_degree=8, ood_fraction=0.1, test_fraction=0.4, seed=1)


@pytest.fixture(scope="session")
def evidence_world() -> TwoHopTask:
    """Enough facts to read, to judge and for means, few enough for models set by hand."""
    return TwoHopTask.random(n_entities=16, n_relations=14, out_degree=12, ood_fraction=0.1, test_fraction=0.4, seed=1)


def random_model(seed: int, **changes: object) -> HookedTransformer:
    """A HookedTransformer with random weights of every kind, biases included; `n_blocks` ties it."""
    n_blocks = int(changes.pop("n_blocks", 0))
    settings = dict(n_layers=2, d_model=12, n_ctx=3, n_heads=2, d_head=5, d_mlp=16, d_vocab=11, act_fn="gelu")
    settings |= dict(normalization_type="LN", device="cpu", dtype=torch.float64)
    model = HookedTransformer(HookedTransformerConfig(**{**settings, **changes}))
    if n_blocks:
        tie_blocks(model, n_blocks)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model.eval()


def random_pairs(seed: int, n: int = 5, d_vocab: int = 11) -> PromptPairs:
    """Pairs of random prompts; each differs at every position."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(d_vocab, (n, 3), generator=generator)
    corrupt = (clean + torch.randint(1, d_vocab, (n, 3), generator=generator)) % d_vocab
    answers = torch.randint(d_vocab, (n,), generator=generator)
    foils = (answers + torch.randint(1, d_vocab, (n,), generator=generator)) % d_vocab
    return PromptPairs(clean, corrupt, answers, foils, roles=ROLES)


def random_settings(seed: int) -> dict[str, object]:
    """A model drawn over the options that are done exactly."""
    generator = torch.Generator().manual_seed(seed)

    def pick(*choices: object) -> object:
        return choices[int(torch.randint(len(choices), (1,), generator=generator))]

    n_layers = pick(1, 2, 3, 4, 6, 12)
    settings = {"n_layers": n_layers, "n_heads": {1: 8, 12: 1}.get(n_layers) or pick(1, 2, 3), "d_head": 4, "n_ctx": 5}
    settings |= {"normalization_type": pick("LN", "LNPre", "RMS", "RMSPre", None), "act_fn": pick("gelu", "relu", "silu")}
    settings |= {"attention_dir": pick("causal", "bidirectional"), "attn_only": pick(False, False, True)}
    settings |= pick({}, {"positional_embedding_type": "rotary", "rotary_dim": 4})
    settings |= pick({}, {"gated_mlp": True}) if not settings["attn_only"] else {}
    divisors = [n for n in range(1, n_layers + 1) if n_layers % n == 0]
    return settings | {"n_blocks": pick(*divisors)}


def pairs_of_five(seed: int, answer_position: int) -> PromptPairs:
    """Pairs of prompts of five tokens, answered before the end or at it."""
    pairs, more = random_pairs(seed, n=3), random_pairs(seed + 1000, n=3)
    tokens = [torch.cat([a, b[:, :2]], 1) for a, b in ((pairs.clean, more.clean), (pairs.corrupt, more.corrupt))]
    roles = ("h", "r1", "r2", "answer", "end")
    return PromptPairs(*tokens, pairs.answers, pairs.foils, roles=roles, answer_position=answer_position)


def calm_model(seed: int, **settings: object) -> HookedTransformer:
    """A random model whose logits stay small, so that finite differences and integrals are accurate."""
    model = random_model(seed, **settings)
    with torch.no_grad():
        for parameter in {id(p): p for p in model.parameters()}.values():
            parameter.mul_(0.5)
    return model


def strong_model(seed: int) -> HookedTransformer:
    """Random weights, and a gap large enough that effects are defined."""
    model = random_model(seed)
    with torch.no_grad():
        model.unembed.W_U.mul_(10.0)
    return model


def wide_pairs(seed: int, n: int = 12, prompts: int | None = None) -> PromptPairs:
    """Pairs whose answer and foil the model of that seed prefers in the clean and in the corrupt run."""
    model, pairs = strong_model(seed), random_pairs(seed if prompts is None else prompts, n)
    with torch.no_grad():
        change = (model(pairs.clean) - model(pairs.corrupt))[:, -1]
    return PromptPairs(pairs.clean, pairs.corrupt, change.argmax(-1), change.argmin(-1), roles=pairs.roles)


def other_pairs(seed: int, n: int = 9) -> PromptPairs:
    """More pairs of that seed's model, which share nothing with `wide_pairs`, to judge what was chosen on those."""
    pairs = wide_pairs(seed, n + 40, prompts=seed + 1000)
    for n_chosen in (12, 24):
        pairs = pairs.apart_from(wide_pairs(seed, n_chosen).hashes)
    return pairs.take(torch.arange(n))


def no_hooks_left(model: HookedTransformer) -> bool:
    """Whether a model carries no hook and its flags are as they come."""
    flags = (model.cfg.use_split_qkv_input, model.cfg.use_hook_mlp_in, model.cfg.use_attn_result)
    hooks = [hook for point in model.hook_dict.values() for hook in (*point.fwd_hooks, *point.bwd_hooks)]
    return not hooks and not any(flags)
