"""The reader of attribution graphs in the JSON of circuit-tracer and Neuronpedia.

Sources of the format: Neuronpedia's JSON schema (hijohnnylin/neuronpedia, `apps/webapp/app/api/graph/graph-schema.json`,
commit 3c068b76) and what circuit-tracer writes (decoderesearch/circuit-tracer, `circuit_tracer/frontend/graph_models.py`,
commit 4bb8c0ea), nulls and lists saved as texts included.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .arguments import refuse, shortly
from .columns import Columns
from .destination import input_problems
from .documents import FileError, check_is_file, parsed, problems_of, read_text
from .feature_graph import LINKS, NODES, FeatureGraph
from .feature_nodes import ROW, all_different, layer_of, name_of, rest_of, row_of

MOST_BYTES = 2**27  # of a file; Neuronpedia takes 100 MiB
LARGEST = 2**63 - 1
N_NAMED = 3  # examples in a message
READ = ("metadata", "qParams", "nodes", "links")  # what stands in fields of its own


def from_circuit_tracer(path: str | Path) -> FeatureGraph:
    """Read an attribution graph from the JSON that circuit-tracer writes for its pages and Neuronpedia for download.

    Graphs of cross-layer and of per-layer transcoders are read, and those with attention features (lorsa). Keys that are not
    known here are kept, but for those of links. Lists that circuit-tracer's page saved as texts are lists again, and what is
    null in metadata or view is left out, as Neuronpedia asks. The graphs
    that circuit-tracer keeps for itself (`.pt`) are not read: its `create_graph_files` makes JSON of them.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: if there is none.
        FileError: a ValueError, if the file is no such JSON or too large, or if ids are those of several nodes, links lead
            to no node, layers are no numbers or positions beyond the prompt; it says all of them.
    """
    refuse(input_problems(path=path))
    found = _checked(Path(path))
    prompt, entries = tuple(found["metadata"]["prompt_tokens"]), found["nodes"]
    rows = [row_of(entry, prompt) for entry in entries]
    names = all_different([name_of(row) for row in rows])
    by_id = {row["id"]: name for row, name in zip(rows, names, strict=True)}
    links = [(by_id[link["source"]], by_id[link["target"]], float(link["weight"])) for link in found["links"]]
    rest = {name: rest_of(entry, row) for name, entry, row in zip(names, entries, rows, strict=True)}
    return FeatureGraph(
        _table(links, ["sender", "receiver", "effect"], LINKS),
        _table([(name, *row.values()) for name, row in zip(names, rows, strict=True)], ["node", *ROW], NODES),
        prompt,
        {key: value for key, value in found["metadata"].items() if key != "prompt_tokens" and value is not None},
        _as_lists(found["qParams"]),
        {"nodes": {name: more for name, more in rest.items() if more}}
        | {key: value for key, value in found.items() if key not in READ},
    )


def _table(rows: Sequence[tuple[Any, ...]], names: Sequence[str], columns: Columns) -> pd.DataFrame:
    """A table with the types of its columns, which one without rows has, too."""
    held: Mapping[str, type] = dict(columns.kinds)
    values = zip(*rows, strict=True) if rows else [()] * len(names)
    return pd.DataFrame({name: pd.Series(each, dtype=held[name]) for name, each in zip(names, values, strict=True)})


class _Part(BaseModel):
    """Other keys are left alone."""

    model_config = ConfigDict(strict=True, frozen=True)


def _ids(value: Any) -> Any:
    """Ids, which circuit-tracer's page saves with commas between them."""
    return [each for each in value.split(",") if each] if isinstance(value, str) else value


def _groups(value: Any) -> Any:
    """Lists of ids, which circuit-tracer's page saves as JSON in a text."""
    try:
        return json.loads(value or "[]") if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def _whole(text: str) -> str:
    if not text.isascii():
        text.encode()  # which raises a ValueError for halves of characters
    return text


