"""The picture of one, two or many circuits: inline SVG and plain JavaScript in one self-contained piece of HTML.

All circuits of a diagram share layout and width scale. Width is |effect|, colour the kind of input, a dashed line a
negative effect. Without scripts the kept edges are drawn; with them a slider cuts elsewhere, hovering shows numbers, a
click traces paths, two circuits lie one over the other, steps of a training play. Nothing is loaded from anywhere.
"""

import html
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from . import layout
from .arguments import is_whole, refuse, shortly
from .circuit import Circuit
from .comparable import check_comparable, ignore_problems, mapping_problems
from .diagram_data import Frames, Shown, diagram_data
from .graph import ComputationGraph
from .kinds import KINDS, css_name
from .packed import packed
from .page import BODY, page_of, save_page
from .palette import ASSETS, style_sheet
from .plain_text import plain
from .result import Result
from .static_drawing import MAX_WIDTH, MIN_WIDTH, WIDE, static_panel

MARKS = {
    "bridge": '<rect class="gs-mark gs-bridge" x="3" y="2" width="7" height="7" transform="rotate(45 6.5 5.5)"/>',
    "answer": '<circle class="gs-mark gs-answer" cx="6.5" cy="6" r="4.5"/>',
}
SCRIPTS = ("diagram_data.js", "diagram.js", "diagram_controls.js", "diagram_save.js")
DRAWING = {"maxWidth": MAX_WIDTH, "minWidth": MIN_WIDTH, "nodeHeight": layout.NODE_HEIGHT, "rowHeight": layout.ROW_HEIGHT}
DRAWING |= {"marginLeft": layout.MARGIN_LEFT, "reach": layout.REACH, "wide": WIDE}

TABLES = {"lens": "table", "faithfulness": "curve"}
FUNCTIONS = {"lens": "logit_lens", "faithfulness": "faithfulness"}
NEEDED = {
    "lens": {"layer", "after", "role", "target", "top1"},
    "faithfulness": {"n_edges", "faithfulness", "low", "high"},
}
"""By argument of `draw`: where a result keeps what is shown, what measures it, and the columns it has."""

Drawn = Circuit | Mapping[int, Circuit]
"""What one panel shows: a circuit, or the circuits of a run by training step."""


@dataclass(frozen=True, repr=False)
class Diagram:
    """A drawn diagram; shows itself in Jupyter.

    Attributes:
        html: a fragment with style, drawing, data and script, for a cell or a page.
        title: of the saved page.
        data: the numbers that it shows, see `diagram_data`; the page holds the same as JSON.
    """

    html: str = field(repr=False)
    title: str
    data: Mapping[str, Any] = field(repr=False)

    def __repr__(self) -> str:
        return plain(f"<Diagram: {self.title}>")

    def save(self, path: str | Path) -> Path:
        """Write a page that works from a file and without a network; returns the path."""
        return save_page(path, self.title, self.html, scripts=[script()])

    def _repr_html_(self) -> str:
        return self.html


