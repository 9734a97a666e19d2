"""Sweeps on processes, on a real dask cluster, with a failing run and with workers that are killed."""

import os
import signal
from pathlib import Path

import joblib
import pytest
from processes import IN_PROC, stopped, worker_killed
from small_runs import small

from grokscope.circuits.lock import LOCK, only_writer
from grokscope.tasks import Job, ModelConfig, ResumeWarning, Run, TrainConfig, grid, sweep
from grokscope.tasks.questions.evaluation import evaluate
from grokscope.tasks.runs.folder import state_name
from grokscope.tasks.training import train as training

CONFIGS = {"tiny": (ModelConfig.tiny(), TrainConfig.tiny(max_steps=20, evaluate_every=10, n_checkpoints=1))}


def test_a_grid_has_every_combination_with_its_own_seed() -> None:
    jobs = grid({"a": small(), "b": small(1)}, CONFIGS, [3, 4])
    assert [job.name for job in jobs] == ["a-tiny-s3", "a-tiny-s4", "b-tiny-s3", "b-tiny-s4"]
    assert [job.train_config.seed for job in jobs] == [3, 4, 3, 4] and jobs[2].task.seed == 1


def test_one_failure_does_not_take_the_others_with_it_and_what_is_finished_is_skipped(tmp_path: Path) -> None:
    jobs = grid({"a": small()}, CONFIGS, [0, 1])
    settings = {"learning_rate": 1e30, "warmup_steps": 0, "bfloat16": False}
    broken = Job("broken", small(), ModelConfig.tiny(), TrainConfig.tiny(max_steps=20, **settings))
    table = sweep([jobs[0], broken, jobs[1]], tmp_path, n_jobs=2)
    assert table["run"].tolist() == ["a-tiny-s0", "broken", "a-tiny-s1"]
    assert table["outcome"].tolist() == ["trained", "failed", "trained"]
    assert table["error"].iloc[1].startswith("FloatingPointError: ") and table["error"].iloc[0] == ""
    assert (table["final"].dropna() == 20).all() and Run.load(tmp_path / "a-tiny-s0").is_finished
    again = sweep(jobs, tmp_path, n_jobs=2)
    assert again["outcome"].tolist() == ["finished before"] * 2
    changed = Job(jobs[0].name, small(7), *CONFIGS["tiny"])
    (error,) = sweep([changed], tmp_path, n_jobs=1)["error"]
    assert "holds a run with other settings" in error


def test_names_must_differ_and_there_must_be_a_job(tmp_path: Path) -> None:
    job = grid({"a": small()}, CONFIGS, [0])[0]
    with pytest.raises(ValueError, match="a-tiny-s0 occur twice"):
        sweep([job, job], tmp_path)
    with pytest.raises(ValueError, match="there is no job"):
        sweep([], tmp_path)


def test_a_run_that_another_process_trains_fails_with_its_name_and_is_not_touched(tmp_path: Path) -> None:
    jobs = grid({"a": small()}, CONFIGS, [0, 1])
    with only_writer(tmp_path / jobs[0].name):
        table = sweep(jobs, tmp_path, n_jobs=1)
        assert [path.name for path in (tmp_path / jobs[0].name).iterdir()] == [LOCK]
    assert table["outcome"].tolist() == ["failed", "trained"]
    assert table["error"][0].startswith(
        f"FolderInUseError: {tmp_path / jobs[0].name} is being written by process {os.getpid()}"
    )


def test_the_table_says_where_a_damaged_state_was_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = grid({"a": small()}, {"tiny": (ModelConfig.tiny(), TrainConfig.tiny(max_steps=6, evaluate_every=2))}, [0])
    with monkeypatch.context() as patch:
        seen: list[int] = []
        patch.setattr(training, "evaluate", lambda *args: seen.append(1) or (evaluate(*args) if len(seen) < 3 else 1 / 0))
        assert sweep([job], tmp_path, n_jobs=1)["error"].tolist() == ["ZeroDivisionError: division by zero"]
    (tmp_path / job.name / state_name(4)).write_bytes(b"")
    with pytest.warns(ResumeWarning):
        table = sweep([job], tmp_path, n_jobs=1)
    assert table["outcome"].tolist() == ["trained"] and "goes on from step 2" in table["warning"][0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_sweep_saves_says_how_far_it_came_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    config = TrainConfig.tiny(max_steps=6, evaluate_every=2, n_checkpoints=1)
    jobs = grid({"a": small()}, {"tiny": (ModelConfig.tiny(), config)}, [0, 1, 2])
    seen: list[int] = []

    def stopped(*args: object) -> object:
        seen.append(1)
        if len(seen) == 4:  # the first evaluation of the second training
            os.kill(os.getpid(), number)
        return evaluate(*args)

    with monkeypatch.context() as patch:
        patch.setattr(training, "evaluate", stopped)
        with pytest.raises(KeyboardInterrupt) as raised:
            sweep(jobs, tmp_path / "out", n_jobs=1)
    assert raised.value.exit_code == 128 + number and not (tmp_path / "out" / jobs[2].name).exists()
    saved = f"what others had begun is saved in {tmp_path / 'out'}, the same call goes on"
    done = f"stopped: 1 of 3 trainings are finished; {saved}"
    assert str(raised.value) == done
    table = sweep(jobs, tmp_path / "out", n_jobs=1)
    assert table["outcome"].tolist() == ["finished before", "trained", "trained"]
    sweep(jobs[1:2], tmp_path / "whole", n_jobs=1)
    found, whole = (Run.load(tmp_path / folder / jobs[1].name) for folder in ("out", "whole"))
    assert found.metrics.drop(columns="seconds").equals(whole.metrics.drop(columns="seconds"))


@IN_PROC
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_trainings_in_workers_are_saved_and_no_worker_is_left(tmp_path: Path, number: signal.Signals) -> None:
    said = stopped(
        "stopped_sweep.py", str(tmp_path), "2", number=number, once=lambda: len([*tmp_path.glob("*/metrics.csv")]) > 1
    )
    saved = f"what others had begun is saved in {tmp_path}, the same call goes on"
    assert said == f"stopped: 0 of 3 trainings are finished; {saved}"
    for name in ("a-tiny-s0", "a-tiny-s1"):
        rows, states = Run.load(tmp_path / name).metrics["step"], sorted((tmp_path / name).glob("state_*"))
        assert int(states[-1].stem.partition("_")[2]) >= rows.iloc[-1], "nothing that was trained is lost"


@IN_PROC
@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_run_goes_on(tmp_path: Path) -> None:
    config = (ModelConfig.tiny(), TrainConfig.tiny(max_steps=200, evaluate_every=20, n_checkpoints=1))
    jobs = grid({"a": small()}, {"tiny": config}, [0, 1])
    with worker_killed(once=lambda: any(tmp_path.glob("*/metrics.csv"))):
        table = sweep(jobs, tmp_path, n_jobs=2)
    assert (table["outcome"] != "failed").all() and (table["final"] == 200).all()
    whole = sweep(jobs[:1], tmp_path / "whole", n_jobs=1)
    assert whole["final"].tolist() == [200]
    kept, plain = (
        Run.load(folder / "a-tiny-s0").metrics.drop(columns="seconds") for folder in (tmp_path, tmp_path / "whole")
    )
    assert kept.equals(plain)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_same_call_runs_on_a_dask_cluster(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    jobs = grid({"a": small()}, CONFIGS, [0, 1])
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        table = sweep(jobs, tmp_path)
    assert table["outcome"].tolist() == ["trained", "trained"] and (table["final"] == 20).all()
