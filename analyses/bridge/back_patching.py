"""Back-patching: a state of a later layer is put back into an earlier one, for questions that the model gets wrong.

If the answer then comes out right, the state held what was missing, only too late to be used (Biran et al. 2024, arXiv
2406.12775). Any of many patches may help by chance: the control is the same search with the states of another question.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any

import pandas as pd
import torch
from jaxtyping import Bool, Int

from ...circuits import ComputationGraph, Result
from ...circuits.arguments import common_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...circuits.plain_text import counted
from ...tasks import Queries
from ...tasks.questions.given import queries_problems
from ...tasks.questions.validity import taken_problems
from ...tasks.transformerlens import Model
from ..forward.model import graph_of
from ..forward.state_runs import StateRun, with_states
from ..forward.states import run_states
from ..plots.heatmaps import back_patching_heatmaps
from ..statistics import derangement, wilson_row
from .answers import Copies, Rows, answers_of, answers_with
from .largest import Cells, without_number

ANY = "any"  # the role of the row for any patch at all


@dataclass(frozen=True, eq=False)
class BackPatchingResult(Result):
    """How often a wrong answer is corrected by patching back a later state.

    Attributes:
        table: a row for each position, source layer and earlier target layer, and one with role `any` for any patch at
            all, with
            corrected: share of the wrongly answered questions then answered correctly; low, high: its 95 % Wilson interval
            over units;
            control: the same with the states of another question; control_low, control_high;
            n, n_facts: wrongly answered questions, and their units.
        model: the model's name.
        split: the questions' split.
        n_asked: all questions.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(words="role", numbers="corrected low high control control_low control_high", whole="source target n"),
    ]
    model: str
    split: str
    n_asked: int

    @property
    def caption(self) -> str:
        """Model, split, n and the share corrected by any patch."""
        row = self.table[self.table["role"] == ANY].iloc[0]
        corrected = f"any patch corrects {row['corrected']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        control = f"of another question {row['control']:.2f}"
        return f"{self.model} · {self.split} · n = {row['n']} wrong of {self.n_asked} · {corrected}, {control}"

    def explain(self) -> Explanation:
        """How many wrong answers a patch corrects, next to the same search with another question's states."""
        measured = (
            "Whether a wrong answer comes out right when the state after a later layer is put in place of that after an "
            "earlier one, at the same position; each patch is tried by itself."
        )
        cells = Cells.of(self.table)
        whole = cells.having(role=ANY).largest("corrected")
        patches = Cells(self.table[self.table["role"] != ANY]) if whole else cells
        best = patches.largest("corrected")
        if whole is None or best is None:
            return without_number(measured, self.table, self.model, self.split)
        control = whole.bounds("control_low", "control_high", of="With another question's states")
        n_patches = counted(len(patches.rows), "patch", "patches")
        return Explanation(
            measured=measured,
            on=f"{whole.asked(self.model, self.split, of=self.n_asked)}, those answered wrong; {n_patches} of each.",
            means=f"Some patch corrects {whole.number('corrected')} of them (1 is all, 0 none); the best single one "
            f"corrects {best.number('corrected')}, at {best.text('role')} from {best.layer('source')} to "
            f"{best.layer('target')}.",
            sure=f"{whole.bounds()} {control}",
            would_change=f"The same search with another question's states corrects {whole.number('control')}: only more "
            f"than that is more than chance. With fewer than {n_patches} both would be smaller.",
        )

    def figure(self) -> Any:
        """A heat map of the share corrected, source × target layer, for each position."""
        return back_patching_heatmaps(
            self.table[self.table["role"] != ANY], title=f"{self.caption} · on hover: 95 % intervals"
        )


@torch.no_grad()
def back_patch(
    model: Model,
    queries: Queries,
    *,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> BackPatchingResult:
    """Try every state of a later layer at the same position of every earlier layer.

    Args:
        model: any model that `graph_of` accepts; it is not changed.
        queries: questions, of which those answered wrongly are used.
        max_memory: bytes that may be used; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the shuffle that gives each question another one's states.

    Raises:
        ValueError: for no question, tokens and positions that the model does not have, or a role called `any`; if fewer
            than two questions are answered wrongly.
        MemoryError: if not a single question fits into `max_memory`.
    """
    refuse(queries_problems(queries=queries) + common_problems(seed=seed, progress=progress, max_memory=max_memory))
    if problems := taken_problems("a role", queries.roles, (ANY,), by="stands for any patch at all"):
        raise ValueError("; ".join(problems))
    queries.check_against(model)
    graph = graph_of(model, queries.roles, queries.answer_position)
    wrong = queries.take(answers_of(model, graph, queries, max_memory=max_memory) != queries.answers)
    if len(wrong) < 2:
        raise ValueError(
            f"{len(wrong)} of the {len(queries)} questions of {queries.split} are answered wrongly, needed are 2"
        )
    states, n = run_states(model, graph, wrong.tokens, max_memory=max_memory), len(wrong)
    other, places = derangement(n, seed=seed), _places(graph, states.stop)

    def patched(run: StateRun, part: Rows) -> Iterator[tuple[tuple[int, int, int], Copies]]:
        for position, target, source in places:
            late = states.state(source)[:, position]
            yield (position, target, source), with_states(run, target, {position: torch.stack([late, late[other]])[:, part]})

    options: dict[str, Any] = {
        "n_places": len(places),
        "n_copies": 2,
        "kept": states.n_bytes,
        "what": "patching back",
        "progress": progress,
    }
    options |= {"max_memory": max_memory}
    rows, ever = [], torch.zeros(2, n, dtype=torch.bool, device="cpu")
    for (position, target, source), answers in answers_with(model, graph, wrong, patched, **options).items():
        corrected = answers == wrong.answers
        ever |= corrected
        place = {"role": graph.roles[position], "source": source, "target": target}
        rows.append(place | _shares(corrected, wrong.unit))
    rows.append({"role": ANY, "source": -1, "target": -1} | _shares(ever, wrong.unit))
    return BackPatchingResult(pd.DataFrame(rows), model.cfg.model_name, queries.split, len(queries))


def _places(graph: ComputationGraph, stop: int) -> list[tuple[int, int, int]]:
    """Positions with a target layer and a later source layer."""
    return [(at, *layers) for at in range(stop) for layers in combinations(range(-1, graph.n_layers), 2)]


def _shares(right: Bool[torch.Tensor, "2 query"], unit: Int[torch.Tensor, " query"]) -> dict[str, float]:
    corrected, control = (wilson_row(each, unit) for each in right.cpu())
    row = {"corrected": corrected.value, "low": corrected.low, "high": corrected.high, "control": control.value}
    return row | {"control_low": control.low, "control_high": control.high, "n": corrected.n, "n_facts": corrected.n_units}
