"""What sentences say where numbers or columns are missing; the rest stands in the tests of each result."""

import dataclasses
import typing
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hostile import results

from grokscope.analyses.bridge.largest import Cells, Row
from grokscope.circuits import Result

MADE = {name: result for name, result in results() if ".bridge." in type(result).__module__}


def unnumbered(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{name: np.nan for name in table.select_dtypes("number").columns})


EMPTIED: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "no columns": lambda table: pd.DataFrame(),
    "no rows": lambda table: table.iloc[:0],
    "no numbers": unnumbered,
    "nothing": lambda table: table.assign(**dict.fromkeys(table.columns)),
}


def changed(result: Result, change: Callable[[str, pd.DataFrame], pd.DataFrame]) -> Result:
    names = [field.name for field in dataclasses.fields(result) if isinstance(getattr(result, field.name), pd.DataFrame)]
    return dataclasses.replace(result, **{name: change(name, getattr(result, name)) for name in names})


@pytest.mark.parametrize("how", EMPTIED)
def test_where_there_is_no_number_that_is_said(how: str) -> None:
    for name, result in MADE.items():
        said = changed(result, lambda _, table: EMPTIED[how](table)).explain()
        words = said.means + said.sure
        assert "Nothing: " in words or "No interval was computed" in words or "0 cells" in words, name


def test_the_columns_that_a_file_must_have_are_enough() -> None:
    for name, result in MADE.items():
        hints = typing.get_type_hints(type(result), include_extras=True)

        def declared(field: str, table: pd.DataFrame, hints: dict[str, typing.Any] = hints) -> pd.DataFrame:
            columns = [column for each in getattr(hints[field], "__metadata__", ()) for column, _ in each.kinds]
            return table[[column for column in columns if column in table]]

        assert all(answer.strip() for _, answer in changed(result, declared).explain()), name


def test_the_other_tables_may_lack() -> None:
    for name, result in MADE.items():
        lacking = changed(result, lambda field, table: table if field == "table" else pd.DataFrame())
        assert all(answer.strip() for _, answer in lacking.explain()), name


def test_a_row_is_found_beside_another_and_of_a_run_at_its_last_step() -> None:
    table = pd.DataFrame({"step": [0, 0, 9, 9], "role": ["h"] * 4, "kind": ["a", "b"] * 2, "value": [0.9, 0.1, 0.3, 0.2]})
    cells = Cells.of(table)
    best = cells.largest("value")
    assert best is not None and best.number("value") == "0.30" and best.at_step.endswith("step 9, the last of 2 checkpoints")
    assert cells.beside(best, "role", kind="b").number("value") == "0.20"
    assert cells.beside(best, "role", kind="c").number("value") == Row().number("value") == Row().whole("n") == "–"
    assert Row().asked("model", "split", of=float("nan")) == "model, split: an unknown number of questions"
