"""One HTML page of headings, sentences, tables and figures that opens from a file, without a network."""

import html
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from ..circuits import Diagram
from ..circuits.result import write_text

STYLE = Path(__file__).parent / "assets" / "report.css"


@dataclass
class Report:
    """A page that is written from top to bottom.

    Attributes:
        title: of the page.
        parts: the HTML so far.
    """

    title: str
    parts: list[str] = field(default_factory=list)
    _has_plotly: bool = False

    def heading(self, text: str) -> None:
        """Begin a section."""
        self.parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph of plain text."""
        self.parts.append(f"<p>{html.escape(text)}</p>")

    def bullets(self, lines: Iterable[str]) -> None:
        """Add a list of plain texts."""
        self.parts.append("<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>")

    def table(self, table: pd.DataFrame) -> None:
        """Add a table; fractions with three digits."""
        self.parts.append(table.to_html(index=False, float_format="{:.3f}".format, border=0, na_rep="–"))

    def figure(self, figure: go.Figure) -> None:
        """Add a plotly figure; the library goes into the page once."""
        self.parts.append(figure.to_html(full_html=False, include_plotlyjs=not self._has_plotly))
        self._has_plotly = True

    def diagram(self, diagram: Diagram) -> None:
        """Add a circuit diagram."""
        self.fragment(diagram.html)

    def fragment(self, fragment: str) -> None:
        """Add a piece of HTML as it is."""
        self.parts.append(fragment)

    def page(self) -> str:
        """All of it as an HTML page."""
        title, style = html.escape(self.title), STYLE.read_text(encoding="utf-8")
        head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        head += f"<title>{title}</title><style>{style}</style>"
        body = f"<h1>{title}</h1>" + "\n".join(self.parts)
        return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'

    def save(self, path: str | Path) -> Path:
        """Write the page, whole or not at all; returns the path."""
        return write_text(Path(path), self.page())
