"""Training on the trained splits of a task, until a phase is reached.

Random batches of the mixed training set, AdamW, EMA weights for everything that is measured or saved (He et al. 2026,
code: "evaluation, lens and saved checkpoints use EMA weights").
"""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ...circuits.arguments import flag_problems, refuse, shortly
from ...circuits.destination import folder_problems, input_problems, room_problems
from ...circuits.interrupts import Stop, interrupt, noticing_interrupts, signal_of
from ...circuits.progress import bar, say
from ..models.building import AnyConfig, architecture_of, build_model, model_problems, trained_parameters
from ..questions.devices import device_problems
from ..questions.evaluation import evaluate, evaluation_queries, shortcut_floors, top_token
from ..questions.queries import Queries
from ..questions.task import Task
from ..runs.checkpoints import Checkpoint, Run
from ..runs.folder import (
    METRICS,
    SETTINGS,
    RunWriter,
    checkpoint_name,
    naming_checkpoints,
    state_name,
    state_steps,
    written_alone,
)
from ..runs.metrics import read_metrics, row_text
from ..runs.phases import phases_reached
from ..runs.settings import read_manifest
from ..runs.training_config import TrainConfig
from ..runs.weights import checkpoint_bytes, load_weights
from .batches import Examples, as_examples, batches, training_examples
from .branching import branch_problems
from .feasible import bytes_to_write, learning_problems
from .resuming import Asked, Begun
from .training_state import TrainingState, write_state

if TYPE_CHECKING:
    from ..transformerlens import Model

EVALUATION_BATCH = 4096  # prompts
STATES = 2  # that are kept, so that a run can go on from the one before if the newest is damaged


def train(
    task: Task,
    model_config: AnyConfig,
    train_config: TrainConfig,
    out: str | Path,
    *,
    initial: Checkpoint | None = None,
    from_checkpoint: Checkpoint | None = None,
    resume: bool = False,
    device: str = "cpu",
    progress: bool = True,
) -> Run:
    """Train a model and leave a run in a folder.

    Weights are saved at log-spaced steps, at the phases of `phases_reached` and at the end; the metrics
    table is written at every evaluation.

    Args:
        task: what to learn.
        model_config: the model's shape.
        train_config: how to train it.
        out: a folder for the run.
        initial: start from its weights, with a fresh optimiser, instead of random ones; see `NewFacts` for what to train
            next.
        from_checkpoint: go on from the training state of its run at its step (weights, average, the optimiser's moments,
            the number of steps) as a branch, with other settings or with another task of the same vocabulary and prompt
            length. Steps count on, metrics and phases begin after it. Runs keep the state of their end.
        resume: continue the run that `out` holds, if there is one; a finished one is returned unchanged. With a larger
            `max_steps`, or another `stop_at`, it is extended. On the CPU, at the same number of threads, the result equals
            that of an uninterrupted run to the last bit, except for the seconds. If the newest state of training is damaged,
            or weights that came after the one before, it goes on from that one, and a `ResumeWarning` says so; one also says
            what an extended run has other than a run that was as long from the start.
        device: where to train.
        progress: whether to show a bar with loss and accuracies.

    Raises:
        FileExistsError: if `out` holds a run and `resume` is not asked for.
        ValueError: if the run to be resumed has other settings, all of which are named, the device is not there, the task's
            kind is not in `TASK_KINDS`, the model is bidirectional and the task's prompts are not of one length, or model
            and task do not go on from `from_checkpoint`.
        CheckpointError: if the initial weights do not fit the model, a file of the run to be resumed is gone or was changed
            since it was written and training from a state that is there does not make it again, `out` holds weights,
            metrics or states without `run.json`, or its sub-folders are links that lead out of it; if the state that an
            extension or a branch goes on from is not kept.
        FolderInUseError: if another process trains in this folder.
        FloatingPointError: if the loss is no longer finite; the checkpoints written before remain.
        KeyboardInterrupt: if Ctrl-C or SIGTERM came; the step under way is done and its state saved, at the
            second signal that of the last evaluation.

    A run is extended, and its end branched off:

    >>> import tempfile
    >>> from grokscope import tasks
    >>> task, folder = tasks.TwoHopTask.random(n_entities=12, n_relations=8, out_degree=5, seed=0), tempfile.mkdtemp()
    >>> short, longer = (tasks.TrainConfig.tiny(max_steps=n, evaluate_every=1, batch_size=32) for n in (2, 3))
    >>> slow = tasks.TrainConfig.tiny(max_steps=4, learning_rate=1e-4, batch_size=32)
    >>> shape, out = tasks.ModelConfig.tiny(), f"{folder}/run"
    >>> run = tasks.train(task, shape, short, out, progress=False)
    >>> run = tasks.train(task, shape, longer, out, resume=True, progress=False)
    >>> run.phases["final"], str(run.past)
    (3, 'began with random weights; extended after step 2, was to train 2 steps')
    >>> branch = tasks.train(
    ...     task, shape, slow, f"{folder}/slow", from_checkpoint=run.checkpoint("final"), progress=False
    ... )
    >>> branch.branch.step, branch.steps
    (3, [4])
    """
    settings = flag_problems(resume=resume, progress=progress) + device_problems(device) + _out_problems(out)
    problems = settings + learning_problems(task, train_config) + model_problems(model_config, task)
    given = {"initial": initial, "from_checkpoint": from_checkpoint}
    problems += [
        f"{name} is {shortly(each)}, needed is a checkpoint, such as run.checkpoint('final')"
        for name, each in given.items()
        if not isinstance(each, Checkpoint | None)
    ]
    refuse(problems)
    if initial is not None and from_checkpoint is not None:
        problems.append("initial and from_checkpoint exclude each other: fresh optimiser, or that of the checkpoint's run")
    if from_checkpoint is not None:
        problems += branch_problems(from_checkpoint, task, model_config, train_config)
    refuse(problems)
    asked = Asked(Path(out), task, model_config, train_config, initial, from_checkpoint, resume)
    try:
        return _trained(asked, device=device, progress=progress)
    except KeyboardInterrupt as interrupted:  # the way to where it was noticed tells its reader nothing
        raise interrupted.with_traceback(None) from None


