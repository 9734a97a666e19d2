"""In notebooks: JupyterLab draws the diagram, a click in it is a Python value, Python sets what it shows."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import until
from diagrams import API, BOTH, A, drawn, names, on_screen
from playwright.sync_api import Browser, Page

from grokscope.circuits import Circuit, Diagram, draw

HERE = Path(__file__).parents[1]


def cell(source: str) -> dict[str, Any]:
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab, with a notebook that draws a diagram and reads it back."""
    pytest.importorskip("jupyterlab")
    pytest.importorskip("anywidget")
    folder, port = tmp_path_factory.mktemp("lab"), free_port()
    cells = [
        f"import sys; sys.path.insert(0, {str(HERE)!r})\nfrom diagrams import BOTH\nfrom grokscope.circuits import draw\n"
        "drawn = draw(BOTH)\ndrawn.widget",
        "print(drawn.selected_edges)",
        "drawn.update(threshold=0.35)",
        "drawn",
    ]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    notebook = {"cells": [cell(source) for source in cells], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "circuits.ipynb").write_text(json.dumps(notebook))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    command += ["--IdentityProvider.token=", "--ServerApp.password=", f"--ServerApp.root_dir={folder}"]
    command += ["--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    places = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "RUNTIME")}
    places |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "spaces")}
    server = subprocess.Popen(command, env=os.environ | places, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/api/status")
        yield address
    finally:
        server.terminate()
        server.wait(timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(address: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            assert time.monotonic() < end, f"no answer from {address}"
            time.sleep(0.2)


def run_cell(page: Page, number: int) -> None:
    """Run a cell; once more if the kernel, which said that it was there, did not take it, or a dialog says to wait."""
    for _ in range(4):
        if page.locator(".jp-Dialog .jp-mod-accept").count():
            page.locator(".jp-Dialog .jp-mod-accept").click()
        page.locator(".jp-CodeCell").nth(number).locator(".cm-content").click()
        page.keyboard.press("Shift+Enter")
        prompt = f"document.querySelectorAll('.jp-CodeCell')[{number}].querySelector('.jp-InputPrompt').textContent"
        end = time.monotonic() + 8
        while time.monotonic() < end:
            if page.evaluate(prompt) != "[ ]:":
                return
            page.wait_for_timeout(50)
    raise AssertionError(f"cell {number} was not run")


SHOWN = "document.querySelector('.jp-OutputArea-output .grokscope')"


def test_a_click_in_jupyterlab_is_a_python_value_and_python_sets_the_threshold(lab: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(f"{lab}/lab/tree/circuits.ipynb")
    page.locator(".jp-CodeCell").first.wait_for(timeout=60_000)
    until(
        page,
        "[...document.querySelectorAll('.jp-Notebook-ExecutionIndicator')].some((e) => e.dataset.status === 'idle')",
        60,
    )
    run_cell(page, 0)
    until(page, f"{SHOWN} && {SHOWN}.grokscope", 60)
    output = page.locator(".jp-OutputArea-output").first.bounding_box()
    picture = page.locator(".grokscope").first.bounding_box()
    assert output["height"] >= picture["height"] > 400, "the cell is as high as the diagram"
    assert drawn(page) == names(A)
    name = "embed@h -> L0H0.v@h"
    page.locator(".grokscope figure svg").first.scroll_into_view_if_needed()
    page.mouse.click(*on_screen(page, name))
    until(page, f"{API}.state.selected && {API}.state.selected[0] === '{name}'")
    run_cell(page, 1)
    page.locator(".jp-CodeCell").nth(1).get_by_text(f"['{name}']").wait_for(timeout=20_000)
    run_cell(page, 2)
    until(page, f"{API}.state.threshold === 0.35")
    assert drawn(page) == names(A, A.table["effect"].abs() >= 0.35)
    assert page.evaluate(f"{API}.state.selected") == [name], "what was selected stays"
    run_cell(page, 3)
    until(page, "document.querySelectorAll('.grokscope[data-started]').length === 2", 60)
    by_itself = "document.querySelectorAll('.grokscope')[1].grokscope"
    assert set(page.evaluate(f"{by_itself}.drawn[0]")) == names(A), "without the widget it is the page"
    page.close()


def test_a_diagram_offers_the_widget_and_shows_itself_as_a_page() -> None:
    pytest.importorskip("anywidget")
    shown = draw(BOTH)
    assert shown._repr_html_() == shown.html and not hasattr(shown, "_repr_mimebundle_")
    assert "application/vnd.jupyter.widget-view+json" in shown.widget._repr_mimebundle_()[0]
    shown.widget.state = {"selected": ["embed@h", "embed@h -> L0H0.v@h"], "search": "v"}
    assert shown.selected_edges == ["embed@h -> L0H0.v@h"] and shown.state["search"] == "v"
    shown.update(top=4)
    assert shown.widget.state == {"selected": ["embed@h", "embed@h -> L0H0.v@h"], "search": "v", "cut": "top", "top": 4}
    shown.update(threshold=0.2, cut="kept")
    assert shown.widget.state["cut"] == "kept"
    with pytest.raises(ValueError, match="colour"):
        shown.update(colour="red")


def test_without_widgets_the_page_is_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grokscope.circuits.diagram_widget.has_widgets", lambda: False)
    shown = draw(A)
    assert shown._repr_html_() == shown.html
    with pytest.raises(ImportError, match=r"pip install 'grokscope\[notebook\]'"):
        shown.update(top=3)
    assert shown.state == {} and shown.selected_edges == []


def test_a_saved_page_opens_as_the_notebook_shows_it(shown: Any) -> None:
    pytest.importorskip("anywidget")
    figure = draw(A)
    figure.update(top=2)
    assert len(drawn(shown(figure))) == 2


def test_a_circuit_shows_itself_with_its_widget() -> None:
    assert isinstance(A.figure(), Diagram) and isinstance(A, Circuit)
    assert "grokscope" in A._repr_html_()
