"""Curves: accuracy, measures and circuits by training step, faithfulness by size."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ...tasks import SPLITS
from .style import band, layer_name
from .theme import COLOURS, GREYS, SPLIT_COLOUR, TEMPLATE, literal


def accuracy_curves(
    metrics: Mapping[str, pd.DataFrame], n: Mapping[str, int], phases: Mapping[str, Mapping[str, int]]
) -> go.Figure:
    """Accuracy by training step, a panel for each run, a line for each split; shortcut floors dotted.

    Args:
        metrics: metrics tables by run.
        n: number of queries of each split.
        phases: by run, the step at which each phase begins.
    """
    figure = make_subplots(
        rows=1, cols=len(metrics), subplot_titles=list(metrics), shared_yaxes=True, horizontal_spacing=0.04
    )
    for column, (run, table) in enumerate(metrics.items(), start=1):
        steps = table["step"].tolist()
        for split in SPLITS:
            style = {"color": SPLIT_COLOUR[split], "width": 2}
            figure.add_scatter(
                x=steps,
                y=table[split].tolist(),
                name=f"{split} (n = {n[split]})",
                legendgroup=split,
                showlegend=column == 1,
                mode="lines+markers",
                marker={"size": 4},
                line=style,
                row=1,
                col=column,
            )
            if f"floor_{split}" in table:
                figure.add_scatter(
                    x=steps,
                    y=table[f"floor_{split}"].tolist(),
                    name="best shortcut",
                    legendgroup="floor",
                    showlegend=column == 1 and split == "test_inferred_iid",
                    mode="lines",
                    line={"color": SPLIT_COLOUR[split], "width": 1, "dash": "dot"},
                    hovertemplate=f"best shortcut on {split}: %{{y:.3f}}<extra></extra>",
                    row=1,
                    col=column,
                )
        for place, (phase, step) in enumerate(phases[run].items()):
            if phase != "final":
                figure.add_vline(x=step, line={"color": GREYS["guide"], "dash": "dash", "width": 1}, row=1, col=column)  # pyright: ignore[reportArgumentType]
                figure.add_annotation(
                    x=step,
                    y=1.05 + 0.06 * place,
                    text=phase,
                    showarrow=False,
                    font={"size": 10},
                    xanchor="left",
                    row=1,
                    col=column,
                )
    figure.update_xaxes(title="training step")
    figure.update_yaxes(title="exact match", range=[-0.02, 1.22], col=1)
    return literal(figure.update_layout(template=TEMPLATE, height=420, margin={"t": 50}, legend={"font": {"size": 11}}))


def trajectory_curves(table: pd.DataFrame, value: str, *, panels: str, title: str) -> go.Figure:
    """A column by training step, a panel for each value of another, a line with its band for each layer.

    Args:
        table: with the columns step, layer, `value`, low, high and `panels`, one row for each step, layer and panel.
        value: the column shown, a fraction.
        panels: the column whose values get a panel each.
        title: of the figure; it should name n and what the bands are.
    """
    names = list(dict.fromkeys(table[panels]))
    figure = make_subplots(rows=1, cols=len(names), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.02)
    layers = sorted(table["layer"].unique())
    for column, name in enumerate(names, start=1):
        for layer, rows in table[table[panels] == name].groupby("layer"):
            colour, label = COLOURS[layers.index(layer) % len(COLOURS)], layer_name(layer)
            style = {"legendgroup": label, "row": 1, "col": column}
            figure.add_scatter(**band(rows["step"], rows["low"], rows["high"], colour), **style)
            line = {
                "x": rows["step"].tolist(),
                "y": rows[value].tolist(),
                "name": label,
                "line": {"color": colour, "width": 2},
            }
            figure.add_scatter(**line, mode="lines+markers", marker={"size": 4}, showlegend=column == 1, **style)
    figure.update_xaxes(title="training step", type="log", dtick=1).update_yaxes(range=[-0.05, 1.05])
    figure.update_yaxes(title=value, col=1)
    return literal(figure.update_layout(template=TEMPLATE, title={"text": title, "font": {"size": 13}}, height=400))


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
    figure.update_xaxes(title="edges", type="log").update_yaxes(title="share of the gap kept")
    return literal(figure.update_layout(template=TEMPLATE, title={"text": title, "font": {"size": 12}}, height=400))


def growth_curves(effects: pd.DataFrame, stability: pd.DataFrame, onsets: Mapping[str, float], *, title: str) -> go.Figure:
    """Edges' effects by step with bands, the circuit's stability, and losses; onsets of accuracy dashed.

    Args:
        effects: with the columns step, edge, effect, low and high.
        stability: with the columns step, weighted_overlap, weighted_overlap_final, loss, restricted and excluded.
        onsets: by name, the step.
        title: of the figure; it should name n and what the bands are.
    """
    titles = ("effect, share of the gap", "weighted overlap", "cross-entropy in nats, lower is better")
    figure = make_subplots(rows=1, cols=3, subplot_titles=titles, horizontal_spacing=0.06)
    for colour, (edge, rows) in zip(COLOURS, effects.dropna(subset="effect").groupby("edge", sort=False), strict=False):
        figure.add_scatter(**band(rows["step"], rows["low"], rows["high"], colour), row=1, col=1)
        line = {
            "x": rows["step"].tolist(),
            "y": rows["effect"].tolist(),
            "name": str(edge),
            "line": {"color": colour, "width": 2},
        }
        figure.add_scatter(**line, mode="lines+markers", row=1, col=1)
    curves = (
        ("weighted_overlap", "with the step before", 2),
        ("weighted_overlap_final", "with the last step", 2),
        ("loss", "whole model", 3),
        ("restricted", "final circuit only", 3),
        ("excluded", "all but it", 3),
    )
    for colour, (column, name, panel) in zip((*COLOURS[3:], COLOURS[0], COLOURS[1]), curves, strict=False):
        line = {"x": stability["step"].tolist(), "y": stability[column].tolist(), "name": name, "line": {"color": colour}}
        figure.add_scatter(**line, mode="lines+markers", row=1, col=panel)
    for name, step in onsets.items():
        dashed: Any = {"line": {"color": GREYS["guide"], "dash": "dash", "width": 1}, "row": 1, "col": 1}
        figure.add_vline(x=step, **dashed)
        place: Any = {"x": np.log10(step), "y": 0.02, "yref": "y domain", "yanchor": "bottom", "xanchor": "right"}
        figure.add_annotation(text=name, textangle=-90, showarrow=False, font={"size": 10}, **place)
    figure.update_xaxes(title="training step", type="log", dtick=1)
    return literal(figure.update_layout(template=TEMPLATE, title={"text": title, "font": {"size": 13}}, height=420))
