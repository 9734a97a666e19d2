"""The numbers that a study's findings rest on, in one tidy table with stable names; documents quote them by name.

A name is the claim, the quantity and what of it, as in `same_path/where.early.ratio`: lower case as in the code, words
joined by `_`. What a claim finds is taken apart by its type; what has no type here adds nothing.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ...circuits.conditions import condition_of
from ...circuits.writing import write_atomic
from ..bridge.evidence import EvidenceResult
from ..bridge.lens import LensResult
from ..bridge.pair_donors import HELD_OUT
from ..bridge.verdicts import R1, bridge_read
from ..claims.contrasts import BY_AGE, BY_STATUS, MIXED, Contrast, decided
from ..claims.cost import CostResult
from ..claims.path_measurement import PathMeasurement
from ..claims.regimes import RegimeResult
from ..claims.rules import ClaimResult
from ..claims.same_path import PAPER, SamePathFinding
from ..claims.transfer import TransferFinding
from ..sameness.equivalence import EquivalenceResult
from ..sameness.path_distances import MARGINS
from .findings import Findings

NAN = float("nan")

WHOLE_STATE = {"held_out": "value", "donor_right": "donor_right"}
"""By name, the column of the held-out donors' row."""
UNITS = {"to_90": "steps", "n": "count", "excess": "difference", "direction": "difference"}
"""By column, where values are no shares."""


class Number(NamedTuple):
    """One number.

    Attributes:
        name: see above.
        value, low, high: an estimate with its bounds, or a median with its range; bounds are NaN if there are none.
        n, of: how many graphs, runs or questions it rests on.
        unit: of the value: `share`, `steps`, `FLOPs`, `count`, `ratio`, or `difference` of shares or `distance`, which need
            not lie between 0 and 1.
    """

    name: str
    value: float
    low: float = NAN
    high: float = NAN
    n: int = 0
    of: str = "graphs"
    unit: str = "share"


def numbers(findings: Findings) -> pd.DataFrame:
    """A row for each `Number` of the findings that was measured.

    Raises:
        ValueError: if two numbers have one name.
    """
    rows = [row for name, found in findings.claims.items() for row in _numbers(found, name) if row.value == row.value]
    table = pd.DataFrame(rows, columns=pd.Index(Number._fields))
    if (twice := table["name"].duplicated()).any():
        raise ValueError(f"numbers need different names, these occur twice: {', '.join(table.loc[twice, 'name'])}")
    return table


def write_numbers(findings: Findings, path: Path) -> Path:
    """Write them as CSV, six digits each, atomically; returns the path."""
    return write_atomic(path, numbers(findings).to_csv(index=False, float_format="%.6g"))


@singledispatch
def _numbers(found: Any, name: str) -> Iterator[Number]:
    """Of a finding of another type: its fields, by name; `main` and `causal`, which come first, add no name."""
    if dataclasses.is_dataclass(found):
        for field in dataclasses.fields(found):
            yield from _numbers(getattr(found, field.name), name)


@_numbers.register(Mapping)
def _of_mapping(found: Mapping[str, Any], name: str) -> Iterator[Number]:
    for i, (key, each) in enumerate(found.items()):
        yield from _numbers(each, name if not i else f"{name}/{_joined(key)}")


@_numbers.register
def _of_claim(found: ClaimResult, name: str) -> Iterator[Number]:
    seen: set[str] = set()
    for row in _each(found.rows):
        key = f"{name}/{_joined(row.key)}"
        key = f"{key}@{_joined(row.split)}" if key in seen else key  # the first is on the claim's questions
        seen.add(key)
        unit = row.kind.split()[0] if row.kind else "difference"
        yield Number(key, row.value, row.low, row.high, row.n, row.unit, unit)
        if row.m > 1:
            yield Number(f"{key}.strict", row.value, row.strict_low, row.strict_high, row.n, row.unit, unit)


@_numbers.register
def _of_path(found: SamePathFinding, name: str) -> Iterator[Number]:
    yield from _numbers(found.results, name)
    if not found.results:
        return
    measured = found.measured["main"]
    for contrast in (*BY_STATUS, *BY_AGE, *PAPER, MIXED):
        for measure in MARGINS:
            result = decided(measured, measure, contrast).result
            if result is not None:
                yield from _of_contrast(result, f"{name}/{_joined(measure)}.{contrast.key}", contrast)
    for graph, each in measured.items():
        yield Number(f"{name}/pairs.g{graph}", each.distances.n_pairs, n=each.distances.n_asked, of="pairs", unit="count")
        for arm, circuit in each.circuits.items():
            edges = f"{name}/edges.{_joined(arm)}.g{graph}"
            yield Number(edges, len(circuit.kept_edges), n=len(circuit.graph.edges), of="edges", unit="count")
    yield from _evidence(found.measured, name)


