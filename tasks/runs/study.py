"""Studies: folders of runs that belong together, such as the shipped ones under examples/checkpoints.

A study that is shipped has a manifest, which names the manifest of each of its runs; then these are its runs and no others.
"""

import io
import lzma
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ...circuits.arguments import is_one_of, refuse, shortly
from ...circuits.destination import file_name_problems, input_problems
from ...circuits.documents import FileError
from ...circuits.manifest import MANIFEST, Manifest, is_there
from ...circuits.same_content import ByContent
from ..questions.task import splits_for
from ..questions.validity import missing_problems
from .cards import study_card, study_line
from .checkpoints import Run
from .folder import METRICS, SETTINGS, CheckpointError, naming_checkpoints, table_file, table_names
from .phases import PHASES
from .study_figure import study_figure

SEEDS = re.compile(r"(-g\d+)?(-[rs]\d+)?$")
"""The end of a run's name that tells graph and replicate or seed, as in `natural-g1-r0`; what comes before is its arm."""
KIND = "study"
FOLDER_OF_STUDIES = "GROKSCOPE_STUDIES"


def _shipped() -> Path:
    """Where shipped studies are: in the folder that the environment names, in the repository, or in their own package."""
    in_repository = Path(__file__).parents[2] / "examples" / "checkpoints"
    if named := os.environ.get(FOLDER_OF_STUDIES):
        return Path(named)
    try:
        import grokscope_studies  # pyright: ignore[reportMissingImports]
    except ImportError:
        return in_repository
    return in_repository if in_repository.is_dir() else Path(grokscope_studies.__path__[0])


SHIPPED = _shipped()


