"""Studies whose truth is known, at the level of what was measured: what the functions that decide claims are given."""

import dataclasses
from functools import cache

import numpy as np
import pandas as pd
from planted_paths import ARMS, COUPLES, FAR, ONCE, planted
from planted_trainings import APART, DIMENSIONS, ODD, SEPARATE
from planted_trainings import distances as distances_of

from grokscope.analyses.bridge.evidence import EvidenceResult
from grokscope.analyses.bridge.evidence_verdicts import TOGETHER, verdicts
from grokscope.analyses.bridge.interchange import InterchangeResult
from grokscope.analyses.bridge.lens import LensResult
from grokscope.analyses.claims.contrasts import STATUS
from grokscope.analyses.claims.dissociation_measurement import HOP1_OOD, IID, OOD, DissociationMeasurement
from grokscope.analyses.claims.path_measurement import PathMeasurement
from grokscope.analyses.sameness.path_distances import KNOWN, MARGINS, TRAININGS, PathDistances, couples_of
from grokscope.analyses.statistics import wilson
from grokscope.tasks import CELLS
from grokscope.tasks.models.by_hand import CODE, DECOY, TWO_HOPS

AGAIN = " again"

# ---- claim (i)

PATHS = {
    "same": "supported",
    "different": "contradicted",
    "different only by age": "supported",
    "one odd graph": "undecided",
    "one odd replicate": "undecided",
    "replicates disagree": "undecided",
    "different, but replicates disagree": "undecided",
}
"""By world, the verdict on claim (i)."""


def path_study(world: str, n: int, seed: int) -> dict[int, PathMeasurement]:
    """By graph; trainings are points, which status and age move."""
    rng = np.random.default_rng([seed, n])
    return {graph: _paths_of_graph(world, rng, odd=graph == n - 1) for graph in range(n)}


def _paths_of_graph(world: str, rng: np.random.Generator, *, odd: bool) -> PathMeasurement:
    rows = [row for measure, margin in MARGINS.items() for row in _distances(world, rng, measure, margin, odd=odd)]
    table = pd.DataFrame(rows, columns=["measure", "kind", "a", "b", "distance"]).assign(reason="")
    return dataclasses.replace(planted(0), distances=PathDistances(table, "iid", 256, 256))


def _distances(world: str, rng: np.random.Generator, measure: str, margin: float, *, odd: bool) -> list[tuple[object, ...]]:
    """All in units of the margin of `planted_trainings`, .1."""
    names = [arm + again for arm in ARMS for again in ("", AGAIN) if not (again and arm in ONCE)]
    points = dict(zip(names, _points(world, rng, names), strict=True))
    if odd and world in ("one odd graph", "one odd replicate"):
        moved = [name for name in names if name.startswith("early taught")]
        points |= {name: points[name] + ODD / np.sqrt(DIMENSIONS) for name in moved[-1 if "replicate" in world else 0 :]}
    found, scale = distances_of(points), margin / 0.1
    couples = couples_of(names, COUPLES)
    rows = [(measure, TRAININGS, a, b, scale * found.get((a, b), found.get((b, a)))) for a, b in couples]  # type: ignore[operator]
    return rows + [(measure, KNOWN, name, name, scale * FAR * np.exp(0.1 * rng.normal())) for name in names]


def _points(world: str, rng: np.random.Generator, names: list[str]) -> list[np.ndarray]:
    apart = (ODD if "replicates disagree" in world else APART) * np.exp(0.3 * rng.normal()) / np.sqrt(2 * DIMENSIONS)
    by_status, by_age = (each / np.linalg.norm(each) for each in rng.normal(size=(2, DIMENSIONS)))
    status = SEPARATE * world.startswith("different") * ("age" not in world)
    age = SEPARATE * ("age" in world)
    return [
        status * STATUS[name.removesuffix(AGAIN)] * by_status
        + age * (not name.startswith("early")) * by_age
        + apart * rng.normal(size=DIMENSIONS)
        for name in names
    ]


# ---- claim (ii)

