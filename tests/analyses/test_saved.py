"""What is saved is loaded: every registered kind of result, with whatever its fields may hold."""

import copy
import dataclasses
import json
import math
import pickle
import re
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import other_pairs, strong_model, wide_pairs
from same import assert_same

from grokscope import analyses, circuits, tasks
from grokscope.circuits import Circuit, ComputationGraph, Result
from grokscope.circuits.result import _KINDS

assert analyses and circuits and tasks  # which register all kinds
KINDS = {name: kind for name, kind in sorted(_KINDS.items()) if kind.__module__.startswith("grokscope.")}
nan, inf = math.nan, math.inf

WORDS = [
    "",
    "a",
    "null",
    "NaN",
    "1",
    "1.50",
    "<s>",
    "don't",
    'say "x"',
    "R&D",
    "\\n\n\t\0",
    "שלום",
    "🙂",
    "é e\u0301",
    "$",
    "\ud800",
]
FLOATS = [nan, inf, -inf, 0.0, -0.0, 5e-324, 0.1 + 0.2, 1e308]
VALUES: list[Any] = [
    None, True, False, 0, -1, 10**30, *FLOATS, 1 - 2j, complex(nan, -inf), *WORDS, [], (), {}, [()], ((), [None]),
    {"graph": 1}, {"table": {"a": 1}}, {"array": [1, 2]}, {"array": [1], "dtype": "int64"}, {"type": "Circuit"},
    {"$": "graph"}, {"$": {"$": None}}, {"\\$": "$"}, {1: "a", "1": "b", None: nan, 2.5: (), (1, "x"): []},
    {"fields": {}, "format": 1}, {"error": None, "relative_error": nan}, {1, 2}, frozenset({"a"}),
    np.float64(0.1), np.float32(nan), np.int8(-3), np.bool_(True), np.uint64(2**64 - 1), np.complex64(1j), np.str_("x"),
    pd.NA,
    np.zeros((0, 3)), np.zeros((3, 0), dtype="int8"), np.array(2.5), np.array([[inf, -inf], [nan, -0.0]], dtype="float32"),
    np.array([1.5], dtype="float16"), np.array([True]), np.array(["a", "bc"]),
    np.array([2**63], dtype="uint64"), np.array([complex(inf, nan)]),
    np.array([None, nan, "x", [1], (2,)], dtype=object), np.arange(6).reshape(2, 3).T,
]  # fmt: skip
COLUMNS: dict[Any, Any] = {
    "float": [nan, inf, -0.0],
    "int": [1, -2, 2**53 + 1],
    "int8": np.array([1, 2, 3], dtype="int8"),
    "bool": [True, False, True],
    "words": ["1", "nan", "<s>"],
    "missing word": ["a", None, "b"],
    "object": pd.Series([None, nan, "x"], dtype=object),
    "mixed": pd.Series([1, "1", (1.0, [None])], dtype=object),
    "tables": pd.Series([{"table": 1}, {2: 3}, {"$": 4}], dtype=object),
    "category": pd.Categorical(["b", None, "a"], categories=["b", "a", "c"], ordered=True),
    "numbers as category": pd.Categorical([2, 1, 2]),
    "Int64": pd.array([1, None, 2**60], dtype="Int64"),
    "Float64": pd.array([0.5, None, inf], dtype="Float64"),
    "boolean": pd.array([True, None, False], dtype="boolean"),
    "string": pd.array(["a", None, ""], dtype="string"),
    "complex": [1j, complex(nan, 1), 0j],
    "float32": np.array([0.1, nan, -inf], dtype="float32"),
    "$": ["$", "", "a$b$c"],
    7: [1, 2, 3],
    ("a", 1): [0.0, 1.0, 2.0],
}


def tables() -> list[pd.DataFrame]:
    """Of every dtype at once, of none, with other indices and attrs."""
    whole = pd.DataFrame({number: values for number, values in enumerate(COLUMNS.values())})
    whole.columns = pd.Index(list(COLUMNS), dtype=object, tupleize_cols=False)
    twice = pd.DataFrame([[1, "x"], [2, "y"]], columns=["a", "a"])
    named = pd.DataFrame({"x": [1.0, 2.0]}, index=pd.Index(["b", "b"], name=("key", 1))).rename_axis(columns="measure")
    noted = pd.DataFrame({"x": [1]})
    noted.attrs = {"graph": {"table": nan}, "units": ("nats", None), 3: [inf]}
    filtered = whole[[True, False, True]]
    return [
        whole,
        pd.DataFrame(),
        pd.DataFrame(index=[3, 1]),
        pd.DataFrame({"x": []}),
        whole.iloc[:0],
        twice,
        named,
        noted,
        filtered,
    ]


