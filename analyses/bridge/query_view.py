"""One question on one page: what each state says, where heads look if there are any, and which edges carry the answer."""

import html
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ...circuits import Circuit, draw
from ...circuits.arguments import is_whole, refuse, shortly
from ...circuits.destination import file_problems
from ...circuits.plain_text import LONGEST, never_raising, shortened
from ...circuits.writing import write_atomic
from ...tasks import PromptPairs, TwoHopTask, top_token
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.transformerlens import Model
from ..forward.cached import CachedRun
from ..forward.head import decode
from ..forward.model import graph_of, residual_states
from ..forward.patterns import pattern_of
from ..forward.state_runs import run_model
from ..page import Report
from ..patching.attention import AttentionView, view_attention
from ..patching.exact import path_patch
from ..patching.query_details import query_details
from ..plots.style import stage_names
from ..plots.theme import COLOURS, GREYS

TOP_EDGES = 12
CELL_COLOUR = dict(zip(("bridge", "answer", "h", "r1", "r2"), COLOURS, strict=False))


@dataclass(frozen=True, eq=False, repr=False)
class QueryView:
    """One question seen from the inside; shows itself in Jupyter.

    Attributes:
        title: the question, the bridge, the answer and what the model says.
        lens: a row for each stage (columns layer, after) and role with the most likely token, its probability, and what it
            is in this question (`bridge`, `answer`, `h`, `r1`, `r2`, or empty, as where several tokens are equally likely).
        edges: the strongest edges with delta, how much each one moves the logit difference, in nats, if it alone comes
            from the corrupt prompt.
        page: all of it as an HTML page that needs no network.
    """

    title: str
    lens: pd.DataFrame
    edges: pd.DataFrame
    page: str = field(repr=False)

    @never_raising
    def __repr__(self) -> str:
        return f"<QueryView: {shortened(self.title, LONGEST)}>"

    def save(self, path: str | Path) -> Path:
        """Write the page atomically; returns the path."""
        refuse(file_problems(path=path))
        return write_atomic(Path(path), self.page)

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{html.escape(self.page)}" width="100%" height="900" style="border:0"></iframe>'


@torch.no_grad()
def view_query(model: Model, task: TwoHopTask, pairs: PromptPairs, number: int) -> QueryView:
    """Look at one question: lens, attention and top effects.

    Args:
        model: any model that `graph_of` accepts; it is not changed.
        task: says what the tokens are.
        pairs: of `make_pairs`; the corrupt prompt says what an edge is patched with.
        number: which of the pairs.

    Raises:
        IndexError: if there is no such pair.
        ValueError: if the number is not whole, or its clean prompt is no two-hop question of the task.
    """
    if wrong := pairs_problems(pairs=pairs):
        refuse([*wrong, f"so there is no pair of the number {shortly(number)}"])
    if not len(pairs):
        raise ValueError(f"no pair: {pairs.contrast} holds none")
    if not is_whole(number):
        raise ValueError(f"number is {shortly(number)}, needed is a whole number, 0 to {len(pairs) - 1}")
    if not 0 <= number < len(pairs):
        raise IndexError(f"number is {number}, there are {len(pairs)} pairs, 0 to {len(pairs) - 1}")
    pair = pairs.take(torch.tensor([number], device="cpu"))
    pair.check_against(model)
    meaning = _meaning(task, pair)
    run = run_model(model, graph_of(model, pair.roles, pair.answer_position), pair.clean)
    names = {role: task.token_name(token) for role, token in meaning.items()}
    said = task.token_name(int(run.logits[0].argmax()))
    question = f"({names['h']}, {names['r1']}, {names['r2']}) → {names['bridge']} → {names['answer']}"
    title = f"{question}; {model.cfg.model_name} says {said}"
    lens = _lens(model, task, pair, meaning)
    effects = path_patch(model, pair, per_query=True)
    edges = _strongest(effects.to_frame())
    report = Report(title)
    report.heading("What each state would answer")
    report.paragraph("Logit lens: the most likely token and its probability; coloured where it is part of this question.")
    report.fragment(_lens_grid(lens))
    if isinstance(run, CachedRun):  # a network that mixes tokens has no heads
        report.heading("Where heads look")
        attention = _attention(run, pair, names)
        report.fragment(attention.html, scripts=[attention.script])
    corrupt = " ".join(map(task.token_name, pair.corrupt[0].tolist()))
    report.heading("Which edges carry the answer")
    gap = f"{names['answer']} loses {effects.gap:.2f} nats to {task.token_name(int(pair.foils[0]))}"
    report.paragraph(f"From the corrupt prompt {corrupt} comes one edge at a time. If all do, {gap}. n = 1 question.")
    circuit = Circuit.from_effects(effects, top_k=min(TOP_EDGES, len(effects.table)))
    if circuit.kept_edges:
        reading = f"Of the {TOP_EDGES} strongest edges of this one question those that connect input and answer."
        reading += " Select an edge or a head to see where the head looks. n = 1 question."
        details = query_details(model, pair, token_names=task.token_name, n_patterns=0, progress=False)
        report.diagram(draw(circuit, queries=details), reading)
    else:
        report.paragraph(f"No shares of it: {effects.reason or 'no edge connects input and answer'}.")
        report.table(edges)
    return QueryView(title, lens, edges, report.page())