FACTS, POOL = 60, 25
SIGNS = {
    # the bridge taken out of all positions, a held-out donor's state at r1, the direction at r1, and at all positions
    "path": (0.9, 0.97, 0.9, 0.9),
    "copies": (0.9, 0.2, 0.15, 0.9),
    "sharp code": (0.9, 0.97, 0.0, 0.0),
    "soft code": (0.9, 0.97, 0.3, 0.3),
    "code near half": (0.9, 0.97, 0.48, 0.48),
    "memorised": (0.9, 0.1, 0.0, 0.0),
}
"""By what a model does, the share of answers that each intervention changes as told."""


@cache
def evidence(kind: str, number: int, probe: float = 0.95) -> EvidenceResult:
    """Numbers drawn around those of a kind, and the words that the library makes of them."""
    rng = np.random.default_rng([number, *kind.encode()])
    taken_out, held_out, direction, together = SIGNS[kind]
    cells = pd.DataFrame(
        [(layer, role) for layer in (-1, 0) for role in ("h", "r1", "r2", TOGETHER)], columns=["layer", "role"]
    )
    rows = []
    for layer, role in cells.itertuples(index=False):
        here = layer == 0 and role in ("r1", TOGETHER)
        turned = {"r1": direction, TOGETHER: together}.get(role, 0.0) if here else 0.0
        shares = {
            "direction": turned,
            "held out": held_out if here and role == "r1" else 0.0,
            "probe": probe if here else 0.05,
        }
        shares |= {"ablation": taken_out} if here and role == TOGETHER else {"ablation": 0.02}
        rows += [{"layer": layer, "role": role, **_counted(rng, name, share)} for name, share in shares.items()]
    measures = pd.DataFrame(rows)
    table = verdicts(cells, measures, "bridge").assign(n_judged=FACTS, reason="")
    return EvidenceResult(table, measures, "m", "s")


def _counted(rng: np.random.Generator, measure: str, share: float) -> dict[str, object]:
    value = rng.binomial(FACTS, share) / FACTS
    low, high = wilson(value, FACTS)
    donor = 0.97 if measure == "held out" else float("nan")
    about = {"measure": measure, "value": value, "excess": value, "low": low, "high": high}
    return about | {"n_facts": FACTS, "donor_right": donor}


def lens(rng: np.random.Generator, share: float) -> LensResult:
    value = rng.binomial(250, share) / 250
    low, high = wilson(value, 250)
    row = {"layer": 0, "role": "r1", "after": "layer", "target": "bridge", "top1": value, "low": low, "high": high}
    return LensResult(pd.DataFrame([row]), pd.DataFrame(), pd.DataFrame(), "m", "s", 250)


DISSOCIATIONS = {
    # what the taught model does, how well a probe reads it, what the natural one does before it answers, how well it is read
    "sharp code, path before": ("sharp code", 0.3, "path", 0.95, "supported"),
    "soft code, path before": ("soft code", 0.3, "path", 0.95, "supported"),
    "code near half": ("code near half", 0.3, "path", 0.95, "undecided"),
    "path taught": ("path", 0.95, "path", 0.95, "contradicted"),
    "copies taught": ("copies", 0.95, "path", 0.95, "contradicted"),
    "no path before": ("sharp code", 0.3, "memorised", 0.05, "contradicted"),
    "used but unreadable": ("sharp code", 0.3, "path", 0.1, "undecided"),
    "used, half readable": ("sharp code", 0.3, "path", 0.7, "undecided"),
    "copies before": ("sharp code", 0.3, "copies", 0.95, "supported"),
}
"""By world, and the verdict on claim (ii) on eight graphs or more."""


def dissociation_study(world: str, n: int, seed: int) -> dict[int, DissociationMeasurement]:
    """By graph."""
    rng = np.random.default_rng([seed, n])
    return {graph: _dissociation(world, rng) for graph in range(n)}