Text = Annotated[str, AfterValidator(_whole)]
Ids = Annotated[Sequence[str] | None, BeforeValidator(_ids)]
Groups = Annotated[Sequence[Annotated[Sequence[str], Field(min_length=1)]] | None, BeforeValidator(_groups)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Metadata(_Part):
    slug: str
    scan: str
    prompt: str
    prompt_tokens: Sequence[Text]
    schema_version: int | None = None
    node_threshold: Number | None = None
    transcoder_list: Sequence[str] | None = None
    feature_details: Mapping[str, Any] | None = None
    info: Mapping[str, Any] | None = None
    generation_settings: Mapping[str, Any] | None = None
    pruning_settings: Mapping[str, Any] | None = None


class _View(_Part):
    pinnedIds: Ids = None
    supernodes: Groups = None
    linkType: str | None = None
    clickedId: str | None = None
    sg_pos: str | None = None


class _Node(_Part):
    node_id: Text
    feature: Annotated[int, Field(ge=-LARGEST, le=LARGEST)] | None
    layer: str | int
    ctx_idx: Annotated[int, Field(ge=0, le=LARGEST)]
    feature_type: Text
    jsNodeId: str
    clerp: Text
    influence: Number | None = None
    activation: Number | None = None
    token_prob: Number | None = None


class _Link(_Part):
    source: str
    target: str
    weight: Number


class _File(_Part):
    metadata: _Metadata
    qParams: _View
    nodes: Sequence[_Node]
    links: Sequence[_Link]


def _checked(path: Path) -> dict[str, Any]:
    """What a file holds, all of which fits together."""
    check_is_file(path)
    if (n_bytes := path.stat().st_size) > MOST_BYTES:
        raise FileError(f"{path} has {n_bytes:,} bytes, attribution graphs are read up to {MOST_BYTES:,}: prune it more")
    found = parsed(read_text(path), str(path))
    try:
        _File.model_validate(found)
    except ValidationError as error:
        problems = "; ".join(problems_of(error))
        raise FileError(f"{path} is no attribution graph as circuit-tracer writes it: {problems}") from error
    if problems := _misfits(found):
        raise FileError(f"{path} cannot be read as an attribution graph: {'; '.join(problems)}")
    return found


def _misfits(found: Mapping[str, Any]) -> list[str]:
    """What does not fit together, of each kind some."""
    nodes, n_tokens = found["nodes"], len(found["metadata"]["prompt_tokens"])
    times = Counter(node["node_id"] for node in nodes)
    ends = dict.fromkeys(link[end] for link in found["links"] for end in ("source", "target"))
    several = [f"{shortly(node)} ({n} nodes)" for node, n in times.items() if n > 1]
    no_layer = [f"{shortly(node['layer'])} of {shortly(node['node_id'])}" for node in nodes if layer_of(node) is None]
    beyond = [f"{node['ctx_idx']} of {shortly(node['node_id'])}" for node in nodes if node["ctx_idx"] >= n_tokens]
    return [
        *_some("ids of several nodes, so that links to them say too little (circuit-tracer once wrote such)", several),
        *_some("layers that are no numbers", no_layer),
        *_some(f"positions beyond the {n_tokens} tokens of the prompt", beyond),
        *_some("ends of links that are no nodes", [shortly(each) for each in ends if each not in times]),
    ]


def _some(what: str, wrong: Sequence[str]) -> list[str]:
    more = f" and {len(wrong) - N_NAMED:,} more" if len(wrong) > N_NAMED else ""
    return [f"{what}: {', '.join(wrong[:N_NAMED])}{more}"] if wrong else []


def _as_lists(view: Mapping[str, Any]) -> dict[str, Any]:
    """What was saved of a view, without what is null."""
    read = {"pinnedIds": _ids, "supernodes": _groups}
    return {key: read[key](value) if key in read else value for key, value in view.items() if value is not None}
