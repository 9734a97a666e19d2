"""The site that `make site` built: every page and name has its place, and nothing is asked of a network."""

import importlib
import re
import subprocess
from pathlib import Path

import pytest
from architecture import PACKAGES
from chromium import launched
from doc_numbers import ROOT

DOCS, SITE = ROOT / "docs", ROOT / "site"
NOTEBOOKS = ROOT / "examples" / "notebooks"
OUTSIDE = re.compile(
    r"""(?:\bsrc=|<link\b[^>]*\bhref=|url\(|@import\s|\bimport\(|\bfetch\()\s*["']?(?:https?:)?//[^"')\s>]+"""
)
built = pytest.mark.skipif(not (SITE / "index.html").exists(), reason="no site here: make site builds it")


def navigation() -> str:
    return (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]


def pages() -> list[Path]:
    """As built: at the same places as those of markdown, in HTML."""
    return sorted(SITE.rglob("*.html"))


def test_every_page_and_notebook_is_in_the_navigation_once() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "docs"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    expected = [name.removeprefix("docs/") for name in tracked if name.endswith(".md")]
    expected += [f"tutorials/{path.name}" for path in NOTEBOOKS.glob("*.ipynb")] + ["reference/index.md"]
    found = re.findall(r"[\w/-]+\.(?:md|ipynb)$", navigation(), re.MULTILINE)
    assert sorted(found) == sorted(expected)


@built
def test_every_public_name_is_on_one_page_of_the_reference() -> None:
    text = {path: path.read_text() for path in (SITE / "reference").glob("*.html") if path.name != "index.html"}
    for part in PACKAGES:
        for name in importlib.import_module(f"grokscope.{part}").__all__:
            heading = re.compile(rf'<h\d id="grokscope\.[\w.]+" class="doc doc-heading">\s*(?:<[^>]+>)*{part}\.{name}\b')
            assert sum(1 for page in text.values() if heading.search(page)) == 1, f"{part}.{name}"


@built
def test_pages_ask_nothing_of_a_network() -> None:
    files = [path for path in SITE.rglob("*") if path.suffix in {".html", ".css"}]
    found = {str(path.relative_to(SITE)): OUTSIDE.findall(path.read_text()) for path in files}
    assert len(files) > 40 and not {name: asked for name, asked in found.items() if asked}
    assert OUTSIDE.findall('<script src="https://a.b/c.js"><link rel="stylesheet" href="//a.b/c.css">') != []


@built
def test_search_works_from_disk() -> None:
    with launched() as browser:
        page = browser.new_context(offline=True).new_page()
        said: list[str] = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(request.url))
        page.goto((SITE / "how-to" / "padding.html").as_uri())
        page.wait_for_timeout(500)
        page.keyboard.press("/")
        page.keyboard.type("path_patch")
        hit = page.locator(".md-search-result__item").first
        hit.wait_for(state="attached")
        assert "path_patch" in str(hit.text_content()) and not said
