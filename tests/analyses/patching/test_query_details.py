"""What is said of every query, against a loop that asks one at a time with hooks, and models whose attention is known."""

import math
import statistics
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import no_hooks_left, pairs_of_five, random_model, random_pairs, random_settings, seeds, strong_model
from explained import assert_explained
from families import D_VOCAB, FAMILIES, NEOX, Family, bridge_of, transformers_model
from handset import SURE, handset_model
from hostile import NAMES
from padded import PAD, PADDED_ROLES, SETTINGS, padded_pairs, padding_model
from token_mixing import mixing_model, mixing_pairs
from worded import byte_tokenizer

from grokscope.analyses import QueryDetails, path_patch, query_details
from grokscope.analyses.forward.engine import engine_of
from grokscope.circuits import Node, Result
from grokscope.tasks import PromptPairs, TwoHopTask, make_pairs

ROTARY = {"positional_embedding_type": "rotary", "rotary_dim": 4, "rotary_adjacent_pairs": False}
MODELS: dict[str, dict[str, Any]] = {
    "shared keys": {"n_heads": 4, "d_head": 6, "n_key_value_heads": 2, **ROTARY},
    "shared blocks": {"n_layers": 4, "n_blocks": 2},
    "sinks": {"use_attention_sinks": True},
    "bidirectional": {"attention_dir": "bidirectional"},
    "attention only": {"attn_only": True},
    "by hooks": {"positional_embedding_type": "shortformer", "d_head": 2},  # fewer directions than positions
}


