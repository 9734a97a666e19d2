"""Attribution graphs of features, drawn by the same diagram as circuits."""

import json
from pathlib import Path

import attribution_graphs
import pandas as pd
import pytest
from diagrams import API, Shown, drawn, show

from grokscope.circuits import FeatureGraph, feature_drawing, from_circuit_tracer


@pytest.fixture
def graph(tmp_path: Path) -> FeatureGraph:
    content = attribution_graphs.by_circuit_tracer()
    content["qParams"]["supernodes"] = [["numbers & <words>", "0_391_1", "2_14696_1"], ["alone", "0_103_3"]]
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(content))
    return from_circuit_tracer(path)


def names(graph: FeatureGraph) -> set[str]:
    return set(graph.table["sender"] + " -> " + graph.table["receiver"])


def test_every_link_is_drawn_from_layer_to_layer_and_across_positions(graph: FeatureGraph, shown: Shown) -> None:
    page = shown(graph.figure())
    show(page, groups=[])
    assert drawn(page) == names(graph)
    picture = page.evaluate(
        f"(({{ picture: p, layout: l }}) => [p.columns, l.rowTexts.map(([t]) => t)])({API}.app.views[0])"
    )
    assert picture[0] == [f"{i}:{word.strip()}" for i, word in enumerate(graph.prompt)]
    assert picture[1] == ["embed", "layer 0", "layer 2", "logits"]
    sizes = dict(page.evaluate(f"{API}.app.views[0].scene.order.map((each) => [each.name, each.strengths[0]])"))
    for sender, receiver, effect in graph.table[["sender", "receiver", "effect"]].itertuples(index=False):
        assert sizes[f"{sender} -> {receiver}"] == pytest.approx(effect, rel=1e-5)
    across = next(name for name in names(graph) if "@1" in name.split(" -> ")[0] and "@3" in name.split(" -> ")[1])
    show(page, selected=[across])
    assert page.locator(".gs-details").inner_text().count("gap") == 0, "a weight is no share of a gap"


def test_supernodes_are_groups(graph: FeatureGraph, shown: Shown) -> None:
    page = shown(graph.figure())
    groups = page.evaluate(f"{API}.state.groups")
    assert [group["name"] for group in groups] == ["numbers & <words>"] and len(groups[0]["nodes"]) == 2
    assert page.locator('[data-node="numbers & <words>"]').count() == 1


def test_a_node_says_what_is_known_of_it(graph: FeatureGraph, shown: Shown) -> None:
    page = shown(graph.figure())
    row = graph.nodes[graph.nodes["kind"] == "feature"].iloc[0]
    show(page, groups=[], selected=[row["node"]])
    said = page.locator(".gs-details").inner_text()
    assert f"activation {row['activation']:.3g}" in said and f"influence {row['influence']:.3g}" in said


def test_what_feeds_a_logit_is_traced_through_features(graph: FeatureGraph, shown: Shown) -> None:
    page = shown(graph.figure())
    target = graph.nodes[graph.nodes["kind"] == "logit"].iloc[0]["node"]
    show(page, groups=[], selected=[target])
    lit = page.evaluate(
        f"(({{ scene, trace }}) => scene.order.filter((c) => trace.keys.has(c.key)).map((c) => c.name))({API}.app.views[0])"
    )
    found, front = set(), {target}
    while front:
        into = graph.table[graph.table["receiver"].isin(front)]
        found |= set(into["sender"] + " -> " + into["receiver"])
        front = set(into["sender"])
    assert set(lit) == found


def test_of_many_links_the_strongest_are_drawn_first(
    graph: FeatureGraph, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_drawing, "MOST_HELD", 6)
    monkeypatch.setattr(feature_drawing, "MOST_AT_FIRST", 4)
    monkeypatch.setattr(feature_drawing, "THEN", 3)
    page = shown(graph.figure())
    show(page, groups=[])
    order = graph.table.assign(size=graph.table["effect"].abs()).nlargest(6, "size")
    assert drawn(page) == set((order["sender"] + " -> " + order["receiver"]).head(3))
    assert "the page holds 6 of 8 edges" in page.locator(".gs-legend").inner_text()


def test_a_graph_without_links_says_so(graph: FeatureGraph, shown: Shown) -> None:
    bare = FeatureGraph(graph.table.iloc[:0], graph.nodes, graph.prompt, graph.about)
    assert "the graph has no link" in shown(bare.figure()).locator(".gs-nothing").inner_text()
    empty = FeatureGraph(pd.DataFrame(columns=graph.table.columns), graph.nodes.iloc[:0], ())
    assert drawn(shown(empty.figure())) == set()
