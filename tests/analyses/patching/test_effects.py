from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import no_hooks_left, random_model, strong_model, wide_pairs
from explained import assert_explained
from handset import permute_heads

from grokscope.analyses import PatchingResult, activation_patch, edge_attribution, graph_of, path_patch
from grokscope.analyses.forward.literal import patch_edge, sender_outputs
from grokscope.circuits.units import shown
from grokscope.tasks import PromptPairs


@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_effects_are_ratios_of_sums_and_deltas_are_by_query(direction: str) -> None:
    model, pairs = strong_model(0), wide_pairs(0)
    result = path_patch(model, pairs, direction=direction, per_query=True)
    base, donor = (pairs.clean, pairs.corrupt) if direction == "noising" else (pairs.corrupt, pairs.clean)
    graph = graph_of(model, pairs.roles, -1)
    base_outputs, base_logits = sender_outputs(model, graph, base)
    donor_outputs, donor_logits = sender_outputs(model, graph, donor)

    def metric(logits: torch.Tensor) -> list[float]:
        return [float(row[a] - row[f]) for row, a, f in zip(logits, pairs.answers, pairs.foils, strict=True)]

    ends = [metric(logits) for logits in (base_logits, donor_logits)]
    gap = sum(d - b for b, d in zip(*ends, strict=True))
    for row, edge in enumerate(graph.edges):
        difference = donor_outputs[edge.sender] - base_outputs[edge.sender]
        patched = metric(patch_edge(model, graph, base, edge, difference))
        deltas = [p - b for p, b in zip(patched, ends[0], strict=True)]
        assert result.table["effect"][row] == pytest.approx(sum(deltas) / gap, abs=1e-9)
        assert result.deltas is not None
        np.testing.assert_allclose(result.deltas[row], deltas, atol=1e-9)
    sign = -1 if direction == "noising" else 1
    assert result.gap == pytest.approx(sign * gap / len(pairs)) and result.n == len(pairs)
    assert no_hooks_left(model)


def test_patching_all_edges_of_the_last_step_gives_one_without_norms() -> None:
    model, pairs = random_model(1, normalization_type=None), wide_pairs(1)
    with torch.no_grad():
        model.unembed.W_U.mul_(10.0)
        change = (model(pairs.clean) - model(pairs.corrupt))[:, -1]
    pairs = PromptPairs(pairs.clean, pairs.corrupt, change.argmax(-1), change.argmin(-1), roles=pairs.roles)
    table = path_patch(model, pairs).table
    assert table.loc[table["receiver"] == "logits@r2", "effect"].sum() == pytest.approx(1.0)


def test_effects_do_not_depend_on_batches_or_order() -> None:
    model, pairs = strong_model(2), wide_pairs(2)
    whole = path_patch(model, pairs, per_query=True)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
    shuffled = path_patch(model, pairs.take(order), per_query=True)
    parts = [path_patch(model, pairs.take(rows), per_query=True) for rows in torch.arange(len(pairs)).split(5)]
    np.testing.assert_allclose(shuffled.table["effect"], whole.table["effect"], atol=1e-10)
    np.testing.assert_allclose(shuffled.deltas, whole.deltas[:, order.numpy()], atol=1e-10)
    np.testing.assert_allclose(np.concatenate([p.deltas for p in parts], axis=1), whole.deltas, atol=1e-10)


def test_permuting_heads_permutes_the_result() -> None:
    model, pairs = strong_model(3), wide_pairs(3)
    before = path_patch(model, pairs).table
    permute_heads(model, 0, [1, 0])
    after = path_patch(model, pairs).table
    swap = {"L0H0": "L0H1", "L0H1": "L0H0"}
    renamed = before.assign(
        sender=before["sender"].replace(swap, regex=True), receiver=before["receiver"].replace(swap, regex=True)
    )
    merged = renamed.merge(after, on=["sender", "receiver"], suffixes=("", "_after"))
    assert len(merged) == len(before)
    np.testing.assert_allclose(merged["effect"], merged["effect_after"], atol=1e-10)
    assert not np.allclose(before["effect"], after["effect"])


def test_the_standard_error_covers_resampled_worlds() -> None:
    """Across many draws of queries from one world, the effect's spread is what its standard error says."""
    model, pairs = strong_model(4), wide_pairs(4, n=400)
    edge = "MLP1@r2 -> logits@r2"
    draws = [path_patch(model, pairs.take(rows), edges=[edge]).table.iloc[0] for rows in torch.arange(400).split(20)]
    spread = np.std([draw["effect"] for draw in draws], ddof=1)
    assert 0.5 < np.mean([draw["stderr"] for draw in draws]) / spread < 2


