"""Change a fact after training: do the questions that rest on it follow?

A model that composes uses a fact as it is stored. If that is changed, by further training on its atomic question alone, by a
rank-one edit of the MLP that writes it, or by an exchange where it is used, the answers of the questions that rest on it
follow. Where the fact is stored once more for another place, or answers are stored themselves, they do not. Niu 2026 (arXiv
2606.20737) measures this by edits of single facts.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from ...circuits.arguments import common_problems, number_problems, refuse, shortly, whole_problems
from ...circuits.progress import bar
from ...tasks import Checkpoint
from ...tasks.questions.editable import Editable, editable
from ...tasks.transformerlens import Model
from ..forward.hooks import refuse_hooks
from ..forward.model import check_model
from ..forward.rank_one import check_editable
from .asked import Asked
from .edit_result import EditResult
from .measured import Measured
from .methods import EXCHANGE, METHODS, RANK_ONE, TRAINING, Edited, by_exchange, by_rank_one, by_training


def edit_facts(
    model: Checkpoint | Model,
    task: Editable,
    *,
    methods: Sequence[str] = METHODS,
    n_edits: int = 16,
    sure: float = 0.9,
    learning_rate: float = 1e-4,
    max_steps: int = 200,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> EditResult:
    """Change facts, one at a time and each in the model as it was, and ask what rests on them.

    Args:
        model: a checkpoint, or a model; of what `training` needs to know, a model says too little.
        task: what it was trained on, or another whose questions it answers, with facts that can be changed: see
            `tasks.questions.editable.Editable`.
        methods: `training`: further training on the one atomic question alone, with AdamW and no weight decay; `rank one`: a
            rank-one change of the output weights of the MLP that its answer rests on most, of a HookedTransformer: where
            blocks are shared, in every loop (Meng et al. 2022, arXiv 2202.05262, section 3.1); `exchange`: no change of
            weights: where the fact is an intermediate, the mean state of its new value minus that of the old one is added at
            the cell where this moves most answers of other questions.
        n_edits: facts of each atomic split, at most: random ones that are answered right, on which other questions rest.
        sure: the probability of the new answer at which training and gradient steps stop.
        learning_rate: of `training`.
        max_steps: of `training`, at most.
        max_memory: bytes that `exchange` may use; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of facts, values, and what `exchange` draws.

    Raises:
        TypeError: if the task's facts cannot be changed, or a method is not defined for the model.
        ValueError: for other settings than these, all problems at once; if the model carries hooks; if no fact that is
            answered right can be changed.
        MemoryError: if not a single question fits into `max_memory`.
    """
    refuse(
        _method_problems(methods)
        + whole_problems(1, n_edits=n_edits, max_steps=max_steps)
        + number_problems(0, above=True, most=1, below=True, sure=sure)
        + number_problems(0, above=True, learning_rate=learning_rate)
        + common_problems(max_memory=max_memory, progress=progress, seed=seed)
    )
    task, net = editable(task), model.model() if isinstance(model, Checkpoint) else model
    _check_methods(model, net, methods)
    refuse_hooks(net)
    asked = Asked.of(net, task, n_edits, seed=seed)
    found: dict[str, Any] = {"sure": sure}

    def ways(method: str) -> Iterator[Edited]:
        if method == TRAINING:
            assert isinstance(model, Checkpoint)
            return by_training(model, net, asked.edits, learning_rate=learning_rate, max_steps=max_steps, **found)
        if method == RANK_ONE:
            return by_rank_one(net, [facts for facts, _ in asked.others["facts"]], asked.edits, **found)
        return by_exchange(net, task, asked.edits, asked.found, max_memory=max_memory, seed=seed)

    rows, edits = [], []
    with bar(len(methods) * len(asked.edits), "editing facts", show=progress) as shown:
        for method in methods:
            measured = Measured(asked, method)
            for number, edited in enumerate(ways(method)):
                measured.add(number, edited)
                shown.update()
            rows += measured.rows
            edits += measured.edits
    return EditResult(pd.DataFrame(rows), pd.DataFrame(edits), net.cfg.model_name, list(methods))


def _method_problems(methods: Any) -> list[str]:
    """Why these are no methods."""
    if isinstance(methods, str) or not isinstance(methods, Sequence) or not methods:
        return [f"methods is {shortly(methods)}, needed are some of {', '.join(map(repr, METHODS))}"]
    wrong = [shortly(each) for each in methods if each not in METHODS]
    problems = [f"methods are {', '.join(map(repr, METHODS))}, got {', '.join(wrong)}"] if wrong else []
    return problems + (["methods names one twice"] if not wrong and len(set(methods)) < len(methods) else [])


def _check_methods(model: Checkpoint | Model, net: Model, methods: Sequence[str]) -> None:
    """Raise unless the methods are defined for the model."""
    check_model(net)
    if RANK_ONE in methods:
        check_editable(net)
    if TRAINING in methods and not isinstance(model, Checkpoint):
        raise TypeError(
            f"training goes on from a checkpoint, such as run.checkpoint('final'), got a {type(model).__name__}; of a model "
            f"methods=({RANK_ONE!r}, {EXCHANGE!r}) are possible"
        )
