"""The rules of the house hold, and each is shown to notice a breach; every public name says what it is."""

import doctest
import importlib
import importlib.metadata
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from architecture import LIGHT, PACKAGES, RULES, Module, Rule, heavy, modules

import grokscope

ROOT = Path(__file__).parents[1]
MODULES = list(modules(ROOT))


def dotted(module: Module) -> str:
    parts = module.path.with_suffix("").parts
    return ".".join(("grokscope", *(parts[:-1] if parts[-1] == "__init__" else parts)))


@pytest.mark.parametrize("module", MODULES, ids=dotted)
def test_the_rules_hold(module: Module) -> None:
    assert not {rule.__name__: breaches for rule in RULES if (breaches := rule(module))}


BREACHES = [
    ("siblings_one_way", "circuits/graph.py", "from ..tasks import Run", "imports tasks.Run"),
    (
        "siblings_one_way",
        "tasks/runs/study.py",
        "def f():\n    from ...analyses.page import Report",
        "imports analyses.page.Report",
    ),
    (
        "siblings_one_way",
        "analyses/page.py",
        "from grokscope.circuits import Node",
        "imports grokscope.circuits, not relatively",
    ),
    ("siblings_one_way", "analyses/page.py", "import grokscope.circuits", "imports grokscope.circuits, not relatively"),
    (
        "nothing_back_up",
        "analyses/forward/model.py",
        "from ..patching.effects import summarise",
        "forward imports analyses.patching",
    ),
    ("nothing_back_up", "analyses/patching/exact.py", "from ..training import growth", "patching imports analyses.training"),
    ("nothing_back_up", "analyses/training/growth.py", "from ..bridge.lens import x", "training imports analyses.bridge"),
    (
        "nothing_back_up",
        "analyses/bridge/lens.py",
        "def f():\n    from ..claims.rules import R",
        "bridge imports analyses.claims",
    ),
    ("nothing_back_up", "analyses/claims/rules.py", "from .. import study", "claims imports analyses.study"),
    ("nothing_back_up", "analyses/study/run.py", "from .. import path_patch", "study imports analyses.path_patch"),
    ("nothing_back_up", "analyses/study/run.py", "from ..demo import main", "study imports analyses.demo"),
    ("nothing_back_up", "analyses/plots/bars.py", "from ..statistics import wilson", "plots imports analyses.statistics"),
    ("nothing_back_up", "analyses/page.py", "from .plots.bars import bars", "page imports analyses.plots"),
    ("nothing_back_up", "analyses/statistics.py", "from .page import Report", "statistics imports analyses.page"),
    ("nothing_back_up", "analyses/misc/new.py", "", "is in the folder misc, which is no storey"),
    ("nothing_back_up", "tasks/questions/files.py", "from ..models.config import M", "questions imports tasks.models"),
    ("nothing_back_up", "tasks/models/config.py", "from ..runs.study import S", "models imports tasks.runs"),
    ("nothing_back_up", "tasks/runs/study.py", "from ..training.train import train", "runs imports tasks.training"),
    ("nothing_back_up", "tasks/printing.py", "from .questions.files import f", "printing imports tasks.questions"),
    ("circuits_flat", "circuits/drawing/page.py", "", "lies in a folder"),
    ("circuits_flat", "circuits/layout.py", "def f():\n    import torch", "imports torch"),
    ("no_import_by_name", "analyses/forward/model.py", "import importlib", "imports importlib"),
    ("weights_in_their_rooms", "analyses/bridge/lens.py", "model.unembed(y)", "names .unembed"),
    ("weights_in_their_rooms", "analyses/bridge/lens.py", "x + model.b_U", "names b_U"),
    ("weights_in_their_rooms", "analyses/bridge/lens.py", "f'blocks.{i}.mine'", "names blocks.{"),
    ("weights_in_their_rooms", "analyses/bridge/lens.py", "model.run_with_cache(x)", "names run_with_cache"),
    ("weights_in_their_rooms", "tasks/training/train.py", "name.startswith('W')", "names 'W'"),
    ("no_word_of_a_task", "analyses/patching/exact.py", "r1_state = 0", "says r1"),
    ("no_word_of_a_task", "analyses/patching/exact.py", "from ...tasks import NewFacts", "imports tasks.NewFacts"),
    ("effects_through_the_seam", "analyses/patching/new.py", "from ..forward.single import x", "imports analyses.forward"),
    ("weights_in_their_rooms", "analyses/bridge/lens.py", "x = model.W_U", "names W_U"),
    ("weights_in_their_rooms", "analyses/patching/exact.py", "x = block.attn.W_O", "names W_O"),
    ("weights_in_their_rooms", "analyses/study/run.py", "model.blocks[0]", "names .blocks"),
    ("weights_in_their_rooms", "tasks/training/train.py", "block.ln1(x)", "names .ln1"),
    ("weights_in_their_rooms", "analyses/plots/bars.py", "block.mlp(x)", "names .mlp"),
    ("weights_in_their_rooms", "circuits/graph.py", "'blocks.0.hook_resid_pre'", "names hook_resid"),
    ("weights_in_their_rooms", "tasks/runs/study.py", "'blocks.0.attn.hook_z'", "names hook_z"),
    ("no_word_of_a_task", "analyses/forward/cached.py", "# the bridge", "says bridge"),
    ("no_word_of_a_task", "analyses/patching/exact.py", "'MLP0@r1'", "says r1"),
    ("no_word_of_a_task", "analyses/patching/exact.py", "from ...tasks import TwoHopTask", "says TwoHop"),
    ("no_word_of_a_task", "analyses/forward/literal.py", "from ...tasks import PromptPairs", "imports tasks.PromptPairs"),
    ("small", "circuits/graph.py", "x = 1\n" * 401, "has 401 lines, more than 400"),
    ("no_utils", "analyses/plots/utils.py", "", "is called utils"),
    ("on_a_named_device", "tasks/new.py", "def f():\n    return torch.arange(3)", "line 2: torch.arange without a device"),
    ("no_utils", "tasks/test_helpers.py", "", "is called test_helpers"),
    *(
        ("runs_no_code_it_reads", "tasks/new.py", source, breach)
        for source, breach in {
            "import pickle": "imports pickle",
            "def f():\n    from joblib import load": "imports joblib.load",
            "import yaml": "imports yaml",
            "joblib.load(path)": "line 1: joblib.load",
            "import torch\ntorch.load(path)": "line 2: torch.load(path)",
            "torch.load(path, weights_only=False)": "line 1: torch.load",
            "np.load(path, allow_pickle=True)": "line 1: np.load",
            "np.load(path, **settings)": "line 1: np.load",
            "pd.read_pickle(path)": "line 1: pd.read_pickle",
            "eval(text)": "line 1: eval",
            "exec(text)": "line 1: exec",
            "run = exec": "line 1: exec",
            "__import__(name)": "line 1: __import__",
        }.items()
    ),
    (
        "effects_through_the_seam",
        "analyses/patching/exact.py",
        "from ..forward.single import edge_logits",
        "imports analyses.forward.single",
    ),
    (
        "effects_through_the_seam",
        "analyses/patching/effects.py",
        "def f():\n    from ..forward.cached import finish",
        "imports analyses.forward.cached",
    ),
]


