"""One HTML page of headings, sentences, tables and figures that opens from a file, without a network.

Plotly's script is in the page once, compressed; the browser unpacks it, then draws every figure: as wide as the window,
light or dark as the reader's settings are. Long tables show their first rows and open by a click, without a script; on paper
they are whole.
"""

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from pandas.api.types import is_bool_dtype, is_float_dtype, is_numeric_dtype
from plotly.offline import get_plotlyjs

from ..circuits import Diagram
from ..circuits.arguments import refuse
from ..circuits.destination import file_problems
from ..circuits.diagram import scripts as diagram_scripts
from ..circuits.figure_look import on_dark, template
from ..circuits.packed import packed_text
from ..circuits.page import page_of
from ..circuits.units import cell
from ..circuits.writing import write_atomic

ASSETS = Path(__file__).parent / "assets"
LEAST_FOR_CONTENTS = 3  # headings
MOST_ROWS, FIRST_ROWS = 12, 10  # of a table that is shown whole, and those of a longer one that are always shown
LONG_FIGURE = 5_000  # characters of a figure's data, from which on they are compressed
LONG_TEXT, WIDE_COLUMN, NARROW_COLUMN = (
    100,
    46,
    20,
)  # characters: of a long text, and the least width of its column and others


@dataclass
class Report:
    """A page that is written from top to bottom.

    Attributes:
        title: of the page.
        with_contents: whether links to the sections stand under the title.
        parts: the HTML so far.
        headings: the sections so far, by the name that links lead to.
        scripts: the texts of those that the parts run; the page runs no others.
    """

    title: str
    with_contents: bool = True
    parts: list[str] = field(default_factory=list)
    headings: dict[str, str] = field(default_factory=dict)
    scripts: list[str] = field(default_factory=list)
    _n_figures: int = 0
    _n_tables: int = 0

    def heading(self, text: str, *, name: str = "") -> None:
        """Begin a section; links lead to its name, which is made from the text unless it is given."""
        name = name or f"s{len(self.headings)}-" + re.sub(r"\W+", "-", text.lower()).strip("-")
        self.headings[name] = text
        self.parts.append(f'<h2 id="{name}">{html.escape(text)}</h2>')

    def paragraph(self, text: str) -> None:
        """Add a paragraph of plain text."""
        self.parts.append(f"<p>{html.escape(text)}</p>")

    def quote(self, text: str, source: str) -> None:
        """Add the words of somebody else, with their source."""
        self.parts.append(f"<blockquote>{html.escape(text)} <cite>{html.escape(source)}</cite></blockquote>")

    @contextmanager
    def folded(self, summary: str, *, opened: bool = False) -> Iterator[None]:
        """What is added inside stands in a part that opens by a click or a link into it; on paper it is as it was left."""
        self.parts.append(f'<details class="fold"{" open" * opened}><summary>{html.escape(summary)}</summary>')
        yield
        self.parts.append("</details>")

    def bullets(self, lines: Iterable[str]) -> None:
        """Add a list of plain texts."""
        self.parts.append("<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>")

    def table(
        self, table: pd.DataFrame, *, rows: Sequence[str] = (), file: str = "", saved: pd.DataFrame | None = None
    ) -> None:
        """Add a table, folded if long: fractions with three digits, counts whole, words to the left; see `units.cell`.

        Args:
            table: to be shown.
            rows: by row the name that links lead to.
            file: under which the whole table can be saved, as CSV; by default it cannot.
            saved: what is saved instead, such as the same with columns for programs.
        """
        name, self._n_tables = f"table-{self._n_tables}", self._n_tables + 1
        cells = pd.DataFrame({place: _cells(table.iloc[:, place]) for place in range(table.shape[1])}, dtype=object)
        shown = cells.set_axis(table.columns, axis=1).to_html(index=False, border=0, table_id=name)
        shown = shown.replace("_", "_<wbr>")  # where a long name may break
        shown = _named(shown, rows) if len(rows) else shown
        rules = "".join(
            _rules(name, place, table.dtypes.iloc[place - 1], cells[place - 1]) for place in range(1, table.shape[1] + 1)
        )
        self.parts.append(
            f'<div class="table">{_opener(len(table))}<div class="wide"><style>{rules}</style>{shown}</div>'
            f"{_download(table if saved is None else saved, file)}</div>"
        )

    def figure(self, figure: go.Figure, reading: str) -> None:
        """Add a plotly figure, above it its title, which says what was measured, and a sentence on how to read it."""
        name, self._n_figures = f"figure-{self._n_figures}", self._n_figures + 1
        content = str(figure.to_json()).replace("<", "\\u003c")
        height = figure.layout.height or 450
        place = f'<div id="{name}" class="plotly-figure" style="height: {height}px"></div>'
        title = _plain(figure.layout.title.text or "")
        above = f'<p class="measured">{html.escape(title)}</p>' if title else ""
        kind = "application/gzip" if len(content) > LONG_FIGURE else "application/json"
        data = packed_text(content) if len(content) > LONG_FIGURE else content
        self._with_reading(f'{above}{place}<script type="{kind}">{data}</script>', reading)

    def diagram(self, diagram: Diagram, reading: str) -> None:
        """Add a circuit diagram and a sentence on how to read it."""
        self.scripts += diagram_scripts()
        self._with_reading(diagram.html, reading)

    def fragment(self, fragment: str, *, scripts: Sequence[str] = ()) -> None:
        """Add a piece of HTML, unescaped, and say which scripts of it may run."""
        self.scripts += scripts
        self.parts.append(fragment)

    def page(self) -> str:
        """All of it as an HTML page."""
        style, scripts, body = _asset("report.css"), self.scripts, "\n".join(self.parts)
        if self._n_figures:
            library, drawing = get_plotlyjs(), "\n".join(map(_asset, ("fitted.js", "figures.js")))
            scripts = [*scripts, library, drawing]
            looks = json.dumps({"dark": template(dark=True), "colours": on_dark()})
            body += f'<script type="application/json" id="figure-looks">{looks}</script>'
            body += f'<script type="application/gzip" id="plotly-packed">{packed_text(library)}</script>'
            body += f"<script>{drawing}</script>"
        body = f"<h1>{html.escape(self.title)}</h1>{self._contents()}{body}"
        return page_of(self.title, body, scripts=scripts, style=style)

    def save(self, path: str | Path) -> Path:
        """Write the page atomically; returns the path."""
        refuse(file_problems(path=path))
        return write_atomic(Path(path), self.page())

    def _with_reading(self, shown: str, reading: str) -> None:
        self.parts.append(f'<figure class="shown">{shown}<figcaption>{html.escape(reading)}</figcaption></figure>')

    def _contents(self) -> str:
        if not self.with_contents or len(self.headings) < LEAST_FOR_CONTENTS:
            return ""
        links = (f'<li><a href="#{name}">{html.escape(text)}</a></li>' for name, text in self.headings.items())
        return f"<nav><ol>{''.join(links)}</ol></nav>"


