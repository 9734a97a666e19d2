"""The promises about structure: who imports whom, where hook names live, that every public name says what it is."""

import ast
import doctest
import importlib
import importlib.metadata
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {"tasks": set(), "circuits": set(), "analyses": {"tasks", "circuits"}}
MODULES = [path for folder in ALLOWED for path in sorted((ROOT / folder).glob("*.py"))]


def dotted(path: Path) -> str:
    return f"grokscope.{path.parent.name}" + ("" if path.stem == "__init__" else f".{path.stem}")


def imports(path: Path) -> list[ast.ImportFrom | ast.Import]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom | ast.Import)]


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_siblings_are_imported_in_one_direction_only(path: Path) -> None:
    for node in imports(path):
        assert not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("grokscope")), "import relatively"
        if isinstance(node, ast.ImportFrom) and node.level == 2:
            sibling = (node.module or "").split(".")[0]
            assert sibling in ALLOWED[path.parent.name]


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_modules_are_small_and_hook_names_stay_in_one(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") <= 400
    if path.name != "hooks.py":
        assert not re.search(r"hook_(embed|pos_embed|resid|z\b|mlp|attn|[qkv]_)", source)


def test_circuits_imports_fast_and_without_torch() -> None:
    code = (
        "import time; start = time.perf_counter(); import grokscope.circuits, sys; seconds = time.perf_counter() - start\n"
        "assert not {'torch', 'transformer_lens', 'plotly', 'scipy'} & set(sys.modules), sorted(sys.modules)\n"
        "assert seconds < 1, seconds"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(sys.prefix))


def test_no_module_was_imported_under_a_second_name() -> None:
    for folder in ALLOWED:
        importlib.import_module(f"grokscope.{folder}")
        assert folder not in sys.modules


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_docstring_examples_run(path: Path) -> None:
    assert doctest.testmod(importlib.import_module(dotted(path))).failed == 0


@pytest.mark.parametrize("folder", ALLOWED)
def test_every_public_name_is_documented_annotated_and_in_the_docs(folder: str) -> None:
    module = importlib.import_module(f"grokscope.{folder}")
    docs = "\n".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    for name in module.__all__:
        value = getattr(module, name)
        assert re.search(rf"\b{name}\b", docs), f"{folder}.{name} is neither in the README nor in docs/"
        if inspect.isfunction(value) or inspect.isclass(value):
            assert inspect.getdoc(value), f"{folder}.{name} has no docstring"
        if inspect.isfunction(value):
            missing = [p for p in inspect.signature(value).parameters.values() if p.annotation is p.empty]
            assert not missing and "return" in value.__annotations__


def test_the_distribution_has_a_version() -> None:
    assert importlib.metadata.version("grokscope") == "0.1.0"


def test_nothing_names_a_machine_or_a_registry() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    here = "|".join(
        re.escape(f"{folder}/") for folder in {ROOT.parent, Path.home(), Path(sys.prefix)} if len(folder.parts) > 1
    )
    suspicious = re.compile(rf"{here}|pypi\.org|files\.pythonhosted|registry\.npmjs")
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".css", ".js", ""} and path.name != Path(__file__).name:
            assert not suspicious.search(path.read_text(errors="replace")), name
