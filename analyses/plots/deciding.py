"""What decides a claim: a panel for each quantity, a line for each architecture and standing; it computes nothing."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ...circuits.figure_text import escaped
from .style import error_bars
from .theme import COLOURS, GREYS, SMALL, TEMPLATE, literal, panels

SAYS = {"supported": COLOURS[2], "contradicted": COLOURS[1]}
"""Colours of what a row says; all else is grey."""
ROW, BETWEEN, AROUND = 28, 62, 82  # pixels: of a line, of what is between panels, and of all else
BEYOND = 1.08  # times what is shown, so that the end of a band is seen
MIDDLE = 0.5  # of a share; text stands where there is room
LEAST = -0.1  # to which a band is drawn that has no lower end
ASIDE = 0.24  # of a row, by which single graphs lie below what they amount to


def deciding_panels(lines: pd.DataFrame, points: pd.DataFrame, *, title: str) -> go.Figure:
    """Estimates with bounds above, single graphs below; the band is where a quantity supports the claim.

    Args:
        lines: with the columns panel, kind, line, value, low, high, band_low, band_high, n, unclear and says.
        points: with the columns panel, line, graph and value.
        title: should say what bounds are.
    """
    names = list(dict.fromkeys(lines["panel"]))
    sizes = [int((lines["panel"] == name).sum()) for name in names]
    height = sum(sizes) * ROW + len(names) * BETWEEN
    spacing = {"row_heights": sizes, "vertical_spacing": BETWEEN / max(height, 2 * BETWEEN)} if names else {}
    figure = panels([], rows=max(1, len(names)), **spacing)
    for place, name in enumerate(names, start=1):
        _add_panel(figure, lines[lines["panel"] == name], points[points["panel"] == name], name, place)
    legend: Any = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0}
    size: dict[str, Any] = {"height": AROUND + height, "legend": legend, "margin": {"l": 20, "t": 80}}
    return literal(figure.update_layout(template=TEMPLATE, title=title, **size))


def _add_panel(figure: go.Figure, lines: pd.DataFrame, points: pd.DataFrame, name: str, place: int) -> None:
    where: Any = {"row": place, "col": 1}
    rows = {line: number for number, line in enumerate(lines["line"])}
    known = lines.dropna(subset="value")
    drawn: list[go.Scatter] = [
        _graphs(points, rows),
        *(_typical(known[known["says"] == says], rows, says) for says in dict.fromkeys(known["says"])),
    ]
    for trace in drawn:
        named = {each.legendgroup for each in figure.data}  # pyright: ignore[reportAttributeAccessIssue]
        figure.add_trace(trace.update(showlegend=trace.legendgroup not in named), **where)
    bands = lines.dropna(subset=["band_low", "band_high"])
    if len(bands):
        look: Any = {"fillcolor": COLOURS[2], "opacity": 0.12, "line_width": 0, "layer": "below"}
        figure.add_vrect(x0=max(LEAST, bands["band_low"].iloc[0]), x1=bands["band_high"].iloc[0], **look, **where)
    said = [_label(row) for row in lines.to_dict("records")]
    ends_y = [len(rows) - 0.4, -0.6]
    figure.update_yaxes(tickvals=list(rows.values()), ticktext=said, range=ends_y, zeroline=False, **where)
    kind = next(filter(None, lines["kind"]), "not measured")
    shown = [lines["high"].max(), lines["band_high"].max(), points["value"].max()]
    least = min([0.0, lines["low"].min(), points["value"].min(), *bands["band_low"].clip(lower=LEAST)])
    ends = [-0.02, 1.02] if kind.startswith("share") else [least, BEYOND * pd.Series(shown).max()]
    known_ends = {"range": ends} if pd.Series(ends).notna().all() else {}
    figure.update_xaxes(title={"text": f"{name}: {kind}", "standoff": 4}, **known_ends, **where)


def _label(line: Any) -> str:
    """A line's name with n, and on how many graphs nothing can be said."""
    unclear = f", {line['unclear']} unclear" if line["unclear"] else ""
    return f"{line['line']}, n = {line['n']}{unclear}"


def _graphs(points: pd.DataFrame, rows: dict[str, int]) -> go.Scatter:
    """A dot for each graph; of several at one place one, with their number."""
    places = points.groupby(["line", "value"], sort=False)["graph"].agg(list).reset_index()
    return go.Scatter(
        x=places["value"].tolist(),
        y=[rows[line] + ASIDE for line in places["line"]],
        text=[f" {len(graphs)} graphs" if len(graphs) > 1 else "" for graphs in places["graph"]],
        textposition=["middle right" if value < MIDDLE else "middle left" for value in places["value"]],
        textfont={"size": SMALL},
        customdata=[f"graph{'s' * (len(graphs) > 1)} {escaped(', '.join(map(str, graphs)))}" for graphs in places["graph"]],
        hovertemplate="%{customdata}: %{x:.3f}<extra></extra>",
        name="a graph",
        legendgroup="a graph",
        mode="markers+text",
        marker={"color": COLOURS[0], "size": 7, "opacity": 0.6},
    )


def _typical(lines: pd.DataFrame, rows: dict[str, int], says: str) -> go.Scatter:
    name = says or "no rule"
    colour = SAYS.get(says, GREYS["undecided"])
    return go.Scatter(
        x=lines["value"].tolist(),
        y=[rows[line] - ASIDE / 2 for line in lines["line"]],
        error_x=error_bars(lines["value"], lines["low"], lines["high"]) | {"thickness": 2, "color": colour},
        name=name,
        legendgroup=name,
        hovertemplate="%{x:.3f}<extra></extra>",
        mode="markers",
        marker={"color": colour, "size": 10, "symbol": "diamond-open" if says == "invalid" else "diamond"},
    )
