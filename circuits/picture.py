"""What a diagram draws of a graph: columns of positions, rows of steps, and the nodes that stand in them.

Where they go on the screen is said in `layout`, from this alone; the page's script does the same (assets/diagram/layout.js).
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from .graph import ComputationGraph
from .kinds import KINDS, css_name
from .merged import weights_of
from .node import Node

LETTER, AROUND = 7.6, 12.0  # pixels of a letter of a label, and of the space at its sides


class Row(NamedTuple):
    """A step: what stands at its left, which rows share that, and how many components are side by side."""

    text: str
    layer: int
    n: int
    parts: str  # what the components are, in the plural: `heads`


class Place(NamedTuple):
    """A node's name and label, its column, its row, its place among those side by side, and its box's width in pixels."""

    name: str
    label: str
    column: int
    row: int
    slot: int
    width: float


class Look(NamedTuple):
    """How edges into one kind of input are drawn: CSS name, text of the legend, which side they take, where they arrive."""

    name: str
    label: str
    bulge: float
    port: float


class Entry(NamedTuple):
    """An input: its name, the number of its look, and the node that it belongs to."""

    name: str
    look: int
    node: int


class Picture(NamedTuple):
    """Columns by role, rows from the first step upwards, nodes in the order of computation, inputs, and all looks."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    nodes: tuple[Place, ...]
    inputs: tuple[Entry, ...]
    looks: tuple[Look, ...]


def looks() -> dict[tuple[str, str], Look]:
    """Of all inputs, by kind of node and name, in the order of `kinds.KINDS`."""
    inputs = ((kind, each) for kind, row in KINDS.items() for each in row.inputs)
    return {(kind, each.name): Look(css_name(each.name or kind), each.label, each.bulge, each.port) for kind, each in inputs}


def picture_of(graph: ComputationGraph, inputs: Iterable[Node]) -> Picture:
    """The picture of an unrolled graph."""
    return _picture(graph, nodes_of(graph), list(inputs), str, _texts(graph))


def merged_picture(graph: ComputationGraph, nodes: Iterable[Node], inputs: Iterable[Node]) -> Picture:
    """The picture of a graph by weights, from nodes and inputs of the first loop."""
    first = graph.first_loop()
    texts = [_row_text(step.kind, step.layer, "block", first.n_layers) for step in first.steps]
    return _picture(first, list(nodes), list(inputs), lambda node: f"{weights_of(node, graph)}@{node.role}", texts)


def nodes_of(graph: ComputationGraph) -> list[Node]:
    """Every node that can be drawn: step by step upwards, then one beside the other, then by position.

    Heads that share an input are all where it is read, since each carries it on from there.
    """
    place = {role: i for i, role in enumerate(graph.roles)}
    found = {*graph.senders, *map(graph.component_of, graph.receivers)}
    found |= {output._replace(role=each.role) for each in graph.receivers for output in graph.outputs_of(each)}
    return sorted(found, key=lambda node: (graph.number_of(node), node.index, place[node.role]))


def _picture(
    graph: ComputationGraph, nodes: Sequence[Node], inputs: Sequence[Node], name: Callable[[Node], str], texts: Sequence[str]
) -> Picture:
    column = {role: i for i, role in enumerate(graph.roles)}
    number = {node: i for i, node in enumerate(nodes)}
    rows = tuple(
        Row(text, step.layer, step.n, KINDS[step.kind].plural) for text, step in zip(texts, graph.steps, strict=True)
    )
    places = []
    for node in nodes:
        label = name(node).partition("@")[0]
        width = round(max(KINDS[node.kind].width, LETTER * len(label) + AROUND), 1)
        places.append(Place(name(node), label, column[node.role], graph.number_of(node), max(node.index, 0), width))
    known = looks()
    look = {key: i for i, key in enumerate(known)}
    entries = tuple(Entry(name(each), look[each.kind, each.input], number[graph.component_of(each)]) for each in inputs)
    return Picture(graph.roles, rows, tuple(places), entries, tuple(known.values()))


def _texts(graph: ComputationGraph) -> list[str]:
    """What stands at the left of each step."""
    by_loop = graph.n_loops > 1 and graph.n_blocks == 1
    texts = []
    for step in graph.steps:
        text = _row_text(step.kind, step.layer, "loop" if by_loop else "layer", 2)
        loop = graph.loop_of(Node(step.kind, "", step.layer)) if step.layer >= 0 and graph.n_loops > 1 else -1
        texts.append(f"{text}, loop {loop}" if loop >= 0 and not by_loop else text)
    return texts


def _row_text(kind: str, layer: int, word: str, n_layers: int) -> str:
    return kind if layer < 0 else f"{word} {layer}" if n_layers > 1 else word


def live_nodes(graph: ComputationGraph, edges: Collection[tuple[Node, Node]]) -> set[Node]:
    """The nodes that edges, given as sender and input, touch, and those to which what they feed is carried."""
    used = {sender for sender, _ in edges}
    found = used | {graph.component_of(receiver) for _, receiver in edges}
    for source, target in moves(graph, edges):
        found |= {source, target}
    return found


def moves(graph: ComputationGraph, edges: Iterable[tuple[Node, Node]]) -> list[tuple[Node, Node]]:
    """Where something is carried along between positions: from that of an input to that of an output.

    A pair (input, output) is listed if the edges feed a component at one position and use its output at another.
    """
    edges = list(edges)
    used = {sender for sender, _ in edges}
    found = {
        (output._replace(role=receiver.role), output): None
        for _, receiver in edges
        for output in graph.outputs_of(receiver)
        if output in used and output.role != receiver.role
    }
    return list(found)


def packed_picture(picture: Picture) -> dict[str, Any]:
    """The picture as JSON values, but for its looks, which pictures share."""
    rows, nodes, inputs = (list(map(list, each)) for each in (picture.rows, picture.nodes, picture.inputs))
    return {"columns": list(picture.columns), "rows": rows, "nodes": nodes, "inputs": inputs}
