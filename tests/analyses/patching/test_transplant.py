"""Transplants between hand-set models that speak one language or two, and against literal hooked runs."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import no_hooks_left, random_model, strong_model, wide_pairs
from explained import assert_explained
from handset import handset_model

from grokscope.analyses import TransplantResult, discover, transplant
from grokscope.circuits import Node
from grokscope.circuits.units import shown
from grokscope.tasks import PromptPairs, TwoHopTask, make_pairs


@pytest.fixture(scope="module")
def pairs(evidence_world: TwoHopTask) -> PromptPairs:
    return make_pairs(evidence_world, split="test_inferred_iid", contrast="bridge", n=40, seed=0)


def test_a_model_understands_itself_and_not_one_with_another_basis(evidence_world: TwoHopTask, pairs: PromptPairs) -> None:
    plain, rotated = handset_model(evidence_world.graph), handset_model(evidence_world.graph, rotated=True)
    circuit = discover(plain, pairs)
    own = transplant(plain, plain, circuit, pairs, allow_shared=True).table
    np.testing.assert_allclose(own["own"], own["other"])
    table = transplant(plain, rotated, circuit, pairs, allow_shared=True).table.set_index("node")
    assert table.loc["MLP0@r1", "own"] == pytest.approx(1.0) and table.loc["MLP0@r1", "other"] < 0.6
    for node in ("L0H0@r1", "L1H0@r2", "MLP1@r2"):  # before and behind, both speak the same
        assert table.loc[node, "other"] == pytest.approx(table.loc[node, "own"], abs=1e-5)
    assert no_hooks_left(plain) and no_hooks_left(rotated)


def test_each_share_equals_a_literal_hooked_run() -> None:
    model, donor, pairs = strong_model(0), random_model(9), wide_pairs(0)
    circuit = discover(model, pairs, top_k=25)
    table = transplant(model, donor, circuit, pairs, allow_shared=True).table.set_index("node")
    rows = torch.arange(len(pairs))

    def metric(logits: torch.Tensor) -> torch.Tensor:
        return logits[rows, pairs.answers] - logits[rows, pairs.foils]

    with torch.no_grad():
        clean, corrupt = metric(model(pairs.clean)[:, -1]), metric(model(pairs.corrupt)[:, -1])
        mlps = [name for name in table.index if name.startswith("MLP")]
        assert mlps
        for name in mlps:
            node = Node.parse(name)
            hook = f"blocks.{node.layer}.hook_mlp_out"
            theirs, position = donor.run_with_cache(pairs.clean)[1][hook], pairs.roles.index(node.role)

            def put(
                activation: torch.Tensor, hook: object, position: int = position, theirs: torch.Tensor = theirs
            ) -> torch.Tensor:
                activation[:, position] = theirs[:, position]
                return activation

            patched = metric(model.run_with_hooks(pairs.corrupt, fwd_hooks=[(hook, put)])[:, -1])
            wanted = float((patched - corrupt).sum() / (clean - corrupt).sum())
            row = table.loc[name].to_dict()
            assert row["other"] == pytest.approx(wanted) and row["other_low"] <= wanted <= row["other_high"]


def test_it_shows_itself_and_refuses_what_does_not_fit(evidence_world: TwoHopTask, pairs: PromptPairs) -> None:
    model = handset_model(evidence_world.graph)
    circuit = discover(model, pairs)
    result = transplant(model, model, circuit, pairs, allow_shared=True)
    assert "hand-set with activations of hand-set · n = 40 pairs" in result.caption and len(result.figure().data) == 2
    assert TransplantResult.from_json(result.to_json()).table.equals(result.table)
    other = random_model(0, d_vocab=evidence_world.n_tokens, n_layers=3, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"activations do not fit, the models differ in graph: .*; d_model: 97 and 12"):
        transplant(model, other, circuit, pairs, allow_shared=True)
    empty = dataclasses.replace(circuit, table=circuit.table.assign(kept=False))
    with pytest.raises(ValueError, match="the circuit keeps no edge"):
        transplant(model, model, empty, pairs, allow_shared=True)


def test_what_it_says_of_itself_is_what_it_holds(evidence_world: TwoHopTask, pairs: PromptPairs) -> None:
    plain, rotated = handset_model(evidence_world.graph), handset_model(evidence_world.graph, rotated=True)
    result = transplant(plain, rotated, discover(plain, pairs), pairs, allow_shared=True)
    assert_explained(result)
    row = result.table.loc[result.table["own"].abs().idxmax()]
    assert f"At {row['node']}, where" in result.explain().means
    assert f"restores {shown(row['other'])} (1 is the whole gap" in result.explain().means
    gone = dataclasses.replace(result, reason="the gap is too small").explain()
    assert gone.means == "Nothing: the gap is too small." and gone.sure == "No interval was computed."
    assert "no rows" in dataclasses.replace(result, table=result.table.head(0)).explain().means
