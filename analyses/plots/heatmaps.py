"""Heat maps: functions of tables that return plotly figures and compute nothing.

Every figure says n.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ...circuits.arguments import name_problems, refuse
from ...circuits.units import fixed, interval
from .style import heat_scale, layer_name, stage_names
from .theme import TEMPLATE, literal, panels

MEANING = {
    "top1": "share of questions",
    "top5": "share of questions, top 5",
    "mrr": "mean reciprocal rank",
    "probability": "mean probability",
}
"""What a colour bar calls the columns of lens tables."""
ROW, AROUND = 15, 210  # pixels: the least of a row that is named, and of all else


def lens_heatmaps(tables: Mapping[str, pd.DataFrame], targets: Sequence[str], *, value: str, title: str) -> go.Figure:
    """Layer × position heat maps, a row of panels for each table and a column for each target, one colour scale.

    Args:
        tables: lens tables by label, with the columns layer, role, target and `value`.
        targets: which targets to show.
        value: the column shown, a fraction.
        title: of the figure; it should name n.
    """
    problems = name_problems(value=value, title=title)
    there = {str(target) for table in tables.values() for target in table["target"]}
    if isinstance(targets, str) or not isinstance(targets, Sequence) or not targets or not set(map(str, targets)) <= there:
        problems.append(f"targets are some of {', '.join(sorted(there))}, got {targets!r}")
    lacking = [label for label, table in tables.items() if isinstance(value, str) and value not in table]
    refuse(problems + [f"value is {value!r}, which is no column of the table {label!r}" for label in lacking])
    return literal(_lens_panels(tables, targets, value=value, label=MEANING.get(value, value), title=title))


def _lens_panels(
    tables: Mapping[str, pd.DataFrame],
    targets: Sequence[str],
    *,
    value: str,
    label: str,
    title: str,
    signed: bool = False,
    bounds: bool = False,
) -> go.Figure:
    titles = [f"{name}: {target}" if name else target for name in tables for target in targets]
    spacing = {"vertical_spacing": 0.34 / len(tables), "horizontal_spacing": 0.02}
    figure = panels(titles, rows=len(tables), columns=len(targets), **spacing)
    shown = pd.concat([table.loc[table["target"].isin(targets), value] for table in tables.values()])
    scale = heat_scale(shown, signed=signed)
    for row, table in enumerate(tables.values(), start=1):
        for column, target in enumerate(targets, start=1):
            cells = table[table["target"] == target]
            cells = cells.assign(stage=stage_names(cells), interval=_intervals(cells) if bounds else "")
            stages, roles = (list(dict.fromkeys(cells[name])) for name in ("stage", "role"))
            grid, intervals = (
                cells.pivot(index="stage", columns="role", values=name).loc[stages, roles] for name in (value, "interval")
            )
            figure.add_heatmap(
                z=grid.to_numpy().tolist(),
                x=list(grid.columns),
                y=list(grid.index),
                text=[[_said(cell) for cell in line] for line in grid.to_numpy()],
                texttemplate="%{text}",
                **scale,
                showscale=row == column == 1,
                colorbar=_bar(label or value),
                customdata=intervals.to_numpy().tolist(),
                hovertemplate="position: %{x}<br>after layer: %{y}<br>%{z:.3f} %{customdata}<extra></extra>",
                row=row,
                col=column,
            )
    figure.update_xaxes(title={"text": "position", "standoff": 4}).update_yaxes(title="after layer", col=1)
    return figure.update_layout(template=TEMPLATE, title=title, height=100 + 280 * len(tables))


def _bar(label: str) -> dict[str, Any]:
    """A colour bar that says upwards what the colours are."""
    return {"title": {"text": label, "side": "right"}}


def _intervals(cells: pd.DataFrame) -> list[str]:
    """What hovers say after a cell's number."""
    return [interval(low, high) for low, high in zip(cells["low"], cells["high"], strict=True)]


def _said(cell: float) -> str:
    """A cell's number; nothing where there is none."""
    return fixed(cell, 2) if cell == cell else ""


