import dataclasses
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import random_model, random_pairs
from explained import assert_explained
from padded import PADDED_ROLES, own_logits, padded_pairs, padding_model

from grokscope.analyses import LensResult, logit_lens
from grokscope.tasks import Checkpoint, Queries, Run, TwoHopTask

STAGES = {
    (-1, "embedding"): "blocks.0.hook_resid_pre",
    (0, "attention"): "blocks.0.hook_resid_mid",
    (0, "layer"): "blocks.0.hook_resid_post",
    (1, "attention"): "blocks.1.hook_resid_mid",
    (1, "layer"): "blocks.1.hook_resid_post",
}


def by_cell(lens: LensResult) -> pd.DataFrame:
    return lens.table.set_index(["layer", "after", "role", "target"])


@pytest.fixture(scope="module")
def checkpoint(tiny_run: Run) -> Checkpoint:
    return tiny_run.checkpoint("final")


def test_equals_a_literal_lens_query_by_query(task: TwoHopTask, checkpoint: Checkpoint) -> None:
    model, queries = checkpoint.model(), task.split("test_inferred_iid").take(torch.arange(7))
    lens = by_cell(logit_lens(model, queries))
    tokens_of = {"bridge": queries.bridges, "answer": queries.answers, "h": queries.tokens[:, 0]}
    tokens_of |= {"r1": queries.tokens[:, 1], "r2": queries.tokens[:, 2]}
    assert len(lens) == len(STAGES) * 3 * 6
    for position, role in enumerate(queries.roles):
        for (layer, after), name in STAGES.items():
            for target, wanted in tokens_of.items():
                ranks, probabilities = [], []
                for tokens, token in zip(queries.tokens, wanted, strict=True):
                    _, cache = model.run_with_cache(tokens[None])
                    state = cache[name][0, position]
                    centred = state - state.mean()
                    normed = centred / torch.sqrt(centred.pow(2).mean() + 1e-5) * model.ln_final.w + model.ln_final.b
                    p = (normed @ model.W_U + model.b_U).softmax(-1).detach()
                    ranks.append(int((p > p[token]).sum()))
                    probabilities.append(float(p[token]))
                row = lens.loc[(layer, after, role, target)]
                assert row["top1"] == pytest.approx(sum(rank == 0 for rank in ranks) / 7)
                assert row["top5"] == pytest.approx(sum(rank < 5 for rank in ranks) / 7)
                assert row["mean_rank"] == pytest.approx(sum(ranks) / 7)
                assert row["mrr"] == pytest.approx(sum(1 / (rank + 1) for rank in ranks) / 7)
                assert row["probability"] == pytest.approx(sum(probabilities) / 7, rel=1e-4)


def test_the_published_any_cell_rate_by_ten_independent_lines(task: TwoHopTask, checkpoint: Checkpoint) -> None:
    model, queries = checkpoint.model(), task.split("train_inferred")
    with torch.no_grad():
        _, cache = model.run_with_cache(queries.tokens)
        found = {"bridge": torch.zeros(len(queries)).bool(), "answer": torch.zeros(len(queries)).bool()}
        for name in ("blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"):
            for position in range(3):
                argmax = model.unembed(model.ln_final(cache[name][:, position])).argmax(-1)
                found["bridge"] |= argmax == queries.bridges
                found["answer"] |= argmax == queries.answers
    lens = logit_lens(model, queries)
    assert lens.bridge_found_any == pytest.approx(float(found["bridge"].double().mean())) and 0 < lens.bridge_found_any < 1
    assert lens.target_found_any == pytest.approx(float(found["answer"].double().mean()))
    assert lens.n_cells == 9
    rates = lens.any_cell.set_index("target")["rate"]
    assert rates["shuffled bridge"] == lens.queries["shuffled bridge"].mean()


def test_a_cell_is_the_end_of_a_loop_of_several_blocks() -> None:
    from grokscope.analyses.forward.model import ends_of_loops

    ends = {n: ends_of_loops(random_model(0, n_layers=4, n_blocks=n)) for n in (1, 2, 3, 4)}
    assert ends == {1: [0, 1, 2, 3], 2: [1, 3], 3: [2, 3], 4: [0, 1, 2, 3]}


@pytest.mark.parametrize(("n_layers", "n_blocks"), [(3, 2), (5, 2), (5, 3), (4, 3), (1, 1), (4, 2)])
def test_correct_is_the_models_own_answer_also_where_the_last_loop_is_not_whole(n_layers: int, n_blocks: int) -> None:
    model, pairs = random_model(n_layers, n_layers=n_layers, n_blocks=n_blocks), random_pairs(0, n=40)
    own = model(pairs.clean)[:, -1].argmax(-1)
    queries = replace(pairs, answers=own, foils=(own + 1) % 11, intermediates={"via": pairs.foils}).queries()
    lens = logit_lens(model, queries)
    assert lens.queries["correct"].all() and lens.queries["answer"].all() and lens.target_found_any == 1.0
    last = [*range(n_blocks - 1, n_layers, n_blocks), n_layers - 1]
    assert lens.n_cells == 3 * (1 + (n_layers if n_layers == n_blocks or n_blocks == 1 else len(set(last))))


