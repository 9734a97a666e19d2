"""Cards: how a record shows itself in a notebook, as text, a table and small curves, on light pages and dark ones.

A card takes the page's colour for text and lines and has no background; it runs no script and asks for no file. All texts
are escaped and shortened here.
"""

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, NamedTuple

import pandas as pd

from .plain_text import shortened

STYLE = """
.gs-card { display: inline-block; max-width: 100%; overflow-x: auto; color: inherit; font-size: 13px; line-height: 1.4;
  border: 1px solid rgba(128, 128, 128, .45); border-radius: 6px; padding: 8px 12px; }
.gs-card .gs-row { display: flex; flex-wrap: wrap; gap: 6px 24px; align-items: flex-start; }
.gs-card .gs-row > * { max-width: 100%; }
.gs-card .gs-soft { opacity: .75; }
.gs-card .gs-rows { max-height: 24em; overflow: auto; }
.gs-card table { border-collapse: collapse; margin: 4px 0; font-size: inherit; color: inherit; background: none; }
.gs-card table tr { background: none; }
.gs-card table th, .gs-card table td { border: 0; padding: 1px 0 1px 16px; text-align: right; color: inherit;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
.gs-card table th { font-weight: 600; white-space: normal; vertical-align: bottom;
  border-bottom: 1px solid rgba(128, 128, 128, .45); }
.gs-card table .gs-word { text-align: left; }
.gs-card table tr > :first-child { padding-left: 0; }
.gs-card svg { display: block; margin-top: 4px; }
"""
WIDTH, HEIGHT, LEFT, BELOW = 300, 92, 16, 16  # of curves, in pixels; left of them and below are labels
COLUMN = 2  # pixels in which a curve's lowest and highest value are drawn


class Curve(NamedTuple):
    """A line of a small figure: what it is, its colour, dashes as SVG has them, and where it goes through."""

    label: str
    colour: str
    dashes: str
    x: Sequence[float | int]
    y: Sequence[float | int]


def or_line(card: Callable[[Any], str]) -> Callable[..., str | None]:
    """Make a `_repr_html_` of a method that may fail; then a notebook shows the record's one line instead."""

    @wraps(card)
    def _repr_html_(self: Any) -> str | None:
        try:
            return card(self)
        except Exception:  # of a record that is half made or damaged
            return None

    return _repr_html_


def card(kind: str, name: str, facts: Iterable[str], *parts: str) -> str:
    """A card: a title, a line of short facts, empty ones left out, then parts next to each other where there is room."""
    head = f'<div><strong>{text(kind)}</strong> <span class="gs-soft">{text(name, 100)}</span></div>'
    told = f'<div class="gs-soft">{" · ".join(map(text, filter(None, facts)))}</div>'
    return f'<div class="gs-card"><style>{STYLE}</style>{head}{told}<div class="gs-row">{"".join(parts)}</div></div>'


def text(content: object, longest: int = 60) -> str:
    """A text that a page shows as it is."""
    return html.escape(shortened(content, longest))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, words: int = 1, note: str = "") -> str:
    """A table whose first columns are words, the others numbers; with a remark below."""
    lines = [_row("th", columns, words), *(_row("td", row, words) for row in rows)]
    remark = f'<div class="gs-soft">{text(note, 200)}</div>' if note else ""
    return f'<div><div class="gs-rows"><table>{"".join(lines)}</table></div>{remark}</div>'


def _row(tag: str, cells: Sequence[object], words: int) -> str:
    sides = [' class="gs-word"' if place < words else "" for place in range(len(cells))]
    return f"<tr>{''.join(f'<{tag}{side}>{text(each)}</{tag}>' for side, each in zip(sides, cells, strict=True))}</tr>"


def share(value: float | int) -> str:
    """A share with two digits; a dash where it is not known.

    >>> share(0.934), share(float("nan"))
    ('0.93', '–')
    """
    return "–" if value is None or math.isnan(value) else f"{value:.2f}"


def curves(lines: Sequence[Curve], marks: Mapping[str, float | int], *, x_label: str) -> str:
    """Shares by a positive number on a log axis, and marks on that axis; drawn is only what is given.

    Args:
        lines: of values from 0 to 1; NaN is left out.
        marks: by name, where dashed vertical lines stand.
        x_label: what the axis counts.
    """
    known = [value for line in lines for value in line.x if value > 0]
    if not known:
        return ""
    first, last = min(known), max(known)
    span = math.log(last / first) or 1.0

    def across(value: float | int) -> float:
        return LEFT + (WIDTH - LEFT - 2) * math.log(max(value, first) / first) / span

    drawn = [_frame(), *(_mark(name, across(value)) for name, value in marks.items() if value > 0)]
    drawn += [_line(line, across) for line in lines]
    ends = f"{x_label}, log: {first:,.0f} to {last:,.0f}"
    drawn.append(f'<text x="{LEFT}" y="{HEIGHT + 13}" font-size="11" fill="currentColor">{text(ends)}</text>')
    size = f'width="{WIDTH}" height="{HEIGHT + BELOW}" viewBox="0 0 {WIDTH} {HEIGHT + BELOW}"'
    return f'<div><svg {size} role="img" aria-label="{text(ends)}">{"".join(drawn)}</svg>{_legend(lines)}</div>'


def _frame() -> str:
    style = 'stroke="currentColor" stroke-opacity=".3"'
    lines = "".join(f'<path d="M{LEFT} {_down(y):.0f}H{WIDTH}" {style}/>' for y in (0, 1))
    labels = (f'<text x="3" y="{_down(y) + 4:.0f}" font-size="11" fill="currentColor">{y}</text>' for y in (0, 1))
    return lines + "".join(labels)


def _mark(name: str, x: float | int) -> str:
    style = 'stroke="currentColor" stroke-opacity=".5" stroke-dasharray="2 2"'
    return f'<path d="M{x:.0f} 4V{HEIGHT - 4}" {style}><title>{text(name)}</title></path>'


def _line(line: Curve, across: Callable[[float | int], float]) -> str:
    """The lowest and the highest value of each few pixels, so that a long training takes no more room than a short one."""
    pairs = [(across(x), y) for x, y in zip(line.x, line.y, strict=True) if not math.isnan(y)]
    if not pairs:
        return ""
    found = pd.DataFrame(pairs, columns=["x", "y"])
    rows = found.groupby((found["x"] / COLUMN).astype(int))["y"].agg(["idxmin", "idxmax"])
    points = found.loc[sorted({*rows["idxmin"], *rows["idxmax"], 0, len(found) - 1})]
    path = "L".join(f"{x:.0f} {_down(y):.1f}" for x, y in zip(points["x"], points["y"], strict=True))
    if len(points) == 1:
        path += "h.1"  # a dot
    look = f'stroke="{line.colour}" stroke-width="1.8" stroke-dasharray="{line.dashes}" stroke-linecap="round"'
    return f'<path d="M{path}" fill="none" {look}><title>{text(line.label)}</title></path>'


def _down(y: float | int) -> float:
    return 6 + (HEIGHT - 12) * (1 - min(max(y, 0.0), 1.0))


def _legend(lines: Sequence[Curve]) -> str:
    keys = (
        f'<span style="white-space: nowrap"><svg width="22" height="8" style="display: inline-block; margin: 0 4px 1px 0">'
        f'<path d="M1 4H21" stroke="{line.colour}" stroke-width="2" stroke-dasharray="{line.dashes}"/></svg>'
        f"{text(line.label)}</span>"
        for line in lines
    )
    return f'<div class="gs-row" style="max-width: {WIDTH}px; gap: 0 12px">{"".join(keys)}</div>'
