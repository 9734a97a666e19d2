"""The colours that every picture shares, read from the one palette; see `circuits/assets/palette.json`."""

import json
from pathlib import Path
from typing import Any

PALETTE: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "circuits" / "assets" / "palette.json").read_text(encoding="utf-8")
)
COLOURS: tuple[str, ...] = tuple(PALETTE["hues"][hue] for hue in PALETTE["series"])
GREYS: dict[str, str] = PALETTE["greys"]
SPLIT_COLOUR: dict[str, str] = PALETTE["splits"]
TEMPLATE = "simple_white"
PHASE_SYMBOL = {
    "memorised": "square",
    "id_generalised": "triangle-down",
    "before": "diamond",  # the last saved step before OOD answers, of runs that know the OOD facts
    "ood_generalised": "star",
    "final": "circle",
}
