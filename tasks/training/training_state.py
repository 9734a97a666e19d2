"""Everything that training needs to continue as if it had never stopped: one file, written at every evaluation.

Batches depend on the step alone, so the weights, their average, the optimiser's moments, the weights at the last
evaluations and, between two of these, the losses since are all there is to save. On the CPU, at the same number of threads,
a resumed run ends with the same bits.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from ...circuits.manifest import Manifest
from ...circuits.tensor_files import labelled, metadata_of, tensors_of
from ..runs.folder import SETTINGS, CheckpointError, RunWriter, state_name, state_steps
from ..runs.metrics import is_step
from ..runs.past import Past
from ..runs.phases import CONSECUTIVE
from ..runs.weights import differences, value_problems

KIND = "training state"
MOMENTS = ("exp_avg", "exp_avg_sq")
_RECENT = "recent "
_LOSSES = "losses"


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
        losses: of the steps since the last evaluation; their mean is reported at the next one.
    """

    parameters: dict[str, nn.Parameter]
    average: dict[str, Tensor]
    optimizer: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0
    recent: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    losses: list[Tensor] = field(default_factory=list)

    def remember_average(self) -> None:
        """Add the present average to the recent ones."""
        self.recent[self.step] = {name: value.clone() for name, value in self.average.items()}
        self.recent = dict(list(self.recent.items())[-CONSECUTIVE:])

    def to_bytes(self, run: str) -> bytes:
        """The state as a file.

        Args:
            run: which run it belongs to, see `restore`.
        """
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors |= {f"parameter/{name}": parameter.detach(), f"average/{name}": self.average[name]}
            tensors |= {f"{moment}/{name}": self.optimizer.state[parameter][moment] for moment in MOMENTS}
        for step, average in self.recent.items():
            tensors |= {f"{_RECENT}{step}/{name}": value for name, value in average.items()}
        if self.losses:
            tensors[_LOSSES] = torch.stack(self.losses)
        about = {"step": str(self.step), "seconds": repr(self.seconds), "run": run}
        return labelled(save_tensors({name: tensor.contiguous() for name, tensor in tensors.items()}), KIND, about)

    @torch.no_grad()
    def restore(
        self,
        data: bytes,
        where: str,
        *,
        run: str,
        step: int,
        evaluated: Sequence[int],
        earlier: Collection[str] = (),
        first: int = 0,
    ) -> None:
        """Read back what `to_bytes` gave.

        Args:
            data: the file's bytes.
            where: its name, for messages.
            run: which run it must belong to: the SHA-256 of `run.json`, which holds configs and task.
            step: of the state, as the file's name says.
            evaluated: the steps of the run's metrics; the state is of one of them, or has the losses since the one before.
            earlier: the SHA-256 of each `run.json` that the run had before it was extended; a state may name one of them.
            first: the step after which the run's training began.

        Raises:
            FileError: if it is no state of training, or was changed since it was written.
            CheckpointError: if it belongs to another run or step, or lacks a tensor or has one of another shape, dtype or
                value than can be continued with; all of it is named and nothing is changed.
        """
        metadata = metadata_of(data, KIND, where)
        groups = _by_group(tensors_of(data, load_tensors, where))
        if problems := _own_problems(metadata, run, step, earlier) or self._problems(
            metadata, groups, list(evaluated), first
        ):
            raise CheckpointError(f"{where} is no state that this run can continue from: " + "; ".join(problems))
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
        self.average = {name: groups["average"][name].to(p.device) for name, p in self.parameters.items()}
        for name, parameter in self.parameters.items():
            parameter.copy_(groups["parameter"][name])
            moments = {moment: groups[moment][name].to(parameter.device) for moment in MOMENTS}
            n_steps = torch.tensor(float(self.step), device=parameter.device)
            self.optimizer.state[parameter] = {"step": n_steps, **moments}
        recent = {_step_of(group): values for group, values in groups.items() if group.startswith(_RECENT)}
        self.recent = dict(sorted(recent.items()))
        device = next(iter(self.parameters.values())).device
        self.losses = [loss.to(device) for each in groups.get(_LOSSES, {}).values() for loss in each]

    def begin_branch(self) -> None:
        """Forget what only the run that it comes from reports."""
        self.seconds, self.recent, self.losses = 0.0, {}, []

    def _problems(
        self, metadata: Mapping[str, str], groups: Mapping[str, Mapping[str, Tensor]], evaluated: list[int], first: int
    ) -> list[str]:
        """What a file lacks, or has of another shape, dtype or step, to continue with these parameters."""
        problems = []
        if not _is_seconds(seconds := metadata.get("seconds", "")):
            problems.append(f"its metadata says seconds = {seconds!r}, which is no number from 0 on")
        recent = [group for group in groups if group.startswith(_RECENT)]
        problems += [f"no step is called {group!r}" for group in recent if not is_step(group.removeprefix(_RECENT))]
        losses = groups.get(_LOSSES, {})
        problems += [f"{_LOSSES}: {problem}" for problem in _loss_problems(losses)]
        if not problems:
            n_losses = sum(map(len, losses.values()))
            problems = _step_problems(int(metadata["step"]), {*map(_step_of, recent)}, evaluated, n_losses, first)
        expected = {name: tuple(parameter.shape) for name, parameter in self.parameters.items()}
        wanted = ["parameter", "average", *MOMENTS]
        for group in (*wanted, *recent):
            found = {name: tuple(tensor.shape) for name, tensor in groups.get(group, {}).items()}
            problems += [f"{group}: {problem}" for problem in differences(found, expected)]
            problems += [
                f"{group}: {name} is of {tensor.dtype}, not {self.parameters[name].dtype}"
                for name, tensor in groups.get(group, {}).items()
                if name in expected and tensor.dtype != self.parameters[name].dtype
            ]
            problems += [f"{group}: {problem}" for problem in value_problems(groups.get(group, {}))]
        return problems + [f"has an unknown {group}" for group in sorted(groups.keys() - {*wanted, *recent, _LOSSES})]


