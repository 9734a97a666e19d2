"""Training on all facts and the trained compositions, until a phase is reached.

Every example is a prompt of three tokens; an atomic fact occupies the first two and is read at r1, where a causal
model cannot see what follows. Random batches of the mixed training set, AdamW, EMA weights for everything that is
measured or saved (He et al. 2026, code: "evaluation, lens and saved checkpoints use EMA weights").
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from tqdm.auto import tqdm
from transformer_lens import HookedTransformer

from .checkpoints import CONSECUTIVE, Run, phases_reached, write_checkpoint, write_settings
from .evaluation import evaluate, evaluation_queries, shortcut_floors
from .fast_forward import answer_logits
from .models import ModelConfig, build_model, decayed, trained_parameters
from .queries import Queries
from .training_config import TrainConfig
from .twohop import TwoHopTask
from .writing import write_whole

EVALUATION_BATCH = 4096  # prompts


@dataclass(frozen=True, eq=False)
class Examples:
    """The training set: prompts, answers, and the position at which each is read."""

    tokens: Int[Tensor, "example pos"]
    answers: Int[Tensor, " example"]
    positions: Int[Tensor, " example"]


def training_examples(task: TwoHopTask) -> Examples:
    """All atomic facts, ID and OOD, and all trained compositions of a task."""
    parts = [task.split(name) for name in ("id_atomic", "ood_atomic", "train_inferred")]
    # the third token of an atomic prompt is never seen where the answer is read
    tokens = [pad(part.tokens, (0, 3 - part.tokens.shape[1])) for part in parts]
    positions = [torch.full((len(part),), part.answer_position) for part in parts]
    return Examples(torch.cat(tokens), torch.cat([part.answers for part in parts]), torch.cat(positions))


def train(
    task: TwoHopTask,
    model_config: ModelConfig,
    train_config: TrainConfig,
    out: str | Path,
    *,
    device: str = "cpu",
    progress: bool = True,
) -> Run:
    """Train a model and leave a run in a folder.

    Weights are saved at log-spaced steps, at the phases of `checkpoints.phases_reached` and at the end; the metrics
    table is written at every evaluation.

    Args:
        task: what to learn.
        model_config: the model's shape.
        train_config: how to train it.
        out: a folder for the run; it must not hold one already.
        device: where to train.
        progress: whether to show a bar with loss and accuracies.

    Raises:
        FileExistsError: if `out` holds a run.
        FloatingPointError: if the loss is no longer finite.
    """
    folder = Path(out)
    if (folder / "run.json").exists():
        raise FileExistsError(f"{folder} holds a run already; read it with Run.load or choose another folder")
    write_settings(folder, task, model_config, train_config)
    model = build_model(model_config, task, seed=train_config.seed, device=device)
    losses = _optimise(model, training_examples(task), model_config, train_config)
    splits, floors = evaluation_queries(task), shortcut_floors(task)
    parameters = trained_parameters(model, model_config)
    average = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    evaluation_steps, snapshots = set(train_config.evaluation_steps), _Snapshots(folder, model_config)
    rows, since, start = [], [], time.perf_counter()
    with tqdm(total=train_config.max_steps, desc=folder.name, disable=not progress) as bar:
        for step, loss in enumerate(losses, start=1):
            _update_average(average, parameters, train_config.ema, step)
            since.append(loss)
            bar.update()
            if step not in evaluation_steps:
                continue
            progressed = {"step": step, "seconds": time.perf_counter() - start, "loss": _finite_mean(since, step, folder)}
            accuracies = evaluate(lambda queries: _correct(average, model_config, queries), splits)
            rows.append(progressed | accuracies | floors)
            metrics, since = pd.DataFrame(rows), []
            write_whole(folder / "metrics.csv", metrics.to_csv(index=False))
            bar.set_postfix_str(_summary(rows[-1]))
            phases = phases_reached(metrics)
            stopping = step == train_config.max_steps or train_config.stop_at in phases
            begun = {begin for phase, begin in phases.items() if phase != "final"}
            snapshots.keep(step, average)
            snapshots.write(begun | train_config.checkpoint_steps | ({step} if stopping else set()))
            if stopping:
                break
    return Run.load(folder)


@dataclass
class _Snapshots:
    """The weights of the last evaluations, as a phase is known only some evaluations after it began."""

    folder: Path
    model_config: ModelConfig
    recent: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    written: set[int] = field(default_factory=set)

    def keep(self, step: int, parameters: dict[str, Tensor]) -> None:
        self.recent[step] = {name: parameter.clone() for name, parameter in parameters.items()}
        self.recent = dict(list(self.recent.items())[-CONSECUTIVE:])

    def write(self, steps: set[int]) -> None:
        """Save those of the steps that are at hand and not saved yet."""
        for step in steps & self.recent.keys() - self.written:
            write_checkpoint(self.folder, step, self.recent[step], self.model_config)
            self.written.add(step)


def _optimise(
    model: HookedTransformer, examples: Examples, model_config: ModelConfig, config: TrainConfig
) -> Iterator[Float[Tensor, ""]]:
    """Take one step after the other, for ever, and yield the loss of each."""
    parameters = trained_parameters(model, model_config)
    with_decay = set(decayed(parameters))
    groups = [
        {"params": [p for name, p in parameters.items() if name in with_decay], "weight_decay": config.weight_decay},
        {"params": [p for name, p in parameters.items() if name not in with_decay], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / max(1, config.warmup_steps)))
    device = model.W_E.device
    dtype = torch.bfloat16 if config.bfloat16 else None
    for rows in _batches(examples, config):
        tokens, answers, positions = (
            column[rows].to(device) for column in (examples.tokens, examples.answers, examples.positions)
        )
        logits = answer_logits(parameters, model_config, tokens, positions, dtype=dtype).float()
        loss = cross_entropy(logits, answers, label_smoothing=config.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), config.clip_norm)
        optimizer.step()
        warmup.step()
        yield loss.detach()


def _batches(examples: Examples, config: TrainConfig) -> Iterator[Int[Tensor, " row"]]:
    """Random groups of examples with the same (h, r1), without replacement within an epoch; an epoch's rest is dropped."""
    generator = torch.Generator().manual_seed(config.seed)
    n, size = len(examples.tokens), config.examples_per_prefix
    prefixes = examples.tokens[:, 0] * (int(examples.tokens.max()) + 1) + examples.tokens[:, 1]
    while True:
        shuffled = torch.randperm(n, generator=generator)
        if size > 1:
            shuffled = shuffled[torch.argsort(prefixes[shuffled], stable=True)]
        groups = shuffled.split(size)
        order = torch.randperm(len(groups), generator=generator).tolist()
        epoch = torch.cat([groups[i] for i in order]) if size > 1 else shuffled
        yield from epoch.split(config.batch_size)[: max(1, n // config.batch_size)]


@torch.no_grad()
def _correct(parameters: dict[str, Tensor], model_config: ModelConfig, queries: Queries) -> Bool[Tensor, " query"]:
    """Which queries the parameters answer correctly."""
    device = parameters["embed.W_E"].device
    tokens = pad(queries.tokens, (0, 3 - queries.tokens.shape[1])).to(device)
    positions = torch.full((len(tokens),), queries.answer_position, device=device)
    parts = zip(tokens.split(EVALUATION_BATCH), positions.split(EVALUATION_BATCH), strict=True)
    logits = [answer_logits(parameters, model_config, *part) for part in parts if len(part[0])]
    return torch.cat(logits).argmax(-1).cpu() == queries.answers if logits else torch.empty(0, dtype=torch.bool)


@torch.no_grad()
def _update_average(average: dict[str, Tensor], parameters: dict[str, torch.nn.Parameter], decay: float, step: int) -> None:
    new_share = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.values()), list(parameters.values()), new_share)


def _finite_mean(losses: list[Tensor], step: int, folder: Path) -> float:
    mean = float(torch.stack(losses).mean())
    if not math.isfinite(mean):
        raise FloatingPointError(
            f"{folder}: the loss is {mean} at step {step}; try a smaller learning_rate or clip_norm, or bfloat16=False"
        )
    return mean


def _summary(row: dict[str, float | int]) -> str:
    shown = {"loss": "loss", "train": "train", "test_inferred_iid": "ID", "test_inferred_ood": "OOD"}
    return ", ".join(f"{label} {row[name]:.2f}" for name, label in shown.items())
