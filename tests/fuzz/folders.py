"""Subjects that are folders: data of a task, runs, studies, and a run that training is to continue."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from small_runs import interrupted

from grokscope.circuits.manifest import Entry, Manifest
from grokscope.tasks import ModelConfig, Run, TrainConfig, TwoHopTask, load_study, train
from grokscope.tasks.questions.files import SIDE_FILE
from grokscope.tasks.questions.task import Task
from grokscope.tasks.runs.shipping import seal_study

from .literal import is_as_published
from .subject import Subject, bits, same
from .target import MANIFEST

MODEL = ModelConfig(d_model=8, n_heads=1, n_blocks=1, n_loops=1)
STOP_AT_STEP = 7


def task_of(seed: int) -> TwoHopTask:
    """A small one; those of two seeds have arrays of the same shapes, or nearly."""
    return TwoHopTask.random(n_entities=8, n_relations=6, out_degree=5, ood_fraction=0.2, test_fraction=0.3, seed=seed)


def config_of(seed: int) -> TrainConfig:
    return TrainConfig.tiny(max_steps=8, evaluate_every=2, n_checkpoints=2, batch_size=16, seed=seed)


def value_of_task(task: Task) -> Any:
    return task.kind, task.settings, {name: bits(array) for name, array in task.to_arrays().items()}


def value_of(run: Run) -> dict[str, Any]:
    """All that a run holds, with the weights of every step."""
    checkpoints = {step: run.checkpoint(step) for step in run.steps}
    weights = {
        step: {name: bits(value) for name, value in checkpoint.model().state_dict().items()}
        for step, checkpoint in checkpoints.items()
    }
    about = {"task": value_of_task(run.task), "model": str(run.model_config), "training": str(run.train_config)}
    accuracy = {step: dict(checkpoint.accuracy) for step, checkpoint in checkpoints.items()}
    return about | {"metrics": run.metrics, "initial": run.initial, "accuracy": accuracy, "weights": weights}


def data(folder: Path) -> list[Subject]:
    """The seven files of a task, and the six that are published, which have no checksums."""

    def read(case: Path) -> Any:
        return value_of_task(TwoHopTask.from_files(case))

    tasks = {seed: task_of(seed) for seed in (1, 2)}
    for seed, task in tasks.items():
        task.to_files(folder / f"data-{seed}")
        shutil.copytree(folder / f"data-{seed}", folder / f"published-{seed}")
        (folder / f"published-{seed}" / SIDE_FILE).unlink()
    published = read(folder / "published-1")

    def without_side_file(case: Path, found: Any) -> bool:
        """Without it the folder is a published one, and nothing tells that it was there."""
        return not (case / SIDE_FILE).exists() and not (case / SIDE_FILE).is_symlink() and same(found, published)

    def is_right(case: Path, found: Any) -> bool:
        return is_as_published(case, TwoHopTask.from_files(case))

    saved, twins = value_of_task(tasks[1]), (folder / "data-2", folder / "published-2")
    return [
        Subject("data folder", folder / "data-1", read, saved, "", twins[0], without_side_file, share=3.0),
        Subject("published folder", folder / "published-1", read, published, "", twins[1], is_right, share=2.0),
    ]


def listed(folder: Path) -> list[Subject]:
    """A folder of which a manifest is all that is known."""
    for seed in (1, 2):
        where, files = folder / f"listed-{seed}", {"a.json": b"[1]" * seed, "more/b.csv": b"step\n%d\n" % seed}
        (where / "more").mkdir(parents=True)
        for name, content in files.items():
            (where / name).write_bytes(content)
        Manifest(where, "sample", {name: Entry.of(content) for name, content in files.items()}).write()

    def read(case: Path) -> dict[str, bytes]:
        manifest = Manifest.read(case, "sample")
        return {name: manifest.bytes_of(name) for name in manifest.files}

    sound = folder / "listed-1"
    return [Subject("manifest", sound, read, read(sound), "", folder / "listed-2", share=1.5)]


def runs(folder: Path) -> list[Subject]:
    """A run, and a study of two with tables."""
    for seed in (1, 2):
        train(task_of(seed), MODEL, config_of(seed), folder / f"run-{seed}", progress=False)
        for replicate in (0, 1):
            path = folder / f"study-{seed}" / f"natural-g{seed}-r{replicate}".replace(f"g{seed}", "g0")
            train(task_of(seed), MODEL, config_of(10 * seed + replicate), path, progress=False)
            _add_table(path, seed + replicate)
        seal_study(folder / f"study-{seed}")

    def read(case: Path) -> Any:
        return value_of(Run.load(case))

    def read_study(case: Path) -> Any:
        study = load_study(case)
        return {"lens": study.tables("lens")} | {name: value_of(run) for name, run in study.runs.items()}

    run, study = folder / "run-1", folder / "study-1"
    return [
        Subject("run", run, read, read(run), "", folder / "run-2", share=4.0),
        Subject("study", study, read_study, read_study(study), "", folder / "study-2", share=1.5),
    ]


def _add_table(run: Path, seed: int) -> None:
    """A table of lens rates as shipped runs have one; the manifest, if the run has one, is to name it."""
    path = run / "tables" / "lens.csv.xz"
    path.parent.mkdir()
    table = pd.DataFrame({"step": [2, 4, 8], "top1": [0.0, 0.25, 1 / (seed + 3)], "split": "test_inferred_iid"})
    table.to_csv(path, index=False)
    if (run / MANIFEST).exists():
        kind = json.loads((run / MANIFEST).read_text())["kind"].removeprefix("manifest of a ")
        files = dict(Manifest.read(run, kind).files) | {"tables/lens.csv.xz": Entry.of(path.read_bytes())}
        Manifest(run, kind, files).write()


def unfinished(folder: Path) -> list[Subject]:
    """A run that stopped before its last evaluation; reading is to continue it."""
    for seed in (1, 2):
        _stop_early(folder / f"stopped-{seed}", seed)

    def read(case: Path) -> Any:
        value = value_of(train(task_of(1), MODEL, config_of(1), case, resume=True, progress=False))
        return value | {"metrics": value["metrics"].drop(columns="seconds")}

    whole = shutil.copytree(folder / "stopped-1", folder / "whole")
    sound = folder / "stopped-1"
    return [Subject("training state", sound, read, read(whole), "", folder / "stopped-2", share=1.5)]


def _stop_early(folder: Path, seed: int) -> None:
    """Train until Ctrl-C comes in the step after the last evaluation but one, so that the newest state holds a loss."""
    assert interrupted(lambda: train(task_of(seed), MODEL, config_of(seed), folder, progress=False), STOP_AT_STEP)
