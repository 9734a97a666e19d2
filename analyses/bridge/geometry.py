"""Geometry of bridge states: one point for each bridge, the same point for OOD facts, the point that hop 2 reads?

Cohesion and alignment follow Ye et al. 2025 (arXiv 2505.23653): cosines of states with the mean state of their bridge. Here
the mean over all states is subtracted first, since states at one cell share most of their length whatever their bridge, and
a state is not part of the mean it is compared with. The match between "b as output of hop 1" and "b as input at h" compares
the same entities at two places; similarity of two clouds of 64 points in 128 dimensions is never near zero, so each number
comes with the same for permuted entities.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ...circuits import Result
from ...circuits.arguments import common_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...tasks import Queries, Run
from ...tasks.questions.validity import check_same_roles
from ...tasks.transformerlens import Model
from ..forward.head import same_vocabulary, token_embeddings, unembedding_directions
from ..forward.memory import budget
from ..forward.model import graph_of
from ..forward.states import StatesRun, run_states
from ..plots.curves import trajectory_curves
from ..plots.heatmaps import cell_heatmaps
from ..statistics import Z95, double
from ..training.by_step import by_step
from .bridge_means import MIN_UNITS_FOR_MEAN, means_by_label
from .largest import CHOSEN, Cells, without_number
from .sources import SplitSource, check_source

N_PERMUTATIONS = 20


@dataclass(frozen=True, eq=False)
class GeometryResult(Result):
    """How states are arranged by bridge.

    Attributes:
        table: a row for each layer (−1: the embedding), role and measure, with
            `ID cohesion`: mean cosine of an ID fact's state with the mean state of its bridge over other ID facts;
            `OOD alignment`: of an OOD fact's state with the mean state of its bridge over ID facts;
            value and its 95 % interval low, high (±1.96 standard errors over facts); control: the same with another
            bridge's mean; n_facts;
            `embedding alignment`, `unembedding alignment`: mean cosine of a bridge's mean state with what is added for the
            same token in a prompt, and with what its logit is the product with, all centred over these bridges; control:
            another bridge's; n_facts then the number of bridges (no embeddings where the model answers from another
            vocabulary); results saved by earlier versions lack these;
            `effective rank` of the bridges' mean states (Roy & Vetterli 2007: exp of the entropy of the normalised singular
            values; NaN for interval and control), n_facts then the number of bridges.
        match: a row for each layer of "b as output", at r1, and each layer of "b as input", at h, with
            cosine: mean cosine of the two mean states of an entity, both centred;
            procrustes: 1 is equal up to a rotation and a scale; cka: linear (Kornblith et al. 2019);
            …_control: the mean of the same over 20 permutations of the entities; n_entities.
        model: the model's name.
        split: where the OOD facts' questions come from.
    """

    table: Annotated[pd.DataFrame, Columns(words="role measure", numbers="value low high control", whole="layer n_facts")]
    match: Annotated[
        pd.DataFrame,
        Columns(
            numbers="cosine cosine_control procrustes procrustes_control cka cka_control",
            whole="output_layer input_layer n_entities",
        ),
    ]
    model: str
    split: str

    @property
    def caption(self) -> str:
        """Model and n in one line."""
        n = self.table.groupby("measure")["n_facts"].first()
        facts = f"n = {n['ID cohesion']:,} ID facts, {n.get('OOD alignment', 0)} OOD facts of {self.split}"
        return f"{self.model} · centred cosines · {facts}"

    def explain(self) -> Explanation:
        """How closely states lie together by bridge, and whether the output of hop 1 is what enters at h."""
        measured = (
            "Cosines of states with the mean state of their bridge, the mean over all states subtracted, at every layer and "
            "position; and of an entity's mean state as bridge, at r1, with its mean state at h."
        )
        cells = Cells.of(self.table)
        own, ood = (cells.having(measure=name).largest("value") for name in ("ID cohesion", "OOD alignment"))
        match = Cells.of(self.match).largest("cosine")
        if own is None:
            return without_number(measured, self.table, self.model, self.split)
        lie = f"; OOD facts lie along these means with at most {ood.number('value')}, at {ood.place}" if ood else ""
        n_ood = f" and {ood.whole('n_facts')} OOD facts of {self.split}" if ood else ""
        both = f" As bridge and at h, entities match with at most {match.number('cosine')}." if match else ""
        permuted = f" Permuted entities match with {match.number('cosine_control')}." if match else ""
        return Explanation(
            measured=measured,
            on=f"{self.model}: {own.whole('n_facts')} ID facts{n_ood}{own.at_step}.",
            means=f"Facts of one bridge lie closest together at {own.place}, with a mean cosine of {own.number('value')} (1 "
            f"is one direction, 0 unrelated){lie}.{both}",
            sure=f"{own.bounds(of='Of ID facts', over='facts')} {CHOSEN}",
            would_change=f"A cosine near that with another bridge's mean, {own.number('control')} at {own.place}, would "
            f"mean no order by bridge.{permuted}",
        )

    def figure(self) -> Any:
        """Heat maps of cohesion and alignment, layer × position; of a run, both at r1 by step."""
        rows = self.table[self.table["measure"] != "effective rank"]
        if "step" in rows:
            rows = rows[rows["role"] == "r1"]
            title = f"{self.caption} · bands: 95 % over facts"
            return trajectory_curves(rows, "value", by="measure", label="cosine", title=title)
        look = {"label": "cosine", "title": f"{self.caption} · on hover: 95 % over facts", "signed": True, "bounds": True}
        return cell_heatmaps(rows, "measure", "value", **look)


@torch.no_grad()
def bridge_geometry(
    model: Model | Run,
    task: SplitSource,
    *,
    split: str = "test_inferred_ood",
    max_memory: int | None = None,
    seed: int = 0,
) -> GeometryResult:
    """Measure how states are arranged by bridge at every cell.

    Args:
        model: any model that `graph_of` accepts, which is not changed; or a run.
        task: gives ID facts, by one trained composition each.
        split: questions whose hop-1 facts are compared with these, one for each fact.
        max_memory: bytes that may be used, the states of all questions included; by default a quarter of what is free.
        seed: of the choice of questions and the permutations.

    Raises:
        TypeError: if the task is none.
        KeyError: if there is no such split.
        ValueError: if questions do not fit the model or each other, or fewer than two bridges have at least two ID facts.
        MemoryError: if the states do not fit into `max_memory`.
    """
    refuse(common_problems(split=split, max_memory=max_memory, seed=seed))
    check_source(task, SplitSource)
    if isinstance(model, Run):
        options: dict[str, Any] = {"split": split, "max_memory": max_memory, "seed": seed}
        return by_step(model, lambda each: bridge_geometry(each, task, **options))
    reference = task.reference(seed=seed)
    others = task.split(split).one_per_unit(seed=seed)
    reference.check_against(model, intermediates=["bridge"], roles=["h", "r1"])
    if len(others):
        others.check_against(model, intermediates=["bridge"])
        check_same_roles(f"the questions of {split}", others, reference.roles)
    n_entities = task.n_values("bridge")
    counts = torch.bincount(reference.bridges, minlength=n_entities)
    if (n_bridges := int((counts >= MIN_UNITS_FOR_MEAN).sum())) < 2:
        raise ValueError(f"{n_bridges} bridges have {MIN_UNITS_FOR_MEAN} ID facts or more, needed are 2")
    graph = graph_of(model, reference.roles, reference.answer_position)
    runs, left = [], budget(max_memory, model)
    for queries in filter(len, (reference, others)):
        runs.append((queries, run_states(model, graph, queries.tokens, max_memory=max(1, left))))
        left -= runs[-1][1].n_bytes
    cells = product(range(-1, graph.n_layers), range(runs[0][1].stop))
    ends = {"embedding": token_embeddings(model)} if same_vocabulary(model) else {}
    ends |= {"unembedding": unembedding_directions(model)}
    rows = [row for cell in cells for row in _arrangement(runs, counts, ends, cell, seed)]
    return GeometryResult(pd.DataFrame(rows), _match(runs[0][1], reference, n_entities, seed), model.cfg.model_name, split)


def procrustes_similarity(x: Float[Tensor, "point d"], y: Float[Tensor, "point d"]) -> float:
    """1 if two centred clouds are equal up to a rotation and a scale, 0 if they have nothing in common."""
    x, y = (cloud - cloud.mean(0) for cloud in map(double, (x, y)))
    return float(torch.linalg.matrix_norm(x.T @ y, "nuc") / (x.norm() * y.norm()))


def linear_cka(x: Float[Tensor, "point d_x"], y: Float[Tensor, "point d_y"]) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019, arXiv 1905.00414, section 3)."""
    x, y = (cloud - cloud.mean(0) for cloud in map(double, (x, y)))
    return float((x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm()))


