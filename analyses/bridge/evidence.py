"""Bridge evidence: can the bridge be read at a cell, does the answer depend on it there, in the form that hop 2 takes?

Readable is not used, and unreadable is not absent. Every cell (layer × position) gets all the evidence: the logit lens and
a linear probe, read on the questions about one half of the facts; ablation and interchange, done to the questions about the
other half. Means and probes come from a third set, ID facts that no question is about.

`used` needs three things to agree: the state of a donor whose composition was never trained turns the answer to
tail(b′, r2), beyond what a third bridge's state does; the state of another fact with the same bridge leaves the answer;
and the difference of two bridges' mean states alone turns it, beyond a random vector of that length. A model that memorised
(h, r1, r2) fails the first; where a state holds the whole answer, or the question, the others fail.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from ...circuits import ComputationGraph, Result
from ...tasks import Donor, Queries, Run, TwoHopTask
from ..forward.cached import CachedRun, run_and_cache, with_states
from ..forward.model import decode, graph_of
from ..plots.curves import trajectory_curves
from ..plots.heatmaps import evidence_heatmaps
from ..plots.style import layer_name
from ..statistics import newcombe_interval, random_like, wilson
from ..training.by_step import by_step
from .bridge_means import MIN_FACTS as CENTROID_FACTS
from .bridge_means import BridgeMeans
from .interchange import donor_runs, questions_with_donors
from .probing import fit_probe
from .questions import halves_by_unit, sample

MARGIN = 0.1  # what an effect must exceed its control by
INVARIANT = 0.8  # share of answers that a donor with the same bridge must leave
MIN_FACTS = 20  # hop-1 facts behind any verdict
MEASURES = ("lens", "probe", "ablation", "trained", "held out", "same bridge", "direction")


@dataclass(frozen=True, eq=False)
class EvidenceResult(Result):
    """What is known about the bridge at each layer and position.

    Attributes:
        table: a row for each layer (−1: the embedding) and position with the verdicts `yes`, `no` or `undecided`,
            readable: by the logit lens; probe_readable: by a linear probe;
            necessary: answers change if what is particular to the bridge is taken out;
            sufficient: they follow the state of a held-out donor; invariant: they stay with a donor of the same bridge;
            aligned: they follow the difference of the mean states of two bridges over ID facts;
            used: sufficient, invariant and aligned, all three;
            n_read, n_judged: hop-1 facts behind the first two and the others; reason: why something is undecided for
            want of facts, else empty.
        measures: the numbers behind: a row for each cell and measure (see `MEASURES`) with
            value: share of questions: bridge top-1; probe right; answer changed by ablation; answer tail(b′, r2) with a
            held-out, or trained, donor, or with the difference of means; answer unchanged with the same bridge;
            control: the same for a shuffled bridge, a random direction, or a third bridge's state (NaN: none);
            excess: value − control; low, high: its 95 % interval, Newcombe's (for `same bridge` Wilson's of the value), with
            the hop-1 fact as unit; n, n_facts.
        model: the model's name.
        split: what the questions are.
    """

    measures: pd.DataFrame
    model: str
    split: str

    @property
    def caption(self) -> str:
        """Model, split and n in one line."""
        row = self.table.iloc[0]
        facts = f"hop-1 facts: {row['n_read']} read, {row['n_judged']} judged"
        return f"{self.model} · {self.split} · {facts}{' · ' + row['reason'] if row['reason'] else ''}"

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
        if layer not in layers or role not in roles:
            raise KeyError(f"no cell L{layer} {role}: layers are {layers[0]} to {layers[-1]}, roles {', '.join(roles)}")
        return self.table[(self.table["layer"] == layer) & (self.table["role"] == role)].reset_index(drop=True)

    def figure(self, role: str = "r1") -> Any:
        """Heat maps of all measures and the verdict, layer × position; of a run, the measures at one role by step."""
        if "step" in self.table:
            self.at(-1, role)
            rows = self.measures[self.measures["role"] == role]
            facts = f"hop-1 facts: {self.table['n_read'].max()} read, up to {self.table['n_judged'].max()} judged"
            title = f"{self.model} · {self.split} · at {role}, excess over control · bands: 95 % · {facts}"
            return trajectory_curves(rows, "excess", panels="measure", title=title)
        return evidence_heatmaps(self.measures, self.table, title=self.caption)


@torch.no_grad()
def bridge_evidence(
    model: HookedTransformer | Run, task: TwoHopTask, split: str, *, n: int = 256, seed: int = 0
) -> EvidenceResult:
    """Gather the evidence on the bridge at every layer and position.

    Args:
        model: any HookedTransformer whose options `hooks.graph_of` accepts, which is left as it was; or a run.
        task: gives facts, questions and what was trained.
        split: a split of two-hop questions.
        n: at most so many of its questions, about at most half as many hop-1 facts as there are ID facts.
        seed: of the questions, the halves, the donors and the random directions.

    Raises:
        KeyError: if there is no such split.
        ValueError: if it holds no question, or no two-hop ones.
    """
    max_units = int((~task.is_ood).sum()) // 2  # the others are for means and probes
    queries = sample(task.split(split), n, max_units=max_units, seed=seed)
    if not len(queries) or (queries.hop2 < 0).any():
        raise ValueError(f"{split} holds {len(queries)} questions{', which are atomic' if len(queries) else ''}")
    if isinstance(model, Run):
        return by_step(model, lambda each: bridge_evidence(each, task, split, n=n, seed=seed))
    graph = graph_of(model, queries.roles, queries.answer_position)
    means = BridgeMeans(model, graph, task, queries, seed=seed)
    read, judged = halves_by_unit(queries, seed=seed)
    rows = _readings(run_and_cache(model, graph, read.tokens), read, means, seed) if len(read) else []
    try:
        asked, found = questions_with_donors(model, graph, task, judged, means, second_hop="ID", seed=seed)
    except ValueError:
        asked = judged.take(torch.arange(0))
    else:
        donors = donor_runs(model, graph, found)
        rows += _interventions(run_and_cache(model, graph, asked.tokens), asked, found, donors, means, seed)
    measures = pd.DataFrame(rows)
    cells = pd.DataFrame([(layer, role) for layer in range(-1, graph.n_layers) for role in graph.roles])
    table = _verdicts(cells.set_axis(["layer", "role"], axis=1), measures)
    n_read, n_judged = read.n_units, asked.n_units
    reason = _reason(n_read, n_judged, len(judged), len(asked))
    table = table.assign(n_read=n_read, n_judged=n_judged, reason=reason)
    return EvidenceResult(table, measures, model.cfg.model_name, split)


def _readings(run: CachedRun, read: Queries, means: BridgeMeans, seed: int) -> list[dict[str, Any]]:
    """Lens and probe at every cell, next to how often they give another question's bridge."""
    order = torch.randperm(len(read), generator=torch.Generator().manual_seed(seed))
    rows = []
    for layer, position in _cells(run):
        states = run.state(layer)[:, position]
        given = {"lens": _lens(run.model, states), "probe": _probe(means, layer, position, states)}
        for measure, tokens in given.items():
            right, shuffled = (tokens == bridges for bridges in (read.bridges, read.bridges[order]))
            rows.append(_row(run.graph, (layer, position), measure, read, right, shuffled))
    return rows