def draw(
    circuits: Drawn | Mapping[str, Drawn],
    *,
    lens: Shown | Mapping[str, Shown] | None = None,
    faithfulness: Shown | Mapping[str, Shown] | None = None,
    despite: Collection[str] = (),
) -> Diagram:
    """Draw a circuit, or several side by side, on one layout and one scale.

    Args:
        circuits: one circuit; circuits by label; or, for a run, circuits by training step (whole numbers), alone or by
            label.
        lens: results of `analyses.logit_lens`, or their tables, by label (or one for all), of a run for circuits by step:
            nodes after which bridge or answer is the most likely token in half of the queries are marked.
        faithfulness: results of `analyses.faithfulness`, by label (or one for all): the caption says what the circuit
            keeps, and for other cuts what the strongest edges keep, at the largest measured size up to what is drawn. Of
            curves alone, the latter.
        despite: fields in which the circuits may differ: `graph`, `measured edges`, `metric` and so on, as the error names
            them. Widths are then still on one scale, even if they are shares of different gaps.

    Raises:
        ValueError: if circuits of one diagram were not measured alike, or none is given; if a lens or faithfulness is none.
        KeyError: if a lens or faithfulness is of no circuit.

    >>> draw({"grokked": a, "memorised": b}).save("circuits.html")  # doctest: +SKIP
    """
    given = {"lens": lens, "faithfulness": faithfulness}
    problems = ignore_problems(despite) + _drawn_problems(circuits)
    refuse(problems + [problem for name, each in given.items() for problem in _shown_problems(name, each)])
    panels = _panels(circuits)
    everything = {f"{label} {step or ''}".strip(): c for label, frames in panels.items() for step, c in frames.items()}
    if not everything:
        raise ValueError("there is no circuit to draw")
    check_comparable(everything, ignore=despite)
    by_label = {name: _by_label(name, each, panels) for name, each in given.items()}
    lenses, curves = (_tables(name, found) for name, found in by_label.items())
    data = diagram_data(panels, lenses, curves, by_label["faithfulness"])
    title = " / ".join(label for label in panels if label) or "circuit"
    whole = f"grokscope: {title}"
    return Diagram(_fragment(panels, {**data, "title": title}, whole), whole, data)


def script() -> str:
    """What brings diagrams to life: the same text in all of them, so that it can be declared, see `page`."""
    lines = [line.strip() for part in SCRIPTS for line in (ASSETS / part).read_text(encoding="utf-8").splitlines()]
    parts = "\n".join(line for line in lines if line and not line.startswith("//"))
    return f"(function () {{\n{parts}\ndocument.querySelectorAll('.grokscope').forEach(start);\n}})();"


def _drawn_problems(circuits: Any) -> list[str]:
    """Why something can be drawn neither as one circuit nor as several."""
    if isinstance(circuits, Circuit):
        return []
    if not isinstance(circuits, Mapping):
        return [f"circuits is {shortly(circuits)}, needed is a circuit, or circuits by label or step"]
    flat = {label: each for label, each in circuits.items() if not isinstance(each, Mapping)}
    played = {label: each for label, each in circuits.items() if isinstance(each, Mapping)}
    problems = mapping_problems(flat) + [problem for each in played.values() for problem in mapping_problems(each)]
    empty = [repr(label) for label, each in played.items() if not each]
    return problems + ([f"circuits holds none under {', '.join(empty)}"] if empty else [])


def _panels(circuits: Drawn | Mapping[str, Drawn]) -> dict[str, Frames]:
    if isinstance(circuits, Circuit):
        return {"": {None: circuits}}
    if circuits and all(map(is_whole, circuits)):
        return {"": _frames(circuits)}  # pyright: ignore[reportArgumentType]
    return {str(label): _frames(drawn) for label, drawn in circuits.items()}  # pyright: ignore[reportArgumentType]


def _frames(drawn: Drawn) -> Frames:
    return (
        {None: drawn}
        if isinstance(drawn, Circuit)
        else {step if step is None else int(step): drawn[step] for step in sorted(drawn)}
    )


def _shown_problems(name: str, given: Any) -> list[str]:
    """Why something is no result to show next to circuits, and no table of one."""
    if given is None:
        return []
    named = {f"{name} of {label!r}": each for label, each in given.items()} if isinstance(given, Mapping) else {name: given}
    needed = f"needed is a result of analyses.{FUNCTIONS[name]}, or its {TABLES[name]}"
    return [f"{what} is {shortly(each)}, {needed}" for what, each in named.items() if _table(name, each) is None]


def _table(name: str, given: Any) -> pd.DataFrame | None:
    """The table of a result that is shown, or the one that was given; None of anything else."""
    found = getattr(given, TABLES[name], None) if isinstance(given, Result) else given
    return found if isinstance(found, pd.DataFrame) and NEEDED[name] <= set(found.columns) else None


