"""The head against the model's forward pass, over every option that could stand between a state and the logits."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
import torch
from conftest import calm_model, no_hooks_left, random_model, random_pairs, wide_pairs

from grokscope.analyses import LensResult, attribute_attention, graph_of, logit_lens
from grokscope.analyses.forward.engine import FastEngine
from grokscope.analyses.forward.head import decode, token_embeddings
from grokscope.analyses.forward.hook_points import points_of
from grokscope.analyses.forward.hooks_engine import HooksEngine
from grokscope.analyses.forward.places import Logits, open_edges_of
from grokscope.analyses.patching.metrics import logit_difference
from grokscope.tasks import Queries
from grokscope.tasks.transformerlens import HookedTransformer

NORMS = ("LN", "LNPre", "RMS", "RMSPre", None)
VARIANTS = (
    {},
    {"parallel_attn_mlp": True},
    {"d_vocab_out": 7},
    {"d_vocab_out": 17},
    {"n_layers": 4, "n_blocks": 2},
    {"attn_only": True},
    {"positional_embedding_type": "rotary", "rotary_dim": 4},
    {"positional_embedding_type": "shortformer"},
    {"positional_embedding_type": "alibi"},
    {"attention_dir": "bidirectional"},
    {"n_key_value_heads": 1},
    {"final_rms": True},
    {"original_architecture": "Olmo2ForCausalLM", "d_head": 6},
)
OPTIONS = [
    {"normalization_type": norm, "output_logits_soft_cap": cap, **variant}
    for norm, cap, variant in product(NORMS, (None, 2.0), VARIANTS)
]
OPTIONS += [{"normalization_type": "RMS", "use_normalization_before_and_after": True, "output_logits_soft_cap": 2.0}]
OPTIONS += [{"n_layers": 0, "output_logits_soft_cap": cap} for cap in (-1.0, 2.0)]


def named(options: dict[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items() if value is not None) or "none"


def built(options: dict[str, object]) -> HookedTransformer:
    return random_model(3, **{"d_head": 4, **options})


def questions(model: HookedTransformer, n: int = 6) -> Queries:
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(model.cfg.d_vocab, (n, 3), generator=generator)
    answers, carry = torch.randint(model.cfg.d_vocab_out, (2, n), generator=generator)
    return Queries(tokens, answers, roles=("a", "b", "c"), intermediates={"carry": carry})


def finished(model: HookedTransformer, tokens: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """The logits when the last residual state is replaced by another and the model does the rest."""
    last = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post" if model.cfg.n_layers else "hook_embed"
    if not model.cfg.n_layers:  # what is embedded is the last state; the position is added after this hook
        state = state - model.pos_embed(tokens)
    with torch.no_grad():
        return model.run_with_hooks(tokens, fwd_hooks=[(last, lambda activation, hook: state)])


def check(lens: LensResult, stage: tuple[int, str], logits: torch.Tensor, queries: Queries) -> None:
    """The rows of one stage are the logits'."""
    table = lens.table.set_index(["layer", "after", "role", "target"])
    probabilities = logits.softmax(-1)
    for position, role in enumerate(queries.roles):
        for target, tokens in (("answer", queries.answers), ("carry", queries.intermediates["carry"])):
            row, places = table.loc[(*stage, role, target)], list(enumerate(tokens.tolist()))
            wanted = [float(probabilities[query, position, token]) for query, token in places]
            others = [int((logits[q, position] >= logits[q, position, token]).sum()) - 1 for q, token in places]
            assert row["probability"] == pytest.approx(np.mean(wanted), rel=1e-9)
            assert row["mean_rank"] == pytest.approx(np.mean(others))
            assert row["top1"] == pytest.approx(np.mean([other == 0 for other in others]))


