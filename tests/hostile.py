"""Names that try to be more than names, and results of every kind that bear nothing but them."""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, get_args, get_origin

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from kinds import KINDS
from playwright.sync_api import Page

from grokscope import circuits, tasks
from grokscope.analyses.bridge.lens import FIRST, SHUFFLED
from grokscope.analyses.validity.criteria import CRITERIA
from grokscope.circuits import Circuit, CircuitComparison, ComparisonSummary, ComputationGraph, Result

NAMES = (
    '<a/href="http://x.test">x</a>',
    '<img/src="x"onerror="window.hit=1">',
    "</script><script>window.hit=1</script>",
    "\"onmouseover='window.hit=1'`--></title></style><b>b</b>{{7*7}}%{x}${window.hit=1}&lt;u&gt;",
)
"""Roles, too, which have no whitespace and no @."""
ODD = "<br><sup>s</sup>\nline\u2028\\u003cb\\u003e&amp;javascript:window.hit=1 " + " ".join(NAMES) + "<!--<script>"
"""For everything that may be any text."""

ROLES = (*NAMES, "r1")  # some figures show this role only
NUMBERS = (
    "value low high effect stderr gap top1 accuracy excess success strength kept moved corrected integrated pattern own "
    "own_low own_high other other_low other_high followed random exact_match bridge_effect realigned controlled "
    "exposure faithfulness random_low random_high gain baseline weighted_overlap weighted_overlap_final loss restricted "
    "excluded final_effect direct knockout residual sum difference floor found_any "
    "correct_not_found probe flops area to_90 remembered forgotten read_at_r1 p p_holm margin control seconds chance "
    "distance replicate_distance ratio replicates furthest_replicates strict_low strict_high dose moved_low moved_high"
)
COUNTS = "n_parameters n_trained replicate n n_facts n_asked n_read n_judged n_edges n_left_out trained seed"
WHOLE = dict.fromkeys(COUNTS.split(), 3)
WHOLE |= {
    "replicate": 0,
    "steps": 5,
    "added": 7,
    "n_units": 3,
    "pairs": 4,
    "m": 2,
    "n_loops": 2,
    "hop": 1,
    "layer": 0,
    "layer_a": 0,
    "layer_b": 0,
    "layer_model": 0,
    "layer_donor": 0,
    "head": 0,
    "source": 1,
    "target_layer": 0,
    "scale": 1,
    "level": 0.5,
}
WORDS = (
    "run arm cell measure reading entity form direction perturbed donor milestone order quantity "
    "unit role role_donor kind a b contrast varies verdict graph query edge roles key sentence rule check detail edges"
)
FIXED = {
    "says": "supported", "phase": "final", "tested_on": "held-out ID facts", "split": "test_inferred_ood", "after": "layer",
}  # fmt: skip
BY_STEP = {"EvidenceResult", "LensResult", "ProbeResult", "GeometryResult", "RealignmentResult"}
"""Kinds that draw something else of a run; both are drawn."""

LACKING = {"PatchingResult": ["node"], "CausalTraceResult": ["receiver", "target"], "Profile": ["target"]}
LACKING |= {
    f"{name}Result": ["target"]
    for name in ("BridgeDirection", "CycleDistances", "Evidence", "Geometry", "Interchange", "ReadingMethods")
}
"""Columns of which a kind has none; it takes another for them."""

NEEDED = {
    "AttentionResult": "integrated_stderr pattern_stderr",
    "CircuitTrajectory": "n_kept weighted_overlap",
    "CompositionResult": "n_found",
    "FaithfulnessResult": "needed n_edges without",
    "MergedCircuit": "sender_loop receiver_loop",
    "NecessityResult": "ablation reason without without_low without_high random_without",
    "OtherPromptsResult": "prompts reason n_edges kept lost random",
    "QueryDetails": "clean_right corrupt_right weight",
    "ReliabilityResult": "n_splits n_edges uncorrected",
    "RivalResult": "searched faithfulness difference_low difference_high n_edges reason",
}
"""Columns that only sentences ask for, by kind; they hold names, numbers and counts as they do there."""
NAMED = ("ablation", "reason", "prompts")