def _by_label(name: str, given: Shown | Mapping[str, Shown] | None, panels: Mapping[str, Frames]) -> Mapping[str, Shown]:
    by_label = given if isinstance(given, Mapping) else {} if given is None else dict.fromkeys(panels, given)
    if unknown := sorted(set(by_label) - set(panels)):
        raise KeyError(
            f"no circuit is called {', '.join(unknown)}, but there is a {name} for it; there are {', '.join(panels)}"
        )
    return by_label


def _tables(name: str, by_label: Mapping[str, Shown]) -> dict[str, pd.DataFrame]:
    return {label: table for label, each in by_label.items() if (table := _table(name, each)) is not None}


def _fragment(panels: Mapping[str, Frames], data: Mapping[str, Any], title: str) -> str:
    content = json.dumps(packed({**data, "drawing": DRAWING}), allow_nan=False, separators=(",", ":"))
    content = content.replace("<", "\\u003c")  # so that no label can end the script
    keeps = [panel["frames"][-1]["keeps"] for panel in data["panels"]]
    last = [(label, list(frames.values())[-1]) for label, frames in panels.items()]
    widest, n = data["widest"], data["at_first"]
    static = "".join(static_panel(*each, widest, said, n) for each, said in zip(last, keeps, strict=True))
    graphs = [next(iter(frames.values())).graph for frames in panels.values()]
    has_marks = any(frame["marks"] for panel in data["panels"] for frame in panel["frames"])
    saved_as = html.escape(page_of(title, BODY, scripts=[script()]))
    return (
        f'<div class="grokscope" data-page="{saved_as}"><style>{style_sheet()}</style>'
        f'<div class="gs-bar"></div>{_legend(graphs, data, has_marks=has_marks)}'
        f'<div class="gs-panels">{static}</div>'
        f'<div class="gs-tip" role="status" aria-live="polite" hidden></div>'
        f'<script type="application/json" class="gs-data">{content}</script>'
        f"<script>{script()}</script></div>"
    )


def _legend(graphs: Iterable[ComputationGraph], data: Mapping[str, Any], *, has_marks: bool) -> str:
    steps = [step for graph in graphs for step in graph.steps]
    rows = {kind: row for kind, row in KINDS.items() if any(step.kind == kind for step in steps)}
    moves = {KINDS[step.kind].moves: None for step in steps if any(len(seen) > 1 for seen in step.sees or ())}
    inputs = [(css_name(each.name or kind), each.label) for kind, row in rows.items() for each in row.inputs]
    apart = [_sample(f"gs-edge gs-into-{name}", label) for name, label in inputs]
    overlaid = [_sample("gs-edge gs-a", "stronger in the first"), _sample("gs-edge gs-b", "stronger in the second")]
    overlaid.append(_sample("gs-core", "what they share"))
    always = [_sample("gs-edge gs-plain gs-negative", "negative"), *(_sample("gs-move", text) for text in moves)]
    if any(frame["estimated"] for panel in data["panels"] for frame in panel["frames"]):
        always.append(_sample("gs-edge gs-plain gs-estimated", "estimated, not measured"))
    if has_marks:
        apart += [f'<svg width="13" height="12">{shape}</svg>{what} readable after it' for what, shape in MARKS.items()]
    always.append(f"width: |effect|, widest {data['widest']:.2f} of the clean–corrupt gap")
    always += [
        f"the page holds {len(graph['senders']):,} of {graph['n_edges']:,} edges, the strongest of each circuit"
        for graph in data["graphs"]
        if len(graph["senders"]) < graph["n_edges"]
    ]
    groups = {"gs-when-apart": apart, "gs-when-overlaid": overlaid, "gs-always": always}
    lines = [f'<span class="{when}">{line}</span>' for when, group in groups.items() for line in group]
    return f'<div class="gs-legend">{"".join(lines)}</div>'


def _sample(kind: str, text: str) -> str:
    line = f'<svg width="26" height="10"><path class="{kind}" stroke-width="4" d="M1 5 H25"/></svg>'
    return f'{line}<span class="gs-who">{html.escape(text)}</span>'
