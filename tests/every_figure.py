"""Every figure that the package makes: of a result of each kind with hostile names, and of tables that no result holds."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from hostile import results

from grokscope.analyses import CostResult, accuracy_curves, lens_heatmaps
from grokscope.analyses.plots.study import pretraining_comparison, transfer_comparison
from grokscope.analyses.study.published import published_pretraining, published_transfer, published_transfer_largest
from grokscope.analyses.study.report import ORIGINS
from grokscope.tasks import SPLITS, load_study

SHOWN = {name: result for name, result in results() if hasattr(result, "figure")}


def ours(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"run": "a", "arm": "natural", "step": [100, 15_000], **columns})


def accuracies() -> go.Figure:
    metrics = pd.DataFrame({"step": [100, 200], **dict.fromkeys(SPLITS, 0.5), "floor_test_inferred_iid": 0.1})
    return accuracy_curves({"a": metrics, "b": metrics}, dict.fromkeys(SPLITS, 9), {"a": {"memorised": 100}, "b": {}})


def cost() -> go.Figure:
    rows = ours(run=["a", "b"], seed=[1, 2], replicate=0, added=[0, 500], flops=1.0, trained=20_000)
    return CostResult(pd.concat([rows.assign(level=0.5), rows.assign(level=0.9)], ignore_index=True)).figure()


def lenses() -> go.Figure:
    cells = pd.DataFrame({"layer": [0, 1], "role": "r1", "target": "bridge", "top1": 0.5})
    return lens_heatmaps({"a": cells, "b": cells}, ["bridge"], value="top1", title="n = 3")


TABLES: dict[str, Callable[[], go.Figure]] = {
    "accuracies": accuracies,
    "lenses": lenses,
    "cost": cost,
    "study": lambda: load_study("pilot").figure(),
    "pretraining": lambda: pretraining_comparison(ours(rate="train", value=0.5), published_pretraining(), title="n"),
    "transfer": lambda: transfer_comparison(
        ours(cell="new+old", exact_match=0.5, n=9),
        published_transfer(),
        published_transfer_largest(),
        arms=ORIGINS,
        title="n",
    ),
}


def figure(name: str) -> go.Figure | None:
    """One of them; none where a result is drawn as a diagram."""
    made: Any = TABLES[name]() if name in TABLES else SHOWN[name].figure()
    return made if isinstance(made, go.Figure) else None