def one_by_one(model: Any, pairs: PromptPairs) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Each query by itself, with hooks: weights by head, destination and source, and how it is answered."""
    weights, answers = [], []
    for row in range(len(pairs)):
        patterns: dict[int, torch.Tensor] = {}

        def note(pattern: torch.Tensor, hook: Any, patterns: dict[int, torch.Tensor] = patterns) -> None:
            patterns[hook.layer()] = pattern[0].detach()

        names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.cfg.n_layers)]
        clean = model.run_with_hooks(pairs.clean[row, None], fwd_hooks=[(name, note) for name in names])
        corrupt = model(pairs.corrupt[row, None])
        answer, foil = int(pairs.answers[row]), int(pairs.foils[row])
        said = {"query": row, "answer": answer, "foil": foil}
        for side, logits, right in (("clean", clean, answer), ("corrupt", corrupt, foil)):
            logits = logits[0, pairs.answer_position].detach()
            said[f"{side}_logit_difference"] = float(logits[answer] - logits[foil])
            said[f"{side}_right"] = bool(logits.argmax() == right)
        answers.append(said)
        for layer, pattern in patterns.items():
            for head, rows in enumerate(pattern):
                stop = pairs.answer_position + 1 if model.cfg.attention_dir == "causal" else len(pairs.roles)
                for to in range(stop):
                    n = to + 1 if model.cfg.attention_dir == "causal" else len(pairs.roles)
                    seen = {pairs.roles[source]: float(rows[to, source]) for source in range(n)}
                    seen["elsewhere"] = 1.0 - sum(seen.values())
                    where = {"query": row, "head": f"L{layer}H{head}", "destination": pairs.roles[to]}
                    weights += [{**where, "source": source, "weight": value} for source, value in seen.items()]
    return pd.DataFrame(weights), pd.DataFrame(answers)


def check(model: Any, pairs: PromptPairs, **settings: Any) -> QueryDetails:
    """Everything, against the loop."""
    found = query_details(model, pairs, n_patterns=3, progress=False, **settings)
    weights, answers = one_by_one(model, pairs)
    columns = ["query", "head", "destination", "source"]
    pd.testing.assert_frame_equal(found.patterns[columns], weights[weights["query"] < 3][columns], check_dtype=False)
    np.testing.assert_allclose(found.patterns["weight"], weights[weights["query"] < 3]["weight"], atol=1e-9)
    for row in found.attention.to_dict("records"):
        rows = weights[(weights[columns[1:]] == [row[name] for name in columns[1:]]).all(axis=1)]
        assert row["weight"] == pytest.approx(rows["weight"].mean(), abs=1e-9)
        assert row["stderr"] == pytest.approx(statistics.stdev(rows["weight"]) / math.sqrt(len(pairs)), abs=1e-9)
        assert row["n"] == row["n_units"] == len(pairs)
    assert len(found.attention) * len(pairs) == len(weights)
    numbers = ["query", "clean_logit_difference", "corrupt_logit_difference", "clean_right", "corrupt_right"]
    pd.testing.assert_frame_equal(found.queries[numbers], answers[numbers], atol=1e-9)
    assert found.queries[["answer", "foil"]].astype(int).equals(answers[["answer", "foil"]])
    for side in ("clean", "corrupt"):
        words = found.table.pivot(index="query", columns="role", values=side)[list(pairs.roles)]
        assert words.astype(int).to_numpy().tolist() == getattr(pairs, side).tolist()
    return found


@pytest.mark.parametrize("seed", seeds(10, fast=4))
def test_every_query_is_as_when_asked_alone(seed: int) -> None:
    check(random_model(seed, **random_settings(seed)), pairs_of_five(seed, answer_position=3 + seed % 2))


@pytest.mark.parametrize("name", MODELS)
def test_models_of_every_kind(name: str) -> None:
    model, pairs = random_model(3, **MODELS[name]), random_pairs(4)
    assert (engine_of(model, pairs.roles, -1).name == "hooks") == (name == "by hooks")
    found = check(model, pairs)
    rest = found.attention[found.attention["source"] == "elsewhere"]["weight"]
    assert (rest > 0.01).any() if name == "sinks" else (rest == 0.0).all()
    assert no_hooks_left(model)


def test_nodes_and_pairs_are_named_as_in_effects() -> None:
    model, pairs = strong_model(0), random_pairs(0)
    found, effects = query_details(model, pairs), path_patch(model, pairs, per_query=True, progress=False)
    senders = {Node.parse(name).component for name in effects.table["sender"] if "H" in name}
    assert senders == set(found.attention["head"]) == set(found.patterns["head"])
    assert found.pairs == effects.pairs and found.answer_role == "r2"
    gaps = found.queries["clean_logit_difference"] - found.queries["corrupt_logit_difference"]
    assert gaps.mean() == pytest.approx(effects.gap)


@pytest.mark.parametrize("layout", ["compact", "slots"])
def test_a_model_set_by_hand_looks_where_it_is_set_to(layout: str) -> None:
    """Head 0 of layer 0 looks from r1 to h, that of layer 1 from r2 to r1; the heads that do nothing look at all alike."""
    task = TwoHopTask.random(n_entities=8, n_relations=6, out_degree=5, ood_fraction=0.1, test_fraction=0.3, seed=1)
    task = task.with_layout(layout)
    pairs = make_pairs(task, split="test_inferred_iid", contrast="bridge", n=10, seed=0)
    n_layers = 2 if layout == "compact" else 3
    found = query_details(handset_model(task.graph, n_layers=n_layers, layout=layout), pairs, token_names=task)
    assert found.queries["clean_right"].all() and found.queries["corrupt_right"].all()
    assert "10 clean and 10 corrupt right" in found.caption
    weight = found.attention.set_index(["head", "destination", "source"])["weight"]
    n_seen = {"compact": {"r1": 2, "r2": 3}, "slots": dict.fromkeys(("r1", "r2"), len(pairs.roles))}[layout]
    for head, to, source in (("L0H0", "r1", "h"), ("L1H0", "r2", "r1")):
        sure = 1 / (1 + (n_seen[to] - 1) * math.exp(-SURE))
        assert weight[head, to, source] == pytest.approx(sure, rel=1e-6)
        assert weight[head.replace("H0", "H1"), to, source] == pytest.approx(1 / n_seen[to], rel=1e-6)
    assert (found.attention["stderr"] == 0.0).all() and (found.attention["n_units"] == pairs.n_units).all()
    words = found.table.set_index(["query", "role"])
    for row, (prompt, answer) in enumerate(zip(pairs.clean.tolist(), pairs.answers.tolist(), strict=True)):
        assert [words["clean"][row, role] for role in pairs.roles] == [task.token_name(token) for token in prompt]
        assert found.queries["answer"][row] == f"e{answer}"


ALIBI = {**NEOX, "alibi": True, "multi_query": True, "parallel_attn": True, "bias": True}


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "Gemma2ForCausalLM", "GptOssForCausalLM", "FalconForCausalLM"])
def test_bridges_look_where_transformers_says_that_they_look(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared keys, windows, sinks; the published model says itself what its attention is. Falcon is known by its hooks."""
    monkeypatch.setitem(FAMILIES, "FalconForCausalLM", Family("falcon", ALIBI, mlp_reads="ln1", parallel=True))
    bridge, roles = bridge_of(name), ("a", "b", "c", "d", "e")
    clean, corrupt = torch.randint(D_VOCAB, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    pairs = PromptPairs(clean, corrupt, torch.arange(4), torch.arange(4) + 5, roles=roles)
    found = query_details(bridge, pairs, n_patterns=4)
    with torch.no_grad():
        said = transformers_model(name)(clean, output_attentions=True).attentions
    assert (engine_of(bridge, roles, -1).name == "hooks") == (name == "FalconForCausalLM")
    sums = found.patterns.groupby(["query", "head", "destination"])["weight"].sum()
    np.testing.assert_allclose(sums, 1.0, atol=1e-6)
    for row in found.patterns.to_dict("records"):
        node, to = Node.parse(row["head"]), roles.index(row["destination"])
        weights = said[node.layer][row["query"], node.index, to]
        source = row["source"]
        expected = 1.0 - weights[: to + 1].sum() if source == "elsewhere" else weights[roles.index(source)]
        assert row["weight"] == pytest.approx(float(expected), abs=2e-6)
    rest = found.patterns[found.patterns["source"] == "elsewhere"]["weight"]
    assert (rest > 0.05).any() if name == "GptOssForCausalLM" else (rest == 0.0).all()
    assert not any(point.fwd_hooks for point in bridge.hook_dict.values())


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["standard", "rotary"])
@pytest.mark.parametrize("engine", ["fast", "hooks"])
def test_pads_are_no_roles(kind: str, side: str, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role counts the queries that have a token there; where they look is what the prompts without pads say."""
    model = padding_model(1, side, **SETTINGS[kind])
    pairs = padded_pairs(model, side, "different")
    n_pads = (pairs.clean == PAD).sum(1)
    if engine == "hooks":
        of = "grokscope.analyses.patching.query_details.engine_of"
        monkeypatch.setattr(of, lambda *args, **settings: engine_of(*args, **settings, engine="hooks"))
    found = query_details(model, pairs, n_patterns=len(pairs))
    words = found.table.set_index(["query", "role"])["clean"]
    patterns = found.patterns.set_index(["query", "head", "destination", "source"])["weight"]
    assert patterns.groupby(level=[0, 1, 2]).sum().to_numpy() == pytest.approx(1.0)
    means = found.attention.set_index(["head", "destination", "source"])
    for row, n in enumerate(n_pads.tolist()):
        tokens = pairs.clean[row][pairs.clean[row] != PAD]
        assert [None if pd.isna(word) else int(word) for word in words[row]] == [None] * n + tokens.tolist()
        assert set(patterns[row].index.get_level_values("destination")) == set(PADDED_ROLES[n:])
        model.tokenizer, kept = None, model.tokenizer
        _, cache = model.run_with_cache(tokens[None])
        model.tokenizer = kept
        for (head, to, source), weight in patterns[row].items():
            node, places = Node.parse(head), [PADDED_ROLES.index(each) - n for each in (to, source) if each in PADDED_ROLES]
            seen = len(places) == 2 and places[1] >= 0
            expected = float(cache["pattern", node.layer][0, node.index, places[0], places[1]]) if seen else 0.0
            assert weight == pytest.approx(expected, abs=1e-6), (row, head, to, source)
    for place, role in enumerate(PADDED_ROLES):
        has = (n_pads <= place).sum()
        assert (means.xs(role, level="destination")["n"] == int(has)).all()
        mean = patterns.xs(role, level="destination").groupby(level=["head", "source"]).mean()
        expected = means.xs(role, level="destination")["weight"].dropna()
        pd.testing.assert_series_equal(expected.sort_index(), mean.sort_index(), check_dtype=False)


def test_pads_that_a_model_sees_are_elsewhere() -> None:
    model = padding_model(2, "left", attention_dir="bidirectional")
    pairs = padded_pairs(model, "left", "both")
    found = query_details(model, pairs, n_patterns=len(pairs))
    _, cache = model.run_with_cache(pairs.clean)
    rest = found.patterns[found.patterns["source"] == "elsewhere"]
    for row in rest.to_dict("records"):
        node, to = Node.parse(row["head"]), PADDED_ROLES.index(row["destination"])
        weights = cache["pattern", node.layer][row["query"], node.index, to]
        assert row["weight"] == pytest.approx(float(weights[pairs.clean[row["query"]] == PAD].sum()), abs=1e-6)
    assert (rest["weight"] > 0.1).any()
    hidden = found.patterns[found.patterns["query"].isin((pairs.clean[:, 0] == PAD).nonzero()[:, 0].tolist())]
    assert (hidden[hidden["source"] == "x"]["weight"] == 0.0).all() and "x" not in set(hidden["destination"])


def test_a_role_that_no_query_has_has_no_mean() -> None:
    model = padding_model(3, "left")
    pairs = padded_pairs(model, "left", "both")
    pairs = pairs.take(pairs.clean[:, 0] == PAD)
    rows = query_details(model, pairs).attention.query("destination == 'x'")
    assert len(rows) and (rows["n"] == 0).all() and rows["weight"].isna().all() and rows["stderr"].isna().all()


def test_networks_without_heads_have_no_attention() -> None:
    pairs = mixing_pairs("short", 4)
    found = query_details(mixing_model("short"), pairs)
    assert found.attention.empty and found.patterns.empty and "no heads" in found.caption
    assert list(found.attention) == ["head", "destination", "source", "weight", "stderr", "n", "n_units"]
    assert list(found.patterns) == ["query", "head", "destination", "source", "weight"]
    assert len(found.table) == 16 and found.queries["clean_logit_difference"].notna().all()
    assert found == Result.from_json(found.to_json())


def test_a_model_that_does_not_let_it_be_seen_is_refused_by_layer() -> None:
    """Heads that gather something of values that is no weighted sum."""
    model, pairs = random_model(0, positional_embedding_type="shortformer"), random_pairs(0)
    plain = model.blocks[1].attn.calculate_z_scores
    model.blocks[1].attn.calculate_z_scores = lambda v, pattern: plain(v.abs(), pattern)
    with pytest.raises(ValueError, match=r"^in layer 1 what heads gather \(blocks.1.attn.hook_z\) is no weighted sum of"):
        query_details(model, pairs)
    assert engine_of(model, pairs.roles, -1).name == "hooks" and no_hooks_left(model)


@pytest.mark.parametrize("size", [2**18, 2**30])
def test_units_stay_together_in_whatever_parts_queries_are_read(size: int) -> None:
    """With units that do not stand next to each other, the kept queries in the order in which they were asked for."""
    model, pairs = strong_model(0), random_pairs(0, n=40)
    pairs = PromptPairs(*(getattr(pairs, each) for each in ("clean", "corrupt", "answers", "foils", "roles")),
                        unit=torch.arange(40) % 7)  # fmt: skip
    found = query_details(model, pairs, patterns_of=np.array([30, 2, 17, 2]), max_memory=size)
    assert list(dict.fromkeys(found.patterns["query"])) == [30, 2, 17]
    assert found.queries["query"].tolist() == list(range(40))
    weights, answers = one_by_one(model, pairs)
    np.testing.assert_allclose(found.queries["corrupt_logit_difference"], answers["corrupt_logit_difference"], atol=1e-9)
    keys = ["head", "destination", "source"]
    by_unit = weights.assign(unit=weights["query"] % 7).groupby([*keys, "unit"])["weight"]
    for row in found.attention.to_dict("records"):
        place = tuple(row[name] for name in keys)
        sums = by_unit.sum().loc[place] - by_unit.size().loc[place] * row["weight"]
        assert row["stderr"] == pytest.approx(float(np.sqrt((sums**2).sum() * 7 / 6) / 40), abs=1e-9)
        assert (row["n"], row["n_units"]) == (40, 7)
    for row in found.patterns.to_dict("records"):
        rows = weights[(weights[["query", *keys]] == [row[name] for name in ("query", *keys)]).all(axis=1)]
        assert row["weight"] == pytest.approx(rows["weight"].item(), abs=1e-9)


def test_no_more_patterns_than_asked_for_and_than_there_are() -> None:
    model, pairs = random_model(0), random_pairs(0)
    shown = [query_details(model, pairs, n_patterns=n).patterns for n in (0, 2, 99)]
    assert [frame["query"].nunique() for frame in shown] == [0, 2, 5]
    assert query_details(model, pairs, patterns_of=[]).patterns.empty


# Words


def test_tokens_are_called_by_whatever_names_them(small_world: TwoHopTask) -> None:
    model = handset_model(small_world.graph)
    pairs = make_pairs(small_world, split="test_inferred_iid", contrast="bridge", n=3, seed=0)
    names = {token: small_world.token_name(token) for token in range(small_world.n_tokens)}
    decoder = SimpleNamespace(decode=lambda tokens: names[tokens[0]], pad_token_id=None, padding_side="right")
    ways = (small_world, small_world.token_name, names, decoder)
    found = [query_details(model, pairs, token_names=each) for each in ways]
    assert all(each == found[0] for each in found[1:]) and found[0].table["clean"][0].startswith("e")
    numbers = query_details(model, pairs)
    assert numbers.table["clean"].tolist() == [str(token) for token in pairs.clean.flatten().tolist()]
    model.tokenizer = decoder
    assert query_details(model, pairs) == found[0]


def test_a_tokenizer_is_asked_for_texts_and_not_called() -> None:
    tokenizer = byte_tokenizer(["Ann and Bo met", "Bo and Ann met"])
    tokens = torch.tensor([tokenizer("Ann and Bo")["input_ids"], tokenizer("Bo and Ann")["input_ids"]])
    clean, corrupt = tokens[:1], tokens[1:]
    model = random_model(0, d_vocab=len(tokenizer), n_ctx=tokens.shape[1])
    roles = tuple(f"p{place}" for place in range(tokens.shape[1]))
    pairs = PromptPairs(clean, corrupt, clean[0, -1:], corrupt[0, -1:], roles=roles)
    found = query_details(model, pairs, token_names=tokenizer)
    assert "".join(found.table["clean"]).endswith("Ann and Bo") and found.queries["answer"][0] == " Bo"


def test_all_problems_are_named_at_once(as_users_call: None) -> None:
    model, plain = random_model(0), random_pairs(0)
    roles = ("h", "elsewhere", "r2")
    pairs = PromptPairs(plain.clean + 5, plain.corrupt, plain.answers, plain.foils, roles=roles)
    names = {token: str(token) for token in range(2, 11)} | {7: 7}
    with pytest.raises(ValueError) as caught:
        query_details(model, pairs, token_names=names, n_patterns=-1, patterns_of=[0, 9, "a"], max_memory=0)
    for part in (
        "the model cannot be asked these pairs: clean is",
        "a role cannot be called elsewhere, which stands for what is no role",
        "token_names has no word for",
        "7 (it is called 7)",
        "KeyError",
        "n_patterns is -1",
        "patterns_of are numbers of queries, 0 to 4, got 9, 'a'",
        "max_memory is a number of bytes, at least 1, got 0",
    ):
        assert part in str(caught.value), part


@pytest.mark.parametrize("given", [{}, {"0": "a"}, lambda token: token, lambda token: {}[token]])
def test_tokens_without_a_word_are_listed(given: Any) -> None:
    message = r"^token_names has no word for \d+ of the pairs' tokens: \d+ \((KeyError|it is called).* and \d more$"
    with pytest.raises(ValueError, match=message):
        query_details(random_model(0), random_pairs(0), token_names=given)
    model = random_model(0)
    model.tokenizer = SimpleNamespace(decode=lambda tokens: {}[tokens[0]])
    with pytest.raises(ValueError, match=r"^the model's tokenizer has no word for"):
        query_details(model, random_pairs(0))


def test_words_and_roles_may_be_anything_and_read_back(as_users_call: None) -> None:
    plain = random_pairs(0, n=6)
    pairs = PromptPairs(plain.clean, plain.corrupt, plain.answers, plain.foils, roles=NAMES[:3], contrast="<script>'\"")
    words = {token: f"{NAMES[token % 4]}\n{token}" for token in range(11)}
    found = query_details(random_model(0), pairs, token_names=words)
    assert found == Result.from_json(found.to_json()) and set(found.table["clean"]) <= set(words.values())
    assert "<script>" not in found._repr_html_() and "<img" not in found._repr_html_()


def test_a_model_is_left_as_it_was_and_asked_without_dropout() -> None:
    model, pairs = strong_model(0), random_pairs(0)
    expected = query_details(model, pairs)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert query_details(model, pairs) == expected and model.training and no_hooks_left(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_what_it_says_of_itself_is_what_it_holds() -> None:
    result = query_details(strong_model(0), random_pairs(0))
    assert_explained(result)
    right = [int(result.queries[f"{side}_right"].sum()) for side in ("clean", "corrupt")]
    assert f"On {right[0]} of 5 clean prompts" in result.explain().means and f"on {right[1]} of 5" in result.explain().means
    headless = query_details(mixing_model("short"), mixing_pairs("short", 4))
    assert_explained(headless)
    assert "the model has no heads" in headless.explain().measured
