import numpy as np
import pytest
from conftest import no_hooks_left, random_pairs, strong_model, wide_pairs

from grokscope.analyses import FaithfulnessResult, discover, faithfulness, graph_of, path_patch, run_with_edges
from grokscope.circuits import Circuit


def test_the_whole_graph_is_faithful_and_half_of_it_what_its_run_gives() -> None:
    model, pairs, others = strong_model(0), wide_pairs(0), wide_pairs(0, n=9)
    circuit = discover(model, pairs, threshold=0.0)
    assert faithfulness(model, circuit, others, n_random=1).faithfulness == pytest.approx(1.0)
    part = discover(model, pairs, top_k=20)
    result = faithfulness(model, part, others, n_random=2)
    metric = [
        (logits[range(9), others.answers] - logits[range(9), others.foils]).sum()
        for logits in (
            run_with_edges(model, others, part.kept_edges),
            model(others.clean)[:, -1].detach(),
            model(others.corrupt)[:, -1].detach(),
        )
    ]
    assert result.faithfulness == pytest.approx(float((metric[0] - metric[2]) / (metric[1] - metric[2])))
    assert result.table["n_edges"].nunique() == 1 and (result.table["n"] == 9).all()
    assert (result.table["low"] <= result.table["high"]).all()
    assert no_hooks_left(model)


def test_random_circuits_follow_the_seed() -> None:
    model, pairs, others = strong_model(1), wide_pairs(1), wide_pairs(1, n=9)
    circuit = discover(model, pairs, top_k=20)
    tables = [faithfulness(model, circuit, others, n_random=4, seed=seed).table["faithfulness"] for seed in (0, 0, 1)]
    assert tables[0].equals(tables[1]) and not tables[0].equals(tables[2])


def test_judging_on_the_choosing_pairs_is_refused() -> None:
    model, pairs = strong_model(2), wide_pairs(2)
    with pytest.raises(ValueError, match="chosen on these very pairs; judge it on others"):
        faithfulness(model, discover(model, pairs), pairs)


def test_a_small_gap_is_undefined_with_the_reason() -> None:
    model, pairs = strong_model(3), wide_pairs(3)
    circuit = discover(model, pairs, top_k=10)
    model.unembed.W_U.data.mul_(1e-4)
    result = faithfulness(model, circuit, wide_pairs(3, n=9), n_random=1)
    assert np.isnan(result.faithfulness) and np.isnan(result.p_value) and "undefined, the gap of" in result.caption


def test_it_reads_back() -> None:
    model, pairs = strong_model(4), wide_pairs(4)
    result = faithfulness(model, discover(model, pairs, top_k=10), wide_pairs(4, n=9), n_random=1)
    assert FaithfulnessResult.from_json(result.to_json()).to_json() == result.to_json()


def test_a_circuit_from_a_frame_equals_one_from_the_result() -> None:
    model, pairs = strong_model(5), wide_pairs(5)
    result = path_patch(model, pairs, per_query=True)
    assert Circuit.from_effects(result).to_json() == Circuit.from_effects(result.to_frame()).to_json()
    assert Circuit.from_effects(result).graph == graph_of(model, random_pairs(0).roles, -1)
