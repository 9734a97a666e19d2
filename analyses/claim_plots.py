"""The pictures of the claims: functions of tables that return plotly figures and compute nothing."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..tasks.theme import COLOURS, TEMPLATE
from .plots import error_bars

SAYS_COLOUR = {"supported": COLOURS[2], "contradicted": COLOURS[1], "undecided": "#8a8a8a", "": "#8a8a8a"}


def cost_frontier(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Steps against added compositions, a panel for each level, a colour for each arm.

    Args:
        table: a row for each run and level with arm, added, level, step (NaN: not reached) and trained.
        title: should name n.
    """
    levels = list(dict.fromkeys(table["level"]))
    titles = [f"until OOD+OOD ≥ {level:g}" for level in levels]
    figure = make_subplots(rows=1, cols=len(levels), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    for column, level in enumerate(levels, start=1):
        for place, (arm, rows) in enumerate(table[table["level"] == level].groupby("arm", sort=False)):
            reached = rows["step"].notna()
            figure.add_scatter(
                x=(rows["added"] + 100).tolist(),  # so that natural runs, with none, have a place on the axis
                y=rows["step"].where(reached, rows["trained"]).tolist(),
                text=[f"{run}: {added} added" for run, added in zip(rows["run"], rows["added"], strict=True)],
                hovertemplate="%{text}, step %{y:,}<extra></extra>",
                name=str(arm),
                legendgroup=str(arm),
                showlegend=column == 1,
                mode="markers",
                marker={
                    "color": COLOURS[place % len(COLOURS)],
                    "size": 9,
                    "symbol": ["circle" if each else "triangle-up-open" for each in reached],
                },
                row=1,
                col=column,
            )
    figure.update_xaxes(title="added compositions + 100", type="log")
    figure.update_yaxes(title="training step", type="log", col=1)
    return figure.update_layout(template=TEMPLATE, title=title, height=380)


def quantity_rows(table: pd.DataFrame, *, title: str) -> go.Figure:
    """A line for each quantity: its value and interval, coloured by what it says.

    Args:
        table: with the columns quantity, value, low, high and says.
        title: should name n and what the intervals are.
    """
    figure, rows = go.Figure(), table.dropna(subset="value")
    for says, group in rows.groupby("says", sort=False):
        figure.add_scatter(
            x=group["value"].tolist(),
            y=group["quantity"].tolist(),
            error_x=error_bars(group["value"], group["low"], group["high"]),
            mode="markers",
            name=str(says) or "no rule",
            marker={"size": 9, "color": SAYS_COLOUR[str(says)]},
        )
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=rows["quantity"].tolist())
    return figure.update_layout(template=TEMPLATE, title=title, height=140 + 28 * len(rows), margin={"l": 20})
