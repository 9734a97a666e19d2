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
from typing import Annotated, Any, get_args, get_origin

import numpy as np
import pandas as pd
import pytest
import torch
from carry import carry_model, carry_pairs
from conftest import other_pairs, strong_model, wide_pairs
from kinds import KINDS
from same import assert_same

from grokscope import analyses, circuits
from grokscope.circuits import Circuit, ComputationGraph, Result
from grokscope.circuits.columns import Columns
from grokscope.circuits.documents import FileError, to_document

OLD = Path(__file__).parents[1] / "circuits" / "old_results"
ALTERED = {"EquivalenceResult"}  # kinds that hold something else today, so that older files of theirs cannot be read
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


def tables_with(columns: Columns) -> list[pd.DataFrame]:
    """Tables with the columns that a kind needs and others of any content, and one without rows."""
    held = {str: WORDS[:3], float: FLOATS[:3], int: [0, 10**9, -1], bool: [True, False, True]}
    needed = pd.DataFrame({name: held[kind] for name, kind in columns.kinds})
    more = pd.DataFrame({number: values for number, values in enumerate(COLUMNS.values())})
    more.columns = pd.Index(list(COLUMNS), dtype=object, tupleize_cols=False)
    return [needed, pd.concat([more.drop(columns=needed.columns, errors="ignore"), needed], axis=1), needed.iloc[:0]]


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
    if get_origin(declared) is Annotated:
        return [*tables_with(get_args(declared)[1]), pd.DataFrame()]
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
    types = typing.get_type_hints(kind, include_extras=True)
    pools = {field.name: values_of(types[field.name]) for field in dataclasses.fields(kind)}
    rows = range(max(map(len, pools.values())))
    settings = [{name: pool[row % len(pool)] for name, pool in pools.items()} for row in rows]
    return [kind(**(_circuit(row) if kind is Circuit else {}) | setting) for row, setting in enumerate(_for(kind, settings))]


