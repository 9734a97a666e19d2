"""What importing grokscope loads, and by which names its parts can be imported."""

import ast
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from kinds import KINDS

import grokscope
from grokscope import analyses, circuits, tasks

ROOT = Path(__file__).parents[1]
LAZY = {"analyses": analyses, "tasks": tasks}
SLOW = {"torch", "pandas", "numpy", "scipy", "sklearn", "plotly", "pydantic", "transformer_lens", "transformers", "joblib"}
STAGES = {  # what is run in one process after another stage, and what may then be loaded of what takes long
    "import grokscope": set(),
    "from grokscope import analyses, tasks": set(),
    "grokscope.circuits": {"pandas", "numpy", "pydantic"},
    "tasks.load_study('pilot').summary": SLOW - {"transformer_lens", "transformers", "sklearn", "scipy", "joblib"},
}


def test_what_takes_long_is_loaded_when_it_is_needed() -> None:
    code = "import json, sys\n" + "".join(f"{stage}\nprint(json.dumps(list(sys.modules)))\n" for stage in STAGES)
    said = subprocess.run([sys.executable, "-c", code], check=True, cwd=sys.prefix, capture_output=True, text=True).stdout
    for (stage, allowed), line in zip(STAGES.items(), said.splitlines(), strict=True):
        assert set(json.loads(line)) & SLOW <= allowed, stage


@pytest.mark.parametrize("name", ["analyses", "circuits", "tasks", "tasks.runs.study"])
def test_a_part_by_itself_is_refused_in_the_repository(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    part = name.partition(".")[0]
    assert done.returncode == 1 and f"ImportError: `{part}` is a part of grokscope" in done.stderr
    assert f"write `from grokscope import {part}`" in done.stderr


@pytest.mark.parametrize("part", LAZY)
def test_the_names_of_a_lazy_part_are_those_of_its_stub(part: str) -> None:
    stub = ast.parse((ROOT / part / "__init__.pyi").read_text())
    (said,) = [ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign)]
    assert sorted(said) == LAZY[part].__all__ == dir(LAZY[part])
    for name in said:
        assert getattr(LAZY[part], name) is not None
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = LAZY[part].nothing_of_this_name


@pytest.mark.parametrize("part", LAZY)
def test_no_public_name_of_a_lazy_part_is_that_of_a_module(part: str) -> None:
    """Importing the module would put it in the name's place."""
    assert not {module.name for module in pkgutil.iter_modules(LAZY[part].__path__)} & set(LAZY[part].__all__)


def test_every_kind_of_result_can_be_found_by_its_name() -> None:
    assert set(KINDS) <= {*analyses.__all__, *circuits.__all__, *tasks.__all__}
    code = (
        "import sys\n"
        "from grokscope.circuits.documents import to_document\n"
        "from grokscope.circuits import Result\n"
        "assert 'grokscope.analyses.sameness.profile' not in sys.modules\n"
        "try: Result.from_json(to_document('Profile', {}, written_format=3))\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=sys.prefix, capture_output=True, text=True)
    assert "this Profile is damaged" in done.stdout


def test_the_parts_are_attributes_of_grokscope() -> None:
    assert (grokscope.analyses, grokscope.circuits, grokscope.tasks) == (analyses, circuits, tasks)
    assert sorted(dir(grokscope)) == ["__version__", "analyses", "circuits", "tasks"]
