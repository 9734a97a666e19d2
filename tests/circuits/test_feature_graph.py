"""Attribution graphs of circuit-tracer and Neuronpedia: read, named, looked at, saved, written back."""

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from attribution_graphs import as_links, breaches, by_circuit_tracer, feature, node, with_attention, written
from explained import assert_explained
from hostile import ODD
from same import assert_same

from grokscope.circuits import FeatureGraph, Result, circuit_tracer, from_circuit_tracer, to_neuronpedia
from grokscope.circuits.documents import FileError
from grokscope.circuits.feature_nodes import all_different, paired, unpaired, word
from grokscope.circuits.units import shown

GRAPHS = {"circuit-tracer": by_circuit_tracer, "attention": with_attention}


def read(tmp_path: Path, content: Any) -> FeatureGraph:
    return from_circuit_tracer(written(tmp_path / "graph.json", content))


def test_every_node_is_a_row_with_a_name_made_of_what_it_is(tmp_path: Path) -> None:
    graph = read(tmp_path, by_circuit_tracer())
    assert graph.nodes["node"].tolist() == [
        "L0F391@1:1",
        "L0F103@3:\\n",
        "L2F14696@1:1",
        "L2error@3:\\n",
        "embed@0:<bos>",
        "embed@1:1",
        "embed@2:two",
        "embed@3:\\n",
        "logit236812@3:4",
        "logit236771@3:capital\\n",
    ]
    columns = ["node", "kind", "layer", "index", "position", "token", "label", "activation", "influence", "probability"]
    assert list(graph.nodes) == [*columns, "type", "id"]
    rows = graph.nodes.set_index("id")
    assert rows.loc["2_14696_1", "kind":"token"].tolist() == ["feature", 2, 14696, 1, "1"]
    assert rows.loc["2_-1_3", "kind":"token"].tolist() == ["error", 2, -1, 3, "\n"]
    assert rows.loc["E_236778_2", "kind":"token"].tolist() == ["embedding", -1, 236778, 2, " two"]
    assert rows.loc["4_236771_3", "kind":"token"].tolist() == ["logit", 4, 236771, 3, "\n"]
    assert rows.loc["4_236771_3", "label"] == 'Output " capital\n" (p=0.083)'
    assert rows["probability"].dropna().to_dict() == {"4_236812_3": 0.328125, "4_236771_3": 0.0830078125}
    assert rows["activation"].dropna().to_dict() == {"0_391_1": 81.5, "0_103_3": 190.0, "2_14696_1": 37.25}
    assert rows["influence"].isna().tolist() == [False] * 8 + [True] * 2


def test_every_link_is_a_row_in_the_order_of_the_file(tmp_path: Path) -> None:
    graph, content = read(tmp_path, by_circuit_tracer()), by_circuit_tracer()
    assert list(graph.table) == ["sender", "receiver", "effect"] and len(graph.table) == len(content["links"])
    assert graph.table.iloc[3].tolist() == ["L0F391@1:1", "L2F14696@1:1", 4.96875]
    name = dict(zip(graph.nodes["id"], graph.nodes["node"], strict=True))
    rows = [(name[link["source"]], name[link["target"]], link["weight"]) for link in content["links"]]
    assert list(graph.table.itertuples(index=False, name=None)) == rows
    assert graph.prompt == ("<bos>", "1", " two", "\n")
    assert graph.about["slug"] == "small-123" and graph.about["info"]["creator_name"] == "somebody"


def test_attention_features_errors_and_biases_have_names_of_their_own(tmp_path: Path) -> None:
    graph = read(tmp_path, with_attention())
    assert dict(zip(graph.nodes["node"], graph.nodes["kind"], strict=True)) == {
        "embed@0:a": "embedding",
        "L1lorsa7@1:b": "feature",
        "L1F7@1:b": "feature",
        "L1lorsa_error@1:b": "error",
        "L1error@1:b": "error",
        "L1_Bias_(attn_bO)@1:b": "other",
        "L1_Bias_(mlp_bout)@1:b": "other",
        "logit9@1:c": "logit",
    }
    assert graph.rest["qk_only_nodes"].keys() == {"0_cro_1_0"}
    assert graph.rest["nodes"]["L1lorsa7@1:b"]["qk_tracing_results"]["pair_wise_contributors"] == [["E_5_0", "E_5_0", 0.5]]


