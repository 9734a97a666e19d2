"""A circuit as a graph of nodes and links in Neuronpedia's form: components at positions, and what each adds to another."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .circuit import Circuit, has_number
from .documents import own_version
from .feature_nodes import NO_LAYER, UNKNOWN, paired
from .graph import ComputationGraph
from .node import Edge, Node

Link = tuple[Node, Node]


def graph_of_components(
    circuit: Circuit, about: Mapping[str, str], *, kept_only: bool, tokens: Sequence[str]
) -> dict[str, Any]:
    """The content of a file, see `circuits.to_neuronpedia`.

    Args:
        circuit: see there.
        about: slug and scan.
        kept_only: whether edges that are not kept are left out.
        tokens: a word for each position.
    """
    graph, kept = circuit.graph, circuit.kept_edges
    edges = kept if kept_only else circuit.measured_edges
    effects = circuit.table["effect"].where(has_number(circuit.table["effect"]), 0.0)
    effect_of = dict(zip(circuit.measured_edges, map(float, effects), strict=True))
    weights: dict[Link, float] = {}
    for edge, link in links_of(graph, edges):
        weights[link] = weights.get(link, 0.0) + effect_of[edge]
    entries = _entries(graph, weights)
    pinned = {node for _, link in links_of(graph, kept) for node in link}
    return {
        "metadata": {**about, **_metadata(circuit, tokens)},
        "qParams": {
            "pinnedIds": [entry["node_id"] for node, entry in entries.items() if node in pinned],
            **{"supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
        },
        "nodes": list(entries.values()),
        "links": [
            {"source": entries[sender]["node_id"], "target": entries[target]["node_id"], "weight": weight}
            for (sender, target), weight in weights.items()
        ],
    }


def links_of(graph: ComputationGraph, edges: Iterable[Edge]) -> list[tuple[Edge, Link]]:
    """Each edge with each output that its input changes and another of the edges reads; all outputs, if none is read.

    An edge into the last step leads to the answer.
    """
    edges = list(edges)
    read = {edge.sender for edge in edges}
    found = []
    for edge in edges:
        outputs = graph.outputs_of(edge.receiver) or (edge.receiver,)
        found += [(edge, (edge.sender, node)) for node in [each for each in outputs if each in read] or outputs]
    return found


def _metadata(circuit: Circuit, tokens: Sequence[str]) -> dict[str, Any]:
    between = "" if any(map(_has_space, tokens)) else " "
    generator = {"name": "grokscope", "version": own_version()}
    return {
        "transcoder_list": [],
        "prompt_tokens": list(tokens),
        "prompt": between.join(tokens),
        "schema_version": 1,  # features are numbered by pairs of layer and index
        "info": {"description": circuit.caption, "generator": generator},
    }


def _has_space(token: str) -> bool:
    return any(map(str.isspace, token))


def _entries(graph: ComputationGraph, links: Iterable[Link]) -> dict[Node, dict[str, Any]]:
    """What computations start from, what links join, and the answer, from below."""
    joined = {node for link in links for node in link} | graph.sources | {graph.answer}
    numbers = _numbers(graph)
    place = {role: number for number, role in enumerate(graph.roles)}
    in_order = sorted(joined, key=lambda node: (graph.number_of(node), place[node.role], node.index))
    return {node: _entry(graph, node, numbers[node._replace(role="", input="")], place[node.role]) for node in in_order}


def _numbers(graph: ComputationGraph) -> dict[Node, int]:
    """The number of each component among those of its layer, in the order of the steps."""
    found: dict[Node, int] = {}
    in_layer: Counter[int] = Counter()
    for step in graph.steps:
        for index in step.indices:
            found[Node(step.kind, "", step.layer, index)] = in_layer[step.layer]
            in_layer[step.layer] += 1
    return found


def _entry(graph: ComputationGraph, node: Node, number: int, position: int) -> dict[str, Any]:
    layer, feature, kind, label = str(node.layer), paired(max(node.layer, 0), number), UNKNOWN, str(node)
    if node in graph.sources:
        layer, feature, kind = NO_LAYER, position + number * len(graph.roles), "embedding"
    if node == graph.answer:  # the pages look for a probability in the label
        layer, number, feature, kind, label = str(graph.n_layers + 1), 0, 0, "logit", f'Output "{node.component}" (p=?)'
    name = f"{layer}_{number}_{position}"
    return {
        "node_id": name,
        "feature": feature,
        "layer": layer,
        "ctx_idx": position,
        "feature_type": kind,
        "is_target_logit": kind == "logit",
        "jsNodeId": name,
        "clerp": label,
        "influence": None,
        "activation": None,
    }
