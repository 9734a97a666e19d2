"""The HookedTransformer that stands in for TransformerLens', compared with it and with TransformerLens' conversion."""

import copy
import random
from types import SimpleNamespace

import pytest
import torch

from grokscope.tasks import load_study
from grokscope.tasks.hooked_config import OnlyInTransformerLens3
from grokscope.tasks.hooked_transformer import HookedTransformer, HookedTransformerConfig
from grokscope.tasks.transformerlens import HookedTransformer as Installed
from grokscope.tasks.transformerlens import HookedTransformerConfig as InstalledConfig

ROTARY = {"positional_embedding_type": "rotary", "rotary_dim": 4}
OPTIONS = {
    "normalization_type": ("LN", "LNPre", "RMS", "RMSPre", None),
    "act_fn": ("gelu", "relu", "silu"),
    "attention_dir": ("causal", "bidirectional"),
    "mlp": ("plain", "gated", "none"),
    "dtype": (torch.float32, torch.float64),
    "n_heads": (1, 3),
    "flags": ((), ("use_split_qkv_input", "use_hook_mlp_in"), ("use_attn_result",)),
    "more": (
        {},
        {"output_logits_soft_cap": 2.0, "attn_scores_soft_cap": 1.0},
        {"use_attn_scale": False, "d_vocab_out": 7},
        ROTARY,
    ),
}
LOGITS = (  # of three prompts and four tokens, by TransformerLens 3.9 in fp64
    (0.3277350041685597, 0.4191107414270068, 0.024872598640259015, 0.7633274231147538),
    (0.5836421565137139, 0.03128261515525542, 0.3633065147676238, -0.8368050367822725),
    (-0.10859572132340473, 0.022018624192710043, -0.03319769533928449, -0.5471354139760352),
)


def filled(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The model with random numbers in all parameters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model


def settings_of(chosen: dict) -> dict:
    """What a config is made from."""
    plain = {name: value for name, value in chosen.items() if name not in ("mlp", "flags", "more")}
    sizes = {"n_layers": 2, "d_model": 12, "n_ctx": 5, "d_head": 5, "d_mlp": 16, "d_vocab": 11, "device": "cpu"}
    mlp = {"attn_only": chosen["mlp"] == "none", "gated_mlp": chosen["mlp"] == "gated"}
    return {**sizes, **plain, **mlp, **dict.fromkeys(chosen["flags"], True), **chosen["more"]}


def plain_settings() -> dict:
    """Those of the first choices."""
    return settings_of({name: values[0] for name, values in OPTIONS.items()})


@pytest.mark.transformerlens(3)
def test_everything_is_as_in_transformerlens_to_the_bit() -> None:
    draw = random.Random(0)
    for number in range(40):  # all of them together take long; once, all were the same
        chosen = {name: draw.choice(values) for name, values in OPTIONS.items()}
        settings = settings_of(chosen)
        theirs, ours = Installed(InstalledConfig(**settings)), HookedTransformer(HookedTransformerConfig(**settings))
        shapes = [[(name, p.shape, p.dtype) for name, p in model.named_parameters()] for model in (theirs, ours)]
        assert shapes[0] == shapes[1], chosen  # in their order, in which initial weights are drawn
        ours.load_state_dict(filled(theirs, number).state_dict())
        tokens = torch.randint(11, (7, 5), generator=torch.Generator().manual_seed(number))
        mask = torch.arange(5) >= torch.arange(7)[:, None] % 5
        for options in ({}, {"attention_mask": mask}, {"stop_at_layer": 1}):
            (logits, cache), (others, found) = (model.run_with_cache(tokens, **options) for model in (theirs, ours))
            assert torch.equal(logits, others), chosen
            assert list(cache) == list(found), chosen
            assert all(torch.equal(cache[name], found[name]) for name in cache), chosen


@pytest.mark.transformerlens(3)
def test_prompts_are_padded_as_in_transformerlens() -> None:
    settings = plain_settings()
    theirs, ours = Installed(InstalledConfig(**settings)), HookedTransformer(HookedTransformerConfig(**settings))
    ours.load_state_dict(filled(theirs, 0).state_dict())
    tokens = torch.randint(1, 11, (6, 5), generator=torch.Generator().manual_seed(0))
    tokens[:3, :2] = 0
    for side in ("left", "right"):
        theirs.tokenizer = ours.tokenizer = SimpleNamespace(padding_side=side, pad_token_id=0, bos_token_id=8)
        assert torch.equal(theirs(tokens), ours(tokens))


def test_gradients_reach_all_parameters() -> None:
    model = filled(HookedTransformer(plain_settings()), 0)
    model(torch.arange(5)[None]).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for name, parameter in model.named_parameters())


