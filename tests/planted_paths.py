"""What `measure_paths` would give on a graph whose trainings lie at planted distances."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from grokscope.analyses.bridge.evidence import EvidenceResult
from grokscope.analyses.bridge.lens import LensResult
from grokscope.analyses.claims.contrasts import STATUS
from grokscope.analyses.claims.path_measurement import PathMeasurement
from grokscope.analyses.sameness.path_distances import KNOWN, MARGINS, TRAININGS, PathDistances, couples_of

ARMS = ("early", "early taught", "late", "late taught", "grokked", "final", "final taught", "final control")
ONCE = ("final control",)  # arms without a replicate
STEPS = {"early": 1_000, "late": 3_100, "grokked": 9_000, "final": 15_000}
CLOSE, FAR = 0.02, 0.6
COUPLES = [(a, b) for i, a in enumerate(ARMS) for b in ARMS[i + 1 :]]
Distances = Mapping[Any, float]
"""By couple of arms, or by measure and couple, the typical distance; an arm alone stands for its replicates."""


def planted(
    graph: int,
    far: Distances | None = None,
    *,
    replicates: float = CLOSE,
    known: Mapping[str, float] | None = None,
    spread: float = 0.3,
    without: tuple[str, ...] = (),
    **changed: Any,
) -> PathMeasurement:
    """One graph: every couple of trainings is close, unless it is told otherwise.

    Args:
        graph: seed of the noise.
        far: see `Distances`.
        replicates: typical distance of two trainings of one arm.
        known: by measure, the distance of what is different by construction, instead of `FAR`.
        spread: standard deviation of the logs.
        without: arms that this graph lacks.
        changed: fields of the measurement; of a mapping, what differs.
    """
    rng, far = np.random.default_rng(graph), far or {}
    names = [name + again for name in ARMS for again in ("", " again") if name not in without]
    names = [name for name in names if name.removesuffix(" again") not in ONCE or name in ONCE]
    rows = []
    for measure in MARGINS:
        for a, b in couples_of(names, COUPLES):
            arms = a.removesuffix(" again"), b.removesuffix(" again")
            alone = arms[0] if arms[0] == arms[1] else arms
            typical = far.get((measure, alone), far.get(alone, replicates if alone == arms[0] else CLOSE))
            rows.append((measure, TRAININGS, a, b, typical * np.exp(spread * rng.normal())))
        different = (known or {}).get(measure, FAR)
        rows += [(measure, KNOWN, name, name, different * np.exp(0.1 * rng.normal())) for name in names]
    table = pd.DataFrame(rows, columns=["measure", "kind", "a", "b", "distance"]).assign(reason="")
    given = {
        "distances": PathDistances(table, "iid", 256, 256),
        "evidence": {name: evidence() for name in names},
        "lens": {name: lens() for name in names},
        "steps": {name: STEPS[name.split()[0]] for name in names},
        "answers_ood": {name: 0.95 if STATUS[name.removesuffix(" again")] else 0.02 for name in names},
        "circuits": {},
        "circuit_distances": pd.DataFrame(columns=["a", "b", "plain", "aligned"]),
        "traces": {},
    }
    merged = {name: {**given[name], **each} if isinstance(each, dict) else each for name, each in changed.items()}
    return PathMeasurement(**{**given, **merged})


def evidence(used: str = "yes") -> EvidenceResult:
    rows = [{"layer": layer, "role": "r1", "used": "no"} for layer in (-1, 0, 1)]
    rows[1] |= {"used": used}
    return EvidenceResult(pd.DataFrame(rows), pd.DataFrame(), "m", "s")


def lens(answer_first: bool = False) -> LensResult:
    queries = pd.DataFrame({"first_bridge": [2.0, 2.0], "first_answer": [1.0, 1.0] if answer_first else [3.0, 3.0]})
    return LensResult(pd.DataFrame(), pd.DataFrame(), queries, "m", "s", 9)
