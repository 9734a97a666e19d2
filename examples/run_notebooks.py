"""Run the notebooks from top to bottom and save their outputs.

    python examples/run_notebooks.py                 # all; two claims on one graph, as they say at the top
    python examples/run_notebooks.py tour claim_cost

Progress bars are dropped. Every figure and diagram also gets a picture, for viewers that run no scripts; that
needs chromium and playwright, which both come with the tests.
"""

import base64
import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import nbformat
import papermill
import plotly.io
import typer
from nbformat import NotebookNode
from playwright.sync_api import Browser, sync_playwright

from grokscope.circuits.command import run_command
from grokscope.circuits.writing import write_atomic

NOTEBOOKS = Path(__file__).parent / "notebooks"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDGET = "application/vnd.jupyter.widget-view+json"
FIGURE, DIAGRAM = "application/vnd.plotly.v1+json", 'class="gs-data"'
WIDTH = 1000


def picture(browser: Browser, page: str) -> str:
    """A screenshot of an HTML page, as base64."""
    view = browser.new_page(viewport={"width": WIDTH, "height": 300})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(f'<meta charset="utf-8"><body style="margin:0">{page}</body>', encoding="utf-8")
        view.goto(path.as_uri())
        view.wait_for_timeout(1500)  # plotly draws after loading
        taken = view.screenshot(full_page=True)
    view.close()
    return base64.b64encode(taken).decode()


def add_pictures(notebook: NotebookNode, browser: Browser) -> None:
    """Add a picture to every figure and diagram among the outputs."""
    for output in (output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output):
        data = output.data
        if FIGURE in data:
            figure = plotly.io.from_json(json.dumps(data[FIGURE]), skip_invalid=True)
            data["image/png"] = picture(browser, figure.to_html(full_html=False))
            data.pop("text/html", None)  # the same figure once more
        elif DIAGRAM in data.get("text/html", ""):
            data["image/png"] = picture(browser, data["text/html"])


def is_bar(output: NotebookNode) -> bool:
    """Whether an output is a progress bar, as text or as a widget, or another thing that goes to stderr."""
    return output.get("name") == "stderr" or WIDGET in output.get("data", {})


def run(name: str, browser: Browser) -> None:
    """Run one notebook in an empty folder, and replace it by the result."""
    path = NOTEBOOKS / f"{name}.ipynb"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / path.name
        papermill.execute_notebook(path, out, kernel_name="python3", cwd=folder, progress_bar=False)
        notebook = nbformat.read(out, as_version=4)
    notebook.metadata = {key: notebook.metadata[key] for key in ("kernelspec", "language_info") if key in notebook.metadata}
    for cell in notebook.cells:
        cell.metadata = {"tags": ["parameters"]} if "parameters" in cell.metadata.get("tags", []) else {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not is_bar(output)]
    add_pictures(notebook, browser)
    write_atomic(path, nbformat.writes(notebook) + "\n")


def main(names: Annotated[list[str] | None, typer.Argument(help="all if not given")] = None) -> None:
    """Run notebooks in place."""
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        for name in names or sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")):
            run(name, browser)
            typer.echo(name)


if __name__ == "__main__":
    run_command(main, stopped="stopped; notebooks that were named have been run")
