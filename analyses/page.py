"""One HTML page of headings, sentences, tables and figures that opens from a file, without a network.

Plotly's script is in the page once, compressed; the browser unpacks it, then draws every figure.
"""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from pandas.api.types import is_bool_dtype, is_float_dtype, is_numeric_dtype
from plotly.offline import get_plotlyjs

from ..circuits import Diagram
from ..circuits.arguments import refuse
from ..circuits.destination import file_problems
from ..circuits.diagram import scripts as diagram_scripts
from ..circuits.packed import packed_text
from ..circuits.page import page_of
from ..circuits.units import cell
from ..circuits.writing import write_atomic

ASSETS = Path(__file__).parent / "assets"
LEAST_FOR_CONTENTS = 3  # headings


@dataclass
class Report:
    """A page that is written from top to bottom.

    Attributes:
        title: of the page.
        parts: the HTML so far.
        headings: the sections so far, by the name that links lead to.
        scripts: the texts of those that the parts run; the page runs no others.
    """

    title: str
    parts: list[str] = field(default_factory=list)
    headings: dict[str, str] = field(default_factory=dict)
    scripts: list[str] = field(default_factory=list)
    _n_figures: int = 0
    _n_tables: int = 0

    def heading(self, text: str) -> None:
        """Begin a section."""
        name = f"s{len(self.headings)}-" + re.sub(r"\W+", "-", text.lower()).strip("-")
        self.headings[name] = text
        self.parts.append(f'<h2 id="{name}">{html.escape(text)}</h2>')

    def paragraph(self, text: str) -> None:
        """Add a paragraph of plain text."""
        self.parts.append(f"<p>{html.escape(text)}</p>")

    def bullets(self, lines: Iterable[str]) -> None:
        """Add a list of plain texts."""
        self.parts.append("<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>")

    def table(self, table: pd.DataFrame) -> None:
        """Add a table; fractions with three digits, counts whole, words to the left; see `units.cell`."""
        name, self._n_tables = f"table-{self._n_tables}", self._n_tables + 1
        cells = pd.DataFrame({place: _cells(table.iloc[:, place]) for place in range(table.shape[1])}, dtype=object)
        shown = cells.set_axis(table.columns, axis=1).to_html(index=False, border=0, table_id=name)
        words = [
            place for place, dtype in enumerate(table.dtypes, start=1) if not is_numeric_dtype(dtype) or is_bool_dtype(dtype)
        ]
        rules = "".join(f"#{name} :is(th, td):nth-child({place}) {{ text-align: left }}" for place in words)
        self.parts.append(f'<div class="wide"><style>{rules}</style>{shown}</div>')

    def figure(self, figure: go.Figure, reading: str) -> None:
        """Add a plotly figure and a sentence on how to read it."""
        name, self._n_figures = f"figure-{self._n_figures}", self._n_figures + 1
        content = str(figure.to_json()).replace("<", "\\u003c")
        height = figure.layout.height or 450
        place = f'<div id="{name}" class="plotly-figure" style="height: {height}px"></div>'
        self._with_reading(f'{place}<script type="application/json">{content}</script>', reading)

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
        style, scripts, body = (ASSETS / "report.css").read_text(encoding="utf-8"), self.scripts, "\n".join(self.parts)
        if self._n_figures:
            library, drawing = get_plotlyjs(), (ASSETS / "figures.js").read_text(encoding="utf-8")
            scripts = [*scripts, library, drawing]
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
        if len(self.headings) < LEAST_FOR_CONTENTS:
            return ""
        links = (f'<li><a href="#{name}">{html.escape(text)}</a></li>' for name, text in self.headings.items())
        return f"<nav><ol>{''.join(links)}</ol></nav>"


def _cells(column: pd.Series) -> list[str]:
    """A column's cells; floats are counts where all are whole and not only 0 and 1."""
    numbers = column.dropna()
    if is_float_dtype(column) and (numbers == numbers.round()).all() and (numbers > 1).any():
        return [cell(value, digits=0) for value in column]
    return [cell(value) for value in column]