@torch.inference_mode(False)
@torch.enable_grad()
def _trained(asked: Asked, *, device: str, progress: bool) -> Run:
    """The run that is asked for, trained as far as it was not."""
    folder, task, model_config, config = asked.folder, asked.task, asked.model_config, asked.train_config
    with naming_checkpoints():
        if run := asked.finished():
            return run
        refuse(folder_problems(out=folder))
        n_bytes = bytes_to_write(folder, task, model_config, config)
        refuse(room_problems(folder, n_bytes, "what this training writes"))
        with noticing_interrupts() as stop:
            state = state_before(asked, device)
            with written_alone(folder):
                if begun := asked.begun(state):
                    _continue(state, begun, asked, stop, progress=progress)
    return Run.load(folder)


def _out_problems(out: str | Path) -> list[str]:
    """Why no run can be left in a folder; one that is there may be finished, and then nothing is to be written."""
    return input_problems(out=out) or ([] if (Path(out) / SETTINGS).is_file() else folder_problems(out=out))


def _continue(state: TrainingState, begun: Begun, asked: Asked, stop: Stop, *, progress: bool) -> None:
    """Train from where the state is to the end, or until a signal comes.

    Raises:
        KeyboardInterrupt: if one came; all that it says is saved.
    """
    config, name = asked.train_config, asked.folder.name
    with bar(config.max_steps, name, show=progress, first=state.step, unit=" steps", at_most=bool(config.stop_at)) as shown:
        try:
            ended = _take_steps(state, begun, asked, stop, shown)
        except KeyboardInterrupt as error:
            raise interrupt(_at_once(state, asked), signal_of(error)) from None
        shown.total = state.step if ended else config.max_steps  # so that a bar that ends early is full
    if ended and state.step < config.max_steps:
        say(f"{name}: stopped at step {state.step:,}: {ended}", show=progress)
    if ended and stop.asked:
        raise stop.interrupted(f"{name}: finished at step {state.step:,}, saved in {asked.folder}; read it with Run.load")
    if stop.asked:
        raise stop.interrupted(f"{name}: stopped at step {state.step:,}, saved in {asked.folder}; go on with resume=True")