def test_a_gap_that_is_not_known_gives_nan_with_the_reason_and_keeps_the_deltas() -> None:
    model, pairs = strong_model(5), wide_pairs(5)
    swapped = PromptPairs(
        torch.cat([pairs.clean, pairs.corrupt]),
        torch.cat([pairs.corrupt, pairs.clean]),
        pairs.answers.repeat(2),
        pairs.foils.repeat(2),
        roles=pairs.roles,
    )
    result = path_patch(model, swapped, per_query=True)
    assert result.table["effect"].isna().all() and result.table["stderr"].isna().all()
    assert "reaches 0" in result.reason and "no effects" in result.caption
    assert result.deltas is not None and np.isfinite(result.deltas).all() and np.abs(result.deltas).max() > 0


def test_chosen_edges_are_measured_in_graph_order_and_unknown_ones_named() -> None:
    model, pairs = strong_model(6), wide_pairs(6)
    wanted = ["MLP0@r1 -> L1H0.v@r1", "embed@h -> L0H0.v@h"]
    some, everything = path_patch(model, pairs, edges=wanted).table, path_patch(model, pairs).table
    assert (some["sender"] + " -> " + some["receiver"]).tolist() == wanted[::-1]
    merged = some.merge(everything, on=["sender", "receiver"])
    np.testing.assert_allclose(merged["effect_x"], merged["effect_y"])
    with pytest.raises(KeyError, match=r"L7H0\.v@h"):
        path_patch(model, pairs, edges=["embed@h -> L7H0.v@h"])


def test_other_metrics_and_wrong_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs = strong_model(7), wide_pairs(7)

    def answer_logit(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        return logits.gather(1, answers[:, None])[:, 0]

    assert path_patch(model, pairs, metric=answer_logit, edges=["embed@h -> L0H0.v@h"]).metric == "answer_logit"
    with pytest.raises(ValueError, match=r"one number for each of the 12 queries, got the shape \(\)"):
        path_patch(model, pairs, metric=lambda logits, answers, foils: logits.mean())
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the caller's message, not the test suite's
    with pytest.raises(ValueError, match="direction must be one of 'noising', 'denoising', got 'clean'"):
        path_patch(model, pairs, direction="clean")


def test_node_effects_of_the_embedding_at_all_positions_together_are_the_whole_gap() -> None:
    """One position differs, so patching the embedding there is patching everything."""
    model, pairs = strong_model(8), wide_pairs(8)
    corrupt = pairs.clean.clone()
    corrupt[:, 1] = pairs.corrupt[:, 1]
    with torch.no_grad():
        change = (model(pairs.clean) - model(corrupt))[:, -1]
    pairs = PromptPairs(pairs.clean, corrupt, change.argmax(-1), change.argmin(-1), roles=pairs.roles)
    table = activation_patch(model, pairs).table.set_index("node")
    assert table.loc["embed@r1", "effect"] == pytest.approx(1.0)
    assert table.loc[["embed@h", "embed@r2", "MLP0@h", "L0H0@h"], "effect"].abs().max() == 0.0


def test_results_read_back_and_show_themselves(tmp_path: Path) -> None:
    model, pairs = strong_model(9), wide_pairs(9)
    for result in (path_patch(model, pairs, per_query=True), activation_patch(model, pairs)):
        again = PatchingResult.load(result.save(tmp_path / "result.json"))
        pd.testing.assert_frame_equal(again.table, result.table)
        assert again.to_json() == result.to_json() and again.graph == result.graph
        assert "logit_difference" in result._repr_html_() and f"n = {len(pairs)}" in result.caption
        cells = result.figure().data[0].z
        assert np.nanmax(np.array(cells, dtype=float)) == pytest.approx(result.table["effect"].max())


def test_the_frame_by_query_holds_every_delta() -> None:
    model, pairs = strong_model(10), wide_pairs(10)
    result = path_patch(model, pairs, per_query=True)
    frame = result.to_frame()
    assert list(frame.columns) == ["sender", "receiver", "effect", "stderr", "n", "gap", "n_units", "query", "delta"]
    pivot = frame.pivot(index=["sender", "receiver"], columns="query", values="delta")
    rows = pivot.loc[list(zip(result.table["sender"], result.table["receiver"], strict=True))]
    np.testing.assert_array_equal(rows.to_numpy(), result.deltas)


def test_what_it_says_of_itself_is_what_it_holds() -> None:
    model, pairs = strong_model(9), wide_pairs(9)
    estimated = edge_attribution(model, pairs, error_against_exact=True)
    for result in (path_patch(model, pairs), activation_patch(model, pairs), estimated):
        assert_explained(result)
        row = result.table.loc[result.table["effect"].abs().idxmax()]
        place = row["node"] if "node" in row else f"{row['sender']} -> {row['receiver']}"
        assert f"{place}, has an effect of {shown(row['effect'])} (1 is" in result.explain().means
        assert f"Its standard error is {shown(row['stderr'])}." in result.explain().sure
    undefined = replace(result, table=result.table.assign(effect=np.nan), reason="the gap is too small")
    assert undefined.explain().means == "There are no effects: the gap is too small."
    assert "no rows" in replace(result, table=result.table.head(0)).explain().means