@pytest.mark.parametrize("options", OPTIONS, ids=named)
def test_every_stage_is_what_the_model_makes_of_that_state(options: dict[str, object]) -> None:
    model = built(options)
    queries = questions(model)
    lens = logit_lens(model, queries)
    with torch.no_grad():
        own, cache = model.run_with_cache(queries.tokens)
    stages = list(dict.fromkeys(lens.table[["layer", "after"]].itertuples(index=False, name=None)))
    ending = {"embedding": "hook_resid_pre", "attention": "hook_resid_mid", "layer": "hook_resid_post"}
    for layer, after in stages:
        at = f"blocks.{max(layer, 0)}.{ending[after]}"
        state = cache[at] if model.cfg.n_layers else cache["hook_embed"] + cache["hook_pos_embed"]
        check(lens, (layer, after), finished(model, queries.tokens, state), queries)
    check(lens, stages[-1], own, queries)
    rivals = [int((each >= each[answer]).sum()) - 1 for each, answer in zip(own[:, -1], queries.answers, strict=True)]
    assert lens.queries["correct"].tolist() == [n == 0 for n in rivals] and no_hooks_left(model)
    has_middle = not (options.get("parallel_attn_mlp") or options.get("attn_only")) and model.cfg.n_layers
    assert ("attention" in set(lens.table["after"])) == bool(has_middle)
    reads_prompts = model.cfg.d_vocab_out == model.cfg.d_vocab
    assert {"a", "b", "c"}.isdisjoint(set(lens.table["target"])) != reads_prompts


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_in_any_type_the_last_state_gives_the_models_logits(dtype: torch.dtype) -> None:
    model = random_model(3, dtype=dtype, output_logits_soft_cap=2.0)
    queries = questions(model, 40)
    lens = logit_lens(model, queries)
    own = model(queries.tokens)[:, -1].detach().float()
    wanted = float(own.softmax(-1).gather(1, queries.answers[:, None]).mean())
    rows = lens.table.set_index(["layer", "after", "role", "target"])
    assert rows.loc[(1, "layer", "c", "answer"), "probability"] == pytest.approx(wanted, rel=1e-5)


def test_whatever_else_comes_after_the_last_state_is_refused_whichever_prompt_it_changes() -> None:
    model = random_model(0)
    queries, forward = questions(model, 12), model.forward
    for changed in (0, 7, 11):

        def other(tokens: torch.Tensor, *args: object, changed: int = changed, **kwargs: object) -> torch.Tensor:
            logits = forward(tokens, *args, **kwargs)
            return logits * (1 + 1e-3 * (torch.arange(len(tokens)) == changed).double()[:, None, None])

        model.forward = other
        with pytest.raises(
            ValueError, match=f"on 1 of 12 prompts, the first is {changed}: the model computes something else"
        ):
            logit_lens(model, queries)


def test_what_is_not_finite_is_refused_at_the_end_and_on_the_way() -> None:
    model, broken = random_model(0), random_model(0)
    queries = questions(model, 12)
    with torch.no_grad():
        broken.unembed.b_U[3] = float("nan")
    with pytest.raises(ValueError, match="logits are not finite on 12 of 12 prompts, the first is 0"):
        logit_lens(broken, queries)
    large = random_model(0, dtype=torch.float16, normalization_type=None, n_layers=1, attn_only=True)
    with torch.no_grad():  # attention takes away what the embedding has too much of
        large.unembed.W_U.zero_()
        large.unembed.W_U[0] = 100.0
        large.embed.W_E.zero_()
        large.pos_embed.W_pos.zero_()
        large.embed.W_E[:, 0] = 1e4
        large.blocks[0].attn.W_V.zero_()
        large.blocks[0].attn.b_V.zero_()
        large.blocks[0].attn.b_O.zero_()
        large.blocks[0].attn.b_O[0] = -1e4
    with pytest.raises(ValueError, match="read after embedding -1 is not finite"):
        logit_lens(large, queries)


@pytest.mark.parametrize("n_out", [7, 17])
def test_answers_are_checked_against_the_vocabulary_they_are_given_from(n_out: int) -> None:
    model = random_model(0, d_vocab_out=n_out)
    queries = questions(model)
    largest = Queries(queries.tokens, torch.full((6,), n_out - 1), roles=queries.roles, intermediates=queries.intermediates)
    logit_lens(model, largest)
    beyond = Queries(queries.tokens, torch.full((6,), n_out), roles=queries.roles, intermediates=queries.intermediates)
    with pytest.raises(ValueError, match=f"the answer is {n_out} and the model's tokens are 0 to {n_out - 1}"):
        logit_lens(model, beyond)


