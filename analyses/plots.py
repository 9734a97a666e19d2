"""The pictures: functions of tables that return plotly figures and compute nothing.

Every figure says n and what its bars are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..tasks import SPLITS
from ..tasks.theme import COLOURS, SPLIT_COLOUR, TEMPLATE


def accuracy_curves(
    metrics: Mapping[str, pd.DataFrame], n: Mapping[str, int], phases: Mapping[str, Mapping[str, int]]
) -> go.Figure:
    """Accuracy by training step, a panel for each run, a line for each split; shortcut floors dotted.

    Args:
        metrics: metrics tables by run.
        n: number of queries behind each split's curve.
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
                figure.add_vline(x=step, line={"color": "#777777", "dash": "dash", "width": 1}, row=1, col=column)  # pyright: ignore[reportArgumentType]
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
    return figure.update_layout(template=TEMPLATE, height=420, margin={"t": 50}, legend={"font": {"size": 11}})


def lens_heatmaps(tables: Mapping[str, pd.DataFrame], targets: Sequence[str], *, value: str, title: str) -> go.Figure:
    """Layer × position heat maps, a row of panels for each table and a column for each target, one colour scale.

    Args:
        tables: lens tables by label, with the columns layer, role, target and `value`.
        targets: which targets to show.
        value: the column shown, a fraction.
        title: of the figure; it should name n.
    """
    titles = [f"{label}: {target}" if label else target for label in tables for target in targets]
    figure = make_subplots(
        rows=len(tables),
        cols=len(targets),
        subplot_titles=titles,
        shared_yaxes=True,
        vertical_spacing=0.26 / len(tables),
        horizontal_spacing=0.02,
    )
    for row, table in enumerate(tables.values(), start=1):
        for column, target in enumerate(targets, start=1):
            cells = table[table["target"] == target]
            grid = cells.assign(stage=stage_names(cells)).pivot(index="stage", columns="role", values=value)
            grid = grid.loc[list(dict.fromkeys(stage_names(cells))), list(dict.fromkeys(cells["role"]))]
            figure.add_heatmap(
                z=grid.to_numpy().tolist(),
                x=list(grid.columns),
                y=list(grid.index),
                text=[[f"{cell:.2f}" for cell in line] for line in grid.to_numpy()],
                texttemplate="%{text}",
                zmin=0,
                zmax=1,
                colorscale="Viridis",
                showscale=row == column == 1,
                colorbar={"title": value},
                row=row,
                col=column,
            )
    return figure.update_layout(template=TEMPLATE, title=title, height=90 + 260 * len(tables))


def layer_name(layer: int) -> str:
    """What axes call a layer: `embed` for −1."""
    return "embed" if layer < 0 else f"L{layer}"


def stage_names(cells: pd.DataFrame) -> list[str]:
    """What axes call the stages of a table with a column layer, and perhaps `after`."""
    after = cells["after"] if "after" in cells else [""] * len(cells)
    words = {"attention": " attn"}
    return [f"{layer_name(layer)}{words.get(part, '')}" for layer, part in zip(cells["layer"], after, strict=True)]


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
            figure.add_scatter(**_band(rows["step"], rows["low"], rows["high"], colour), **style)
            line = {
                "x": rows["step"].tolist(),
                "y": rows[value].tolist(),
                "name": label,
                "line": {"color": colour, "width": 2},
            }
            figure.add_scatter(**line, mode="lines+markers", marker={"size": 4}, showlegend=column == 1, **style)
    figure.update_xaxes(title="training step", type="log", dtick=1).update_yaxes(range=[-0.05, 1.05])
    figure.update_yaxes(title=value, col=1)
    return figure.update_layout(template=TEMPLATE, title={"text": title, "font": {"size": 13}}, height=400)


def cell_heatmaps(table: pd.DataFrame, panels: str, value: str, *, title: str) -> go.Figure:
    """Layer × position heat maps, a panel for each value of a column, one colour scale."""
    cells = table.rename(columns={panels: "target"})
    return lens_heatmaps({"": cells}, list(dict.fromkeys(table[panels])), value=value, title=title)


def evidence_heatmaps(measures: pd.DataFrame, verdicts: pd.DataFrame, *, title: str) -> go.Figure:
    """Heat maps of each measure's excess over its control, layer × position, and last the verdict `used`.

    Args:
        measures: with the columns layer, role, measure and excess.
        verdicts: with the columns layer, role and used (`yes`, `no` or `undecided`).
        title: of the figure; it should name n.
    """
    shade, sign = {"yes": 1.0, "undecided": 0.5, "no": 0.0}, {"yes": "yes", "undecided": "?", "no": "no"}
    used = verdicts.assign(measure="used", excess=verdicts["used"].map(shade))
    table = pd.concat([measures, used]).rename(columns={"measure": "target"})
    figure = lens_heatmaps({"": table}, list(dict.fromkeys(table["target"])), value="excess", title=title)
    roles = list(dict.fromkeys(verdicts["role"]))
    words = verdicts.pivot(index="layer", columns="role", values="used")[roles].replace(sign)
    figure.update_traces({"text": words.to_numpy().tolist()}, selector=-1)
    return figure.update_layout(title={"text": title, "font": {"size": 13}})


