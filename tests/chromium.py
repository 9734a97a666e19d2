"""A real browser for tests of pages: Debian's chromium, offline, through playwright."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HERE = ("file:", "data:", "blob:")
"""Addresses that need no network; of files there is the page itself, since its policy lets it ask for none."""
NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def launched() -> Iterator[Browser]:
    """The browser; the test is skipped where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(NAMES)} is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, path: Path, **settings: object) -> Iterator[Page]:
    """A page opened from a file, without network; fails if it says anything on the console or asks for anything."""
    context = browser.new_context(offline=True, **settings)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(HERE) else complaints.append(request.url))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert complaints == []


def until(page: Page, holds: str, seconds: float = 30) -> None:
    """Wait for an expression to hold; playwright's way to do so is forbidden on pages that forbid `eval`."""
    end = time.monotonic() + seconds
    while not page.evaluate(holds):
        assert time.monotonic() < end, f"never held: {holds}"
        page.wait_for_timeout(30)