def _take_steps(state: TrainingState, begun: Begun, asked: Asked, stop: Stop, shown: Any) -> str:
    """Take steps until training is done, and say why it is; empty if a signal asked to stop, where all is saved then."""
    task, model_config, config, folder = asked.task, asked.model_config, asked.train_config, asked.folder
    queries, floors = evaluation_queries(task), shortcut_floors(task)
    examples, steps, written = training_examples(task), set(begun.steps), begun.metrics
    start = time.perf_counter() - state.seconds
    for step, rows in enumerate(batches(examples, config, first=state.step), start=state.step + 1):
        if stop.asked:
            state.seconds = time.perf_counter() - start
            _save_state(state, begun.writer, folder)
            return ""
        state.losses.append(take_step(state, examples, rows, model_config, config))
        shown.update()
        if step not in steps:
            continue
        state.seconds = time.perf_counter() - start
        row = {"step": step, "seconds": state.seconds, "loss": _finite_mean(state.losses, step, folder)}
        _check_finite(state, folder)
        row |= evaluate(lambda some: _correct(model_config, state.average, some, task), queries, task.splits) | floors
        written, state.losses = written + row_text(row, first=not written).encode(), []
        shown.set_postfix_str(_summary(row, task), refresh=False)
        state.remember_average()
        if ended := _save(state, begun, written, asked):
            return ended
    raise AssertionError("the last step is evaluated, and ends training")


def _save_state(state: TrainingState, writer: RunWriter, folder: Path) -> None:
    """Write the state at a step that is not evaluated, next to that of the last one that was."""
    if not state.step or state_name(state.step) in writer.files:  # nothing was done since
        return
    _finite_mean(state.losses, state.step, folder)
    _check_finite(state, folder)
    write_state(state, writer, keep=STATES)


def _at_once(state: TrainingState, asked: Asked) -> str:
    """What is said of a training that was interrupted within a step."""
    there = state_steps(read_manifest(asked.folder))
    saved = f"saved at step {there[-1]:,} in {asked.folder}" if there else f"before anything was saved in {asked.folder}"
    return f"{asked.folder.name}: stopped at once at step {state.step:,}, {saved}; go on with resume=True"


def _save(state: TrainingState, begun: Begun, written: bytes, asked: Asked) -> str:
    """Write what an evaluation leaves: weights, metrics, state, and at last the manifest; why training is done, if it is."""
    ended = write_evaluated(state.recent, begun, written, asked)
    write_state(state, begun.writer, keep=1 if ended else STATES)
    return ended


def write_evaluated(averages: Mapping[int, Mapping[str, Tensor]], begun: Begun, written: bytes, asked: Asked) -> str:
    """Write metrics, and those of the averages, by step, that are to be kept; why training is done, if it is."""
    task, config, writer = asked.task, asked.train_config, begun.writer
    metrics = read_metrics(written, str(asked.folder / METRICS), task, begun.steps)
    phases, last = phases_reached(metrics, id_test=task.id_test, ood_test=task.ood_test), int(metrics["step"].iloc[-1])
    ended = f"{config.stop_at} at step {phases[config.stop_at]:,}" if config.stop_at in phases else ""
    ended = ended or ("max_steps" if last == config.max_steps else "")
    first = {step for phase, step in phases.items() if phase != "final"}
    due = first | config.checkpoint_steps | ({last} if ended else set())
    for step in sorted(due & averages.keys()):
        if checkpoint_name(step) not in writer.files:
            writer.write(checkpoint_name(step), checkpoint_bytes(step, averages[step]))
    writer.write(METRICS, written)
    return ended


def state_before(asked: Asked, device: str = "cpu") -> TrainingState:
    """The state before the first step of a training that is asked for."""
    model = build_model(asked.model_config, asked.task, seed=asked.train_config.seed, device=device)
    if asked.initial is not None:
        load_weights(model, asked.model_config, asked.initial.weights(), str(asked.initial.path))
    return initial_state(model, asked.model_config, asked.train_config)


