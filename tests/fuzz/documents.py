"""Subjects of one file each: saved results, cached measurements, circuits and graphs in the JSON of other tools."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from attribution_graphs import by_circuit_tracer, with_attention, written
from planted import CHAIN, GRAPH, LOOSE_ENDS, effects

from grokscope.analyses.study.cache import cached
from grokscope.circuits import Circuit, FeatureGraph, Result, from_circuit_tracer, from_eap_ig, to_eap_ig

from .literal import is_as_circuit_tracer_says, is_as_eap_ig_says
from .subject import Subject, same


@dataclass(frozen=True, eq=False)
class FuzzedResult(Result):
    """A kind of result with a field of every type that results have."""

    curve: pd.DataFrame
    interval: tuple[float, float]
    rates: Mapping[str, float]
    recipe: Mapping[Any, Any]
    model: str
    n: int
    is_exact: bool | None
    deltas: np.ndarray | None = None


@dataclass(frozen=True)
class Measured:
    """A measurement as analyses cache them."""

    circuit: Circuit
    results: Mapping[str, FuzzedResult]
    table: pd.DataFrame
    note: str
    share: float


def _table(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "node": ["embed@h", "MLP0@r1", "logits@r2"],
            "effect": [*rng.normal(size=2), math.nan],
            "low": np.array([0.25, -math.inf, rng.normal()], dtype="float32"),
            "n": [12, 12, int(rng.integers(99))],
            "kept": [True, False, True],
            "kind": pd.Categorical(["b", "a", None], categories=["b", "a"], ordered=True),
            "what": pd.Series([None, ("a", 1), "x"], dtype=object),
            "rank": pd.array([1, None, 3], dtype="Int64"),
        }
    )


def _result(seed: int) -> FuzzedResult:
    table = _table(seed)
    recipe = {"n": 12, "seed": seed, "strict": True, "roles": ("h", "r1"), "more": {"a": [1, None]}, 7: "seven"}
    deltas = np.random.default_rng(seed).normal(size=(3, 4))
    rates = {"bridge": 0.5, "none": math.nan}
    return FuzzedResult(
        table, table[["effect", "n"]], (0.125, math.nan), rates, recipe, "natural, step 10", 12, None, deltas
    )


def _saved(seed: int) -> dict[str, Result]:
    chosen = CHAIN if seed % 2 else CHAIN | LOOSE_ENDS
    return {
        "circuit.json": Circuit.from_effects(effects(chosen, seed=seed)),
        "faithfulness.json": _result(seed),
        "table.json": Result(_table(seed)),
    }


def results(folder: Path) -> list[Subject]:
    """Saved results of three kinds, one of which is a circuit; two of each lie in a folder."""
    known: dict[bytes, Result] = {}
    for seed in (0, 1):
        for name, result in _saved(seed).items():
            path = result.save(folder / f"results-{seed}" / name)
            known[hashlib.sha256(path.read_bytes()).digest()] = result
    sound, twin, subjects = folder / "results-0", folder / "results-1", []
    for name, result in _saved(0).items():
        for kind in dict.fromkeys([Result, type(result)]):

            def read(case: Path, kind: type[Result] = kind, name: str = name) -> Result:
                return kind.load(case / name)

            def is_right(case: Path, found: Any, name: str = name) -> bool:
                """The file of another result may lie there, if it is whole: its name says nothing."""
                held = known.get(hashlib.sha256((case / name).read_bytes()).digest())
                return held is not None and same(found, held)

            about = "circuit" if isinstance(result, Circuit) else "result"
            subjects.append(Subject(about, sound, read, result, name, twin, is_right))
    return subjects


def measurements(folder: Path) -> list[Subject]:
    """A cached measurement; it is measured again, to the same values, where it is gone."""

    def measure(seed: int) -> Measured:
        circuit, result = Circuit.from_effects(effects(CHAIN, seed=seed)), _result(seed)
        return Measured(circuit, {"early": result, "late": _result(seed + 1)}, _table(seed), "measured", math.pi)

    def read(case: Path, seed: int = 0) -> Any:
        return _values(cached(case / "paths-0123456789ab.json", Measured, lambda: measure(seed)))

    sound, twin = folder / "measured-0", folder / "measured-1"
    known = {}
    for seed, where in enumerate((sound, twin)):
        where.mkdir()
        read(where, seed)
        known[next(where.glob("*.json")).read_bytes()] = _values(measure(seed))

    def is_right(case: Path, found: Any) -> bool:
        held = known.get((case / "paths-0123456789ab.json").read_bytes())
        return held is not None and same(found, held)

    return [Subject("cached", sound, read, _values(measure(0)), "paths-0123456789ab.json", twin, is_right, share=2.0)]


def _values(measured: Any) -> dict[str, Any]:
    return {field.name: getattr(measured, field.name) for field in fields(measured)}


def eap_ig(folder: Path) -> list[Subject]:
    """A circuit in their JSON, which has a schema and no checksum."""
    for seed in (0, 1):
        where = folder / f"eap-ig-{seed}"
        where.mkdir()
        circuit = Circuit.from_effects(effects(CHAIN if seed else CHAIN | LOOSE_ENDS, seed=seed))
        to_eap_ig(circuit, where / "circuit.json", d_model=8)

    def read(case: Path) -> Circuit:
        return from_eap_ig(case / "circuit.json", roles=GRAPH.roles, answer_role="r2", n_blocks=1)

    def is_right(case: Path, found: Circuit) -> bool:
        return is_as_eap_ig_says(case / "circuit.json", found)

    sound, twin = folder / "eap-ig-0", folder / "eap-ig-1"
    return [Subject("EAP-IG", sound, read, read(sound), "circuit.json", twin, is_right, share=2.0)]


def attribution_graphs(folder: Path) -> list[Subject]:
    """A graph in circuit-tracer's JSON, which has a schema and no checksum."""
    for name, make in {"traced-0": by_circuit_tracer, "traced-1": with_attention}.items():
        (folder / name).mkdir()
        written(folder / name / "graph.json", make())

    def read(case: Path) -> FeatureGraph:
        return from_circuit_tracer(case / "graph.json")

    def is_right(case: Path, found: FeatureGraph) -> bool:
        return is_as_circuit_tracer_says(case / "graph.json", found)

    sound, twin = folder / "traced-0", folder / "traced-1"
    return [Subject("traced", sound, read, read(sound), "graph.json", twin, is_right)]
