"""Bridge evidence: can the bridge be read at a cell, does the answer depend on it there, in the form that hop 2 takes?

Readable is not used, and unreadable is not absent. Every cell (layer × position) gets all the evidence: the logit lens and
a linear probe, read on the questions of one half of the units; ablation and interchange, done to the questions of the
other half. Means and probes come from a third set, units that no question is about. The unit of two-hop questions is the
hop-1 fact; the bridge may be any intermediate of any prompts.

`used` needs three things to agree: the state of a donor whose composition was never trained turns the answer to
tail(b′, r2), beyond what a third bridge's state does; the state of another unit with the same bridge leaves the answer;
and the difference of two bridges' mean states alone turns it, beyond a random vector of that length. A model that memorised
(h, r1, r2) fails the first; where a state holds the whole answer, or the question, the others fail. Of a user's pairs it is
not known what was trained, so that their donors are called `donor` and a lookup can pass the first; the others remain.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from ...circuits import ComputationGraph, Result
from ...circuits.arguments import common_problems, is_whole, name_problems, refuse, whole_problems
from ...circuits.columns import Columns
from ...circuits.progress import with_bar
from ...tasks import NO_TOKEN, Donor, PromptPairs, Queries, Run
from ..forward.cached import CachedRun, with_states
from ..forward.memory import budget
from ..forward.model import graph_of
from ..forward.states import run_states
from ..plots.curves import trajectory_curves
from ..plots.heatmaps import evidence_heatmaps
from ..plots.style import layer_name
from ..statistics import newcombe_interval, random_like, wilson
from ..training.by_step import by_step
from .answers import Copies, Rows, answers_with, said
from .bridge_means import MIN_UNITS_FOR_MEAN, BridgeMeans
from .interchange import DONOR_RUNS, donor_kinds, donor_runs, questions_with_donors, values_and_answers
from .own_pairs import OwnPairs, intermediate_of
from .pair_donors import DONOR, HELD_OUT
from .probing import as_array, fit_probe, said_by
from .questions import halves_by_unit, sample
from .sources import Source, SplitSource

MARGIN = 0.1  # by how much an effect must exceed its control
INVARIANT = 0.8  # share of answers that a donor with the same bridge must leave
MIN_UNITS_TO_JUDGE = 20  # for any verdict
MEASURES = ("lens", "probe", "ablation", "trained", HELD_OUT, "same bridge", "direction")
"""The measures of two-hop questions. Pairs have `donor` instead of those two kinds, and `same <intermediate>`."""


@dataclass(frozen=True, eq=False)
class EvidenceResult(Result):
    """What is known about the bridge at each layer and position.

    Attributes:
        table: a row for each layer (−1: the embedding) and position with the verdicts `yes`, `no` or `undecided`,
            readable: by the logit lens; probe_readable: by a linear probe;
            necessary: answers change if what is particular to the bridge is taken out;
            sufficient: they follow the state of a held-out donor (of pairs: of a donor, see `pair_donors`);
            invariant: they stay with a donor of the same bridge;
            aligned: they follow the difference of the mean states of two bridges over units that are not asked about;
            used: sufficient, invariant and aligned, all three;
            n_read, n_judged: units from which the first two and the others come; reason: why something is undecided for
            want of units, else empty.
        measures: the numbers: a row for each cell and measure (see `MEASURES`) with
            value: share of questions: bridge top-1; probe right; answer changed by ablation; answer tail(b′, r2) with a
            held-out, or trained, donor, or with the difference of means; answer unchanged with the same bridge;
            control: the same for a shuffled bridge, a random direction, or a third bridge's state, where an intermediate
            has only two values a state with the same one (NaN: none);
            excess: value − control; low, high: its 95 % interval over units, Newcombe's (for `same bridge` Wilson's of the
            value); n, n_facts: questions and units.
        model: the model's name.
        split: what the questions are.
    """

    table: Annotated[pd.DataFrame, Columns(words="role used reason", whole="layer n_judged")]
    measures: Annotated[pd.DataFrame, Columns(words="role measure", numbers="value excess", whole="layer n_facts")]
    model: str
    split: str

    @property
    def caption(self) -> str:
        """Model, split and n in one line."""
        row = self.table.iloc[0]
        units = f"units: {row['n_read']} read, {row['n_judged']} judged"
        return f"{self.model} · {self.split} · {units}{' · ' + row['reason'] if row['reason'] else ''}"

    @property
    def used_at(self) -> list[str]:
        """The cells at which the bridge is used, such as `L0 r1`; with the step, if this is a run's."""
        rows = self.table[self.table["used"] == "yes"]
        steps = [f"step {step}: " for step in rows["step"]] if "step" in rows else [""] * len(rows)
        cells = zip(steps, map(layer_name, rows["layer"]), rows["role"], strict=True)
        return [f"{step}{layer} {role}" for step, layer, role in cells]

    def at(self, layer: int, role: str) -> pd.DataFrame:
        """The verdicts at one cell; one row, or one for each step of a run.

        Raises:
            KeyError: if there is no such cell; the message has those there are.
        """
        layers, roles = (list(dict.fromkeys(self.table[name])) for name in ("layer", "role"))
        if not is_whole(layer) or layer not in layers or role not in roles:
            there = f"layers are {layers[0]} to {layers[-1]}, roles {', '.join(roles)}"
            raise KeyError(f"no cell L{layer} {role}: {there}; asked for were layer {layer!r} and role {role!r}")
        return self.table[(self.table["layer"] == layer) & (self.table["role"] == role)].reset_index(drop=True)

    def figure(self, role: str | None = None) -> Any:
        """Heat maps of all measures and the verdict, layer × position; of a run, the measures at one role by step.

        Args:
            role: where the measures of a run are shown; by default r1, or the first role where there is no r1.
        """
        roles = list(map(str, dict.fromkeys(self.table["role"])))
        if role is not None and role not in roles:
            raise KeyError(f"no role {role!r}; there are {', '.join(roles)}")
        if "step" in self.table:
            shown = role or ("r1" if "r1" in roles else roles[0])
            self.at(-1, shown)
            rows = self.measures[self.measures["role"] == shown]
            units = f"units: {self.table['n_read'].max()} read, up to {self.table['n_judged'].max()} judged"
            title = f"{self.model} · {self.split} · at {shown}, excess over control · bands: 95 % · {units}"
            return trajectory_curves(rows, "excess", panels="measure", title=title)
        return evidence_heatmaps(self.measures, self.table, title=self.caption)


