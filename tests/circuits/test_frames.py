"""A frame's rows say what they are of: any order of them gives the same circuit, and what is lacking is named."""

import re
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
from planted import CHAIN, GRAPH, LOOSE_ENDS, effects
from same import assert_same

from grokscope.circuits import Circuit, compare

FRAME = effects(CHAIN | LOOSE_ENDS, n=5)
FIRST, SECOND = (str(edge) for edge in GRAPH.edges[:2])
ORDERS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "by query": lambda f: f.sort_values("query", kind="stable"),
    "by strength": lambda f: f.sort_values("effect", key=abs),
    "backwards": lambda f: f.iloc[::-1],
    "by name, renumbered": lambda f: f.sort_values(["receiver", "query", "sender"], ignore_index=True),
    "queries as 1.0": lambda f: f.assign(query=f["query"].astype(float)).sort_values("query"),
    "as it came": lambda f: f,
    "one index for all": lambda f: f.sort_values("query").set_index(pd.Index([0] * len(f))),
    "other order of columns": lambda f: f[sorted(f.columns)].sort_values("delta"),
} | {f"shuffled {seed}": lambda f, seed=seed: f.sample(frac=1, random_state=seed) for seed in range(8)}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rule", [{"top_k": 5}, {"top_k": 40}, {"threshold": 0.3}, {"edges": GRAPH.edges[::3]}], ids=str)
def test_any_order_of_rows_gives_the_same_circuit(order: str, rule: dict[str, object]) -> None:
    found = Circuit.from_effects(ORDERS[order](FRAME), **rule)
    assert_same(found, Circuit.from_effects(FRAME, **rule))
    assert list(zip(found.table["sender"], found.table["receiver"], strict=True)) == [
        (str(edge.sender), str(edge.receiver)) for edge in GRAPH.edges
    ]
    for edge, row in zip(found.measured_edges, found.deltas, strict=True):  # a literal look-up of each number
        for query, delta in enumerate(row):
            here = (FRAME["sender"] == str(edge.sender)) & (FRAME["receiver"] == str(edge.receiver))
            assert delta == FRAME.loc[here & (FRAME["query"] == query), "delta"].item()
        if rule != {"top_k": 5}:
            break


@pytest.mark.parametrize("order", ORDERS)
def test_without_changes_by_query_too(order: str) -> None:
    plain = FRAME.drop(columns=["delta"])
    assert_same(Circuit.from_effects(ORDERS[order](FRAME).drop(columns=["delta"])), Circuit.from_effects(plain))


def test_of_some_edges_in_any_order() -> None:
    some = FRAME[FRAME["receiver"].str.startswith("logits")]
    found = Circuit.from_effects(some.sample(frac=1, random_state=0), threshold=0.3)
    assert_same(found, Circuit.from_effects(some, threshold=0.3))
    assert found.deltas.shape == (len(some) // 5, 5)


def test_circuits_of_sorted_frames_are_compared_as_those_of_the_frames() -> None:
    other = Circuit.from_effects(effects(CHAIN, n=5, seed=1), top_k=5)
    tables = [compare({"a": Circuit.from_effects(order(FRAME), top_k=5), "b": other}).table for order in ORDERS.values()]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


BROKEN: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "some queries": (lambda f: f[f["query"] % 2 == 0], "each of the 5 queries.* its rows are of 3 queries"),
    "one row gone": (lambda f: f.drop(index=1), f"missing: {re.escape(FIRST)}, query 1 "),
    "many gone": (
        lambda f: f[(f.index > 7) | (f["query"] == 0)],
        "missing: .*, query 1; .*, query 2;.*; and 3 more",
    ),
    "one twice": (lambda f: pd.concat([f, f.iloc[[3]]]), f"given more than once: {re.escape(FIRST)}, query 3"),
    "one in place of another": (
        lambda f: f.assign(query=f["query"].where(f.index != 1, 2)),
        f"given more than once: {re.escape(FIRST)}, query 2.* missing: {re.escape(FIRST)}, query 1",
    ),
    "a query too many": (lambda f: f.assign(query=f["query"] + 1), "no query 5"),
    "between queries": (lambda f: f.assign(query=f["query"] / 2), r"no query 0\.5, 1\.5"),
    "queries by name": (lambda f: f.assign(query="q" + f["query"].astype(str)), "no query q0, q1, q2"),
    "no query column": (lambda f: f.drop(columns="query"), "no column query"),
    "effects of an edge that differ": (
        lambda f: f.assign(effect=f["effect"].where(f.index != 6, 7.0)),
        f"rows of one edge differ in effect: {re.escape(SECOND)}$",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_what_is_lacking_is_named(case: str, seed: int | None) -> None:
    change, message = BROKEN[case]
    frame = change(FRAME) if seed is None else change(FRAME).sample(frac=1, random_state=seed)
    frame.attrs = FRAME.attrs
    with pytest.raises(ValueError, match=message if seed is None else "rows of one edge differ|needs a row for each"):
        Circuit.from_effects(frame, top_k=5)


def test_a_circuit_shares_no_array_with_what_it_is_made_of() -> None:
    first = Circuit.from_effects(FRAME, top_k=5)
    second = Circuit.from_effects(first, top_k=5)
    second.deltas[:] = 0.0
    second.donor_gaps[:] = 1.0
    second.provenance["metric"] = "changed"
    second.table["effect"] = 0.0
    assert_same(first, Circuit.from_effects(FRAME, top_k=5))


def test_a_table_that_was_sorted_without_its_changes_is_refused() -> None:
    circuit = Circuit.from_effects(FRAME, top_k=5)
    backwards = circuit.table.iloc[::-1].reset_index(drop=True)
    with pytest.raises(ValueError, match=r"the changes by query are not those of the table: \d+ effects are not Σ deltas"):
        Circuit.from_effects(replace(circuit, table=backwards))
    with pytest.raises(ValueError, match=r"deltas have the shape \(\d+, 4\), needed"):
        Circuit.from_effects(replace(circuit, deltas=circuit.deltas[:, :4]))
    whole = replace(circuit, table=backwards, deltas=circuit.deltas[::-1])
    assert_same(Circuit.from_effects(whole, top_k=5), Circuit.from_effects(FRAME, top_k=5))
