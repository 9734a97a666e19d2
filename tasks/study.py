"""Studies: folders of runs that belong together, such as the shipped ones under examples/checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .checkpoints import PHASES, Run
from .twohop import TEST_SPLITS

SHIPPED = Path(__file__).parents[1] / "examples" / "checkpoints"


@dataclass(frozen=True, eq=False)
class Study:
    """Runs by name.

    Attributes:
        folder: where they live.
        runs: every run in it, also those that never generalised.
    """

    folder: Path
    runs: Mapping[str, Run]

    def to_frame(self) -> pd.DataFrame:
        """A row for each run: regime, seeds, the step of each phase (NaN if not reached), and final accuracies."""
        rows = []
        for name, run in self.runs.items():
            row = {"run": name, "regime": run.task.regime, "task_seed": run.task.seed, "seed": run.train_config.seed}
            row |= {"n_blocks": run.model_config.n_blocks, "n_loops": run.model_config.n_loops}
            row |= {phase: run.phases.get(phase, float("nan")) for phase in PHASES}
            rows.append(row | {split: run.metrics[split].iloc[-1] for split in TEST_SPLITS})
        return pd.DataFrame(rows)


def load_study(name: str | Path) -> Study:
    """Read a study: the name of a shipped one, or any folder of runs.

    Raises:
        FileNotFoundError: if there is no such study; the message lists the shipped ones.
        CheckpointError: if a run in it cannot be read.

    >>> load_study("pilot").to_frame()  # doctest: +SKIP
    """
    folder = next((f for f in (SHIPPED / name, Path(name)) if any(f.glob("*/run.json"))), None)
    if folder is None:
        shipped = sorted({path.parents[1].name for path in SHIPPED.glob("*/*/run.json")})
        there = ", ".join(shipped) or f"none, since {SHIPPED} is not there: shipped studies come with the repository"
        raise FileNotFoundError(f"no study {str(name)!r}, neither shipped nor a folder of runs; shipped ones: {there}")
    return Study(folder, {path.parent.name: Run.load(path.parent) for path in sorted(folder.glob("*/run.json"))})
