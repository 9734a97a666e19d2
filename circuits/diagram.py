"""The picture of one, two or many circuits: one piece of HTML that answers what differs, and how sure that is.

All circuits of a diagram share layout and width scale. Width is |effect|, colour the kind of input or, between two circuits,
the difference; a dashed line is a negative effect. Without scripts the kept edges are drawn; with them a reader cuts
elsewhere, searches, groups, traces paths and compares. What is seen is kept in the page's address. Nothing is loaded.
"""

import html
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from .arguments import common_problems, is_whole, refuse, shortly
from .circuit import Circuit
from .comparable import check_comparable, ignore_problems, mapping_problems
from .diagram_data import Frames, Shown, diagram_data, drawn_first
from .diagram_state import State, state_of, state_problems
from .diagram_widget import widget_of
from .drawn_queries import queries_of
from .kinds import KINDS
from .packed import packed, packed_text
from .page import BODY, page_of, save_page
from .palette import ASSETS, page_style, style_sheet
from .picture import live_nodes
from .plain_text import plain
from .result import Result
from .static_drawing import MAX_WIDTH, MIN_WIDTH, static_panel

SCRIPTS = (
    "data", "layout", "dom", "state", "search", "trace", "scene", "paint", "overlay", "axes", "view", "pointer", "words",
    "table", "details", "bar", "legend", "figure", "files", "steps", "opening", "start",
)  # fmt: skip
DRAWING = {"maxWidth": MAX_WIDTH, "minWidth": MIN_WIDTH}

TABLES = {"lens": "table", "faithfulness": "curve", "queries": "table"}
FUNCTIONS = {"lens": "logit_lens", "faithfulness": "faithfulness", "queries": "query_details"}
NEEDED = {
    "lens": {"layer", "after", "role", "target", "top1"},
    "faithfulness": {"n_edges", "faithfulness", "low", "high"},
    "queries": {"query", "role", "clean", "corrupt"},
}
"""By argument of `draw`: where a result keeps what is shown, what measures it, and the columns it has."""

Drawn = Circuit | Mapping[int, Circuit]
"""What one panel shows: a circuit, or the circuits of a run by training step."""


@dataclass(frozen=True, repr=False)
class Diagram:
    """A drawn diagram; shows itself in Jupyter, and in a notebook that is opened again. `widget` also talks to Python.

    Attributes:
        html: a fragment with style, drawing, data and script, for a cell or a page.
        title: of the saved page.
        data: the numbers that it shows, see `diagram_data`; the page holds the same as JSON.
        first: what it shows first, see `draw`.
    """

    html: str = field(repr=False)
    title: str
    data: Mapping[str, Any] = field(repr=False)
    first: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return plain(f"<Diagram: {self.title}>")

    def save(self, path: str | Path) -> Path:
        """Write a page that works from a file and without a network; returns the path. It opens as `state` says.

        Raises:
            ValueError: if the name ends as that of no page. The button *save* of the page gives SVG, PNG, CSV and JSON.
        """
        return save_page(path, self.title, _body(self.title, _with_state(self.html, self.state)), **_page_parts())

    @cached_property
    def widget(self) -> Any:
        """The diagram as a Jupyter widget (anywidget), one for all cells that show it, while the kernel runs.

        Raises:
            ImportError: without anywidget.
        """
        return widget_of(self.html, functions(), self.first)

    @property
    def state(self) -> dict[str, Any]:
        """What is seen now: what a reader chose in a notebook, as far as it differs from how a diagram opens."""
        return dict(self.widget.state) if "widget" in self.__dict__ else dict(self.first)

    @property
    def selected_edges(self) -> list[str]:
        """The names of the edges that are selected in the notebook, the last one traced."""
        return [name for name in self.state.get("selected", []) if " -> " in name]

    def update(self, **state: Any) -> None:
        """Show something else in the notebook, as in `diagram.update(threshold=0.1)`; see `draw` for what `state` holds.

        A threshold, or a number `top` of the strongest edges, is also how edges are cut then, unless `cut` says otherwise.

        Raises:
            ValueError: if it is no state.
        """
        refuse(state_problems(state))
        cut = next(({"cut": name} for name in ("top", "threshold") if name in state), {})
        self.widget.state = self.state | cut | state_of(state)

    def _repr_html_(self) -> str:
        return self.html


def _body(title: str, fragment: str) -> str:
    """What a page of a diagram alone holds."""
    return f"<main><h1>{html.escape(title)}</h1>{fragment}</main>"


def _page_parts() -> dict[str, Any]:
    return {"scripts": scripts(), "style": page_style()}


