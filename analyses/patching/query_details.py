"""What stands behind a circuit's edges, query by query: words, answers, logit differences, and where heads look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ...circuits import Result
from ...circuits.arguments import common_problems, is_whole, refuse, shortly, whole_problems
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation, without_rows
from ...circuits.plain_text import counted
from ...circuits.progress import with_bar
from ...circuits.units import shown
from ...tasks import PromptPairs
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.questions.padding import aligned
from ...tasks.questions.validity import problems_with, taken_problems
from ...tasks.transformerlens import Model
from ..forward.engine import AnyRun, AttendingEngine, Engine, engine_of
from ..statistics import numbered
from .gap import metric_by_query
from .metrics import exact_match, logit_difference
from .query_attention import ELSEWHERE, MEANS, OF_QUERIES, ROW_BYTES, QueryAttention, nothing
from .token_words import TokenNames, words_of

SIDES = ("clean", "corrupt")


@dataclass(frozen=True, eq=False)
class QueryDetails(Result):
    """The queries that effects were measured on, one by one, and where a model's heads look on their clean prompts.

    Attributes:
        table: a row for each query (its number among the pairs) and role, with the words at that role of the clean and the
            corrupt prompt; missing where a prompt has a pad there. Prompts with trailing pads are moved, and roles with
            them, as the model is asked them.
        queries: a row for each query with the words of answer and foil, logit(answer) − logit(foil) on both prompts
            (`clean_logit_difference`, `corrupt_logit_difference`, in nats), and whether each is answered right: the answer
            is more likely than every other token on the clean prompt (`clean_right`), the foil on the corrupt one
            (`corrupt_right`).
        attention: a row for each head (`L0H1`, as nodes are printed), destination (the role that looks) and source (the
            role that is looked at), with the mean weight over the clean prompts, its standard error over units, n, the
            number of prompts that have a token at the destination, and n_units, of their units. Weights of one
            destination sum to 1: the source `elsewhere` has what a head gives to pads that the model sees, or to no
            position at all (attention sinks). Destinations are the roles that can affect the answer; sources all that
            they can see. Without rows for a model without heads.
        patterns: the same weights of single queries, a row for each query, head, destination and source; no row where the
            query has a pad at the destination.
        model: the model's name.
        pairs: hash of the prompt pairs.
        contrast: what differs between clean and corrupt prompts.
        answer_role: where the answer is read.
    """

    table: Annotated[pd.DataFrame, Columns(words="role clean corrupt", whole="query")]
    queries: Annotated[
        pd.DataFrame,
        Columns(
            words="answer foil",
            numbers="clean_logit_difference corrupt_logit_difference",
            whole="query",
            flags="clean_right corrupt_right",
        ),
    ] = field(repr=False)
    attention: Annotated[
        pd.DataFrame, Columns(words="head destination source", numbers="weight stderr", whole="n n_units")
    ] = field(repr=False)
    patterns: Annotated[pd.DataFrame, Columns(words="head destination source", numbers="weight", whole="query")] = field(
        repr=False
    )
    model: str
    pairs: str
    contrast: str
    answer_role: str

    @property
    def caption(self) -> str:
        """Model, n, how many are answered right, and whose attention is known, in one line."""
        n, right = len(self.queries), self._n_right
        looks = f"{self._n_heads} heads, patterns of {self._n_shown} queries" if self._n_heads else "no heads"
        return f"{self.model} · {self.contrast} · n = {n} pairs, {right[0]} clean and {right[1]} corrupt right · {looks}"

    def explain(self) -> Explanation:
        """How many of the queries are answered right, and whose attention is known."""
        if self.queries.empty:
            return without_rows(self.model)
        n, (clean, corrupt), looks = len(self.queries), self._n_right, ", and the model has no heads"
        if self._n_heads:
            looks = f", and where {counted(self._n_heads, 'head')} look on the clean prompts"
        errors, n_units = self.attention.get("stderr", pd.Series(dtype=float)), self.attention.get("n_units", pd.Series([0]))
        weights = (
            f"mean weights of attention have standard errors of at most {shown(errors.max())}, over "
            f"{counted(int(n_units.max()), 'unit')}"
            if errors.notna().any()
            else "no standard error of attention is held"
        )
        return Explanation(
            measured=f"Words, answers and logit(answer) − logit(foil) of each query{looks}.",
            on=f"{self.model}, {counted(n, 'prompt pair')}, contrast {self.contrast}, answers read at {self.answer_role}.",
            means=f"On {clean} of {n} clean prompts the answer is more likely than every other token, on {corrupt} of "
            f"{n} corrupt ones the foil.",
            sure=f"These are counts of these queries, with no interval; {weights}.",
            would_change="Other queries; a tie for the most likely token counts as wrong. Own patterns are kept of "
            f"{counted(self._n_shown, 'query', 'queries')}.",
        )

    @property
    def _n_right(self) -> list[int]:
        """How many clean and corrupt prompts are answered right."""
        return [int(self.queries[f"{side}_right"].sum()) if len(self.queries) else 0 for side in SIDES]

    @property
    def _n_heads(self) -> int:
        return self.attention["head"].nunique() if len(self.attention) else 0

    @property
    def _n_shown(self) -> int:
        """Of how many queries there are patterns of their own."""
        return self.patterns["query"].nunique() if len(self.patterns) else 0


@torch.no_grad()
def query_details(
    model: Model,
    pairs: PromptPairs,
    *,
    token_names: TokenNames = None,
    n_patterns: int = 8,
    patterns_of: Sequence[int] | np.ndarray | Tensor | None = None,
    max_memory: int | None = None,
    progress: bool = True,
) -> QueryDetails:
    """Look at every query: its words, how it is answered, and where heads look on its clean prompt.

    Args:
        model: any model that `graph_of` accepts; left unmodified.
        pairs: those that effects were measured on, so that queries have the same numbers.
        token_names: what tokens are called: a function or mapping from tokens to words, a task (its `token_name`), or a
            tokenizer; by default the model's tokenizer says, and without one a token is called by its number.
        n_patterns: how many queries, the first ones, keep their own patterns.
        patterns_of: of these queries, by number, instead.
        max_memory: bytes that may be used; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.

    Raises:
        TypeError: if the model's insides are not known here, and it has no hook points of a decoder.
        ValueError: for no pair, tokens and positions that the model does not have, tokens that have no word, or a role
            called `elsewhere`, all problems at once; if the model carries hooks, an answer would be read at a pad, or
            logits are not finite.
        MemoryError: if not a single pair fits into `max_memory`.
    """
    words, nameless = words_of(token_names, model, _tokens_of(pairs))
    problems = pairs_problems(pairs=pairs) + _problems_of_pairs(model, pairs) + nameless
    problems += whole_problems(0, n_patterns=n_patterns) + _problems_of_numbers(patterns_of, pairs)
    refuse(problems + common_problems(max_memory=max_memory, progress=progress))
    engine = engine_of(model, pairs.roles, pairs.answer_position, max_memory=max_memory)
    kept = range(min(n_patterns, len(pairs))) if patterns_of is None else [int(each) for each in patterns_of]
    attention = QueryAttention(engine, kept) if isinstance(engine, AttendingEngine) else None
    asked = {side: _as_asked(model, pairs, getattr(pairs, side)) for side in SIDES}
    measured = []
    for rows in with_bar(_batches(engine, pairs, attention), "looking at queries", show=progress):
        run, numbers = _answered(engine, pairs.take(rows))
        measured.append(numbers.assign(query=rows.numpy()))
        if attention is not None:
            attention.note(run, asked["clean"].real[rows], rows, pairs.unit[rows])
    return QueryDetails(
        _words(pairs, words, asked),
        _queries(pairs, words, pd.concat(measured)),
        nothing(MEANS) if attention is None else attention.means(),
        nothing(OF_QUERIES) if attention is None else attention.patterns(),
        *(model.cfg.model_name, pairs.key, pairs.contrast, pairs.answer_role),
    )


def _tokens_of(pairs: Any) -> list[int]:
    """All that occur in prompts and answers, each once; none in what is no pairs."""
    if not isinstance(pairs, PromptPairs):
        return []
    return torch.cat([each.flatten() for each in (pairs.clean, pairs.corrupt, pairs.answers, pairs.foils)]).unique().tolist()


def _problems_of_pairs(model: Model, pairs: Any) -> list[str]:
    """Why a model cannot be asked some pairs, or their roles cannot be told from what is no role."""
    if not isinstance(pairs, PromptPairs):
        return []
    asked = problems_with(model, pairs)
    found = ["the model cannot be asked these pairs: " + "; ".join(asked)] if asked else []
    return found + taken_problems("a role", pairs.roles, (ELSEWHERE,), by="stands for what is no role")


def _problems_of_numbers(numbers: Any, pairs: Any) -> list[str]:
    """Why something does not say of which queries patterns are kept."""
    if numbers is None:
        return []
    given = numbers.tolist() if isinstance(numbers, np.ndarray | Tensor) and numbers.ndim == 1 else numbers
    if isinstance(given, str) or not isinstance(given, Sequence):
        return [f"patterns_of is {shortly(numbers)}, needed are numbers of queries, as in patterns_of=[0, 5]"]
    there = range(len(pairs)) if isinstance(pairs, PromptPairs) else ()
    wrong = [each for each in given if not is_whole(each) or each not in there]
    if not wrong:
        return []
    possible = f"0 to {len(there) - 1}" if there else "of which there are none"
    return [f"patterns_of are numbers of queries, {possible}, got {', '.join(map(shortly, wrong))}"]


class _Asked(NamedTuple):
    """Prompts as the model is asked them: their tokens at the roles, and which of these are no pads."""

    tokens: Int[Tensor, "query pos"]
    real: Bool[Tensor, "query pos"]


def _as_asked(model: Any, pairs: PromptPairs, tokens: Int[Tensor, "query pos"]) -> _Asked:
    prompts = aligned(model, tokens, pairs.answer_position)
    return _Asked(prompts.tokens, torch.ones_like(tokens, dtype=torch.bool) if prompts.real is None else prompts.real)


def _batches(engine: Engine[Any], pairs: PromptPairs, attention: QueryAttention | None) -> list[Int[Tensor, " row"]]:
    """The numbers of the queries, those of a unit one after the other, as many at a time as memory allows."""
    order = torch.from_numpy(np.argsort(numbered(pairs.unit), kind="stable"))
    results = ROW_BYTES * pairs.clean.numel() + (0 if attention is None else attention.n_bytes)
    return [order[rows] for rows in engine.batches(len(pairs), "looks", results=results)]


def _answered(engine: Engine[AnyRun], part: PromptPairs) -> tuple[AnyRun, pd.DataFrame]:
    """The run of the clean prompts, and how both sides are answered."""
    runs = engine.run(part.clean, part.corrupt)
    swapped = replace(part, clean=part.corrupt, corrupt=part.clean, answers=part.foils, foils=part.answers)
    columns = {}
    for side, run, own in zip(SIDES, runs, (part, swapped), strict=True):
        columns[f"{side}_logit_difference"] = metric_by_query(logit_difference, run.logits, part)
        columns[f"{side}_right"] = metric_by_query(exact_match, run.logits, own).astype(bool)
    return runs[0], pd.DataFrame(columns)


def _words(pairs: PromptPairs, words: Mapping[int, str], asked: Mapping[str, _Asked]) -> pd.DataFrame:
    """What stands at each role of each query."""
    n, n_pos = pairs.clean.shape
    columns: dict[str, Any] = {"query": np.repeat(np.arange(n), n_pos), "role": list(pairs.roles) * n}
    for side, prompts in asked.items():
        places = zip(prompts.tokens.flatten().tolist(), prompts.real.flatten().tolist(), strict=True)
        columns[side] = [words[token] if real else None for token, real in places]
    return pd.DataFrame(columns)


def _queries(pairs: PromptPairs, words: Mapping[int, str], measured: pd.DataFrame) -> pd.DataFrame:
    """How each query is answered, in the order of the pairs."""
    said = {"answer": pairs.answers, "foil": pairs.foils}
    columns = {name: [words[token] for token in tokens.tolist()] for name, tokens in said.items()}
    numbers = measured.sort_values("query", ignore_index=True)
    order = [f"{side}_{what}" for what in ("logit_difference", "right") for side in SIDES]
    return pd.DataFrame({"query": numbers["query"], **columns, **{name: numbers[name] for name in order}})
