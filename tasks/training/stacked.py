"""The steps of several trainings at once: weights stacked along a first dimension, of runs, and changed together.

Each run has its own examples, batches and clipping, as if it were trained by itself; numbers differ from those of `train` by
rounding alone. On a GPU a step is recorded once as a graph of kernels and replayed, since a small model's kernels take less
time than their start does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..models.building import AnyConfig, architecture_of
from ..questions.evaluation import top_token
from ..runs.training_config import TrainConfig
from .batches import Examples
from .train import decay_groups

EVALUATION_BATCH = 2048  # prompts of each run
STEPS_BEFORE_RECORDING = 10  # that set up what a recorded step finds there


@dataclass(frozen=True, eq=False)
class Stacked:
    """How far some trainings have come; all tensors have a first dimension of runs, but for the number of steps.

    Attributes:
        parameters: the weights being trained, by name.
        average: their moving averages.
        optimizer: AdamW over all of them.
        n_steps: steps taken.
        losses: sums over the steps since they were last reported.
    """

    parameters: dict[str, nn.Parameter]
    average: dict[str, Tensor]
    optimizer: torch.optim.AdamW
    n_steps: Float[Tensor, ""]
    losses: Float[Tensor, " run"]

    @classmethod
    def of(
        cls, initial: Sequence[Mapping[str, Tensor]], model_config: AnyConfig, config: TrainConfig, device: str
    ) -> "Stacked":
        """Before the first step, from the weights that each run begins with."""
        names = initial[0]
        parameters = {
            name: nn.Parameter(torch.stack([each[name].detach() for each in initial]).to(device)) for name in names
        }
        rate = torch.tensor(config.learning_rate, device=device)
        how: dict[str, Any] = {"lr": rate, "betas": config.betas, "fused": True, "capturable": device != "cpu"}
        optimizer = torch.optim.AdamW(decay_groups(parameters, model_config, config), **how)
        average = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        n_steps, losses = torch.zeros((), dtype=torch.float64, device=device), torch.zeros(len(initial), device=device)
        return cls(parameters, average, optimizer, n_steps, losses)


def stacked_examples(examples: Sequence[Examples], device: str) -> Examples:
    """The examples of each run, with a first dimension of runs; shorter ones are padded, and padding is never drawn."""
    columns = ([getattr(each, name) for each in examples] for name in ("tokens", "answers", "positions"))
    return Examples(*(nn.utils.rnn.pad_sequence(column, batch_first=True).to(device) for column in columns))


def take_steps(
    stacked: Stacked, examples: Examples, model_config: AnyConfig, config: TrainConfig
) -> Callable[[Int[Tensor, "run row"]], None]:
    """A function that takes a step, given the rows of each run's batch."""
    n_runs, device = len(stacked.losses), stacked.losses.device
    rows = torch.zeros(n_runs, config.batch_size, dtype=torch.long, device=device)
    taken, recorded = 0, None

    def step(given: Int[Tensor, "run row"]) -> None:
        nonlocal taken, recorded
        rows.copy_(given)
        if device.type == "cuda" and taken == STEPS_BEFORE_RECORDING:
            recorded = torch.cuda.CUDAGraph()
            with torch.cuda.graph(recorded):
                _take_step(stacked, examples, rows, model_config, config)
        if recorded is None:
            _take_step(stacked, examples, rows, model_config, config)
        else:
            recorded.replay()
        taken += 1

    return step


def _take_step(
    stacked: Stacked, examples: Examples, rows: Int[Tensor, "run row"], model_config: AnyConfig, config: TrainConfig
) -> None:
    """One step of each run, as `train.take_step` takes it; nothing in it waits for the device."""
    stacked.n_steps.add_(1)
    tokens = examples.tokens.take_along_dim(rows[..., None], 1)
    answers, positions = (column.take_along_dim(rows, 1) for column in (examples.answers, examples.positions))
    dtype = torch.bfloat16 if config.bfloat16 else None
    how: dict[str, Any] = {"dtype": dtype, "label_smoothing": config.label_smoothing}
    parameters = stacked.parameters
    losses = architecture_of(model_config).training_loss(parameters, model_config, tokens, answers, positions, **how)
    slopes = torch.autograd.grad(losses.sum(), list(parameters.values()))
    for parameter, slope in zip(parameters.values(), _clipped(slopes, config.clip_norm), strict=True):
        parameter.grad = slope
    for group in stacked.optimizer.param_groups:
        group["lr"].copy_(config.learning_rate * (stacked.n_steps / max(1, config.warmup_steps)).clamp(max=1))
    stacked.optimizer.step()
    stacked.losses.add_(losses.detach())
    _update_average(stacked, config.ema)


def _clipped(slopes: Sequence[Tensor], most: float) -> list[Tensor]:
    """Gradients of which those of each run have at most this norm; contiguous, as a fused optimiser takes them to be."""
    norms = sum(slope.flatten(1).square().sum(1) for slope in slopes) ** 0.5
    factors = (most / (norms + 1e-6)).clamp(max=1)  # as in torch's clip_grad_norm_
    return [(slope * factors.view(-1, *[1] * (slope.ndim - 1))).contiguous() for slope in slopes]


@torch.no_grad()
def _update_average(stacked: Stacked, decay: float) -> None:
    new_share = 1 - ((1 + stacked.n_steps) / (10 + stacked.n_steps)).clamp(max=decay)
    for name, parameter in stacked.parameters.items():
        stacked.average[name].lerp_(parameter, new_share.to(parameter.dtype))


@torch.no_grad()
def stacked_correct(stacked: Stacked, asked: Examples, model_config: AnyConfig) -> Bool[Tensor, "run query"]:
    """Which queries the averages answer correctly."""
    columns = (column.split(EVALUATION_BATCH, 1) for column in (asked.tokens, asked.answers, asked.positions))
    answer_logits = architecture_of(model_config).answer_logits
    parts = [
        top_token(answer_logits(stacked.average, model_config, tokens, positions)) == answers
        for tokens, answers, positions in zip(*columns, strict=True)
    ]
    return torch.cat(parts, 1)
