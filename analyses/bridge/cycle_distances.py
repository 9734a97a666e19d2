"""What a loop does to its states: does each come to rest, or is it made anew in every cycle?

A model that applies its blocks again has states one cycle apart that the same computation put out. If these are equal, the
loop has come to a fixed point there, as looped language models do (Arroyo et al. 2026, arXiv 2604.11791). How far two states
are apart means nothing by itself, so it is counted in distances between the states of different questions at that place: 0
is at rest, 1 is as far as another question.
"""

from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch

from ...circuits import Result
from ...circuits.arguments import common_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...circuits.plain_text import counted
from ...tasks import PromptPairs, Queries
from ...tasks.questions.given_pairs import asked_problems
from ...tasks.transformerlens import Model
from ..forward.model import check_model, cycle_of, graph_of
from ..forward.states import run_states
from ..plots.heatmaps import cell_heatmaps
from ..statistics import bootstrap_ratio, derangement
from .largest import Cells, without_number


@dataclass(frozen=True, eq=False)
class CycleDistancesResult(Result):
    """How far states are from what they were one cycle earlier.

    Attributes:
        table: a row for each layer from the second cycle on, and role, with
            earlier: the layer one cycle before;
            distance: the mean distance of a question's states after these two layers, over the mean distance of different
            questions' states after `layer` there; low, high: its 95 % interval (bootstrap over units);
            NaN where all questions have one state;
            nearer: share of questions whose earlier state is nearer to the later one than another question's later state;
            n, n_facts: questions and their units.
        model: the model's name.
        split: the questions' split.
        cycle: layers that a cycle has.
    """

    table: Annotated[
        pd.DataFrame, Columns(words="role", numbers="distance low high nearer", whole="layer earlier n n_facts")
    ]
    model: str
    split: str
    cycle: int

    @property
    def caption(self) -> str:
        """Model, split, cycle and n in one line."""
        row = self.table.iloc[0]
        n = f"n = {row['n']} questions over {row['n_facts']} units"
        return f"{self.model} · {self.split} · states {self.cycle} layers apart · 1: as another question's · {n}"

    def explain(self) -> Explanation:
        """Which states have come to rest, and which are made anew in every cycle."""
        measured = (
            f"How far states are from what they were one cycle of {counted(self.cycle, 'layer')} earlier, in distances "
            "between different questions' states after the same layer at the same position."
        )
        cells = Cells.of(self.table)
        least, most = cells.largest("distance", least=True), cells.largest("distance")
        if least is None or most is None:
            return without_number(measured, self.table, self.model, self.split)
        return Explanation(
            measured=measured,
            on=f"{most.asked(self.model, self.split)}, at {counted(len(cells.rows), 'cell')}, a layer and a position each.",
            means=f"The distance is smallest at {least.place}, {least.number('distance')}, and largest at {most.place}, "
            f"{most.number('distance')}. 0 is a state at rest, 1 a state as far away as another question's.",
            sure=f"{least.bounds(of=f'At {least.place}')} {most.bounds(of=f'At {most.place}')}",
            would_change=f"Questions that are more alike, since they are the yardstick. At {most.place}, the earlier state "
            f"of {most.number('nearer')} of the questions is nearer than another question's.",
        )

    def figure(self) -> Any:
        """A heat map of the distance, layer × position."""
        rows, title = self.table.assign(measure="distance"), f"{self.caption} · on hover: 95 % over units"
        return cell_heatmaps(rows, "measure", "distance", label="distance", title=title, bounds=True)


@torch.no_grad()
def cycle_distances(
    model: Model, queries: Queries | PromptPairs, *, max_memory: int | None = None, seed: int = 0
) -> CycleDistancesResult:
    """Compare states with those one cycle earlier, at every layer and position.

    Args:
        model: any model that `graph_of` accepts, which is not changed; where it applies no block again, layers are cycles.
        queries: questions, or pairs, of which the clean prompts are asked.
        max_memory: bytes that may be used, the states of all questions included; by default a quarter of what is free.
        seed: of the shuffle that says which other question's state is the yardstick, and of the bootstrap.

    Raises:
        ValueError: for fewer than two questions, tokens and positions that the model does not have, or a model of one
            cycle.
        MemoryError: if the states do not fit into `max_memory`.
    """
    refuse(asked_problems(queries=queries) + common_problems(max_memory=max_memory, seed=seed))
    queries = queries.queries() if isinstance(queries, PromptPairs) else queries
    check_model(model)
    queries.check_against(model)
    if len(queries) < 2:
        raise ValueError(f"{queries.split} holds {len(queries)} questions, needed are 2")
    cycle, graph = cycle_of(model), graph_of(model, queries.roles, queries.answer_position)
    if cycle >= graph.n_layers:
        raise ValueError(f"the {graph.n_layers} layers of {model.cfg.model_name} are one cycle")
    run, other = run_states(model, graph, queries.tokens, max_memory=max_memory), derangement(len(queries), seed=seed)
    rows = []
    for layer, position in product(range(cycle, graph.n_layers), range(run.stop)):
        later, earlier = (run.state(each)[:, position].double() for each in (layer, layer - cycle))
        moved, between = ((later - each).norm(dim=1).cpu().numpy() for each in (earlier, later[other]))
        row = {"layer": layer, "role": graph.roles[position], "earlier": layer - cycle}
        rows.append(row | _ratio(moved, between, queries, seed))
    return CycleDistancesResult(pd.DataFrame(rows), model.cfg.model_name, queries.split, cycle)


def _ratio(moved: np.ndarray, between: np.ndarray, queries: Queries, seed: int) -> dict[str, float]:
    ratio, _, interval = bootstrap_ratio(moved[None], between, unit=queries.unit, seed=seed)
    low, high = interval[0].tolist()
    row: dict[str, float] = {
        "distance": float(ratio[0]),
        "low": low,
        "high": high,
        "nearer": float((moved < between).mean()),
    }
    return row | {"n": len(queries), "n_facts": queries.n_units}
