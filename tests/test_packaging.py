"""The wheel that users get holds every module and asset, and works outside the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("tasks", "circuits", "analyses")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_every_module_and_asset_and_nothing_else(wheel: Path) -> None:
    expected = {
        f"grokscope/{folder}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert found == expected
    assert "grokscope/circuits/assets/diagram.js" in found and "grokscope/tasks/py.typed" in found


def test_the_wheel_works_by_itself(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from grokscope import circuits\n"
        "assert circuits.__file__.startswith(sys.argv[1]), circuits.__file__\n"
        "graph = circuits.ComputationGraph.transformer(('h',), 'h', n_layers=1, n_heads=1, n_blocks=1)\n"
        "import pandas\n"
        "row = dict(sender='embed@h', receiver='logits@h', effect=1.0, stderr=0.0, n=1, gap=2.0, kept=True)\n"
        "assert 'data-edge' in circuits.draw(circuits.Circuit(pandas.DataFrame([row]), graph)).html"
    )
    subprocess.run(
        [sys.executable, "-S", "-c", f"import site; site.main()\n{code}", str(tmp_path)], check=True, cwd=tmp_path
    )
