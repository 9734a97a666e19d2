from dataclasses import replace

from explained import assert_explained
from planted import LOOPS, effects

from grokscope.circuits import Circuit, ComputationGraph, MergedCircuit, merge_loops

PATH = {
    "embed@h -> L0H0.v@h": 0.5,
    "L0H0@r1 -> MLP0@r1": 0.6,
    "MLP0@r1 -> L1H0.v@r1": 0.3,
    "MLP0@r1 -> L2H0.v@r1": 0.7,
    "L1H0@r2 -> MLP1@r2": 0.4,
    "L2H0@r2 -> MLP2@r2": -0.8,
    "MLP1@r2 -> logits@r2": 0.9,
    "MLP2@r2 -> logits@r2": 0.2,
}


def test_the_same_weights_are_one_row_with_all_their_loops() -> None:
    circuit = Circuit.from_effects(effects(PATH, graph=LOOPS))
    merged = merge_loops(circuit)
    assert len(merged.table) == len(circuit.table) and merged.table["kept"].sum() == len(PATH)
    edges = merged.edges.set_index(["sender", "receiver", "role"])
    moved = edges.loc[("MLP", "H0.v", "r1")]
    assert moved["loops"] == "0 → 1, 0 → 2" and moved["effects"] == "+0.300, +0.700"
    assert moved["largest"] == 0.7 and moved["n"] == 2
    assert edges.loc[("H0", "MLP", "r2"), "largest"] == -0.8
    assert edges.loc[("embed", "H0.v", "h"), "loops"] == "-1 → 0"
    assert edges.loc[("MLP", "logits", "r2"), "loops"] == "1 → 4, 2 → 4"


def test_one_head_with_two_jobs_is_seen_and_counted() -> None:
    merged = merge_loops(Circuit.from_effects(effects(PATH, graph=LOOPS)))
    uses = merged.uses.set_index(["sender", "role", "loop"])
    assert uses.loc[("H0", "r1", 0), "read_by"] == "MLP" and uses.loc[("H0", "r2", 2), "effect"] == -0.8
    assert uses.loc[("MLP", "r1", 0), "in_loop"] == 2  # its strongest reader
    assert merged.n_reused == 2 and "2 of 2 sets of weights are used in more than one loop" in merged.caption
    assert MergedCircuit.from_json(merged.to_json()).table.equals(merged.table)


def test_blocks_of_their_own_have_names_of_their_own() -> None:
    untied = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=4, n_heads=1, n_blocks=4)
    merged = merge_loops(Circuit.from_effects(effects(PATH, graph=untied)))
    assert merged.n_loops == 1 and merged.n_reused == 0
    assert set(merged.uses["sender"]) == {"B0.H0", "B0.MLP", "B1.H0", "B1.MLP", "B2.H0", "B2.MLP"}
    assert (merged.edges["n"] == 1).all()


def test_what_it_says_of_itself_is_what_it_holds() -> None:
    merged = merge_loops(Circuit.from_effects(effects(PATH, graph=LOOPS)))
    assert_explained(merged)
    assert "2 of 2 sets of weights are used in more than one loop" in merged.explain().means
    assert f"{len(PATH)} kept edges of {len(merged.table)} measured" in merged.explain().on
    nothing = replace(merged, table=merged.table.assign(kept=False))
    assert "no rows" in replace(merged, table=merged.table.head(0)).explain().means
    assert "0 of 0 sets" in nothing.explain().means
