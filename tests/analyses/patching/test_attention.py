"""Attention attributions against hooks, captum, and what they must add up to."""

import json
import math
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import IntegratedGradients
from conftest import calm_model, no_hooks_left, pairs_of_five, random_settings, seeds, wide_pairs
from explained import assert_explained

from grokscope.analyses import AttentionResult, attribute_attention, edge_attribution, graph_of
from grokscope.analyses.forward.cached import run_and_cache
from grokscope.analyses.forward.lines import Integral
from grokscope.analyses.forward.literal import logits_at, sender_outputs
from grokscope.analyses.forward.patterns import integrated_pattern, pattern_of, run_with_pattern
from grokscope.analyses.patching.completeness import completeness
from grokscope.analyses.patching.gap import metric_values
from grokscope.analyses.patching.metrics import logit_difference
from grokscope.circuits.palette import PALETTE
from grokscope.circuits.units import shown
from grokscope.tasks import PromptPairs
from grokscope.tasks.transformerlens import HookedTransformer


def with_pattern(model, pairs: PromptPairs, layer: int, change) -> torch.Tensor:
    """The logit differences of a hooked run in which a layer's patterns are changed."""
    hook = (f"blocks.{layer}.attn.hook_pattern", lambda pattern, hook: change(pattern))
    return logit_difference(logits_at(model, pairs.clean, pairs.answer_position, [hook]), pairs.answers, pairs.foils)


