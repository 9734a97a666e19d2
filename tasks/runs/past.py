"""Where a run came from: what it began with, and how often it was extended since.

A run begins with random weights, with those of a checkpoint (`initial`), or as a branch of another run: with all of that
one's training state. It is extended when it is to go on for longer than it was once to; `run.json` records each time.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from .training_config import TrainConfig

Step = Annotated[int, Field(ge=0)]


class Branch(BaseModel):
    """What a branch went on from.

    Attributes:
        origin: run, step and a hash of the weights.
        step: of that run; the branch's steps count on from it.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    origin: str
    step: Step

    @property
    def weights(self) -> str:
        """What tells its origin from others, wherever the folder of that run is now."""
        return self.origin.rpartition(", ")[2]


class Extension(BaseModel):
    """What a run was to be before it was extended.

    Attributes:
        max_steps: of its config until then.
        stop_at: likewise.
        step: of its last evaluation until then; 0 if there was none.
        torch: the version that trained it.
        sha256: of its `run.json`, which its older states of training name.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    max_steps: Step
    stop_at: str | None
    step: Step
    torch: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Past:
    """Where a run came from.

    Attributes:
        initial: the checkpoint whose weights it began with, see `Checkpoint.origin`; empty for none.
        branch: what it went on from, if it is a branch.
        extended: what it was to be before each extension, oldest first.
    """

    initial: str = ""
    branch: Branch | None = None
    extended: tuple[Extension, ...] = ()

    @property
    def first(self) -> int:
        """The step after which its training began."""
        return self.branch.step if self.branch else 0

    def evaluation_steps(self, config: TrainConfig) -> list[int]:
        """The steps of its metrics: those of the config after the first one, and where it once ended."""
        ends = {each.max_steps for each in self.extended if each.step == each.max_steps}
        regular = {step for step in {*config.evaluation_steps, *ends} if self.first < step <= config.max_steps}
        return sorted(regular | {config.max_steps})

    def __str__(self) -> str:
        begun = f"went on from {self.branch.origin}" if self.branch else f"began with {self.initial or 'random weights'}"
        return "; ".join([begun, *map(_told, self.extended)])


def _told(extension: Extension) -> str:
    until = f"until {extension.stop_at} or " if extension.stop_at else ""
    return f"extended after step {extension.step:,}, was to train {until}{extension.max_steps:,} steps"