@pytest.mark.parametrize("name", GRAPHS)
def test_what_neuronpedia_asks_is_asked_of_the_examples(name: str) -> None:
    """So that `breaches` finds something."""
    assert breaches(GRAPHS[name]()) == []
    damages = {
        "it lacks links": lambda content: content.pop("links"),
        "it.metadata.slug is 3": lambda content: content["metadata"].update(slug=3),
        "it.metadata.prompt_tokens[1] is None": lambda content: content["metadata"]["prompt_tokens"].insert(1, None),
        "it.nodes[0] lacks jsNodeId": lambda content: content["nodes"][0].pop("jsNodeId"),
        "it.nodes[0].ctx_idx is True": lambda content: content["nodes"][0].update(ctx_idx=True),
        "it.links[1].weight is '1'": lambda content: content["links"][1].update(weight="1"),
        "slug is a b": lambda content: content["metadata"].update(slug="a b"),
        "A is without (p=": lambda content: content["nodes"][-1].update(clerp="A"),
    }
    for message, damage in damages.items():
        content = GRAPHS[name]()
        damage(content)
        assert breaches(content) == [message]


@pytest.mark.parametrize("name", GRAPHS)
def test_a_file_is_written_back_as_it_was(name: str, tmp_path: Path) -> None:
    content = GRAPHS[name]()
    graph = read(tmp_path, content)
    again = to_neuronpedia(graph, tmp_path / "again.json")
    assert json.loads(again.read_text()) == content
    assert from_circuit_tracer(again) == graph


@pytest.mark.parametrize("name", GRAPHS)
def test_what_is_saved_is_loaded(name: str, tmp_path: Path) -> None:
    graph = read(tmp_path, GRAPHS[name]())
    loaded = Result.load(graph.save(tmp_path / "saved.json"))
    assert_same(loaded, graph)
    assert loaded == graph and hash(loaded) == hash(graph)
    out = [to_neuronpedia(each, tmp_path / f"{n}.json").read_text() for n, each in enumerate((graph, loaded))]
    assert out[0] == out[1]


def test_keys_that_a_file_may_lack_are_not_made_up(tmp_path: Path) -> None:
    content = by_circuit_tracer()
    for entry in content["nodes"]:
        for key in ("influence", "activation", "token_prob", "run_idx", "is_target_logit"):
            del entry[key]
    for key in content["metadata"].keys() - {"slug", "scan", "prompt", "prompt_tokens"}:
        del content["metadata"][key]
    content["qParams"] = {}
    graph = read(tmp_path, content)
    assert graph.nodes[["influence", "activation", "probability"]].isna().all(axis=None)
    assert json.loads(to_neuronpedia(graph, tmp_path / "again.json").read_text()) == content


def test_a_graph_without_nodes_is_one(tmp_path: Path) -> None:
    content = by_circuit_tracer() | {"nodes": [], "links": []}
    graph = read(tmp_path, content)
    assert graph.nodes["layer"].dtype == "int64" and graph.table["effect"].dtype == "float64"
    assert json.loads(to_neuronpedia(graph, tmp_path / "again.json").read_text()) == content
    assert "0 links" in graph.caption and "0 nodes" in repr(graph)


def test_pins_and_supernodes_are_names(tmp_path: Path) -> None:
    content = by_circuit_tracer()
    groups = [["the digits", "0_391_1", "E_236770_1"], ["gone", "9_9_9"], ["empty"]]
    content["qParams"] |= {"pinnedIds": ["4_236812_3", "9_9_9", "0_103_3"], "supernodes": groups, "sg_pos": "1 2"}
    graph = read(tmp_path, content)
    assert graph.pinned == ("logit236812@3:4", "9_9_9", "L0F103@3:\\n")
    assert graph.supernodes == (("the digits", ("L0F391@1:1", "embed@1:1")), ("gone", ("9_9_9",)), ("empty", ()))
    assert json.loads(to_neuronpedia(graph, tmp_path / "again.json").read_text()) == content
    assert read(tmp_path, with_attention()).pinned == read(tmp_path, with_attention()).supernodes == ()