def table(kind: str, *, by_step: bool) -> pd.DataFrame:
    """Every column that any figure asks for, with a row for each name."""
    columns: dict[str, Any] = {name: list(ROLES) for name in WORDS.split()}
    columns.update(dict.fromkeys([*NUMBERS.split(), *tasks.SPLITS], 0.5))
    columns.update(WHOLE)
    columns.update(FIXED, used=["yes", *ROLES[1:]], passed=True, target=list(ROLES))
    frame = pd.DataFrame(columns)  # at once: pandas warns where many are added one by one
    frame = frame.assign(node=[f"MLP0@{role}" for role in ROLES], key=ROLES[0], step=10.0)
    frame = frame.assign(sender=[f"embed@{role}" for role in ROLES], receiver=[f"MLP0@{role}" for role in ROLES])
    frame = frame.drop(columns=LACKING.get(kind, []))
    for name in NEEDED.get(kind, "").split():
        frame[name] = ["", *ROLES[1:]] if name in NAMED else 3 if name.startswith("n_") or name.endswith("_loop") else 0.5
    if kind == "AuditResult":  # as many rows as there are criteria
        places = [place % len(ROLES) for place in range(len(CRITERIA))]
        frame = frame.iloc[places].reset_index(drop=True).assign(code=list(CRITERIA), kind=[each[0] for each in CRITERIA])
        frame = frame.assign(word=[("met", "missed", "not measured")[place % 3] for place in range(len(CRITERIA))])
        frame["kind"] = frame["kind"].map(dict(zip("CIEMV", [*NAMES, ODD], strict=True)))
        frame = frame.assign(**dict.fromkeys(("criterion", "asks", "finding", "measured_by"), ODD))
    if kind == "BackPatchingResult":
        frame = pd.concat([frame, frame.assign(role="any")], ignore_index=True).assign(target=0, control=0.1)
    if kind == "GeometryResult":
        frame = pd.concat([frame, frame.assign(measure="ID cohesion")], ignore_index=True)
    if kind in ("CircuitTrajectory", "MergedCircuit"):
        frame = frame.assign(kept=True)
    if kind in ("ByAgeResult", "PathDistances"):
        frame = frame.assign(reason=ODD)
    if kind == "EditResult":
        shares = "propagated propagated_able right_before unedited other_edit took"
        shares += " facts_before facts_after composed_before composed_after"
        frame = frame.assign(**{name: list(ROLES) for name in ("method", "facts", "place", "part")}, why_not="", where=ODD)
        frame = frame.assign(
            **dict.fromkeys(shares.split(), 0.5), n_able=2, **dict.fromkeys(("edit", "fact", "old", "new"), 1)
        )
    if kind == "EvidenceResult":
        frame = frame.assign(layer=-1, reason=ODD, **dict.fromkeys(("where", "cells", "answered"), ODD))
    if kind == "LensResult":
        targets = [*NAMES[:2], "bridge", "other", "answer", "shuffled bridge", *(SHUFFLED + name for name in NAMES[:2])]
        frame = pd.concat([frame.assign(target=target) for target in targets], ignore_index=True)
        frame = frame.assign(**dict.fromkeys((FIRST + name for name in NAMES[:2]), 1))
    if kind == "RealignmentResult" and by_step:
        frame = frame.assign(entity="read", gain_low=0.1, gain_high=0.9)
    return frame if by_step or kind not in BY_STEP else frame.drop(columns="step")


def value(declared: Any, kind: str, *, by_step: bool) -> Any:
    """A hostile value of a declared type."""
    of = get_origin(declared)
    if of in (typing.Union, UnionType):
        return value(get_args(declared)[0], kind, by_step=by_step)
    if of is tuple:
        parts = get_args(declared)
        if parts == (str, ...):
            return NAMES
        each = tuple(value(part, kind, by_step=by_step) for part in parts if part is not Ellipsis)
        return each * 2 if parts[-1] is Ellipsis else each
    if of in (dict, Mapping):
        inner = value(get_args(declared)[1], kind, by_step=by_step)
        return dict.fromkeys((*NAMES, *tasks.SPLITS, "rank_correlation", "relative_error", "n_edges"), inner)
    if of is list:
        return [value(get_args(declared)[0], kind, by_step=by_step)]
    made = {
        str: ODD,
        int: 3,
        float: 0.5,
        bool: True,
        type(None): None,
        Any: ODD,
        np.ndarray: np.ones((1, 1, len(ROLES), len(ROLES))),
    }
    if declared is pd.DataFrame:
        return table(kind, by_step=by_step)
    if declared is ComputationGraph:
        return graph()
    return get_args(declared)[0] if of is typing.Literal else made[declared]


