"""Numbers in README and docs: each says where it comes from, and those that can be computed are compared.

    python tests/doc_numbers.py            lists what does not hold
    python tests/doc_numbers.py --write    writes the numbers and tables anew

Comments, which no reader sees, tie text to sources:

- `.033 [.029, .039]<!--=same_path/where.early-->` names what was measured, see `doc_shipped.shipped`. A name may end in
  `:low`, `:high` or `:n`; k names belong to the last k numbers before the comment. `:range` at the end of a name makes two
  of it, `:low` and `:high`; `:of` makes two, `.count` and `:n`, as in `3 of 5`; and `g1..5` five, `g1` to `g5`.
- `<!--table: cost-->` on a line before a table: all of it is made by a function, see `doc_tables.TABLES`.
- `<!--numbers: SOURCE-->` in a paragraph says where the numbers before it are from that nothing here can compute: back to
  the comment before, the beginning of the sentence or of the cell, whichever is nearest. On a line before a block it does so
  for the block; `<!--numbers of this section: SOURCE-->`, `<!--numbers of this page: SOURCE-->` do so for more. A source is
  a file that is there, a target of the Makefile, a paper, `derived: HOW`, or `by hand on YYYY-MM-DD`, see `unknown_source`.

Every number with a decimal point, a thousands separator or an interval, and both of `3 of 5`, need one of these. Not counted
are code, addresses, and versions of programs.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_ONE = r"[+−-]?(?:\d{1,3}(?:,\d{3})+|\d*\.\d+|\d+)(?:e-?\d+)?"
EXPRESSION = re.compile(rf"(?<![\w.,])(?:{_ONE}(?: \[{_ONE}, {_ONE}\])?(?![\w,]*\w)|\[{_ONE}, {_ONE}\])")
NUMBER = re.compile(_ONE)
COUNT_OF = re.compile(r"(?<![\w.,])(\d+)\s+of\s+(?:the\s+)?(\d+)(?![\w.,]*\d)")
COUNTED = re.compile(r"\.\d|\d,\d{3}|\[|\de-?\d")  # what an expression holds that needs a source
ANCHOR = re.compile(r"<!--=([^>]+?)-->")
SOURCE = re.compile(r"<!--numbers( of this section| of this page)?: (\S[^>]*?)-->")
BEGIN = re.compile(r"<!--.*?-->|(?<=[.!?])\s+(?=\D)|\|", re.DOTALL)  # what numbers before it belong to something else
KNOWN = re.compile(r"\bet al\. \d{4}|\bderived: \w|\bby hand on \d{4}-\d\d-\d\d")
FILE = re.compile(r"[\w-]+(?:/[\w.-]+)+|[\w-]+\.(?:py|md|csv)")
TARGET = re.compile(r"\bmake ([\w-]+)")
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
        return list(accumulate(map(len, self.text.splitlines(keepends=True)), initial=0))

    def blocks(self) -> list[tuple[int, int]]:
        """First line and the one after the last of every paragraph, heading and row of a table."""
        return sorted({(t.map[0], t.map[1]) for t in self.tokens if t.type == "inline" and t.map})

    def sourced(self) -> set[int]:
        """Lines whose numbers have a source of another kind that covers blocks, or are made by a table's function."""
        found, tokens, n_lines = set(), self.tokens, len(self.starts) - 1
        for i, token in enumerate(tokens):
            if token.type != "html_block" or not token.map:
                continue
            for scope, _ in SOURCE.findall(token.content):
                found |= set(range(n_lines if scope else 0)) if "page" in scope else set()
                found |= set(range(token.map[0], self._end_of_section(i))) if "section" in scope else set()
                found |= set(range(*(_map_after(tokens, i)))) if not scope else set()
            if TABLE.search(token.content):
                found |= set(range(*_map_after(tokens, i)))
        return found

    def sourced_inline(self) -> set[int]:
        """Places of the characters for which a comment in their paragraph or row says where they are from."""
        found: set[int] = set()
        for first, last in self.blocks():
            start, end = self.starts[first], self.starts[last]
            for source in SOURCE.finditer(self.text, start, end):
                begins = [begin.end() for begin in BEGIN.finditer(self.text, start, source.start())]
                found |= set(range(max([start, *begins]), source.start()))
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
    problems += _sources(text)
    plain, sourced, inline, starts, anchored = page.without_code(), page.sourced(), page.sourced_inline(), page.starts, 0
    for first, last in page.blocks():
        start, end = starts[first], starts[last]
        bound: set[int] = set()
        since = start
        for anchor in ANCHOR.finditer(text, start, end):
            anchored += 1
            named = names(anchor[1])
            before = list(EXPRESSION.finditer(plain, since, anchor.start()))[-len(named) :]
            since = anchor.end()
            line = text.count("\n", 0, anchor.start()) + 1
            if len(before) < len(named):
                problems.append(Problem(line, f"{len(before)} numbers before the comment that names {anchor[1]}"))
                continue
            for name, found in zip(named, before, strict=True):
                bound.add(found.start())
                said = _compared(name, found[0], values)
                if isinstance(said, Problem):
                    problems.append(Problem(line, said.says))
                elif said != found[0]:
                    problems.append(Problem(line, f"{found[0]} should be {said}, by {name}"))
                    edits.append(Edit(found.start(), found.end(), said))
        of = {of.start(i): of[0] for of in COUNT_OF.finditer(plain, start, end) for i in (1, 2)}
        for found in EXPRESSION.finditer(plain, start, end):
            line, at = text.count("\n", 0, found.start()), found.start()
            if at not in bound | inline and line not in sourced and (COUNTED.search(found[0]) or at in of):
                problems.append(Problem(line + 1, f"{of.get(at, found[0])} does not say where it is from"))
    if lost := len(ANCHOR.findall(text)) - anchored:
        problems.append(Problem(1, f"{lost} comments that name numbers stand at the beginning of a line, or in code"))
    return problems, edits


