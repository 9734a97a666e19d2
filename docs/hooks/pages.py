"""What pages of markdown need to be as right on the site as they are in the repository."""

import re
from typing import Any

from sources import public_names

NUMBERS = re.compile(r"^<!--(?:numbers|table)[^>]*-->\n?|<!--(?:=|numbers)[^>]*-->", re.MULTILINE)
NOTEBOOK = re.compile(r"\]\(((?:\.\./)*)\.\./examples/notebooks/")
CODE = re.compile(r"^```.*?^```|^#.*?$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"(?<!\[)`(?:(tasks|circuits|analyses)\.)?(\w+)(?:\([^`]*\))?`(?!\])")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Adapt a page that was written by hand."""
    if page.file.generated_by:  # the reference
        return markdown
    markdown = NOTEBOOK.sub(r"](\1tutorials/", NUMBERS.sub("", markdown))
    return with_links(markdown, by_name())


def by_name() -> dict[tuple[str, str], str]:
    """Where a name is documented, by the part it is written with; without a part, if one alone has it."""
    names = public_names()
    found = {(each.part, each.name): each.found.canonical_path for each in names}
    counted = [each.name for each in names]
    return found | {("", each.name): each.found.canonical_path for each in names if counted.count(each.name) == 1}


def with_links(markdown: str, places: dict[tuple[str, str], str]) -> str:
    """The first mention of each public name outside of code and headings leads to the reference."""
    told: set[str] = set()

    def linked(found: re.Match[str]) -> str:
        place = places.get((found[1] or "", found[2]))
        if place is None or place in told:
            return found[0]
        told.add(place)
        return f"[{found[0]}][{place}]"

    parts, start = [], 0
    for code in CODE.finditer(markdown):
        parts += [NAME.sub(linked, markdown[start : code.start()]), code[0]]
        start = code.end()
    return "".join([*parts, NAME.sub(linked, markdown[start:])])
