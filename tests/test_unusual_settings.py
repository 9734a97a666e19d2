"""Unusual values that mean a usual one are taken for it, and what is none is refused in the library's words."""

import dataclasses
import inspect
import json
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from carry import carry_pairs
from settings import KINDS, UNUSUAL, Word, kinds_of

from grokscope import analyses, circuits, tasks
from grokscope.circuits.arguments import LONGEST_NUMBER, native, shortly
from grokscope.circuits.documents import FileError
from grokscope.circuits.writing import write_atomic

SIZES: dict[str, Any] = dict(n_entities=12, n_relations=8, out_degree=5)


pytestmark = pytest.mark.usefixtures("as_users_call")


RECORDS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "TrainConfig": (tasks.TrainConfig, dict(max_steps=10)),
    "ModelConfig": (tasks.ModelConfig, dict(d_model=32, n_heads=2, n_blocks=1, n_loops=2)),
    "TRMConfig": (tasks.TRMConfig, dict(d_model=32, d_mixer=8, d_mlp=64)),
    "Supervision": (tasks.Supervision, {}),
}
CASES = [
    (name, parameter, number)
    for name in RECORDS
    for parameter, kind in kinds_of(name).items()
    for number in range(len(UNUSUAL.get(kind, ())))
]


def test_each_kind_of_setting_of_a_record_has_unusual_values() -> None:
    kinds = {kind for name in RECORDS for kind in kinds_of(name).values()}
    assert kinds <= set(UNUSUAL) and set(UNUSUAL) <= set(KINDS)


@pytest.mark.parametrize(("name", "parameter", "number"), CASES)
def test_unusual_values_are_those_that_they_mean(name: str, parameter: str, number: int) -> None:
    """Equal, of Python's types, and the same text as JSON."""
    (record, usual), kind = RECORDS[name], kinds_of(name)[parameter]
    unusual, meant = UNUSUAL[kind][number]
    if kind == "choice":  # each has its own
        meant = inspect.signature(record).parameters[parameter].default
        unusual = Word(meant)
    found, expected = (record(**usual | {parameter: value}) for value in (unusual, meant))
    assert found == expected and type(getattr(found, parameter)) is type(meant)
    assert json.dumps(dataclasses.asdict(found)) == json.dumps(dataclasses.asdict(expected))


NUMPY: dict[type, Callable[[Any], Any]] = {int: np.int64, float: np.float64, bool: np.bool_, str: Word}


