"""Circuits in the JSON of EAP-IG and the MIB benchmark, so that they travel both ways.

Their graphs (Hanna et al. 2024, arXiv 2403.17806; code `Graph.to_json`) know components, not positions: `input->a0.h1<q>`,
`a0.h1->m0`, `m0->logits`. On the way out the effects of an edge at all positions are summed, which is not the effect of
patching them together; on the way in a score is spread evenly over the positions, so that going out again gives the same.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .circuit import Circuit
from .graph import ComputationGraph
from .node import Edge, Node
from .result import write_text


def to_eap_ig(circuit: Circuit, path: str | Path, *, d_model: int) -> Path:
    """Write a circuit as EAP-IG's and MIB's JSON; positions are summed. Returns the path.

    Args:
        circuit: NaN effects are written as 0.
        path: of the file.
        d_model: of the model, which their graphs ask for.

    Raises:
        ValueError: if the circuit is not a transformer's, since their names are only for attention heads and MLPs.
    """
    graph = circuit.graph
    if not graph.is_transformer:
        kinds = ", ".join(dict.fromkeys(step.kind for step in graph.steps))
        raise ValueError(f"EAP-IG's format can hold a transformer's circuit (embed, head, mlp, logits) only, got {kinds}")
    score: dict[str, float] = {}
    in_graph: set[str] = set()
    for edge, effect, kept in zip(circuit.measured_edges, circuit.table["effect"], circuit.table["kept"], strict=True):
        name = _edge_name(edge)
        score[name] = score.get(name, 0.0) + (float(effect) if effect == effect else 0.0)
        in_graph |= {name} if kept else set()
    edges = {name: {"score": score.get(name, 0.0), "in_graph": name in in_graph} for name in _all_edges(graph)}
    ends = {end for name in in_graph for end in (name.split("->")[0], name.split("->")[1].partition("<")[0])}
    nodes = {name: {"in_graph": name in ends or name == "logits"} for name in _all_nodes(graph)}
    sizes = {"n_layers": graph.n_layers, "n_heads": graph.n_heads, "parallel_attn_mlp": False, "d_model": d_model}
    return write_text(Path(path), json.dumps({"cfg": sizes, "nodes": nodes, "edges": edges}))


def from_eap_ig(
    path: str | Path, *, roles: Sequence[str], answer_role: str, n_blocks: int | None = None, causal: bool = True
) -> Circuit:
    """Read EAP-IG's and MIB's JSON; each score is spread evenly over the positions.

    Args:
        path: of the file.
        roles: of the positions, two at least, which the file does not know.
        answer_role: where the answer is read.
        n_blocks: layers with distinct weights; all, if not given.
        causal: whether a position sees only itself and earlier ones.

    Raises:
        ValueError: if the file is no such JSON, or has edges that are not in its graph.
    """
    try:
        content: Mapping[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        sizes, edges = content["cfg"], content["edges"]
        if sizes.get("parallel_attn_mlp"):
            raise ValueError("its attention and MLPs work in parallel, which circuits here do not know")
        n_layers, n_heads = int(sizes["n_layers"]), int(sizes["n_heads"])
        scores = {name: (float(edge["score"]), bool(edge["in_graph"])) for name, edge in edges.items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is no circuit as EAP-IG writes it: {error!r}") from error
    blocks = n_layers if n_blocks is None else n_blocks
    graph = ComputationGraph.transformer(tuple(roles), answer_role, n_layers, n_heads, blocks, causal)
    places: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        places.setdefault(_edge_name(edge), []).append(edge)
    if unknown := sorted(scores.keys() - places.keys()):
        raise ValueError(f"{path} has {len(unknown)} edges that are not in its graph, such as {', '.join(unknown[:3])}")
    rows = [
        {"sender": str(edge.sender), "receiver": str(edge.receiver), "effect": score / len(places[name]), "kept": kept}
        for name, (score, kept) in scores.items()
        for edge in places[name]
    ]
    nothing = {"stderr": float("nan"), "n": 0, "gap": float("nan")}
    table = pd.DataFrame(rows).assign(**nothing)[["sender", "receiver", "effect", "stderr", "n", "gap", "kept"]]
    return Circuit(
        table, graph, {"model": Path(path).stem, "metric": "unknown", "contrast": "unknown", "kept": "as in the file"}
    )


def _node_name(node: Node) -> str:
    if node.kind == "head":
        return f"a{node.layer}.h{node.head}"
    return {"embed": "input", "mlp": f"m{node.layer}"}.get(node.kind, "logits")


def _edge_name(edge: Edge) -> str:
    kind = f"<{edge.receiver.input}>" if edge.receiver.input else ""
    return f"{_node_name(edge.sender)}->{_node_name(edge.receiver)}{kind}"


def _all_nodes(graph: ComputationGraph) -> list[str]:
    names = ["input"]
    for layer in range(graph.n_layers):
        names += [f"a{layer}.h{head}" for head in range(graph.n_heads)] + [f"m{layer}"]
    return [*names, "logits"]


def _all_edges(graph: ComputationGraph) -> list[str]:
    """Every edge of their graph of these sizes; theirs always has MLPs."""
    senders, names = ["input"], []
    for layer in range(graph.n_layers):
        heads = [f"a{layer}.h{head}" for head in range(graph.n_heads)]
        names += [f"{sender}->{head}<{kind}>" for sender in senders for head in heads for kind in "qkv"]
        names += [f"{sender}->m{layer}" for sender in (*senders, *heads)]
        senders += [*heads, f"m{layer}"]
    return [*names, *(f"{sender}->logits" for sender in senders)]
