"""Between the logit lens and a probe: how much has to be learned before an intermediate can be read at a cell?

Four readings:

`lens`: the state goes into the model's head as it is.
`tuned lens`: an affine map takes the state to the last layer's state at the same position, then the head (Belrose et al.
2023, arXiv 2303.08112). They minimise the divergence of the logits step by step; here it is the squared distance of the
states, which has a closed form. It never sees which intermediate a question has.
`affine readout`: an affine map takes the state to the vector of the unembedding that belongs to its intermediate, then the
head. It is told the intermediates of what it is fitted on, and can only turn and stretch states into the head's basis.
`probe`: linear discriminant analysis (`probing`), one direction for each value, free of the model's head.

All are fitted on questions of other units than those that are read. What the affine readout reads and the lens does not is
written in another basis than the head's. The maps have more parameters than the probe where a model is wider than there are
values (`n_parameters`), so which one reads more says nothing about which one learned more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import Result
from ...circuits.arguments import common_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...circuits.progress import with_bar
from ...tasks import Queries
from ...tasks.questions.given import queries_problems
from ...tasks.transformerlens import Model
from ..forward.head import unembedding_directions
from ..forward.memory import budget
from ..forward.model import graph_of
from ..forward.states import run_states
from ..plots.heatmaps import cell_heatmaps
from ..statistics import newcombe_interval, wilson
from .answers import said
from .bridge_means import MIN_UNITS_FOR_MEAN, BridgeMeans
from .largest import CHOSEN, READABLE, Cells, without_number
from .linear_probe import SHRINKAGE, as_array, fit_probe, said_by
from .own_pairs import intermediate_of
from .sources import Source, check_source


@dataclass(frozen=True, eq=False)
class ReadingMethodsResult(Result):
    """What each reading gives at each layer and position.

    Attributes:
        table: a row for each layer (−1: the embedding), role and reading (see the module), with
            accuracy: share of questions whose intermediate it gives; low, high: its 95 % Wilson interval over units;
            control: how often it gives another question's;
            selectivity: accuracy − control; selectivity_low, selectivity_high: its 95 % interval (Newcombe);
            n_parameters: how many numbers are learned, the model's head not counted;
            n, n_facts: questions and their units; n_trained: units that the reading is fitted on.
        model: the model's name.
        split: the questions' split.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(
            words="role reading",
            numbers="accuracy low high control selectivity selectivity_low selectivity_high",
            whole="layer n_parameters n n_facts n_trained",
        ),
    ]
    model: str
    split: str

    @property
    def caption(self) -> str:
        """Model, split, n and the numbers that are learned."""
        row, learned = self.table.iloc[0], self.table.groupby("reading", sort=False)["n_parameters"].first()
        units = f"n = {row['n']} questions over {row['n_facts']} units, fitted on {row['n_trained']} others"
        return f"{self.model} · {self.split} · {units} · learned: {', '.join(f'{k} {v:,}' for k, v in learned.items())}"

    def explain(self) -> Explanation:
        """What each reading gives at its best, and how many numbers it learns for that."""
        cells = Cells.of(self.table)
        best = {name: row for name in cells.names("reading") if (row := cells.having(reading=name).largest("accuracy"))}
        measured = (
            f"How often a question's intermediate is given at every layer and position by readings that were fitted on "
            f"other units: {', '.join(best) or 'none'}."
        )
        if not (most := cells.largest("accuracy")):
            return without_number(measured, self.table, self.model, self.split)
        shares = ", ".join(f"{name} {row.number('accuracy')} at {row.place}" for name, row in best.items())
        of = f"Of the {most.text('reading')} at {most.place}"
        learned = ", ".join(f"{name} {row.whole('n_parameters')}" for name, row in best.items())
        return Explanation(
            measured=measured,
            on=f"{most.asked(self.model, self.split)}, fitted on {most.whole('n_trained')} others.",
            means=f"Where each reads most: {shares} (1 is every question, 0 none). {READABLE}",
            sure=f"{most.bounds(of=of)} {CHOSEN}",
            would_change=f"The numbers that readings learn differ ({learned}), so that more read may only be more learned. "
            f"Another question's intermediate is given in {most.number('control')} there.",
        )

    def figure(self) -> Any:
        """Heat maps of accuracy, layer × position, for each reading."""
        title = f"{self.caption} · on hover: 95 % Wilson over units"
        look = {"label": "accuracy, share of questions", "title": title, "bounds": True}
        return cell_heatmaps(self.table, "reading", "accuracy", **look)