def test_lists_that_circuit_tracers_page_saved_as_texts_are_lists(tmp_path: Path) -> None:
    """Its server puts the parameters of the page's address into the file, see `index.html` and `local_server.py` there."""
    content = by_circuit_tracer()
    saved = {"pinnedIds": "0_391_1,E_2_0", "supernodes": '[["digits","0_391_1"]]', "linkType": "both"}
    content["qParams"] = {**saved, "clickedId": None, "sg_pos": None, "pruningThreshold": "0.6", "clerps": "[]"}
    content["metadata"]["node_threshold"] = None
    graph = read(tmp_path, content)
    assert graph.pinned == ("L0F391@1:1", "embed@0:<bos>") and graph.supernodes == (("digits", ("L0F391@1:1",)),)
    again = json.loads(to_neuronpedia(graph, tmp_path / "again.json").read_text())
    assert breaches(content) and breaches(again) == [] and "node_threshold" not in again["metadata"]
    lists = {"pinnedIds": ["0_391_1", "E_2_0"], "supernodes": [["digits", "0_391_1"]]}
    assert again["qParams"] == {**lists, "linkType": "both", "pruningThreshold": "0.6", "clerps": "[]"}
    content["qParams"] = {"pinnedIds": "", "supernodes": ""}
    assert read(tmp_path, content).view == {"pinnedIds": [], "supernodes": []}


def test_it_says_what_it_is(tmp_path: Path) -> None:
    graph = read(tmp_path, by_circuit_tracer())
    sizes = "4 embeddings, 3 features, 1 error, 2 logits, 8 links"
    assert graph.caption == f"gemma-3-1b · small-123 · “<bos>1 two” · {sizes}"
    assert repr(graph) == "FeatureGraph('gemma-3-1b', 'small-123', 10 nodes, 8 links)"
    hostile = replace(graph, about={"slug": ODD, "scan": 3, "prompt": ODD}, prompt=(ODD,))
    assert repr(hostile).isprintable() and len(repr(hostile)) <= 120 and hostile._repr_html_().count("<script>") == 1


def test_features_are_found_however_they_are_numbered(tmp_path: Path) -> None:
    """By the id; where that says nothing by layer and index in one number; else it is the index, as in older files."""
    content = by_circuit_tracer()
    content["nodes"] = [
        feature("3_234_1", 300234),  # layer and index side by side, as in files without a version
        {**feature("3_7_1", paired(3, 234)), "node_id": "a"},
        {**feature("3_7_2", 5), "node_id": "b"},
        {**feature("3_7_1", 0), "node_id": "3_8_0", "jsNodeId": "3_7-0"},  # an id of another place says nothing
        {**node("L_8_2", 8, "5", "logit", js="x", label="nothing"), "feature": None},
        {**node("4_1_2", 4, "4", "unexplored node", js="x")},
    ]
    content["links"] = []
    graph = read(tmp_path, content)
    assert graph.nodes["index"].tolist() == [234, 234, 5, 0, -1, 1]
    names = ["L3F234@1:1", "L3F234@1:1#2", "L3F5@2:two", "L3F0@1:1", "logit@2", "L4F1@2:two"]
    assert graph.nodes["node"].tolist() == names
    assert json.loads(to_neuronpedia(graph, tmp_path / "again.json").read_text()) == content


def test_numbers_of_layer_and_index_against_counting() -> None:
    """Cantor's pairing counts along the diagonals."""
    diagonals = ((total - index, index) for total in range(60) for index in range(total + 1))
    for number, pair in enumerate(diagonals):
        assert paired(*pair) == number and unpaired(number) == pair
    for pair in ((25, 2_500_000), (0, 10**12), (10**9, 0), (3, 2**40)):
        assert unpaired(paired(*pair)) == pair


def test_names_are_made_different() -> None:
    assert all_different(["a", "a#2", "a", "a", "b"]) == ["a", "a#2", "a#3", "a#4", "b"]
    many = ["a"] * 50_000 + [f"a#{n}" for n in range(50_000)]
    assert len(set(all_different(many))) == len(many)


@pytest.mark.parametrize("token", ["", " ", "\t", "a b", "\u3000", "\u202e", "🙂", "x" * 99, "@:#", *ODD.split("\n")])
def test_a_word_has_no_whitespace_and_shows(token: str) -> None:
    assert word(token) and word(token).isprintable() and not any(map(str.isspace, word(token))) and len(word(token)) <= 24


def test_names_of_hostile_tokens_are_names_too(tmp_path: Path) -> None:
    content = by_circuit_tracer()
    content["metadata"]["prompt_tokens"] = [ODD, "\u2028", "", "@"]
    content["nodes"][0]["clerp"] = content["nodes"][0]["feature_type"] = ODD
    graph = read(tmp_path, content)
    assert graph.nodes["node"].is_unique and not graph.nodes["node"].str.contains(r"\s").any()
    assert graph._repr_html_().count("<script>") == 1 and "<img" not in graph._repr_html_()
    assert json.loads(to_neuronpedia(graph, tmp_path / "again.json").read_text()) == content