@dataclass(frozen=True, eq=False)
class Study(ByContent):
    """Runs by name: `study["natural-g1-r0"]`; a loop gives the names.

    Attributes:
        folder: on disk.
        runs: every run in it, also those that never generalised.
    """

    folder: Path
    runs: Mapping[str, Run]

    __repr__, _repr_html_ = study_line, study_card

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[str]:
        return iter(self.runs)

    def __getitem__(self, name: str) -> Run:
        """The run of a name.

        Raises:
            KeyError: if there is none; the message lists those of similar names, or all.
        """
        if not is_one_of(name, self.runs):
            alike = get_close_matches(str(name), self.runs, n=5) or list(self.runs)
            raise KeyError(f"no run {shortly(name)} in {self.folder}; there are {', '.join(alike)}")
        return self.runs[name]

    @property
    def arms(self) -> list[str]:
        """The runs' names without what `SEEDS` says, each once."""
        return list(dict.fromkeys(SEEDS.sub("", name) for name in self.runs))

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row for each run.

        Columns: run; arm, its name without what `SEEDS` says; seed, of the graph; replicate, 0 for the arm's first
        training on that graph; training_seed; regime; those of `Task.about`, for two-hop questions phi; architecture;
        initial, the checkpoint it started from, if any; the step of each phase (NaN: not reached); the final exact match
        of each test split.
        """
        rows = []
        for name, run in self.runs.items():
            row: dict[str, Any] = {"run": name, "arm": SEEDS.sub("", name), "seed": run.task.seed, "replicate": 0}
            row |= {"training_seed": run.train_config.seed, "regime": run.task.regime, **run.task.about}
            row |= {"architecture": run.model_config.architecture, "initial": run.initial}
            row |= {phase: run.phases.get(phase, float("nan")) for phase in PHASES}
            rows.append(row | {split: run.metrics[split].iloc[-1] for split in splits_for(run.task, "test")})
        table = pd.DataFrame(rows)
        trainings = table.groupby(["arm", "seed"])["training_seed"]
        return table.assign(replicate=trainings.rank(method="first").astype(int) - 1)

    def to_frame(self) -> pd.DataFrame:
        """A row for each run, evaluation and split.

        Columns: run, arm, seed, replicate, regime and architecture as in `summary`; step; split; accuracy, exact match on
        the reported half of the queries; n, how many those are; weights, whether there is a checkpoint at that step.
        """
        parts = []
        for name, run in self.runs.items():
            rows = run.metrics.melt(
                id_vars="step", value_vars=list(run.task.splits), var_name="split", value_name="accuracy"
            )
            rows = rows.assign(n=rows["split"].map(run.n_reported), weights=rows["step"].isin(run.steps))
            parts.append(rows.assign(run=name))
        return self.describe(pd.concat(parts, ignore_index=True), ("arm", "seed", "replicate", "regime", "architecture"))

    def describe(self, rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
        """Rows about runs, named in a column `run`, with columns of `summary` next to the name."""
        refuse(missing_problems("column", columns, self.summary.columns))
        about = self.summary.set_index("run")[list(columns)]
        return rows.join(about, on="run")[["run", *about.columns, *rows.columns.drop("run")]]

    def tables(self, name: str) -> pd.DataFrame:
        """What was measured at many steps of every run, whose weights need not be there; with a column `run`.

        Args:
            name: of a table in the runs' folders, `lens` or `nodes` in the shipped study.

        Raises:
            FileNotFoundError: if no run has such a table; the message lists those there are.
            CheckpointError: if a table was changed since it was written, or cannot be read.
        """
        refuse(file_name_problems("the table name", [name]))
        having = {run_name: run for run_name, run in self.runs.items() if table_file(name) in run.manifest.files}
        if not having:
            there = sorted({table for run in self.runs.values() for table in table_names(run.manifest)})
            raise FileNotFoundError(f"no run in {self.folder} has a table {name!r}; there are: {', '.join(there) or 'none'}")
        parts = [table_of(run, name).assign(run=run_name) for run_name, run in having.items()]
        together = pd.concat(parts, ignore_index=True)
        return together[["run", *together.columns.drop("run")]]

    def figure(self) -> Any:
        """Accuracy by step: a panel for each arm, runs thin, their median thick, phases marked."""
        phases = {name: run.phases for name, run in self.runs.items()}
        tests = {split for run in self.runs.values() for split in splits_for(run.task, "test")}
        frame = self.to_frame()
        return study_figure(frame[frame["split"].isin(tests)], phases)


def load_study(name: str | Path = "study") -> Study:
    """Read a study: the name of a shipped one, or any folder of runs.

    Shipped ones are looked for in the repository, in the package grokscope-studies, or in the folder that the environment
    variable GROKSCOPE_STUDIES names.

    A `UserWarning` names runs in the folder that its manifest, if it has one, does not.

    Args:
        name: of a shipped study, such as `pilot`, or a folder.

    Raises:
        FileNotFoundError: if there is no such study; the message lists the shipped ones. If one of its runs is gone.
        CheckpointError: if a run in it was changed since it was written, or cannot be read.

    >>> load_study("pilot").summary  # doctest: +SKIP
    """
    refuse(input_problems(name=name))
    folder = next((f for f in (SHIPPED / name, Path(name)) if run_folders(f) or is_there(f)), None)
    if folder is None:
        places = {path.parents[1].relative_to(SHIPPED) for path in SHIPPED.glob(f"**/{SETTINGS}")}
        shipped = sorted(str(place) for place in places if place.parts[0] != "build")  # left by installing
        there = ", ".join(shipped) or (
            f"none, since {SHIPPED} holds none: install them with `pip install grokscope-studies`, or from a clone of "
            f"grokscope with `pip install <clone>/examples/checkpoints`; or name their folder in the environment variable "
            f"{FOLDER_OF_STUDIES} before grokscope is imported"
        )
        raise FileNotFoundError(f"no study {str(name)!r}, neither shipped nor a folder of runs; shipped ones: {there}")
    with naming_checkpoints():
        return Study(folder, {run.name: Run.load(run) for run in _runs_of(folder)})


def run_called(name: str | Path) -> Run:
    """A run in a folder, or one of a shipped study, such as `pilot/natural`.

    Raises:
        FileNotFoundError: if there is none; of a study, the message lists its runs.
        CheckpointError: if it cannot be read.
    """
    refuse(input_problems(name=name))
    place = here_or_shipped(name)
    if place.exists():
        if not (place / SETTINGS).is_file() and (runs := _names_of_runs(place)):
            first = runs.partition(",")[0]
            raise FileNotFoundError(f"{name} is a study; name one of its runs, such as {name}/{first}: {runs}")
        return Run.load(place)
    for study in (place.parent, (SHIPPED / name).parent):
        if study != SHIPPED and (runs := _names_of_runs(study)):
            raise FileNotFoundError(f"{study.name} has no run {place.name!r}; its runs: {runs}")
    return Run.load(place)


def here_or_shipped(name: str | Path) -> Path:
    """Where a file or folder is, or else that of a shipped study; the name itself if there is neither."""
    return next((each for each in (Path(name), SHIPPED / name) if each.exists()), Path(name))


def _names_of_runs(folder: Path) -> str:
    return ", ".join(run.name for run in run_folders(folder))


def run_folders(folder: Path) -> list[Path]:
    """The folders of runs in a folder, by name; also those that lack something, which reading them then names."""
    return sorted({path.parent for name in (SETTINGS, METRICS) for path in folder.glob(f"*/{name}")})


def _runs_of(folder: Path) -> list[Path]:
    """Those that the study's manifest names, after checking their manifests; all of them if it has none."""
    if not is_there(folder):
        return run_folders(folder)
    named = sealed_runs(folder)
    if left_out := [run.name for run in run_folders(folder) if run not in named]:
        warnings.warn(
            f"{folder / MANIFEST} does not name {', '.join(left_out)}, so they are no runs of this study; read them with "
            "Run.load, or move them to another folder",
            stacklevel=3,
        )
    return named


def sealed_runs(folder: Path) -> list[Path]:
    """The runs that a study's manifest names, after checking their manifests.

    Raises:
        OSError: if the manifest of one is gone or cannot be read.
        FileError: if one was changed, or the study's is not what it should be.
    """
    manifest = Manifest.read(folder, KIND)
    for name in manifest.files:
        manifest.bytes_of(name)
        if not re.fullmatch(rf"[^/]+/{re.escape(MANIFEST)}", name):
            raise FileError(f"{folder / MANIFEST}: a study's files are the manifests of its runs, got {name!r}")
    return [(folder / name).parent for name in sorted(manifest.files)]


def table_of(run: Run, name: str) -> pd.DataFrame:
    """A table that comes with a run."""
    where = run.folder / table_file(name)
    with naming_checkpoints():
        data = run.manifest.bytes_of(table_file(name))
    try:
        return pd.read_csv(io.BytesIO(lzma.decompress(data)))
    except (lzma.LZMAError, ValueError) as error:  # of pandas all, EmptyDataError and ParserError among them
        raise CheckpointError(
            f"{where}: expected a table as csv in xz, but {error}; take a copy or make it again"
        ) from error
