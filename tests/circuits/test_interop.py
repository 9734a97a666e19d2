import json
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
    assert to_eap_ig(back, tmp_path / "again.json", d_model=8).read_text() != ""


def _component(circuit: Circuit) -> list[str]:
    strip = circuit.table["sender"].str.partition("@")[0] + ">" + circuit.table["receiver"].str.partition("@")[0]
    return strip.tolist()


def test_nan_is_written_as_zero_and_an_attention_only_model_gets_empty_mlps(tmp_path: Path) -> None:
    graph = ComputationGraph.transformer(("h", "r1"), "r1", n_layers=1, n_heads=1, n_blocks=1, has_mlp=False)
    circuit = Circuit.from_effects(effects({"embed@r1 -> L0H0.v@r1": float("nan")}, graph=graph))
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
