"""The discrete channel of a loop: one step by hand, the whole pass written out, its gradient, and what files say of it."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from grokscope.tasks import ModelConfig, Run, TrainConfig, TwoHopTask, build_model, train
from grokscope.tasks.models import transformer
from grokscope.tasks.models.fast_forward import answer_logits
from grokscope.tasks.models.token_channel import TokenChannel
from grokscope.tasks.models.transformer import (
    flops_per_example,
    load_parameters,
    n_parameters,
    tied_forward,
    trained_parameters,
)
from grokscope.tasks.runs.past import Past
from grokscope.tasks.runs.settings import settings_bytes
from grokscope.tasks.transformerlens import HookedTransformer

CARRYING = ModelConfig(d_model=16, n_heads=2, n_blocks=2, n_loops=3, carries="state and token")
SHIPPED = Path(__file__).parents[3] / "examples" / "checkpoints"


def scattered(config: ModelConfig, task: TwoHopTask, seed: int = 0) -> HookedTransformer:
    """A model in double precision whose weights, biases included, are all random."""
    model = build_model(config, task, seed=seed).to(torch.float64)
    parameters, generator = trained_parameters(model, config), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    load_parameters(model, config, parameters)
    return model


def test_one_step_by_hand() -> None:
    """The logits of (1, −1) are (1, −2, 3) + (0, 2, −2) = (1, 0, 1): as likely as e : 1 : e."""
    embed = SimpleNamespace(W_E=nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, -6.0]])))
    unembed = SimpleNamespace(
        W_U=nn.Parameter(torch.tensor([[1.0, 0.0, 3.0], [0.0, 2.0, 0.0]])), b_U=nn.Parameter(torch.tensor([0.0, 2.0, -2.0]))
    )
    channel = TokenChannel(SimpleNamespace(embed=embed, unembed=unembed))
    e = math.e
    wanted = [4 * (e + 3 + 5 * e) / (2 * e + 1), 4 * (2 * e + 4 - 6 * e) / (2 * e + 1)]
    assert channel(torch.tensor([[1.0, -1.0]])).tolist() == [pytest.approx(wanted)]
    sure = channel(torch.tensor([[99.0, 0.0]]))  # of the last token
    torch.testing.assert_close(sure, torch.tensor([[20.0, -24.0]]))


@pytest.mark.parametrize("tied", [True, False])
def test_module_and_training_compute_the_loop_that_is_written_out(task: TwoHopTask, tied: bool) -> None:
    config = ModelConfig(d_model=16, n_heads=2, n_blocks=2, n_loops=3, carries="state and token", tie_embeddings=tied)
    model = scattered(config, task)
    examples = task.split("train_inferred")
    tokens, positions = examples.tokens[:20], torch.full((20,), 2)
    wanted = _written_out(model, config, tokens)
    torch.testing.assert_close(model(tokens), wanted)
    torch.testing.assert_close(tied_forward(model, config, tokens), wanted)
    torch.testing.assert_close(answer_logits(trained_parameters(model, config), config, tokens, positions), wanted[:, 2])
    state_alone = _written_out(model, config, tokens, carrying=False)
    assert not torch.allclose(state_alone, wanted)


def _written_out(model: HookedTransformer, config: ModelConfig, tokens: Tensor, *, carrying: bool = True) -> Tensor:
    """The forward pass as loops over loops and blocks, from the weights alone."""
    state = model.W_E[tokens] + model.W_pos[: tokens.shape[1]]
    future = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).triu(1)
    for loop in range(config.n_loops):
        for block in (model.blocks[number] for number in range(config.n_blocks)):
            attn, mlp, reads = block.attn, block.mlp, _normed(state, block.ln1)
            for head in range(config.n_heads):
                q, k, v = (reads @ getattr(attn, f"W_{name}")[head] + getattr(attn, f"b_{name}")[head] for name in "QKV")
                scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(future, -math.inf)
                state = state + scores.softmax(-1) @ v @ attn.W_O[head]
            state = state + attn.b_O
            hidden = torch.nn.functional.gelu(_normed(state, block.ln2) @ mlp.W_in + mlp.b_in)
            state = state + hidden @ mlp.W_out + mlp.b_out
        if carrying and loop < config.n_loops - 1:
            state = state + 4 * torch.einsum("npv,vd->npd", _decoded(state, model).softmax(-1), model.W_E)
    return _decoded(state, model)


def _decoded(state: Tensor, model: HookedTransformer) -> Tensor:
    return _normed(state, model.ln_final) @ model.W_U + model.b_U


def _normed(state: Tensor, norm: nn.Module) -> Tensor:
    centred = state - state.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.w + norm.b


def test_stacked_runs_are_computed_as_each_by_itself(task: TwoHopTask) -> None:
    """As `train_together` does it."""
    models = [trained_parameters(scattered(CARRYING, task, seed), CARRYING) for seed in (0, 1)]
    stacked = {name: torch.stack([each[name].detach() for each in models]) for name in models[0]}
    tokens, positions = task.split("train_inferred").tokens[:20].view(2, 10, 3), torch.full((2, 10), 2)
    wanted = [answer_logits(*each) for each in zip(models, [CARRYING] * 2, tokens, positions, strict=True)]
    torch.testing.assert_close(transformer.answer_logits(stacked, CARRYING, tokens, positions), torch.stack(wanted))


def test_channels_stand_between_loops_and_share_all_they_compute_with(task: TwoHopTask) -> None:
    model = build_model(CARRYING, task)
    assert list(CARRYING.channels) == [2, 5] and model.cfg.n_layers == CARRYING.n_layers == 8
    for layer in CARRYING.channels:
        block = model.blocks[layer]
        assert block.mlp.W_E is model.embed.W_E and block.mlp.W_U is model.unembed.W_U and block.ln2.w is model.ln_final.w
        assert not any(parameter.any() for parameter in block.attn.parameters())
    assert not list(ModelConfig.tiny(carries="state and token", n_loops=1).channels)
    assert not list(ModelConfig.tiny().channels)


def test_it_begins_with_the_weights_of_the_plain_model_and_has_no_more(task: TwoHopTask) -> None:
    plain_config = ModelConfig(d_model=16, n_heads=2, n_blocks=2, n_loops=3)
    plain = trained_parameters(build_model(plain_config, task, seed=4), plain_config)
    carrying = trained_parameters(build_model(CARRYING, task, seed=4), CARRYING)
    assert list(carrying) == list(plain) and all(torch.equal(carrying[name], plain[name]) for name in plain)
    assert n_parameters(CARRYING, task) == sum(each.numel() for each in carrying.values())
    more = flops_per_example(CARRYING, task) - flops_per_example(plain_config, task)
    assert more == 3 * task.n_positions * 2 * (2 * 2 * 16 * task.n_tokens)  # two channels, two products each


def test_that_a_channel_adds_an_embedding_says_nothing_of_the_bridge(task: TwoHopTask) -> None:
    """By algebra states after a channel hold the embedding of what they decode to, also in a model that knows nothing."""
    model, queries = scattered(CARRYING, task), task.split("train_inferred")
    with torch.no_grad():
        model.ln_final.w.mul_(1e4)  # the head is sure
        _, cache = model.run_with_cache(queries.tokens)
        before, after = (cache[f"blocks.2.hook_resid_{where}"] for where in ("mid", "post"))
        decoded = model.unembed(model.ln_final(before))
    sure = decoded.softmax(-1).amax(-1) > 1 - 1e-9
    assert sure.double().mean() > 0.5
    torch.testing.assert_close((after - before)[sure], 4 * model.W_E[decoded.argmax(-1)[sure]])
    assert (decoded[:, 1].argmax(-1) == queries.intermediates["bridge"]).double().mean() < 0.2


def test_a_run_is_saved_loaded_and_described(task: TwoHopTask, tmp_path: Path) -> None:
    config = ModelConfig.tiny(carries="state and token")
    run = train(task, config, TrainConfig.tiny(max_steps=20, evaluate_every=10), tmp_path / "run", progress=False)
    again = Run.load(tmp_path / "run")
    assert again.model_config == run.model_config == config
    assert repr(config) == "ModelConfig.tiny(carries='state and token')" or eval(repr(config)) == config
    tokens = task.split("train_inferred").tokens[:9]
    checkpoint = again.checkpoint("final")
    model, weights = checkpoint.model(), checkpoint.weights()
    assert set(weights) == set(trained_parameters(model, config))
    positions = torch.full((9,), 2)
    torch.testing.assert_close(model(tokens)[:, 2], answer_logits(weights, config, tokens, positions))
    assert torch.equal(run.checkpoint("final").model()(tokens), model(tokens))
    assert checkpoint.model(n_loops=1).cfg.n_layers == 1 and checkpoint.model(n_loops=4).cfg.n_layers == 7
    assert config.architecture == "1 block × 2, carrying the token" and config.architecture in again._repr_html_()


def test_runs_that_carry_the_state_alone_keep_their_bytes(tiny_run: Run) -> None:
    """`run.json` as it was written before there was a choice, field by field, of shipped runs and of new ones."""
    shipped = Run.load(SHIPPED / "pilot" / "natural")
    assert shipped.model_config == ModelConfig.small() and shipped.model_config.carries == "state"
    sizes = '"d_model": 32,\n   "n_heads": 2,\n   "n_blocks": 1,\n   "n_loops": 2,\n   "mlp_ratio": 4,\n   '
    model = f'"model": {{\n   {sizes}"tie_embeddings": true,\n   "bidirectional": false\n  }},'
    assert model in (tiny_run.folder / "run.json").read_text()
    new = settings_bytes(tiny_run.task, CARRYING, tiny_run.train_config, Past(""))
    assert json.loads(new)["content"]["model"]["carries"] == "state and token"


@pytest.mark.usefixtures("as_users_call")
def test_what_loops_carry_is_a_choice() -> None:
    with pytest.raises(ValueError, match="carries must be one of 'state', 'state and token', got 'tokens'"):
        ModelConfig.tiny(carries="tokens")
