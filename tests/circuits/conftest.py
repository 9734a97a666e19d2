"""A browser for all tests of diagrams."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import launched, opened, until
from playwright.sync_api import Browser, Page

from grokscope.circuits import Diagram


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    """Opens a diagram, and in the end checks that nothing was complained of or asked for."""
    pages = []

    def open_one(diagram: Diagram, **settings: Any) -> Page:
        pages.append(opened(browser, diagram.save(tmp_path / f"{len(pages)}.html"), **settings))
        page = pages[-1].__enter__()
        if settings.get("java_script_enabled", True):
            until(page, "[...document.querySelectorAll('.grokscope')].every((each) => each.grokscope)")
        return page

    yield open_one
    for page in pages:
        page.__exit__(None, None, None)