def test_the_role_map_holds_every_query_once(task: TwoHopTask, checkpoint: Checkpoint) -> None:
    model, queries = checkpoint.model(), task.split("test_inferred_iid")
    lens = logit_lens(model, queries)
    shares = lens.roles.groupby(["layer", "after", "role"])["share"].sum()
    assert len(shares) == 15 and np.allclose(shares, 1.0)
    map_ = lens.roles.set_index(["layer", "after", "role", "token"])["share"]
    tops = by_cell(lens)["top1"]
    for stage in STAGES:  # the bridge comes first where two roles are the same entity
        assert map_[(*stage, "r1", "bridge")] == pytest.approx(tops[(*stage, "r1", "bridge")])
        assert map_[(*stage, "r1", "r1")] == pytest.approx(tops[(*stage, "r1", "r1")])


def test_what_comes_first_is_counted_by_query(checkpoint: Checkpoint, task: TwoHopTask) -> None:
    lens = logit_lens(checkpoint.model(), task.split("train_inferred"))
    planted = pd.DataFrame(
        {"fact": range(6), "first_bridge": [1, 2, 3, 1, None, None], "first_answer": [2, 2, 1, None, 1, None]}
    )
    first = dataclasses.replace(lens, queries=planted.astype(float)).first.set_index("outcome")["share"]
    assert len(first) == 6 and np.allclose(first, 1 / 6)
    assert lens.first["share"].sum() == pytest.approx(1.0)
    whole = logit_lens(checkpoint.model(), task.split("train_inferred").take(torch.arange(3))).queries
    assert whole["correct"].dtype == bool and set(whole["first_bridge"].dropna()) <= set(range(5))


def test_the_last_layer_at_the_answer_position_is_the_models_own_answer(task: TwoHopTask, checkpoint: Checkpoint) -> None:
    queries = task.split("train_inferred")
    lens = logit_lens(checkpoint.model(), queries)
    right = checkpoint.model()(queries.tokens)[:, -1].argmax(-1) == queries.answers
    assert by_cell(lens).loc[(1, "layer", "r2", "answer"), "top1"] == pytest.approx(float(right.double().mean()))
    assert lens.queries["correct"].tolist() == right.tolist()
    assert lens.found_by_correct.set_index("quantity")["value"]["P(correct)"] == pytest.approx(float(right.double().mean()))


def test_a_random_model_reads_no_more_than_the_shuffled_null(task: TwoHopTask) -> None:
    model = random_model(0, d_vocab=task.n_tokens)
    table = by_cell(logit_lens(model, task.split("train_inferred")))
    gaps = [
        table.loc[(*stage, "r1", "bridge"), "top1"] - table.loc[(*stage, "r1", "shuffled bridge"), "top1"]
        for stage in STAGES
    ]
    assert max(map(abs, gaps)) < 0.1


def test_the_interval_rests_on_facts_not_queries(task: TwoHopTask, checkpoint: Checkpoint) -> None:
    queries, model = task.split("train_inferred"), checkpoint.model()
    once, thrice = (logit_lens(model, queries.take(torch.arange(len(queries)).repeat(k))).table for k in (1, 3))
    real = once["target"] != "shuffled bridge"  # more queries are shuffled otherwise
    for column in ("top1", "low", "high"):
        assert once.loc[real, column].tolist() == pytest.approx(thrice.loc[real, column].tolist())
    assert (once["n_facts"] == len(queries.hop1.unique())).all() and (thrice["n"] == 3 * len(queries)).all()


def test_a_run_is_read_checkpoint_by_checkpoint(task: TwoHopTask, tiny_run: Run) -> None:
    queries = task.split("test_inferred_iid")
    whole = logit_lens(tiny_run, queries)
    assert list(dict.fromkeys(whole.table["step"])) == tiny_run.steps and whole.table.columns[0] == "step"
    for step in tiny_run.steps:
        alone = logit_lens(tiny_run.checkpoint(step).model(), queries)
        for name in ("table", "roles", "queries", "any_cell", "first", "found_by_correct"):
            rows = getattr(whole, name).query("step == @step").drop(columns="step").reset_index(drop=True)
            pd.testing.assert_frame_equal(rows, getattr(alone, name))
    with pytest.raises(ValueError, match="a rate for each step of a run; see any_cell"):
        _ = whole.bridge_found_any
    assert whole.model == tiny_run.name and len(whole.figure().data) == 2 * 4 * 3  # band and line, panels, layers


def test_a_split_without_queries_is_refused(task: TwoHopTask, checkpoint: Checkpoint) -> None:
    empty: Queries = task.split("test_inferred_ood").take(torch.arange(0))
    with pytest.raises(ValueError, match="test_inferred_ood holds no query"):
        logit_lens(checkpoint.model(), empty)


