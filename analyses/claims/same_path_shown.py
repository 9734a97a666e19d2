"""What the page shows of claim (i): the circuits that are compared, effects by age and status, and one graph in full."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...circuits import draw
from ...circuits.conditions import AGAIN
from ..page import Report
from .by_age import ByAgeResult
from .contrasts import BY_STATUS
from .path_measurement import PathMeasurement
from .rules import ClaimResult


@dataclass(frozen=True, eq=False)
class SamePathFinding:
    """Claim (i) on a study.

    Attributes:
        results: `main` and its verdict; empty if no graph can be compared.
        by_age: effects by age and status.
        measured: by comparison and graph.
        architecture: of all models that are compared.
    """

    results: Mapping[str, ClaimResult]
    by_age: ByAgeResult | None
    measured: Mapping[str, Mapping[int, PathMeasurement]]
    architecture: str = "causal"


def show_circuits(finding: SamePathFinding, report: Report) -> None:
    """The circuits of a graph's arms that are compared, natural and taught at one age, with what differs."""
    for graph, measured in _described(finding):
        couple = next(((each.a, each.b) for each in BY_STATUS if {each.a, each.b} <= set(measured.circuits)), None)
        if couple is not None:
            shown = {name: measured.circuits[name] for name in couple}
            report.diagram(
                draw(shown, lens={name: measured.lens[name] for name in shown}),
                f"The circuits of graph {graph} that are compared, on {measured.distances.n_pairs} pairs that all its "
                "models answer: upwards are layers, across are positions. Hover an edge for its numbers, click it to trace "
                "paths, choose difference to see what differs. One pair of trainings, as an illustration: it decides "
                "nothing, and two trainings of one arm differ, too.",
            )
            return


def _described(finding: SamePathFinding) -> Iterator[tuple[int, PathMeasurement]]:
    """The graphs of which there are circuits."""
    for by_graph in finding.measured.values():
        yield from ((graph, each) for graph, each in by_graph.items() if each.circuits)


def show_paths(finding: SamePathFinding, report: Report) -> None:
    """Effects by age and status, and traces and evidence of the first graph that has circuits."""
    if finding.by_age is not None:
        _show_by_age(finding.by_age, report)
    for graph, measured in _described(finding):
        _show_graph(graph, measured, report)
        return


def _show_by_age(found: ByAgeResult, report: Report) -> None:
    """Effects of age and status; why a row is left open is said once for all measures."""
    report.figure(
        found.figure(),
        "A row for each contrast, with what differs between its arms: distances of single graphs in blue, their typical "
        "value with one-sided 95 % bounds above, replicates of the same graphs in grey below. A row without points has no "
        "graph that can be compared.",
    )
    report.table(found.table.drop(columns="reason"))
    left_open = found.table[found.table["reason"] != ""].groupby(["contrast", "reason"], sort=False)["measure"]
    reasons = left_open.agg(", ".join).reset_index()
    report.bullets(f"{row['contrast']}, {row['measure']}: {row['reason']}" for row in reasons.to_dict("records"))
    report.table(found.checks)


def _show_graph(graph: int, measured: PathMeasurement, report: Report) -> None:
    """Causal traces and bridge evidence of one graph, without replicates and models of another shape."""
    shape = next(iter(measured.circuits.values())).graph
    shown = [name for name, circuit in measured.circuits.items() if not name.endswith(AGAIN) and circuit.graph == shape]
    for name in shown:
        if name in measured.traces:
            report.figure(
                measured.traces[name].figure(),
                f"Causal trace of graph {graph}, {name}: share of questions whose answer changes if that one state comes "
                "from a prompt with another h or r1.",
            )
        report.figure(
            measured.evidence[name].figure(),
            f"Bridge evidence of graph {graph}, {name}: share of questions minus control, by layer and position.",
        )
