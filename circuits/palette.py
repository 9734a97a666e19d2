"""The one palette, read from `assets/palette.json`: Okabe and Ito's hues for diagrams and splits, others for arms.

Colour-blind readers can tell them apart; of arms see `tasks/runs/arm_looks.py`.
"""

import json
from pathlib import Path
from string import Template
from typing import Any

from .kinds import KINDS, css_name

ASSETS = Path(__file__).parent / "assets"
PALETTE: dict[str, Any] = json.loads((ASSETS / "palette.json").read_text(encoding="utf-8"))
HUES: dict[str, str] = PALETTE["hues"]
PAGE: dict[str, str] = PALETTE["page"]


def style_sheet() -> str:
    """The diagram's style sheet: `diagram.css` with the palette as custom properties and a class for each kind of edge."""
    edges = "\n".join(f".grokscope .gs-into-{name} {{ stroke: var(--edge-{name}); }}" for name in _edge_hues())
    sheet = Template((ASSETS / "diagram" / "diagram.css").read_text(encoding="utf-8"))
    dark = _properties(HUES | PALETTE["hues_on_dark"], PALETTE["page_on_dark"])
    return sheet.substitute(light=_properties(HUES, PAGE), dark=dark, edges=edges)


def page_style() -> str:
    """The style sheet of a page that shows nothing but a diagram: its margins are as dark as the diagram is."""
    heading = "h1 { font: 600 13px system-ui, sans-serif; margin: 0 8px }"
    light, dark = (f"background: {page['paper']}; color: {page['ink']}" for page in (PAGE, PALETTE["page_on_dark"]))
    always = f":root {{ color-scheme: light dark }} body {{ margin: 8px; {light} }} {heading}"
    return f"{always} @media (prefers-color-scheme: dark) {{ body {{ {dark} }} }} @media print {{ h1 {{ display: none }} }}"


def _edge_hues() -> dict[str, str]:
    """The hue of each kind of input, by its CSS name.

    Raises:
        ValueError: if two kinds of nodes give an input of one name different hues, or a hue is not in the palette.
    """
    found: dict[str, str] = {}
    for kind, row in KINDS.items():
        for each in row.inputs:
            name = css_name(each.name or kind)
            if each.colour not in HUES:
                raise ValueError(f"input {name!r} of {kind!r} has the hue {each.colour!r}; there are {', '.join(HUES)}")
            if found.setdefault(name, each.colour) != each.colour:
                raise ValueError(f"input {name!r} of {kind!r} is {each.colour}, but {found[name]} in another kind of nodes")
    return found


def _properties(hues: dict[str, str], page: dict[str, str]) -> str:
    edges = {f"edge-{name}": hues[hue] for name, hue in _edge_hues().items()}
    values = page | {"a": hues["blue"], "b": hues["vermillion"], "plain": hues["grey"]} | edges
    return " ".join(f"--{name}: {value};" for name, value in values.items())
