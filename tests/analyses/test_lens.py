import dataclasses

import pytest
import torch
from conftest import random_model

from grokscope.analyses import LensResult, logit_lens
from grokscope.tasks import Queries, Run, TwoHopTask


def test_equals_a_literal_lens_query_by_query(task: TwoHopTask, tiny_run: Run) -> None:
    model, queries = tiny_run.checkpoint("final").model(), task.split("test_inferred_iid").take(torch.arange(7))
    lens = logit_lens(model, queries).table.set_index(["layer", "role", "target"])
    for position, role in enumerate(queries.roles):
        for layer in (-1, 0, 1):
            ranks, probabilities = [], []
            for tokens, bridge in zip(queries.tokens, queries.bridges, strict=True):
                _, cache = model.run_with_cache(tokens[None])
                name = "blocks.0.hook_resid_pre" if layer < 0 else f"blocks.{layer}.hook_resid_post"
                state = cache[name][0, position]
                centred = state - state.mean()
                normed = centred / torch.sqrt(centred.pow(2).mean() + 1e-5) * model.ln_final.w + model.ln_final.b
                p = (normed @ model.W_U + model.b_U).softmax(-1).detach()
                ranks.append(int((p > p[bridge]).sum()))
                probabilities.append(float(p[bridge]))
            row = lens.loc[(layer, role, "bridge")]
            assert row["top1"] == pytest.approx(sum(rank == 0 for rank in ranks) / 7)
            assert row["mean_rank"] == pytest.approx(sum(ranks) / 7)
            assert row["mrr"] == pytest.approx(sum(1 / (rank + 1) for rank in ranks) / 7)
            assert row["probability"] == pytest.approx(sum(probabilities) / 7, rel=1e-4)


def test_the_last_layer_at_the_answer_position_is_the_models_own_answer(task: TwoHopTask, tiny_run: Run) -> None:
    checkpoint, queries = tiny_run.checkpoint("final"), task.split("train_inferred")
    lens = logit_lens(checkpoint.model(), queries).table.set_index(["layer", "role", "target"])
    right = (checkpoint.model()(queries.tokens)[:, -1].argmax(-1) == queries.answers).float().mean()
    assert lens.loc[(1, "r2", "answer"), "top1"] == pytest.approx(float(right))


def test_a_random_model_reads_no_more_than_the_shuffled_null(task: TwoHopTask) -> None:
    model = random_model(0, d_vocab=task.n_tokens)
    table = logit_lens(model, task.split("train_inferred")).table.set_index(["layer", "role", "target"])
    gaps = [
        table.loc[(layer, "r1", "bridge"), "top1"] - table.loc[(layer, "r1", "shuffled bridge"), "top1"] for layer in (0, 1)
    ]
    assert max(map(abs, gaps)) < 0.1


def test_the_interval_rests_on_facts_not_queries(task: TwoHopTask, tiny_run: Run) -> None:
    queries = task.split("train_inferred")
    model = tiny_run.checkpoint("final").model()
    once, thrice = (logit_lens(model, queries.take(torch.arange(len(queries)).repeat(k))).table for k in (1, 3))
    real = once["target"] != "shuffled bridge"  # more queries are shuffled otherwise
    for column in ("top1", "low", "high"):
        assert once.loc[real, column].tolist() == pytest.approx(thrice.loc[real, column].tolist())
    assert (once["n_facts"] == len(queries.hop1.unique())).all() and (thrice["n"] == 3 * len(queries)).all()


def test_a_split_without_queries_is_refused(task: TwoHopTask, tiny_run: Run) -> None:
    empty: Queries = task.split("test_inferred_ood").take(torch.arange(0))
    with pytest.raises(ValueError, match="test_inferred_ood holds no query"):
        logit_lens(tiny_run.checkpoint("final").model(), empty)


def test_it_reads_back_and_shows_itself(task: TwoHopTask, tiny_run: Run) -> None:
    lens = logit_lens(tiny_run.checkpoint("final").model(), task.split("test_inferred_iid"))
    again = LensResult.from_json(lens.to_json())
    assert again.table.equals(lens.table) and dataclasses.replace(again, table=lens.table).to_json() == lens.to_json()
    assert "tiny, step 60 (final) · test_inferred_iid · n = " in lens._repr_html_()
    figure = lens.figure()
    cells = lens.table[lens.table["target"] == "bridge"].pivot(index="layer", columns="role", values="top1")
    assert figure.data[0].z[1][1] == cells.loc[0, "r1"]