def test_it_reads_back_and_shows_itself(task: TwoHopTask, checkpoint: Checkpoint) -> None:
    lens = logit_lens(checkpoint.model(), task.split("test_inferred_iid"))
    again = LensResult.from_json(lens.to_json())
    assert again.table.equals(lens.table) and again.to_json() == lens.to_json() and again.queries.equals(lens.queries)
    assert "tiny, step 60 (final) · test_inferred_iid · n = " in lens._repr_html_()
    figure = lens.figure()
    cells = by_cell(lens)["top1"]
    assert figure.data[0].z[2][1] == cells[0, "layer", "r1", "bridge"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_role_that_is_a_pad_in_some_prompts_is_read_in_the_others_alone(side: str) -> None:
    """As if each role were asked of those prompts alone; what the model does not see is found nowhere."""
    model = padding_model(0, side)
    pairs = padded_pairs(model, side, "both", n=24)
    queries = replace(pairs, intermediates={"via": pairs.foils}).queries()
    lens, n_pads = logit_lens(model, queries), torch.tensor([0, 2, 1, 0] * 6)
    for position, role in enumerate(PADDED_ROLES):
        seen = n_pads <= position  # right pads are moved to the left
        rows = lens.table[lens.table["role"] == role]
        assert (rows["n"] == int(seen.sum())).all() and (rows["n_facts"] == int(seen.sum())).all()
        alone = logit_lens(model, queries.take(seen)).table
        real = ~rows["target"].str.startswith("shuffled")
        for column in ("top1", "top5", "mean_rank", "mrr", "probability", "low", "high", "n"):
            found = alone.loc[alone["role"] == role, column].to_numpy()[real.to_numpy()]
            np.testing.assert_allclose(rows.loc[real, column], found, atol=1e-12)
        tops = lens.roles[lens.roles["role"] == role]
        assert (tops["n"] == int(seen.sum())).all()
        assert np.allclose(tops.groupby(["layer", "after"])["share"].sum(), 1.0)
    assert f"n = {len(queries)} queries" in lens.caption
    own = own_logits(model, queries.tokens, 10).argmax(-1) == queries.answers
    assert lens.queries["correct"].tolist() == own.tolist()


def test_a_role_that_is_a_pad_in_every_prompt_has_no_rate() -> None:
    model = padding_model(0, "left")
    pairs = padded_pairs(model, "left", "both", n=8)
    padded = replace(pairs, intermediates={"via": pairs.foils}).queries().take(torch.tensor([1, 5]))
    rows = logit_lens(model, padded).table.set_index("role").loc["x"]
    assert (rows["n"] == 0).all() and rows["top1"].isna().all() and (rows["low"] == 0).all() and (rows["high"] == 1).all()


def named(roles: tuple[str, ...], name: str = "via") -> Queries:
    pairs = random_pairs(0, n=12)
    return Queries(pairs.clean, pairs.answers, roles=roles, split="mine", intermediates={name: pairs.foils})


@pytest.mark.parametrize("roles", [("end", "b", "c"), ("a", "pad", "c"), ("end", "pad", "c"), ("h", "r1", "end")])
def test_every_token_of_a_users_prompts_is_a_target_whatever_its_role_is_called(roles: tuple[str, ...]) -> None:
    lens, plain = (logit_lens(random_model(0), named(each)) for each in (roles, ("a", "b", "c")))
    assert set(roles) < set(lens.table["target"]) and len(lens.table) == len(plain.table)
    assert lens.table["top1"].tolist() == plain.table["top1"].tolist()


@pytest.mark.parametrize(
    ("roles", "name", "message"),
    [
        (("other", "b", "c"), "via", "a role cannot be called other"),
        (("a", "b", "answer"), "via", "a role cannot be called answer"),
        (("a", "b", "c"), "a", "an intermediate cannot be called a, which is a role or a column"),
        (("a", "b", "c"), "step", "an intermediate cannot be called step"),
        (("a", "b", "c"), "correct", "an intermediate cannot be called correct"),
        (("a", "b", "c"), "first_via", "an intermediate cannot be called first_via"),
    ],
)
def test_names_that_rows_and_columns_have_are_refused(roles: tuple[str, ...], name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        logit_lens(random_model(0), named(roles, name))


def test_what_it_says_of_itself_is_what_it_holds(task: TwoHopTask, checkpoint: Checkpoint, tiny_run: Run) -> None:
    lens = logit_lens(checkpoint.model(), task.split("train_inferred"))
    assert_explained(lens)
    best = lens.table[lens.table["target"] == "bridge"].nlargest(1, "top1").iloc[0]
    said = lens.explain()
    assert f"{best['role']}: in {best['top1']:.2f} of the questions" in said.means
    assert "Readable is not used, and unreadable is not absent." in said.means
    assert f"any of 9 cells, it is found in {lens.bridge_found_any:.2f} and" in said.would_change
    of_run = logit_lens(tiny_run, task.split("train_inferred")).explain()
    assert "step 60, the last of 3 checkpoints" in of_run.on and of_run.means == said.means
