"""A cached measurement reads back equal, and a file that is damaged or of another measurement is refused by name."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from same import assert_same

from grokscope.analyses.study import run as whole
from grokscope.analyses.study.cache import cached
from grokscope.circuits import Result
from grokscope.circuits.documents import FileError, read_document, to_document
from grokscope.circuits.lock import FolderInUseError, only_writer
from grokscope.tasks import load_study


@dataclass(frozen=True, eq=False)
class Measured:
    results: Mapping[str, Result]
    table: pd.DataFrame
    share: float
    interval: tuple[float, float]
    name: str


TABLE = pd.DataFrame({"a": [1.0, math.nan], "b": ["x", None]})
WHOLE = Measured({"m": Result(TABLE), "$": Result(TABLE)}, TABLE, math.nan, (-math.inf, 0.1 + 0.2), "é\ud800")


def again() -> Measured:
    pytest.fail("measured again")


def test_the_first_call_and_later_ones_give_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    for found in (cached(path, Measured, lambda: WHOLE), cached(path, Measured, again)):
        for name in ("results", "table", "share", "interval", "name"):
            assert_same(getattr(WHOLE, name), getattr(found, name), name)


def test_what_is_damaged_or_of_another_measurement_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    cached(path, Measured, lambda: WHOLE)
    text, kind = path.read_text(), "measurement: Measured"
    content = read_document(path, [kind], known_format=1).content
    fields = content["mapping"]
    others = [{"value": "x"}, {"value": [1]}, {"mapping": {}, "more": 1}, {"result": "{}"}, {"table": 3}, 7, None]
    damaged = ["", text[: len(text) // 2], text.replace('"format": 1', '"format": 2'), text.replace("nan", "inf", 1), "[]"]
    damaged += [Result(TABLE).to_json(), to_document("measurement: Other", content, written_format=1)]
    for name in fields:
        rest = {other: value for other, value in fields.items() if other != name}
        changed = [rest, rest | {name + "x": fields[name]}]
        changed += [fields | {name: other} for other in others if not (name == "name" and other == {"value": "x"})]
        damaged += [to_document(kind, {"mapping": each}, written_format=1) for each in changed]
    for each in damaged:
        path.write_text(each)
        with pytest.raises(FileError, match=r"m\.json.*delete that file, and it is measured again"):
            cached(path, Measured, again)
    assert json.loads(text)["kind"] == kind


def test_a_second_process_is_refused_before_it_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "CLAIMS", {})
    with only_writer(tmp_path), pytest.raises(FolderInUseError, match="is being written by process"):
        whole.analyse(load_study("pilot"), None, tmp_path, n_jobs=1, progress=False)
