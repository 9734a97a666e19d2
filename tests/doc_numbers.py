"""Numbers in README and docs: each says where it comes from, and those that can be computed are compared.

    python tests/doc_numbers.py            lists what does not hold
    python tests/doc_numbers.py --write    writes the numbers and tables anew

Comments, which no reader sees, tie text to sources:

- `.033 [.029, .039]<!--=same_path/where.early-->` names what was measured, see `doc_shipped.shipped`. A name may end in
  `:low`, `:high` or `:n`; k names belong to the last k numbers before the comment. `:range` at the end of a name makes two
  of it, `:low` and `:high`, and `g1..5` five, `g1` to `g5`.
- `<!--table: cost-->` on a line before a table: all of it is made by a function, see `doc_tables.TABLES`.
- `<!--numbers: SOURCE-->` in a paragraph, or on a line before a block, says where numbers are from that nothing here can
  compute; `<!--numbers of this section: SOURCE-->`, `<!--numbers of this page: SOURCE-->` do so for more.

Every number with a decimal point, a thousands separator or an interval needs one of these. Not counted are code, addresses,
and versions of programs.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_ONE = r"[+−-]?(?:\d{1,3}(?:,\d{3})+|\d*\.\d+|\d+)(?:e-?\d+)?"
EXPRESSION = re.compile(rf"(?<![\w.,])(?:{_ONE}(?: \[{_ONE}, {_ONE}\])?(?![\w,]*\w)|\[{_ONE}, {_ONE}\])")
NUMBER = re.compile(_ONE)
COUNTED = re.compile(r"\.\d|\d,\d{3}|\[|\de-?\d")  # what an expression holds that needs a source
ANCHOR = re.compile(r"<!--=([^>]+?)-->")
SOURCE = re.compile(r"<!--numbers( of this section| of this page)?: (\S[^>]*?)-->")
TABLE = re.compile(r"<!--table: (\w+)-->")
NO_NUMBERS = re.compile(
    r"`[^`]*`|\]\([^)]*\)|\[0, 1\]|<!--.*?-->|\b(?:arXiv|Python|torch|TransformerLens|before|Chromium) \d+(?:\.\d+)+",
    re.DOTALL,
)
_MARKDOWN = MarkdownIt("commonmark").enable("table")


class Value(NamedTuple):
    """What a name stands for; NaN and 0 where there is nothing."""

    value: float
    low: float = float("nan")
    high: float = float("nan")
    n: int = 0


@dataclass(frozen=True)
class Problem:
    """What does not hold, at a line of a page."""

    line: int
    says: str


@dataclass(frozen=True)
class Edit:
    """What should stand between two places of a page."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Page:
    """A page of markdown by its lines."""

    text: str

    @cached_property
    def tokens(self) -> list[Token]:
        return _MARKDOWN.parse(self.text)

    @cached_property
    def starts(self) -> list[int]:
        """Where each line begins, and the end."""
        lines = self.text.splitlines(keepends=True)
        return [sum(map(len, lines[:i])) for i in range(len(lines) + 1)]

    def blocks(self) -> list[tuple[int, int]]:
        """First line and the one after the last of every paragraph, heading and row of a table."""
        return sorted({(t.map[0], t.map[1]) for t in self.tokens if t.type == "inline" and t.map})

    def sourced(self) -> set[int]:
        """Lines whose numbers have a source of another kind, or are made by a table's function."""
        found, tokens, n_lines = set(), self.tokens, len(self.starts) - 1
        for i, token in enumerate(tokens):
            if token.type == "inline" and token.map and SOURCE.search(token.content):
                found |= set(range(*token.map))
            if token.type != "html_block" or not token.map:
                continue
            for scope, _ in SOURCE.findall(token.content):
                found |= set(range(n_lines if scope else 0)) if "page" in scope else set()
                found |= set(range(token.map[0], self._end_of_section(i))) if "section" in scope else set()
                found |= set(range(*(_map_after(tokens, i)))) if not scope else set()
            if TABLE.search(token.content):
                found |= set(range(*_map_after(tokens, i)))
        return found

    def _end_of_section(self, i: int) -> int:
        """The line of the next heading that is no deeper than the one above token i."""
        above = [t.tag for t in self.tokens[:i] if t.type == "heading_open"]
        after = [t for t in self.tokens[i:] if t.type == "heading_open" and t.map and t.tag <= (above or ["h6"])[-1]]
        return after[0].map[0] if after and after[0].map else len(self.starts) - 1

    def without_code(self) -> str:
        """The text, of the same length, without what holds no numbers to be checked."""
        return NO_NUMBERS.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), self.text)


def _map_after(tokens: list[Token], i: int) -> tuple[int, int]:
    after = tokens[i + 1].map if i + 1 < len(tokens) else None
    return (after[0], after[1]) if after else (0, 0)


