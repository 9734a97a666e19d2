"""Graphs of other kinds of nodes: an MLP-mixer of two blocks, applied twice, over three positions."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chromium import launched, opened, until
from planted import GRAPH, effects

from grokscope.circuits import (
    Circuit,
    ComputationGraph,
    Edge,
    Node,
    Step,
    compare,
    connected,
    draw,
    merge_loops,
    to_eap_ig,
)
from grokscope.circuits.kinds import KINDS, Input, Kind
from grokscope.circuits.layout import layout_of
from grokscope.circuits.moves import Moves
from grokscope.circuits.palette import ASSETS, HUES, style_sheet
from grokscope.circuits.picture import moves, picture_of
from grokscope.circuits.random_circuits import random_circuits

ROLES = ("h", "r1", "r2")
ROWS = {
    "token mixer": Kind("TokenMixer{layer}", (Input("", "orange", "into a token mixer", bulge=0.9),), width=84.0),
    "channel mixer": Kind("ChannelMixer{layer}", (Input("", "green", "into a channel mixer", bulge=-0.9),), width=96.0),
}
PATH = {  # loop 0: h to r1, looked up; loop 1: r1 to r2, looked up
    "embed@h -> TokenMixer0@h": 0.9,
    "TokenMixer0@r1 -> ChannelMixer0@r1": 0.8,
    "ChannelMixer0@r1 -> TokenMixer2@r1": 0.7,
    "TokenMixer2@r2 -> ChannelMixer2@r2": -0.6,
    "ChannelMixer2@r2 -> logits@r2": 0.5,
}


@pytest.fixture(autouse=True)
def two_rows_more(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All that a kind of node needs."""
    for kind, row in ROWS.items():
        monkeypatch.setitem(KINDS, kind, row)
    yield


@pytest.fixture
def mixer() -> ComputationGraph:
    steps = [Step("embed")]
    for layer in range(4):
        steps += [
            Step("token mixer", layer, group=layer % 2, sees=(ROLES, ROLES, ROLES)),
            Step("channel mixer", layer, group=layer % 2),
        ]
    return ComputationGraph(ROLES, "r2", (*steps, Step("logits")))


@pytest.fixture
def circuit(mixer: ComputationGraph) -> Circuit:
    return Circuit.from_effects(effects(PATH, n=40, graph=mixer))


def test_only_the_table_and_what_is_about_transformers_name_a_kind() -> None:
    named = re.compile(r"""["'](embed|head|mlp|logits)["']""")
    found = set()
    for path in (*ASSETS.parent.glob("*.py"), *ASSETS.rglob("*.js"), *ASSETS.rglob("*.css")):
        code = re.sub(r'""".*?"""', "", path.read_text(), flags=re.S)
        if named.search(code) or re.search(r"gs-into-\w|--edge-\w", code):
            found.add(path.name)
    others = {"drawn_queries.py", "feature_drawing.py"}  # where heads look; nodes of another kind of graph
    assert found == {"kinds.py", "transformer.py", "interop.py"} | others


def test_every_name_parses_back(mixer: ComputationGraph) -> None:
    assert all(Edge.parse(str(edge)) == edge for edge in mixer.edges) and len(set(mixer.edges)) == len(mixer.edges)
    assert Node.parse("TokenMixer3@h") == Node("token mixer", "h", layer=3)
    with pytest.raises(ValueError, match=r"TokenMixer3\.q@h' is no node.*the kinds there are: .*token mixer"):
        Node.parse("TokenMixer3.q@h")


def test_a_small_graph_by_hand() -> None:
    steps = (Step("embed"), Step("token mixer", 0, sees=(("a",), ("a", "b"))), Step("channel mixer", 0), Step("logits"))
    graph = ComputationGraph(("a", "b"), "b", steps)
    assert list(map(str, graph.edges)) == [
        "embed@a -> TokenMixer0@a",
        "embed@b -> TokenMixer0@b",
        "embed@b -> ChannelMixer0@b",
        "TokenMixer0@b -> ChannelMixer0@b",
        "embed@b -> logits@b",
        "TokenMixer0@b -> logits@b",
        "ChannelMixer0@b -> logits@b",
    ]
    assert graph.outputs_of(Node.parse("TokenMixer0@a")) == (Node.parse("TokenMixer0@a"), Node.parse("TokenMixer0@b"))


def test_steps_side_by_side_read_the_same_sum() -> None:
    """Attention and MLP in parallel, as in Pythia, and no stream that goes past them."""
    see = (("a",), ("a", "b"))
    steps = (Step("embed"), Step("head", 0, n=2, sees=see), Step("mlp", 0, reads=(0,)), Step("logits", reads=(1, 2)))
    graph = ComputationGraph(("a", "b"), "b", steps)
    names = set(map(str, graph.edges))
    assert "embed@b -> MLP0@b" in names and "L0H1@b -> logits@b" in names
    assert not names & {"L0H0@b -> MLP0@b", "embed@b -> logits@b"} and not graph.is_transformer
    with pytest.raises(ValueError, match="only a transformer's graph has n_heads, this is ComputationGraph"):
        _ = graph.n_heads