@torch.no_grad()
def bridge_evidence(
    model: HookedTransformer | Run,
    task: SplitSource | PromptPairs,
    split: str | None = None,
    *,
    n: int = 256,
    intermediate: str | None = None,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> EvidenceResult:
    """Gather the evidence on the bridge, or another intermediate, at every layer and position.

    Args:
        model: any HookedTransformer whose options `graph_of` accepts, which is not changed; or a run.
        task: gives questions, donors and what was trained; or prompt pairs with intermediates. Say in their recipe,
            `{"held_out": True}`, if the model was never trained on the corrupt prompts.
        split: a split of the task's two-hop questions; pairs are asked themselves.
        n: at most this many questions, covering at most half of the units that there are to take means from.
        intermediate: its name, if the questions carry several.
        max_memory: bytes that may be used; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the questions, the halves, the donors and the random directions.

    Raises:
        TypeError: if a task comes without a split, or pairs with one.
        KeyError: if there is no such split.
        ValueError: if it holds no question, or no two-hop ones; if pairs cannot be examined (all problems at once).
        MemoryError: if not a single question fits into `max_memory`, next to the states that means are taken of.
    """
    common = common_problems(intermediate=intermediate, max_memory=max_memory, progress=progress, seed=seed)
    refuse(whole_problems(0, n=n) + common + ([] if split is None else name_problems(split=split)))
    if isinstance(model, Run):
        options = {"n": n, "intermediate": intermediate, "max_memory": max_memory, "progress": False, "seed": seed}
        return by_step(model, lambda each: bridge_evidence(each, task, split, **options), progress=progress)
    source, questions, name = _questions(model, task, split, intermediate)
    queries = sample(questions, n, max_units=source.n_reference // 2, seed=seed)  # the others are for means and probes
    if not len(queries) or ("hop2" in queries.facts and (queries.hop2 < 0).any()):
        raise ValueError(f"{questions.split} holds {len(queries)} questions{', which are atomic' if len(queries) else ''}")
    queries.check_against(model, intermediates=[name])
    graph = graph_of(model, queries.roles, queries.answer_position)
    means = BridgeMeans(model, graph, source, queries, intermediate=name, seed=seed, max_memory=max_memory)
    read, judged = halves_by_unit(queries, seed=seed)
    limits: dict[str, Any] = {"max_memory": max_memory, "seed": seed}
    rows = _readings(model, graph, read, means, progress=progress, **limits) if len(read) else []
    try:
        asked, found = questions_with_donors(model, graph, source, judged, means, second_hop="ID", **limits)
    except ValueError:
        asked = judged.take(torch.arange(0, device="cpu"))
    else:
        rows += _interventions(model, graph, asked, found, means, progress=progress, **limits)
    measures = pd.DataFrame(rows)
    cells = pd.DataFrame([(layer, role) for layer in range(-1, graph.n_layers) for role in graph.roles])
    table = _verdicts(cells.set_axis(["layer", "role"], axis=1), measures, name)
    reason = _reason(read, judged, asked)
    table = table.assign(n_read=read.n_units, n_judged=asked.n_units, reason=reason)
    return EvidenceResult(table, measures, model.cfg.model_name, questions.split)


def _questions(
    model: HookedTransformer, task: SplitSource | PromptPairs, split: str | None, intermediate: str | None
) -> tuple[Source, Queries, str]:
    """Where means and donors come from, the questions that may be asked, and about which intermediate."""
    if isinstance(task, PromptPairs):
        if split is not None:
            raise TypeError("pairs are asked themselves: give a task and a split, or pairs alone")
        pairs = OwnPairs.of(model, task, intermediate)
        return pairs, pairs.questions, pairs.intermediate
    if split is None:
        raise TypeError("a task has several splits: name one, or give prompt pairs in place of the task")
    questions = task.split(split)
    return task, questions, intermediate_of(questions, intermediate)


def _readings(
    model: HookedTransformer,
    graph: ComputationGraph,
    read: Queries,
    means: BridgeMeans,
    *,
    max_memory: int | None,
    progress: bool,
    seed: int,
) -> list[dict[str, Any]]:
    """Lens and probe at every cell, next to how often they give another question's value."""
    left = budget(max_memory, model) - means.run.n_bytes
    run = run_states(model, graph, read.tokens, max_memory=max(1, left))
    order = torch.randperm(len(read), generator=torch.Generator().manual_seed(int(seed)), device="cpu")
    values, rows = read.intermediates[means.intermediate], []
    for layer, position in with_bar(_cells(graph), "reading", show=progress):
        states = run.state(layer)[:, position]
        lens = said(model, states, max_memory=max(1, left - run.n_bytes))
        given = {"lens": lens, "probe": _probe(means, layer, position, states)}
        for measure, tokens in given.items():
            rows.append(_row(graph, (layer, position), measure, read, tokens == values, tokens == values[order]))
    return rows


def _probe(means: BridgeMeans, layer: int, position: int, states: Float[Tensor, "query d_model"]) -> Int[Tensor, " query"]:
    """What a probe says that was trained on units that no question is about; −1 if they have fewer than two values."""
    several = means.counts[means.values] >= MIN_UNITS_FOR_MEAN
    labels = means.values[several].numpy()
    if len(set(labels.tolist())) < 2:
        return torch.full((len(states),), NO_TOKEN, device="cpu")
    probe = fit_probe(as_array(means.run.state(layer)[several, position]), labels)
    return torch.from_numpy(said_by(probe, as_array(states)))


def _interventions(
    model: HookedTransformer,
    graph: ComputationGraph,
    asked: Queries,
    found: list[Donor],
    means: BridgeMeans,
    *,
    max_memory: int | None,
    progress: bool,
    seed: int,
) -> list[dict[str, Any]]:
    """Ablation, donors and the difference of means at every cell."""
    (new_values, wanted), name = values_and_answers(found), means.intermediate
    kinds = donor_kinds(found, name)

    def changed(run: CachedRun, part: Rows) -> Iterator[tuple[tuple[int, int], Copies]]:
        donors = donor_runs(model, graph, [found[row] for row in part.tolist()], kinds)
        generator = torch.Generator().manual_seed(int(seed))
        for layer, position in _cells(graph):
            state, mean = run.state(layer)[:, position], means.of(layer, position, asked.intermediates[name])
            loss, turn = means.overall(layer, position) - mean, means.of(layer, position, new_values) - mean
            changes = [turn, random_like(turn, generator), loss, random_like(loss, generator)]
            states = [donors[kind].state(layer)[:, position] for kind in kinds]
            states += [state + change[part] for change in changes]
            yield (layer, position), with_states(run, layer, {position: torch.stack(states)})

    names = [*kinds, "direction", "random turn", "ablation", "random loss"]
    options = {"n_places": len(_cells(graph)), "n_copies": len(names), "n_runs": 1 + DONOR_RUNS, "progress": progress}
    options |= {"kept": means.run.n_bytes, "max_memory": max_memory, "what": "changing states"}
    rows = []
    for cell, answers in answers_with(model, graph, asked, changed, **options).items():
        outcomes = _outcomes(dict(zip(names, answers, strict=True)), asked, wanted, name)
        rows += [_row(graph, cell, measure, asked, *outcome) for measure, outcome in outcomes.items()]
    return rows


def _outcomes(
    answers: Mapping[str, Int[Tensor, " query"]], asked: Queries, wanted: Int[Tensor, " query"], name: str
) -> dict[str, tuple[Bool[Tensor, " query"], Bool[Tensor, " query"] | None]]:
    """By measure, for which questions it is met, and its control."""
    same, control = f"same {name}", f"other {name}" if f"other {name}" in answers else f"same {name}"
    moved = {what: tokens == wanted for what, tokens in answers.items()}
    kept = {what: tokens == asked.answers for what, tokens in answers.items()}
    return {
        "ablation": (~kept["ablation"], ~kept["random loss"]),
        **{kind: (moved[kind], moved[control]) for kind in ("trained", HELD_OUT, DONOR) if kind in moved},
        same: (kept[same], None),
        "direction": (moved["direction"], moved["random turn"]),
    }


def _cells(graph: ComputationGraph) -> list[tuple[int, int]]:
    return [(layer, position) for layer in range(-1, graph.n_layers) for position in range(len(graph.roles))]


def _row(
    graph: ComputationGraph,
    cell: tuple[int, int],
    measure: str,
    queries: Queries,
    met: Bool[Tensor, " query"],
    control: Bool[Tensor, " query"] | None,
) -> dict[str, Any]:
    n_units, value = queries.n_units, float(met.double().mean())
    row: dict[str, Any] = {"layer": cell[0], "role": graph.roles[cell[1]], "measure": measure, "value": value}
    if control is None:
        low, high = wilson(value, n_units)
        row |= {"control": float("nan"), "excess": value}
    else:
        chance = float(control.double().mean())
        low, high = newcombe_interval(value, chance, n_units)
        row |= {"control": chance, "excess": value - chance}
    return row | {"low": low, "high": high, "n": len(queries), "n_facts": n_units}


VERDICTS = {
    "readable": (("lens",), MARGIN),
    "probe_readable": (("probe",), MARGIN),
    "necessary": (("ablation",), MARGIN),
    "sufficient": ((HELD_OUT, DONOR), MARGIN),
    "invariant": (("same {}",), INVARIANT),
    "aligned": (("direction",), MARGIN),
}
"""By verdict, the measures, of which a table has one, and the threshold above which its excess must lie with its whole
interval; {} is the intermediate's name."""


def _verdicts(cells: pd.DataFrame, measures: pd.DataFrame, name: str) -> pd.DataFrame:
    table = cells
    if not len(measures):
        measures = pd.DataFrame(columns=[*cells, "measure", "low", "high"])
    for verdict, (kinds, threshold) in VERDICTS.items():
        rows = measures[measures["measure"].isin([kind.format(name) for kind in kinds])]
        rows = cells.merge(rows, how="left", on=["layer", "role"])
        enough = rows.get("n_facts", pd.Series(0, index=rows.index)).fillna(0) >= MIN_UNITS_TO_JUDGE
        decided = {"yes": enough & (rows["low"] > threshold), "no": enough & (rows["high"] < threshold)}
        words = pd.Series("undecided", index=rows.index).mask(decided["yes"], "yes").mask(decided["no"], "no")
        table = table.assign(**{verdict: words})
    parts = table[["sufficient", "invariant", "aligned"]]
    all_yes, any_no = (parts == "yes").all(axis=1), (parts == "no").any(axis=1)
    return table.assign(used=pd.Series("undecided", index=table.index).mask(all_yes, "yes").mask(any_no, "no"))


def _reason(read: Queries, judged: Queries, asked: Queries) -> str:
    unit = "hop-1 facts" if "hop1" in read.facts else "units"
    reasons, needed = [], MIN_UNITS_TO_JUDGE
    if read.n_units < needed:
        reasons.append(f"reading needs {needed} {unit}, there are {read.n_units}")
    if asked.n_units < needed:
        reasons.append(
            f"causal verdicts need {needed} {unit}, there are {asked.n_units}: {len(asked)} of {len(judged)} questions are "
            "answered correctly and have all donors"
        )
    return "; ".join(reasons)
