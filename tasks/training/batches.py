"""The training set as prompts, and its batches.

Every prompt is padded to the task's longest. Shorter ones are read where a causal model cannot see the padding; in slots all
prompts have the same length.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import pad

from ..questions.queries import Queries
from ..questions.task import Task, splits_for
from ..runs.training_config import TrainConfig


@dataclass(frozen=True, eq=False)
class Examples:
    """The training set, of one run or of several: prompts, answers, and the position at which each is read."""

    tokens: Int[Tensor, "*run example pos"]
    answers: Int[Tensor, "*run example"]
    positions: Int[Tensor, "*run example"]


def training_examples(task: Task) -> Examples:
    """All splits of a task that are in training: of two-hop questions all facts and the trained compositions."""
    return joined([task.split(name) for name in splits_for(task, "atomic", "trained")], task.n_positions)


def joined(queries: Iterable[Queries], n_positions: int) -> Examples:
    """Queries of several splits, one after the other."""
    parts = [as_examples(some, n_positions) for some in queries]
    tokens, answers, positions = zip(*((part.tokens, part.answers, part.positions) for part in parts), strict=True)
    return Examples(torch.cat(tokens), torch.cat(answers), torch.cat(positions))


def as_examples(queries: Queries, n_positions: int) -> Examples:
    """Queries padded to a length; a causal model never sees the padding where the answer is read."""
    tokens = pad(queries.tokens, (0, n_positions - queries.tokens.shape[1]))
    return Examples(tokens, queries.answers, torch.full((len(queries),), queries.answer_position, device="cpu"))


def batches(examples: Examples, config: TrainConfig, *, first: int) -> Iterator[Int[Tensor, " row"]]:
    """The batches of all steps after the first `first`: random rows without replacement within an epoch.

    An epoch's order depends on the seed and its number alone. An incomplete last batch is dropped.
    """
    n_batches = max(1, len(examples.tokens) // config.batch_size)
    epoch = []
    for step in range(first, config.max_steps):
        number, place = divmod(step, n_batches)
        if not epoch or place == 0:
            epoch = _epoch(examples, config, number).split(config.batch_size)
        yield epoch[place]


def _epoch(examples: Examples, config: TrainConfig, number: int) -> Int[Tensor, " row"]:
    """All rows, in random groups of neighbours in the order of the first two tokens; ties are broken at random."""
    seed = int(np.random.SeedSequence((config.seed, number)).generate_state(1)[0])
    generator = torch.Generator().manual_seed(int(seed))
    rows = torch.randperm(len(examples.tokens), generator=generator, device="cpu")
    if config.examples_per_prefix == 1:
        return rows
    prefixes = examples.tokens[rows, 0] * (int(examples.tokens.max()) + 1) + examples.tokens[rows, 1]
    groups = rows[torch.argsort(prefixes, stable=True)].split(config.examples_per_prefix)
    return torch.cat([groups[i] for i in torch.randperm(len(groups), generator=generator, device="cpu").tolist()])
