"""The writer of attribution graphs and circuits in Neuronpedia's graph JSON, which circuit-tracer's own page shows, too."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .arguments import flag_problems, name_problems, refuse, shortly
from .circuit import Circuit
from .columns import Columns
from .component_nodes import graph_of_components
from .destination import file_problems
from .feature_graph import LINKS, NODES, FeatureGraph
from .feature_nodes import NUMBERS, entry_of
from .writing import write_atomic

N_NAMED = 3  # examples in a message
REFUSED = r"[^A-Za-z0-9_.-]+"  # what Neuronpedia takes in no slug and no scan


def to_neuronpedia(
    graph: FeatureGraph | Circuit,
    path: str | Path,
    *,
    kept_only: bool = True,
    prompt_tokens: Sequence[str] | None = None,
    scan: str | None = None,
) -> Path:
    """Write an attribution graph, or a circuit, as Neuronpedia's graph JSON. Returns the path.

    A `FeatureGraph` that was read from a file is written as it was there. Of a circuit the nodes are the outputs of
    components at positions: embeddings, heads and MLPs (or what else its graph has) and the logits. An edge leads from its
    sender to each output that depends on the input it enters and that another edge written here reads (to all of them, if
    none is read): an edge into `L1H0.v@r1` is a link to `L1H0@r2`, where attention moves it. So links are connected as
    edges are, but one edge may be several links, each with its whole effect, and edges into a query, a key and a value that
    become one link are summed, which is not the effect of patching them together. The nodes of kept edges are pinned.
    Components are of the type "unknown", or pages would show the feature of the same number in their place.

    Neuronpedia's page shows graphs of two layers at least, and models it knows; circuit-tracer's page asks for prompts of
    two tokens at least. The logits of a circuit have no probability, which is why their label says `p=?`.

    Args:
        graph: what is written; of a circuit, effects that are no numbers are written as 0.
        path: of the file; its name is the slug of a circuit.
        kept_only: of a circuit, whether edges that are not kept are left out.
        prompt_tokens: of a circuit, a word for each position; its roles if not given.
        scan: of a circuit, what Neuronpedia calls the model; the model's name in its provenance if not given.

    Raises:
        ValueError: if a setting is of another kind, or given for a `FeatureGraph`, which says these things itself; if a
            `FeatureGraph` does not fit together.
    """
    problems = file_problems(path=path) + flag_problems(kept_only=kept_only) + _scan_problems(scan)
    problems += _graph_problems(graph, prompt_tokens, scan)
    refuse(problems)
    if isinstance(graph, FeatureGraph):
        content = _document(graph)
    else:
        name, model = Path(path).stem, graph.provenance.get("model") or "model"
        about = {"slug": re.sub(REFUSED, "-", name) or "circuit", "scan": scan or re.sub(REFUSED, "-", str(model))}
        content = graph_of_components(graph, about, kept_only=kept_only, tokens=prompt_tokens or graph.graph.roles)
    return write_atomic(Path(path), _as_json(content))


def _scan_problems(scan: Any) -> list[str]:
    problems = [] if scan is None else name_problems(scan=scan)
    if scan is not None and not problems and re.search(REFUSED, scan):
        problems = [f"scan is {shortly(scan)}, Neuronpedia takes letters, digits, and the signs _ . - only"]
    return problems


def _graph_problems(graph: Any, prompt_tokens: Any, scan: Any) -> list[str]:
    if isinstance(graph, FeatureGraph):
        given = {"prompt_tokens": prompt_tokens, "scan": scan}
        problems = [
            f"{name} is for circuits, a FeatureGraph has its own" for name, each in given.items() if each is not None
        ]
        return problems + _misfits(graph)
    if not isinstance(graph, Circuit):
        return [f"graph is {shortly(graph)}, needed is a FeatureGraph or a Circuit"]
    return [] if prompt_tokens is None else _token_problems(prompt_tokens, graph.graph.roles)


def _token_problems(tokens: Any, roles: Sequence[str]) -> list[str]:
    if isinstance(tokens, str) or not isinstance(tokens, Sequence):
        return [f"prompt_tokens is {shortly(tokens)}, needed are {len(roles)} words, as in prompt_tokens={list(roles)}"]
    problems = [f"prompt_tokens are words, got {shortly(each)}" for each in tokens if not isinstance(each, str)]
    if len(tokens) != len(roles):
        got = ", ".join(map(shortly, tokens[:3]))
        problems.append(f"prompt_tokens are {len(tokens)} words ({got}), needed is one for each of {', '.join(roles)}")
    return problems


def _misfits(graph: FeatureGraph) -> list[str]:
    """Why a graph, which may have been changed, cannot be written."""
    tables = {"table": (graph.table, LINKS), "nodes": (graph.nodes, NODES)}
    problems = [f"{name}: {each}" for name, (table, columns) in tables.items() for each in columns.problems(table)]
    problems += [f"{name}: {each}" for name, (table, columns) in tables.items() for each in _missing(table, columns)]
    texts = ("slug", "scan", "prompt")
    problems += [f"about lacks {name}, a text" for name in texts if not isinstance(graph.about.get(name), str)]
    of_nodes = graph.rest.get("nodes", {})
    if not isinstance(of_nodes, Mapping) or not all(isinstance(each, Mapping) for each in of_nodes.values()):
        problems.append("rest['nodes'] is no mapping of names to mappings")
    return problems or _loose_ends(graph)


def _missing(table: pd.DataFrame, columns: Columns) -> list[str]:
    """Columns in which a value is missing, or a number is infinite, which JSON does not know."""
    held = {name: kind for name, kind in columns.kinds if name in table}
    needed = [name for name, kind in held.items() if kind is not float or name == "effect"]
    numbers = [name for name, kind in held.items() if kind is float]
    found = [f"the column {name!r} has rows without a value" for name in needed if table[name].isna().any()]
    return found + [f"the column {name!r} holds an infinite number" for name in numbers if _has_infinite(table[name])]


def _has_infinite(column: pd.Series) -> bool:
    return bool(np.isinf(pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)).any())


def _loose_ends(graph: FeatureGraph) -> list[str]:
    """Names and ids that are of several nodes, or of none, and places that are not there."""
    if not len(graph.nodes):
        return [f"no node is called {shortly(graph.table['sender'].iloc[0])}"] if len(graph.table) else []
    nodes, links = graph.nodes, graph.table.reindex(columns=["sender", "receiver"])
    ends = pd.unique(links.to_numpy(dtype=object).reshape(-1))
    names = set(nodes["node"])
    unknown = [each for each in ends if each not in names]
    problems = [f"nodes: {name} is not different in each row" for name in ("node", "id") if nodes[name].duplicated().any()]
    problems += [f"no node is called {', '.join(map(shortly, unknown[:N_NAMED]))}"] if unknown else []
    if not nodes["position"].between(0, len(graph.prompt) - 1).all():
        problems.append(f"nodes: a position is not in the prompt, which has {len(graph.prompt)} tokens")
    if (nodes.loc[nodes["kind"] != "embedding", "layer"] < 0).any():
        problems.append("nodes: a layer is below 0, and not of an embedding")
    return problems


def _document(graph: FeatureGraph) -> dict[str, Any]:
    of_nodes: Mapping[str, Mapping[str, Any]] = graph.rest.get("nodes", {})
    nodes = graph.nodes.astype(dict.fromkeys(NUMBERS, float)) if len(graph.nodes) else graph.nodes
    rows: list[dict[Any, Any]] = nodes.to_dict("records")
    ids = {row["node"]: row["id"] for row in rows}
    links = graph.table.reindex(columns=["sender", "receiver", "effect"]).itertuples(index=False, name=None)
    return {
        **graph.rest,
        "metadata": {**graph.about, "prompt_tokens": list(graph.prompt)},
        "qParams": dict(graph.view),
        "nodes": [entry_of(row, of_nodes.get(row["node"], {})) for row in rows],
        "links": [{"source": ids[a], "target": ids[b], "weight": float(effect)} for a, b, effect in links],
    }


def _as_json(content: Mapping[str, Any]) -> str:
    try:
        return json.dumps(content, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"about, view and rest of a graph are written as JSON, which this is not: {error}") from error