def _of_contrast(result: EquivalenceResult, name: str, contrast: Contrast) -> Iterator[Number]:
    n = len(result.table)
    if contrast not in BY_STATUS:  # whose rows the claim has
        yield Number(name, result.value, result.low, result.high, n, unit="distance")
    yield Number(f"{name}.replicates", result.replicates, high=result.replicates_high, n=n, unit="distance")
    yield Number(f"{name}.ratio", result.ratio, result.ratio_low, result.ratio_high, n, unit="ratio")
    for row in _each(result.table):
        yield Number(f"{name}.g{row.graph}", row.distance, n=row.pairs, of="pairs of trainings", unit="distance")


def _evidence(measured: Mapping[str, Mapping[int, PathMeasurement]], name: str) -> Iterator[Number]:
    """By arm, over all trainings, on the questions of the first comparison that has the arm."""
    rows: dict[str, list[dict[str, float]]] = {}
    comparison_of: dict[str, str] = {}
    for comparison, by_graph in measured.items():
        for each in by_graph.values():
            for arm, evidence in each.evidence.items():
                arm_alone = condition_of(arm)
                if comparison_of.setdefault(arm_alone, comparison) == comparison:
                    rows.setdefault(arm_alone, []).append(_use(evidence) | _read(each.lens[arm]))
    for arm, of_arm in rows.items():
        yield from _medians(pd.DataFrame(of_arm), f"{name}/evidence.{_joined(arm)}", "trainings")


def _use(evidence: EvidenceResult) -> dict[str, float]:
    """At r1 after the layer where the bridge's direction turns most answers.

    The lower bound of the share that it turns, the share that a whole held-out state turns, and the share of the donors'
    questions that are answered.
    """
    at_r1 = evidence.measures[evidence.measures["role"].isin(R1)]
    turned, held_out = (at_r1[at_r1["measure"] == measure].set_index("layer") for measure in ("direction", HELD_OUT))
    if turned["excess"].isna().all():  # nothing was judged
        return {}
    layer: Any = turned["excess"].idxmax()
    whole = {name: held_out[column].get(layer, NAN) for name, column in WHOLE_STATE.items()}
    return {"direction": turned["low"][layer], **whole}


def _read(lens: LensResult) -> dict[str, float]:
    """The share of bridges that a lens reads at r1, after each layer."""
    top = bridge_read(lens).set_index("layer")["top1"]
    return {f"read.L{layer}": share for layer, share in top.items()}


@_numbers.register
def _of_cost(found: CostResult, name: str) -> Iterator[Number]:
    for row in _each(found.summary):
        key = f"{name}/{row.arm}"
        if row.level == found.summary["level"].max():
            yield Number(f"{key}.added", row.added, n=row.n, unit="count")
        yield Number(f"{key}.{row.level:g}", row.median, row.low, row.high, row.n, unit="steps")
        yield Number(f"{key}.{row.level:g}.reached", row.reached, n=row.n, unit="count")
        yield Number(f"{key}.{row.level:g}.flops", row.flops, n=row.n, unit="FLOPs")


@_numbers.register
def _of_regimes(found: RegimeResult, name: str) -> Iterator[Number]:
    columns = ["exact_match", "found_any", "read", "correct_not_found", "probe", "bridge_effect", "donor_right"]
    yield from _by(found.table[["arm", "phase", *columns]], ["arm", "phase"], f"{name}/regimes", "runs")


@_numbers.register
def _of_transfer(found: TransferFinding, name: str) -> Iterator[Number]:
    yield from _numbers(found.result, name)
    columns = ["exact_match", "floor", "floor_r2", "excess", "area", "to_90", "remembered", "forgotten", "n"]
    table, by = found.transferred.copy(), ["arm", "exposure", "cell"]
    table["exposure"] = table["exposure"].map("m{}".format)
    yield from _by(table[[*by, *columns]], by, f"{name}/cells", "graphs")
    if found.inside is not None:
        columns = ["read_at_r1", "accuracy", "realigned", "controlled"]
        yield from _by(found.inside.table[["arm", "cell", *columns]], ["arm", "cell"], f"{name}/inside", "graphs")


def _by(table: pd.DataFrame, by: Sequence[str], name: str, of: str) -> Iterator[Number]:
    for key, rows in table.groupby(list(by), sort=False):
        yield from _medians(rows.drop(columns=list(by)), ".".join([name, *map(_joined, key)]), of)


def _medians(rows: pd.DataFrame, name: str, of: str) -> Iterator[Number]:
    """A number for each column: the median and the range of the values that are there."""
    for column in rows.columns:
        values = rows[column].dropna()
        if len(values):
            unit = UNITS.get(column, "share")
            yield Number(f"{name}.{column}", values.median(), values.min(), values.max(), len(values), of, unit)


def _each(table: pd.DataFrame) -> Iterator[Any]:
    return table.itertuples()


def _joined(words: Any) -> str:
    return str(words).replace(", ", ",").replace(" ", "_")
