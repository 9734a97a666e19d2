"""How often a model is right: exact match by split, and given that both atomic facts are known."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .queries import Queries
from .shortcuts import shortcut_accuracy
from .twohop import ATOMIC_SPLITS, SPLITS, TEST_SPLITS, TwoHopTask

TRAIN_SAMPLE = 2000  # training compositions looked at in an evaluation, always the same ones
Forward = Callable[[Tensor], Tensor]
"""Tokens [query, pos] to logits [query, pos, d_vocab]; a HookedTransformer is one."""


@torch.no_grad()
def predictions(
    forward: Forward, tokens: Int[Tensor, "query pos"], answer_position: int, *, batch_size: int = 4096
) -> Int[Tensor, " query"]:
    """The most likely token at the answer position of each prompt."""
    parts = [forward(part)[:, answer_position].argmax(-1) for part in tokens.split(batch_size)]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.long)


def exact_match(forward: Forward, queries: Queries) -> Bool[Tensor, " query"]:
    """Which queries are answered correctly."""
    return predictions(forward, queries.tokens, queries.answer_position) == queries.answers


def evaluation_queries(task: TwoHopTask) -> dict[str, Queries]:
    """What an evaluation asks: every split, the training compositions as a fixed sample."""
    splits = {name: task.split(name) for name in SPLITS}
    train = splits["train_inferred"]
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(task.seed))
    return splits | {"train_inferred": train.take(order[:TRAIN_SAMPLE])}


def evaluate(correct: Callable[[Queries], Tensor], splits: dict[str, Queries]) -> dict[str, float]:
    """Accuracies of a model on all splits, as fractions; NaN for a split without queries.

    A row of a run's metrics table. The phases are read off one half of the queries (`select_…`), the accuracies
    reported are the other half's.

    Args:
        correct: which of some queries are answered correctly, a bool for each.
        splits: what to ask, see `evaluation_queries`.

    Returns:
        `<split>`: exact match on the reported half;
        `select_<split>`: exact match on the half that phases are chosen on;
        `gated_<split>`: for compositions, exact match on those of the reported half whose two facts are both known;
        `train`, `select_train`: mean over the three splits that are in training (He et al. 2026, section 3).
    """
    right = {name: correct(queries) for name, queries in splits.items()}
    facts = torch.cat([hop for queries in splits.values() for hop in (queries.hop1, queries.hop2)])
    known = torch.zeros(1 + int(facts.max()), dtype=torch.bool)  # facts that are not asked by themselves count as unknown
    for name in ATOMIC_SPLITS:
        known[splits[name].hop1] = right[name]
    row = {}
    for name, queries in splits.items():
        row[name], row[f"select_{name}"] = _mean(right[name][1::2]), _mean(right[name][::2])
        if name in TEST_SPLITS:
            both_known = (known[queries.hop1] & known[queries.hop2])[1::2]
            row[f"gated_{name}"] = _mean(right[name][1::2][both_known])
    in_training = [name for name in (*ATOMIC_SPLITS, "train_inferred") if len(splits[name])]
    for prefix in ("", "select_"):
        row[f"{prefix}train"] = sum(row[f"{prefix}{name}"] for name in in_training) / len(in_training)
    return row


def n_reported(task: TwoHopTask) -> dict[str, int]:
    """How many queries stand behind each split's reported accuracy."""
    return {name: len(queries.halves()[1]) for name, queries in evaluation_queries(task).items()}


def shortcut_floors(task: TwoHopTask) -> dict[str, float]:
    """The best shortcut's accuracy on each test split, as `floor_<split>`, on the reported half."""
    return {f"floor_{name}": max(shortcut_accuracy(task, task.split(name).halves()[1]).values()) for name in TEST_SPLITS}


def _mean(right: Bool[Tensor, " query"]) -> float:
    values: Float[Tensor, " query"] = right.double()
    return float(values.mean()) if len(values) else float("nan")
