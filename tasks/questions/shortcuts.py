"""What a model could score without composing: the most frequent training answer given part of the query.

On the data of He et al. 2026 the last relation alone predicts about .6 of the answers of one fine-tuning cell, so an
accuracy means something only next to these floors.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from .queries import Queries
from .twohop import TwoHopTask

SHORTCUTS = {"r2": ("r2",), "r1 r2": ("r1", "r2"), "h r2": ("h", "r2")}
"""The parts of a query that a shortcut looks at."""


def shortcut_accuracy(task: TwoHopTask, queries: Queries) -> dict[str, float]:
    """Accuracy of each majority shortcut, learned from the task's training compositions.

    Ties go to the smaller token; a part never seen in training counts as wrong. NaN where there is no query.
    """
    train = task.split("train_inferred")
    return {name: _majority_accuracy(train, queries, parts) for name, parts in SHORTCUTS.items()}


def _majority_accuracy(train: Queries, queries: Queries, parts: Iterable[str]) -> float:
    columns = [train.roles.index(part) for part in parts]
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for key, answer in zip(train.tokens[:, columns].tolist(), train.answers.tolist(), strict=True):
        counts[tuple(key)][answer] += 1
    best = {key: max(sorted(counter), key=counter.__getitem__) for key, counter in counts.items()}
    guesses = [best.get(tuple(key)) for key in queries.tokens[:, columns].tolist()]
    right = [guess == answer for guess, answer in zip(guesses, queries.answers.tolist(), strict=True)]
    return sum(right) / len(right) if right else float("nan")