def _meaning(task: TwoHopTask, pair: PromptPairs) -> dict[str, int]:
    """The tokens of a question by what they are in it: answer and bridge first, since they tell more."""
    graph, (head, first, second) = task.graph, pair.clean[0, :3].tolist()
    facts = -1, -1
    if head < graph.n_entities <= min(first, second) and max(first, second) < graph.n_entities + graph.n_relations:
        hop1 = int(graph.fact_of[head, first - graph.n_entities])
        hop2 = int(graph.fact_of[graph.tails[hop1], second - graph.n_entities]) if hop1 >= 0 else -1
        facts = hop1, hop2
    if min(facts) < 0:
        names = ", ".join(map(task.token_name, (head, first, second)))
        raise ValueError(f"({names}) is no two-hop question of this task: its facts are not in the graph")
    bridge, answer = (int(graph.tails[fact]) for fact in facts)
    return {"bridge": bridge, "answer": answer, "h": head, "r1": first, "r2": second}


def _lens(model: Model, task: TwoHopTask, pair: PromptPairs, meaning: dict[str, int]) -> pd.DataFrame:
    what = {token: role for role, token in reversed(meaning.items())}
    rows = []
    for stage, states in residual_states(model, pair.clean, pair.answer_position).items():
        for role, logits in zip(pair.roles, decode(model, states[0]), strict=True):
            token = int(logits.argmax())
            row = {**stage._asdict(), "role": role, "token": task.token_name(token)}
            rows.append(row | {"probability": float(logits.softmax(-1)[token]), "is": what.get(int(top_token(logits)), "")})
    return pd.DataFrame(rows)


def _lens_grid(lens: pd.DataFrame) -> str:
    """The lens as a table of coloured cells, the last stage on top."""
    roles = list(dict.fromkeys(lens["role"]))
    lines = []
    for stage, rows in lens.assign(stage=stage_names(lens)).groupby("stage", sort=False):
        cells = "".join(map(_lens_cell, rows.to_dict("records")))
        lines.append(f"<tr><th>{html.escape(str(stage))}</th>{cells}</tr>")
    heads = "".join(f"<th>{html.escape(role)}</th>" for role in roles)
    return f'<div class="wide"><table class="lens">{"".join(reversed(lines))}<tr><th></th>{heads}</tr></table></div>'


def _lens_cell(row: Mapping[Hashable, Any]) -> str:
    colour = CELL_COLOUR.get(row["is"], GREYS["plain"])
    shade = f"background: {colour}{round(255 * 0.45 * row['probability']):02x}"
    what = f" <b>{html.escape(row['is'])}</b>" if row["is"] else ""
    return f'<td style="{shade}">{html.escape(row["token"])}{what} {row["probability"]:.2f}</td>'


def _attention(run: CachedRun, pair: PromptPairs, names: Mapping[str, str]) -> AttentionView:
    patterns = torch.stack([pattern_of(run, layer)[0] for layer in range(run.graph.n_layers)])
    tokens = [f"{role}={names[role]}" if role in names else role for role in pair.roles]
    return view_attention(patterns, tokens, causal=run.graph.causal, title="attention")


def _strongest(frame: pd.DataFrame) -> pd.DataFrame:
    order = frame["delta"].abs().sort_values(ascending=False, kind="stable").index[:TOP_EDGES]
    return frame.loc[order, ["sender", "receiver", "delta"]].reset_index(drop=True)
