"""Circuits in Neuronpedia's graph JSON: what becomes a node and a link, by hand and against a slow search."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attribution_graphs import breaches, by_circuit_tracer, written
from hostile import ROLES as HOSTILE
from hostile import circuit
from planted import CHAIN, GRAPH, LOOSE_ENDS, effects

from grokscope.circuits import Circuit, ComputationGraph, Edge, Step, from_circuit_tracer, to_neuronpedia
from grokscope.circuits.random_circuits import random_circuits

ROLES = ("h", "r1", "r2")


def out(tmp_path: Path, circuit: Circuit, **settings: Any) -> dict[str, Any]:
    """What is written, which is as Neuronpedia asks."""
    content = json.loads(to_neuronpedia(circuit, tmp_path / "graph.json", **settings).read_text())
    assert breaches(content) == []
    return content


def links(content: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """By the labels of the nodes; each link is there once."""
    label = {node["node_id"]: node["clerp"] for node in content["nodes"]}
    found = {(label[link["source"]], label[link["target"]]): link["weight"] for link in content["links"]}
    assert len(found) == len(content["links"])
    return found


ANSWER = 'Output "logits" (p=?)'


def test_a_chain_by_hand(tmp_path: Path) -> None:
    """Attention moves what it reads at h to r1, and at r1 to r2: the links end where the next edges start."""
    content = out(tmp_path, Circuit.from_effects(effects(CHAIN | LOOSE_ENDS)))
    assert links(content) == {
        ("embed@h", "L0H0@r1"): 0.9,
        ("L0H0@r1", "MLP0@r1"): 0.8,
        ("MLP0@r1", "L1H0@r2"): 0.7,
        ("L1H0@r2", ANSWER): -0.6,
    }
    nodes = {node["clerp"]: (node["node_id"], node["layer"], node["ctx_idx"]) for node in content["nodes"]}
    assert nodes == {
        "embed@h": ("E_0_0", "E", 0),
        "embed@r1": ("E_0_1", "E", 1),
        "embed@r2": ("E_0_2", "E", 2),
        "L0H0@r1": ("0_0_1", "0", 1),
        "MLP0@r1": ("0_1_1", "0", 1),
        "L1H0@r2": ("1_0_2", "1", 2),
        ANSWER: ("3_0_2", "3", 2),
    }
    assert content["qParams"]["pinnedIds"] == ["E_0_0", "0_0_1", "0_1_1", "1_0_2", "3_0_2"]
    metadata = content["metadata"]
    assert (metadata["slug"], metadata["scan"], metadata["prompt"]) == ("graph", "m", "h r1 r2")
    assert metadata["prompt_tokens"] == list(ROLES) and "4 of 44 edges" in metadata["info"]["description"]


def test_inputs_of_one_head_that_become_one_link_are_summed_and_one_edge_may_be_several_links(tmp_path: Path) -> None:
    chosen = {
        "embed@r2 -> L0H0.q@r2": 0.5,
        "embed@r2 -> L0H0.v@r2": 0.25,
        "embed@h -> L0H0.v@h": 0.125,  # read at r1 and at r2
        "L0H0@r1 -> MLP0@r1": 0.4,
        "MLP0@r1 -> L1H0.k@r1": 0.3,
        "L0H0@r2 -> L1H0.q@r2": float("nan"),
        "L1H0@r2 -> logits@r2": 0.2,
    }
    frame = effects({name: 0.0 if math.isnan(value) else value for name, value in chosen.items()})
    whole = Circuit.from_effects(frame, edges=[Edge.parse(name) for name in chosen])
    table = whole.table.assign(effect=whole.table["effect"].mask(whole.table["receiver"] == "L1H0.q@r2"))
    content = out(tmp_path, Circuit(table, whole.graph, whole.provenance))
    assert links(content) == {
        ("embed@h", "L0H0@r1"): 0.125,
        ("embed@h", "L0H0@r2"): 0.125,
        ("embed@r2", "L0H0@r2"): 0.75,
        ("L0H0@r1", "MLP0@r1"): 0.4,
        ("MLP0@r1", "L1H0@r2"): 0.3,
        ("L0H0@r2", "L1H0@r2"): 0.0,  # without a number
        ("L1H0@r2", ANSWER): 0.2,
    }


def test_an_output_that_no_edge_reads_is_a_node_all_the_same(tmp_path: Path) -> None:
    """Edges need not be connected; none is lost."""
    whole = Circuit.from_effects(effects({"embed@h -> L1H0.v@h": 0.5}))
    table = whole.table.assign(kept=whole.table["effect"] > 0.4)
    assert links(out(tmp_path, Circuit(table, whole.graph))) == {("embed@h", f"L1H0@{role}"): 0.5 for role in ROLES}


def grouped() -> ComputationGraph:
    """Two heads share keys and values."""
    return ComputationGraph.transformer(
        ROLES, "r2", n_layers=2, n_heads=4, n_blocks=2, n_key_value_heads=2, parallel=True, sinks=True
    )


def two_way() -> ComputationGraph:
    return ComputationGraph.transformer(ROLES, "r1", n_layers=3, n_heads=2, n_blocks=1, causal=False, has_mlp=False)


def mixer() -> ComputationGraph:
    """Two states to start from, and tokens mixed by an MLP."""
    steps = [Step("embed"), Step("init")]
    for layer in range(3):
        steps += [Step("mixer", layer, group=0, sees=(ROLES, ROLES, ROLES)), Step("mlp", layer, group=0)]
    return ComputationGraph(ROLES, "r2", (*steps, Step("logits")))


GRAPHS = {"heads": lambda: GRAPH, "grouped": grouped, "two-way": two_way, "mixer": mixer}


def slowly(graph: ComputationGraph, weights: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """Each edge, each node of the graph that it might lead to, asked by the graph's own edges and nothing else."""
    edges = [Edge.parse(name) for name in weights]
    found: dict[tuple[str, str], float] = {}
    for edge in edges:
        step = next(each for each in graph.steps if (each.kind, each.layer) == (edge.receiver.kind, edge.receiver.layer))
        ends = []
        for role, seen in zip(graph.roles, step.sees or (), strict=True):
            for index in step.indices:
                n = step.n_sharing if edge.receiver.input in ("k", "v") else 1
                reads = edge.receiver.role == role if edge.receiver.input == "q" else edge.receiver.role in seen
                if reads and (index // n if index >= 0 else index) == edge.receiver.index:
                    ends.append(edge.receiver._replace(role=role, index=index, input=""))
        if step is graph.steps[-1]:
            ends = [graph.answer]
        used = [end for end in ends if any(other.sender == end for other in edges)]
        for end in used or ends:
            key = str(edge.sender), ANSWER if end == graph.answer else str(end)
            found[key] = found.get(key, 0.0) + weights[str(edge)]
    return found


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_links_against_a_slow_search_and_they_are_connected(name: str, seed: int, tmp_path: Path) -> None:
    graph, rng = GRAPHS[name](), np.random.default_rng(seed)
    like = [edge for edge in graph.edges if edge.receiver == graph.answer][:1]
    many = random_circuits(graph, sorted(graph.edges)[:12], 1, rng=rng)[0] or like
    weights = {str(edge): float(rng.normal()) for edge in many}
    kept = Circuit.from_effects(effects(weights, graph=graph), edges=many)
    assert {str(edge) for edge in kept.kept_edges} == set(weights)
    content = out(tmp_path, kept)
    assert links(content) == pytest.approx(slowly(graph, weights))
    targets, sources = ({label for pair in links(content) for label in [pair[end]]} for end in (1, 0))
    embedded = {node["clerp"] for node in content["nodes"] if node["feature_type"] == "embedding"}
    assert sources - targets <= embedded and targets - sources == {ANSWER}
    by_layer = {node["clerp"]: -1 if node["layer"] == "E" else int(node["layer"]) for node in content["nodes"]}
    assert all(by_layer[sender] <= by_layer[receiver] for sender, receiver in links(content))
    everything = out(tmp_path, kept, kept_only=False)
    all_weights = {str(edge): weights.get(str(edge), 0.0) for edge in graph.edges}
    assert links(everything) == pytest.approx(slowly(graph, all_weights))
    assert everything["qParams"] == content["qParams"]  # which edges are kept is seen by the pins


def test_numbers_of_components_are_their_own(tmp_path: Path) -> None:
    """Pages tell nodes apart by layer, feature and position, and ids by all of them."""
    for name, make in GRAPHS.items():
        graph = make()
        whole = Circuit.from_effects(effects({}, graph=graph), edges=[])
        nodes = out(tmp_path, whole, kept_only=False)["nodes"]
        assert len({(each["layer"], each["feature"], each["ctx_idx"]) for each in nodes}) == len(nodes), name
        assert {each["feature_type"] for each in nodes} == {"embedding", "unknown", "logit"}


def test_an_empty_circuit_is_its_prompt_and_the_answer(tmp_path: Path) -> None:
    content = out(tmp_path, Circuit.from_effects(effects({})))
    assert content["links"] == [] == content["qParams"]["pinnedIds"]
    assert [node["clerp"] for node in content["nodes"]] == ["embed@h", "embed@r1", "embed@r2", ANSWER]


def test_positions_together_are_one(tmp_path: Path) -> None:
    graph = GRAPH.together
    chain = {"embed@all -> MLP0@all": 0.9, "MLP0@all -> L1H0.v@all": 0.5, "L1H0@all -> logits@all": 0.4}
    content = out(tmp_path, Circuit.from_effects(effects(chain, graph=graph)))
    assert set(links(content)) == {("embed@all", "MLP0@all"), ("MLP0@all", "L1H0@all"), ("L1H0@all", ANSWER)}
    assert content["metadata"]["prompt_tokens"] == ["all"]


def test_words_and_the_models_name_may_be_given(tmp_path: Path) -> None:
    whole = Circuit.from_effects(effects(CHAIN))
    metadata = out(tmp_path, whole, prompt_tokens=["The", " cat", ""], scan="gpt2-small")["metadata"]
    assert metadata["prompt_tokens"] == ["The", " cat", ""] and metadata["prompt"] == "The cat"
    assert metadata["scan"] == "gpt2-small"
    assert out(tmp_path, whole, prompt_tokens=("a", "b", "c"))["metadata"]["prompt"] == "a b c"
    path = to_neuronpedia(Circuit(whole.table, whole.graph), tmp_path / "ä ö?.json")
    metadata = json.loads(path.read_text())["metadata"]
    assert breaches(json.loads(path.read_text())) == [] and metadata["slug"] == "-" and metadata["scan"] == "model"


def test_it_can_be_read_as_an_attribution_graph(tmp_path: Path) -> None:
    whole = Circuit.from_effects(effects(CHAIN))
    graph = from_circuit_tracer(to_neuronpedia(whole, tmp_path / "c.json", prompt_tokens=["a", "b", "c"]))
    assert list(graph.table.itertuples(index=False, name=None)) == [
        ("embed@0:a", "L0H0@1:b", 0.9),
        ("L0H0@1:b", "MLP0@1:b", 0.8),
        ("MLP0@1:b", "L1H0@2:c", 0.7),
        ("L1H0@2:c", "logit0@2:logits", -0.6),
    ]
    assert graph.nodes["kind"].value_counts().to_dict() == {"embedding": 3, "other": 3, "logit": 1}
    assert "L0H0@1:b" in graph.pinned


def test_hostile_names_are_texts(tmp_path: Path) -> None:
    content = out(tmp_path, circuit())
    assert content["metadata"]["prompt_tokens"] == list(HOSTILE) and content["nodes"][0]["clerp"] == f"embed@{HOSTILE[0]}"
    assert from_circuit_tracer(tmp_path / "graph.json").nodes["node"].is_unique


@pytest.mark.usefixtures("as_users_call")
def test_what_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    whole, path = Circuit.from_effects(effects(CHAIN)), tmp_path / "c.json"
    with pytest.raises(ValueError) as caught:
        to_neuronpedia(whole, path, kept_only="no", prompt_tokens=["a", 3], scan="a b")  # pyright: ignore
    for part in (
        "kept_only is 'no', needed is True or False",
        "scan is 'a b', Neuronpedia takes letters, digits, and the signs _ . - only",
        "prompt_tokens are words, got 3",
        "prompt_tokens are 2 words ('a', 3), needed is one for each of h, r1, r2",
    ):
        assert part in str(caught.value)
    graph = from_circuit_tracer(written(tmp_path / "theirs.json", by_circuit_tracer()))
    with pytest.raises(ValueError, match=r"prompt_tokens is for circuits, .* its own; scan is for circuits"):
        to_neuronpedia(graph, path, prompt_tokens=["a"], scan="b")
    with pytest.raises(ValueError, match=r"graph is a DataFrame, needed is a FeatureGraph or a Circuit"):
        to_neuronpedia(whole.table, path)  # pyright: ignore
    assert not path.exists()