def _lens(model: HookedTransformer, states: Float[Tensor, "query d_model"]) -> Int[Tensor, " query"]:
    """The most likely token, or −1 where several are equally so."""
    values, tokens = decode(model, states).topk(2, dim=-1)
    return torch.where(values[:, 0] > values[:, 1], tokens[:, 0], -1).cpu()


def _probe(means: BridgeMeans, layer: int, position: int, states: Float[Tensor, "query d_model"]) -> Int[Tensor, " query"]:
    """What a probe says that was trained on facts that no question is about; −1 if they are of fewer than two bridges."""
    several = means.counts[means.questions.bridges] >= CENTROID_FACTS
    labels = means.questions.bridges[several].numpy()
    if len(set(labels.tolist())) < 2:
        return torch.full((len(states),), -1)
    probe = fit_probe(means.run.state(layer)[several, position].cpu().numpy(), labels)
    return torch.from_numpy(probe.predict(states.cpu().numpy()))


def _interventions(
    run: CachedRun,
    asked: Queries,
    found: list[Donor],
    donors: Mapping[str, CachedRun],
    means: BridgeMeans,
    seed: int,
) -> list[dict[str, Any]]:
    """Ablation, donors and the difference of means at every cell."""
    bridges, wanted = (torch.tensor([getattr(each, name) for each in found]) for name in ("value", "answer"))
    generator, rows = torch.Generator().manual_seed(seed), []
    for layer, position in _cells(run):
        own, mean = run.state(layer)[:, position], means.of(layer, position, asked.bridges)
        less, turn = means.overall(layer, position) - mean, means.of(layer, position, bridges) - mean
        states = {kind: donor.state(layer)[:, position] for kind, donor in donors.items()}
        states |= {"direction": own + turn, "random turn": own + random_like(turn, generator)}
        states |= {"ablation": own + less, "random loss": own + random_like(less, generator)}
        logits = with_states(run, layer, {position: torch.stack(list(states.values()))})
        answers = dict(zip(states, logits.argmax(-1).cpu(), strict=True))
        moved = {name: tokens == wanted for name, tokens in answers.items()}
        kept = {name: tokens == asked.answers for name, tokens in answers.items()}
        outcomes = {
            "ablation": (~kept["ablation"], ~kept["random loss"]),
            **{kind: (moved[kind], moved["other bridge"]) for kind in ("trained", "held out") if kind in moved},
            "same bridge": (kept["same bridge"], None),
            "direction": (moved["direction"], moved["random turn"]),
        }
        rows += [_row(run.graph, (layer, position), name, asked, *outcome) for name, outcome in outcomes.items()]
    return rows


