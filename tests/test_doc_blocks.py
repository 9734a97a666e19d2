"""The Python that pages give runs, from top to bottom of each page, in an empty folder."""

from pathlib import Path
from typing import Any

import pytest
from doc_blocks import python_blocks
from doc_numbers import ROOT
from worded import byte_tokenizer, word_model

from grokscope import analyses, circuits, tasks

DOCS = ROOT / "docs"
HERE = ("index", *(f"how-to/{path.stem}" for path in sorted((DOCS / "how-to").glob("*.md"))))
SLOW = ("how-to/comparing_circuits", "how-to/clusters", "how-to/editing_facts")
TEXTS = ["After Mary and John came to the park, John handed the book to"] * 9


def given(page: str) -> dict[str, Any]:
    """What a reader has before the first block."""
    names: dict[str, Any] = {"__name__": "page", "analyses": analyses, "circuits": circuits, "tasks": tasks}
    if page == "how-to/padding":
        names |= {"model": word_model(byte_tokenizer(TEXTS)), "PromptPairs": tasks.PromptPairs}
    return names


@pytest.mark.parametrize("page", [pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else []) for page in HERE])
@pytest.mark.filterwarnings("ignore::UserWarning")  # among them that a longer run names other steps
def test_the_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = given(page)
    for block in python_blocks(DOCS / f"{page}.md"):
        exec(compile(block, f"{page}.md", "exec"), names)
