"""Realignment: write the bridge that can be read at r1 in the form in which entities enter the model, and continue.

If answers then come out right, the model had found the bridge and could not take it as input: the second hop failed because
of the form, not the fact. Nothing is trained. Fu et al. 2026 (DiscoLoop, arXiv 2607.00341, abstract) observed that
realigning hidden states with bridge embeddings nearly closes the gap of looped models; the forms tried are ours.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...circuits import Result
from ...circuits.arguments import common_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...tasks import Queries, Run
from ...tasks.questions.given import queries_problems
from ...tasks.transformerlens import Model
from ..forward.head import Ends, decode, ends_of
from ..forward.model import graph_of
from ..forward.state_runs import StateRun, with_states
from ..plots.bars import realignment_bars
from ..plots.curves import trajectory_curves
from ..statistics import newcombe_interval, wilson
from ..training.by_step import by_step
from .answers import Copies, Rows, answers_of, answers_with
from .bridge_means import BridgeMeans
from .largest import CHOSEN, Cells, without_number
from .sources import Source, check_source

FORMS = ("embedding", "embedding added", "ID mean")
ENTITIES: tuple[str, ...] = ("read", "true", "random")


@dataclass(frozen=True, eq=False)
class RealignmentResult(Result):
    """What a model answers when the bridge at r1 is written in another form.

    Attributes:
        table: a row for each layer whose state at r1 is replaced (−1: the embedding), form and entity, with
            form: `embedding`: the entity's embedding as if it stood at h; `embedding added`: the difference of its and the
            other entities' mean embedding, scaled to the length of the state, added to it; `ID mean`: its mean state at
            this cell over ID facts that are not asked about (unchanged where there is none);
            entity: `read`: the one most likely there by the lens, the first where several are equally so; `true`: the
            bridge, what reading without error would give; `random`: any, the control;
            accuracy: share of right answers; low, high: its 95 % Wilson interval over units, the hop-1 facts;
            baseline: accuracy without replacement;
            gain: accuracy − baseline; gain_low, gain_high: its 95 % interval (Newcombe);
            right_reading: share of questions in which the entity is the bridge;
            n, n_facts.
        model: the model's name.
        split: the questions' split.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(
            words="form entity",
            numbers="accuracy low high baseline gain gain_low gain_high right_reading",
            whole="layer n n_facts",
        ),
    ]
    model: str
    split: str

    @property
    def caption(self) -> str:
        """Model, split, accuracy before and n in one line."""
        row = self.table.iloc[0]
        before = "" if "step" in self.table else f" · {row['baseline']:.2f} right unmodified"
        return f"{self.model} · {self.split}{before} · n = {row['n']} questions over {row['n_facts']} units"

    def explain(self) -> Explanation:
        """Whether answers come out right when the bridge that is read at r1 is written in another form."""
        measured = (
            "What the model answers when the state at r1 is replaced, after one layer, by another form of the entity that "
            "the lens finds most likely there."
        )
        cells = Cells.of(self.table)
        best = cells.having(entity=ENTITIES[0]).largest("gain")
        if best is None:
            return without_number(measured, self.table, self.model, self.split)
        true, random = (cells.beside(best, "layer", "form", entity=entity) for entity in ENTITIES[1:])
        return Explanation(
            measured=measured,
            on=f"{best.asked(self.model, self.split)}.",
            means=f"The form that helps most, {best.text('form')} at {best.layer()}, changes the share of right answers by "
            f"{best.number('gain')}, from {best.number('baseline')} to {best.number('accuracy')}. Above 0, the bridge was "
            "found and could not be taken as input as it was.",
            sure=f"{best.bounds('gain_low', 'gain_high', of='Of the change')} {CHOSEN}",
            would_change=f"What is read is the bridge in {best.number('right_reading')} of the questions; the true bridge "
            f"gives {true.number('accuracy')} right answers. A random entity gives {random.number('accuracy')}: a share "
            "like that would not be due to the bridge.",
        )

    def figure(self) -> Any:
        """Accuracy by layer, a panel for each form, bars for the entities; of a run, the gain by step."""
        if "step" in self.table:
            rows = self.table[self.table["entity"] == "read"].drop(columns=["low", "high"])
            rows = rows.rename(columns={"gain_low": "low", "gain_high": "high"})
            title = f"{self.caption} · bands: 95 % over units"
            return trajectory_curves(rows, "gain", by="form", label="gain in exact match", title=title)
        return realignment_bars(self.table, title=f"{self.caption} · bars: 95 % over units")