def write_state(state: TrainingState, writer: RunWriter, *, keep: int) -> None:
    """Write the state, and publish it with all that was written before; of older states only the last are kept."""
    writer.write(state_name(state.step), state.to_bytes(writer.files[SETTINGS].sha256))
    for step in state_steps(writer.manifest)[:-keep]:
        del writer.files[state_name(step)]
    writer.publish()


def restore_state(state: TrainingState, manifest: Manifest, past: Past, step: int, evaluated: Sequence[int]) -> None:
    """Bring a state to that of a step, as a run's folder keeps it."""
    name, earlier = state_name(step), [each.sha256 for each in past.extended]
    data, where, run = manifest.bytes_of(name), str(manifest.folder / name), manifest.files[SETTINGS].sha256
    state.restore(data, where, run=run, step=step, evaluated=evaluated, earlier=earlier, first=past.first)


def _own_problems(metadata: Mapping[str, str], run: str, step: int, earlier: Collection[str]) -> list[str]:
    """Whether it is of another run or step."""
    wanted = {"run": metadata["run"] if metadata.get("run") in earlier else run, "step": str(step)}
    return [
        f"its metadata says {name} = {metadata[name]!r}, expected is {value!r}"
        if name in metadata
        else f"its metadata lacks {name}"
        for name, value in wanted.items()
        if metadata.get(name) != value
    ]


def _step_of(group: str) -> int:
    return int(group.removeprefix(_RECENT))


def _loss_problems(losses: Mapping[str, Tensor]) -> list[str]:
    """What is wrong with the losses since the last evaluation, if there are any."""
    problems = [f"has an unknown {name}" for name in losses if name]
    problems += [
        f"is of {each.dtype} and shape {tuple(each.shape)}, expected are torch.float32 and one number for each step"
        for each in losses.values()
        if each.dtype != torch.float32 or each.ndim != 1 or not len(each)
    ]
    return problems + value_problems(losses)


def _step_problems(step: int, recent: set[int], evaluated: list[int], n_losses: int, first: int) -> list[str]:
    """Why a state at this step, with averages of these and so many losses, does not go on from the metrics."""
    before = [each for each in evaluated if each <= step]
    since = step - (before[-1] if before else first)
    if since and not n_losses:
        return [f"the metrics have no step {step}"]
    if since != n_losses:
        return [f"it holds {n_losses} losses, from the last evaluation to step {step} there are {since}"]
    wanted = before[-CONSECUTIVE:]
    problems = [f"lacks {_RECENT}{each}" for each in wanted if each not in recent]
    return problems + [f"has an unknown {_RECENT}{each}" for each in sorted(recent.difference(wanted))]


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