def cell_heatmaps(
    table: pd.DataFrame,
    by: str,
    value: str,
    *,
    label: str = "",
    title: str,
    signed: bool = False,
    bounds: bool = False,
) -> go.Figure:
    """Layer × position heat maps, a panel for each value of a column, one colour scale.

    Args:
        table: with the columns layer, role, `by` and `value`.
        by: the column whose values get a panel each.
        value: the column shown.
        label: what it is and in which unit; the column's name if not given.
        title: of the figure; it should name n.
        signed: whether it can be below 0 by nature.
        bounds: whether low and high are its interval, which hovers then say.
    """
    _check_shown(table, value)
    cells = table.rename(columns={by: "target"})
    targets = list(dict.fromkeys(cells["target"]))
    look = {"label": label, "title": title, "signed": signed, "bounds": bounds}
    return literal(_lens_panels({"": cells}, targets, value=value, **look))


def _check_shown(table: pd.DataFrame, value: str) -> None:
    """Raise KeyError unless the table has that column of numbers."""
    possible = [str(name) for name in table.select_dtypes("number")]
    if value not in possible:
        raise KeyError(f"nothing to show is called {value!r}; there are {', '.join(possible)}")


def evidence_heatmaps(measures: pd.DataFrame, verdicts: pd.DataFrame, *, title: str) -> go.Figure:
    """Heat maps of each measure's excess over its control, layer × position, and last the verdict `used`.

    Args:
        measures: with the columns layer, role, measure and excess.
        verdicts: with the columns layer, role and used (`yes`, `no`, `undecided` or `undecided (ceiling)`).
        title: of the figure; it should name n.
    """
    shade = {"yes": 1.0, "undecided": 0.5, "undecided (ceiling)": 0.5, "no": 0.0}
    sign = {"yes": "yes", "undecided": "?", "undecided (ceiling)": "ceiling", "no": "no"}
    used = verdicts.assign(measure="used", excess=verdicts["used"].map(shade))
    table = pd.concat([measures, used]).rename(columns={"measure": "target"})
    look = {"label": "share of questions, minus control", "title": title, "signed": True}
    look |= {"bounds": {"low", "high"} <= set(table)}
    figure = _lens_panels({"": table}, list(dict.fromkeys(table["target"])), value="excess", **look)
    roles = list(dict.fromkeys(verdicts["role"]))
    words = verdicts.pivot(index="layer", columns="role", values="used")[roles].replace(sign)
    figure.update_traces({"text": words.to_numpy().tolist()}, selector=-1)
    return literal(figure)


def attention_heatmaps(table: pd.DataFrame, value: str, *, label: str = "", title: str, signed: bool = True) -> go.Figure:
    """Query × key position heat maps, a row of panels for each layer and a column for each head, one colour scale.

    Layers with one head each stand in one row.

    Args:
        table: with the columns layer, head, query, key and `value`.
        value: the column shown.
        label: what it is and in which unit; the column's name if not given.
        title: of the figure; it should name n.
        signed: whether it can be below 0 by nature.
    """
    _check_shown(table, value)
    layers, heads = sorted(table["layer"].unique()), sorted(table["head"].unique())
    places = [(layer, head) for layer in layers for head in heads]
    n_columns = len(heads) if len(heads) > 1 else len(layers)
    n_rows = len(places) // n_columns
    shared = {"shared_xaxes": "all", "shared_yaxes": "all", "vertical_spacing": 0.2 / n_rows, "horizontal_spacing": 0.02}
    figure = panels([f"L{layer}H{head}" for layer, head in places], rows=n_rows, columns=n_columns, **shared)
    scale = heat_scale(table[value], signed=signed, least=0.0 if signed else 1.0)
    for place, (layer, head) in enumerate(places):
        cells = table[(table["layer"] == layer) & (table["head"] == head)]
        keys, queries = (list(dict.fromkeys(cells[name])) for name in ("key", "query"))
        grid = cells.pivot(index="query", columns="key", values=value).loc[queries[::-1], keys]
        figure.add_heatmap(
            z=grid.to_numpy().tolist(),
            x=list(grid.columns),
            y=list(grid.index),
            **scale,
            showscale=place == 0,
            colorbar=_bar(label or value),
            text=[[label or value] * len(keys)] * len(queries),
            hovertemplate="query: %{y}<br>key: %{x}<br>%{z:.3f} · %{text}<extra></extra>",
            row=place // n_columns + 1,
            col=place % n_columns + 1,
        )
    figure.update_xaxes(title="key", row=n_rows).update_yaxes(title="query", col=1)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=120 + 220 * n_rows))


