"""How often a model is right: exact match by split, and given that the facts a question rests on are known."""

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...circuits.arguments import refuse, whole_problems
from .given import queries_problems
from .padding import Forward, check_forward, logits_at_answer
from .queries import Queries
from .shortcuts import shortcut_accuracy
from .task import Part, Task, splits_for
from .validity import (
    column_problems,
    context_problems,
    held,
    inputs_of,
    outputs_of,
    position_problems,
    prompt_problems,
    vocabulary_problems,
)

TRAIN_SAMPLE = 2000  # questions of a trained split that an evaluation asks, always the same ones


NO_TOKEN = -1
"""What `top_token` gives where no token is strictly the most likely."""


def top_token(logits: Float[Tensor, "*batch d_vocab"]) -> Int[Tensor, "*batch"]:
    """The token that is strictly more likely than every other, or −1 where there is none.

    The one rule for ties: a token that shares the first place has not got it, so that a model that prefers nothing is
    right about nothing. Whatever counts answers or readings compares a target with this.

    Args:
        logits: of the whole vocabulary, with any dimensions before it.

    >>> top_token(torch.tensor([[0.0, 2.0, 1.0], [2.0, 2.0, 1.0], [float("nan"), 2.0, 1.0]])).tolist()
    [1, -1, -1]
    """
    values, tokens = logits.topk(min(2, logits.shape[-1]), dim=-1)
    second = values[..., 1] if values.shape[-1] > 1 else torch.full_like(values[..., 0], -math.inf)
    return torch.where(values[..., 0] > second, tokens[..., 0], NO_TOKEN)


@torch.no_grad()
def predictions(
    forward: Forward, tokens: Int[Tensor, "query pos"], answer_position: int, *, batch_size: int = 4096
) -> Int[Tensor, " query"]:
    """The most likely token where each prompt's answer is read: at the answer position, or before trailing pads.

    Of several equally likely tokens it is one. Whether an answer is right is for `exact_match` and `is_right` to say, which
    count a tie as wrong. The model is asked as it is, with whatever hooks it carries.

    Args:
        forward: the model, or anything that gives logits for tokens.
        tokens: the prompts.
        answer_position: where answers are read, of prompts without trailing pads.
        batch_size: prompts to a forward pass.

    Raises:
        TypeError: for what cannot be asked, naming its class.
        ValueError: for prompts that are no tokens, that the model does not have or that are too long for it, for a batch
            size below 1, and for logits that are NaN.
    """
    parts = [logits.argmax(-1) for logits in _logits(forward, tokens, answer_position, batch_size)]
    return torch.cat(parts).cpu() if parts else torch.empty(0, dtype=torch.long, device="cpu")


@torch.no_grad()
def is_right(
    forward: Forward,
    tokens: Int[Tensor, "query pos"],
    answers: Int[Tensor, " query"],
    answer_position: int,
    *,
    batch_size: int = 4096,
) -> Bool[Tensor, " query"]:
    """For which prompts the answer is strictly more likely than every other token, see `top_token`.

    The model is asked as it is, with whatever hooks it carries.

    Args:
        forward: the model, or anything that gives logits for tokens.
        tokens: the prompts.
        answers: the right token for each prompt.
        answer_position: where answers are read, of prompts without trailing pads.
        batch_size: prompts to a forward pass.

    Raises:
        TypeError: as `predictions`.
        ValueError: as `predictions`; if answers are no tokens that the model can answer, one for each prompt.
    """
    check_forward(forward)
    refuse(prompt_problems("tokens", tokens))
    size = "{n} prompts, but {found} {what}"
    problems = column_problems("answers", answers, len(tokens), are_tokens=True, wrong_size=size)
    refuse(problems)
    answers = held(answers)
    refuse(vocabulary_problems({"answers": answers}, outputs_of(getattr(forward, "cfg", None))))
    parts = []
    for logits in _logits(forward, tokens, answer_position, batch_size):
        refuse(vocabulary_problems({"answers": answers}, logits.shape[-1]))  # what has no cfg says so only here
        parts.append(top_token(logits).cpu())
    return torch.cat(parts) == answers if parts else torch.empty(0, dtype=torch.bool, device="cpu")


def _logits(
    forward: Forward, tokens: Int[Tensor, "query pos"], answer_position: int, batch_size: int
) -> Iterator[Float[Tensor, "query d_vocab"]]:
    """The logits at the answer, batch by batch; see `predictions` for what is refused."""
    check_forward(forward)
    not_tokens = prompt_problems("tokens", tokens)
    problems = not_tokens + whole_problems(1, batch_size=batch_size)
    if not not_tokens:
        cfg, n_pos = getattr(forward, "cfg", None), tokens.shape[1]
        problems += position_problems(answer_position, n_pos) + vocabulary_problems({"tokens": tokens}, inputs_of(cfg))
        problems += context_problems(n_pos, cfg)
    if problems:
        raise ValueError("the model cannot be asked these prompts: " + "; ".join(problems))
    for part in tokens.long().split(batch_size):
        logits = logits_at_answer(forward, part, answer_position)
        if logits.is_meta:
            raise ValueError("the model holds no numbers: its logits are on the meta device; load its weights")
        if (unknown := logits.isnan().any(-1)).any():
            raise ValueError(f"the logits of {int(unknown.sum())} of {len(logits)} prompts are NaN")
        yield logits