def by_place(found: Logits) -> Iterator[tuple[int, torch.Tensor]]:
    for places, logits in found:
        yield from zip(places, logits, strict=True)


@pytest.mark.parametrize("settings", [{"output_logits_soft_cap": 1.5}, {"d_vocab_out": 17}, {"final_rms": True}], ids=named)
def test_partial_runs_and_gradients_go_through_the_same_head(settings: dict[str, object]) -> None:
    model, pairs = random_model(1, **settings), random_pairs(1)
    graph = graph_of(model, pairs.roles, -1)
    fast, slow = FastEngine(model, graph, 2**30), HooksEngine(model, points_of(model), graph, 2**30)
    (base, donor), literal = fast.run(pairs.clean, pairs.corrupt), slow.run(pairs.clean, pairs.corrupt)
    torch.testing.assert_close(base.logits, literal[0].logits)
    edges = graph.edges[::4]
    stacked = fast.edge_logits(base, donor, edges)
    found = dict(by_place(stacked))
    for place, logits in by_place(slow.edge_logits(*literal, edges)):
        torch.testing.assert_close(found[place], logits, rtol=1e-9, atol=1e-9)
    open_edges = open_edges_of(graph, [set(graph.edges[::2]), set(graph.edges[1::3])])
    together = dict(by_place(fast.logits_with_edges(donor, base, open_edges)))
    for place, logits in by_place(slow.logits_with_edges(literal[1], literal[0], open_edges)):
        torch.testing.assert_close(together[place], logits)

    def objective(logits: torch.Tensor) -> torch.Tensor:
        return logit_difference(logits, pairs.answers, pairs.foils)

    ours, theirs = fast.input_gradients(base, objective, {}), slow.input_gradients(literal[0], objective, {})
    for at, gradient in theirs.items():
        torch.testing.assert_close(ours[at].broadcast_to(gradient.shape), gradient, rtol=1e-8, atol=1e-10)


def test_direct_contributions_are_to_the_logits_before_the_cap() -> None:
    plain, capped, pairs = calm_model(4), calm_model(4, output_logits_soft_cap=0.5), wide_pairs(4)
    one, other = (attribute_attention(model, pairs, steps=5).table for model in (plain, capped))
    assert one["direct"].tolist() == pytest.approx(other["direct"].tolist(), rel=1e-12)
    assert not np.allclose(one["knockout"].dropna(), other["knockout"].dropna(), rtol=0.1)


def test_states_of_any_shape_are_decoded_alike() -> None:
    model = random_model(2, output_logits_soft_cap=2.0, d_vocab_out=7)
    states = torch.randn(3, 4, 5, 12, dtype=torch.float64)
    whole = decode(model, states)
    assert whole.shape == (3, 4, 5, 7) and whole.abs().max() < 2.0
    torch.testing.assert_close(whole[1, 2, 3], decode(model, states[1, 2, 3]))


@pytest.mark.parametrize("settings", [{}, {"post_embedding_ln": True}])
def test_an_embedding_is_what_the_model_adds_for_a_token(settings: dict[str, object]) -> None:
    """At position 0 and without position embeddings, so that one token by another is one state by another."""
    model = random_model(0, **settings)
    with torch.no_grad():
        model.pos_embed.W_pos.zero_()
    tokens = torch.arange(11)[:, None]
    _, cache = model.run_with_cache(tokens)
    found = token_embeddings(model)
    torch.testing.assert_close(found, cache["blocks.0.hook_resid_pre"][:, 0])
    moved = cache["blocks.0.hook_resid_pre"][3] + found[5] - found[3]
    logits = model.run_with_hooks(tokens[3:4], fwd_hooks=[("blocks.0.hook_resid_pre", lambda state, hook: moved[None])])
    torch.testing.assert_close(logits, model(tokens[5:6]))
    assert not found.requires_grad
