import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from planted import CHAIN, GRAPH, LOOSE_ENDS, effects

from grokscope.circuits import Circuit, ComputationGraph, from_eap_ig, to_eap_ig


def theirs(path: Path, n_layers: int = 2, n_heads: int = 2) -> dict:
    """A file as EAP-IG writes it, with every edge of its graph."""
    rng, senders, edges = np.random.default_rng(0), ["input"], {}
    for layer in range(n_layers):
        heads = [f"a{layer}.h{head}" for head in range(n_heads)]
        for sender in senders:
            edges |= {f"{sender}->{head}<{kind}>": rng.normal() for head in heads for kind in "qkv"}
        edges |= {f"{sender}->m{layer}": rng.normal() for sender in (*senders, *heads)}
        senders += [*heads, f"m{layer}"]
    edges |= {f"{sender}->logits": rng.normal() for sender in senders}
    content = {
        "cfg": {"n_layers": n_layers, "n_heads": n_heads, "parallel_attn_mlp": False, "d_model": 16},
        "nodes": {name: {"in_graph": True} for name in (*senders, "logits")},
        "edges": {name: {"score": score, "in_graph": bool(rng.random() < 0.5)} for name, score in edges.items()},
    }
    path.write_text(json.dumps(content))
    return content


def test_their_file_comes_back_without_losing_an_edge(tmp_path: Path) -> None:
    content = theirs(tmp_path / "theirs.json")
    circuit = from_eap_ig(tmp_path / "theirs.json", roles=("h", "r1", "r2"), answer_role="r2")
    again = json.loads(to_eap_ig(circuit, tmp_path / "ours.json", d_model=16).read_text())
    assert again["cfg"] == content["cfg"] and again["edges"].keys() == content["edges"].keys()
    for name, edge in content["edges"].items():
        assert again["edges"][name]["score"] == pytest.approx(edge["score"])
        assert again["edges"][name]["in_graph"] == edge["in_graph"]
    assert again["nodes"].keys() == content["nodes"].keys()


def test_ours_goes_out_with_positions_summed_and_back(tmp_path: Path) -> None:
    circuit = Circuit.from_effects(effects(CHAIN | LOOSE_ENDS))
    path = to_eap_ig(circuit, tmp_path / "ours.json", d_model=8)
    edges = json.loads(path.read_text())["edges"]
    assert edges["a0.h0->m0"] == {"score": 0.8, "in_graph": True} and edges["input->a0.h0<v>"]["in_graph"]
    assert edges["m0->m1"] == {"score": 0.95, "in_graph": False}
    back = from_eap_ig(path, roles=GRAPH.roles, answer_role="r2", n_blocks=1)
    assert back.graph == GRAPH and len(back.table) == len(GRAPH.edges)
    sums = [table.table.groupby(_component(table))["effect"].sum() for table in (circuit, back)]
    np.testing.assert_allclose(sums[0], sums[1].loc[sums[0].index], atol=1e-12)
    again = json.loads(to_eap_ig(back, tmp_path / "again.json", d_model=8).read_text())["edges"]
    assert again.keys() == edges.keys()
    assert {name: edge["in_graph"] for name, edge in again.items()} == {n: edge["in_graph"] for n, edge in edges.items()}
    assert [again[name]["score"] for name in edges] == pytest.approx([edge["score"] for edge in edges.values()], abs=1e-12)


def _component(circuit: Circuit) -> list[str]:
    strip = circuit.table["sender"].str.partition("@")[0] + ">" + circuit.table["receiver"].str.partition("@")[0]
    return strip.tolist()


ROLES = ("h", "r1", "r2")


def read(path: Path, content: object, **settings: object) -> Circuit:
    path.write_text(json.dumps(content))
    return from_eap_ig(path, roles=ROLES, answer_role="r2", **settings)


def without_mlps(content: dict) -> dict:
    nodes = {name: node for name, node in content["nodes"].items() if not name.startswith("m")}
    edges = {name: edge for name, edge in content["edges"].items() if "m" not in name}
    return {**content, "nodes": nodes, "edges": edges}


def silent_mlps(content: dict) -> dict:
    """As EAP-IG writes an attention-only model, for which it has MLPs all the same."""
    nothing = {"score": 0.0, "in_graph": False}
    return {**content, "edges": {name: nothing if "m" in name else edge for name, edge in content["edges"].items()}}


def test_an_attention_only_circuit_comes_back_without_mlps(tmp_path: Path) -> None:
    graph = ComputationGraph.transformer(ROLES, "r2", n_layers=2, n_heads=2, n_blocks=2, has_mlp=False)
    sizes = {str(edge): 0.5 + number for number, edge in enumerate(graph.edges)}
    for circuit in (
        Circuit.from_effects(effects(sizes, graph=graph)),
        Circuit.from_effects(effects(sizes, graph=graph), edges=[]),
    ):
        path = to_eap_ig(circuit, tmp_path / "ours.json", d_model=16)
        back = from_eap_ig(path, roles=ROLES, answer_role="r2")
        assert (
            back.graph == graph and len(back.table) == len(graph.edges) and len(back.kept_edges) == len(circuit.kept_edges)
        )
        theirs_of_it = json.loads(path.read_text())
        del theirs_of_it["cfg"]["attn_only"]
        assert read(tmp_path / "theirs.json", theirs_of_it).graph == graph


