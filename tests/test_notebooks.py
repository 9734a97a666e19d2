"""Every notebook runs from top to bottom, on little of everything; shipped are longer runs, with outputs."""

from pathlib import Path

import nbformat
import papermill
import pytest
import torch

from grokscope.tasks import ModelConfig, NewFacts, TrainConfig, TwoHopTask, train

NOTEBOOKS = Path(__file__).parents[1] / "examples" / "notebooks"
LITTLE = {
    "tour": {"n_pairs": 32, "n_questions": 64},
    "claim_same_path": {"graphs": [1], "n_questions": 48, "n_pairs": 64},
    "claim_accuracy_without_circuit": {"graphs": [1], "n_questions": 48},
    "claim_transfer": {"n_questions": 48},
    "claim_cost": {"graphs": [1]},
    "your_own_model": {"n_steps": 60},
    "published_data": {"max_steps": 100},
}
FAST = ("tour", "your_own_model")
QUIET = "ignore:.*:DeprecationWarning"


@pytest.mark.filterwarnings(QUIET, "ignore:.*TCP.*")
@pytest.mark.parametrize("name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in LITTLE])
def test_notebook_runs(name: str, tmp_path: Path) -> None:
    parameters = dict(LITTLE[name])
    if name == "claim_transfer":
        parameters["folder"] = str(_transfers(tmp_path))
    out = tmp_path / "out.ipynb"
    path = NOTEBOOKS / f"{name}.ipynb"
    papermill.execute_notebook(
        path, out, parameters=parameters, kernel_name="python3", cwd=str(tmp_path), progress_bar=False
    )
    cells = [cell for cell in nbformat.read(out, as_version=4).cells if cell.cell_type == "code"]
    shown = {kind for cell in cells[-3:] for output in cell.outputs for kind in output.get("data", {})}
    assert {"application/vnd.plotly.v1+json", "text/html"} & shown, "it does not end in a figure"


def test_every_notebook_is_run_here_and_shipped_with_outputs() -> None:
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
