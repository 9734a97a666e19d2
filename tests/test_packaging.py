"""The wheel that users get holds every module and asset, and works outside the checkout."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from architecture import PACKAGES, modules
from doc_blocks import python_blocks
from notebooks import WARNED_OF, run_notebook

ROOT = Path(__file__).parents[1]
STUDIES = "grokscope_studies"
FOLDERS = {"grokscope": "src/grokscope", **{f"grokscope/{name}": name for name in ("tasks", "circuits", "analyses")}}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed in, with nothing of the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_the_wheel_holds_every_module_and_asset_and_nothing_else(wheel: Path) -> None:
    expected = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for package, folder in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert found == expected
    assert {"grokscope/circuits/assets/diagram/start.js", "grokscope/tasks/py.typed", "grokscope/tasks/__init__.pyi"} < found


def test_the_wheel_works_by_itself(installed: Path, tmp_path: Path) -> None:
    code = (
        f"{from_wheel(installed)}\n"
        "graph = grokscope.circuits.ComputationGraph.transformer(('h',), 'h', n_layers=1, n_heads=1, n_blocks=1)\n"
        "import pandas\n"
        "row = dict(sender='embed@h', receiver='logits@h', effect=1.0, stderr=0.0, n=1, gap=2.0, kept=True)\n"
        "circuit = grokscope.circuits.Circuit(pandas.DataFrame([row]), graph)\n"
        "assert 'data-edge' in grokscope.circuits.draw(circuit).html\n"
        "try:\n"
        "    grokscope.tasks.load_study('pilot')\n"
        "except FileNotFoundError as error:\n"
        "    print(error)"
    )
    environment = os.environ | {"PYTHONPATH": str(installed), "GROKSCOPE_STUDIES": ""}
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "pip install grokscope-studies" in said.stdout and "GROKSCOPE_STUDIES" in said.stdout


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with both wheels and what they depend on; nothing of the checkout is on its path.

    What is installed here is seen there, but for what stands in .pth files, such as this checkout.
    """
    folder, python = tmp_path_factory.mktemp("bare"), Path("bin/python")
    built = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    copied = shutil.copytree(
        ROOT / "examples" / "checkpoints", folder / "studies", ignore=shutil.ignore_patterns("build", ".lock")
    )
    subprocess.run([*built, str(copied)], check=True, capture_output=True)
    shutil.rmtree(copied)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    (packages,) = (folder / "venv").glob("lib/*/site-packages")
    (packages / "here.pth").write_text(sysconfig.get_path("purelib"))
    install = [
        sys.executable,
        "-m",
        "pip",
        f"--python={folder / 'venv' / python}",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*install, str(wheel), *map(str, folder.glob("*.whl"))], check=True, capture_output=True)
    return folder / "venv" / python


def test_the_readmes_lines_run_where_nothing_but_the_two_wheels_is_installed(bare: Path, tmp_path: Path) -> None:
    lines = [f"{from_wheel(bare.parents[1])}\n", *python_blocks(ROOT / "README.md")]
    subprocess.run([str(bare), "-c", "\n".join(lines)], check=True, cwd=tmp_path, env=without_studies())
    assert list(tmp_path.glob("*.html"))


def test_the_command_is_installed_and_finds_the_studies(bare: Path, tmp_path: Path) -> None:
    def said(*words: str) -> str:
        command = [str(bare.parent / "grokscope"), *words]
        return subprocess.run(
            command, check=True, cwd=tmp_path, env=without_studies(), capture_output=True, text=True
        ).stdout

    assert "compare" in said("--help") and "grokked at 10,700" in said("info", str(studies_of(bare) / "pilot" / "natural"))


def studies_of(bare: Path) -> Path:
    (folder,) = bare.parents[1].glob(f"lib/*/site-packages/{STUDIES}")
    return folder


def without_studies() -> dict[str, str]:
    return os.environ | {"GROKSCOPE_STUDIES": "", "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}


def test_what_a_shell_waits_for_is_short(bare: Path, tmp_path: Path) -> None:
    """Without torch, pandas and the like, which take seconds; a command's help needs none of them but its own."""
    code = "import sys\nimport grokscope\nassert not {'torch', 'pandas', 'numpy'} & set(sys.modules)\n"
    code += "from grokscope import circuits\nassert 'torch' not in sys.modules"
    subprocess.run([str(bare), "-c", code], check=True, cwd=tmp_path, env=without_studies())


@pytest.mark.filterwarnings(*WARNED_OF)
def test_the_tour_runs_from_the_wheel(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.setenv("GROKSCOPE_STUDIES", str(ROOT / "examples" / "checkpoints"))
    run_notebook("tour", tmp_path, last=from_wheel(installed))


def test_what_the_library_imports_is_among_its_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with_pydantic = {"pydantic-core", "typing-extensions"}
    there = {_distribution(line) for line in project["dependencies"]} | with_pydantic
    assert with_pydantic <= {_distribution(line) for line in importlib.metadata.requires("pydantic") or ()}
    given_by = importlib.metadata.packages_distributions()
    extras = [line for name in ("cluster", "notebook") for line in project["optional-dependencies"][name]]
    in_functions = set(map(_distribution, extras))
    for module in modules(ROOT):
        at_once = _imported_at_once(module.source)
        for name in {name[0] for name in module.imports} - sys.stdlib_module_names - {*PACKAGES, "grokscope", STUDIES}:
            allowed = there if name in at_once else there | in_functions
            assert {_distribution(each) for each in given_by[name]} & allowed, f"{module.path}: {name} is no dependency"


@pytest.mark.skipif(not shutil.which("make"), reason="no make here")
def test_each_command_installs_what_it_needs(tmp_path: Path) -> None:
    def steps(*given: str) -> str:
        command = ["make", "--dry-run", *given, f"VENV={tmp_path}"]
        clean = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "TORCH")}
        return subprocess.run(command, check=True, cwd=ROOT, env=clean, capture_output=True, text=True).stdout

    for command in ("demo", "study"):
        assert '--editable "."' in steps(command) and "--torch-backend" not in steps(command)
    for command, extra in {"notebook": "notebook", "test": "test", "test-slow": "test"}.items():
        assert f'--editable ".[{extra}]"' in steps(command)
    for command in ("demo", "study", "notebook", "test", "test-slow"):
        torch, library = re.findall("^.*(?:backend|--editable).*", steps(command, "TORCH=cpu"), flags=re.MULTILINE)
        assert "--torch-backend cpu --constraint constraints.txt --no-deps" in torch and "--editable" in library


def _imported_at_once(source: str) -> set[str]:
    """What is imported with the module, not when a function of it is called."""
    statements = ast.parse(source).body
    names = {alias.name for each in statements if isinstance(each, ast.Import) for alias in each.names}
    names |= {each.module or "" for each in statements if isinstance(each, ast.ImportFrom) and not each.level}
    return {name.split(".")[0] for name in names}


def _distribution(requirement: str) -> str:
    """The normalised name of a requirement's distribution."""
    (name,) = re.findall(r"^[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", name).lower()


def from_wheel(installed: Path) -> str:
    """Code that raises where anything of grokscope comes from elsewhere, such as the editable installation."""
    return (
        "import sys, grokscope\n"
        "files = [module.__file__ for name, module in sys.modules.items() if name.split('.')[0] == 'grokscope']\n"
        f"assert files and all(file.startswith({str(installed)!r}) for file in files), files"
    )