def initial_state(model: "Model", model_config: AnyConfig, config: TrainConfig) -> TrainingState:
    """The state before the first step."""
    parameters = trained_parameters(model, model_config)
    groups = decay_groups(parameters, model_config, config)
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
    average = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    return TrainingState(parameters, average, optimizer)


def decay_groups(
    parameters: Mapping[str, nn.Parameter], model_config: AnyConfig, config: TrainConfig
) -> list[dict[str, Any]]:
    """Parameters for an optimiser, those with weight decay and those without."""
    with_decay = set(architecture_of(model_config).decayed(parameters))
    groups = [
        {"params": [p for name, p in parameters.items() if name in with_decay], "weight_decay": config.weight_decay},
        {"params": [p for name, p in parameters.items() if name not in with_decay], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def take_step(
    state: TrainingState, examples: Examples, rows: Int[Tensor, " row"], model_config: AnyConfig, config: TrainConfig
) -> Float[Tensor, ""]:
    """One step of the optimiser and of the average; the loss."""
    state.step += 1
    parameters, device = state.parameters, next(iter(state.average.values())).device
    columns = (examples.tokens, examples.answers, examples.positions)
    tokens, answers, positions = (column[rows].to(device) for column in columns)
    dtype = torch.bfloat16 if config.bfloat16 else None
    how: dict[str, Any] = {"dtype": dtype, "label_smoothing": config.label_smoothing}
    loss = architecture_of(model_config).training_loss(parameters, model_config, tokens, answers, positions, **how)
    state.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters.values(), config.clip_norm)
    for group in state.optimizer.param_groups:
        group["lr"] = config.learning_rate * min(1.0, state.step / max(1, config.warmup_steps))
    state.optimizer.step()
    _update_average(state.average, parameters, config.ema, state.step)
    return loss.detach()


@torch.no_grad()
def _correct(model_config: AnyConfig, parameters: dict[str, Tensor], queries: Queries, task: Task) -> Bool[Tensor, " query"]:
    """Which queries the parameters answer correctly."""
    device, examples = next(iter(parameters.values())).device, as_examples(queries, task.n_positions)
    columns = (column.to(device).split(EVALUATION_BATCH) for column in (examples.tokens, examples.positions))
    parts = zip(*columns, strict=True)
    answer_logits = architecture_of(model_config).answer_logits
    logits = [answer_logits(parameters, model_config, *part) for part in parts if len(part[0])]
    return (
        top_token(torch.cat(logits)).cpu() == queries.answers if logits else torch.empty(0, dtype=torch.bool, device="cpu")
    )


@torch.no_grad()
def _update_average(average: dict[str, Tensor], parameters: dict[str, nn.Parameter], decay: float, step: int) -> None:
    new_share = 1 - min(decay, (1 + step) / (10 + step))
    for name, parameter in parameters.items():
        average[name].lerp_(parameter, new_share)


def _finite_mean(losses: list[Tensor], step: int, folder: Path) -> float:
    mean = float(torch.stack(losses).mean())
    if not math.isfinite(mean):
        raise FloatingPointError(
            f"{folder}: the loss is {mean} at step {step}; try a smaller learning_rate or clip_norm, or bfloat16=False"
        )
    return mean


def _check_finite(state: TrainingState, folder: Path) -> None:
    """Raise if weights are no longer finite, which no file may hold."""
    if not all(bool(value.isfinite().all()) for values in (state.parameters, state.average) for value in values.values()):
        raise FloatingPointError(
            f"{folder}: weights are no longer finite at step {state.step}; try a smaller learning_rate or clip_norm"
        )


def _summary(row: dict[str, float | int], task: Task) -> str:
    shown = {"loss": "loss", "train": "train", "ID": task.id_test} | ({"OOD": task.ood_test} if task.ood_test else {})
    return ", ".join(f"{label} {row[name]:.2f}" for label, name in shown.items() if not math.isnan(row[name]))