def _dissociation(world: str, rng: np.random.Generator) -> DissociationMeasurement:
    taught, probe, before, read, _ = DISSOCIATIONS[world]

    def of(kind: str, *splits: str, probe: float = 0.95) -> dict[str, EvidenceResult]:
        return {split: evidence(kind, int(rng.integers(POOL)), probe) for split in splits or (OOD, HOP1_OOD, IID)}

    found = {"exposed": of(taught, OOD, probe=probe), "natural": of("path"), "before": of(before)}
    if before == "memorised":  # what is in training is composed
        found["before"] |= of("path", IID)
    found |= {TWO_HOPS: of("path"), CODE: of("sharp code"), DECOY: of("sharp code")}
    lenses = {"natural": lens(rng, 0.97), TWO_HOPS: lens(rng, 0.99), "before": lens(rng, read)}
    accuracy = dict.fromkeys(("exposed", "exposed final", "natural", TWO_HOPS, CODE, DECOY), 0.99) | {"before": 0.02}
    mended = [{"layer": 0, "role": "r1", "donor": "same bridge", "success": 0.3, "n": 90, "n_facts": 50}]
    wrong = {"before": InterchangeResult(pd.DataFrame(mended), "m", "s", "ID", "wrong", 90)}
    return DissociationMeasurement(found, lenses, wrong, accuracy, dict.fromkeys(accuracy, 0.1), 250)


# ---- claim (iii)

TRANSFERS = {
    # gain over random weights in old+new and new+new, by how much old questions are forgotten, exact match by shortcuts
    "none": (0.02, 0.02, 0.02, 0.1, "supported"),
    "partial": (0.35, 0.3, 0.02, 0.1, "undecided"),
    "full": (0.85, 0.8, 0.02, 0.1, "contradicted"),
    "none, but forgotten": (0.02, 0.02, 0.7, 0.1, "undecided"),
    "shortcut alone": (0.02, 0.02, 0.02, 0.3, "supported"),
    "shortcut that leaves no room": (0.02, 0.02, 0.02, 0.6, "undecided"),
    "one odd graph": (0.02, 0.02, 0.02, 0.1, "undecided"),
}
"""By world, and the verdict on claim (iii)."""
QUESTIONS = 300


def transfer_study(world: str, n: int, seed: int) -> pd.DataFrame:
    """As `transfer_table` gives it, with both controls: composed by construction, and random weights again."""
    rng = np.random.default_rng([seed, n])
    old, new, forgotten, floor, _ = TRANSFERS[world]
    rows = []
    for graph in range(n):
        odd = world == "one odd graph" and graph == n - 1
        gains = {"old+new": 0.9 if odd else old, "new+new": 0.9 if odd else new, "new+old": 0.8}
        arms = [("grokked", 0, 0, gains), ("random", 0, 0, {}), ("random", 0, 1, {})]
        arms.append(("grokked", 5, 0, dict.fromkeys(CELLS, 0.95 - floor)))
        for arm, exposure, replicate, gain in arms:
            for cell in CELLS:
                rows.append(_transfer_row(rng, graph, arm, exposure, replicate, cell, gain.get(cell, 0.0), floor, forgotten))
    return pd.DataFrame(rows)


def _transfer_row(
    rng: np.random.Generator, graph: int, arm: str, exposure: int, replicate: int, cell: str, gain: float, floor: float,
    forgotten: float,
) -> dict[str, object]:  # fmt: skip
    share = float(np.clip(floor + gain + 0.02 * rng.normal(), 0, 1))
    exact = rng.binomial(QUESTIONS, share) / QUESTIONS
    excess = exact - floor
    about = {"run": f"{arm}_m{exposure}-g{graph}.{replicate}", "arm": arm, "recipe": "balanced", "exposure": exposure}
    about |= {"seed": graph, "replicate": replicate, "cell": cell, "exact_match": exact, "floor": floor, "floor_r2": 0.05}
    about |= {"excess": excess, "area": floor + 0.7 * gain + 0.01 * rng.normal(), "to_90": float("nan"), "remembered": 1.0}
    fell = 0.0 if arm == "random" else float(np.clip(forgotten + 0.02 * rng.normal(), 0, 1))
    return about | {"forgotten": fell, "n": QUESTIONS}
