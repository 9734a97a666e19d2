from collections import Counter
from dataclasses import replace

import pytest
import torch

from grokscope.tasks import TwoHopTask, shortcut_accuracy
from grokscope.tasks.questions.shortcuts import SHORTCUTS


@pytest.mark.parametrize("split", ["test_inferred_iid", "test_inferred_ood", "train_inferred"])
def test_equals_a_literal_count(task: TwoHopTask, split: str) -> None:
    train, queries = task.split("train_inferred"), task.split(split)
    for name, parts in SHORTCUTS.items():
        columns = [("h", "r1", "r2").index(part) for part in parts]
        n_right = 0
        for tokens, answer in zip(queries.tokens, queries.answers.tolist(), strict=True):
            same = (train.tokens[:, columns] == tokens[columns]).all(1)
            counts = Counter(train.answers[same].tolist())
            best = [token for token, count in counts.items() if count == max(counts.values())]
            n_right += bool(best) and min(best) == answer
        assert shortcut_accuracy(task, queries)[name] == pytest.approx(n_right / len(queries))


def test_a_shortcut_that_works_is_found(task: TwoHopTask) -> None:
    """If every answer were a function of r2, the r2 shortcut would score 1."""
    train = task.split("train_inferred")
    shortcut = shortcut_accuracy(task, train)
    by_relation = {int(r): train.answers[train.tokens[:, 2] == r].mode().values for r in train.tokens[:, 2].unique()}
    answers = torch.stack([by_relation[int(r)] for r in train.tokens[:, 2]])
    easy = replace(train, answers=answers, split="easy")
    assert shortcut_accuracy(task, easy)["r2"] == 1.0 > shortcut["r2"]