def _sources(text: str) -> list[Problem]:
    """Sources by which nobody finds anything."""
    lines = ((text.count("\n", 0, found.start()) + 1, found[2]) for found in SOURCE.finditer(text))
    return [Problem(line, said) for line, source in lines if (said := unknown_source(source))]


def unknown_source(source: str) -> str:
    """Why a source is none: it names a file or target that is not there, or nothing at all; empty if it is one."""
    lacking = [path for path in FILE.findall(source) if "runs/" not in path and not (ROOT / path).exists()]
    targets = TARGET.findall(source)
    makefile = (ROOT / "Makefile").read_text()
    lacking += [f"make {name}" for name in targets if not re.search(rf"^{name}:", makefile, re.MULTILINE)]
    if lacking:
        return f"the source {source!r} names what is not there: {', '.join(lacking)}"
    if targets or FILE.search(source) or KNOWN.search(source):
        return ""
    return f"the source {source!r} is no file, command, paper, derivation or date of a count by hand"


def names(written: str) -> list[str]:
    """The names of a comment, with `:range`, `:of` and `g1..5` written out."""
    found = []
    for name in written.split():
        graphs = re.fullmatch(r"(.*\.g)(\d)\.\.(\d)", name)
        if graphs:
            found += [f"{graphs[1]}{graph}" for graph in range(int(graphs[2]), int(graphs[3]) + 1)]
        elif name.endswith(":range"):
            found += [name.replace(":range", ":low"), name.replace(":range", ":high")]
        elif name.endswith(":of"):
            found += [name.replace(":of", ".count"), name.replace(":of", ":n")]
        else:
            found.append(name)
    return found


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


@cache
def checked(path: Path) -> tuple[list[Problem], list[Edit]]:
    """A page, as it is, against what is shipped."""
    from doc_shipped import shipped
    from doc_tables import TABLES

    return check(path.read_text(), shipped(), TABLES)


def checked_pages() -> Iterator[tuple[Path, list[Problem], list[Edit]]]:
    """All pages against what is shipped."""
    for path in PAGES:
        yield path, *checked(path)


if __name__ == "__main__":
    for path, problems, edits in checked_pages():
        for problem in problems:
            sys.stdout.write(f"{path.relative_to(ROOT)}:{problem.line}: {problem.says}\n")
        if "--write" in sys.argv[1:] and edits:
            path.write_text(edited(path.read_text(), edits))
