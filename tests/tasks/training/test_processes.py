"""What is sent to other processes arrives, and no process is forked."""

import pickle
import re
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
import torch
from conftest import strong_model, wide_pairs
from same import assert_same

from grokscope.analyses import discover, faithfulness, path_patch
from grokscope.tasks import ModelConfig, Run, TrainConfig, TwoHopTask, grid, make_pairs, sweep

ROOT = Path(__file__).parents[3]


def measured(job: Any) -> Any:
    """In another process: effects, and a circuit judged."""
    model, pairs, others, circuit, *rest = job
    assert len(rest) == 5
    return path_patch(model, pairs, progress=False), faithfulness(model, circuit, others, n_random=1), rest


@pytest.fixture
def job(task: TwoHopTask, tiny_run: Run) -> tuple[Any, ...]:
    model, pairs, others = strong_model(3), wide_pairs(3), wide_pairs(4, n=9)
    made = make_pairs(task, split="test_inferred_iid", contrast="head", n=8, seed=0)
    jobs = grid({"a": task}, {"tiny": (ModelConfig.tiny(), TrainConfig.tiny())}, [0])
    return (
        model,
        pairs,
        others,
        discover(model, pairs, threshold=0.001),
        task,
        made,
        tiny_run,
        jobs,
        tiny_run.checkpoint("final"),
    )


def test_what_users_hold_is_the_same_in_a_started_process(job: tuple[Any, ...]) -> None:
    here = measured(job)
    with get_context("forkserver").Pool(1) as pool:  # as spawn, but the parent's main module is imported by it
        there = pool.map_async(measured, [job]).get(timeout=120)[0]
    for one, other in zip(here[:2], there[:2], strict=True):  # up to the order of sums, which is another with other threads
        pd.testing.assert_frame_equal(one.table, other.table, rtol=1e-9)
    assert_same(here[0].provenance, there[0].provenance)
    task, made, run, jobs, checkpoint = there[2]
    assert task.key == job[4].key and made.hashes == job[5].hashes and made.key == job[5].key
    assert run.metrics.equals(job[6].metrics) and [each.name for each in jobs] == ["a-tiny-s0"]
    assert checkpoint.step == job[8].step


def test_what_users_hold_is_pickled(job: tuple[Any, ...]) -> None:
    again = pickle.loads(pickle.dumps(job))
    tokens = job[1].clean
    assert torch.equal(again[0](tokens), job[0](tokens)) and again[3].to_json() == job[3].to_json()


def test_a_backend_that_forks_is_refused_rather_than_left_to_hang(task: TwoHopTask, tmp_path: Path) -> None:
    jobs = grid({"a": task}, {"tiny": (ModelConfig.tiny(), TrainConfig.tiny())}, [0])
    with joblib.parallel_config(backend="multiprocessing"), pytest.raises(ValueError, match="MultiprocessingBackend"):
        sweep(jobs, tmp_path, n_jobs=2)


def test_every_place_that_starts_processes_asks_for_what_a_backend_that_forks_refuses() -> None:
    for folder in ("analyses", "tasks", "circuits", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            source = path.read_text()
            of_workers = path.name == "workers.py"  # which asks joblib's processes for their state and starts none
            assert not re.search(r"os\.fork|get_context|[^y]Process\(|Pool\(", source), path
            assert of_workers or "multiprocessing" not in source.replace("`multiprocessing`", ""), path
            assert source.count("Parallel(") == 0 or "return_as" in source, path


PROGRAM = """
import sys, torch
from multiprocessing import get_context
def product(n): return float((torch.ones(n, n) @ torch.ones(n, n)).sum())
if __name__ == "__main__":
    torch.set_num_threads(2)
    product(600)
    with get_context(sys.argv[1]).Pool(2) as pool: print(pool.map(product, [600] * 2))
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_are_started_end(method: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == str([600.0**3] * 2)
