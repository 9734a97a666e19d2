"""What arms answer against what they use, a panel for each family of arms: a figure of tables, which computes nothing."""

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from .direct_labels import LINE
from .style import error_bars
from .theme import FAMILIES, GREYS, HUES, PHASE_SYMBOL, SHARE, SMALL, TEMPLATE, arm_looks, literal, panels

PANEL, ABOVE, BELOW = 340, 70, 110  # pixels
IN_A_ROW = 2  # names above a panel
READING = "Filled: the bridge is used; open: it is not, or that is undecided. Darker: more was taught."
PHASE_NAME = {
    "memorised": "training compositions memorised",
    "id_generalised": "ID answers",
    "before": "OOD facts known, not composed",
    "ood_generalised": "OOD answers",
    "final": "end",
}


def accuracy_against_use(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Exact match against answers that follow the bridge, a symbol for each run and phase; filled where the bridge is used.

    Args:
        table: with the columns run, arm, phase, step, exact_match, bridge_effect, low, high and used.
        title: should name n and what the intervals are.
    """
    known = table.dropna(subset="bridge_effect")
    looks = arm_looks(known["arm"])
    families = [family for family in FAMILIES if any(look.family == family for look in looks.values())]
    figure = panels([], columns=len(families), horizontal_spacing=0.03)
    rows_of_names = 0
    for column, family in enumerate(families, start=1):
        arms = [arm for arm, look in looks.items() if look.family == family]
        n_rows = math.ceil(len(arms) / IN_A_ROW)
        rows_of_names = max(rows_of_names, n_rows)
        for place, arm in enumerate(arms):
            colour, label, _ = looks[arm]
            figure.add_trace(_symbols(known[known["arm"] == arm], colour, label), row=1, col=column)
            _name(figure, label, colour, n_rows - 1 - place // IN_A_ROW, place % IN_A_ROW, column)
        heading = {"text": HUES[family], "font": {"size": SMALL, "color": GREYS["marker"]}}
        figure.add_annotation(**heading, **_above(n_rows, 0, column))
    _explain(figure, list(dict.fromkeys(known["phase"])))
    figure.update_xaxes(title="use of the bridge, beyond control", range=[-0.15, 1.08])
    figure.update_yaxes(**SHARE).update_yaxes(title="exact match", col=1)
    above = ABOVE + LINE * (rows_of_names + 1)
    size = {"height": PANEL + above + BELOW, "margin": {"t": above, "b": BELOW}}
    legend = {"orientation": "h", "y": -0.2, "yanchor": "top", "font": {"size": SMALL}}
    legend |= {"title": {"text": READING, "side": "top", "font": {"size": SMALL}}}
    top = {"text": title, "y": 1, "yanchor": "top", "pad": {"t": 14}}
    return literal(figure.update_layout(template=TEMPLATE, title=top, legend=legend, **size))


def _symbols(rows: pd.DataFrame, colour: str, label: str) -> go.Scatter:
    symbols = [
        PHASE_SYMBOL[str(phase)] + ("" if used == "yes" else "-open")
        for phase, used in zip(rows["phase"], rows["used"], strict=True)
    ]
    return go.Scatter(
        x=rows["bridge_effect"].tolist(),
        y=rows["exact_match"].tolist(),
        error_x=error_bars(rows["bridge_effect"], rows["low"], rows["high"]) | {"thickness": 0.8, "width": 0},
        text=[f"{row.run}, {row.phase}, step {row.step:,}, used: {row.used}" for row in rows.itertuples()],
        hovertemplate="%{text}<br>use %{x:.3f}, exact match %{y:.3f}<extra></extra>",
        mode="markers",
        name=label,
        showlegend=False,
        marker={"color": colour, "size": 9, "symbol": symbols, "line": {"width": 1.5, "color": colour}},
    )


def _name(figure: go.Figure, label: str, colour: str, row: int, across: int, column: int) -> None:
    """An arm's name above its panel, after a dot in its colour; rows upwards."""
    at = _above(row, across, column)
    figure.add_annotation(text="●", font={"size": SMALL + 3, "color": colour}, **at)
    figure.add_annotation(text=label, font={"size": SMALL, "color": GREYS["marker"]}, xshift=14, **at)


def _above(row: int, across: int, column: int) -> dict[str, Any]:
    """Where a text above a panel is."""
    at: Any = {"xref": "x domain", "yref": "y domain", "x": across / IN_A_ROW, "y": 1, "row": 1, "col": column}
    return at | {"xanchor": "left", "yanchor": "bottom", "yshift": 4 + LINE * row, "showarrow": False}


def _explain(figure: go.Figure, phases: list[str]) -> None:
    """What shapes mean, below; open, as filled says something else."""
    for phase in (phase for phase in PHASE_SYMBOL if phase in phases):
        marker = {"symbol": f"{PHASE_SYMBOL[phase]}-open", "size": 9, "color": GREYS["marker"]}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=PHASE_NAME[phase], marker=marker)