def in_numpy(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Each setting as numpy has it, a tuple as a list."""
    found = {}
    for name, value in settings.items():
        values = [NUMPY[type(each)](each) for each in value] if isinstance(value, tuple) else value
        found[name] = NUMPY[type(value)](value) if type(value) in NUMPY else values
    return found


def folder_of(folder: Path) -> dict[str, bytes]:
    """By name the files of a folder, but for seconds and times, and what hashes them."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    for name in ("metrics.csv", "manifest.json", ".lock"):
        found.pop(name, None)
    return {name: content for name, content in found.items() if not name.startswith("state_")}


def test_folders_of_unusual_settings_are_those_of_usual_ones(tmp_path: Path) -> None:
    sizes = dict(SIZES, ood_fraction=0.1, test_fraction=0.25, phi=2.0, layout="slots", seed=3)
    dose = dict(hop1_share=0.5, hop1_compositions=2)
    shape = dict(d_model=16, n_heads=2, n_blocks=1, n_loops=2, bidirectional=True)
    training = dict(max_steps=4, evaluate_every=2, batch_size=8, learning_rate=0.001, betas=(0.9, 0.98), bfloat16=False)
    for name, given in (("plain", dict), ("numpy", in_numpy)):
        task = tasks.TwoHopTask.random(**given(sizes), supervision=tasks.Supervision(**given(dose)))
        task.to_files(tmp_path / f"{name} data")
        configs = tasks.ModelConfig(**given(shape)), tasks.TrainConfig(**given(training))
        tasks.train(task, *configs, str(tmp_path / name), progress=False)
    plain = folder_of(tmp_path / "plain")
    assert len(plain) > 3 and folder_of(tmp_path / "numpy") == plain
    assert folder_of(tmp_path / "numpy data") == folder_of(tmp_path / "plain data")
    assert tasks.Run.load(tmp_path / "numpy").train_config == tasks.TrainConfig(**training)
    assert tasks.Run.load(tmp_path / "numpy").checkpoint(np.int64(4)).step == 4


def test_arrays_of_seeds_and_generators_of_jobs_are_swept(tmp_path: Path) -> None:
    task, shape = tasks.TwoHopTask.random(**SIZES), (tasks.ModelConfig.tiny(), tasks.TrainConfig.tiny(max_steps=1))
    jobs = tasks.grid({"a": task}, {"b": shape}, np.arange(2))
    assert [job.name for job in jobs] == [f"a-b-s{seed}" for seed in range(2)]
    assert [job.train_config for job in jobs] == [dataclasses.replace(shape[1], seed=seed) for seed in range(2)]
    found = tasks.sweep((job for job in jobs), tmp_path, n_jobs=np.int64(1), threads=np.int64(1))
    assert found["outcome"].tolist() == ["trained", "trained"] and found["error"].tolist() == ["", ""]
    for wrong in (jobs[0], ["a"], "a", {"a": jobs[0]}, 3, [jobs[0], None]):
        with pytest.raises(ValueError, match=r"jobs (is|holds) .*needed are"):
            tasks.sweep(wrong, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_clipping_can_be_turned_off(tmp_path: Path) -> None:
    """As with a norm that no gradient reaches; the run says so and is resumed."""
    task, shape = tasks.TwoHopTask.random(**SIZES), tasks.ModelConfig.tiny()
    configs = {norm: tasks.TrainConfig.tiny(max_steps=2, clip_norm=norm) for norm in (math.inf, 1e30, 1e-3)}
    runs = {norm: tasks.train(task, shape, each, tmp_path / f"{norm}", progress=False) for norm, each in configs.items()}
    weights = {norm: run.checkpoint("final").weights() for norm, run in runs.items()}
    assert all(torch.equal(each, weights[1e30][name]) for name, each in weights[math.inf].items())
    assert any(not torch.equal(each, weights[1e-3][name]) for name, each in weights[math.inf].items())
    assert tasks.Run.load(tmp_path / "inf").train_config == configs[math.inf] != configs[1e30]
    tasks.train(task, shape, configs[math.inf], tmp_path / "inf", resume=True, progress=False)
    for wrong in (-math.inf, math.nan, "infinite"):
        with pytest.raises(ValueError, match="clip_norm is"):
            tasks.TrainConfig(max_steps=1, clip_norm=wrong)


def test_numbers_that_python_cannot_write_or_round_are_refused_in_words() -> None:
    assert shortly(-LONGEST_NUMBER) == "a whole number of more than 60 digits" and shortly(9) == "9"
    for wrong in (10**400, 10**5000, -(10**5000)):
        for name in ("learning_rate", "clip_norm", "weight_decay", "max_steps", "seed"):
            with pytest.raises(ValueError, match=f"{name} is a whole number of more than 60 digits"):
                tasks.TrainConfig(**{"max_steps": 1} | {name: wrong})
        with pytest.raises(ValueError, match=r"threshold is a whole number of more .*max_memory is .* than 60 digits"):
            analyses.discover(None, None, threshold=wrong, max_memory=wrong)
        with pytest.raises(ValueError, match="n_entities is a whole number of more than 60 digits"):
            tasks.TwoHopTask.random(n_entities=-abs(wrong))
        with pytest.raises(ValueError, match=r"a whole number of more than 60 digits"):
            tasks.make_pairs(tasks.TwoHopTask.random(**SIZES), split="test_inferred_iid", contrast="bridge", n=wrong, seed=0)


def test_numbers_of_numpy_do_not_wrap_around() -> None:
    with pytest.raises(ValueError, match="GiB of memory"):
        tasks.TwoHopTask.random(n_entities=np.int64(2**62), n_relations=np.int64(2**62), out_degree=np.int64(4))
    with pytest.raises(ValueError, match="there can be"):
        empty = np.zeros(0, dtype=np.int64)
        tasks.KnowledgeGraph(np.int64(2**33), np.int64(2**31), empty, empty, empty)


def test_choices_that_are_no_words_are_refused() -> None:
    task = tasks.TwoHopTask.random(**SIZES)
    for wrong in (np.array("bridge"), np.array(["bridge", "head"]), ["bridge"]):
        with pytest.raises(KeyError, match=r"no contrast a (ndarray|list)"):
            tasks.make_pairs(task, split="test_inferred_iid", contrast=wrong, n=1, seed=0)
        with pytest.raises(KeyError, match=r"no role a (ndarray|list)"):
            tasks.perturb(task, task.split("test_inferred_iid"), wrong, seed=0)
        with pytest.raises(KeyError, match=r"no split a (ndarray|list)"):
            task.split(wrong)
        for measure in (analyses.discover, analyses.edge_attribution):
            with pytest.raises(ValueError, match=r"no method a (ndarray|list)"):
                measure(None, None, method=wrong)


def circuit(**provenance: Any) -> circuits.Circuit:
    graph = circuits.ComputationGraph.transformer(("a", "b"), "b", n_layers=1, n_heads=1, n_blocks=1)
    rows = [dict(sender=str(e.sender), receiver=str(e.receiver), effect=0.5, stderr=0.1) for e in graph.edges]
    return circuits.Circuit(pd.DataFrame(rows).assign(n=2, gap=1.0, kept=True), graph, provenance)


def test_what_is_drawn_and_compared_is_circuits() -> None:
    one = circuit()
    for wrong in ([one], 3, "a", None, {"a": 3}, {"a": [one]}):
        with pytest.raises(ValueError, match=r"circuits (is|holds) .*needed (is|are) "):
            circuits.draw(wrong)
    for wrong in ([one, one], one, {"a": one, "b": 3}, None):
        with pytest.raises(ValueError, match=r"circuits (is|holds) .*needed (is|are) "):
            circuits.compare(wrong)
    steps = circuits.draw({np.int64(2): one, np.int64(1): one})
    assert steps.data == circuits.draw({1: one, 2: one}).data != circuits.draw({"1": one, "2": one}).data


HASHES = {"clean": ["a", "b"], "corrupt": ["c", "d"], "unit": ["1", "2"]}
NO_HASHES = [
    *(3, "abc", [], ["a"], {}, {"clean": []}, {"clean": ["a"]}, {**HASHES, "unit": [1, 2]}, {**HASHES, "unit": 3}),
    *({**HASHES, "clean": "ab"}, {**HASHES, "corrupt": ["c"]}, {**HASHES, "clean": [["a"], "b"]}, {**HASHES, "unit": None}),
]


@pytest.mark.parametrize("wrong", NO_HASHES, ids=range(len(NO_HASHES)))
def test_hashes_that_are_none_are_refused_by_circuits_and_by_pairs(wrong: Any) -> None:
    assert circuit(hashes=HASHES).provenance["hashes"] == HASHES
    with pytest.raises(ValueError, match=r"provenance\['hashes'\]: "):
        circuit(hashes=wrong)
    pairs = carry_pairs(20)
    for ask in (pairs.apart_from, pairs.shared_with):
        with pytest.raises(ValueError, match=r"hashes is .*needed are pairs, or hashes as"):
            ask(wrong)
        with pytest.raises(ValueError, match=r"hashes is .*needed are pairs, or hashes as"):
            ask(circuit(hashes=HASHES))


def test_a_saved_circuit_with_hashes_that_are_none_is_refused(tmp_path: Path) -> None:
    made = circuit()
    object.__setattr__(made, "provenance", {"hashes": {"clean": []}})
    made.save(tmp_path / "circuit.json")
    with pytest.raises(FileError, match=r"circuit\.json.*provenance\['hashes'\]: lacks"):
        circuits.Result.load(tmp_path / "circuit.json")
    with pytest.raises(ValueError, match="provenance is 3"):
        circuits.Circuit(made.table, made.graph, 3)


def test_pairs_are_kept_apart_from_pairs_as_from_their_hashes() -> None:
    pairs = carry_pairs(60)
    first = pairs.take(torch.arange(5))
    assert pairs.apart_from(first).key == pairs.apart_from(first.hashes).key != pairs.key
    assert all(torch.equal(rows, pairs.shared_with(first.hashes)[name]) for name, rows in pairs.shared_with(first).items())


NO_PATHS = {"half a character": "a\ud800", "half of bytes": "a\udcff", "name": "x" * 256, "path": "/".join(["x" * 200] * 25)}


@pytest.mark.parametrize("case", NO_PATHS)
@pytest.mark.parametrize("make", [str, Path])
def test_paths_that_no_file_can_have_are_refused_in_words(
    case: str, make: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, task = make(NO_PATHS[case]), tasks.TwoHopTask.random(**SIZES)
    configs = tasks.ModelConfig.tiny(), tasks.TrainConfig.tiny(max_steps=1)
    calls: dict[str, Callable[[], Any]] = {
        "path": lambda: circuit().save(path),
        "path ": lambda: circuits.Result.load(path),
        " path": lambda: circuits.draw(circuit()).save(path),
        "out": lambda: tasks.train(task, *configs, path, progress=False),
        "out ": lambda: tasks.sweep([tasks.Job("a", task, *configs)], path),
        "folder": lambda: task.to_files(path),
        "folder ": lambda: tasks.TwoHopTask.from_files(path),
        " folder": lambda: tasks.Run.load(path),
        "name": lambda: tasks.load_study(path),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=rf"{name.strip()} is .*needed is") as caught:
            call()
        assert (str(caught.value).encode() and "surrogates" in str(caught.value)) or "bytes" in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("letter", ["x", "ü", "\N{GRINNING FACE}"], ids=["one byte", "two bytes", "four bytes"])
def test_the_longest_names_can_be_written(letter: str, tmp_path: Path) -> None:
    path = tmp_path / (letter * (255 // len(letter.encode())))
    assert write_atomic(path, "text").read_text() == "text" and list(tmp_path.iterdir()) == [path]


def test_numbers_are_those_of_python() -> None:
    given = [np.int64(1), np.float32(0.5), np.bool_(True), Fraction(1, 2), Word("a"), [1, (2, np.uint8(3))]]
    expected = [1, 0.5, True, 0.5, "a", [1, (2, 3)]]
    assert repr(native(given)) == repr(expected) and type(native(given)[4]) is str
    unlike = [None, np.array(3), 10**400, Fraction(10**400), {"a": 1}, {1}]
    assert all(native(each) is each or native(each) == each for each in unlike)


def test_seeds_of_numpy_draw_what_plain_ones_do() -> None:
    task, seed = tasks.TwoHopTask.random(**SIZES), np.int64(3)
    asked = dict(split="test_inferred_iid", contrast="bridge")
    found, expected = (tasks.make_pairs(task, **asked, n=n, seed=s) for n, s in ((np.int64(4), seed), (4, 3)))
    assert found.key == expected.key and json.dumps(dict(found.recipe)) == json.dumps(dict(expected.recipe))
    assert tasks.NewFacts.random(task, n=np.int64(4), exposure=np.int64(1), seed=seed).seed == 3
    build = tasks.build_model
    models = [build(tasks.ModelConfig.tiny(), task, seed=each).state_dict() for each in (seed, 3)]
    assert all(torch.equal(each, models[1][name]) for name, each in models[0].items())
    model, queries = build(tasks.ModelConfig.tiny(), task), task.split("train_inferred").take(torch.arange(8))
    for analyse in (
        lambda s: analyses.bridge_evidence(model, task, "train_inferred", n=8, seed=s, progress=False),
        lambda s: analyses.logit_lens(model, queries, seed=s, progress=False),
        lambda s: analyses.path_patch(model, expected, seed=s, progress=False),
        lambda s: analyses.edge_attribution(model, expected, seed=s, progress=False),
    ):
        assert analyse(seed).to_json() == analyse(3).to_json()


def test_a_threshold_may_be_a_fraction(tmp_path: Path) -> None:
    effects = circuit()
    found = [circuits.Circuit.from_effects(effects, threshold=each) for each in (Fraction(1, 4), 0.25)]
    assert found[0].to_json() == found[1].to_json() and "0.25" in found[0].provenance["kept"]
