"""Ablation and steering on the hand-set model, where the bridge is one block of the state."""

import torch
from conftest import no_hooks_left
from explained import assert_explained
from handset import handset_model

from grokscope.analyses import BridgeDirectionResult, ablate_bridge, steer_bridge
from grokscope.tasks import Queries, TwoHopTask


def some(donor_world: TwoHopTask) -> Queries:
    queries = donor_world.split("test_inferred_iid")
    return queries.take(torch.arange(0, len(queries), 8))


def at(result: BridgeDirectionResult, layer: int, role: str, value: str, scale: float = 1.0) -> dict[str, float]:
    rows = result.table.query("layer == @layer and role == @role and scale == @scale")
    return dict(zip(rows["direction"], rows[value], strict=True))


def test_without_its_direction_the_hand_set_bridge_is_gone(donor_world: TwoHopTask) -> None:
    model = handset_model(donor_world.graph)
    result = ablate_bridge(model, donor_world, some(donor_world))
    kept = at(result, 0, "r1", "kept")
    assert kept["bridge"] < 0.5 < 0.9 < kept["random"]
    assert at(result, 1, "r1", "kept")["bridge"] == 1.0  # read before
    assert no_hooks_left(model) and result.figure() and "questions over " in result.caption


def test_the_hand_set_bridge_follows_its_mean_state(donor_world: TwoHopTask) -> None:
    result = steer_bridge(handset_model(donor_world.graph), donor_world, some(donor_world), scales=(0.0, 1.0))
    moved, kept = at(result, 0, "r1", "moved"), at(result, 0, "r1", "kept")
    assert moved["mean state"] == 1.0 and kept["mean state"] == 0.0
    assert moved["random"] < 0.2 and moved["embedding"] < 0.2  # the embedding is another block
    assert set(at(result, 0, "r1", "kept", scale=0.0).values()) == {1.0}
    assert at(result, 1, "r1", "kept")["mean state"] == 1.0


def test_what_it_says_of_itself_is_what_it_holds(donor_world: TwoHopTask) -> None:
    model, queries = handset_model(donor_world.graph), some(donor_world)
    ablated, steered = (
        ablate_bridge(model, donor_world, queries),
        steer_bridge(model, donor_world, queries, scales=(0.5, 1.0)),
    )
    for result, column, means in (
        (ablated, "kept", "Fewest answers stay as they were at L0 r1: "),
        (steered, "moved", "Most answers follow the mean state at L0 r1, scale 1: "),
    ):
        assert_explained(result)
        found = at(result, 0, "r1", column)
        lead, said = "bridge" if column == "kept" else "mean state", result.explain()
        assert said.means == f"{means}{found[lead]:.2f} (1 is all, 0 none)."
        assert f"random {found['random']:.2f}." in said.would_change
    assert steered.explain().sure.startswith("No interval was computed of the share that follows.")
