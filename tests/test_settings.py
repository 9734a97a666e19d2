"""Impossible settings are refused before any work: each public callable × setting × bad value of `tests/settings.py`."""

import ast
import inspect
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from examples_by_path import example
from handset import handset_model
from settings import DATA, KINDS, ROWS, SETTINGS, kinds_of, public, same, settings_of

from grokscope import analyses, circuits, tasks
from grokscope.analyses.study import compare_command, demo
from grokscope.analyses.study import run as study_run
from grokscope.circuits import draw_command
from grokscope.tasks.models.building import trained_parameters
from grokscope.tasks.training import train_command
from grokscope.tasks.training.feasible import bytes_to_write
from grokscope.tasks.transformerlens import HookedTransformer


class Worked(BaseException):
    """Something was done before a setting was refused; no `except Exception` hides it."""


pytestmark = pytest.mark.usefixtures("as_users_call")


@pytest.fixture(scope="module")
def world(evidence_world: tasks.TwoHopTask, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What calls are made with; measured once."""
    tmp, task = tmp_path_factory.mktemp("settings"), evidence_world
    model = handset_model(task.graph)
    pairs = tasks.make_pairs(task, split="test_inferred_iid", contrast="bridge", n=8, seed=0)
    queries = task.split("test_inferred_iid").take(torch.arange(8))
    effects = analyses.edge_attribution(model, pairs, progress=False)
    circuit = circuits.Circuit.from_effects(effects, top_k=20)
    (study_of_one, pilot) = tmp / "study", tasks.load_study("pilot")
    study_of_one.mkdir()
    found = SimpleNamespace(
        **dict(tmp=tmp, task=task, model=model, pairs=pairs, queries=queries, effects=effects, circuit=circuit),
        **dict(study=pilot, run=pilot.runs["first_hop"], graph=circuit.graph, head=circuit.graph.receivers[0]),
        **dict(new=tasks.NewFacts.random(task, n=4), logits=torch.zeros(2, 3), patterns=torch.ones(1, 1, 1, 1)),
        **dict(met=np.array([True, False]), units=np.arange(2), diagram=circuits.draw(circuit)),
        job=tasks.Job("a", task, tasks.ModelConfig.tiny(), tasks.TrainConfig.tiny()),
        comparison=circuits.compare({"one": circuit, "two": circuit}, n_bootstrap=2, progress=False),
        attention=analyses.attribute_attention(model, pairs.take(torch.arange(2)), steps=1, tolerance=9, progress=False),
        lens=analyses.logit_lens(model, queries, progress=False).table,
        evidence=analyses.bridge_evidence(model, task, "test_inferred_iid", n=8, progress=False),
        profile=analyses.state_profile(model, pairs, progress=False),
        direction=analyses.ablate_bridge(model, task, queries, progress=False),
        probe=analyses.probe_bridge(model, task, targets=["bridge"], progress=False),
        file=circuits.to_eap_ig(circuit, tmp / "circuit.json", d_model=8),
    )
    found.query_view = analyses.QueryView("a", found.lens, found.lens, "")
    found.checkpoint, found.view = found.run.checkpoint("final"), found.attention.view()
    return found


@pytest.fixture
def place(tmp_path: Path, world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that holds a file and an empty folder, and must hold nothing else after a refusal."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    world.tmp = tmp_path
    monkeypatch.chdir(tmp_path)  # what is written where one happens to be is seen, too
    yield tmp_path


LONGEST = 2  # seconds that a refusal may take


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No model runs or is built, nothing is trained."""

    def work(*args: object, **kwargs: object) -> None:
        raise Worked

    monkeypatch.setattr(HookedTransformer, "forward", work)
    monkeypatch.setattr(torch.optim.AdamW, "__init__", work)
    monkeypatch.setattr("grokscope.circuits.workers.Parallel", work)

    def too_long(*args: object) -> None:
        raise Worked("too long")

    before = signal.signal(signal.SIGALRM, too_long)
    yield
    signal.signal(signal.SIGALRM, before)


def test_each_public_callable_has_a_row_and_each_parameter_a_kind() -> None:
    rows = [function for function, _, _ in ROWS.values()]
    without = sorted({name for name, function in public() if not any(same(function, row) for row in rows)})
    assert not without, f"no row in tests/settings.py: {', '.join(without)}"
    known = {name: kinds_of(name) for name in ROWS}
    unknown = [f"{n}({p})" for n, (f, _, _) in ROWS.items() for p in _names(f) if p not in known[n]]
    assert not unknown, f"neither a setting nor data: {', '.join(unknown)}"
    assert not set(DATA) & set(SETTINGS)
    wrong = [f"{n}({p})" for n, (f, _, special) in ROWS.items() for p in special if p not in _names(f)]
    assert not wrong, f"rows name parameters that are not there: {', '.join(wrong)}"


def _names(function: Any) -> list[str]:
    hidden = (inspect.Parameter.VAR_POSITIONAL,)
    return [name for name, each in inspect.signature(function).parameters.items() if each.kind not in hidden]


CASES = [(name, parameter) for name in ROWS for parameter in settings_of(name)]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_bad_values_are_refused_by_name_before_any_work(
    name: str, parameter: str, world: SimpleNamespace, place: Path
) -> None:
    kind = settings_of(name)[parameter]
    failed = [f"{value!r}: {why}" for value in KINDS[kind] if (why := wrong_with(name, {parameter: value}, world, place))]
    assert not failed, f"{name}({parameter}), a {kind}:\n" + "\n".join(failed)


def wrong_with(name: str, bad: dict[str, Any], world: SimpleNamespace, place: Path) -> str:
    """What is wrong with how bad values are refused; empty if nothing is."""
    function, usual, _ = ROWS[name]
    given = {parameter: _placed(value, place) for parameter, value in bad.items()}
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        function(**usual(world) | given)
        return "not refused"
    except (ValueError, TypeError, KeyError, IndexError, OSError) as error:
        said = str(error)
    except Worked as error:
        if error.args:
            return f"not refused within {LONGEST} seconds"
        return "refused only after work had begun"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        left = sorted(str(path.relative_to(place)) for path in place.rglob("*"))
        for path in place.iterdir():
            if path.name not in ("file", "folder"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    if left != ["file", "folder"]:
        return f"files were written: {left}"
    lacking = [parameter for parameter in given if not _names_it(name, parameter, said)]
    lacking += [repr(value) for value in given.values() if not _says(value, said)]
    return f"the error does not say {', '.join(lacking)}: {said}" if lacking else ""


ALSO: dict[str, str] = {
    "which": "checkpoint",
    "receiver": "node",
    "answer_role": "answer role",
    "rows": "row",
    "places": "places?|roles?",
    "a": "circuit",
    "b": "circuit",
    "n": "asked for",
    "conditions": "lacks",
    "cell": "layer|roles?",
    "control": "roles?",
    "reading": "nothing to show",
    "value": "nothing to show",
}
"""What else a parameter may be called, where that is the user's word for it."""


def _names_it(name: str, parameter: str, said: str) -> bool:
    words = [parameter, parameter.removesuffix("s"), ALSO.get(parameter, parameter)]
    if parameter == "path" or parameter in ("folder",):
        words.append("/|path")  # an error of a file names the file
    if parameter == "name":
        words += ["split", "study", "table", "node", "edge"]
    return any(re.search(rf"(?<![a-z_]){word}(?![a-z_])" if word != "/|path" else word, said) for word in words)


def _says(value: Any, said: str) -> bool:
    shown = {repr(value), str(value), f"a {type(value).__name__}", type(value).__name__}
    if isinstance(value, int) and not isinstance(value, bool):
        shown.add(f"{value:,}")
    if isinstance(value, type):
        shown.add(f"the class {value.__name__}")
    if isinstance(value, list | tuple):
        flat = [inner for each in value for inner in (each if isinstance(each, tuple) else (each,))]
        shown |= {text for each in flat for text in (repr(each), str(each))}
    if isinstance(value, dict):
        shown |= {text for each in value.values() for text in (repr(each), f"a {type(each).__name__}")}
        shown |= {repr(name) for name in value if not isinstance(name, str)}
    if isinstance(value, tuple) and not value:
        shown |= {"none", "no ", "empty"}
    if isinstance(value, str) and len(value) > 60:
        shown.add(value[:20])
    return any(each and each in said for each in shown) or value == ""


def _placed(value: Any, place: Path) -> Any:
    return value.format(tmp=place) if isinstance(value, str) and "{tmp}" in value else value


COUPLES = [(name, *couple) for name in ROWS for couple in pairwise(settings_of(name))]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(("name", "one", "other"), COUPLES)
def test_two_bad_settings_are_named_in_one_error(
    name: str, one: str, other: str, world: SimpleNamespace, place: Path
) -> None:
    bad = {parameter: KINDS[settings_of(name)[parameter]][0] for parameter in (one, other)}
    assert not (why := wrong_with(name, bad, world, place)), f"{bad}: {why}"


COMMANDS = {
    "analyses/study/demo.py": demo.main,
    "analyses/study/run.py": study_run.main,
    "analyses/study/compare_command.py": partial(compare_command.main, ["a", "b"]),
    "circuits/draw_command.py": partial(draw_command.main, [Path("a")]),
    "tasks/training/train_command.py": train_command.main,
}


def commands() -> dict[str, list[str]]:
    """By file the options of each command line."""
    root, found = Path(__file__).parents[1], {}
    for path in (*(root / "examples").rglob("*.py"), *(root / file for file in COMMANDS)):
        mains = [each for each in ast.parse(path.read_text()).body if getattr(each, "name", "") == "main"]
        found |= {str(path.relative_to(root)): [each.arg for each in main.args.args] for main in mains}
    return found


WRITES = {  # by command, where it writes
    "analyses/study/demo.py": "folder to write",
    "analyses/study/run.py": "folder to write",
    "analyses/study/compare_command.py": "file to write",
    "circuits/draw_command.py": "file to write",
    "tasks/training/train_command.py": "folder to write",
    "examples/bridge_evidence.py": "file to write",
    "examples/compare_circuits.py": "folder to write",
    "examples/composition_numbers.py": "file to write",
    "examples/compositions.py": "folder to write",
    "examples/diagrams.py": "folder to write",
    "examples/pictures.py": "folder to write",
    "examples/pilot.py": "folder to write",
    "examples/replicate_circuits.py": "file to write",
    "examples/published_format.py": "folder to write",
    "examples/study.py": "folder to write",
    "examples/trm.py": "folder to write",
    "examples/trm_evidence.py": "file to write",
    "examples/trm_standings.py": "file to write",
}


def test_each_command_that_writes_has_a_row() -> None:
    assert {file for file, options in commands().items() if {"out", "work"} & set(options)} == set(WRITES)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("file", WRITES)
def test_commands_refuse_where_they_cannot_write_before_any_work(file: str, place: Path) -> None:
    main = COMMANDS.get(file) or example(file).main
    option = next(each for each in ("out", "work") if each in commands()[file])
    for value in KINDS[WRITES[file]][:3]:
        given = Path(_placed(value, place))
        with pytest.raises(ValueError, match=rf"{option} is {re.escape(str(given))}, needed is a"):
            main(**{option: given})
    assert sorted(path.name for path in place.rglob("*")) == ["file", "folder"]


STUDIES = ("", "nonsense", "{tmp}/folder", "{tmp}/file")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("n_jobs", KINDS["jobs at a time"])
def test_standings_are_not_measured_by_so_many_at_a_time(n_jobs: Any, place: Path) -> None:
    with pytest.raises(ValueError, match=r"n_jobs is .*needed is a number of them"):
        example("examples/trm_standings.py").main(out=place / "a.csv", n_jobs=n_jobs)
    assert not (place / "a.csv").exists()


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("study", [*STUDIES, "pilot", "study"])
def test_standings_of_no_such_study_are_refused(study: str, place: Path) -> None:
    said = (
        "arms .* are none of natural, both_hops, second_hop"
        if study in ("pilot", "study")
        else "study|no run|folder|is no path"
    )
    with pytest.raises((ValueError, OSError, KeyError), match=said):
        example("examples/trm_standings.py").main(study=_placed(study, place), out=place / "a.csv")
    assert sorted(path.name for path in place.rglob("*")) == ["file", "folder"]


def test_what_was_shipped_stays_where_nothing_is_there_to_ship(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, shipped = example("examples/ship_measurements.py"), place / "measured" / "folder.zip"
    shipped.parent.mkdir()
    shipped.write_text("before")
    monkeypatch.setattr(module.tasks, "load_study", lambda name: SimpleNamespace(folder=place / "folder"))
    (others := place / "others").mkdir()
    (others / "report.json").write_text("{}")
    said = {"nothing": "there is none", "file": "there is none", "folder": "it holds no", "others": "of no graph are report"}
    for name, why in said.items():
        with pytest.raises(ValueError, match=rf"measured is .*{name}', needed is a folder of measurements: {why}"):
            module.main(study="study", measured=place / name)
        assert shipped.read_text() == "before"


@pytest.mark.parametrize("study", STUDIES)
def test_measurements_of_no_such_study_are_not_shipped(study: str, place: Path) -> None:
    with pytest.raises((ValueError, OSError, KeyError), match=r"study|no run|folder|is no path"):
        example("examples/ship_measurements.py").main(study=_placed(study, place), measured=place / "folder")


def test_a_graph_that_fills_memory_is_refused_with_what_it_takes() -> None:
    """Facts and compositions counted as they would be, against the machine's memory."""
    with pytest.raises(ValueError, match=r"n_entities=1,000,000,000,000.*20,000,000,000,000 facts.*GiB of memory"):
        tasks.TwoHopTask.random(n_entities=10**12)
    with pytest.raises(ValueError, match=r"d_model=1,000,000.*GiB of memory"):
        tasks.build_model(
            tasks.ModelConfig(d_model=10**6, n_heads=1, n_blocks=1, n_loops=1), tasks.TwoHopTask.random(**SMALL)
        )


SMALL: dict[str, Any] = dict(n_entities=12, n_relations=8, out_degree=5)
SHAPES = [
    tasks.ModelConfig.tiny(),
    tasks.TRMConfig.tiny(n_prefix=2, halting=True),
    tasks.ModelConfig(d_model=12, n_heads=3, n_blocks=2, n_loops=1, mlp_ratio=3, tie_embeddings=False),
]


@pytest.mark.parametrize("shape", SHAPES, ids=["tied", "token mixing", "untied"])
def test_a_disk_that_is_too_small_is_refused_with_the_numbers(
    shape: tasks.ModelConfig | tasks.TRMConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said to be needed covers what a training leaves, and nothing is written where it is not there."""
    task = tasks.TwoHopTask.random(**SMALL, layout="four_slots")
    config = tasks.TrainConfig.tiny(max_steps=3, evaluate_every=1, n_checkpoints=1)
    needed = bytes_to_write(tmp_path / "run", task, shape, config)
    one = 4 * sum(each.numel() for each in trained_parameters(tasks.build_model(shape, task), shape).values())
    assert needed == one * (min(3, len(config.checkpoint_steps) + 4) + 3 * 7)  # three states of four sets and three averages
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=needed - 1))
    with pytest.raises(ValueError, match=rf"takes {needed:,} bytes in .*run, where {needed - 1:,} are free"):
        tasks.train(task, shape, config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=needed))
    run = tasks.train(task, shape, config, tmp_path / "run", progress=False)
    left = sum(path.stat().st_size for path in run.folder.glob("checkpoints/*"))
    assert one * len(run.steps) < left < needed
    job = tasks.Job("again", task, shape, config)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=2 * needed - 1))
    with pytest.raises(ValueError, match=rf"these 2 trainings write takes? {2 * needed:,} bytes"):
        tasks.sweep([job, replace(job, name="once more")], tmp_path / "sweep", n_jobs=1)


def test_job_names_that_a_file_system_may_take_for_one_are_refused(task: tasks.TwoHopTask, tmp_path: Path) -> None:
    shape = (task, tasks.ModelConfig.tiny(), tasks.TrainConfig.tiny())
    for names in (("a", "A"), ("straße", "STRASSE"), ("é", "e\u0301"), ("a", "a")):
        jobs = [tasks.Job(name, *shape) for name in names]
        with pytest.raises(ValueError, match=r"differ in case|different names"):
            tasks.sweep(jobs, tmp_path)
    assert not list(tmp_path.iterdir())
    for name in ("natural-g1-r0", "both_hops-s0", ".hidden", "a b", "grün", "con-1"):
        assert tasks.Job(name, *shape).name == name


def test_a_training_whose_end_is_never_reached_is_refused(tmp_path: Path) -> None:
    """A split that is empty is found before the first step."""
    task = tasks.TwoHopTask.random(**SMALL, ood_fraction=0.0)
    assert not len(task.split("test_inferred_ood"))
    config = tasks.TrainConfig.tiny(stop_at="ood_generalised")
    with pytest.raises(ValueError, match=r"stop_at='ood_generalised' is never reached: test_inferred_ood holds no question"):
        tasks.train(task, tasks.ModelConfig.tiny(), config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_evaluations_that_no_table_holds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"max_steps=1000000000 and evaluate_every=1 ask for 1,000,000,000 evaluations"):
        tasks.TrainConfig(max_steps=10**9, evaluate_every=1)


def test_every_kind_of_setting_has_values_that_are_refused_and_is_used() -> None:
    used = {kind for name in ROWS for kind in settings_of(name).values()}
    assert used <= set(KINDS) and not set(KINDS) - used and all(KINDS.values())