def check(
    text: str, values: Mapping[str, Value], tables: Mapping[str, Callable[[], list[list[str]]]]
) -> tuple[list[Problem], list[Edit]]:
    """What does not hold on a page, and what to write instead where that is known."""
    page = Page(text)
    problems, edits = _tables(page, tables)
    plain, sourced, starts, anchored = page.without_code(), page.sourced(), page.starts, 0
    for first, last in page.blocks():
        start, end = starts[first], starts[last]
        bound: set[int] = set()
        since = start
        for anchor in ANCHOR.finditer(text, start, end):
            anchored += 1
            names = _names(anchor[1])
            before = list(EXPRESSION.finditer(plain, since, anchor.start()))[-len(names) :]
            since = anchor.end()
            line = text.count("\n", 0, anchor.start()) + 1
            if len(before) < len(names):
                problems.append(Problem(line, f"{len(before)} numbers before the comment that names {anchor[1]}"))
                continue
            for name, found in zip(names, before, strict=True):
                bound.add(found.start())
                said = _compared(name, found[0], values)
                if isinstance(said, Problem):
                    problems.append(Problem(line, said.says))
                elif said != found[0]:
                    problems.append(Problem(line, f"{found[0]} should be {said}, by {name}"))
                    edits.append(Edit(found.start(), found.end(), said))
        for found in EXPRESSION.finditer(plain, start, end):
            line = text.count("\n", 0, found.start())
            if found.start() not in bound and line not in sourced and COUNTED.search(found[0]):
                problems.append(Problem(line + 1, f"{found[0]} does not say where it is from"))
    if lost := len(ANCHOR.findall(text)) - anchored:
        problems.append(Problem(1, f"{lost} comments that name numbers stand at the begin of a line, or in code"))
    return problems, edits


def _names(written: str) -> list[str]:
    """The names of a comment, with `:range` and `g1..5` written out."""
    names = []
    for name in written.split():
        graphs = re.fullmatch(r"(.*\.g)(\d)\.\.(\d)", name)
        if graphs:
            names += [f"{graphs[1]}{graph}" for graph in range(int(graphs[2]), int(graphs[3]) + 1)]
        elif name.endswith(":range"):
            names += [name.replace(":range", ":low"), name.replace(":range", ":high")]
        else:
            names.append(name)
    return names


def _compared(name: str, printed: str, values: Mapping[str, Value]) -> str | Problem:
    """The expression with today's numbers in its own form."""
    name, _, field = name.partition(":")
    if name not in values:
        return Problem(0, f"nothing is called {name}")
    value, numbers = values[name], NUMBER.findall(printed)
    wanted = {1: (field or "value",), 2: ("low", "high"), 3: ("value", "low", "high")}[len(numbers)]
    today = iter([like(getattr(value, part), number) for part, number in zip(wanted, numbers, strict=True)])
    return NUMBER.sub(lambda _: next(today), printed)


def like(value: float, printed: str) -> str:
    """A number in the form of another: as many decimals, thousands separators, no zero before the point, − as minus."""
    if value != value:
        return "nothing"
    mantissa, e, _ = printed.partition("e")
    decimals = len(mantissa.partition(".")[2])
    if e:
        mantissa, _, exponent = f"{value:.{decimals}e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    text = f"{abs(value):,.{decimals}f}"
    negative = value < 0 and any(digit in text for digit in "123456789")
    if decimals and text.startswith("0.") and not printed.lstrip("+−-").startswith("0."):
        text = text[1:]
    return f"{'−' if negative else '+' if printed.startswith('+') else ''}{text}"


def _tables(page: Page, tables: Mapping[str, Callable[[], list[list[str]]]]) -> tuple[list[Problem], list[Edit]]:
    problems, edits, tokens, starts = [], [], page.tokens, page.starts
    for i, token in enumerate(tokens):
        asked = TABLE.search(token.content) if token.type == "html_block" else None
        if not asked:
            continue
        first, last = _map_after(tokens, i)
        if asked[1] not in tables or tokens[i + 1].type != "table_open":
            problems.append(Problem(first + 1, f"no table {asked[1]}, or none after the comment"))
            continue
        old, new = page.text[starts[first] : starts[last]], written(tables[asked[1]]())
        if old.rstrip("\n") != new.rstrip("\n"):
            changed = [b for a, b in zip(old.splitlines(), new.splitlines(), strict=False) if a != b]
            problems.append(Problem(first + 1, f"the table {asked[1]} is not today's: {(changed or ['other rows'])[0]}"))
            edits.append(Edit(starts[first], starts[last], new if old.endswith("\n") else new.rstrip("\n")))
    return problems, edits


def written(rows: list[list[str]]) -> str:
    """Rows, the header first, as a table in markdown."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def edited(text: str, edits: list[Edit]) -> str:
    """The text with all edits."""
    for edit in sorted(edits, key=lambda edit: -edit.start):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def checked_pages() -> Iterator[tuple[Path, list[Problem], list[Edit]]]:
    """All pages against what is shipped."""
    from doc_shipped import shipped
    from doc_tables import TABLES

    for path in PAGES:
        yield path, *check(path.read_text(), shipped(), TABLES)


if __name__ == "__main__":
    for path, problems, edits in checked_pages():
        for problem in problems:
            sys.stdout.write(f"{path.relative_to(ROOT)}:{problem.line}: {problem.says}\n")
        if "--write" in sys.argv[1:] and edits:
            path.write_text(edited(path.read_text(), edits))