@pytest.mark.parametrize("seed", seeds(8, fast=3))
def test_knock_outs_and_integrals_equal_hooked_runs(seed: int) -> None:
    model, pairs = calm_model(seed, **random_settings(seed)), pairs_of_five(seed, answer_position=3 + seed % 2)
    result = attribute_attention(model, pairs, tolerance=1e-3, max_memory=2**24)
    table = result.table.set_index(["layer", "head", "query", "key"])
    plain = logit_difference(logits_at(model, pairs.clean, pairs.answer_position, []), pairs.answers, pairs.foils)
    for layer in range(model.cfg.n_layers):
        nothing = with_pattern(model, pairs, layer, lambda pattern: 0.0 * pattern)
        total = float((plain - nothing).mean())
        assert table.loc[layer]["integrated"].sum() == pytest.approx(total, rel=0.01, abs=1e-4)
        assert result.completeness.loc[layer, "difference"] == pytest.approx(total, rel=1e-9, abs=1e-12)
    several = table.groupby(["layer", "head", "query"])["pattern"].transform("size") > 1
    assert table["knockout"].isna().equals(~several)
    for place in list(table[several].index)[:: 1 + len(table) // 12]:
        layer, head, query, key = place[0], place[1], pairs.roles.index(place[2]), pairs.roles.index(place[3])

        def without(pattern: torch.Tensor, head=head, query=query, key=key) -> torch.Tensor:
            pattern = pattern.clone()
            pattern[:, head, query, key] = 0
            pattern[:, head, query] /= pattern[:, head, query].sum(-1, keepdim=True)
            return pattern

        expected = float((with_pattern(model, pairs, layer, without) - plain).mean())
        assert table.loc[place]["knockout"] == pytest.approx(expected, abs=1e-9)
    assert no_hooks_left(model) and all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("settings", [{}, {"normalization_type": "RMS"}, {"attention_dir": "bidirectional"}])
def test_integrated_attention_equals_captums(settings: dict[str, object]) -> None:
    model, pairs = calm_model(3, **settings), wide_pairs(3)
    run = run_and_cache(model, graph_of(model, pairs.roles, -1), pairs.clean)
    for layer in range(model.cfg.n_layers):
        pattern = pattern_of(run, layer)

        def forward(weights: torch.Tensor, layer: int = layer) -> torch.Tensor:
            return with_pattern_and_gradient(run, pairs, layer, weights)

        theirs = IntegratedGradients(forward).attribute(
            pattern, n_steps=31, method="gausslegendre", internal_batch_size=None
        )
        objective = partial(metric_values, logit_difference, pairs=pairs)
        ours, _ = integrated_pattern(run, layer, pattern, objective, steps=31, tolerance=math.inf)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_sharp_lines_are_divided_until_a_literal_loop_agrees() -> None:
    """A first layer that writes next to nothing without attention: norms after it turn within a small part of the line."""
    model, pairs = sharp_model(2), wide_pairs(2)
    result = attribute_attention(model, pairs, tolerance=1e-3)
    sums, once = result.completeness.set_index("layer"), attribute_attention(model, pairs, tolerance=math.inf).completeness
    assert once["residual"].max() > 0.01 > 1e-3 >= sums["residual"].max() and once["steps"].max() == 5
    pattern = torch.from_numpy(result.patterns[0])
    literal, points = torch.zeros_like(pattern), (torch.arange(2000, dtype=pattern.dtype) + 0.5) / 2000
    for some in points.split(100):  # in one run
        scaled = torch.einsum("n,q...->nq...", some, pattern).flatten(0, 1).requires_grad_()
        clean, answers, foils = (torch.cat([each] * len(some)) for each in (pairs.clean, pairs.answers, pairs.foils))
        hook = ("blocks.0.attn.hook_pattern", lambda _, hook, scaled=scaled: scaled)
        values = logit_difference(model.run_with_hooks(clean, fwd_hooks=[hook])[:, -1], answers, foils)
        gradients = torch.autograd.grad(values.sum(), scaled)[0].unflatten(0, (len(some), -1))
        literal += pattern * gradients.sum(0) / len(points)
    rows = result.table.query("layer == 0")[["head", "query", "key", "integrated"]]
    expected = literal.mean(0)
    for head, query, key, value in rows.itertuples(index=False, name=None):
        place = head, pairs.roles.index(query), pairs.roles.index(key)
        assert value == pytest.approx(float(expected[place]), abs=5e-3 * float(expected.abs().max()))
    assert rows["integrated"].sum() == pytest.approx(sums.loc[0, "sum"], rel=1e-9)
    assert f"adds up within {sums['residual'].max():.1%}" in result.caption


def sharp_model(seed: int) -> HookedTransformer:
    model = calm_model(seed)
    with torch.no_grad():
        model.embed.W_E *= 1e-3
        model.pos_embed.W_pos *= 1e-3
        model.blocks[0].attn.W_O *= 10
    return model


def test_the_attributions_of_a_query_depend_on_no_other_query() -> None:
    model, pairs = sharp_model(0), wide_pairs(0)
    whole, parts = (attribute_attention(model, pairs, max_memory=size) for size in (2**32, 2**19))
    assert whole.completeness["steps"].max() > 5
    np.testing.assert_allclose(whole.table["integrated"], parts.table["integrated"], rtol=1e-9, atol=1e-12)
    pd.testing.assert_frame_equal(whole.completeness, parts.completeness)


def test_attributions_that_do_not_add_up_are_named() -> None:
    """A metric that goes up in stairs: no gradient tells of them, wherever points are."""

    def stairs(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        values = logit_difference(logits, answers, foils)
        return values + (200 * values).floor() / 40

    with pytest.warns(UserWarning, match=r"do not add up within 2\.0% .*\(layer 0: \d+\.\d%, .*even with \d{3} points"):
        result = attribute_attention(calm_model(0), wide_pairs(0), metric=stairs)
    assert (result.completeness["residual"] > 0.5).all() and (result.completeness["steps"] >= 500).all()


@pytest.mark.parametrize("given", [{"steps": 0}, {"tolerance": 0.0}, {"tolerance": math.nan}])
def test_steps_and_tolerances_that_mean_nothing_are_refused(given: dict[str, float]) -> None:
    for measure in (attribute_attention, partial(edge_attribution, method="eap_ig_inputs")):
        with pytest.raises(ValueError, match=f"{next(iter(given))} is .*, needed is"):
            measure(calm_model(0), wide_pairs(0), **given)


def with_pattern_and_gradient(run, pairs: PromptPairs, layer: int, weights: torch.Tensor) -> torch.Tensor:
    """Captum passes one copy of all queries for each step, one after the other."""
    n_copies = len(weights) // len(pairs)
    logits = run_with_pattern(run, layer, weights.unflatten(0, (n_copies, len(pairs)))).flatten(0, 1)
    return logit_difference(logits, pairs.answers.repeat(n_copies), pairs.foils.repeat(n_copies))


@pytest.mark.parametrize("norm", ["LN", "LNPre", "RMS", "RMSPre", None])
def test_direct_contributions_of_a_head_are_its_output_along_the_frozen_direction(norm: str | None) -> None:
    """With the final norm written out by hand."""
    model, pairs = calm_model(4, normalization_type=norm), wide_pairs(4)
    graph = graph_of(model, pairs.roles, -1)
    result = attribute_attention(model, pairs, steps=5)
    outputs, _ = sender_outputs(model, graph, pairs.clean)
    final = sum(value for node, value in outputs.items() if node.role == graph.answer_role)
    final = final + model.blocks[0].attn.b_O + model.blocks[1].attn.b_O
    centred = norm in ("LN", "LNPre")

    def scale(part: torch.Tensor) -> torch.Tensor:
        return part - part.mean(-1, keepdim=True) if centred else part

    size = (scale(final).square().mean(-1, keepdim=True) + model.cfg.eps).sqrt() if norm else 1.0
    gain = model.ln_final.w if norm in ("LN", "RMS") else 1.0
    for layer in range(2):
        for head in range(model.cfg.n_heads):
            (node,) = [n for n in outputs if (n.kind, n.layer, n.head, n.role) == ("head", layer, head, graph.answer_role)]
            part = scale(outputs[node]) / size * gain
            logits = part @ model.W_U
            expected = float(logit_difference(logits.detach(), pairs.answers, pairs.foils).mean())
            rows = result.table.query("layer == @layer and head == @head")
            # b_V belongs to the values, so a head's entries add up to all that it writes
            assert rows["direct"].sum() == pytest.approx(expected, rel=1e-9)
            assert (rows[rows["query"] != graph.answer_role]["direct"] == 0).all()


def test_the_table_says_what_was_measured_and_reads_back() -> None:
    model, pairs = calm_model(0), wide_pairs(0)
    result = attribute_attention(model, pairs)
    again = AttentionResult.from_json(result.to_json())
    np.testing.assert_array_equal(again.patterns, result.patterns)
    assert result.patterns.shape == (2, len(pairs), 2, 3, 3)
    np.testing.assert_allclose(result.patterns.sum(-1), 1.0)
    sums = result.table.groupby(["layer", "head", "query"])["pattern"].sum()
    np.testing.assert_allclose(sums, 1.0)
    assert f"n = {len(pairs)}" in result.caption and len(result.figure("knockout").data) == 4


@pytest.mark.parametrize("seed", range(3))
def test_without_an_entry_that_has_all_of_its_row_the_others_get_it(seed: int) -> None:
    """Heads whose softmax saturates: the weight is 1, all others are 0 in the arithmetic's precision."""
    model, pairs = calm_model(seed, use_attn_scale=False), wide_pairs(seed)
    with torch.no_grad():
        for block in model.blocks:
            block.attn.W_Q.mul_(1e4)
    result = attribute_attention(model, pairs, steps=2, tolerance=math.inf)
    assert ((result.patterns == 1.0).sum(-1)[..., 1:] == 1).any()
    plain = logit_difference(model(pairs.clean)[:, -1], pairs.answers, pairs.foils)
    for row in result.table.to_dict("records"):
        query, key = pairs.roles.index(row["query"]), pairs.roles.index(row["key"])
        if query == 0:
            assert math.isnan(row["knockout"])
            continue

        def hide(scores: torch.Tensor, hook: object, head=row["head"], query=query, key=key) -> torch.Tensor:
            scores = scores.clone()
            scores[:, head, query, key] = -math.inf
            return scores

        hook = (f"blocks.{row['layer']}.attn.hook_attn_scores", hide)
        after = logit_difference(logits_at(model, pairs.clean, -1, [hook]), pairs.answers, pairs.foils)
        assert row["knockout"] == pytest.approx(float((after - plain).detach().mean()), abs=1e-9)


def test_where_biases_of_values_stand_changes_what_it_is_said_to_change() -> None:
    model, folded, pairs = calm_model(0), calm_model(0), wide_pairs(0)
    with torch.no_grad():
        for block in folded.blocks:
            block.attn.b_O += (block.attn.b_V[..., None] * block.attn.W_O).sum((0, 1))
            block.attn.b_V.zero_()
    assert torch.allclose(model(pairs.clean), folded(pairs.clean))
    one, other = (attribute_attention(each, pairs).table for each in (model, folded))
    for reading in ("pattern", "knockout"):
        np.testing.assert_allclose(one[reading], other[reading], atol=1e-9)
    for reading in ("integrated", "direct"):
        assert (one[reading] - other[reading]).abs().max() > 1e-3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("max_memory", [2**32, 2**19])
def test_queries_whose_metric_has_no_number_are_named(value: float, max_memory: int) -> None:
    model, pairs = calm_model(0), wide_pairs(0)
    wrong = torch.tensor([4, 7])
    special = model(pairs.clean[wrong])[:, -1].detach()

    def broken(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        hit = (torch.cdist(logits, special) < 1e-9).any(1)
        return torch.where(hit, value, logit_difference(logits, answers, foils))

    what = "NaN" if math.isnan(value) else "no finite number"
    named = [row for row, prompt in enumerate(pairs.clean.tolist()) if prompt in pairs.clean[wrong].tolist()]
    with pytest.raises(
        ValueError, match=f"broken gives {what} for queries {str(named)[1:-1]} of {len(pairs)} on the clean prompts;"
    ):
        attribute_attention(model, pairs, metric=broken, max_memory=2**32)
    with pytest.raises(ValueError, match=f"broken gives {what} for quer.* of {len(pairs)} on the clean prompts;"):
        attribute_attention(model, pairs, metric=broken, max_memory=max_memory)


@pytest.mark.parametrize("root", [torch.sqrt, torch.log])
def test_a_metric_without_a_number_where_nothing_is_attended_to_is_named(root) -> None:
    """It has one on the prompts: it is moved until it has none just where the line begins."""
    model, pairs = calm_model(0), wide_pairs(0)
    before = with_pattern(model, pairs, 0, lambda pattern: 0.0 * pattern).detach().double()
    plain = logit_difference(model(pairs.clean)[:, -1].detach().double(), pairs.answers, pairs.foils)
    sign = torch.where(plain > before, 1.0, -1.0)
    row = int((plain - before).abs().argmax())
    pair, middle, up = pairs.take(torch.tensor([row])), (plain + before)[row] / 2, sign[row]

    def moved(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        return root(up * (logit_difference(logits, answers, foils) - middle))

    message = "moved gives NaN for query 0 of 1 on the clean prompts without attention in layer 0"
    with pytest.raises(ValueError, match=message):
        attribute_attention(model, pair, metric=moved)


def test_attributions_that_are_no_number_are_warned_of() -> None:
    one, nothing = np.ones(1), np.zeros(1)
    good = Integral({}, one, one, nothing, nothing, np.ones(1, dtype=int))
    broken = replace(good, attributed=one * math.nan, error=one * math.nan)
    with pytest.warns(UserWarning, match=r"do not add up .*\(line b: nan%\)"):
        completeness({"a": [good], "b": [good, broken]}, "line", tolerance=0.02)


def test_the_view_names_positions_by_their_roles() -> None:
    pairs = wide_pairs(0)
    view = attribute_attention(calm_model(0), pairs, progress=False).view()
    (content,) = re.findall(r'<script type="application/json">(.*?)</script>', view.html)
    shown = json.loads(content)
    assert shown["tokens"] == list(pairs.roles) and f"n = {len(pairs)}" in view.title
    assert shown["positiveColor"] == PALETTE["hues"]["blue"] and shown["minValue"] == 0


def test_what_it_says_of_itself_is_what_it_holds() -> None:
    result = attribute_attention(calm_model(0), wide_pairs(0))
    assert_explained(result)
    row = result.table.loc[result.table["integrated"].abs().idxmax()]
    said = f"Head {row['head']} of layer {row['layer']}, looking from {row['query']} at {row['key']}, has the largest"
    assert f"{said} attribution, {shown(row['integrated'])} nats" in result.explain().means
    assert "no rows" in replace(result, table=result.table.head(0)).explain().means