def graphs() -> list[ComputationGraph]:
    steps = (circuits.Step("embed"), circuits.Step("mlp", layer=0), circuits.Step("logits", reads=(1,)))
    return [
        ComputationGraph.transformer(("<s>", "שלום", "1", "don't🙂"), "1", n_layers=2, n_heads=1, n_blocks=1),
        ComputationGraph.transformer(("a", "b"), "b", n_layers=1, n_heads=2, n_blocks=1, causal=False, has_mlp=False),
        ComputationGraph(("x",), "x", steps),
    ]


def values_of(declared: Any) -> list[Any]:
    """Nasty values of a declared type.

    Raises:
        TypeError: for a type that this test has no values of: give it some.
    """
    if get_origin(declared) in (typing.Union, UnionType):
        return [value for part in get_args(declared) for value in values_of(part)]
    if get_origin(declared) is tuple:
        parts = [values_of(part) for part in get_args(declared) if part is not Ellipsis]
        return [tuple(part[number % len(part)] for part in parts) for number in range(max(map(len, parts)))]
    if get_origin(declared) is list:
        return [[], values_of(get_args(declared)[0])]
    if get_origin(declared) in (dict, Mapping, typing.Mapping):
        inner = values_of(get_args(declared)[1])
        names = [*WORDS, "graph", "table", "array", "type"]
        return [{}, *(dict(zip(names, inner[start:] * 20, strict=False)) for start in range(len(inner))[::9])]
    found: dict[Any, Callable[[], list[Any]]] = {
        pd.DataFrame: tables,
        ComputationGraph: graphs,
        np.ndarray: lambda: [value for value in VALUES if isinstance(value, np.ndarray)],
        str: lambda: WORDS,
        int: lambda: [0, -1, 10**30],
        float: lambda: FLOATS,
        bool: lambda: [True, False],
        type(None): lambda: [None],
        Any: lambda: VALUES,
    }
    if declared not in found:
        raise TypeError(f"no values of the type {declared}: say here what it may hold")
    return found[declared]()


def instances(kind: type[Result]) -> list[Result]:
    """As many as its field with most values has values; the others go round."""
    types = typing.get_type_hints(kind)
    pools = {field.name: values_of(types[field.name]) for field in dataclasses.fields(kind)}
    rows = range(max(map(len, pools.values())))
    settings = [{name: pool[row % len(pool)] for name, pool in pools.items()} for row in rows]
    return [kind(**(_circuit(row) if kind is Circuit else {}) | setting) for row, setting in enumerate(_for(kind, settings))]


def _for(kind: type[Result], settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A circuit's table must be of its graph, so that one is given below."""
    fixed = ("table", "graph") if kind is Circuit else ()
    return [{name: value for name, value in setting.items() if name not in fixed} for setting in settings]


def _circuit(row: int) -> dict[str, Any]:
    graph = graphs()[row % 3]
    names = [(str(edge.sender), str(edge.receiver)) for edge in graph.edges][: None if row % 2 else 0]
    table = pd.DataFrame(names, columns=["sender", "receiver"])
    number = FLOATS[row % len(FLOATS)]
    return {"graph": graph, "table": table.assign(effect=number, stderr=-number, n=row, gap=number, kept=bool(row % 3))}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_loaded_as_it_was_saved(name: str, tmp_path: Path) -> None:
    results, path = instances(KINDS[name]), tmp_path / "result.json"
    for result in results:
        assert result.save(path) == path
        json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        for again in (Result.load(path), copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
            assert_same(result, again, name)
        assert KINDS[name].load(path).to_json() == result.to_json()
    assert shown(results[-1]) == shown(Result.load(path))


def shown(result: Any) -> list[str]:
    """What it prints, shows and draws, or why it cannot."""
    ways = [repr, lambda r: r.caption, lambda r: r._repr_html_(), lambda r: r.to_frame().to_html()]
    found = []
    for way in [*ways, lambda r: getattr(r.figure(), "to_json", r.figure()._repr_html_)()]:
        try:
            found.append(re.sub(r'grokscope-[0-9a-f]{8}|[0-9a-f]{32}|id="[^"]*"', "", way(result)))
        except Exception as error:  # whatever it is, of one saved and loaded it must be the same
            found.append(repr(error))
    return found


def test_results_of_measurements_are_shown_and_drawn_as_before_they_were_saved() -> None:
    model, pairs = strong_model(3), wide_pairs(3)
    patched = analyses.path_patch(model, pairs, per_query=True, progress=False)
    circuit = Circuit.from_effects(patched)
    judged = analyses.faithfulness(model, circuit, other_pairs(3), n_random=1)
    looked = analyses.attribute_attention(model, pairs, steps=2)
    for result in (patched, circuit, judged, looked, circuits.compare({"a": circuit, "b": circuit}), patching_result()):
        again = Result.from_json(result.to_json())
        assert shown(result) == shown(again) and "Error" not in shown(again)[0]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_whatever_a_recipe_holds(value: object) -> None:
    settings = {"graph": value, "deep": [{"table": (value, {"$": value})}]}
    circuit = Circuit(_circuit(1)["table"], _circuit(1)["graph"], settings)
    again = Circuit.from_json(circuit.to_json())
    assert_same(circuit, again)
    assert repr(circuit.provenance) == repr(again.provenance) and circuit.caption == again.caption


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (torch.zeros(2), r"provenance\['a'\]\[0\] is of type torch.Tensor"),
        (object(), r"provenance\['a'\]\[0\] is of type builtins.object"),
        (np.array(["2020"], dtype="datetime64[D]"), r"provenance\['a'\]\[0\] is of dtype datetime64\[D\]"),
        (pd.DataFrame({"x": [object()]}), r"the column 'x' of provenance\['a'\]\[0\]"),
        (pd.DataFrame({"x": [1]}, index=pd.MultiIndex.from_tuples([(1, 2)])), r"the index of .*reset_index"),
    ],
)
def test_what_cannot_be_saved_is_refused_by_its_place_and_leaves_no_file(value: object, place: str, tmp_path: Path) -> None:
    circuit = Circuit(_circuit(1)["table"], _circuit(1)["graph"], {"a": [value]})
    with pytest.raises(TypeError, match=place):
        circuit.save(tmp_path / "circuit.json")
    assert not list(tmp_path.iterdir())