def error_bars(value: pd.Series, low: pd.Series, high: pd.Series) -> dict[str, Any]:
    """Plotly's error bars of values with their intervals."""
    return {"array": (high - value).tolist(), "arrayminus": (value - low).tolist(), "symmetric": False}


def _band(x: pd.Series, low: pd.Series, high: pd.Series, colour: str) -> dict[str, Any]:
    """A shaded area between two curves, for `add_scatter`."""
    places = x.tolist()
    area = {"x": places + places[::-1], "y": high.tolist() + low.tolist()[::-1]}
    look = {"fill": "toself", "fillcolor": colour, "opacity": 0.15, "mode": "none", "hoverinfo": "skip"}
    return area | look | {"showlegend": False}


def faithfulness_curves(curve: pd.DataFrame, n_edges: int, faithfulness: float, *, title: str) -> go.Figure:
    """Faithfulness against the number of edges by order, with bands; shuffled rankings dotted, the circuit a star.

    Args:
        curve: see `faithfulness_curve`.
        n_edges: the circuit's size.
        faithfulness: and what it keeps.
        title: of the figure; it should name n and what the bands are.
    """
    figure = go.Figure()
    for colour, (order, rows) in zip(COLOURS, curve.groupby("order", sort=False), strict=False):
        sizes = rows["n_edges"].tolist()
        for value, low, high, dash, name in (
            ("faithfulness", "low", "high", "solid", f"by {order}"),
            ("random", "random_low", "random_high", "dot", f"by shuffled {order}"),
        ):
            figure.add_scatter(**_band(rows["n_edges"], rows[low], rows[high], colour))
            line = {"color": colour, "width": 2, "dash": dash}
            figure.add_scatter(x=sizes, y=rows[value].tolist(), name=name, line=line, mode="lines+markers")
    star = {"symbol": "star", "size": 13, "color": "#000000"}
    figure.add_scatter(x=[n_edges], y=[faithfulness], name="this circuit", mode="markers", marker=star)
    figure.update_xaxes(title="edges", type="log").update_yaxes(title="share of the gap kept")
    return figure.update_layout(template=TEMPLATE, title={"text": title, "font": {"size": 12}}, height=400)


def growth_curves(effects: pd.DataFrame, stability: pd.DataFrame, onsets: Mapping[str, float], *, title: str) -> go.Figure:
    """Edges' effects by step with bands, the circuit's stability, and losses; onsets of accuracy dashed.

    Args:
        effects: with the columns step, edge, effect and stderr.
        stability: with the columns step, weighted_overlap, weighted_overlap_final, loss, restricted and excluded.
        onsets: by name, the step.
        title: of the figure; it should name n and what the bands are.
    """
    titles = ("effect", "weighted overlap", "loss in nats")
    figure = make_subplots(rows=1, cols=3, subplot_titles=titles, horizontal_spacing=0.06)
    for colour, (edge, rows) in zip(COLOURS, effects.dropna(subset="effect").groupby("edge", sort=False), strict=False):
        half = 1.96 * rows["stderr"]
        band = _band(rows["step"], rows["effect"] - half, rows["effect"] + half, colour)
        figure.add_scatter(**band, row=1, col=1)
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
        dashed: Any = {"line": {"color": "#777777", "dash": "dash", "width": 1}, "row": 1, "col": 1}
        figure.add_vline(x=step, **dashed)
        place: Any = {"x": np.log10(step), "y": 0.02, "yref": "y domain", "yanchor": "bottom", "xanchor": "right"}
        figure.add_annotation(text=name, textangle=-90, showarrow=False, font={"size": 10}, **place)
    figure.update_xaxes(title="training step", type="log", dtick=1)
    return figure.update_layout(template=TEMPLATE, title={"text": title, "font": {"size": 13}}, height=420)


