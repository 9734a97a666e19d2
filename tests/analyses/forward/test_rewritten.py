"""Rewritten models compute the same by other weights, share what they shared, and leave the given one as it is."""

import copy

import pytest
import torch
from conftest import random_model
from rewrites import parts_of
from token_mixing import EVERY, mixing_model

from grokscope.analyses.forward.rewritten import rewritten
from grokscope.tasks.transformerlens import HookedTransformer

SHAPES = {
    "layer norm": {},
    "tied": {"n_layers": 4, "n_blocks": 2, "n_heads": 3},
    "gated": {"gated_mlp": True, "act_fn": "silu", "normalization_type": "RMS"},
    "normed neurons": {"act_fn": "solu_ln"},
    "attention only": {"attn_only": True},
    "shared keys": {"n_heads": 4, "d_head": 3, "n_key_value_heads": 2},
    "rotary": {"positional_embedding_type": "rotary", "d_head": 4, "rotary_dim": 4},
    "alibi, soft cap": {"positional_embedding_type": "alibi", "attn_scores_soft_cap": 2.0},
    "bidirectional": {"attention_dir": "bidirectional"},
    "norms after": {"normalization_type": "RMS", "use_normalization_before_and_after": True},
}
TOKENS = torch.randint(11, (20, 3), generator=torch.Generator().manual_seed(0))


def numbers(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: each.detach().clone() for name, each in model.named_parameters()}


def changed(model: torch.nn.Module, new: torch.nn.Module) -> set[str]:
    """The last part of the names of parameters that differ."""
    both = dict(new.named_parameters())
    return {
        name.rpartition(".")[2].lstrip("_") for name, each in model.named_parameters() if not torch.equal(each, both[name])
    }


def far(new: torch.Tensor, old: torch.Tensor) -> float:
    return float(((new - old).abs().max() / old.abs().max()).detach())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", SHAPES)
def test_other_weights_compute_the_same(name: str, seed: int) -> None:
    model = random_model(3, **SHAPES[name])
    before = numbers(model)
    new = rewritten(model, seed=seed)
    assert far(new(TOKENS), model(TOKENS)) < 1e-9
    assert all(torch.equal(before[each], parameter) for each, parameter in model.named_parameters())
    assert not {each.data_ptr() for each in new.parameters()} & {each.data_ptr() for each in model.parameters()}
    heads = {"W_V", "b_V", "W_O"} | (set() if name == "rotary" else {"W_Q", "b_Q", "W_K", "b_K"})
    neurons = set() if name == "attention only" else {"W_in", "b_in", "W_out"}
    extra = {"gated": {"W_gate"}, "normed neurons": {"w", "b"}}.get(name, set())
    assert changed(model, new) == heads | neurons | extra


@pytest.mark.parametrize("name", EVERY)
def test_token_mixing_networks_too(name: str) -> None:
    model, tokens = mixing_model(name), torch.randint(12, (20, 4), generator=torch.Generator().manual_seed(0))
    before = numbers(model)
    new = rewritten(model, seed=0)
    assert far(new(tokens), model(tokens)) < 1e-9
    assert all(torch.equal(before[each], parameter) for each, parameter in model.named_parameters())
    assert changed(model, new) == {"W_in", "W_gate", "W_out"}
    mixers = {name for name, each in new.named_parameters() if not torch.equal(each, before[name]) and "mixer" in name}
    assert len(mixers) == 3 * len(model.core)
    assert type(new) is type(model) and new.cfg.model_name == f"{model.cfg.model_name}, rewritten"


def test_what_layers_share_stays_shared() -> None:
    model = random_model(0, n_layers=4, n_blocks=2)
    new = rewritten(model, seed=0)
    places = []
    for each in (model, new):
        blocks = [id(block) for block in parts_of(each).blocks]
        places.append([blocks.index(block) for block in blocks])
    assert places == [[0, 1, 0, 1]] * 2


def test_layers_that_share_only_some_of_it_are_refused() -> None:
    model = random_model(0)
    model.blocks[1].attn.W_O = model.blocks[0].attn.W_O
    with pytest.raises(ValueError, match="share some parameters of a head or an MLP and not all"):
        rewritten(model, seed=0)
    tied = copy.deepcopy(random_model(0))
    tied.blocks[1].mlp.b_out = tied.blocks[0].mlp.b_out  # which is not rewritten
    assert far(rewritten(tied, seed=0)(TOKENS), tied(TOKENS)) < 1e-9


def test_clipped_values_are_left_as_they_are() -> None:
    model = random_model(0)
    model.cfg.clip_qkv = 0.5
    assert changed(model, rewritten(model, seed=0)) == {"W_in", "b_in", "W_out"}


def test_other_mlps_are_left_as_they_are() -> None:
    model = random_model(0, num_experts=2, experts_per_token=1, dtype=torch.float32)  # its router is always in single
    new = rewritten(model, seed=0)
    assert far(new(TOKENS), model(TOKENS)) < 1e-5
    assert changed(model, new) == {"W_V", "b_V", "W_O", "W_Q", "b_Q", "W_K", "b_K"}


def test_a_seed_draws_the_same_weights() -> None:
    model = random_model(0)
    first, again, other = (numbers(rewritten(model, seed=seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["blocks.0.attn.W_V"], other["blocks.0.attn.W_V"])
    assert not torch.equal(first["blocks.0.mlp.b_in"], other["blocks.0.mlp.b_in"])


def test_half_precision_is_rewritten_in_single() -> None:
    model: HookedTransformer = random_model(0).to(torch.bfloat16)
    new = rewritten(model, seed=0)
    assert {each.dtype for each in new.parameters()} == {torch.float32}
    assert {each.dtype for each in model.parameters()} == {torch.bfloat16}
    single = copy.deepcopy(model).float()
    single.cfg.dtype = torch.float32
    assert far(new(TOKENS), single(TOKENS)) < 1e-4


def test_other_models_and_seeds_are_refused(as_users_call: None) -> None:
    with pytest.raises(ValueError, match=r"the weights of a Linear are not known here; seed is -1"):
        rewritten(torch.nn.Linear(2, 2), seed=-1)
    model = random_model(0)
    model.cfg.load_in_4bit = True
    with pytest.raises(ValueError, match="weights of 4 bits"):
        rewritten(model, seed=0)
