"""Figures of the study's report that show its curves next to the paper's."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from .theme import COLOURS, GREYS, SHARE, TEMPLATE, arm_looks, literal, log_axis, panels

RATE_COLOUR = {"train": GREYS["reference"], "bridge": COLOURS[0], "target": COLOURS[1], "exact match": COLOURS[2]}
RATE_LABEL = {
    "train": "what is trained",
    "bridge": "bridge found by a lens at any cell",
    "target": "answer found by a lens at any cell",
    "exact match": "exact match",
}


def pretraining_comparison(ours: pd.DataFrame, theirs: pd.DataFrame, *, title: str) -> go.Figure:
    """Rates on OOD+OOD questions by step, ours above (a line for each run), the paper's below, a column for each arm.

    Args:
        ours: as `pretraining_rates` gives it.
        theirs: as `published_pretraining` gives it.
        title: should name n.
    """
    arms = [arm for arm in dict.fromkeys(theirs["arm"]) if (ours["arm"] == arm).any()]
    looks = arm_looks(arms)
    titles = [f"{looks[arm].label}, {ours.loc[ours['arm'] == arm, 'run'].nunique()} runs" for arm in arms]
    figure = _grid(
        titles + [f"{looks[arm].label}, He et al., {_n(theirs[theirs['arm'] == arm])}" for arm in arms], len(arms)
    )
    for column, arm in enumerate(arms, start=1):
        for run, rows in ours[ours["arm"] == arm].groupby("run", sort=False):
            for rate, line in rows.groupby("rate", sort=False):
                _line(figure, line["step"], line["value"], str(rate), str(run), 1, column, 0.9)
        rows = theirs[theirs["arm"] == arm]
        for rate in ("train", "bridge", "target"):
            _line(figure, rows["step"], rows[rate], rate, f"n = {rows['n'].iloc[0]}", 2, column, 1.8)
    for rate, colour in RATE_COLOUR.items():
        figure.add_scatter(x=[None], y=[None], mode="lines", name=RATE_LABEL[rate], line={"color": colour, "width": 2})
    for row, steps in enumerate((ours["step"], theirs["step"]), start=1):
        figure.update_xaxes(title="training step", **log_axis(steps, most=4), row=row)
    figure.update_yaxes(**SHARE).update_yaxes(title="share of questions", col=1)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=600, legend={"orientation": "h", "y": -0.17}))


def transfer_comparison(
    ours: pd.DataFrame, theirs: pd.DataFrame, largest: pd.DataFrame, *, arms: Sequence[str], title: str
) -> go.Figure:
    """Exact match on new facts' questions by step, ours above (a line each run), the paper's below, a column each cell.

    Args:
        ours: as `transfer_curves` gives it.
        theirs: as `published_transfer` gives it, of one cell.
        largest: as `published_transfer_largest` gives it: dotted, where there is no series.
        arms: that are drawn.
        title: should name n.
    """
    cells = list(dict.fromkeys(ours["cell"]))
    cells = [cell for cell in ("new+old", "old+new", "new+new") if cell in cells]
    known = [each[each["arm"].isin(arms)] for each in (ours, theirs, largest)]
    of_cell = {cell: [each[each["cell"] == cell] for each in known] for cell in cells}
    above = [f"{cell}, {rows['run'].nunique()} runs, {_n(rows)}" for cell, (rows, *_) in of_cell.items()]
    below = [_below(cell, *their) for cell, (_, *their) in of_cell.items()]
    figure = _grid([*above, *below], len(cells))
    for arm, (colour, label, _) in arm_looks(arms).items():
        figure.add_scatter(x=[None], y=[None], mode="lines", name=label, line={"color": colour, "width": 2})
        for column, cell in enumerate(cells, start=1):
            rows = ours[(ours["arm"] == arm) & (ours["cell"] == cell)]
            for run, line in rows.groupby("run", sort=False):
                _curve(figure, line["step"], line["exact_match"], colour, str(run), 1, column)
            rows = theirs[(theirs["arm"] == arm) & (theirs["cell"] == cell)]
            if len(rows):
                _curve(figure, rows["step"], rows["exact_match"], colour, f"{arm}, n = {rows['n'].iloc[0]}", 2, column)
            for row in largest[(largest["arm"] == arm) & (largest["cell"] == cell)].itertuples():
                ends, height = pd.Series([976, 39040]), pd.Series([row.largest] * 2)
                _curve(figure, ends, height, colour, f"{arm}, n = {row.n}", 2, column, dash="dot")
    figure.update_xaxes(title="step of further training", tickformat=",d")
    figure.update_yaxes(**SHARE).update_yaxes(title="exact match", col=1)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=600, legend={"orientation": "h", "y": -0.17}))


def _n(rows: pd.DataFrame) -> str:
    """Of how many questions, in one run or in several.

    >>> _n(pd.DataFrame({"n": [36, 16]})), _n(pd.DataFrame({"n": [9, 9]}))
    ('n = 16–36', 'n = 9')
    """
    return "n = " + ("–".join(f"{n:,}" for n in sorted({rows["n"].min(), rows["n"].max()})) if len(rows) else "0")


def _below(cell: str, theirs: pd.DataFrame, largest: pd.DataFrame) -> str:
    """What a panel of the paper's curves is called; of cells without curves their largest value is drawn."""
    return f"{cell}, He et al., {_n(theirs)}" if len(theirs) else f"{cell}, He et al., the largest, {_n(largest)}"


def _grid(titles: list[str], n_columns: int) -> go.Figure:
    return panels(titles, rows=2, columns=n_columns, horizontal_spacing=0.03, vertical_spacing=0.2)


def _line(figure: go.Figure, x: pd.Series, y: pd.Series, rate: str, name: str, row: int, column: int, width: float) -> None:
    _curve(figure, x, y, RATE_COLOUR[rate], name, row, column, width=width)


def _curve(
    figure: go.Figure,
    x: pd.Series,
    y: pd.Series,
    colour: str,
    name: str,
    row: int,
    column: int,
    *,
    width: float = 1.2,
    dash: str = "solid",
) -> None:
    figure.add_scatter(
        x=x.tolist(),
        y=y.tolist(),
        mode="lines",
        name=name,
        showlegend=False,
        line={"color": colour, "width": width, "dash": dash},
        row=row,
        col=column,
    )
