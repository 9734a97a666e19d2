from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from explained import assert_explained
from planted import CHAIN, GRAPH, LOOSE_ENDS, effects

from grokscope.analyses import PatchingResult
from grokscope.circuits import Circuit, Edge, connected
from grokscope.circuits.units import shown


def names(circuit: Circuit) -> set[str]:
    return set(map(str, circuit.kept_edges))


def test_threshold_keeps_strong_edges_that_connect() -> None:
    circuit = Circuit.from_effects(effects(CHAIN | LOOSE_ENDS), threshold=0.55)
    assert names(circuit) == set(CHAIN)
    assert len(circuit.table) == len(GRAPH.edges)
    assert names(Circuit.from_effects(effects(CHAIN | LOOSE_ENDS), threshold=0.65)) == set()


def test_top_k_counts_before_the_unconnected_go() -> None:
    assert names(Circuit.from_effects(effects(CHAIN | LOOSE_ENDS), top_k=5)) == set(CHAIN)
    assert names(Circuit.from_effects(effects(CHAIN | LOOSE_ENDS), top_k=4)) == set()


def test_an_empty_circuit_says_why() -> None:
    apart = "but none lies on a path of them from an embedding to the logits; keep more"
    rules = {
        f"4 edges were strong enough (top 4 by |effect|), {apart}, with a larger top_k or a lower threshold": {"top_k": 4},
        "no edge was strong enough (|effect| ≥ 99); keep more, with a larger top_k or a lower threshold": {"threshold": 99},
        f"2 edges were given, {apart}": {"edges": [Edge.parse(name) for name in list(LOOSE_ENDS)[:2]]},
        "no edge was given; keep more": {"edges": []},
    }
    for why, rule in rules.items():
        circuit = Circuit.from_effects(effects(CHAIN | LOOSE_ENDS), **rule)
        assert circuit.why_empty == why and circuit.caption.endswith(f" · {why}")
        assert Circuit.from_json(circuit.to_json()).why_empty == why
    full = Circuit.from_effects(effects(CHAIN))
    assert full.why_empty == "" and "empty" not in full.provenance


def test_a_key_or_query_connects_too() -> None:
    edges = ["embed@h -> L0H0.k@h", "L0H0@r2 -> logits@r2", "embed@r1 -> L1H0.q@r1"]
    assert set(map(str, connected(GRAPH, map(Edge.parse, edges)))) == set(edges[:2])


def test_connected_equals_a_search_for_all_paths() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        edges = [edge for edge in GRAPH.edges if rng.random() < 0.3]
        found: set[Edge] = set()

        def walk(node: object, path: list[Edge], edges: list[Edge] = edges, found: set[Edge] = found) -> None:
            for edge in edges:
                if edge.sender == node:
                    if edge.receiver.kind == "logits":
                        found.update([*path, edge])
                    for output in GRAPH.outputs_of(edge.receiver):
                        walk(output, [*path, edge])

        for start in {edge.sender for edge in edges if edge.sender.kind == "embed"}:
            walk(start, [])
        assert connected(GRAPH, edges) == found