def _for(kind: type[Result], settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A circuit's table must be of its graph, so that one is given below."""
    fixed = ("table", "graph", "deltas", "donor_gaps") if kind is Circuit else ()
    return [{name: value for name, value in setting.items() if name not in fixed} for setting in settings]


def _circuit(row: int) -> dict[str, Any]:
    graph = graphs()[row % 3]
    names = [(str(edge.sender), str(edge.receiver)) for edge in graph.edges][: None if row % 2 else 0]
    table = pd.DataFrame(names, columns=["sender", "receiver"])
    number = FLOATS[row % len(FLOATS)]
    table = table.assign(effect=number, stderr=-number, n=row, gap=number, kept=bool(row % 3))
    gaps = [None, np.array(FLOATS), np.zeros(0), np.array([1.5], dtype="float16")][row % 4]
    deltas = None if gaps is None else np.resize(np.array(FLOATS), (len(table), len(gaps)))
    return {"graph": graph, "table": table, "deltas": deltas, "donor_gaps": gaps}


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
    asked = analyses.query_details(model, pairs)
    for result in (
        patched,
        circuit,
        judged,
        looked,
        asked,
        circuits.compare({"a": circuit, "b": circuit}),
        patching_result(),
    ):
        again = Result.from_json(result.to_json())
        assert shown(result) == shown(again) and "Error" not in shown(again)[0]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_whatever_a_recipe_holds(value: object) -> None:
    settings = {"graph": value, "deep": [{"table": (value, {"$": value})}]}
    circuit = Circuit(**_circuit(1), provenance=settings)
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
    circuit = Circuit(**_circuit(1), provenance={"a": [value]})
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
    result, path = patching_result(), tmp_path / "old.json"
    fields = json.loads(result.to_json())["content"]
    del fields["error"]
    again = Result.from_json(to_document("PatchingResult", fields, written_format=3))
    assert_same(dataclasses.replace(result, error=None), again)
    del fields["reason"]
    path.write_text(to_document("PatchingResult", fields, written_format=3))
    with pytest.raises(FileError, match=r"old.json: this PatchingResult is damaged: reason: field required"):
        Result.load(path)


OTHERS: dict[str, Any] = {
    "null": None, "word": "x", "whole number": 7, "number": 0.5, "flag": True, "list": [1, "a"], "object": {"a": 1},
    "unknown tag": {"$": "never"}, "empty tag": {"$": "tuple"}, "tag of a list": {"$": [1]},
    "tuple": {"$": "tuple", "items": ["a"]}, "mapping with a key twice": {"$": "mapping", "items": [[1, 2], [1, 3]]},
    "more keys": {"$": "tuple", "items": [], "more": 1},
    "array of no dtype": {"$": "array", "dtype": "x", "shape": [], "values": []},
    "array of words as numbers": {"$": "array", "dtype": "float64", "shape": [1], "values": ["1.5"]},
    "array of fractions as whole numbers": {"$": "array", "dtype": "int64", "shape": [1], "values": [1.5]},
    "array beyond its dtype": {"$": "array", "dtype": "float32", "shape": [1], "values": [1e300]},
    "array of another shape": {"$": "array", "dtype": "float64", "shape": [-1], "values": [1.5]},
    "array that fills memory": {"$": "array", "dtype": "<U500000000", "shape": [1000], "values": ["a"] * 1000},
    "array of records": {"$": "array", "dtype": "(1000000000,)f8", "shape": [1], "values": [1.5]},
    "table that fills memory": {"$": "table", "n": 10**12, "names": {"name": None, "dtype": "object", "shape": [1],
        "values": ["a"]}, "columns": [{"dtype": "int64", "shape": [1], "values": [1]}]},
    "table of a row too much": {"$": "table", "n": 2, "names": {"name": None, "dtype": "object", "shape": [1],
        "values": ["a"]}, "columns": [{"dtype": "int64", "shape": [1], "values": [1]}]},
    "column of words as numbers": {"$": "table", "n": 1, "names": {"name": None, "dtype": "object", "shape": [1],
        "values": ["a"]}, "columns": [{"dtype": "Int64", "objects": ["1"]}]},
    "graph that takes forever": {"$": "graph", "graph": {"roles": ["a"], "answer_role": "a", "n_layers": 10**9,
        "n_heads": 1, "n_blocks": 1, "causal": True, "has_mlp": True}},
    "graph of other types": {"$": "graph", "graph": {"roles": "ab", "answer_role": 1.5}},
    "very deep": json.loads("[" * 300 + "]" * 300),
}  # fmt: skip


def example(name: str) -> Result:
    """An undamaged one of a kind: as an older file holds it, or of the first of the nasty values."""
    old = json.loads((OLD / "format_2.json").read_text())
    readable = name in old and name not in ALTERED
    return Result.from_json(json.dumps(old[name])) if readable else instances(KINDS[name])[0]


def fits(value: Any, declared: Any) -> bool:
    """Whether JSON is of a declared type, by the literal reading of this test."""
    kinds = get_args(declared) if get_origin(declared) in (typing.Union, UnionType) else (declared,)
    plain: dict[Any, Any] = {str: str, float: (int, float), bool: bool, type(None): type(None)}
    if value is None or isinstance(value, bool):
        return Any in kinds or type(value) in kinds
    if int in kinds and type(value) is int:
        return True
    if any(get_origin(kind) in (dict, Mapping, typing.Mapping) and get_args(kind)[1] in (Any, int) for kind in kinds):
        return value == {"a": 1}
    if any(get_origin(kind) in (dict, Mapping, typing.Mapping) and get_args(kind)[1] is float for kind in kinds):
        return value == {"a": 1}
    if any(get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis for kind in kinds):
        return value == OTHERS["tuple"]
    return any(kind in plain and isinstance(value, plain[kind]) for kind in kinds)


@pytest.mark.parametrize("every", [13, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", KINDS)
def test_a_field_of_another_type_is_refused_though_the_checksum_is_right(name: str, every: int, tmp_path: Path) -> None:
    """Each field gets every thirteenth of the other values, the next field those after; all in `make test-slow`."""
    kind, path = KINDS[name], tmp_path / "result.json"
    fields = json.loads(example(name).to_json())["content"]
    for number, (field, declared) in enumerate(typing.get_type_hints(kind, include_extras=True).items()):
        for what, other in list(OTHERS.items())[number % every :: every]:
            if fits(other, declared):
                continue
            path.write_text(to_document(name, fields | {field: other}, written_format=3))
            with pytest.raises(FileError) as caught:
                kind.load(path)
                pytest.fail(f"{field} as {what} was read")
            assert str(caught.value).startswith(f"{path}: this {name} is damaged") and field in str(caught.value), what


@pytest.mark.parametrize("name", KINDS)
def test_a_key_that_is_removed_renamed_or_there_twice_is_refused(name: str, tmp_path: Path) -> None:
    kind, path = KINDS[name], tmp_path / "result.json"
    text = example(name).to_json()
    whole, needed = json.loads(text), [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
    damaged = [text.replace(f'"{key}": ', f'"{key}": 1, "{key}": ', 1) for key in whole]
    damaged += [json.dumps({other: value for other, value in whole.items() if other != key}) for key in whole]
    damaged += [json.dumps({other + "x" * (other == key): value for other, value in whole.items()}) for key in whole]
    for field in whole["content"]:
        rest = {other: value for other, value in whole["content"].items() if other != field}
        renamed = rest | {field + "x": whole["content"][field]}
        is_needed = field in needed and kind.__dataclass_fields__[field].default_factory is dataclasses.MISSING
        damaged += [to_document(name, each, written_format=3) for each in ([rest, renamed] if is_needed else [renamed])]
    for each in damaged:
        path.write_text(each)
        with pytest.raises(FileError, match=re.escape(str(path))):
            kind.load(path)


def test_every_table_says_which_columns_it_needs_or_is_free() -> None:
    """So that a kind that is new, or another table of one, is thought of."""
    free = {"CircuitTrajectory": {"changes", "stability", "milestones"}, "FaithfulnessResult": {"curve", "edges"}}
    free |= {"LensResult": {"roles", "queries"}, "Circuit": {"table"}}  # which checks it whenever it is made
    free |= {name: {"completeness"} for name in ("AttentionResult", "PatchingResult")}
    for name, kind in KINDS.items():
        if kind is Result:
            continue
        types = typing.get_type_hints(kind, include_extras=True)
        bare = {field for field, declared in types.items() if pd.DataFrame in (declared, *get_args(declared))}
        assert {field for field in bare if get_origin(types[field]) is not Annotated} == free.get(name, set()), name


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", KINDS)
def test_a_column_that_is_missing_or_of_another_kind_is_refused(name: str, every: int, tmp_path: Path) -> None:
    kind, path = KINDS[name], tmp_path / "result.json"
    result = example(name)
    for field, declared in typing.get_type_hints(kind, include_extras=True).items():
        columns = get_args(declared)[1].kinds if get_origin(declared) is Annotated else []
        for column, held in columns[::every]:
            if not len(table := getattr(result, field)):
                continue
            wrong = table.assign(**{column: pd.Series([(1, 2)] * len(table), dtype=object)})
            for other in (table.drop(columns=column), wrong):
                damaged = Result(other).to_json()
                fields = json.loads(result.to_json())["content"] | {field: json.loads(damaged)["content"]["table"]}
                path.write_text(to_document(name, fields, written_format=3))
                with pytest.raises(FileError, match=rf"{field}: .*{column}"):
                    kind.load(path)
                with pytest.raises(TypeError, match=rf"this {name} cannot be saved: {field}: .*{column}"):
                    dataclasses.replace(result, **{field: other}).save(path)
            assert held in (str, int, float, bool)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("name", [name for name in json.loads((OLD / "format_1.json").read_text()) if name not in ALTERED])
def test_files_of_older_formats_hold_what_they_held(number: int, name: str, tmp_path: Path) -> None:
    """Of format 2 the fields are written today as they were then; those of format 1 held the same."""
    of_2 = json.loads((OLD / "format_2.json").read_text())[name]
    old, path = json.loads((OLD / f"format_{number}.json").read_text())[name], tmp_path / "old.json"
    path.write_text(json.dumps(old))
    result = KINDS.get(name, Result).load(path)
    again = json.loads(result.to_json())
    since = {field: again["content"].pop(field) for field in again["content"].keys() - of_2["fields"].keys()}
    assert (again["kind"], again["format"], again["content"]) == (name, 3, of_2["fields"])
    later = {field: value for field, value in since.items() if not (isinstance(value, dict) and value.get("n") == 0)}
    assert not any(later.values())  # fields that came later are at their defaults, tables empty
    assert_same(result, Result.load(path))
    with pytest.raises(FileError, match=r"old.json: expected a \w+, this is a " + name):
        (circuits.CircuitComparison if name == "Circuit" else Circuit).load(path)
    fields = old if number == 1 else old["fields"]
    for place, field in enumerate(key for key in fields if key != "type"):
        for other in [({"$": "never"}, {"table": {"a": 1}}, [[{}]])[place % 3]]:
            path.write_text(json.dumps(old | {field: other} if number == 1 else old | {"fields": fields | {field: other}}))
            if field in ("provenance", "recipe", "alignment"):
                continue  # which hold anything, or any words
            with pytest.raises(FileError, match=r"old.json: .*this .* damaged"):
                Result.load(path)


SINCE_FORMAT_3 = {
    "AuditResult",
    "CompositionResult",
    "GradedResponseResult",
    "InvarianceResult",
    "NecessityResult",
    "OtherPromptsResult",
    "ReliabilityResult",
    "RivalResult",
    "CycleDistancesResult",
    "ReadingMethodsResult",
    "ComparisonSummary",
    "CounterpartComparison",
    "ByAgeResult",
    "DirectionTransferResult",
    "EditResult",
    "FeatureGraph",
    "PathDistances",
    "Profile",
    "ProfileDistance",
    "QueryDetails",
}
"""Kinds that no older file can hold."""


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("name", sorted(ALTERED))
def test_older_files_of_a_kind_that_holds_something_else_today_are_refused(number: int, name: str) -> None:
    old = json.loads((OLD / f"format_{number}.json").read_text())[name]
    with pytest.raises(FileError, match=rf"this {name} is damaged: .*field required"):
        Result.from_json(json.dumps(old))


def test_the_older_formats_are_of_every_kind() -> None:
    assert {*json.loads((OLD / "format_1.json").read_text())} == {*json.loads((OLD / "format_2.json").read_text())}
    assert {*KINDS} - SINCE_FORMAT_3 | {"Result"} <= {*json.loads((OLD / "format_1.json").read_text())}


def test_a_later_format_is_refused() -> None:
    with pytest.raises(FileError, match=r"this text: this PatchingResult is of format 99, .* reads format 3"):
        Result.from_json(patching_result().to_json().replace('"format": 3', '"format": 99'))
    with pytest.raises(FileError, match="this text: format: input should be 2, got 99"):
        Result.from_json(json.dumps({"type": "PatchingResult", "format": 99, "fields": {}}))


def test_columns_that_are_called_by_an_intermediate_or_a_unit_are_saved() -> None:
    lens = analyses.logit_lens(carry_model(), carry_pairs(60))
    assert "first_carry" in lens.queries
    difference = analyses.logit_difference
    metric = analyses.Metric(lambda *given: difference(*given), unit="points", higher_is_better=True)
    model = strong_model(0)
    found = [Circuit.from_effects(analyses.path_patch(model, wide_pairs(0), metric=metric, per_query=True)) for _ in "ab"]
    compared = circuits.compare(dict(zip("ab", found, strict=True)), n_bootstrap=20)
    assert "difference_in_points" in compared.differences
    for result in (lens, compared):
        assert_same(result, Result.from_json(result.to_json()))