def graph() -> ComputationGraph:
    return ComputationGraph.transformer(ROLES, ROLES[-1], n_layers=1, n_heads=1, n_blocks=1)


def circuit(name: str = ODD) -> Circuit:
    edges = {"sender": [str(e.sender) for e in graph().edges], "receiver": [str(e.receiver) for e in graph().edges]}
    effect = [0.3 + 0.01 * place for place in range(len(graph().edges))]
    frame = pd.DataFrame(edges).assign(effect=effect, stderr=0.01, n=8, gap=3.0)
    about = dict.fromkeys(("contrast", "split", "metric", "unit", "direction", "reason"), ODD)
    frame.attrs |= {"graph": graph().to_dict(), "provenance": {**about, "model": name, "pairs": "p"}}
    return Circuit.from_effects(frame, threshold=0.1)


def compared() -> CircuitComparison:
    return circuits.compare({NAMES[0]: circuit(), ODD: circuit()}, n_bootstrap=20, progress=False)


def features() -> circuits.FeatureGraph:
    """An attribution graph of tokens, features and logits with such names."""
    names = [f"{name} {role}" for name in ("embed", "feature") for role in ROLES] + [ODD]
    kinds = ["embedding"] * len(ROLES) + ["feature"] * len(ROLES) + ["logit"]
    nodes = pd.DataFrame(
        {"node": names, "kind": kinds, "layer": [{"embedding": -1, "feature": 0}.get(each, 1) for each in kinds]}
    )
    nodes = nodes.assign(
        index=3, position=[*range(len(ROLES)), *range(len(ROLES)), 0], token=ODD, label=ODD, type=ODD, id=names
    )
    nodes = nodes.assign(activation=0.5, influence=0.5, probability=float("nan"))
    embeds, inner = names[: len(ROLES)], names[len(ROLES) : -1]
    links = pd.DataFrame({"sender": [*embeds, *inner], "receiver": [*inner, *[ODD] * len(inner)]}).assign(effect=0.5)
    return circuits.FeatureGraph(links, nodes, ROLES, {"slug": ODD}, {"supernodes": [[ODD, *inner[:2]]]})


def result(kind: type[Result], *, by_step: bool) -> Result:
    """One of a kind."""
    if kind is circuits.FeatureGraph:
        return features()
    if kind is Circuit:
        return circuit()
    if kind is CircuitComparison:
        return compared()
    if kind is circuits.CounterpartComparison:
        return circuits.compare_counterparts(
            {NAMES[0]: circuit(), ODD: circuit()}, dict(zip(ROLES, ROLES, strict=True)), n_bootstrap=20, progress=False
        )
    if kind is ComparisonSummary:
        return compared().summary()
    types = typing.get_type_hints(kind)
    return kind(**{f.name: value(types[f.name], kind.__name__, by_step=by_step) for f in dataclasses.fields(kind)})


def results() -> Iterator[tuple[str, Result]]:
    """One of every kind of the library, and of kinds that draw a run in another way one of a run."""
    for name, kind in KINDS.items():
        yield name, result(kind, by_step=False)
        if name in BY_STEP:
            yield f"{name} of a run", result(kind, by_step=True)


def texts(figure: go.Figure) -> Iterator[str]:
    """Every text in a figure but for its template."""

    def walk(part: Any) -> Iterator[str]:
        if isinstance(part, str):
            yield part
        for each in part.values() if isinstance(part, dict) else part if isinstance(part, list | tuple) else ():
            yield from walk(each)

    content = figure.to_plotly_json()
    content["layout"].pop("template", None)
    yield from walk(content)


FOREIGN = ".js-plotly-plot text a, .gs-panels a, table a, img, b, i, u, sup, iframe, textarea, [onerror], [onmouseover]"
DRAWN = (
    "document.querySelectorAll('.js-plotly-plot .main-svg').length >= 3 * document.querySelectorAll('.plotly-figure').length"
)


def harmless(page: Page) -> None:
    """No script of a name ran, and no element was made of one."""
    assert page.evaluate("window.hit") is None
    assert page.evaluate(f"[...document.querySelectorAll({FOREIGN!r})].map(each => each.outerHTML.slice(0, 99))") == []