@pytest.mark.parametrize(("rule", "path", "source", "breach"), BREACHES)
def test_each_rule_notices_a_planted_breach(tmp_path: Path, rule: str, path: str, source: str, breach: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(source)
    (module,) = modules(tmp_path)
    found = {each.__name__: each(module) for each in RULES}[rule]
    assert any(each.startswith(breach) for each in found), found


def test_every_rule_has_a_planted_breach_and_allows_what_is_right() -> None:
    def name(rule: Rule) -> str:
        return rule.__name__

    assert {rule for rule, *_ in BREACHES} == set(map(name, RULES))
    fine = "from ...circuits import Node\nfrom ..statistics import wilson\nfrom .cached import finish\nx = block.attn.W_O"
    fine += "\nmodel.eval()\nre.compile(p)\nnp.load(p)\ntorch.load(p, weights_only=True)\nRun.load(p)\njson.load(f)"
    assert not any(rule(Module(Path("analyses/forward/model.py"), fine)) for rule in RULES)


def test_circuits_is_light() -> None:
    code = "import grokscope.circuits, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(sys.prefix), capture_output=True, text=True)
    assert "grokscope.circuits" in loaded.stdout.split() and not heavy(set(loaded.stdout.split()))
    assert heavy({"torch", "scipy", "numpy"}) == ["scipy", "torch"] and len(LIGHT) == 4


def test_no_module_was_imported_under_a_second_name() -> None:
    for folder in PACKAGES:
        importlib.import_module(f"grokscope.{folder}")
        assert folder not in sys.modules


@pytest.mark.parametrize("module", [each for each in MODULES if each.path.stem != "__main__"], ids=dotted)
def test_docstring_examples_run(module: Module) -> None:
    assert doctest.testmod(importlib.import_module(dotted(module))).failed == 0


@pytest.mark.parametrize("folder", PACKAGES)
def test_every_public_name_is_documented_and_annotated(folder: str) -> None:
    """And in the reference, see test_site."""
    module = importlib.import_module(f"grokscope.{folder}")
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert inspect.getdoc(value), f"{folder}.{name} has no docstring"
        if inspect.isfunction(value):
            missing = [p for p in inspect.signature(value).parameters.values() if p.annotation is p.empty]
            assert not missing and "return" in value.__annotations__


def test_the_distribution_has_a_version() -> None:
    assert importlib.metadata.version("grokscope") == grokscope.__version__


def test_nothing_names_a_machine_or_a_registry() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    here = "|".join(
        re.escape(f"{folder}/") for folder in {ROOT.parent, Path.home(), Path(sys.prefix)} if len(folder.parts) > 1
    )
    suspicious = re.compile(rf"{here}|pypi\.org|files\.pythonhosted|registry\.npmjs|pytorch\.org/whl")
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".css", ".js", ""} and path.name != Path(__file__).name:
            assert not suspicious.search(path.read_text(errors="replace")), name
