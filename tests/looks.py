"""What is wrong with how a figure looks, as a reader would find it who has seen the others."""

import json
import re
from collections.abc import Iterator
from typing import Any

import plotly.graph_objects as go

from grokscope.circuits.figure_look import BAR, DIVERGING, PALETTE, SEQUENTIAL, SMALL, TEXT, TITLE, template

COLOURS = set(re.findall(r"#[0-9a-f]{3,6}\b", json.dumps(PALETTE)))
SCALES = [[list(stop) for stop in scale] for scale in (SEQUENTIAL, DIVERGING)]
SIZES = {TEXT, TITLE, SMALL, SMALL + 3}  # the last: of dots before names
NUMBERS = {".3f", ","}
"""How hovers write measured numbers and counts."""
SAYS_N = re.compile(
    r"\bn = [\d–,]+|units: \d+ read|\d+ (runs?|further trainings|graphs) |on \d+ pairs|n at each name|nothing measured"
)


def problems(figure: go.Figure) -> list[str]:
    """Another template, colour, scale, size of letters or format of numbers than others have; no word on how many."""
    content, ours = (json.loads(str(each.to_json())) for each in (figure, go.Figure().update_layout(template=template())))
    layout = content["layout"]
    found = [] if layout.pop("template") == ours["layout"]["template"] else ["another template"]
    found += [f"another {name}: {value}" for name, value in _looks(content) if not _known(name, value)]
    title = str(layout.get("title", {}).get("text"))
    said = [title, *(trace.name or "" for trace in figure.data), *(note.text for note in figure.layout.annotations)]
    return found + ([] if title and any(map(SAYS_N.search, said)) else [f"nothing says of how many: {title}"])


def _looks(part: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Everything of a figure that is a colour, a scale, letters or a format, by what it is."""
    if isinstance(part, dict):
        for key, each in part.items():
            if key == "colorscale":
                yield "scale", [list(stop) for stop in each]
            elif key == "font":
                yield from (("size", size) for kind, size in each.items() if kind == "size")
                yield from (("font", family) for kind, family in each.items() if kind == "family")
                yield from _looks({"color": each.get("color")}, key)
            elif key == "hovertemplate":
                yield from (("format", given) for given in re.findall(r"%\{\w+:([^}]+)\}", each or ""))
            elif key == "thickness" and name == "colorbar":
                yield "bar", each
            else:
                yield from _looks(each, key)
    elif isinstance(part, list | tuple):
        for each in part:
            yield from _looks(each, name)
    elif isinstance(part, str) and re.search("colou?r$", name):
        yield "colour", part


def _known(name: str, value: Any) -> bool:
    return {
        "colour": lambda: value in COLOURS,
        "scale": lambda: value in SCALES,
        "size": lambda: value in SIZES,
        "font": lambda: value == PALETTE["font"],
        "format": lambda: value in NUMBERS,
        "bar": lambda: value == BAR,
    }[name]()
