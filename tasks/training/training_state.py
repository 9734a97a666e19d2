"""Everything that training needs to continue as if it had never stopped: one file, replaced at every evaluation.

Batches depend on the step alone, so the weights, their average, the optimiser's moments and the weights at the last
evaluations are all there is to save. On the CPU, at the same number of threads, a resumed run ends with the same bits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from ..runs.phases import CONSECUTIVE
from ..runs.weights import CheckpointError, differences
from ..writing import write_atomic

STATE_FILE = "state.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq")
_RECENT = "recent "


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
            tensors |= {f"{_RECENT}{step}/{name}": value for name, value in average.items()}
        metadata = {"step": str(self.step), "seconds": repr(self.seconds)}
        write_atomic(folder / STATE_FILE, save_tensors({n: t.contiguous() for n, t in tensors.items()}, metadata=metadata))

    @torch.no_grad()
    def restore(self, folder: Path, *, evaluated: Sequence[int]) -> None:
        """Read back what `save` wrote.

        Args:
            folder: of the run.
            evaluated: the steps of the metrics that were written before it, of which the state's step is the last, or the
                last but one if training stopped between writing them and the state.

        Raises:
            CheckpointError: if the file cannot be read, or lacks a tensor or what its metadata should say, or is of other
                steps or dtypes; all of it is named and nothing is changed.
        """
        metadata, groups = _read(folder / STATE_FILE)
        if problems := self._problems(metadata, groups, list(evaluated)):
            raise CheckpointError(f"{folder / STATE_FILE} is no whole training state: " + "; ".join(problems))
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
        self.average = {name: groups["average"][name].to(p.device) for name, p in self.parameters.items()}
        for name, parameter in self.parameters.items():
            parameter.copy_(groups["parameter"][name])
            moments = {moment: groups[moment][name].to(parameter.device) for moment in _MOMENTS}
            n_steps = torch.tensor(float(self.step), device=parameter.device)
            self.optimizer.state[parameter] = {"step": n_steps, **moments}
        recent = {_step_of(group): values for group, values in groups.items() if group.startswith(_RECENT)}
        self.recent = dict(sorted(recent.items()))

    def _problems(
        self, metadata: Mapping[str, str], groups: Mapping[str, Mapping[str, Tensor]], evaluated: list[int]
    ) -> list[str]:
        """What a file lacks, or has of another shape, dtype or step, to continue with these parameters."""
        problems = []
        for name, is_right in (("step", _is_step), ("seconds", _is_seconds)):
            if name not in metadata:
                problems.append(f"its metadata lacks {name}")
            elif not is_right(metadata[name]):
                problems.append(f"its metadata says {name} = {metadata[name]!r}, which is no number from 0 on")
        recent = [group for group in groups if group.startswith(_RECENT)]
        problems += [f"no step is called {group!r}" for group in recent if not _is_step(group.removeprefix(_RECENT))]
        if not problems:
            problems = _step_problems(int(metadata["step"]), {_step_of(group) for group in recent}, evaluated)
        expected = {name: tuple(parameter.shape) for name, parameter in self.parameters.items()}
        wanted = ["parameter", "average", *_MOMENTS]
        for group in (*wanted, *recent):
            found = {name: tuple(tensor.shape) for name, tensor in groups.get(group, {}).items()}
            problems += [f"{group}: {problem}" for problem in differences(found, expected)]
            problems += [
                f"{group}: {name} is of {tensor.dtype}, not {self.parameters[name].dtype}"
                for name, tensor in groups.get(group, {}).items()
                if name in expected and tensor.dtype != self.parameters[name].dtype
            ]
        return problems + [f"has an unknown {group}" for group in sorted(groups.keys() - {*wanted, *recent})]


def _read(path: Path) -> tuple[dict[str, str], dict[str, dict[str, Tensor]]]:
    """Metadata and tensors of a file, the latter by the part of their name before the first slash."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is no readable training state: {error}") from error
    return metadata, _by_group(tensors)


def _step_of(group: str) -> int:
    return int(group.removeprefix(_RECENT))


def _step_problems(step: int, recent: set[int], evaluated: list[int]) -> list[str]:
    """Why a state at this step, with averages of these, does not go on from the metrics."""
    if step not in evaluated[-2:]:
        last = ", ".join(map(str, evaluated[-2:])) or "none"
        return [f"its metadata says step = {step}, which is none of the last in the metrics: {last}"]
    wanted = [each for each in evaluated if each <= step][-CONSECUTIVE:]
    problems = [f"lacks {_RECENT}{each}" for each in wanted if each not in recent]
    return problems + [f"has an unknown {_RECENT}{each}" for each in sorted(recent.difference(wanted))]


def _is_step(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _is_seconds(text: str) -> bool:
    try:
        return 0 <= float(text) < math.inf
    except ValueError:
        return False


def _by_group(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors by the part of their name before the first slash."""
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = value
    return groups
