"""Bridge evidence: can the bridge be read at a cell, does the answer depend on it there, in the form that hop 2 takes?

Readable is not used, and unreadable is not absent. Every cell (layer × position) gets all the evidence: the logit lens and
a linear probe, read on the questions of one half of the units; ablation and interchange, done to the questions of the
other half. Means and probes come from a third set, units that no question is about. The unit of two-hop questions is the
hop-1 fact; the bridge may be any intermediate of any prompts. Beside the single cells, a row for each layer says what
happens when all its positions are changed together, since copies make up for each other.

What makes a bridge `used` is in `evidence_verdicts`: the answers need what is particular to it after that layer, and the
difference of two bridges' mean states turns them at least half as often as a whole state does. A whole state alone shows
nothing about a bridge: at r1 of a causal model it is the donor's question (see `interchange`), which a model that looks up
(h, r1, r2), or codes of the facts (h, r1), answers too.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pandas as pd
import torch

from ...circuits import Result
from ...circuits.arguments import choice_problems, common_problems, is_whole, name_problems, refuse, whole_problems
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...tasks import PromptPairs, Queries, Run
from ...tasks.transformerlens import Model
from ..forward.model import graph_of
from ..plots.curves import trajectory_curves
from ..plots.heatmaps import evidence_heatmaps
from ..plots.style import layer_name
from ..training.by_step import by_step
from .best_cells import ALL, RIGHT, WRONG, best_rows
from .bridge_effects import BridgeEffects
from .bridge_means import BridgeMeans
from .evidence_measures import SHUFFLED_PROBE, interventions, readings
from .evidence_verdicts import MARGIN, MIN_UNITS_TO_JUDGE, TOGETHER, YES, reason, verdicts
from .interchange import questions_with_donors
from .largest import CHOSEN, READABLE, Cells, Row, without_number
from .own_pairs import OwnPairs, intermediate_of
from .pair_donors import DONOR, HELD_OUT, OTHER_R2
from .questions import halves_by_unit, sample
from .sources import BRIDGE, Source, SplitSource, check_source, with_units

MEASURES = ("lens", "probe", "ablation", "trained", HELD_OUT, OTHER_R2, "same bridge", "direction")
"""The measures of two-hop questions. Pairs have `donor` instead of those three kinds, and `same <intermediate>`."""
BEST = ("ablation", "trained", HELD_OUT, DONOR, OTHER_R2, "direction")
"""The interventions for which a best place is asked."""


@dataclass(frozen=True, eq=False)
class EvidenceResult(Result):
    """What is known about the bridge at each layer and position.

    Attributes:
        table: a row for each layer (−1: the embedding) and position, and one for `all positions` of the layer together, with
            the verdicts `yes`, `no` or `undecided`,
            readable: by the logit lens; probe_readable: by a linear probe;
            necessary: answers change if what is particular to the bridge is taken out at all positions of the layer;
            sufficient: they follow the state of a held-out donor (of pairs: of a donor, see `pair_donors`);
            invariant: they stay with a donor of the same bridge;
            aligned: they follow the difference of the mean states of two bridges over units that are not asked about;
            used: necessary, and aligned at least half as well as sufficient (see `evidence_verdicts`); for all positions
            half of `donor_right`; `undecided (ceiling)` where less than half of the donors' questions are answered right;
            n_read, n_judged: units from which the first two and the others come; reason: why something is undecided for
            want of units, else empty. Of all positions only necessary, aligned and used are asked, the others are empty.
        measures: the numbers: a row for each cell and measure (see `MEASURES`; of all positions ablation and direction):
            value: share of questions: bridge top-1; probe right; answer changed by ablation; answer tail(b′, r2) with a
            held-out, or trained, donor, one asked another r2, or with the difference of means; answer unchanged with the
            same bridge;
            control: the same for a shuffled bridge, a random direction, or a third bridge's state, where an intermediate
            has only two values a state with the same one (NaN: none);
            excess: value − control; low, high: its 95 % interval over units, Newcombe's (for `same bridge` Wilson's of the
            value); n, n_facts: questions and units;
            donor_right, success_given, asks: of donors, as in `InterchangeResult`; NaN and empty for the others.
            Results saved by earlier versions lack these three, `all positions`, and `used` as it is now.
        model: the model's name.
        split: what the questions are.
        second_hop: whether the donors' (b′, r2) are ID or OOD facts; empty for prompt pairs, and in
            results saved by earlier versions, whose are ID.
        every_layer: as `measures`, but of one position after every layer from 0 on, and without `layer`: the state of a run
            with the change, or of the donor, is put in there each time. A loop may undo what is changed once.
        best: each measure at its best place, chosen on other units than those counted (`best_cells`), embeddings left out:
            where: `one cell`; `one position, every layer`; `all positions, one layer`; of the lens also `any cell`, the
            share of questions for which it gives the bridge anywhere;
            cells: the places that were chosen, of two halves of the units; answered: which questions are counted, `all`, or
            those answered `right` or `wrong` (interventions are made where the answer is right);
            `probe, shuffled labels`: a probe trained on labels shuffled over units;
            value to n_facts as in `measures`; whole_state: how many answers follow a held-out donor's state there;
            donor_right: as in `measures`.
            Results saved by earlier versions lack the last two tables.
    """

    table: Annotated[pd.DataFrame, Columns(words="role used reason", whole="layer n_judged")]
    measures: Annotated[pd.DataFrame, Columns(words="role measure", numbers="value excess", whole="layer n_facts")]
    model: str
    split: str
    second_hop: str = ""
    every_layer: Annotated[pd.DataFrame, Columns(words="role measure", numbers="value excess", whole="n_facts")] = field(
        default_factory=pd.DataFrame
    )
    best: Annotated[
        pd.DataFrame, Columns(words="where measure cells answered", numbers="value control low high", whole="n n_facts")
    ] = field(default_factory=pd.DataFrame)

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

    def explain(self) -> Explanation:
        """Where the intermediate is used, where it can be read, and what is undecided."""
        cells, measures = Cells.of(self.table), Cells.of(self.measures)
        same = [each.removeprefix("same ") for each in measures.names("measure") if each.startswith("same ")]
        name = next(iter(same), BRIDGE)
        measured = (
            f"Whether the {name} can be read at each layer and position (logit lens, linear probe), and whether answers "
            "need it (ablation) and follow it (donors' states, the difference of mean states)."
        )
        if cells.rows.empty:
            return without_number(measured, self.table, self.model, self.split)
        row, turn = Row(cells.rows.iloc[0]), measures.having(measure="direction").largest("excess")
        places = ", ".join(Row(each).place for _, each in cells.having(used=YES).rows.iterrows())
        counts = cells.rows["used"].value_counts(sort=False).items()
        words = ", ".join(f"{word} at {n}{f' ({places})' if word == YES else ''}" for word, n in counts) or "no word"
        lens, probe = (len(cells.having(**{verdict: YES}).rows) for verdict in ("readable", "probe_readable"))
        sure = "No interval was computed of what answers follow."
        if turn is not None:
            of = f"Of the share that mean states turn beyond random vectors at {turn.place}, {turn.number('excess')}"
            sure = f"{turn.bounds(of=of)} {CHOSEN}"
        why = f" Undecided for want of units: {row.text('reason')}." if row.text("reason") else ""
        return Explanation(
            measured=measured,
            on=f"{self.model}, {self.split}: {row.whole('n_read')} units read, {row.whole('n_judged')} others judged"
            f"{row.at_step}.",
            means=f"Used, which is that answers need the {name} and follow it: {words}; the lens surely reads it at {lens} "
            f"cells, a probe at {probe}. {READABLE}",
            sure=sure,
            would_change=f"A verdict needs {MIN_UNITS_TO_JUDGE} units and a whole interval more than {MARGIN} above the "
            f"control; used also needs the difference to turn half as many answers as a whole state.{why}",
        )

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
            title = (
                f"bridge evidence · {self.model} · {self.split} · at {shown}, excess over control · bands: 95 % · {units}"
            )
            label = "share of questions, minus control"
            return trajectory_curves(rows, "excess", by="measure", label=label, title=title)
        title = f"bridge evidence · {self.caption} · on hover: 95 % intervals over units"
        return evidence_heatmaps(self.measures, self.table, title=title)


@torch.no_grad()
def bridge_evidence(
    model: Model | Run,
    task: SplitSource | PromptPairs,
    split: str | None = None,
    *,
    n: int = 256,
    second_hop: Literal["ID", "OOD"] = "ID",
    intermediate: str | None = None,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> EvidenceResult:
    """Gather the evidence on the bridge, or another intermediate, at every layer and position.

    Args:
        model: any model that `graph_of` accepts, which is not changed; or a run.
        task: gives questions, donors and what was trained; or prompt pairs with intermediates. Say in their recipe,
            `{"held_out": True}`, if the model was never trained on the corrupt prompts.
        split: one of the task's, whose questions are not atomic; pairs are asked themselves.
        n: at most this many questions, covering at most half of the units that there are to take means from.
        second_hop: whether the donors' (b′, r2) are ID or OOD facts; what has never been composed may not be answered,
            though the bridge is used. Pairs do not know.
        intermediate: its name, if the questions carry several.
        max_memory: bytes that may be used; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the questions, the halves, the donors and the random directions.

    Raises:
        TypeError: if a task comes without a split, or pairs with one.
        KeyError: if there is no such split.
        ValueError: if it holds no question, or atomic ones; if pairs cannot be examined (all problems at once).
        MemoryError: if not a single question fits into `max_memory`, next to the states that means are taken of.
    """
    common = common_problems(intermediate=intermediate, max_memory=max_memory, progress=progress, seed=seed)
    common += choice_problems(second_hop=(second_hop, ("ID", "OOD")))
    refuse(whole_problems(0, n=n) + common + ([] if split is None else name_problems(split=split)))
    if not isinstance(task, PromptPairs):
        check_source(task, SplitSource, also=", or prompt pairs")
    if isinstance(model, Run):
        options: dict[str, Any] = {"second_hop": second_hop}
        options |= {"n": n, "intermediate": intermediate, "max_memory": max_memory, "progress": False, "seed": seed}
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
    outcomes, best = [], []
    if len(read):
        outcomes, right = readings(model, graph, read, means, progress=progress, **limits)
        best = best_rows(outcomes, read, {ALL: torch.ones_like(right), RIGHT: right, WRONG: ~right}, seed=seed)
    rows = [each.row(read) for each in outcomes if each.measure != SHUFFLED_PROBE]
    try:
        asked, found = questions_with_donors(model, graph, source, judged, means, second_hop=second_hop, **limits)
    except ValueError:
        asked, changed = judged.take(torch.arange(0, device="cpu")), []
    else:
        changed = interventions(model, graph, asked, found, BridgeEffects(means, queries), progress=progress, **limits)
        every = torch.ones(len(asked), dtype=torch.bool, device="cpu")
        best += best_rows([each for each in changed if each.measure in BEST], asked, {RIGHT: every}, seed=seed)
    rows += [each.row(asked) for each in changed if each.layer is not None]
    measures = pd.DataFrame(rows)
    cells = [(layer, role) for layer in range(-1, graph.n_layers) for role in (*graph.roles, TOGETHER)]
    table = verdicts(pd.DataFrame(cells, columns=["layer", "role"]), measures, name)
    table = table.assign(n_read=read.n_units, n_judged=asked.n_units, reason=reason(read, judged, asked))
    every_layer = pd.DataFrame([each.row(asked) for each in changed if each.layer is None])
    status = second_hop if name == BRIDGE else ""
    about = model.cfg.model_name, questions.split, status
    return EvidenceResult(table, measures, *about, every_layer, pd.DataFrame(best))


def _questions(
    model: Model, task: SplitSource | PromptPairs, split: str | None, intermediate: str | None
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
    name = intermediate_of(questions, intermediate)
    return *with_units(task, questions, name), name