def change(*place: Any, to: Any) -> Callable[[Any], None]:
    def damage(content: Any) -> None:
        for key in place[:-1]:
            content = content[key]
        content[place[-1]] = to

    return damage


def without(*place: Any) -> Callable[[Any], None]:
    def damage(content: Any) -> None:
        for key in place[:-1]:
            content = content[key]
        del content[place[-1]]

    return damage


NO_GRAPH = "is no attribution graph as circuit-tracer writes it: "
NO_FIT = "cannot be read as an attribution graph: "
DAMAGES = {
    f"{NO_GRAPH}metadata: field required": without("metadata"),
    f"{NO_GRAPH}qParams: field required": without("qParams"),
    f"{NO_GRAPH}links: field required": without("links"),
    "metadata.slug: field required": without("metadata", "slug"),
    "metadata.prompt: input should be a valid string, got 3": change("metadata", "prompt", to=3),
    "metadata.prompt_tokens: 'str' instances are not allowed": change("metadata", "prompt_tokens", to="abcd"),
    "metadata.prompt_tokens.0: .*valid string, got 1": change("metadata", "prompt_tokens", to=[1]),
    "metadata.info: .*dictionary, got 'x'": change("metadata", "info", to="x"),
    "metadata.node_threshold: .*valid number, got '0.5'": change("metadata", "node_threshold", to="0.5"),
    "qParams.pinnedIds: .*got 3": change("qParams", "pinnedIds", to=3),
    "qParams.pinnedIds.1: .*got 3": change("qParams", "pinnedIds", to=["a", 3]),
    "qParams.supernodes.0: .*got 'a'": change("qParams", "supernodes", to=["a"]),
    "qParams.supernodes.0: .*at least 1 item": change("qParams", "supernodes", to=[[]]),
    "qParams.supernodes: .*got '\\[\\['": change("qParams", "supernodes", to="[["),
    "nodes.0.node_id: field required": without("nodes", 0, "node_id"),
    "nodes.0.jsNodeId: field required": without("nodes", 0, "jsNodeId"),
    "nodes.1.clerp: .*valid string": change("nodes", 1, "clerp", to=None),
    "nodes.1.feature: .*valid integer, got '7'": change("nodes", 1, "feature", to="7"),
    "nodes.1.feature: .*valid integer, got 7.0": change("nodes", 1, "feature", to=7.0),
    "nodes.1.feature: .*less than or equal": change("nodes", 1, "feature", to=2**63),
    "nodes.1.ctx_idx: .*valid integer, got True": change("nodes", 1, "ctx_idx", to=True),
    "nodes.1.ctx_idx: .*greater than or equal to 0, got -1": change("nodes", 1, "ctx_idx", to=-1),
    "nodes.1.layer": change("nodes", 1, "layer", to=1.5),
    "nodes.1.activation: .*valid number, got 'x'": change("nodes", 1, "activation", to="x"),
    "nodes.1.activation: .*valid number": change("nodes", 1, "activation", to=10**400),
    "nodes.1.clerp: .*surrogates not allowed": change("nodes", 1, "clerp", to="\ud800"),
    "links.2.weight: .*valid number, got '1'": change("links", 2, "weight", to="1"),
    "links.2.weight: .*valid number, got None": change("links", 2, "weight", to=None),
    "links.2.target: field required": without("links", 2, "target"),
    f"{NO_FIT}ids of several nodes.*'0_391_1' \\(2 nodes\\)": change("nodes", 1, "node_id", to="0_391_1"),
    f"{NO_FIT}layers that are no numbers: 'x' of '0_103_3'": change("nodes", 1, "layer", to="x"),
    f"{NO_FIT}layers that are no numbers: -1 of '0_103_3'": change("nodes", 1, "layer", to=-1),
    f"{NO_FIT}positions beyond the 4 tokens of the prompt: 4 of '0_103_3'": change("nodes", 1, "ctx_idx", to=4),
    f"{NO_FIT}ends of links that are no nodes: '9_9_9'": change("links", 2, "source", to="9_9_9"),
    "the key 'slug' is there twice": lambda content: None,  # see below
    "NaN is no finite number": change("links", 2, "weight", to=math.nan),
    "Infinity is no finite number": change("nodes", 1, "influence", to=math.inf),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_a_damaged_file_is_refused_by_name(message: str, tmp_path: Path) -> None:
    content, path = by_circuit_tracer(), tmp_path / "damaged.json"
    DAMAGES[message](content)
    text = json.dumps(content)
    path.write_text(text.replace('"slug"', '"slug": "x", "slug"') if "twice" in message else text)
    with pytest.raises(FileError, match=rf"(?s)damaged\.json.*{message}"):
        from_circuit_tracer(path)


def test_all_that_does_not_fit_is_said_at_once(tmp_path: Path) -> None:
    content = by_circuit_tracer()
    del content["metadata"]["scan"], content["nodes"][0]["clerp"]
    with pytest.raises(FileError, match=r"metadata.scan: field required; nodes.0.clerp: field required"):
        read(tmp_path, content)
    content = by_circuit_tracer()
    for number, entry in enumerate(content["nodes"][:5]):
        entry["ctx_idx"] = 10 + number
    content["nodes"][6]["node_id"] = content["nodes"][5]["node_id"]
    with pytest.raises(FileError) as caught:
        read(tmp_path, content)
    for part in (
        "ids of several nodes, so that links to them say too little (circuit-tracer once wrote such): "
        "'E_236770_1' (2 nodes)",
        "positions beyond the 4 tokens of the prompt: 10 of '0_391_1', 11 of '0_103_3', 12 of '2_14696_1' and 2 more",
        "ends of links that are no nodes: 'E_236778_2'",
    ):
        assert part in str(caught.value)


def test_what_is_no_such_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.json"):
        from_circuit_tracer(tmp_path / "nothing.json")
    (tmp_path / "raw.pt").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(FileError, match=r"raw\.pt: expected a text in UTF-8"):
        from_circuit_tracer(tmp_path / "raw.pt")
    for other in ([1, 2], "x", None, {"kind": "Circuit"}):
        with pytest.raises(FileError, match=r"graph\.json is no attribution graph"):
            read(tmp_path, other)
    monkeypatch.setattr(circuit_tracer, "MOST_BYTES", 100)
    with pytest.raises(FileError, match=r"graph\.json has [0-9,]+ bytes, attribution graphs are read up to 100: prune"):
        read(tmp_path, by_circuit_tracer())


def test_what_was_changed_is_written(tmp_path: Path) -> None:
    graph = read(tmp_path, by_circuit_tracer())
    nodes = graph.nodes[graph.nodes["kind"] != "error"].reset_index(drop=True)
    nodes = nodes.assign(label=nodes["label"].mask(nodes["id"] == "0_391_1", "ones"), activation=nodes["activation"] * 2)
    nodes.loc[nodes["kind"] == "embedding", "activation"] = 1.5  # which the file calls null
    table = graph.table[graph.table["sender"].isin(nodes["node"])]
    written_again = to_neuronpedia(replace(graph, nodes=nodes, table=table), tmp_path / "changed.json")
    content = json.loads(written_again.read_text())
    assert breaches(content) == [] and len(content["nodes"]) == 9 and len(content["links"]) == 7
    entries = {entry["node_id"]: entry for entry in content["nodes"]}
    assert entries["0_391_1"]["clerp"] == "ones" and entries["0_391_1"]["activation"] == 163.0
    other = replace(graph, nodes=nodes.convert_dtypes(), table=table.convert_dtypes())  # which has missing values of its own
    assert to_neuronpedia(other, tmp_path / "other.json").read_text() == written_again.read_text()
    assert entries["E_2_0"]["activation"] == 1.5 and entries["0_391_1"]["jsNodeId"] == "0_391-0"


def test_one_made_by_hand_is_written_and_read(tmp_path: Path) -> None:
    nodes = pd.DataFrame(
        {
            "node": ["e", "f", "x", "l"],
            "kind": ["embedding", "feature", "error", "logit"],
            **{"layer": [-1, 3, 3, 5], "index": [12, 234, -1, 7], "position": [0, 1, 1, 1], "token": ["a", "b", "b", "b"]},
            **{"label": ["", "x", "", 'Output "c" (p=0.5)'], "activation": [np.nan, 2.0, np.nan, np.nan]},
            **{"influence": 0.5, "probability": [np.nan, np.nan, np.nan, 0.5]},
            "type": ["embedding", "cross layer transcoder", "mlp reconstruction error", "logit"],
            "id": ["E_12_0", "3_234_1", "3_-1_1", "5_7_1"],
        }
    )
    table = pd.DataFrame({"sender": ["e", "f"], "receiver": ["f", "l"], "effect": [1, -2]})
    graph = FeatureGraph(table, nodes, ("a", "b"), {"slug": "s", "scan": "m", "prompt": "ab"})
    content = json.loads(to_neuronpedia(graph, tmp_path / "made.json").read_text())
    assert breaches(content) == []
    assert [entry["feature"] for entry in content["nodes"]] == [0, 28437, -1, 7]
    assert [entry["layer"] for entry in content["nodes"]] == ["E", "3", "3", "5"]
    again = from_circuit_tracer(tmp_path / "made.json")
    assert again.nodes["node"].tolist() == ["embed@0:a", "L3F234@1:b", "L3error@1:b", "logit7@1:c"]
    columns = ["kind", "layer", "index", "position", "activation", "influence", "probability"]
    pd.testing.assert_frame_equal(again.nodes[columns], nodes[columns], check_dtype=False)


BROKEN: dict[str, Callable[[FeatureGraph], dict[str, Any]]] = {
    "no node is called 'nobody'": lambda g: {"table": g.table.assign(sender="nobody")},
    "no node is called 'L0F391@1:1'|no node is called 'embed": lambda g: {"nodes": g.nodes.iloc[:0]},
    "nodes: node is not different in each row; no node is called": lambda g: {"nodes": g.nodes.assign(node=g.nodes.node[0])},
    "nodes: id is not different in each row": lambda g: {"nodes": g.nodes.assign(id="x")},
    "nodes: it lacks the column id": lambda g: {"nodes": g.nodes.drop(columns="id")},
    "nodes: the column 'layer' holds 'x'": lambda g: {"nodes": g.nodes.assign(layer="x")},
    "nodes: the column 'layer' has rows without a value": lambda g: {"nodes": g.nodes.assign(layer=np.nan)},
    "nodes: the column 'label' has rows without a value": lambda g: {"nodes": g.nodes.assign(label=None)},
    "nodes: a layer is below 0": lambda g: {"nodes": g.nodes.assign(layer=-1)},
    "nodes: a position is not in the prompt, which has 1 tokens": lambda g: {"prompt": ("a",)},
    "table: the column 'effect' has rows without a value": lambda g: {"table": g.table.assign(effect=np.nan)},
    "nodes: the column 'influence' holds an infinite number": lambda g: {"nodes": g.nodes.assign(influence=-np.inf)},
    "table: the column 'effect' holds an infinite number": lambda g: {"table": g.table.assign(effect=np.inf)},
    "about lacks slug, a text; about lacks prompt, a text": lambda g: {"about": {"slug": 3, "scan": "x"}},
    r"rest\['nodes'\] is no mapping": lambda g: {"rest": {"nodes": 3}},
    "are written as JSON, which this is not: .*ndarray": lambda g: {"view": {"x": np.zeros(2)}},
    "are written as JSON, which this is not: .*float": lambda g: {"rest": {"x": math.nan}},
}  # fmt: skip


@pytest.mark.parametrize("message", BROKEN)
def test_what_does_not_fit_together_is_not_written(message: str, tmp_path: Path) -> None:
    graph = read(tmp_path, by_circuit_tracer())
    broken = replace(graph, **BROKEN[message](copy.deepcopy(graph)))
    with pytest.raises(ValueError, match=message):
        to_neuronpedia(broken, tmp_path / "broken.json")
    assert not (tmp_path / "broken.json").exists()


def test_several_links_between_two_nodes_are_rows_of_their_own(tmp_path: Path) -> None:
    content = by_circuit_tracer()
    content["links"] += as_links([("E_2_0", "0_391_1", 1.0)])
    graph = read(tmp_path, content)
    assert len(graph.table) == 9
    assert json.loads(to_neuronpedia(graph, tmp_path / "again.json").read_text()) == content


@pytest.mark.parametrize("name", GRAPHS)
def test_what_it_says_of_itself_is_what_it_holds(name: str, tmp_path: Path) -> None:
    graph = read(tmp_path, GRAPHS[name]())
    assert_explained(graph)
    into = graph.table[graph.table["receiver"].str.startswith("logit")]
    row = into.loc[into["effect"].abs().idxmax()]
    assert f"{row['sender']} -> {row['receiver']}, adds {shown(row['effect'])} nats" in graph.explain().means
    unknown = replace(graph, table=graph.table.assign(effect=math.nan), nodes=graph.nodes.assign(probability=math.nan))
    assert unknown.explain().means == "Nothing: no link into a logit has a number."
    assert "no rows" in replace(graph, table=graph.table.head(0)).explain().means
