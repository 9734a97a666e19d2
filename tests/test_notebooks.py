"""Every notebook runs from top to bottom; the tour does so from a wheel, see test_packaging."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from notebooks import LITTLE, NOTEBOOKS, WARNED_OF, run_notebook

from grokscope.tasks import ModelConfig, NewFacts, QuestionTask, Task, TrainConfig, TwoHopTask, make_pairs, train

MARKS = {"your_own_model": pytest.mark.transformerlens(3)}  # others are slow; its reader has a HookedTransformer
HERE = [name for name in LITTLE if name != "tour"]


@pytest.mark.filterwarnings(*WARNED_OF)
@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, pytest.mark.slow)) for name in HERE])
def test_notebook_runs(name: str, tmp_path: Path) -> None:
    parameters = {"folder": str(_transfers(tmp_path))} if name == "claim_transfer" else {}
    run_notebook(name, tmp_path, **parameters)


def test_every_notebook_is_run_and_shipped_with_outputs() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(LITTLE)
    for name in LITTLE:
        cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        assert sum("parameters" in cell.metadata.get("tags", []) for cell in cells) == 1
        counts = [cell.execution_count for cell in cells if cell.cell_type == "code"]
        assert counts == list(range(1, len(counts) + 1)), f"{name} was not run from top to bottom"
        assert not any(output.output_type == "error" for cell in cells for output in cell.get("outputs", []))


def test_the_task_of_the_notebook_is_the_sum_that_it_says_in_thirty_lines() -> None:
    cells = [cell.source for cell in nbformat.read(NOTEBOOKS / "your_own_task.ipynb", as_version=4).cells]
    (source,) = (each for each in cells if "tasks.QuestionTask(" in each)
    assert len(source.splitlines()) <= 30
    made: dict[str, Any] = {}
    exec(source, made)
    task, asked = made["task"], set()
    assert isinstance(task, QuestionTask) and isinstance(task, Task)
    for name in task.splits:
        queries = task.split(name)
        rows = (queries.tokens.tolist(), queries.answers.tolist(), queries.intermediates["partial_sum"].tolist())
        for prompt, answer, partial_sum in zip(*rows, strict=True):
            assert answer == sum(prompt) % 13 and partial_sum == (prompt[0] + prompt[1]) % 13
            asked.add(tuple(prompt))
    assert len(asked) == 13**2 + 13**3 == sum(len(task.split(name)) for name in task.splits)
    assert len(make_pairs(task, split="new_sums", contrast="partial_sum", n=256, seed=0)) == 256


def _transfers(folder: Path) -> Path:
    """Further trainings so short that they learn nothing, on one small graph."""
    torch.set_num_threads(1)
    new = NewFacts.random(TwoHopTask.random(n_entities=20, n_relations=8, out_degree=5, seed=0), n=20, seed=0)
    for name in ("random", "grokked"):
        config = TrainConfig.tiny(max_steps=4, evaluate_every=2)
        train(new.task, ModelConfig.tiny(), config, folder / "runs" / f"{name}-g0", progress=False)
    return folder / "runs"
