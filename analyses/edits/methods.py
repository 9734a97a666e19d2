"""The ways in which a fact is changed, each as a way of answering afterwards."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from ...tasks import Checkpoint, Queries, TrainConfig
from ...tasks.questions.editable import Editable
from ...tasks.training.one_question import train_until_sure
from ...tasks.transformerlens import Model
from ..forward.rank_one import WrittenFacts, rank_one_edit
from .asked import Right, right_by
from .exchange import Exchange
from .fact_edit import Dependents, FactEdit, joined, resting_on

TRAINING, RANK_ONE, EXCHANGE = "training", "rank one", "exchange"
METHODS = (TRAINING, RANK_ONE, EXCHANGE)
N_STORED = 1000  # facts at most that say what a rank-one edit should disturb least


class Edited(NamedTuple):
    """A changed fact.

    Attributes:
        at: what is answered now to some dependent questions, or why that is not defined.
        everywhere: what is answered to any others; None if only dependent questions are touched.
        n_steps: of training, or of the gradient.
        where: which weights were changed, or at which cell states are exchanged.
    """

    at: Callable[[Dependents], Right | str]
    everywhere: Right | None
    n_steps: int
    where: str


def _with_model(model: Model, n_steps: int, where: str) -> Edited:
    right = right_by(model)
    return Edited(lambda some: right, right, n_steps, where)


def by_training(
    checkpoint: Checkpoint, model: Model, edits: Sequence[FactEdit], *, sure: float, learning_rate: float, max_steps: int
) -> Iterator[Edited]:
    """By further training on the one atomic question alone, without weight decay, smoothing or averages."""
    config = TrainConfig(
        max_steps=max_steps,
        batch_size=1,
        learning_rate=learning_rate,
        weight_decay=0.0,
        label_smoothing=0.0,
        warmup_steps=0,
        ema=0.0,
        bfloat16=False,
    )
    for edit in edits:
        shape, task = checkpoint.model_config, checkpoint.task
        yield _with_model(*train_until_sure(model, shape, task, edit.edited, sure=sure, config=config), "all weights")


def by_rank_one(model: Model, facts: Sequence[Queries], edits: Sequence[FactEdit], *, sure: float) -> Iterator[Edited]:
    """By a rank-one change of the MLP that writes the fact, see `forward.rank_one`.

    Of many facts `N_STORED` others are taken, first those with the values that are to be written.
    """
    others = joined(facts)
    others = others.take(torch.stack([~resting_on(others, edit.fact) for edit in edits]).all(0))
    wanted = torch.tensor([edit.value for edit in edits], device="cpu")
    order = torch.argsort(~torch.isin(others.answers, wanted), stable=True)[:N_STORED]
    stored = joined([edit.atomic for edit in edits] + [others.take(order)])
    written = WrittenFacts.of(model, stored.tokens, stored.answers, stored.answer_position)
    moment, where = (
        written.moment,
        f"output weights of MLP{', MLP'.join(map(str, written.sharing))}, chosen at L{written.layer}",
    )
    for row, edit in enumerate(edits):
        yield _with_model(*rank_one_edit(written, moment, row, edit.value, sure=sure), where)


def by_exchange(
    model: Model,
    task: Editable,
    edits: Sequence[FactEdit],
    found: Sequence[Sequence[Dependents]],
    *,
    max_memory: int | None,
    seed: int,
) -> Iterator[Edited]:
    """By an exchange of mean states where the fact is an intermediate."""
    others = task.split(task.id_test)
    for edit in edits:
        others = others.take(~resting_on(others, edit.fact))
    exchanges = {}
    for name in others.intermediates:
        touched = [some for each in found for some in each if some.intermediate == name and _alike(some.before, others)]
        if touched:
            exchanges[name] = Exchange.of(model, task, others, touched, name, max_memory=max_memory, seed=seed)
    where = ", ".join(f"{name} at {exchange.cell}" for name, exchange in exchanges.items())
    for edit in edits:
        yield Edited(_exchanging(exchanges, edit), None, 0, where)


def _alike(some: Queries, others: Queries) -> bool:
    """Whether questions have the same roles and places, so that one cell means the same in both."""
    return some.roles == others.roles and some.answer_position == others.answer_position


def _exchanging(exchanges: Mapping[str, Exchange], edit: FactEdit) -> Callable[[Dependents], Right | str]:
    def at(some: Dependents) -> Right | str:
        if some.intermediate is None:
            return "its value is the answer: there is no intermediate to exchange"
        exchange = exchanges.get(some.intermediate)
        if exchange is None or exchange.graph.roles != some.before.roles:
            return f"where {some.intermediate} stands is known of questions with other roles only"
        if not exchange.means.has(edit.old, edit.value):
            return f"too few other questions with {some.intermediate} {edit.old} or {edit.value} for a mean state"
        return lambda queries: exchange.answers(queries, edit.old, edit.value) == queries.answers

    return at
