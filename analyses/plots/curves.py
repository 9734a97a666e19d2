"""Curves: accuracy, measures and circuits by training step, faithfulness by size."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .direct_labels import LINE, Label, Panel, label_ends, width_of
from .style import band, layer_name
from .theme import COLOURS, GREYS, SHARE, SMALL, SPLIT_COLOUR, TEMPLATE, literal, log_axis, panels

HEIGHT, ABOVE, BELOW, PHASE, WIDE = 456, 60, 70, 14, 400  # pixels; PHASE: of a name of a phase
MEASURED = "exact match by training step · n at each name · dotted: shortcuts · dashed: what is named above"
STABILITY = (
    ("weighted_overlap", "with the step before", 2),
    ("weighted_overlap_final", "with the last step", 2),
    ("loss", "whole model", 3),
    ("restricted", "final circuit only", 3),
    ("excluded", "all but it", 3),
)
"""Columns, what they are called, and their panel."""
STABILITY_LOOK = (
    *((GREYS["marker"], dash) for dash in ("solid", "dot")),
    *((GREYS["marker"], dash) for dash in ("solid", "dot", "dash")),
)
"""Grey, since colours belong to edges."""


def accuracy_curves(
    metrics: Mapping[str, pd.DataFrame], n: Mapping[str, int], phases: Mapping[str, Mapping[str, int]]
) -> go.Figure:
    """Accuracy by training step, a panel for each run, a line for each split with its name; shortcut floors dotted.

    Args:
        metrics: metrics tables by run.
        n: number of queries of each split that is shown.
        phases: by run, the step at which each phase begins.
    """
    colours = {split: SPLIT_COLOUR.get(split, COLOURS[place % len(COLOURS)]) for place, split in enumerate(n)}
    figure = panels(list(metrics), horizontal_spacing=0.04)
    n_phases = max(sum(phase != "final" for phase in of_run) for of_run in phases.values())
    above = ABOVE + PHASE * n_phases
    figure.update_annotations(yshift=PHASE * n_phases + 4)  # titles, above the names of phases
    for column, (run, table) in enumerate(metrics.items(), start=1):
        where: Any = {"row": 1, "col": column}
        with_floor = [split for split in n if f"floor_{split}" in table]
        for split, colour in colours.items():
            in_legend = column == 1 and split in with_floor[:1]
            _add_split(figure, table, split, n[split], colour, where, in_legend=in_legend)
        end = int(table["step"].max())
        _add_phases(figure, phases[run], end, where)
        figure.update_xaxes(title="training step", range=[0, end * 1.01], tickformat=",d", **where)
    last = list(metrics.values())[-1]
    names = [Label(f"{split} (n = {n[split]})", *_end(last, split), colour) for split, colour in colours.items()]
    spans = max(1.0, *(name.x for name in names)), SHARE["range"][1] - SHARE["range"][0]
    label_ends(figure, names, Panel(len(metrics), WIDE, HEIGHT - above - BELOW, *spans))
    figure.update_yaxes(**SHARE).update_yaxes(title="exact match", col=1)
    margin = {"t": above, "b": BELOW, "r": width_of([name.text for name in names]) + 10}
    legend = {"orientation": "h", "y": -0.2, "yanchor": "top"}
    return literal(figure.update_layout(template=TEMPLATE, title=MEASURED, height=HEIGHT, margin=margin, legend=legend))


def _add_split(
    figure: go.Figure, table: pd.DataFrame, split: str, n: int, colour: str, where: dict[str, int], *, in_legend: bool
) -> None:
    """A split's accuracies, and dotted the best shortcut's if it has one."""
    steps = table["step"].tolist()
    line = {"x": steps, "y": table[split].tolist(), "name": f"{split} (n = {n})", "legendgroup": split, "showlegend": False}
    figure.add_scatter(**line, mode="lines+markers", marker={"size": 4}, line={"color": colour, "width": 2}, **where)
    if f"floor_{split}" in table:
        figure.add_scatter(
            x=steps,
            y=table[f"floor_{split}"].tolist(),
            name="dotted: the best shortcut on a split",
            legendgroup="floor",
            showlegend=in_legend,
            mode="lines",
            line={"color": colour, "width": 1, "dash": "dot"},
            hovertemplate=f"best shortcut on {split}: %{{y:.3f}}<extra></extra>",
            **where,
        )


def _add_phases(figure: go.Figure, phases: Mapping[str, int], last: int, where: dict[str, int]) -> None:
    """Where each phase begins: a dashed line, with its name above the panel."""
    begun = {phase: step for phase, step in phases.items() if phase != "final"}
    for place, (phase, step) in enumerate(begun.items()):
        dashed: Any = {"line": {"color": GREYS["guide"], "dash": "dash", "width": 1}, **where}
        figure.add_vline(x=step, **dashed)
        side = "left" if step < last / 2 else "right"
        at: Any = {"x": step, "y": 1, "yref": "y domain", "yshift": PHASE * place, "xanchor": side, **where}
        figure.add_annotation(text=phase, showarrow=False, font={"size": SMALL}, yanchor="bottom", **at)


def _end(table: pd.DataFrame, column: str) -> tuple[float, float]:
    """The last measured point of a curve."""
    last = table.dropna(subset=column).tail(1)
    return (float(last["step"].iloc[0]), float(last[column].iloc[0])) if len(last) else (float(table["step"].max()), 0.0)


def trajectory_curves(table: pd.DataFrame, value: str, *, by: str, label: str = "", title: str) -> go.Figure:
    """A column by training step, a panel for each value of another, a line with its band for each layer.

    Args:
        table: with the columns step, layer, `value`, low, high and `by`, one row for each step, layer and panel.
        value: the column shown, a fraction.
        by: the column whose values get a panel each.
        label: what is shown and in which unit; the column's name if not given.
        title: of the figure; it should name n and what the bands are.
    """
    names = list(dict.fromkeys(table[by]))
    figure = panels(names, horizontal_spacing=0.02)
    layers = sorted(table["layer"].unique())
    for column, name in enumerate(names, start=1):
        for layer, rows in table[table[by] == name].groupby("layer"):
            colour, of_layer = COLOURS[layers.index(layer) % len(COLOURS)], layer_name(layer)
            style = {"legendgroup": of_layer, "row": 1, "col": column}
            figure.add_scatter(**band(rows["step"], rows["low"], rows["high"], colour), **style)
            line = {
                "x": rows["step"].tolist(),
                "y": rows[value].tolist(),
                "name": of_layer,
                "line": {"color": colour, "width": 2},
            }
            figure.add_scatter(**line, mode="lines+markers", marker={"size": 4}, showlegend=column == 1, **style)
    figure.update_xaxes(title="training step", **log_axis(table["step"])).update_yaxes(**_around(table[["low", "high"]]))
    figure.update_yaxes(title=label or value, col=1)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=400))


def faithfulness_curves(curve: pd.DataFrame, n_edges: int, faithfulness: float, *, title: str) -> go.Figure:
    """Faithfulness against the number of edges by order, with bands; shuffled rankings dotted, the circuit a star.

    Args:
        curve: see `faithfulness_curve`.
        n_edges: the circuit's size.
        faithfulness: of the circuit.
        title: of the figure; it should name n and what the bands are.
    """
    figure = go.Figure()
    for colour, (order, rows) in zip(COLOURS, curve.groupby("order", sort=False), strict=False):
        sizes = rows["n_edges"].tolist()
        for value, low, high, dash, name in (
            ("faithfulness", "low", "high", "solid", f"by {order}"),
            ("random", "random_low", "random_high", "dot", f"by shuffled {order}"),
        ):
            figure.add_scatter(**band(rows["n_edges"], rows[low], rows[high], colour))
            line = {"color": colour, "width": 2, "dash": dash}
            figure.add_scatter(x=sizes, y=rows[value].tolist(), name=name, line=line, mode="lines+markers")
    star = {"symbol": "star", "size": 13, "color": COLOURS[-1]}
    figure.add_scatter(x=[n_edges], y=[faithfulness], name="this circuit", mode="markers", marker=star)
    figure.update_xaxes(title="edges", **log_axis([*curve["n_edges"], n_edges])).update_yaxes(title="share of the gap kept")
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=400))


def growth_curves(effects: pd.DataFrame, stability: pd.DataFrame, onsets: Mapping[str, float], *, title: str) -> go.Figure:
    """Edges' effects by step with bands, the circuit's stability, and losses, each with its own legend; onsets dashed.

    Args:
        effects: with the columns step, edge, effect, low and high.
        stability: with the columns step, weighted_overlap, weighted_overlap_final, loss, restricted and excluded.
        onsets: by name, the step.
        title: of the figure; it should name n and what the bands are.
    """
    titles = ("effect, share of the gap", "weighted overlap of circuits", "cross-entropy in nats, lower is better")
    figure = panels([], columns=len(titles), shared_yaxes=False, horizontal_spacing=0.08)
    edges = list(effects.dropna(subset="effect").groupby("edge", sort=False))
    for place, (edge, rows) in enumerate(edges):
        colour = COLOURS[place % len(COLOURS)]
        figure.add_scatter(**band(rows["step"], rows["low"], rows["high"], colour), row=1, col=1)
        _add_line(figure, rows["step"], rows["effect"], str(edge), (colour, "solid"), 1)
    for place, (column, name, panel) in enumerate(STABILITY):
        _add_line(figure, stability["step"], stability[column], name, STABILITY_LOOK[place], panel)
    for name, step in onsets.items():
        dashed: Any = {"line": {"color": GREYS["guide"], "dash": "dash", "width": 1}, "row": 1, "col": 1}
        figure.add_vline(x=step, **dashed)
        place: Any = {"x": np.log10(step), "y": 0.02, "yref": "y domain", "yanchor": "bottom", "xanchor": "left"}
        figure.add_annotation(text=name, textangle=-90, showarrow=False, font={"size": SMALL}, **place)
    figure.update_xaxes(title="training step", **log_axis([*effects["step"], *stability["step"], *onsets.values()]))
    for column, text in enumerate(titles, start=1):
        figure.update_yaxes(title=text, col=column)
    figure.update_yaxes(**SHARE, col=2).update_yaxes(rangemode="tozero", col=3)
    below = BELOW + LINE * max(len(edges), 3)
    size = {"height": 340 + below, "margin": {"b": below}}
    return literal(figure.update_layout(template=TEMPLATE, title=title, **size, **_legends(figure)))


def _add_line(figure: go.Figure, x: pd.Series, y: pd.Series, name: str, look: tuple[str, str], panel: int) -> None:
    """A curve that is named in the legend of its panel."""
    legend = "legend" if panel == 1 else f"legend{panel}"
    line = {"color": look[0], "width": 2, "dash": look[1]}
    points = {"x": x.tolist(), "y": y.tolist(), "mode": "lines+markers", "marker": {"size": 5}}
    figure.add_scatter(**points, name=name, line=line, legend=legend, row=1, col=panel)


def _legends(figure: go.Figure) -> dict[str, Any]:
    """A legend below each panel."""
    look = {"yref": "paper", "y": -0.22, "yanchor": "top", "xanchor": "left"}
    return {
        "legend" if panel == 1 else f"legend{panel}": look | {"x": axis.domain[0]}
        for panel, axis in enumerate(figure.select_xaxes(), start=1)
    }


def _around(bounds: pd.DataFrame) -> dict[str, Any]:
    """An axis of shares, or of differences of shares where some are below 0."""
    lowest = float(np.nanmin([0.0, *bounds.min()]))
    return SHARE if lowest > SHARE["range"][0] else {"range": [max(-1.05, lowest - 0.05), SHARE["range"][1]]}