def exact_match(forward: Forward, queries: Queries) -> Bool[Tensor, " query"]:
    """Which queries are answered correctly: the answer is strictly more likely than every other token.

    The model is asked as it is, with whatever hooks it carries.

    Args:
        forward: the model, or anything that gives logits for tokens.
        queries: what to ask, with its answers.

    Raises:
        TypeError: for what cannot be asked, naming its class.
        ValueError: if the model lacks tokens or positions of theirs.
    """
    check_forward(forward)
    refuse(queries_problems(queries=queries))
    if len(queries):
        queries.check_against(forward)
    return is_right(forward, queries.tokens, queries.answers, queries.answer_position)


def evaluation_queries(task: Task) -> dict[str, Queries]:
    """What an evaluation asks: every split; of trained ones that are not atomic, a fixed sample."""
    splits = {name: task.split(name) for name in task.splits}
    for name in splits_for(task, "trained"):
        order = torch.randperm(len(splits[name]), generator=torch.Generator().manual_seed(task.seed), device="cpu")
        splits[name] = splits[name].take(order[:TRAIN_SAMPLE])
    return splits


def evaluate(
    correct: Callable[[Queries], Tensor], queries: Mapping[str, Queries], parts: Mapping[str, Part]
) -> dict[str, float]:
    """Accuracies of a model on all splits, as fractions; NaN for a split without queries.

    A row of a run's metrics table. Phases are decided on one half of the queries (`select_…`); the accuracies reported
    come from the other half.

    Args:
        correct: which of some queries are answered correctly, a bool for each.
        queries: what to ask, by split, see `evaluation_queries`.
        parts: what each split is for, `task.splits`.

    Returns:
        `<split>`: exact match on the reported half;
        `select_<split>`: exact match on the half that phases are chosen on;
        `gated_<split>`: for test splits of questions that rest on facts, exact match on those of the reported half whose
        facts are all known;
        `train`, `select_train`: mean over the splits that are in training (He et al. 2026, section 3).
    """
    right = {name: correct(asked) for name, asked in queries.items()}
    known = _known_facts({name: asked for name, asked in queries.items() if parts[name] == "atomic"}, right)
    row = {}
    for name, asked in queries.items():
        row[name], row[f"select_{name}"] = _mean(right[name][1::2]), _mean(right[name][::2])
        if parts[name] == "test" and asked.facts:
            all_known = torch.tensor([known.issuperset(facts) for facts in _facts(asked)], dtype=torch.bool, device="cpu")
            row[f"gated_{name}"] = _mean(right[name][1::2][all_known[1::2]])
    in_training = [name for name, part in parts.items() if part != "test" and len(queries[name])]
    for prefix in ("", "select_"):
        row[f"{prefix}train"] = sum(row[f"{prefix}{name}"] for name in in_training) / len(in_training)
    return row


def _known_facts(atomic: Mapping[str, Queries], right: Mapping[str, Bool[Tensor, " query"]]) -> set[int]:
    """The facts that are answered correctly when asked by themselves; those never asked so count as unknown."""
    return {
        fact
        for name, asked in atomic.items()
        for facts, is_right in zip(_facts(asked), right[name].tolist(), strict=True)
        for fact in facts
        if is_right
    }


def _facts(queries: Queries) -> list[set[int]]:
    """The numbers of the facts that each question rests on; none where facts have no numbers."""
    columns = [column.tolist() for column in queries.facts.values()]
    return [{fact for fact in row if fact >= 0} for row in zip(*columns, strict=True)] if columns else [set()] * len(queries)


def n_reported(task: Task) -> dict[str, int]:
    """The number of queries that each split's reported accuracy rests on."""
    return {name: len(queries.halves()[1]) for name, queries in evaluation_queries(task).items()}


def shortcut_floors(task: Task) -> dict[str, float]:
    """The best shortcut's accuracy on each test split, as `floor_<split>`, on the reported half.

    NaN where no question of that kind is trained, from which a shortcut could be learned.
    """
    if not task.shortcuts:
        return {}
    kinds = {task.split(name).roles for name in splits_for(task, "trained")}
    asked = {name: task.split(name).halves()[1] for name in splits_for(task, "test")}
    return {
        f"floor_{name}": max(shortcut_accuracy(task, queries).values()) if queries.roles in kinds else math.nan
        for name, queries in asked.items()
    }


def _mean(right: Bool[Tensor, " query"]) -> float:
    values: Float[Tensor, " query"] = right.double()
    return float(values.mean()) if len(values) else float("nan")
