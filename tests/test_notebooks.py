"""Every notebook runs from top to bottom; the tour does so from a wheel, see test_packaging."""

from pathlib import Path

import nbformat
import pytest
import torch
from notebooks import LITTLE, NOTEBOOKS, WARNED_OF, run_notebook

from grokscope.tasks import ModelConfig, NewFacts, TrainConfig, TwoHopTask, train

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


def _transfers(folder: Path) -> Path:
    """Further trainings so short that they learn nothing, on one small graph."""
    torch.set_num_threads(1)
    new = NewFacts.random(TwoHopTask.random(n_entities=20, n_relations=8, out_degree=5, seed=0), n=20, seed=0)
    for name in ("random", "grokked"):
        config = TrainConfig.tiny(max_steps=4, evaluate_every=2)
        train(new.task, ModelConfig.tiny(), config, folder / "runs" / f"{name}-g0", progress=False)
    return folder / "runs"