RULES = [{}, {"top_k": 1}, {"top_k": len(GRAPH.edges)}, {"threshold": 0.0}, {"threshold": 0.0}, {"edges": GRAPH.edges}]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("missing", [0.0, 0.3, 1.0])
def test_no_rule_keeps_an_edge_without_a_number(rule: dict[str, object], missing: float) -> None:
    """Whatever is missing: the rest is cut as if the edges without a number did not connect anything."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        table = Circuit.from_effects(effects(CHAIN)).table.drop(columns="kept")
        numbers, nothing = rng.normal(size=len(table)), rng.choice([np.nan, np.inf, -np.inf], size=len(table))
        table["effect"] = np.where(rng.random(len(table)) < missing, nothing, numbers)
        circuit = Circuit.from_effects(table, graph=GRAPH, **rule)
        known = [edge for edge, value in zip(GRAPH.edges, table["effect"], strict=True) if np.isfinite(value)]
        assert set(circuit.kept_edges) <= set(known)
        assert "top_k" in rule or not rule or set(circuit.kept_edges) == connected(GRAPH, known)
        said = {0.0: "", 0.3: "effects without a number: the measurement does not say why", 1.0: "no effects: the"}[missing]
        assert said in circuit.caption and bool(missing) == ("reason" in circuit.provenance)
        assert missing or circuit.kept_edges or rule.get("top_k") == 1


def test_the_caption_of_a_circuit_without_numbers_says_why_once() -> None:
    frame = effects(CHAIN).assign(effect=np.nan)
    frame.attrs["provenance"]["reason"] = "the gap is unknown"
    circuit = Circuit.from_effects(frame, threshold=0.0)
    assert circuit.caption.endswith(" · 0 of 44 edges, gap 10.00, n = 6 · no effects: the gap is unknown")
    assert circuit.provenance["reason"] == "the gap is unknown"


@pytest.mark.parametrize("per_query", [True, False])
@pytest.mark.parametrize("rule", [{}, {"top_k": 5}, {"threshold": 0.65}, {"edges": list(map(Edge.parse, CHAIN))}])
def test_a_result_gives_the_circuit_that_its_frame_gives(rule: dict[str, object], per_query: bool) -> None:
    frame = effects(CHAIN | LOOSE_ENDS)
    frame.loc[frame["sender"] == "embed@r2", "effect"] = np.nan
    columns = ["sender", "receiver", "effect", "stderr", "n", "gap"]
    result = PatchingResult(
        frame[columns].drop_duplicates().reset_index(drop=True), GRAPH, "m", "noising", "model", "p", "bridge",
        {"split": "s"}, 9, (8.0, 12.0), "",
        deltas=frame["delta"].to_numpy().reshape(len(GRAPH.edges), -1) if per_query else None,
        donor_gaps=np.array(frame.attrs["donor_gaps"]) if per_query else None,
    )  # fmt: skip
    assert len(result.to_frame()) == len(GRAPH.edges) * (6 if per_query else 1)
    direct, folded = Circuit.from_effects(result, **rule), Circuit.from_effects(result.to_frame(), **rule)
    assert direct.to_json() == folded.to_json() and (direct.deltas is not None) == per_query
    assert direct.table.equals(folded.table) and names(direct) == names(folded)
    assert Circuit.from_effects(direct, **rule).table.equals(direct.table)  # a circuit can be cut again


def test_json_round_trip_loses_nothing(tmp_path: Path) -> None:
    frame = effects(CHAIN)
    frame.loc[frame["receiver"] == "logits@r2", "effect"] = np.nan
    circuit = Circuit.from_effects(frame)
    again = Circuit.load(circuit.save(tmp_path / "deep" / "circuit.json"))
    pd.testing.assert_frame_equal(again.table, circuit.table)
    assert again.graph == circuit.graph and again.provenance == circuit.provenance
    np.testing.assert_array_equal(again.deltas, circuit.deltas)
    np.testing.assert_array_equal(again.donor_gaps, circuit.donor_gaps)
    assert again.to_json() == circuit.to_json()
    bare = Circuit(circuit.table, GRAPH)
    assert Circuit.from_json(bare.to_json()).deltas is None


def test_broken_or_foreign_json_is_refused() -> None:
    circuit = Circuit.from_effects(effects(CHAIN))
    with pytest.raises(ValueError, match="this text: expected JSON, got"):
        Circuit.from_json(circuit.to_json()[:-5])
    with pytest.raises(ValueError, match="expected a Circuit, this is a Other"):
        Circuit.from_json(circuit.to_json().replace('"kind": "Circuit"', '"kind": "Other"'))


def test_frames_without_graph_columns_or_known_edges_are_refused() -> None:
    frame = effects(CHAIN)
    graphless = frame.copy()
    graphless.attrs = {}
    with pytest.raises(ValueError, match="does not say which graph"):
        Circuit.from_effects(graphless)
    assert names(Circuit.from_effects(graphless.drop(columns="delta"), graph=GRAPH)) == set(CHAIN)
    table = Circuit.from_effects(frame).table
    with pytest.raises(ValueError, match="it lacks gap, kept"):
        Circuit(table.drop(columns=["gap", "kept"]), GRAPH)
    with pytest.raises(ValueError, match="1 edges are not in the graph, the first is embed@h -> logits@h"):
        Circuit(table.replace({"receiver": {"L0H0.k@h": "logits@h"}}), GRAPH)
    with pytest.raises(ValueError, match="1 edges are listed twice"):
        Circuit(pd.concat([table, table.head(1)]), GRAPH)


def test_sizes_and_rules_are_checked() -> None:
    with pytest.raises(ValueError, match="top_k must be a whole number between 1 and the 44 measured edges, got 45"):
        Circuit.from_effects(effects(CHAIN), top_k=45)
    with pytest.raises(ValueError, match="give one of top_k, threshold and edges"):
        Circuit.from_effects(effects(CHAIN), top_k=4, threshold=0.1)


def test_the_caption_says_what_was_measured() -> None:
    assert Circuit.from_effects(effects(CHAIN)).caption == (
        "m · bridge · logit_difference · noising · 4 of 44 edges, gap 10.00, n = 6"
    )


@pytest.mark.parametrize(
    ("rule", "message"),
    [({"top_k": k}, f"top_k is {k}, needed is a whole number") for k in (0, -1, True)]
    + [({"threshold": float("nan")}, "threshold is nan")],
)
def test_a_rule_that_is_no_number_to_cut_by_is_named(rule: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Circuit.from_effects(effects(CHAIN), **rule)


def test_what_it_says_of_itself_is_what_it_holds() -> None:
    circuit = Circuit.from_effects(effects(CHAIN | LOOSE_ENDS), threshold=0.55)
    assert_explained(circuit)
    said, row = circuit.explain(), circuit.table.loc[circuit.table["effect"].abs().idxmax()]
    assert f"{len(CHAIN)} edges are kept. The strongest edge, {row['sender']} -> {row['receiver']}, has" in said.means
    assert f"an effect of {shown(row['effect'])} (1 is" in said.means and "|effect| ≥ 0.55" in said.would_change
    assert_explained(Circuit(circuit.table, GRAPH))
    none = Circuit.from_effects(effects(CHAIN), threshold=99)
    assert "0 edges are kept" in none.explain().means and none.why_empty in none.explain().would_change
    frame = effects(CHAIN).assign(effect=np.nan)
    assert "There are no effects: the measurement does not say why." in Circuit.from_effects(frame).explain().means
    assert "no rows" in Circuit(circuit.table.head(0), GRAPH).explain().means