def in_format_1(value: object) -> object:
    """As files were written before they bore a number."""
    if isinstance(value, pd.DataFrame):
        return {
            "table": {name: {"dtype": str(value[name].dtype), "values": in_format_1(value[name].tolist())} for name in value}
        }
    if isinstance(value, np.ndarray):
        return {"array": in_format_1(value.tolist()), "dtype": str(value.dtype)}
    if isinstance(value, ComputationGraph):
        return {"graph": value.to_dict()}
    if isinstance(value, dict):
        return {name: in_format_1(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [in_format_1(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def patching_result() -> analyses.PatchingResult:
    edges = _circuit(1)["table"].assign(effect=nan, gap=[1.5] + [nan] * (len(_circuit(1)["table"]) - 1))
    error = {"rank_correlation": nan, "relative_error": nan, "n_edges": 7}
    about = ("logit_difference", "noising", "m", "p", "bridge", {"split": "s", "deep": {"n": [1, None]}}, 9, (nan, 2.0), "")
    deltas = np.array([[nan, 1.0]] * len(edges))
    return analyses.PatchingResult(edges, _circuit(1)["graph"], *about, deltas, None, "eap", error)


def test_files_without_a_number_are_read_as_before_but_with_numbers_where_numbers_belong() -> None:
    result = patching_result()
    fields = {field.name: in_format_1(getattr(result, field.name)) for field in dataclasses.fields(result)}
    again = Result.from_json(json.dumps({"type": "PatchingResult", **fields}))
    assert_same(result, again)
    assert "relative error nan" in again.caption and repr(again) == repr(result)
    del fields["method"], fields["error"]  # which have defaults
    assert_same(
        dataclasses.replace(result, method="exact", error=None),
        Result.from_json(json.dumps({"type": "PatchingResult", **fields})),
    )


def test_fields_with_defaults_may_be_missing_and_others_not(tmp_path: Path) -> None:
    result = patching_result()
    content = json.loads(result.to_json())
    del content["fields"]["error"]
    assert_same(dataclasses.replace(result, error=None), Result.from_json(json.dumps(content)))
    del content["fields"]["reason"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"old.json: expected a PatchingResult with"):
        Result.load(tmp_path / "old.json")


@pytest.mark.parametrize(
    "damage", ['{"$": "tuple"}', '{"$": "never"}', '{"$": "array", "dtype": "x", "shape": [], "values": []}']
)
def test_damaged_content_is_refused_by_name(damage: str, tmp_path: Path) -> None:
    content = json.loads(patching_result().to_json())
    content["fields"]["deltas"] = json.loads(damage)
    (tmp_path / "damaged.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"damaged.json: the content of this PatchingResult is damaged"):
        Result.load(tmp_path / "damaged.json")


def test_a_later_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format 99, this version reads 1 to 2"):
        Result.from_json(patching_result().to_json().replace('"format": 2', '"format": 99'))
