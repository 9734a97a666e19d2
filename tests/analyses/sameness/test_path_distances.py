"""What may be compared, what a `PathDistances` prints, and the example that the docs give."""

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from doc_blocks import python_blocks
from explained import assert_explained

from grokscope import analyses, circuits, tasks
from grokscope.analyses import PathDistances, path_distances
from grokscope.analyses.sameness.compared import as_couples, compared_problems

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "sameness.md"
NAMES = ("early", "early again", "grokked")


pytestmark = pytest.mark.usefixtures("as_users_call")


def result(rows: list[tuple[str, str, str, str, float, str]]) -> PathDistances:
    columns = pd.Index(["measure", "kind", "a", "b", "distance", "reason"])
    return PathDistances(pd.DataFrame(rows, columns=columns), "iid", 251, 256)


def test_a_single_couple_and_several_are_taken() -> None:
    models = dict.fromkeys(NAMES)
    for compared in (("early", "grokked"), ["early", "grokked"], [("early", "grokked")], {("early", "grokked")}):
        assert compared_problems(models, compared) == []
        assert list(map(tuple, as_couples(compared))) == [("early", "grokked")]


@pytest.mark.parametrize(
    ("compared", "said"),
    [
        ("early", r"compared is 'early', needed is a couple of names, .*; there are early, grokked$"),
        ([], r"compared is a list, needed is a couple of names"),
        (("early", "late"), r"compared holds 'late', which is no model; there are early, grokked$"),
        (("early", "grokked", "late"), r"compared holds 'early', needed are couples of names; .*holds 'late', needed"),
        ([("early", 3)], r"compared holds \('early', 3\), needed are couples of names; there are early, grokked"),
        (
            ("early", "early again"),
            r"compared holds 'early again': replicates are compared with 'early', without being named",
        ),
        (("early", "early"), r"compared holds 'early' next to itself"),
    ],
)
def test_what_is_no_couple_of_models_is_refused_before_anything_is_run(compared: Any, said: str) -> None:
    given: dict[str, Any] = {"models": dict.fromkeys(NAMES), "evidence": dict.fromkeys(NAMES[:2])}
    with pytest.raises(ValueError, match=rf"n_pairs .*no evidence on grokked; {said}"):
        path_distances(**given, task=None, split="iid", compared=compared, n_pairs=0)


def test_labels_that_are_no_text_and_models_without_names_are_refused() -> None:
    given: dict[str, Any] = {"task": None, "split": "iid", "compared": ("a", "b")}
    with pytest.raises(ValueError, match=r"models has the name \('pilot', 1\), needed is text; .*'a', which is no model"):
        path_distances({("pilot", 1): None}, evidence={("pilot", 1): None}, **given)
    with pytest.raises(ValueError, match=r"models is a list, needed is a mapping by name"):
        path_distances([], evidence={}, **given)


def test_it_prints_its_distances_and_says_that_they_have_no_intervals() -> None:
    rows = [(m, "trainings", "a", "b", d, "") for m, d in (("where", 0.4734), ("what", np.nan), ("how much", 0.431))]
    one = result([*rows, ("where", "known different", "a", "a", 0.9, "")])
    sizes = "2 trainings · iid · n = 251 of 256 pairs answered by all"
    said = "a / b: where 0.473, what undefined, how much 0.431, without intervals"
    assert repr(one) == f"<PathDistances: {said} · {sizes}>"
    assert_explained(one, constants={"0.1", "0.2", "0.3"})
    assert "where 0.473, what undefined, how much 0.431" in one.explain().means and "where 0.900" in one.explain().sure
    more = result([("where", "trainings", a, b, 0.1, "") for a, b in (("a", "b"), ("a", "c"), ("b", "c"))])
    assert more.caption.startswith("a / b: where 0.100; a / c: where 0.100; 1 more, without intervals · 3 trainings")
    assert result([]).caption.startswith("0 trainings")


def code(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def test_the_help_and_the_docs_have_one_example() -> None:
    (block,) = [each for each in python_blocks(PAGE) if "path_distances(" in each]
    example = re.search(r"Example:\n(.*?)\n\n", inspect.getdoc(path_distances) or "", re.DOTALL)
    assert example and code(example[1]) == code(block)


@pytest.mark.slow
def test_the_docs_python_runs() -> None:
    """All blocks of docs/explanation/sameness.md, in order."""
    names: dict[str, Any] = {"analyses": analyses, "circuits": circuits, "tasks": tasks}
    for block in python_blocks(PAGE):
        exec(compile(block, "sameness.md", "exec"), names)
        if "path_distances(" in block:
            lines = block.strip().split("\n")
            found = eval(lines[-1], names)
            assert list(found.of("where")) == [("early", "grokked")]
            assert_explained(found, constants={"0.1", "0.2", "0.3"})
            assert repr(found).startswith("<PathDistances: early / grokked: where 0.")
