"""The criteria of an audit as fields: a function of a table, which computes nothing."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ...circuits.figure_text import escaped
from .theme import COLOURS, GREYS, TEMPLATE, literal

WORDS = {"met": COLOURS[2], "missed": COLOURS[1], "not measured": GREYS["undecided"]}
"""What a criterion says, and its colour."""
WIDTH, ROW, AROUND = 0.96, 58, 150  # of a field; pixels: of a row, and of all else
NAME = ("%{customdata[3]}", "%{customdata[4]}")
PER_LINE = 15  # characters of a name


def audit_chips(table: pd.DataFrame, *, title: str) -> go.Figure:
    """A row for each kind of validity, a field for each criterion, coloured by what it says.

    Args:
        table: with the columns code, kind, criterion, word, rule, n, unit, measured_by and finding, in order.
        title: should name what is audited; what each criterion rests on stands in its hover.
    """
    place = table.groupby("kind", sort=False).cumcount()
    kinds = list(dict.fromkeys(table["kind"]))
    figure = go.Figure()
    for word, colour in WORDS.items():
        rows = table[table["word"] == word]
        figure.add_bar(
            base=[float(each) for each in place[rows.index]],
            x=[WIDTH] * len(rows),
            y=rows["kind"].tolist(),
            orientation="h",
            name=word,
            marker={"color": colour},
            text=rows["code"].tolist(),
            texttemplate=["%{text}<br>" + "<br>".join(NAME[: len(_lines(name))]) for name in rows["criterion"]],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            customdata=[[escaped(each) for each in _told(row)] for row in rows.to_dict("records")],
            hovertemplate="%{customdata[0]}<br>asked: %{customdata[1]}<br>%{customdata[2]}<extra></extra>",
        )
    figure.update_xaxes(visible=False).update_yaxes(autorange="reversed", categoryorder="array", categoryarray=kinds)
    figure.update_yaxes(title="kind of validity", ticks="")
    legend: Any = {"orientation": "h", "y": -0.06, "x": 0, "yanchor": "top"}
    size: dict[str, Any] = {"height": AROUND + ROW * len(kinds), "barmode": "overlay", "bargap": 0.12}
    return literal(figure.update_layout(template=TEMPLATE, title=title, legend=legend, **size))


def _told(row: dict[Any, Any]) -> list[str]:
    """What a field says when asked, and its name on two lines."""
    rests = " · ".join(filter(None, (f"n = {row['n']} {row['unit']}" if row["n"] else "", str(row["measured_by"]))))
    return [str(row["finding"]), str(row["rule"]), rests, *_lines(row["criterion"]), ""][: len(NAME) + 3]


def _lines(name: object) -> list[str]:
    """A name, on two lines if it is long and not one word."""
    first, _, rest = str(name).partition(" ")
    return [first, rest] if len(str(name)) > PER_LINE and rest else [str(name)]