def effective_rank(x: Float[Tensor, "point d"]) -> float:
    """The exponential of the entropy of the centred cloud's normalised singular values (Roy & Vetterli 2007)."""
    values = torch.linalg.svdvals(double(x - x.mean(0)))
    shares = values[values > 1e-12 * values.max()] / values.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


def _arrangement(
    runs: list[tuple[Queries, StatesRun]],
    counts: Int[Tensor, " entity"],
    ends: Mapping[str, Float[Tensor, "token d_model"]],
    cell: tuple[int, int],
    seed: int,
) -> list[dict[str, Any]]:
    """Cohesion, alignments and effective rank at one cell."""
    layer, position = cell
    place = {"layer": layer, "role": runs[0][1].graph.roles[position]}
    reference_states, reference_bridges = runs[0][1].state(layer)[:, position].cpu().double(), runs[0][0].bridges
    centre = reference_states.mean(0)
    means = means_by_label(reference_states - centre, reference_bridges, len(counts))
    known = (counts >= MIN_UNITS_FOR_MEAN).nonzero()[:, 0]
    rows = []
    for measure, (queries, run) in zip(("ID cohesion", "OOD alignment"), runs, strict=False):
        usable = counts[queries.bridges] >= MIN_UNITS_FOR_MEAN
        states, bridges = run.state(layer)[usable, position].cpu().double() - centre, queries.bridges[usable]
        n = counts[bridges, None]
        same = (n * means[bridges] - states) / (n - 1) if run is runs[0][1] else means[bridges]
        rows.append(place | {"measure": measure} | _alignment(states, same, means[_another(bridges, known, seed)]))
    centred = means[known] - means[known].mean(0)
    for name, table in ends.items():
        of_token = table.cpu().double() - table[known.to(table.device)].cpu().double().mean(0)
        vectors = of_token[known], of_token[_another(known, known, seed)]
        rows.append(place | {"measure": f"{name} alignment"} | _alignment(centred, *vectors))
    nothing = dict.fromkeys(("low", "high", "control"), float("nan"))
    rank = {"measure": "effective rank", "value": effective_rank(means[known]), **nothing, "n_facts": len(known)}
    return [*rows, place | rank]