def test_paths_connect_through_other_kinds(mixer: ComputationGraph, circuit: Circuit) -> None:
    assert set(map(str, circuit.kept_edges)) == set(PATH)
    cut = [edge for edge in circuit.kept_edges if str(edge) != "ChannelMixer0@r1 -> TokenMixer2@r1"]
    assert connected(mixer, cut) == set()
    drawn = random_circuits(mixer, circuit.kept_edges, 3, rng=np.random.default_rng(0))
    assert all(len(edges) == 5 and connected(mixer, edges) == set(edges) for edges in drawn)


def test_it_is_merged_by_weights(mixer: ComputationGraph, circuit: Circuit) -> None:
    assert (mixer.n_layers, mixer.n_blocks, mixer.n_loops) == (4, 2, 2)
    edges = merge_loops(circuit).edges.set_index(["sender", "receiver", "role"])
    assert edges.loc[("B0.TokenMixer", "B0.ChannelMixer", "r1"), "loops"] == "0 → 0"
    assert edges.loc[("B0.ChannelMixer", "B0.TokenMixer", "r1"), "loops"] == "0 → 1"
    assert edges.loc[("B0.ChannelMixer", "logits", "r2"), "loops"] == "1 → 2"
    assert edges.loc[("embed", "B0.TokenMixer", "h"), "loops"] == "-1 → 0"
    assert merge_loops(circuit).n_reused == 2


def test_loops_are_aligned(mixer: ComputationGraph) -> None:
    moves, place = Moves(mixer, mixer.edges), {str(edge): row for row, edge in enumerate(mixer.edges)}
    later = moves.edges((1, 1), moves.stay)
    assert later[place["embed@h -> TokenMixer0@h"]] == place.get("embed@h -> TokenMixer2@h", moves.nowhere)
    assert later[place["TokenMixer0@r2 -> ChannelMixer0@r2"]] == place["TokenMixer2@r2 -> ChannelMixer2@r2"]
    assert later[place["ChannelMixer0@r1 -> TokenMixer2@r1"]] == moves.nowhere


def test_what_is_used_once_stays_where_it_is() -> None:
    """A first layer of its own, then one that is applied twice."""
    steps = (Step("embed"), Step("mlp", 0), Step("mlp", 1, group=9), Step("mlp", 2, group=9), Step("logits"))
    graph = ComputationGraph(("a",), "a", steps)
    place, moves = {str(edge): row for row, edge in enumerate(graph.edges)}, Moves(graph, graph.edges)
    later = moves.edges((1, 1), moves.stay)
    assert later[place["embed@a -> MLP0@a"]] == place["embed@a -> MLP0@a"]
    assert later[place["MLP0@a -> MLP1@a"]] == place["MLP0@a -> MLP2@a"]


def test_two_are_compared(mixer: ComputationGraph, circuit: Circuit) -> None:
    waits = {
        "embed@h -> TokenMixer2@h": 0.9,
        "TokenMixer2@r2 -> ChannelMixer2@r2": 0.8,
        "ChannelMixer2@r2 -> logits@r2": 0.5,
    }
    early = {
        "embed@h -> TokenMixer0@h": 0.9,
        "TokenMixer0@r2 -> ChannelMixer0@r2": 0.8,
        "ChannelMixer0@r2 -> logits@r2": 0.5,
    }
    a, b = (Circuit.from_effects(effects(values, n=40, seed=i, graph=mixer)) for i, values in enumerate((early, waits)))
    rows = compare({"a": a, "b": b}, n_bootstrap=20).table.set_index("measure")["value"]
    assert rows["jensen_shannon"] == pytest.approx(1.0)
    assert rows["aligned jensen_shannon"] == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ValueError, match="differ in graph"):
        compare({"a": circuit, "b": Circuit.from_effects(effects({}, n=40, graph=GRAPH))})


def test_it_is_drawn(mixer: ComputationGraph, circuit: Circuit) -> None:
    diagram = draw(circuit)
    panel = diagram.html.split("<script")[0].split("<figure>")[1]
    assert set(re.findall(r'data-edge="([^"]+)"', panel)) == {name.replace(">", "&gt;") for name in PATH}
    assert set(re.findall(r'gs-into-token-mixer"[^>]* stroke="([^"]+)"', panel)) == {HUES["orange"]}
    assert f"--edge-token-mixer: {HUES['orange']};" in style_sheet()
    assert all(text in diagram.html for text in ("into a token mixer", "into a channel mixer", "moved between positions"))
    assert "into a query" not in diagram.html.split("<script")[0] and "attention" not in panel
    (graph,) = diagram.data["graphs"]
    kinds = {diagram.data["looks"][look][0] for _, look, _ in graph["inputs"]}
    assert kinds == {"token-mixer", "channel-mixer", "logits"}
    assert {node[5] for node in graph["nodes"] if node[1].startswith("TokenMixer")} == {
        round(7.6 * len("TokenMixer0") + 12, 1)
    }
    assert [name for name, *_ in graph["merged"]["nodes"]].count("B1.TokenMixer@r1") == 1
    assert [(str(a), str(b)) for a, b in moves(mixer, circuit.kept_edges)] == [
        ("TokenMixer0@h", "TokenMixer0@r1"),
        ("TokenMixer2@r1", "TokenMixer2@r2"),
    ]
    for text in ("layer 0, loop 0", "layer 2, loop 1"):
        assert text in panel