def back_patching_heatmaps(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Source × target layer heat maps of the share corrected, a panel for each position.

    Args:
        table: with the columns role, source, target, corrected, low and high.
        title: should name n and what the intervals are, which hovers say.
    """
    roles = list(dict.fromkeys(table["role"]))
    figure = panels(roles, shared_yaxes=False)
    scale = heat_scale(table["corrected"])
    for column, role in enumerate(roles, start=1):
        cells = table[table["role"] == role]
        cells = cells.assign(interval=_intervals(cells))
        grid, intervals = (cells.pivot(index="source", columns="target", values=name) for name in ("corrected", "interval"))
        figure.add_heatmap(
            z=grid.to_numpy().tolist(),
            x=list(map(layer_name, grid.columns)),
            y=list(map(layer_name, grid.index)),
            **scale,
            showscale=column == 1,
            colorbar=_bar("share of wrong answers corrected"),
            customdata=intervals.to_numpy().tolist(),
            hovertemplate="taken from: %{y}<br>put into: %{x}<br>%{z:.3f} %{customdata} corrected<extra></extra>",
            row=1,
            col=column,
        )
    figure.update_xaxes(title="put into").update_yaxes(title="taken from")
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=380))


def effect_heatmap(
    table: pd.DataFrame,
    *,
    label: str = "effect",
    about: str = "",
    title: str,
    roles: Sequence[str] = (),
    signed: bool = True,
) -> go.Figure:
    """Effects as a heat map: receivers against senders, or components against positions.

    Args:
        table: with the columns effect and node, or effect, sender and receiver.
        label: what an effect is, such as `share of the gap`.
        about: what hovers say in its place, such as the size of the gap.
        title: of the figure; it should name n.
        roles: the prompt's, in whose order positions are shown; else as in the table.
        signed: whether effects can be below 0 by nature.
    """
    receivers, senders = ("component", "position") if "node" in table else ("receiver", "sender")
    if "node" in table:
        parts = table["node"].str.split("@", n=1, expand=True)
        grid = table.assign(component=parts[0], role=parts[1]).pivot(index="component", columns="role", values="effect")
        grid = grid.loc[list(dict.fromkeys(parts[0])), [r for r in roles if r in grid] or list(dict.fromkeys(parts[1]))]
    else:
        grid = table.pivot(index="receiver", columns="sender", values="effect")
        grid = grid.loc[_in_order(table["receiver"], roles), _in_order(table["sender"], roles)]
    heat = go.Heatmap(
        z=grid.to_numpy().tolist(),
        x=list(grid.columns),
        y=list(grid.index),
        **heat_scale(table["effect"], signed=signed, least=0.0 if signed else 1.0),
        colorbar=_bar(label),
        text=[[about or label] * grid.shape[1]] * grid.shape[0],
        hovertemplate=f"{senders}: %{{x}}<br>{receivers}: %{{y}}<br>%{{z:.3f}} · %{{text}}<extra></extra>",
    )
    figure = go.Figure(heat).update_xaxes(title=senders).update_yaxes(title=receivers, dtick=1)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=max(450, AROUND + ROW * len(grid))))


def _in_order(nodes: Iterable[str], roles: Sequence[str]) -> list[str]:
    """Each node once, component by component as they come, and each at the roles in the prompt's order."""
    found = list(dict.fromkeys(nodes))
    components = list(dict.fromkeys(node.partition("@")[0] for node in found))

    def place(node: str) -> tuple[int, int]:
        component, _, role = node.partition("@")
        return components.index(component), roles.index(role) if role in roles else len(roles)

    return sorted(found, key=place) if roles else found