def test_whether_a_file_is_of_a_model_with_mlps(tmp_path: Path) -> None:
    path, content = tmp_path / "c.json", theirs(tmp_path / "c.json")
    assert read(path, content).graph.has_mlp and not read(path, without_mlps(content)).graph.has_mlp
    assert (
        not read(path, silent_mlps(content)).graph.has_mlp and read(path, silent_mlps(content), has_mlp=True).graph.has_mlp
    )
    kept_only = without_mlps(content)
    kept_only["nodes"].pop("a1.h0")  # as is the head, MLPs may have been left out
    kept_only["edges"] = {name: edge for name, edge in kept_only["edges"].items() if "a1.h0" not in name}
    assert read(path, kept_only).graph.has_mlp and not read(path, kept_only, has_mlp=False).graph.has_mlp
    all_zero = {name: {"score": 0.0, "in_graph": False} for name in content["edges"]}
    assert read(path, {**content, "edges": all_zero}).graph.has_mlp  # says nothing
    parallel = {**without_mlps(content), "cfg": {**content["cfg"], "parallel_attn_mlp": True}}
    assert not read(path, parallel).graph.has_mlp  # nothing to be parallel to


def test_what_a_file_need_not_say(tmp_path: Path) -> None:
    content = theirs(tmp_path / "c.json")
    content["edges"]["input->m0"]["score"] = None
    content["edges"]["input->logits"]["score"] = float("nan")
    content["cfg"] |= {"n_key_value_heads": 1, "act_fn": "gelu"}
    content["nodes"]["m0"] |= {"score": float("nan"), "neurons": [True, True], "neurons_scores": [float("nan"), 1.0]}
    content["edges"]["input->m1"] = {"score": 1, "in_graph": 1}
    circuit = read(tmp_path / "c.json", content)
    nan = circuit.table[circuit.table["effect"].isna()]
    assert set(nan["receiver"].str.partition("@")[0]) == {"MLP0", "logits"} and set(nan["sender"].str.partition("@")[0]) == {
        "embed"
    }
    assert circuit.table[circuit.table["receiver"] == "MLP1@r2"]["kept"].iloc[0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c.pop("cfg"), "cfg: field required"),
        (lambda c: (c.pop("nodes"), c.pop("edges")), "nodes: field required; edges: field required"),
        (lambda c: c["cfg"].pop("n_heads"), "n_heads"),
        (lambda c: c["cfg"].update(n_layers=2.5), r"cfg.n_layers: .* valid integer.*got 2.5"),
        (lambda c: c["cfg"].update(n_layers=True), r"cfg.n_layers: .* valid integer, got True"),
        (lambda c: c["cfg"].update(n_heads=0), r"cfg.n_heads: .* greater than or equal to 1, got 0"),
        (lambda c: c["cfg"].update(n_heads=1), "edges that are not in its graph"),
        (lambda c: c["edges"]["m0->m1"].update(score="0.5"), r"edges.m0->m1.score: .* valid number, got '0.5'"),
        (lambda c: c["edges"]["m0->m1"].update(in_graph="false"), r"edges.m0->m1.in_graph: .* valid boolean, got 'false'"),
        (lambda c: c["edges"]["m0->m1"].pop("in_graph"), "in_graph"),
        (lambda c: c["edges"].update({"m0->m1": 0.5}), "no circuit"),
        (lambda c: c["edges"].update({"resid_pre->m1": {"score": 1.0, "in_graph": True}}), "not in its graph"),
        (lambda c: c.update(nodes=[]), "no circuit"),
        (lambda c: c["nodes"]["m0"].update(neurons=[True, False]), "of m0 it keeps some neurons only"),
        (lambda c: c["cfg"].update(attn_only=True), "is said to have no MLP, but"),
    ],
)
def test_a_damaged_file_is_refused_by_name(damage: Callable, message: str, tmp_path: Path) -> None:
    content = theirs(tmp_path / "damaged.json")
    damage(content)
    with pytest.raises(ValueError, match=rf"damaged.json .*{message}"):
        read(tmp_path / "damaged.json", content)


@pytest.mark.parametrize("effect", [float("nan"), float("inf"), float("-inf")])
def test_no_number_is_written_as_zero_and_an_attention_only_model_gets_empty_mlps(effect: float, tmp_path: Path) -> None:
    graph = ComputationGraph.transformer(("h", "r1"), "r1", n_layers=1, n_heads=1, n_blocks=1, has_mlp=False)
    circuit = Circuit.from_effects(effects({"embed@r1 -> L0H0.v@r1": effect}, graph=graph))
    edges = json.loads(to_eap_ig(circuit, tmp_path / "c.json", d_model=4).read_text())["edges"]
    assert edges["input->a0.h0<v>"]["score"] == 0.0 and edges["input->m0"] == {"score": 0.0, "in_graph": False}


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"bad.json is no circuit as EAP-IG writes it"):
        from_eap_ig(path, roles=("h", "r1"), answer_role="r1")
    content = theirs(path)
    content["edges"]["a7.h0->logits"] = {"score": 1.0, "in_graph": True}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"has 1 edges that are not in its graph, such as a7.h0->logits"):
        from_eap_ig(path, roles=("h", "r1"), answer_role="r1")
    content["cfg"]["parallel_attn_mlp"] = True
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="work in parallel"):
        from_eap_ig(path, roles=("h", "r1"), answer_role="r1")