def test_its_page_works(circuit: Circuit, tmp_path: Path) -> None:
    path = draw(circuit).save(tmp_path / "page.html")
    diagram = "document.querySelector('.grokscope').grokscope"
    with launched() as browser, opened(browser, path) as page:
        until(page, f"!!{diagram}")
        assert set(page.evaluate(f"{diagram}.drawn[0]")) == set(PATH)
        assert page.locator("figure .gs-move").count() == 2
        page.locator('[data-toggle="weights"]').check()
        assert len(page.evaluate(f"{diagram}.drawn[0]")) == 5
        labels = page.locator("figure .gs-loops").all_text_contents()
        assert sorted(labels) == ["0→0", "0→1", "1→1", "1→out", "in→0"]


def test_boxes_do_not_touch(mixer: ComputationGraph) -> None:
    picture = picture_of(mixer, mixer.receivers)
    layout = layout_of(picture, range(len(picture.nodes)))
    places = pd.DataFrame(layout.nodes, columns=["x", "y"]).assign(width=[node.width for node in picture.nodes])
    for _, row in places.groupby("y"):
        left, right = row["x"] - row["width"] / 2, row["x"] + row["width"] / 2
        assert (left.sort_values().to_numpy()[1:] > right.sort_values().to_numpy()[:-1]).all()


def test_a_lens_marks_the_first_and_last_step_of_a_layer(circuit: Circuit) -> None:
    lens = pd.DataFrame({"layer": [0, 2, 9], "after": ["layer", "attention", "layer"], "role": ["r1", "r2", "r2"]})
    data = draw(circuit, lens=lens.assign(target=["bridge", "answer", "answer"], top1=0.9)).data
    names = [node[0] for node in data["graphs"][0]["nodes"]]
    marks = data["panels"][0]["frames"][0]["marks"]
    assert [(names[place], what) for place, what, _ in marks] == [
        ("ChannelMixer0@r1", "bridge"),
        ("TokenMixer2@r2", "answer"),
    ]


def test_it_is_saved_and_loaded(mixer: ComputationGraph, circuit: Circuit, tmp_path: Path) -> None:
    again = Circuit.load(circuit.save(tmp_path / "circuit.json"))
    assert again.graph == mixer and hash(again.graph) == hash(mixer) and again.to_json() == circuit.to_json()
    assert ComputationGraph.from_dict(json.loads(json.dumps(mixer.to_dict()))).edges == mixer.edges
    assert mixer != mixer.untied() and mixer.untied().edges == mixer.edges
    with pytest.raises(ValueError, match=r"transformer's circuit.* only, got embed, token mixer, channel mixer, logits"):
        to_eap_ig(circuit, tmp_path / "eap.json", d_model=4)


def test_a_transformers_file_is_its_sizes() -> None:
    assert json.dumps(GRAPH.to_dict()) == (
        '{"roles": ["h", "r1", "r2"], "answer_role": "r2", "n_layers": 2, "n_heads": 1, "n_blocks": 1, "causal": true, '
        '"has_mlp": true}'
    )
    by_hand = dataclasses.replace(GRAPH, steps=tuple(dataclasses.replace(step) for step in GRAPH.steps))
    assert by_hand == GRAPH and by_hand.is_transformer and by_hand.to_dict() == GRAPH.to_dict()


def test_steps_that_make_no_graph_are_refused_with_every_problem() -> None:
    with pytest.raises(ValueError, match=r"kinds must be rows of .*, got expert"):
        ComputationGraph(("a",), "a", (Step("embed"), Step("expert", 0), Step("logits")))
    steps = (
        Step("embed"),
        Step("mlp", 0, n=2),
        Step("mlp", 0, reads=(2,)),
        Step("head", 1, sees=(("b",), ())),
        Step("embed", 4),
    )
    with pytest.raises(ValueError) as caught:
        ComputationGraph(("a",), "z", steps)
    for problem in (
        r"answer_role 'z' is not among the roles",
        r"step 1 (mlp, layer 0) has n = 2, but names MLP{layer} are for one",
        r"step 2 (mlp, layer 0) reads (2,), but only earlier steps can be read",
        r"step 3 (head, layer 1) sees (('b',), ()), which is not one tuple of roles",
        r"2 steps are of kind mlp and layer 0",
        r"the last step must be one component with one input",
    ):
        assert problem in str(caught.value)


def test_kinds_whose_names_read_back_as_another_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "gated", dataclasses.replace(KINDS["mlp"]))  # prints as MLPs do
    steps = (Step("embed"), Step("gated", layer=0), Step("logits"))
    with pytest.raises(ValueError, match=r"nodes of kind gated, layer 0, print as MLP0, which reads as Node\(kind='mlp'"):
        ComputationGraph(("x",), "x", steps)
