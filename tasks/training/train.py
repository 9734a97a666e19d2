"""Training on the trained splits of a task, until a phase is reached.

Random batches of the mixed training set, AdamW, EMA weights for everything that is measured or saved (He et al. 2026,
code: "evaluation, lens and saved checkpoints use EMA weights").
"""

import math
import time
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from ...circuits.arguments import flag_problems, refuse
from ...circuits.destination import folder_problems, input_problems, room_problems
from ..models.building import build_model, decayed, model_problems, trained_parameters
from ..models.config import ModelConfig
from ..models.fast_forward import answer_logits
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
from ..runs.training_config import TrainConfig
from ..runs.weights import checkpoint_bytes, load_weights
from .batches import Examples, as_examples, batches, training_examples
from .feasible import bytes_to_write, learning_problems
from .resuming import Asked
from .training_state import TrainingState

EVALUATION_BATCH = 4096  # prompts
STATES = 2  # that are kept, so that a run can go on from the one before if the newest is damaged


@torch.inference_mode(False)
@torch.enable_grad()
def train(
    task: Task,
    model_config: ModelConfig,
    train_config: TrainConfig,
    out: str | Path,
    *,
    initial: Checkpoint | None = None,
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
        resume: continue the run that `out` holds, if there is one; a finished one is returned unchanged. On the CPU,
            at the same number of threads, the result equals that of an uninterrupted run to the last bit, except for
            the seconds. If the newest state of training is damaged, or weights that came after the one before, it goes on
            from that one, and a `ResumeWarning` says so.
        device: where to train.
        progress: whether to show a bar with loss and accuracies.

    Raises:
        FileExistsError: if `out` holds a run and `resume` is not asked for.
        ValueError: if the run to be resumed has other settings, all of which are named, the device is not there, the task's
            kind is not in `TASK_KINDS`, or the model is bidirectional and the task's prompts are not of one length.
        CheckpointError: if the initial weights do not fit the model, a file of the run to be resumed is gone or was changed
            since it was written and training from a state that is there does not make it again, `out` holds weights,
            metrics or states without `run.json`, or its sub-folders are links that lead out of it.
        FolderInUseError: if another process trains in this folder.
        FloatingPointError: if the loss is no longer finite; the checkpoints written before remain.
    """
    problems = flag_problems(resume=resume, progress=progress) + device_problems(device) + _out_problems(out)
    refuse(problems + learning_problems(task, train_config) + model_problems(model_config, task))
    asked = Asked(Path(out), task, model_config, train_config, initial.origin if initial else "", resume)
    with naming_checkpoints():
        if run := asked.finished():
            return run
        refuse(folder_problems(out=out))
        n_bytes = bytes_to_write(asked.folder, task, model_config, train_config)
        refuse(room_problems(asked.folder, n_bytes, "what this training writes"))
        model = build_model(model_config, task, seed=train_config.seed, device=device)
        if initial is not None:
            load_weights(model, model_config, initial.weights(), str(initial.path))
        state = initial_state(model, model_config, train_config)
        with written_alone(asked.folder):
            if begun := asked.begun(state):
                _continue(state, *begun, asked, progress=progress)
    return Run.load(asked.folder)


def _out_problems(out: str | Path) -> list[str]:
    """Why no run can be left in a folder; one that is there may be finished, and then nothing is to be written."""
    return input_problems(out=out) or ([] if (Path(out) / SETTINGS).is_file() else folder_problems(out=out))


def _continue(state: TrainingState, writer: RunWriter, written: bytes, asked: Asked, *, progress: bool) -> None:
    """Train from where the state is to the end; `written` are the metrics until there."""
    task, model_config, config, folder = asked.task, asked.model_config, asked.train_config, asked.folder
    queries, floors = evaluation_queries(task), shortcut_floors(task)
    examples, evaluation_steps = training_examples(task), set(config.evaluation_steps)
    losses, start = [], time.perf_counter() - state.seconds
    bar = tqdm(total=config.max_steps, initial=state.step, desc=folder.name, disable=not progress)
    for step, rows in enumerate(batches(examples, config, first=state.step), start=state.step + 1):
        losses.append(take_step(state, examples, rows, model_config, config))
        bar.update()
        if step not in evaluation_steps:
            continue
        state.seconds = time.perf_counter() - start
        row = {"step": step, "seconds": state.seconds, "loss": _finite_mean(losses, step, folder)}
        _check_finite(state, folder)
        row |= evaluate(lambda asked: _correct(model_config, state.average, asked, task), queries, task.splits) | floors
        written, losses = written + row_text(row, first=not written).encode(), []
        bar.set_postfix_str(_summary(row, task))
        state.remember_average()
        if _save(state, writer, written, asked):
            break
    bar.close()


def _save(state: TrainingState, writer: RunWriter, written: bytes, asked: Asked) -> bool:
    """Write what an evaluation leaves: weights, metrics, state, and at last the manifest; whether training is done."""
    task, config, folder = asked.task, asked.train_config, asked.folder
    metrics = read_metrics(written, str(folder / METRICS), task, config)
    phases = phases_reached(metrics, id_test=task.id_test, ood_test=task.ood_test)
    is_done = state.step == config.max_steps or config.stop_at in phases
    begun = {begin for phase, begin in phases.items() if phase != "final"}
    due = begun | config.checkpoint_steps | ({state.step} if is_done else set())
    for step in sorted(due & state.recent.keys()):
        if checkpoint_name(step) not in writer.files:
            writer.write(checkpoint_name(step), checkpoint_bytes(step, state.recent[step]))
    writer.write(METRICS, written)
    if not is_done:
        writer.write(state_name(state.step), state.to_bytes(writer.files[SETTINGS].sha256))
    for step in state_steps(writer.manifest)[: None if is_done else -STATES]:
        del writer.files[state_name(step)]
    writer.publish()
    return is_done


def initial_state(model: HookedTransformer, model_config: ModelConfig, config: TrainConfig) -> TrainingState:
    """The state before the first step."""
    parameters = trained_parameters(model, model_config)
    with_decay = set(decayed(parameters))
    groups = [
        {"params": [p for name, p in parameters.items() if name in with_decay], "weight_decay": config.weight_decay},
        {"params": [p for name, p in parameters.items() if name not in with_decay], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
    average = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    return TrainingState(parameters, average, optimizer)


def take_step(
    state: TrainingState, examples: Examples, rows: Int[Tensor, " row"], model_config: ModelConfig, config: TrainConfig
) -> Float[Tensor, ""]:
    """One step of the optimiser and of the average; the loss."""
    state.step += 1
    parameters, device = state.parameters, next(iter(state.average.values())).device
    columns = (examples.tokens, examples.answers, examples.positions)
    tokens, answers, positions = (column[rows].to(device) for column in columns)
    dtype = torch.bfloat16 if config.bfloat16 else None
    logits = answer_logits(parameters, model_config, tokens, positions, dtype=dtype).float()
    loss = cross_entropy(logits, answers, label_smoothing=config.label_smoothing)
    state.optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters.values(), config.clip_norm)
    for group in state.optimizer.param_groups:
        group["lr"] = config.learning_rate * min(1.0, state.step / max(1, config.warmup_steps))
    state.optimizer.step()
    _update_average(state.average, parameters, config.ema, state.step)
    return loss.detach()


@torch.no_grad()
def _correct(
    model_config: ModelConfig, parameters: dict[str, Tensor], queries: Queries, task: Task
) -> Bool[Tensor, " query"]:
    """Which queries the parameters answer correctly."""
    device, examples = next(iter(parameters.values())).device, as_examples(queries, task.n_positions)
    columns = (column.to(device).split(EVALUATION_BATCH) for column in (examples.tokens, examples.positions))
    parts = zip(*columns, strict=True)
    logits = [answer_logits(parameters, model_config, *part) for part in parts if len(part[0])]
    return (
        top_token(torch.cat(logits)).cpu() == queries.answers if logits else torch.empty(0, dtype=torch.bool, device="cpu")
    )


@torch.no_grad()
def _update_average(average: dict[str, Tensor], parameters: dict[str, torch.nn.Parameter], decay: float, step: int) -> None:
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
    return ", ".join(f"{label} {row[name]:.2f}" for label, name in shown.items())
