"""Causal tracing: replace one state by that of a perturbed run and see whether the answer changes.

Wang et al. 2024 (arXiv 2405.15071), section 3.3 and appendix D.1: the strength of a cell (layer, position) is the share of
queries whose top answer changes when that state alone is taken from a run in which one token of the prompt is another.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from ...circuits import Result
from ...circuits.arguments import common_problems, refuse, whole_problems
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...circuits.progress import with_bar
from ...tasks import Queries, top_token
from ...tasks.questions.given import queries_problems
from ...tasks.questions.validity import inputs_of, problems_with, prompt_problems, vocabulary_problems
from ...tasks.transformerlens import Model
from ..forward.cached import CachedRun
from ..forward.memory import batches_of
from ..forward.model import check_described, check_model, graph_of
from ..forward.single import input_logits
from ..forward.state_runs import StateRun, run_model, with_states
from ..plots.heatmaps import cell_heatmaps, effect_heatmap
from ..statistics import wilson_row
from .largest import CHOSEN, Cells, without_number

N_COPIES = 16  # of each prompt that `trace_inputs` runs at once
Cell = Mapping[str, int | str]
"""The columns that say what was replaced."""


@dataclass(frozen=True, eq=False)
class CausalTraceResult(Result):
    """How often the answer changes with a single state.

    Attributes:
        table: a row for each perturbed token and state, with layer (−1: the embedding) and role, or each perturbed token and
            receiver, with
            perturbed: what was replaced in the prompt;
            strength: share of queries whose top answer changes;
            low, high: its 95 % Wilson interval over units;
            n: queries answered correctly, over which it is counted; n_facts: their units, the hop-1 facts of two-hop
            questions; n_asked: all queries.
        model: the model's name.
        split: the queries' split.
    """

    table: Annotated[pd.DataFrame, Columns(words="perturbed", numbers="strength low high", whole="n n_facts n_asked")]
    model: str
    split: str

    @property
    def caption(self) -> str:
        """Model, split and n in one line."""
        row = self.table.iloc[0]
        return f"{self.model} · {self.split} · n = {row['n']} of {row['n_asked']} queries over {row['n_facts']} units"

    def explain(self) -> Explanation:
        """On which state, or input, the answer hangs, for each perturbed token."""
        what = "receiver" if "receiver" in self.table else "role"
        measured = (
            f"How often the top answer changes when one {'state' if what == 'role' else 'input'} is taken from a run in "
            "which a token of the prompt is another."
        )
        every = Cells.of(self.table)
        away = self.table
        if what in away and len(away):
            away = away[away["perturbed"] != away[what]]
        away = Cells(away)
        best = {token: row for token in away.names("perturbed") if (row := away.having(perturbed=token).largest("strength"))}
        if not best:
            return without_number(measured, self.table, self.model, self.split)
        shares = ", ".join(f"at {row.place} with another {token} ({row.number('strength')})" for token, row in best.items())
        first, row = next(iter(best.items()))
        own = every.having(perturbed=first, layer=-1, role=first).largest("strength")
        whole = f"; another {first} in the whole prompt changes {own.number('strength')} of them" if own else ""
        only = f"Only questions answered right count, {row.whole('n')} of {row.whole('n_asked')}"
        return Explanation(
            measured=measured,
            on=f"{row.asked(self.model, self.split, of=row.as_number('n_asked'))}, those answered right.",
            means=f"The answer changes most often {shares}{', each own position left out' if what == 'role' else ''}; 1 is "
            "always, 0 never.",
            sure=f"{row.bounds(of=f'For {first} at {row.place}')} {CHOSEN}",
            would_change=f"{only}{whole}.",
        )

    def figure(self) -> Any:
        """A heat map of strength, layer × position for each perturbed token, or receiver × perturbed token."""
        label, title = "share of answers changed", f"causal trace · {self.caption}"
        if "receiver" in self.table:
            rows = self.table.rename(columns={"perturbed": "sender", "strength": "effect"})
            return effect_heatmap(rows, label=label, title=title, signed=False)
        title = f"{title} · on hover: 95 % Wilson over units"
        return cell_heatmaps(self.table, "perturbed", "strength", label=label, title=title, bounds=True)


@torch.no_grad()
def causal_trace(
    model: Model,
    queries: Queries,
    perturbed: Mapping[str, Int[Tensor, "query pos"]],
    *,
    window: int = 1,
    max_memory: int | None = None,
    progress: bool = True,
) -> CausalTraceResult:
    """Trace which states carry the answer.

    Args:
        model: any model that `graph_of` accepts; it is not changed.
        queries: the questions; those answered wrongly are left out.
        perturbed: prompts with another token, by what was replaced, see `tasks.perturb`.
        window: replace the state after this many layers, from the cell's layer on; 1 is causal tracing as published.
        max_memory: bytes that may be used; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.

    Raises:
        ValueError: if the window is less than 1, queries or perturbed prompts do not fit the model or each other (all
            problems at once), or the model answers none correctly.
        MemoryError: if not a single prompt fits into `max_memory`.
    """
    n_layers = getattr(getattr(model, "cfg", None), "n_layers", None)
    problems = queries_problems(queries=queries) + whole_problems(1, most=n_layers, window=window)
    refuse(problems + common_problems(max_memory=max_memory, progress=progress))

    def cells(run: StateRun, other: StateRun) -> Iterator[tuple[Cell, Tensor]]:
        for layer, (position, role) in product(range(-1, run.graph.n_layers), enumerate(run.graph.roles)):
            layers = range(layer, min(layer + window, run.graph.n_layers))
            states = [{position: other.state(each)[None, :, position]} for each in layers]
            yield {"layer": layer, "role": role}, with_states(run, layer, *states)[0]

    return _trace(model, queries, perturbed, cells, max_memory, progress)


@torch.no_grad()
def trace_inputs(
    model: Model,
    queries: Queries,
    perturbed: Mapping[str, Int[Tensor, "query pos"]],
    *,
    max_memory: int | None = None,
    progress: bool = True,
) -> CausalTraceResult:
    """As `causal_trace`, for what one input alone reads: a head's queries, keys or values, an MLP or the logits.

    Args:
        model: any model that `graph_of` accepts; it is not changed.
        queries: the questions; those answered wrongly are left out.
        perturbed: prompts with another token, by what was replaced, see `tasks.perturb`.
        max_memory: bytes that may be used; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.

    Raises:
        ValueError: as `causal_trace`.
        MemoryError: as `causal_trace`.
    """
    refuse(queries_problems(queries=queries) + common_problems(max_memory=max_memory, progress=progress))

    def cells(run: StateRun, other: StateRun) -> Iterator[tuple[Cell, Tensor]]:
        assert isinstance(run, CachedRun) and isinstance(other, CachedRun)  # of a model that is described
        receivers = run.graph.receivers
        for places, logits in input_logits(run, other, receivers, n_copies=N_COPIES):
            for i, each in zip(places, logits, strict=True):
                yield {"receiver": str(receivers[i])}, each

    check_model(model)
    check_described(model, queries.tokens.shape[1])
    return _trace(model, queries, perturbed, cells, max_memory, progress, n_copies=N_COPIES)


def _trace(
    model: Model,
    queries: Queries,
    perturbed: Mapping[str, Int[Tensor, "query pos"]],
    cells: Callable[[StateRun, StateRun], Iterator[tuple[Cell, Tensor]]],
    max_memory: int | None,
    progress: bool,
    *,
    n_copies: int = 1,
) -> CausalTraceResult:
    """Count for each cell how often the answer changes."""
    check_model(model)
    if problems := problems_with(model, queries) + _problems(model, queries, perturbed):
        raise ValueError("these questions cannot be traced: " + "; ".join(problems))
    graph = graph_of(model, queries.roles, queries.answer_position)
    changed: dict[tuple[tuple[str, int | str], ...], list[Tensor]] = {}
    answered = []
    batches = batches_of(model, *queries.tokens.shape, max_memory=max_memory, n_runs=2, n_copies=n_copies)
    for rows in with_bar(batches, "tracing", show=progress):
        run = run_model(model, graph, queries.tokens[rows])
        right = top_token(run.logits).cpu() == queries.answers[rows]
        answered.append(rows[right])
        for role, tokens in perturbed.items():
            for cell, logits in cells(run, run_model(model, graph, tokens[rows])):
                differs = top_token(logits).cpu() != queries.answers[rows]
                changed.setdefault((("perturbed", role), *cell.items()), []).append(differs[right])
    asked = queries.take(torch.cat(answered))
    if not len(asked):
        raise ValueError(f"the model answers none of the {len(queries)} queries of {queries.split} correctly")
    table = []
    for cell, parts in changed.items():
        share = wilson_row(torch.cat(parts), asked.unit)
        row = {"strength": share.value, "low": share.low, "high": share.high, "n": share.n, "n_facts": share.n_units}
        table.append(dict(cell) | row)
    frame = pd.DataFrame(table).assign(n_asked=len(queries))
    return CausalTraceResult(frame, model.cfg.model_name, queries.split)


def _problems(model: Model, queries: Queries, perturbed: Mapping[str, Tensor]) -> list[str]:
    """Why perturbed prompts are none: they must be tokens of the model in the queries' shape."""
    problems = [each for role, tokens in perturbed.items() for each in prompt_problems(f"perturbed {role}", tokens)]
    shape = tuple(queries.tokens.shape)
    if bad := [f"{role}: {tuple(t.shape)}" for role, t in perturbed.items() if not problems and t.shape != shape]:
        problems.append(f"perturbed prompts must have the queries' shape {shape}, got {', '.join(bad)}")
    if not problems:
        problems = vocabulary_problems({f"perturbed {role}": t for role, t in perturbed.items()}, inputs_of(model.cfg))
    return problems if perturbed else ["no perturbed prompts: give some, by what was replaced, see tasks.perturb"]
