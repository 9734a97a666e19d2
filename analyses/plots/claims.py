"""Figures of the claims: functions of tables that return plotly figures and compute nothing."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import error_bars
from .theme import COLOURS, GREYS, PHASE_SYMBOL, TEMPLATE, apart, literal

OPEN = dict.fromkeys(("undecided", "invalid", ""), GREYS["undecided"])
ROLE_SYMBOL = {"main": "circle", "falsifier": "diamond", "control": "square-open", "beside": "circle-open"}
SAYS_COLOUR = {"supported": COLOURS[2], "contradicted": COLOURS[1], **OPEN}


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
    figure.update_yaxes(type="log").update_yaxes(title="training step", col=1)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=440))


def quantity_rows(table: pd.DataFrame, *, title: str) -> go.Figure:
    """A line for each quantity: its value and interval, coloured by what it says, its symbol by its role; margins as ticks.

    Args:
        table: with the columns role, quantity, value, low, high, margin and says.
        title: should name n and what the intervals are.
    """
    figure, rows = go.Figure(), table.dropna(subset="value")
    rows = rows.assign(quantity=apart(rows["quantity"]))
    for says, group in rows.groupby("says", sort=False):
        figure.add_scatter(
            x=group["value"].tolist(),
            y=group["quantity"].tolist(),
            error_x=error_bars(group["value"], group["low"], group["high"]),
            mode="markers",
            name=str(says) or "no rule",
            marker={
                "size": 9,
                "color": SAYS_COLOUR[str(says)],
                "symbol": [ROLE_SYMBOL.get(str(role), "circle") for role in group["role"]],
            },
        )
    bounded = rows.dropna(subset="margin")
    if len(bounded):
        tick = {"symbol": "line-ns-open", "size": 16, "color": GREYS["undecided"], "line": {"width": 2}}
        margins = {"x": bounded["margin"].tolist(), "y": bounded["quantity"].tolist()}
        figure.add_scatter(**margins, mode="markers", name="margin", marker=tick)
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=rows["quantity"].tolist())
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=140 + 28 * len(rows), margin={"l": 20}))


def accuracy_against_use(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Exact match against answers that follow the bridge, a dot for each run and phase; filled where the bridge is used.

    Args:
        table: with the columns run, arm, phase, step, exact_match, bridge_effect, low, high and used.
        title: should name n and what the intervals are.
    """
    figure, known = go.Figure(), table.dropna(subset="bridge_effect")
    for place, (arm, rows) in enumerate(known.groupby("arm", sort=False)):
        colour = COLOURS[place % len(COLOURS)]
        symbols = [
            PHASE_SYMBOL[str(phase)] + ("" if used == "yes" else "-open")
            for phase, used in zip(rows["phase"], rows["used"], strict=True)
        ]
        figure.add_scatter(
            x=rows["bridge_effect"].tolist(),
            y=rows["exact_match"].tolist(),
            error_x=error_bars(rows["bridge_effect"], rows["low"], rows["high"]) | {"thickness": 0.8, "width": 0},
            text=[f"{row.run}, {row.phase}, step {row.step:,}, used: {row.used}" for row in rows.itertuples()],
            hovertemplate="%{text}<br>use %{x:.2f}, exact match %{y:.2f}<extra></extra>",
            mode="markers",
            name=str(arm),
            marker={"color": colour, "size": 9, "symbol": symbols, "line": {"width": 1.5, "color": colour}},
        )
    figure.update_xaxes(title="answers that follow another question's bridge, beyond control", range=[-0.1, 1.05])
    figure.update_yaxes(title="exact match", range=[-0.05, 1.05])
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=480))


def repair_bars(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Unmodified accuracy, and with the bridge or a random entity written at r1: a panel for each cell, a dot for each run.

    Args:
        table: with the columns run, arm, cell, accuracy, realigned and controlled.
        title: should name n.
    """
    cells = list(dict.fromkeys(table["cell"]))
    figure = make_subplots(rows=1, cols=len(cells), subplot_titles=cells, shared_yaxes=True, horizontal_spacing=0.03)
    kinds = {"accuracy": "unmodified", "realigned": "bridge as embedding", "controlled": "random entity as embedding"}
    for column, cell in enumerate(cells, start=1):
        rows = table[table["cell"] == cell]
        for place, (name, label) in enumerate(kinds.items()):
            figure.add_scatter(
                x=rows["arm"].tolist(),
                y=rows[name].tolist(),
                text=rows["run"].tolist(),
                hovertemplate="%{text}: %{y:.2f}<extra></extra>",
                mode="markers",
                name=label,
                legendgroup=label,
                showlegend=column == 1,
                marker={"color": COLOURS[place], "size": 9, "symbol": ("circle", "diamond", "x-thin-open")[place]},
                row=1,
                col=column,
            )
    figure.update_yaxes(title="exact match", range=[-0.05, 1.05], col=1)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=400))


def exposure_points(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Accuracy against exposure, a panel for each hop.

    Args:
        table: with the columns hop, exposure, accuracy, low, high and n.
        title: should name n and what the intervals are.
    """
    hops = sorted(set(table["hop"]))
    titles = [f"fact of hop {hop}" for hop in hops]
    figure = make_subplots(rows=1, cols=len(hops), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    for column, hop in enumerate(hops, start=1):
        rows = table[table["hop"] == hop]
        figure.add_scatter(
            x=rows["exposure"].tolist(),
            y=rows["accuracy"].tolist(),
            error_y=error_bars(rows["accuracy"], rows["low"], rows["high"]),
            text=[f"n = {n}" for n in rows["n"]],
            mode="markers",
            marker={"color": COLOURS[0], "size": 9},
            showlegend=False,
            row=1,
            col=column,
        )
    figure.update_xaxes(title="trained compositions of the fact")
    figure.update_yaxes(title="exact match", range=[-0.05, 1.05], col=1)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=380))
