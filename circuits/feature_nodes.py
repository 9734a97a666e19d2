"""A node of an attribution graph as a file holds it, as a row of `FeatureGraph.nodes`, and its name: `L3F1234@5:word`."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

SHORT = {"cross layer transcoder": "F", "unexplored node": "F", "mlp reconstruction error": "error"}
"""How types are called in names; others are called as they are."""
UNKNOWN = "unknown"
OTHERS = {"bias", UNKNOWN}
"""Types of nodes of which Neuronpedia's pages look up no feature."""
NUMBERS = {"activation": "activation", "influence": "influence", "probability": "token_prob"}
"""Columns of numbers that a node need not have, and their keys."""
NO_LAYER = "E"
LONGEST_WORD = 24  # characters of a token in a name
_ID = re.compile(r"(?P<layer>E|[0-9]{1,9})_(?P<index>[0-9]{1,18})_(?P<position>[0-9]{1,9})")
_PREDICTED = re.compile(r"[\"'](.*)[\"'] \(p=", re.DOTALL)


def paired(layer: int, index: int) -> int:
    """Cantor's pairing of a layer and an index, by which circuit-tracer numbers features.

    >>> paired(3, 234), unpaired(28437)
    (28437, (3, 234))
    """
    return (layer + index) * (layer + index + 1) // 2 + index


def unpaired(number: int) -> tuple[int, int]:
    """Layer and index of a number from 0 that `paired` gave."""
    total = (math.isqrt(8 * number + 1) - 1) // 2
    index = number - total * (total + 1) // 2
    return total - index, index


def kind_of(kind: str) -> str:
    """The kind of a node of some `feature_type`; what is called nothing else is a feature, as on Neuronpedia's pages.

    >>> [kind_of(each) for each in ("logit", "lorsa", "lorsa error", "bias")]
    ['logit', 'feature', 'error', 'other']
    """
    if kind in ("embedding", "logit"):
        return kind
    if "error" in kind:
        return "error"
    return "other" if kind in OTHERS else "feature"


def layer_of(entry: Mapping[str, Any]) -> int | None:
    """The layer of a node of a file, −1 for an embedding; None if it is no number."""
    if entry["feature_type"] == "embedding":
        return -1
    layer = str(entry["layer"])
    return int(layer) if re.fullmatch("[0-9]{1,9}", layer) else None


ROW = ("kind", "layer", "index", "position", "token", "label", *NUMBERS, "type", "id")
"""The columns of a row, in order, but for its name."""


def row_of(entry: Mapping[str, Any], prompt: Sequence[str]) -> dict[str, Any]:
    """A node of a file that was checked, as a row, see `ROW`."""
    kind, layer = kind_of(entry["feature_type"]), layer_of(entry)
    assert layer is not None
    numbers = {column: entry.get(key) for column, key in NUMBERS.items()}
    numbers["probability"] = numbers["probability"] if kind == "logit" else None
    return {
        "kind": kind,
        "layer": layer,
        "index": _index(entry, kind, layer),
        "position": entry["ctx_idx"],
        "token": prompt[entry["ctx_idx"]],
        "label": entry["clerp"],
        **{column: math.nan if number is None else float(number) for column, number in numbers.items()},
        "type": entry["feature_type"],
        "id": entry["node_id"],
    }


def entry_of(row: Mapping[str, Any], rest: Mapping[str, Any]) -> dict[str, Any]:
    """A row as a node of a file, and what else is known of it, which `rest_of` gave.

    Without that, features are numbered as circuit-tracer does.
    """
    layer, index = int(row["layer"]), int(row["index"])
    by_kind = {"embedding": int(row["position"]), "logit": index, "error": -1}
    entry = {
        "node_id": row["id"],
        "feature": by_kind.get(row["kind"], paired(layer, index) if min(layer, index) >= 0 else None),
        "layer": NO_LAYER if row["kind"] == "embedding" else str(layer),
        "ctx_idx": int(row["position"]),
        "feature_type": row["type"],
        "jsNodeId": row["id"],
        "clerp": row["label"],
    }
    numbers = {key: float(row[column]) for column, key in NUMBERS.items() if row[column] == row[column]}
    return {**entry, **rest, **numbers}


def rest_of(entry: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a node of a file its row does not say."""
    said = entry_of(row, {})
    return {key: value for key, value in entry.items() if key not in said or said[key] != value}


def name_of(row: Mapping[str, Any]) -> str:
    """A name without whitespace, made of what a node is and where."""
    index = f"{row['index']}" if row["index"] >= 0 else ""
    if row["kind"] == "embedding":
        return f"embed@{row['position']}:{word(row['token'])}"
    if row["kind"] == "logit":
        predicted = _PREDICTED.search(row["label"])
        return f"logit{index}@{row['position']}" + (f":{word(predicted[1])}" if predicted else "")
    kind = SHORT.get(row["type"]) or word(row["type"])
    called = f"L{row['layer']}{kind}{index}"
    if row["kind"] == "other" and (label := row["label"].partition("@")[0]):
        called = word(label)  # which says more, as of components
    return f"{called}@{row['position']}:{word(row['token'])}"


def all_different(names: Sequence[str]) -> list[str]:
    """The names, of which those that were there before end in #2, #3 and so on.

    >>> all_different(["a", "b", "a", "a"])
    ['a', 'b', 'a#2', 'a#3']
    """
    taken, last = set(names), dict.fromkeys(names, 0)
    found = []
    for name in names:
        last[name] += 1
        new = name
        while last[name] > 1 and new in taken:
            new = f"{name}#{last[name]}"
            last[name] += new in taken
        taken.add(new)
        found.append(new)
    return found


def word(token: str) -> str:
    r"""A token as a part of a name: without outer spaces, whitespace or signs that do not show.

    >>> word(" capital"), word("New York"), word("\n\n"), word(" ")
    ('capital', 'New_York', '\\n\\n', '_')
    """
    signs = (each if each.isprintable() else each.encode("unicode_escape").decode() for each in token.strip(" "))
    shown = "".join(signs).replace(" ", "_") or "_"
    return shown if len(shown) <= LONGEST_WORD else f"{shown[: LONGEST_WORD - 1]}…"


def _index(entry: Mapping[str, Any], kind: str, layer: int) -> int:
    """From the id, which says it in all versions of circuit-tracer; else from the number of the feature."""
    feature = entry["feature"]
    if kind == "error":
        return -1
    if kind == "logit":
        return -1 if feature is None else feature
    said, place = _ID.fullmatch(entry["node_id"]), (NO_LAYER if kind == "embedding" else str(layer), str(entry["ctx_idx"]))
    if said and (said["layer"], said["position"]) == place:
        return int(said["index"])
    if kind == "embedding" or feature is None or feature < 0:
        return -1
    of_layer, index = unpaired(feature)
    return index if of_layer == layer else feature