def _cells(run: CachedRun) -> list[tuple[int, int]]:
    return [(layer, position) for layer in range(-1, run.graph.n_layers) for position in range(len(run.graph.roles))]


def _row(
    graph: ComputationGraph,
    cell: tuple[int, int],
    measure: str,
    queries: Queries,
    met: Bool[Tensor, " query"],
    control: Bool[Tensor, " query"] | None,
) -> dict[str, Any]:
    n_facts, value = queries.n_units, float(met.double().mean())
    row: dict[str, Any] = {"layer": cell[0], "role": graph.roles[cell[1]], "measure": measure, "value": value}
    if control is None:
        low, high = wilson(value, n_facts)
        row |= {"control": float("nan"), "excess": value}
    else:
        chance = float(control.double().mean())
        low, high = newcombe_interval(value, chance, n_facts)
        row |= {"control": chance, "excess": value - chance}
    return row | {"low": low, "high": high, "n": len(queries), "n_facts": n_facts}


VERDICTS = {
    "readable": ("lens", MARGIN),
    "probe_readable": ("probe", MARGIN),
    "necessary": ("ablation", MARGIN),
    "sufficient": ("held out", MARGIN),
    "invariant": ("same bridge", INVARIANT),
    "aligned": ("direction", MARGIN),
}
"""By verdict, the measure whose excess must lie above the threshold with its whole interval."""


def _verdicts(cells: pd.DataFrame, measures: pd.DataFrame) -> pd.DataFrame:
    table = cells
    for verdict, (measure, threshold) in VERDICTS.items():
        rows = measures[measures["measure"] == measure] if len(measures) else pd.DataFrame(columns=[*cells, "low", "high"])
        rows = cells.merge(rows, how="left", on=["layer", "role"])
        enough = rows.get("n_facts", pd.Series(0, index=rows.index)).fillna(0) >= MIN_FACTS
        decided = {"yes": enough & (rows["low"] > threshold), "no": enough & (rows["high"] < threshold)}
        words = pd.Series("undecided", index=rows.index).mask(decided["yes"], "yes").mask(decided["no"], "no")
        table = table.assign(**{verdict: words})
    parts = table[["sufficient", "invariant", "aligned"]]
    all_yes, any_no = (parts == "yes").all(axis=1), (parts == "no").any(axis=1)
    return table.assign(used=pd.Series("undecided", index=table.index).mask(all_yes, "yes").mask(any_no, "no"))


def _reason(n_read: int, n_judged: int, n_questions: int, n_asked: int) -> str:
    reasons = []
    if n_read < MIN_FACTS:
        reasons.append(f"reading needs {MIN_FACTS} hop-1 facts, there are {n_read}")
    if n_judged < MIN_FACTS:
        reasons.append(
            f"causal verdicts need {MIN_FACTS} hop-1 facts, there are {n_judged}: {n_asked} of {n_questions} questions are "
            "answered correctly and have all donors"
        )
    return "; ".join(reasons)