@torch.no_grad()
def compare_readings(
    model: Model,
    task: Source,
    queries: Queries,
    *,
    intermediate: str | None = None,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> ReadingMethodsResult:
    """Read the bridge, or another intermediate, by four methods at every layer and position.

    Args:
        model: any model that `graph_of` accepts; it is not changed.
        task: gives the questions that readings are fitted on, one for each ID fact that no question is about.
        queries: questions to read.
        intermediate: its name, if the questions carry several.
        max_memory: bytes that may be used; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the questions fitted on, and of the shuffle that gives each question another one's intermediate.

    Raises:
        TypeError: if the task is none.
        ValueError: if there is no question, tokens or positions do not fit the model, or fewer than two values of the
            intermediate have two units to fit on.
        MemoryError: if the states do not fit into `max_memory`.
    """
    common = common_problems(intermediate=intermediate, max_memory=max_memory, progress=progress, seed=seed)
    refuse(queries_problems(queries=queries) + common)
    check_source(task, Source)
    if not len(queries):
        raise ValueError(f"{queries.split} holds no query")
    name = intermediate_of(queries, intermediate)
    queries.check_against(model, intermediates=[name])
    graph = graph_of(model, queries.roles, queries.answer_position)
    means = BridgeMeans(model, graph, task, queries, intermediate=name, seed=seed, max_memory=max_memory)
    usable = means.counts[means.values] >= MIN_UNITS_FOR_MEAN
    if len(means.values[usable].unique()) < 2:
        raise ValueError(f"fewer than two values of {name} have {MIN_UNITS_FOR_MEAN} units that no question is about")
    left = budget(max_memory, model) - means.run.n_bytes
    run = run_states(model, graph, queries.tokens, max_memory=max(1, left))
    values, order = queries.intermediates[name], torch.randperm(len(queries), generator=_generator(seed), device="cpu")
    rows = []
    for layer, position in with_bar(list(product(range(-1, graph.n_layers), range(run.stop))), "reading", show=progress):
        fitted = _Fit(model, means, usable, layer, position, graph.n_layers - 1, max(1, left - run.n_bytes))
        for reading, read in fitted.readings.items():
            tokens = read(run.state(layer)[:, position])
            row = {"layer": layer, "role": graph.roles[position], "reading": reading}
            row |= _counted(tokens == values, tokens == values[order], queries)
            rows.append(row | {"n_parameters": fitted.n_parameters[reading], "n_trained": int(usable.sum())})
    return ReadingMethodsResult(pd.DataFrame(rows), model.cfg.model_name, queries.split)


Read = Callable[[Float[Tensor, "query d_model"]], Int[Tensor, " query"]]


class _Fit:
    """The readings at one cell, fitted on reference questions.

    Args:
        model: gives the head.
        means: hold the reference questions and their states.
        usable: which of these are fitted on.
        layer: of the cell.
        position: of the cell.
        last: the last layer.
        memory: bytes for logits.
    """

    def __init__(
        self, model: Model, means: BridgeMeans, usable: Tensor, layer: int, position: int, last: int, memory: int
    ) -> None:
        labels, states = means.values[usable], means.run.state(layer)[usable, position]
        head, n_values, width = unembedding_directions(model), len(labels.unique()), states.shape[1]
        probe = fit_probe(as_array(states), labels.numpy())
        tuned = affine_map(states, means.run.state(last)[usable, position])
        readout = affine_map(states, head[labels.to(head.device)])

        def by_head(made: Callable[[Tensor], Tensor]) -> Read:
            return lambda read: said(model, made(read), max_memory=memory)

        self.readings: Mapping[str, Read] = {
            "lens": by_head(lambda read: read),
            "tuned lens": by_head(tuned),
            "affine readout": by_head(readout),
            "probe": lambda read: torch.from_numpy(said_by(probe, as_array(read))),
        }
        affine = width * (width + 1)
        learned = {"lens": 0, "tuned lens": affine, "affine readout": affine, "probe": n_values * (width + 1)}
        self.n_parameters: Mapping[str, int] = learned


def affine_map(
    inputs: Float[Tensor, "unit d_in"], outputs: Float[Tensor, "unit d_out"]
) -> Callable[[Float[Tensor, "query d_in"]], Float[Tensor, "query d_out"]]:
    """The affine map of least squares with a ridge, as strong as the probes' in proportion to the inputs' variance."""
    x, y = inputs.double(), outputs.to(inputs.device).double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    ridge = SHRINKAGE * float(centred.square().mean()) or 1.0
    square = centred.T @ centred / len(x) + ridge * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weight = torch.linalg.solve(square, centred.T @ (y - mean_y) / len(x))
    return lambda read: ((read.double() - mean_x) @ weight + mean_y).to(outputs.dtype)


def _counted(met: Tensor, control: Tensor, queries: Queries) -> dict[str, Any]:
    accuracy, chance, n = float(met.double().mean()), float(control.double().mean()), queries.n_units
    (low, high), (least, most) = wilson(accuracy, n), newcombe_interval(accuracy, chance, n)
    row = {"accuracy": accuracy, "low": low, "high": high, "control": chance, "selectivity": accuracy - chance}
    return row | {"selectivity_low": least, "selectivity_high": most, "n": len(queries), "n_facts": n}


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(seed))
