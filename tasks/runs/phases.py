"""Phases of a run, each the first of three consecutive evaluations that meet its condition."""

import pandas as pd

PHASES = ("memorised", "id_generalised", "ood_generalised", "final")
CONSECUTIVE = 3  # a phase begins with the first of so many evaluations that meet its condition
SATURATED = 0.99


def phases_reached(metrics: pd.DataFrame) -> dict[str, int]:
    """The step at which each phase begins, of those that were reached; judged on the selection half of the queries.

    `memorised`: train ≥ .99 while ID test < .5. `id_generalised`: ID test ≥ .99. `ood_generalised`: OOD+OOD ≥ .9.
    Each is the first of three consecutive evaluations. `final` is the last step.
    """
    if metrics.empty:
        return {}
    train, iid = metrics["select_train"], metrics["select_test_inferred_iid"]
    conditions = {
        "memorised": (train >= SATURATED) & (iid < 0.5),
        "id_generalised": iid >= SATURATED,
        "ood_generalised": metrics["select_test_inferred_ood"] >= 0.9,
    }
    steps = {name: first_lasting(metrics["step"], met) for name, met in conditions.items()}
    return {name: step for name, step in steps.items() if step is not None} | {"final": int(metrics["step"].iloc[-1])}


def first_lasting(steps: pd.Series, met: pd.Series) -> int | None:
    """The first step of `CONSECUTIVE` evaluations in a row that meet a condition."""
    lasting = met.rolling(CONSECUTIVE).sum().shift(1 - CONSECUTIVE) == CONSECUTIVE
    return int(steps[lasting].iloc[0]) if lasting.any() else None