def _alignment(
    states: Float[Tensor, "fact d_model"], same: Float[Tensor, "fact d_model"], other: Float[Tensor, "fact d_model"]
) -> dict[str, float]:
    """The mean cosine with what belongs to the same bridge, its interval, and with what belongs to another."""
    values, control = cosine_similarity(states, same), cosine_similarity(states, other)
    half = Z95 * float(values.std()) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    row = {"value": (value := float(values.mean())), "low": value - half, "high": value + half}
    return row | {"control": float(control.mean()), "n_facts": len(values)}


def _another(bridges: Int[Tensor, " fact"], known: Int[Tensor, " bridge"], seed: int) -> Int[Tensor, " fact"]:
    """For each bridge another one that has a mean state."""
    steps = torch.randint(1, len(known), bridges.shape, generator=torch.Generator().manual_seed(int(seed)), device="cpu")
    return known[(torch.searchsorted(known, bridges) + steps) % len(known)]


def _match(run: StatesRun, queries: Queries, n_entities: int, seed: int) -> pd.DataFrame:
    """Each entity as output of hop 1, at r1, and as input, at h, for all pairs of layers."""
    outputs, inputs = queries.bridges, queries.tokens[:, queries.roles.index("h")]
    counts = [torch.bincount(labels, minlength=n_entities) for labels in (outputs, inputs)]
    both = ((counts[0] >= MIN_UNITS_FOR_MEAN) & (counts[1] >= 1)).nonzero()[:, 0]
    generator = torch.Generator().manual_seed(int(seed))
    orders = [torch.randperm(len(both), generator=generator, device="cpu") for _ in range(N_PERMUTATIONS)]
    clouds = {}
    for role, labels in (("r1", outputs), ("h", inputs)):
        for layer in range(-1, run.graph.n_layers):
            states = run.state(layer)[:, queries.roles.index(role)].cpu()
            clouds[role, layer] = means_by_label(states, labels, n_entities)[both]
    measures: dict[str, Callable[[Tensor, Tensor], float]] = {
        "cosine": _mean_cosine,
        "procrustes": procrustes_similarity,
        "cka": linear_cka,
    }
    rows = []
    for output_layer in range(-1, run.graph.n_layers):
        for input_layer in range(-1, run.graph.n_layers):
            x, y = clouds["r1", output_layer], clouds["h", input_layer]
            row: dict[str, Any] = {"output_layer": output_layer, "input_layer": input_layer}
            for name, measure in measures.items():
                row[name] = measure(x, y)
                row[f"{name}_control"] = sum(measure(x, y[order]) for order in orders) / N_PERMUTATIONS
            rows.append(row | {"n_entities": len(both)})
    return pd.DataFrame(rows)


def _mean_cosine(x: Float[Tensor, "point d"], y: Float[Tensor, "point d"]) -> float:
    return float(cosine_similarity(x - x.mean(0), y - y.mean(0)).mean())
