"""Back-patching against hooks: answers are chosen to be those of one patch, which must then correct every question."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from conftest import no_hooks_left, random_model, random_pairs
from explained import assert_explained

from grokscope.analyses import back_patch, graph_of
from grokscope.analyses.forward.literal import logits_at
from grokscope.analyses.forward.model import Stage, residual_states
from grokscope.analyses.statistics import wilson
from grokscope.tasks import Queries
from grokscope.tasks.transformerlens import HookedTransformer

POSITION, SOURCE, TARGET = 2, 1, -1


def asked(seed: int, n: int = 30) -> Queries:
    pairs = random_pairs(seed, n=n)
    return Queries(pairs.clean, pairs.answers, roles=pairs.roles, split="random")


def put(source: torch.Tensor, activation: torch.Tensor, hook: object) -> torch.Tensor:
    activation = activation.clone()
    activation[:, POSITION] = source
    return activation


def literal_answers(model: HookedTransformer, queries: Queries) -> torch.Tensor:
    late = residual_states(model, queries.tokens, 2)[Stage(SOURCE, "layer")][:, POSITION]
    return logits_at(model, queries.tokens, 2, [("blocks.0.hook_resid_pre", partial(put, late))]).argmax(-1)


def test_the_patch_that_gives_the_answers_corrects_them() -> None:
    model, queries = random_model(0, n_layers=3), asked(0)
    with torch.no_grad():  # answers that depend on the question
        model.unembed.b_U.zero_()
        model.embed.W_E.mul_(8.0)
    plain = logits_at(model, queries.tokens, 2, []).argmax(-1)
    queries = replace(queries, answers=literal_answers(model, queries))
    wrong = int((queries.answers != plain).sum())
    assert 5 < wrong < len(queries)
    result = back_patch(model, queries)
    cell = result.table.query("role == 'r2' and source == @SOURCE and target == @TARGET").iloc[0]
    assert cell["corrected"] == 1.0 > cell["control"] and cell["n"] == wrong
    summary = result.table[result.table["role"] == "any"].iloc[0]
    assert summary["corrected"] == 1.0 and result.n_asked == len(queries)
    assert len(result.table) == 1 + 3 * 6  # positions × pairs of the embedding and three layers
    assert "corrects 1.00" in result.caption and result.figure() and no_hooks_left(model)


def test_nothing_that_is_read_is_put_after_where_it_was() -> None:
    model, queries = random_model(1, n_layers=2), asked(1)
    table = back_patch(model, queries).table
    cells = table[table["role"] != "any"]
    assert (cells["target"] < cells["source"]).all()
    assert set(cells["role"]) == set(graph_of(model, queries.roles, 2).roles)


def test_a_model_that_is_never_wrong_cannot_be_corrected() -> None:
    model, queries = random_model(2), asked(2)
    right = replace(queries, answers=logits_at(model, queries.tokens, 2, []).argmax(-1))
    with pytest.raises(ValueError, match="0 of the 30 questions of random are answered wrongly, needed are 2"):
        back_patch(model, right)


def test_a_position_cannot_be_called_as_the_row_for_all() -> None:
    with pytest.raises(ValueError, match="a role cannot be called any, which stands for any patch at all"):
        back_patch(random_model(2), replace(asked(2), roles=("a", "any", "c")))


def test_what_it_says_of_itself_is_what_it_holds() -> None:
    model, queries = random_model(1, n_layers=2), asked(1)
    result = back_patch(model, queries)
    assert_explained(result)
    whole, cells = result.table[result.table["role"] == "any"].iloc[0], result.table[result.table["role"] != "any"]
    best = cells.loc[cells["corrected"].idxmax()]
    said = result.explain()
    assert (
        f"corrects {whole['corrected']:.2f} of them" in said.means and f"one corrects {best['corrected']:.2f}" in said.means
    )
    assert f"states corrects {whole['control']:.2f}: only more" in said.would_change


def test_intervals_are_over_units_that_repeat_each_other() -> None:
    model, queries = random_model(1, n_layers=2), asked(1)
    alone = back_patch(model, queries).table
    shared = back_patch(model, replace(queries, unit=torch.arange(30) // 5)).table
    assert (shared["n"] == alone["n"]).all() and shared["n_facts"].max() <= 6 < alone["n_facts"].max()
    for _, row in shared.iterrows():
        assert (row["low"], row["high"]) == wilson(row["corrected"], row["n_facts"])
        assert (row["control_low"], row["control_high"]) == wilson(row["control"], row["n_facts"])
    assert (alone["n_facts"] == alone["n"]).all()
