"""Running the shipped notebooks on little of everything; shipped are longer runs, with outputs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import papermill

NOTEBOOKS = Path(__file__).parents[1] / "examples" / "notebooks"
LITTLE = {
    "tour": {"n_pairs": 32, "n_questions": 64},
    "claim_same_path": {"graphs": [1], "n_questions": 48, "n_pairs": 64},
    "claim_accuracy_without_circuit": {"graphs": [1], "n_questions": 48},
    "claim_transfer": {"n_questions": 48},
    "claim_cost": {"graphs": [1]},
    "your_own_model": {"n_steps": 60},
    "your_own_task": {"max_steps": 400, "n_questions": 64, "n_pairs": 96},
    "token_mixing": {"n_questions": 64, "n_pairs": 16},
    "any_model": {
        "n_steps": 150,
        "n_layers": 2,
        "n_heads": 4,
        "width": 32,
        "n_tokens": 100,
        "n_prompts": 8,
        "n_verified": 101,
        "published": False,
    },
    "published_data": {"max_steps": 100},
}
WARNED_OF = ("ignore:.*:DeprecationWarning", "ignore:.*TCP.*")
"""By what starts a notebook's kernel, in the process of the tests."""


def run_notebook(name: str, folder: Path, *, last: str = "", **parameters: Any) -> None:
    """Run a notebook in a folder and look whether it ends in a figure.

    Args:
        name: of the notebook.
        folder: where its kernel works.
        last: code to run at the end in the same kernel.
        parameters: besides those of `LITTLE`.
    """
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(last))
    start, out = folder / f"{name}.ipynb", folder / "out.ipynb"
    nbformat.write(notebook, start)
    papermill.execute_notebook(
        start, out, parameters=LITTLE[name] | parameters, kernel_name="python3", cwd=str(folder), progress_bar=False
    )
    assert _shown(nbformat.read(out, as_version=4).cells) & {"application/vnd.plotly.v1+json", "text/html"}, (
        "no figure at the end"
    )


def _shown(cells: list[Mapping[str, Any]]) -> set[str]:
    """What kinds of output the last three cells of the notebook itself show."""
    code = [cell for cell in cells if cell["cell_type"] == "code"][-4:-1]
    return {kind for cell in code for output in cell["outputs"] for kind in output.get("data", {})}