@torch.no_grad()
def realign(
    model: Model | Run,
    task: Source,
    queries: Queries,
    *,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> RealignmentResult:
    """Replace the state at r1 by another form of the entity read there, layer by layer.

    Args:
        model: any model that `graph_of` accepts, which is not changed; or a run.
        task: gives the ID facts for the mean states.
        queries: two-hop questions.
        max_memory: bytes that may be used; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the random entities and of the questions for the means.

    Raises:
        TypeError: if the task is none.
        ValueError: if there is no question, the model lacks tokens or positions of theirs, or cannot read or answer all
            entities.
        MemoryError: if not a single question fits into `max_memory`.
    """
    refuse(queries_problems(queries=queries) + common_problems(max_memory=max_memory, progress=progress, seed=seed))
    check_source(task, Source)
    if not len(queries):
        raise ValueError(f"{queries.split} holds no query")
    limits: dict[str, Any] = {"max_memory": max_memory, "seed": seed}
    if isinstance(model, Run):
        return by_step(model, lambda each: realign(each, task, queries, progress=False, **limits), progress=progress)
    queries.check_against(model, intermediates=["bridge"], roles=["r1"])
    graph, n_entities = graph_of(model, queries.roles, queries.answer_position), task.n_values("bridge")
    if n_entities > (n_common := min(model.cfg.d_vocab, model.cfg.d_vocab_out)):
        raise ValueError(
            f"the {n_entities} entities must be tokens that the model reads and answers; there are {n_common} such tokens: "
            f"d_vocab={model.cfg.d_vocab}, d_vocab_out={model.cfg.d_vocab_out}"
        )
    before = answers_of(model, graph, queries, max_memory=max_memory) == queries.answers
    means = BridgeMeans(model, graph, task, queries, intermediate="bridge", **limits)
    position = queries.roles.index("r1")
    random = torch.randint(n_entities, (len(queries),), generator=torch.Generator().manual_seed(int(seed)), device="cpu")
    read = torch.zeros(graph.n_layers + 1, len(queries), dtype=torch.long, device="cpu")

    def realigned(run: StateRun, part: Rows) -> Iterator[tuple[tuple[int, str], Copies]]:
        for layer in range(-1, graph.n_layers):
            read[layer + 1, part] = decode(model, run.state(layer)[:, position])[:, :n_entities].argmax(-1).cpu()
            for entity, tokens in zip(ENTITIES, (read[layer + 1], queries.bridges, random), strict=True):
                states = _forms(
                    ends_of(model), run.state(layer)[:, position], means, tokens[part], layer, position, n_entities
                )
                yield (layer, entity), with_states(run, layer, {position: torch.stack(list(states.values()))})

    options: dict[str, Any] = {
        "n_places": (graph.n_layers + 1) * len(ENTITIES),
        "n_copies": len(FORMS),
        "kept": means.run.n_bytes,
    }
    options |= {"max_memory": max_memory, "what": "realigning", "progress": progress}
    found = answers_with(model, graph, queries, realigned, **options)
    rows = []
    for (layer, entity), answers in found.items():
        tokens = dict(zip(ENTITIES, (read[layer + 1], queries.bridges, random), strict=True))[entity]
        for form, answered in zip(FORMS, answers, strict=True):
            place = {"layer": layer, "form": form, "entity": entity}
            row = _row(answered == queries.answers, before, queries)
            rows.append(place | row | {"right_reading": float((tokens == queries.bridges).double().mean())})
    return RealignmentResult(pd.DataFrame(rows), model.cfg.model_name, queries.split)


def _forms(
    ends: Ends,
    state: Float[Tensor, "query d_model"],
    means: BridgeMeans,
    entities: Int[Tensor, " query"],
    layer: int,
    position: int,
    n_entities: int,
) -> Mapping[str, Float[Tensor, "query d_model"]]:
    """The state at a cell with some entities written in each form."""
    every = ends.embedded(torch.arange(n_entities, device=state.device)[:, None], None)[:, 0]  # each entity at h
    change = every[entities] - every.mean(0)
    change = change / change.norm(dim=-1, keepdim=True) * state.norm(dim=-1, keepdim=True)
    has_mean = torch.tensor([means.has(int(entity)) for entity in entities], device=state.device)[:, None]
    mean = torch.where(has_mean, means.of(layer, position, entities), state)
    return dict(zip(FORMS, (every[entities], state + change, mean), strict=True))


def _row(right: Bool[Tensor, " query"], before: Bool[Tensor, " query"], queries: Queries) -> dict[str, float]:
    n_units = queries.n_units
    accuracy, baseline = (float(each.double().mean()) for each in (right, before))
    (low, high), (gain_low, gain_high) = wilson(accuracy, n_units), newcombe_interval(accuracy, baseline, n_units)
    row = {"accuracy": accuracy, "low": low, "high": high, "baseline": baseline, "gain": accuracy - baseline}
    return row | {"gain_low": gain_low, "gain_high": gain_high, "n": len(queries), "n_facts": n_units}
