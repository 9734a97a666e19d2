"""Everything that training needs to continue as if it had never stopped: one file, replaced at every evaluation.

Batches depend on the step alone, so the weights, their average, the optimiser's moments and the weights at the last
evaluations are all there is to save. On the CPU, at the same number of threads, a resumed run ends with the same bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from ..runs.phases import CONSECUTIVE
from ..runs.weights import CheckpointError
from ..writing import write_atomic

STATE_FILE = "state.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class TrainingState:
    """How far training has come.

    Attributes:
        parameters: the weights being trained, by name.
        average: their moving average.
        optimizer: AdamW over the parameters.
        step: steps taken.
        seconds: time spent, interruptions not counted.
        recent: the averages at the last evaluations, by step; one of them may turn out to begin a phase.
    """

    parameters: dict[str, nn.Parameter]
    average: dict[str, Tensor]
    optimizer: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0
    recent: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def remember_average(self) -> None:
        """Add the present average to the recent ones."""
        self.recent[self.step] = {name: value.clone() for name, value in self.average.items()}
        self.recent = dict(list(self.recent.items())[-CONSECUTIVE:])

    def save(self, folder: Path) -> None:
        """Write the state, atomically."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors |= {f"parameter/{name}": parameter.detach(), f"average/{name}": self.average[name]}
            tensors |= {f"{moment}/{name}": self.optimizer.state[parameter][moment] for moment in _MOMENTS}
        for step, average in self.recent.items():
            tensors |= {f"recent {step}/{name}": value for name, value in average.items()}
        metadata = {"step": str(self.step), "seconds": repr(self.seconds)}
        write_atomic(folder / STATE_FILE, save_tensors({n: t.contiguous() for n, t in tensors.items()}, metadata=metadata))

    @torch.no_grad()
    def restore(self, folder: Path) -> None:
        """Read back what `save` wrote.

        Raises:
            CheckpointError: if the file cannot be read.
        """
        path = folder / STATE_FILE
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                groups = _by_group({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except SafetensorError as error:
            raise CheckpointError(f"{path} is no readable training state: {error}") from error
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
        self.average = {name: groups["average"][name].to(p.device) for name, p in self.parameters.items()}
        for name, parameter in self.parameters.items():
            parameter.copy_(groups["parameter"][name])
            moments = {moment: groups[moment][name].to(parameter.device) for moment in _MOMENTS}
            n_steps = torch.tensor(float(self.step), device=parameter.device)
            self.optimizer.state[parameter] = {"step": n_steps, **moments}
        recent = {int(group.split()[1]): values for group, values in groups.items() if group.startswith("recent")}
        self.recent = dict(sorted(recent.items()))


def _by_group(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors by the part of their name before the first slash."""
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = value
    return groups