def transplant_bars(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Bars by component of what its own and another model's activation bring back, with their intervals."""
    figure = go.Figure()
    for colour, name, label in zip(COLOURS, ("own", "other"), ("own activation", "the other model's"), strict=False):
        error = error_bars(table[name], table[f"{name}_low"], table[f"{name}_high"]) | {"thickness": 1, "width": 2}
        bars = {"x": table["node"].tolist(), "y": table[name].tolist(), "error_y": error}
        figure.add_bar(**bars, name=label, marker_color=colour)
    figure.update_yaxes(title="share of the gap brought back")
    return figure.update_layout(template=TEMPLATE, title={"text": title, "font": {"size": 13}}, height=400)


def realignment_bars(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Accuracy by layer, a panel for each form, bars for each entity with their intervals; as it is dashed."""
    forms, entities = (list(dict.fromkeys(table[name])) for name in ("form", "entity"))
    figure = make_subplots(rows=1, cols=len(forms), subplot_titles=forms, shared_yaxes=True, horizontal_spacing=0.04)
    for column, form in enumerate(forms, start=1):
        for colour, entity in zip(COLOURS, entities, strict=False):
            rows = table[(table["form"] == form) & (table["entity"] == entity)]
            error = error_bars(rows["accuracy"], rows["low"], rows["high"]) | {"thickness": 1, "width": 2}
            bars = {"x": stage_names(rows), "y": rows["accuracy"].tolist(), "error_y": error}
            style = {"name": entity, "legendgroup": entity, "showlegend": column == 1, "marker_color": colour}
            figure.add_bar(**bars, **style, row=1, col=column)
        dashed: Any = {"line": {"color": "#777777", "dash": "dash", "width": 1}, "row": 1, "col": column}
        figure.add_hline(y=table["as_it_is"].iloc[0], **dashed)
    figure.update_yaxes(title="exact match", range=[0, 1.05], col=1)
    return figure.update_layout(template=TEMPLATE, title={"text": title, "font": {"size": 13}}, height=380)


def attention_heatmaps(table: pd.DataFrame, value: str, *, title: str) -> go.Figure:
    """Query × key position heat maps, a row of panels for each layer and a column for each head, one colour scale."""
    layers, heads = sorted(table["layer"].unique()), sorted(table["head"].unique())
    titles = [f"L{layer}H{head}" for layer in layers for head in heads]
    figure = make_subplots(rows=len(layers), cols=len(heads), subplot_titles=titles, vertical_spacing=0.3 / len(layers))
    largest = float(table[value].abs().max())
    for row, layer in enumerate(layers, start=1):
        for column, head in enumerate(heads, start=1):
            cells = table[(table["layer"] == layer) & (table["head"] == head)]
            keys, queries = (list(dict.fromkeys(cells[name])) for name in ("key", "query"))
            grid = cells.pivot(index="query", columns="key", values=value).loc[queries[::-1], keys]
            figure.add_heatmap(
                z=grid.to_numpy().tolist(),
                x=list(grid.columns),
                y=list(grid.index),
                zmin=-largest,
                zmax=largest,
                colorscale="RdBu",
                showscale=row == column == 1,
                colorbar={"title": value},
                row=row,
                col=column,
            )
    return figure.update_layout(template=TEMPLATE, title=title, height=90 + 220 * len(layers))


def back_patching_heatmaps(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Source × target layer heat maps of the share mended, a panel for each position."""
    roles = list(dict.fromkeys(table["role"]))
    figure = make_subplots(rows=1, cols=len(roles), subplot_titles=roles)
    for column, role in enumerate(roles, start=1):
        grid = table[table["role"] == role].pivot(index="source", columns="target", values="mended")
        figure.add_heatmap(
            z=grid.to_numpy().tolist(),
            x=list(map(layer_name, grid.columns)),
            y=list(map(layer_name, grid.index)),
            zmin=0,
            zmax=1,
            colorscale="Viridis",
            showscale=column == 1,
            colorbar={"title": "mended"},
            row=1,
            col=column,
        )
    figure.update_xaxes(title="put into").update_yaxes(title="taken from")
    return figure.update_layout(template=TEMPLATE, title={"text": title, "font": {"size": 13}}, height=380)


def effect_heatmap(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Effects as a heat map: receivers against senders, or components against positions."""
    if "node" in table:
        parts = table["node"].str.split("@", n=1, expand=True)
        grid = table.assign(component=parts[0], role=parts[1]).pivot(index="component", columns="role", values="effect")
        grid = grid.loc[list(dict.fromkeys(parts[0])), list(dict.fromkeys(parts[1]))]
    else:
        grid = table.pivot(index="receiver", columns="sender", values="effect")
        grid = grid.loc[list(dict.fromkeys(table["receiver"])), list(dict.fromkeys(table["sender"]))]
    heat = go.Heatmap(
        z=grid.to_numpy().tolist(),
        x=list(grid.columns),
        y=list(grid.index),
        zmid=0,
        colorscale="RdBu",
        colorbar={"title": "effect"},
    )
    return go.Figure(heat).update_layout(template=TEMPLATE, title={"text": title, "font": {"size": 12}})
