"""The paper's figures and ours side by side: its own numbers, and those of a study in the same form.

He et al. 2026 (arXiv 2601.09049), one run each, as in the result files of the authors' repository that their figures 2 to 4
are drawn from; pretraining every sixth evaluation. Scale and architecture differ from ours: 2,000 entities, a model that
mixes tokens without attention and sees all positions.
"""

from pathlib import Path

import pandas as pd

from ...tasks import CELLS, Study
from ...tasks.runs.folder import table_file

ASSETS = Path(__file__).parents[1] / "assets"
RATES = ("train", "bridge", "target", "exact match")
OOD = "test_inferred_ood"
FOUND = "found"  # the table of lens rates by step


def published_pretraining() -> pd.DataFrame:
    """Figure 2: rates by step on OOD+OOD questions.

    Columns: arm; step; train, mean exact match on what is trained; bridge and target, shares of n questions in which a lens
    finds it at any of 75 cells. The paper calls target the final answer's accuracy; it is an upper bound of it.
    """
    return pd.read_csv(ASSETS / "he2026_pretraining.csv")


def published_transfer() -> pd.DataFrame:
    """Figures 3 and 4: exact match on new+old questions by step. Columns: arm, cell, step, exact_match, n."""
    return pd.read_csv(ASSETS / "he2026_transfer.csv")


def published_transfer_largest() -> pd.DataFrame:
    """The largest and the mean exact match of 40 evaluations in the other cells. Columns: arm, cell, largest, mean, n."""
    return pd.read_csv(ASSETS / "he2026_transfer_largest.csv")


def has_rates(study: Study) -> bool:
    """Whether a study has what `pretraining_rates` needs: lens rates of its runs at many steps."""
    return any(table_file(FOUND) in run.manifest.files for run in study.runs.values())


def pretraining_rates(study: Study) -> pd.DataFrame:
    """What `published_pretraining` holds, of a study's runs, and exact match.

    Columns: run, arm, step, rate (one of `RATES`), value; bridge and target at the steps of the shipped lens tables.
    """
    arm = study.summary.set_index("run")["arm"]
    found = study.tables(FOUND)
    found = found[(found["split"] == OOD) & found["target"].isin(["bridge", "answer"])]
    lens = found.assign(rate=found["target"].replace("answer", "target"), value=found["rate"])
    parts = [lens[["run", "step", "rate", "value"]]]
    for name, run in study.runs.items():
        metrics = run.metrics.rename(columns={OOD: "exact match"})
        rows = metrics.melt(id_vars="step", value_vars=["train", "exact match"], var_name="rate")
        parts.append(rows.assign(run=name)[["run", "step", "rate", "value"]])
    together = pd.concat(parts, ignore_index=True)
    return together.assign(arm=together["run"].map(arm))


def transfer_curves(transfers: Study) -> pd.DataFrame:
    """What `published_transfer` holds, of further trainings, in all cells. Columns: run, arm, cell, step, exact_match, n."""
    frame, cell_of = transfers.to_frame(), {split: cell for cell, split in CELLS.items()}
    rows = frame[frame["split"].isin(cell_of)].rename(columns={"accuracy": "exact_match"})
    return rows.assign(cell=rows["split"].map(cell_of))[["run", "arm", "cell", "step", "exact_match", "n"]]