def _cells(column: pd.Series) -> list[str]:
    """A column's cells; floats are counts where all are whole and not only 0 and 1."""
    numbers = column.dropna()
    if is_float_dtype(column) and (numbers == numbers.round()).all() and (numbers > 1).any():
        return [cell(value, digits=0) for value in column]
    return [cell(value) for value in column]


def _opener(n_rows: int) -> str:
    """What opens a long table: a switch before it, since the style sheet hides rows after one that is closed."""
    if n_rows <= MOST_ROWS:
        return ""
    closed, opened = f"all {n_rows:,} rows", f"the first {FIRST_ROWS} of {n_rows:,} rows"
    return f'<details><summary><span class="all">{closed}</span><span class="first">{opened}</span></summary></details>'


def _named(table: str, rows: Sequence[str]) -> str:
    """A table's HTML with a name for each row of its body."""
    head, body = table.split("<tbody>")
    before, *each = body.split("<tr>")
    named = (f'<tr id="{html.escape(name)}">{row}' for name, row in zip(rows, each, strict=True))
    return f"{head}<tbody>{before}{''.join(named)}"


def _download(table: pd.DataFrame, file: str) -> str:
    """A link that saves the whole table, all digits; nothing without a name for the file."""
    if not file:
        return ""
    content = base64.b64encode(table.to_csv(index=False).encode()).decode()
    return f'<p class="save"><a download="{html.escape(file)}" href="data:text/csv;base64,{content}">CSV</a></p>'


def _rules(name: str, place: int, dtype: Any, cells: pd.Series) -> str:
    """How a column of words is set: to the left, and no thread of single words where the window is narrow."""
    if is_numeric_dtype(dtype) and not is_bool_dtype(dtype):
        return ""
    longest = max(map(len, cells), default=0)
    width = WIDE_COLUMN if longest > LONG_TEXT else min(longest, NARROW_COLUMN)
    column = f"#{name} :is(th, td):nth-child({place})"
    return f"{column} {{ text-align: left }} @media screen {{ {column} {{ min-width: {width}ch }} }}"


def _plain(title: str) -> str:
    """A figure's title as text: plotly's markup undone."""
    return html.unescape(re.sub(r"<br */?>", " ", title))


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
