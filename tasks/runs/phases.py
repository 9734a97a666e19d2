"""Phases of a run, each the first of three consecutive evaluations that meet its condition."""

import pandas as pd

PHASES = ("memorised", "id_generalised", "ood_generalised", "final")
"""The stages of a training, in order; each names the checkpoint that is saved when it begins."""
CONSECUTIVE = 3  # evaluations in a row that must meet a phase's condition; it begins with the first of them
SATURATED = 0.99


def phases_reached(metrics: pd.DataFrame, *, id_test: str, ood_test: str | None) -> dict[str, int]:
    """The step at which each phase begins, of those that were reached; decided on the selection half of the queries.

    `memorised`: train ≥ .99 while ID test < .5. `id_generalised`: ID test ≥ .99. `ood_generalised`: OOD test ≥ .9.
    Each is the first of three consecutive evaluations. `final` is the last step.

    Args:
        metrics: a row for each evaluation, see `evaluation.evaluate`.
        id_test: the split that is meant by ID test, see `Task`.
        ood_test: the one that is meant by OOD test; None if there is none.
    """
    if metrics.empty:
        return {}
    train, iid = metrics["select_train"], metrics[f"select_{id_test}"]
    conditions = {"memorised": (train >= SATURATED) & (iid < 0.5), "id_generalised": iid >= SATURATED}
    if ood_test is not None:
        conditions["ood_generalised"] = metrics[f"select_{ood_test}"] >= 0.9
    steps = {name: first_lasting(metrics["step"], met) for name, met in conditions.items()}
    return {name: step for name, step in steps.items() if step is not None} | {"final": int(metrics["step"].iloc[-1])}


def first_lasting(steps: pd.Series, met: pd.Series) -> int | None:
    """The first step of `CONSECUTIVE` evaluations in a row that meet a condition."""
    lasting = met.rolling(CONSECUTIVE).sum().shift(1 - CONSECUTIVE) == CONSECUTIVE
    return int(steps[lasting].iloc[0]) if lasting.any() else None