def _with_state(fragment: str, state: Mapping[str, Any]) -> str:
    """The fragment that opens with another state."""
    start = fragment.index(' data-state="') + len(' data-state="')
    return fragment[:start] + html.escape(json.dumps(state)) + fragment[fragment.index('"', start) :]


def draw(
    circuits: Drawn | Mapping[str, Drawn],
    *,
    lens: Shown | Mapping[str, Shown] | None = None,
    faithfulness: Shown | Mapping[str, Shown] | None = None,
    queries: Shown | Mapping[str, Shown] | None = None,
    state: State | None = None,
    despite: Collection[str] = (),
    seed: int = 0,
) -> Diagram:
    """Draw a circuit, or several on one layout and one scale, with what differs between them.

    Args:
        circuits: one circuit; circuits by label; or, for a run, circuits by training step (whole numbers), alone or by
            label.
        lens: results of `analyses.logit_lens`, or their tables, by label (or one for all), of a run for circuits by step:
            nodes after which bridge or answer is the most likely token in half of the queries or more are marked.
        faithfulness: results of `analyses.faithfulness`, by label (or one for all): the caption says what the circuit
            keeps, and for other cuts what the strongest edges keep, at the largest measured size up to what is drawn. Of
            curves alone, the latter.
        queries: results of `analyses.query_details`, by label (or one for all): of a selected edge the queries are named
            that it matters to most, of a head where it looks.
        state: what the reader sees first: a link that was copied from a diagram, its part after #, or the same as a mapping.
            By default what the first circuit was saved with, see `Circuit.with_view`.
        despite: fields in which the circuits may differ: `graph`, `measured edges`, `metric` and so on, as the error names
            them. Widths are then still on one scale, even if they are shares of different gaps.
        seed: of the bootstrap over queries from which the intervals of differences come.

    Raises:
        ValueError: if circuits of one diagram were not measured alike, or none is given; if a lens, faithfulness, queries or
            state is none.
        KeyError: if a lens, faithfulness or queries are of no circuit.

    >>> draw({"grokked": a, "memorised": b}).save("circuits.html")  # doctest: +SKIP
    """
    given = {"lens": lens, "faithfulness": faithfulness, "queries": queries}
    problems = ignore_problems(despite) + _drawn_problems(circuits) + common_problems(seed=seed)
    problems += [] if state is None else state_problems(state)
    refuse(problems + [problem for name, each in given.items() for problem in _shown_problems(name, each)])
    panels = _panels(circuits)
    everything = _everything(panels)
    if not everything:
        raise ValueError("there is no circuit to draw")
    check_comparable(everything, ignore=despite)
    by_label = {name: _by_label(name, each, panels) for name, each in given.items()}
    lenses, curves = (_tables(name, by_label[name]) for name in ("lens", "faithfulness"))
    asked = {label: found for label, each in by_label["queries"].items() if (found := queries_of(each)) is not None}
    data = diagram_data(panels, lenses, curves, by_label["faithfulness"], asked, seed=seed)
    title = " / ".join(label for label in panels if label) or "circuit"
    seen = state_of(next(iter(everything.values())).provenance.get("view", {}) if state is None else state)
    return assembled(data, title, seen, _still(panels, data), _moved(panels))


def scripts() -> list[str]:
    """What brings diagrams to life, the same texts in all of them, so that they can be declared, see `page`.

    The first stands in the page and unpacks the second, which is in it compressed.
    """
    return [
        _script("load"),
        f"(function () {{\n{functions()}\ndocument.querySelectorAll('.grokscope').forEach(start);\n}})();",
    ]


def functions() -> str:
    """The functions of the page's script, of which `start` takes the element of a diagram."""
    return "\n".join(map(_script, SCRIPTS))


