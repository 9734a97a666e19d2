import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from grokscope.circuits import Circuit, ComputationGraph, Result
from grokscope.circuits.documents import FileError


@dataclass(frozen=True, eq=False)
class Sample(Result):
    values: np.ndarray
    graph: ComputationGraph
    notes: dict[str, object]


def sample() -> Sample:
    table = pd.DataFrame({"name": ["a", "b"], "x": [0.1 + 0.2, math.nan], "n": [1, 2], "kept": [True, False]})
    graph = ComputationGraph.transformer(("h", "r1"), "r1", n_layers=1, n_heads=1, n_blocks=1)
    return Sample(table, np.array([[1e-300, math.nan], [math.pi, -0.0]]), graph, {"share": math.nan, "inner": {"k": [1, 2]}})


def test_everything_reads_back_to_the_last_digit(tmp_path: Path) -> None:
    again = Sample.load(sample().save(tmp_path / "result.json"))
    pd.testing.assert_frame_equal(again.table, sample().table)
    np.testing.assert_array_equal(again.values, sample().values)
    assert again.graph == sample().graph and again.notes["inner"] == {"k": [1, 2]}
    assert again.to_json() == sample().to_json()


def test_the_json_is_standard_and_whole(tmp_path: Path) -> None:
    path = sample().save(tmp_path / "result.json")
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_the_frame_is_a_copy_and_the_view_escapes() -> None:
    result = sample()
    frame = result.to_frame()
    frame.loc[0, "x"] = 9.0
    assert result.table.loc[0, "x"] != 9.0
    assert repr(result) == "<Sample: Sample>"
    assert "0.300" in result._repr_html_() and "<p>Sample</p>" in result._repr_html_()


def test_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="this text: expected a Sample, this is a Other"):
        Sample.from_json(sample().to_json().replace('"Sample"', '"Other"'))


def test_the_base_class_reads_every_kind_and_a_kind_only_itself(tmp_path: Path) -> None:
    again = Result.load(sample().save(tmp_path / "result.json"))
    assert type(again) is Sample and again.to_json() == sample().to_json()
    plain = Result.from_json(Result(sample().table).to_json())
    assert type(plain) is Result and plain.table.equals(sample().table)
    with pytest.raises(FileError, match=r"expected a .*Circuit or .*Sample.*, this is a Other"):
        Result.from_json(sample().to_json().replace('"Sample"', '"Other"'))
    with pytest.raises(ValueError, match=r"result.json: expected a Circuit, this is a Sample"):
        Circuit.load(tmp_path / "result.json")


def test_json_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match=r"this text: .* valid dictionary.*, got \[1\]"):
        Result.from_json("[1]")


def test_a_kind_of_result_may_print_itself() -> None:
    class Terse(Result):
        def __repr__(self) -> str:
            return "terse"

    assert repr(Terse(pd.DataFrame())) == "terse" and "Result" in repr(Result(pd.DataFrame()))


def test_what_rounds_to_zero_is_shown_without_a_sign() -> None:
    table = pd.DataFrame({"effect": [-0.0001, -0.0, 0.0001, -0.5]})
    shown = Result(table)._repr_html_()
    assert "-0.000" not in shown and shown.count("<td>0.000</td>") == 3 and "<td>-0.500</td>" in shown
