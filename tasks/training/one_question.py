"""Further training of a model on a few questions alone, in memory, until it is sure of their answers."""

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.building import AnyConfig, architecture_of
from ..questions.queries import Queries
from ..questions.task import Task
from ..runs.training_config import TrainConfig
from .batches import Examples, as_examples
from .train import initial_state, take_step

if TYPE_CHECKING:
    from ..transformerlens import Model


class Trained(NamedTuple):
    """A further trained copy of a model, and after how many steps training stopped."""

    model: "Model"
    n_steps: int


def train_until_sure(
    model: "Model", model_config: AnyConfig, task: Task, queries: Queries, *, sure: float, config: TrainConfig
) -> Trained:
    """Train a copy on all questions in every step, until it gives each answer at least some probability.

    A fresh optimiser is taken, and the raw weights are, not an average.

    Args:
        model: of a checkpoint; it is left as it is.
        model_config: its shape.
        task: gives the length of prompts.
        queries: what it is trained on.
        sure: the least probability of the answers at which training stops.
        config: how steps are taken; at most `max_steps` are.
    """
    with torch.inference_mode(False), torch.enable_grad():
        made: Any = copy.deepcopy(model)
        state = initial_state(made, model_config, config)
        examples, rows = as_examples(queries, task.n_positions), torch.arange(len(queries), device="cpu")
        while state.step < config.max_steps and float(_probabilities(state.parameters, model_config, examples).min()) < sure:
            take_step(state, examples, rows, model_config, config)
        architecture_of(model_config).load_parameters(made, model_config, state.parameters)
    return Trained(made.eval(), state.step)


@torch.no_grad()
def _probabilities(parameters: Any, model_config: AnyConfig, examples: Examples) -> Float[Tensor, " query"]:
    """What a model gives each answer."""
    device = next(iter(parameters.values())).device
    tokens, positions, answers = (each.to(device) for each in (examples.tokens, examples.positions, examples.answers))
    logits = architecture_of(model_config).answer_logits(parameters, model_config, tokens, positions)
    return logits.float().softmax(-1)[torch.arange(len(answers), device=device), answers]