@cache
def _script(part: str) -> str:
    """A part of the script, without what is for its readers."""
    lines = map(str.strip, (ASSETS / "diagram" / f"{part}.js").read_text(encoding="utf-8").splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


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
    odd = {label: [step for step in each if not is_whole(step)] for label, each in played.items()}
    problems += [
        f"steps are whole numbers, got {shortly(steps[0])} under {label!r}" for label, steps in odd.items() if steps
    ]
    if not all(map(is_whole, circuits)) and len(set(map(str, circuits))) < len(circuits):
        problems.append(f"labels are different texts, got {', '.join(map(repr, circuits))}")
    return problems + ([f"circuits holds none under {', '.join(empty)}"] if empty else [])


def _panels(circuits: Drawn | Mapping[str, Drawn]) -> dict[str, Frames]:
    if isinstance(circuits, Circuit):
        return {"": {None: circuits}}
    if circuits and all(map(is_whole, circuits)):
        return {"": _frames(circuits)}  # pyright: ignore[reportArgumentType]
    return {str(label): _frames(drawn) for label, drawn in circuits.items()}  # pyright: ignore[reportArgumentType]


def _everything(panels: Mapping[str, Frames]) -> dict[str, Circuit]:
    """All circuits by names of their own."""
    found: dict[str, Circuit] = {}
    for label, frames in panels.items():
        for step, circuit in frames.items():
            name = label if step is None else f"{label}, step {step}" if label else f"step {step}"
            while name in found:
                name += "′"
            found[name] = circuit
    return found


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


def assembled(data: Mapping[str, Any], title: str, state: Mapping[str, Any], still: str, moved: Sequence[str]) -> Diagram:
    """The diagram of data that are ready.

    Args:
        data: see `diagram_data`.
        title: of what is drawn.
        state: what it shows first.
        still: the pictures for viewers that run no scripts.
        moved: what the legend says of arrows between positions.
    """
    whole = f"grokscope: {title}"
    content = json.dumps(
        packed({**data, "title": title, "drawing": DRAWING, "moved": list(moved)}), allow_nan=False, separators=(",", ":")
    )
    content = content.replace("<", "\\u003c")  # so that no label can end the script
    saved_as = html.escape(page_of(whole, _body(whole, BODY), **_page_parts()))
    load, code = scripts()
    fragment = (
        f'<div class="grokscope" data-page="{saved_as}" data-state="{html.escape(json.dumps(state))}">'
        f'<style>{style_sheet()}</style><p class="gs-headline" hidden></p>'
        f'<div class="gs-bar"></div><div class="gs-legend">{_still_legend(data)}</div>'
        f'<div class="gs-body"><div class="gs-main"><div class="gs-panels">{still}</div></div>'
        f'<aside class="gs-aside" aria-label="numbers"></aside></div><div class="gs-print"></div>'
        f'<div class="gs-tip" role="status" aria-live="polite" hidden></div>'
        f'<script type="application/json" class="gs-data">{content}</script>'
        f'<script type="application/gzip" class="gs-code">{packed_text(code)}</script><script>{load}</script></div>'
    )
    return Diagram(fragment, whole, data, state)


def _moved(panels: Mapping[str, Frames]) -> list[str]:
    """How things get from one position to another in these graphs."""
    graphs = [next(iter(frames.values())).graph for frames in panels.values()]
    found = [
        KINDS[step.kind].moves for graph in graphs for step in graph.steps if any(len(seen) > 1 for seen in step.sees or ())
    ]
    return list(dict.fromkeys(found))


def _still(panels: Mapping[str, Frames], data: Mapping[str, Any]) -> str:
    """The still pictures of the last circuits of all panels."""
    together: dict[Any, list[Circuit]] = {}
    for frames in panels.values():
        together.setdefault(next(iter(frames.values())).graph, []).extend(frames.values())
    live = {graph: live_nodes(graph, drawn_first(each, data["at_first"])) for graph, each in together.items()}
    found = []
    for (label, frames), panel in zip(panels.items(), data["panels"], strict=True):
        circuit, frame = list(frames.values())[-1], panel["frames"][-1]
        said = [circuit.caption, frame["keeps"]]
        if data["at_first"] is not None:
            said = [circuit.caption, f"drawn: the strongest {data['at_first']}"]
        text = " · ".join(part for part in said if part)
        found.append(static_panel(label, circuit, live[circuit.graph], data["widest"], text, data["at_first"]))
    return "".join(found)


def _still_legend(data: Mapping[str, Any]) -> str:
    """What colours mean, for viewers that run no scripts."""
    used = sorted({entry[1] for graph in data["graphs"] for entry in graph["inputs"]})
    looks = [data["looks"][look] for look in used]
    lines = [_sample(f"gs-edge gs-into-{name}", text) for name, text, *_ in looks]
    lines.append(_sample("gs-edge gs-plain gs-negative", "negative"))
    if any(frame["estimated"] for panel in data["panels"] for frame in panel["frames"]):
        lines.append(_sample("gs-edge gs-plain gs-estimated", "estimated, not measured"))
    measure = data.get("measure", "|effect|, a share of the clean–corrupt gap")
    lines.append(f"width: {measure}, widest {data['widest']:.2f}")
    return "".join(f"<span>{line}</span>" for line in lines)


def _sample(kind: str, text: str) -> str:
    line = f'<svg width="26" height="10"><path class="{kind}" stroke-width="4" d="M1 5 H25"/></svg>'
    return f"{line}<span>{html.escape(text)}</span>"