def test_hooks_change_what_is_hooked_and_those_without_effect_are_refused() -> None:
    model = filled(HookedTransformer(plain_settings()), 0)
    tokens, point = torch.arange(5)[None], "blocks.1.attn.hook_z"
    plain = model(tokens)
    with model.hooks(fwd_hooks=[(point, lambda z, hook: torch.zeros_like(z))]):
        assert not torch.equal(model(tokens), plain)
    assert torch.equal(model(tokens), plain)
    for name in ("blocks.0.hook_q_input", "blocks.0.hook_mlp_in", "blocks.1.attn.hook_result"):
        with pytest.raises(AssertionError, match=f"Cannot add hook {name} if use_"):
            model.add_hook(name, lambda value, hook: value)


def test_config_follows_and_copies_are_whole() -> None:
    model = HookedTransformer(plain_settings())
    twin = copy.deepcopy(model).double()
    assert (twin.cfg.dtype, model.cfg.dtype) == (torch.float64, torch.float32)
    assert twin.blocks[0].ln1.cfg is twin.cfg and HookedTransformerConfig.from_dict(model.cfg.to_dict()) == model.cfg
    assert twin(torch.arange(5)[None]).dtype == torch.float64


def test_options_of_transformerlens_3_are_named_all_at_once() -> None:
    settings = {"n_layers": 1, "d_model": 4, "d_head": 4, "n_ctx": 3, "d_vocab": 5}
    with pytest.raises(OnlyInTransformerLens3, match="no n_key_value_heads=2, use_qk_norm=True; such"):
        HookedTransformerConfig(**settings, n_key_value_heads=2, use_qk_norm=True)


def prompts(run: object) -> torch.Tensor:
    """The same prompts in every version."""
    task = run.task
    return (torch.arange(12)[:, None] * 7 + torch.arange(task.n_positions) * 31) % task.n_tokens


def test_a_shipped_checkpoint_gives_the_logits_that_it_gave() -> None:
    run = load_study("pilot").runs["natural"]
    tokens, last = prompts(run), run.checkpoint("final").model()
    ours = HookedTransformer({**sizes_of(last), "device": "cpu"})
    ours.load_state_dict(last.state_dict())
    for model, other, tolerance in ((last, ours, 1e-4), (last.to(torch.float64), ours.to(torch.float64), 1e-11)):
        with torch.no_grad():
            logits = model(tokens)
            assert torch.equal(logits, other(tokens))
        torch.testing.assert_close(
            logits[:3, -1, :4].double(), torch.tensor(LOGITS, dtype=torch.float64), rtol=0, atol=tolerance
        )


def sizes_of(model: object) -> dict:
    names = "n_layers d_model d_head n_heads n_ctx d_vocab d_mlp act_fn normalization_type attention_dir eps dtype"
    return {name: getattr(model.cfg, name) for name in names.split()}


@pytest.mark.transformerlens(4)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_conversion_of_transformerlens_gives_the_same_logits(dtype: torch.dtype, tolerance: float) -> None:
    # measured: the same bits in fp32, up to 3e-14 of logits up to 7 in fp64
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.utilities.tl_checkpoint_conversion import (  # pyright: ignore[reportMissingImports]
        convert_tl_checkpoint,
    )

    for run in load_study("pilot").runs.values():
        model = run.checkpoint("final").model().to(dtype)
        bridge = TransformerBridge.boot_native(TransformerBridgeConfig(**sizes_of(model), device="cpu"), dtype=dtype)
        bridge.load_state_dict(convert_tl_checkpoint(model.state_dict(), bridge.cfg), strict=True)
        with torch.no_grad():
            torch.testing.assert_close(bridge(prompts(run)), model(prompts(run)), rtol=0, atol=tolerance)
