"""Where a bridge stands: on models set by hand, on random networks, and on resampled nulls."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from handset import copies_model, handset_model, lookup_model, pair_code_model

from grokscope.analyses import bridge_evidence, bridge_standing
from grokscope.analyses.bridge.best_cells import best_rows
from grokscope.analyses.bridge.outcomes import Outcome
from grokscope.tasks import Queries, TRMConfig, TwoHopTask
from grokscope.tasks.models.building import build_model

ASKED = "test_inferred_iid"


def standing(model, task: TwoHopTask, split: str = ASKED, **settings) -> pd.Series:
    return bridge_standing(bridge_evidence(model, task, split, **settings)).iloc[0]


def test_planted_bridges_stand_where_they_were_put(evidence_world: TwoHopTask) -> None:
    graph, trained = evidence_world.graph, torch.from_numpy(evidence_world.trained)
    rotated = standing(handset_model(graph, rotated=True), evidence_world)
    assert (rotated["by_lens"], rotated["by_probe"]) == ("used, not readable", "readable and used")
    assert rotated["lens_where_used"] < 0.2 and rotated["probe_where_used"] == 1.0
    assert rotated["interchange"] == 1.0 and rotated["interchange_cells"] == "L0 r1" and rotated["probe_shuffled"] < 0.3
    decoy = standing(lookup_model(graph, trained, decoy=True), evidence_world, "train_inferred")
    assert decoy["by_lens"] == decoy["by_probe"] == "readable, not used"


@pytest.mark.slow
def test_further_planted_bridges_stand_where_they_were_put(evidence_world: TwoHopTask) -> None:
    graph, trained = evidence_world.graph, torch.from_numpy(evidence_world.trained)
    plain, lookup = standing(handset_model(graph), evidence_world), lookup_model(graph, trained)
    assert plain["by_lens"] == plain["by_probe"] == "readable and used"
    assert standing(lookup, evidence_world, "train_inferred")["by_lens"] == "neither"
    code = standing(pair_code_model(graph), evidence_world)
    assert code["by_lens"] == "neither" and code["interchange"] == 1.0 and code["used"] == "no"  # a whole state is no bridge


@pytest.mark.slow
def test_copies_are_exchanged_only_together(evidence_world: TwoHopTask) -> None:
    row = standing(copies_model(evidence_world.graph), evidence_world)
    assert row["used"] == "yes" and row["interchange"] == row["interchange_every_layer"] == row["direction"] == 0.0


def test_a_random_network_is_not_readable_and_not_judged() -> None:
    task = TwoHopTask.random(n_entities=24, n_relations=12, out_degree=8, layout="slots", seed=0)
    row = standing(build_model(TRMConfig.tiny(), task, seed=1), task, "train_inferred")
    assert "yes" not in (row["readable_by_lens"], row["readable_by_probe"])
    assert (
        row["used"] == row["by_lens"] == row["by_probe"] == "undecided" and abs(row["probe"] - row["probe_control"]) < 0.15
    )


def test_donors_of_ood_facts_are_told_apart(evidence_world: TwoHopTask) -> None:
    model = handset_model(evidence_world.graph)
    both = [bridge_evidence(model, evidence_world, ASKED, second_hop=status) for status in ("ID", "OOD")]
    table = bridge_standing(both)
    assert table["second_hop"].tolist() == ["ID", "OOD"] and (table["interchange"] == 1.0).all()
    assert both[1].measures["n"].iloc[-1] < both[0].measures["n"].iloc[-1]  # fewer questions have such donors
    with pytest.raises(ValueError, match="earlier version"):
        bridge_standing([both[0], replace(both[1], best=pd.DataFrame())])


def questions(n: int) -> Queries:
    tokens = torch.zeros(n, 3, dtype=torch.long)
    return Queries(tokens, torch.zeros(n, dtype=torch.long), ("h", "r1", "r2"))


def test_the_best_of_many_cells_is_no_better_than_chance_where_all_are_chance() -> None:
    n, generator, excesses, outcomes = 100, torch.Generator().manual_seed(0), [], []
    asked = questions(n)
    for seed in range(40):
        met = torch.rand(30, n, generator=generator) < 0.2
        outcomes = [Outcome(cell, "h", "lens", each, met.roll(1, 0)[cell]) for cell, each in enumerate(met)]
        one, anywhere = best_rows(outcomes, asked, {"all": torch.ones(n, dtype=torch.bool)}, seed=seed)
        excesses.append(one["excess"])
        assert (one["where"], anywhere["where"]) == ("one cell", "any cell") and anywhere["value"] > 0.95
    mean = float(torch.tensor(excesses).mean())
    assert abs(mean) < 0.02  # the best cell itself would be above by .1
    best = max(float(each.met.double().mean() - each.control.double().mean()) for each in outcomes)
    assert best > 0.08


def test_places_are_chosen_on_the_other_half() -> None:
    n = 60
    asked, every = questions(n), torch.ones(60, dtype=torch.bool)
    none = torch.zeros(n, dtype=torch.bool)
    everywhere = [
        Outcome(0, "h", "lens", none, none),
        Outcome(1, "r1", "lens", every, none),
        Outcome(-1, "r1", "lens", every, none),
    ]
    row = best_rows(everywhere, asked, {"all": every}, seed=0)[0]
    assert row["cells"] == "L1 r1" and row["value"] == row["excess"] == 1.0 and row["n_facts"] == n
