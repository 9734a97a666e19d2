"""Interchange: put the state of a question with another intermediate into a question and see whether the answer follows.

If the state at a cell holds the bridge entity in the form that the second hop takes, a donor with bridge b′ makes the
model answer tail(b′, r2) (cross-query patching, Ye et al. 2025, arXiv 2505.23653; interchange interventions, Geiger et al.
2021, arXiv 2106.02997).

In a causal model everything that the answer knows of (h, r1) passes through r1 or bypasses it. Where nothing bypasses it, a
donor's whole state at r1, after any layer from 0 on, asks the donor's own question: its success is the accuracy on those
questions, whatever the model does with a bridge, and `other bridge`, judged by another answer than that question's, is 0 by
construction. So every whole-state row says what its donors' questions ask (`asks`), how many of them the model answers right
(`donor_right`, the ceiling), and the success among these (`success_given`). What a whole state can show: that the answer
depends on this position. Only the bridge's direction is about the bridge alone. In questions answered wrong, the row
`same bridge` is the informative one: what becomes right with another fact (h″, r1″) of the same bridge failed at the first
hop, what stays wrong at the second.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Literal

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ...circuits import ComputationGraph, Result
from ...circuits.arguments import choice_problems, common_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...tasks import Donor, PromptPairs, Queries
from ...tasks.transformerlens import Model
from ..forward.model import graph_of
from ..forward.state_runs import StateRun, with_states
from ..forward.states import StatesRun, run_states
from ..plots.heatmaps import cell_heatmaps
from ..statistics import random_like, wilson_row
from .answers import Copies, Rows, answers_of, answers_with
from .bridge_means import BridgeMeans
from .largest import CHOSEN, MISSING, Cells, without_number
from .own_pairs import given_problems, setting
from .pair_donors import DONOR, HELD_OUT, OTHER_R2
from .sources import BRIDGE, Source

RANDOM_DIRECTION = "random direction"
OTHER_VALUE = (HELD_OUT, "trained", DONOR, OTHER_R2)
"""The kinds of donor whose intermediate is another and whose answer should follow."""


@dataclass(frozen=True, eq=False)
class InterchangeResult(Result):
    """What the model answers with another question's state.

    Attributes:
        table: a row for each layer (−1: the embedding), position and donor, with
            donor: `held out` and `trained`: a state of (h′, r1′, r2), which leads to tail(b′, r2) and was not, or was, among
            the training compositions (`trained` only if there are such); of prompt pairs instead `donor`, the corrupt
            prompt, called `held out` if the pairs' recipe says so (see `pair_donors`); `same bridge`: a state of another
            unit with the same bridge; `other bridge`: a third bridge's state, judged by tail(b′, r2); `other r2`: a state of
            (h′, r1′, r2′), which holds b′ and not what follows from it here (for models that see all positions at once);
            `bridge direction`: the mean state of b′ minus that of b added, both over questions of other units; `random
            direction`: a random vector of that length added. An intermediate of another name stands in place of `bridge`;
            success: share of answers tail(b′, r2), or for `same bridge` of right answers, tail(b, r2);
            low, high: its 95 % Wilson interval over units;
            kept: share of right answers;
            n, n_facts: questions and their units: the hop-1 facts of two-hop questions;
            donor_right: share of the donors' questions that the model answers right, asked by themselves: the ceiling of
            `success` where the state is the whole question; success_given: success among those; both NaN for directions,
            where the right answer is not known (`other` donors of pairs), the latter also if none is answered right;
            asks: what the donors' questions ask; empty for directions. Results saved by earlier versions lack these three.
        model: the model's name.
        split: the questions' split.
        second_hop: whether the facts (b′, r2) are ID or OOD; empty where the intermediate is no `bridge`.
        answered: whether the questions used are those answered `right` or `wrong`.
        n_asked: questions, of which those so answered for which all donors exist are used.
    """

    table: Annotated[pd.DataFrame, Columns(words="role donor", numbers="success", whole="layer n n_facts")]
    model: str
    split: str
    second_hop: str
    answered: str
    n_asked: int

    @property
    def caption(self) -> str:
        """Model, split and n in one line."""
        row = self.table.iloc[0]
        second_hop = f" · (b′, r2) {self.second_hop}" if self.second_hop else ""
        used = f"n = {row['n']} of {self.n_asked} questions, answered {self.answered}, over {row['n_facts']} units"
        return f"{self.model} · {self.split}{second_hop} · {used}"

    def explain(self) -> Explanation:
        """Whether answers follow another value of the intermediate; of wrong answers, at which hop they fail."""
        cells, wrong = Cells.of(self.table), self.answered == "wrong"
        donors = cells.names("donor")
        kinds = [each for each in donors if each.startswith("same ") or each.endswith(" direction")]
        lead = next((each for each in kinds if each.startswith("same ") == wrong), next(iter(donors), ""))
        measured = (
            f"What the model answers when the state at one cell is exchanged for a donor's, or gets a direction added: "
            f"{', '.join(donors)}."
        )
        best = cells.having(donor=lead).largest("success")
        if best is None:
            return without_number(measured, self.table, self.model, self.split)
        random = cells.beside(best, "layer", "role", donor=RANDOM_DIRECTION).number("success")
        state = next((row for kind in (HELD_OUT, DONOR) if (row := cells.having(donor=kind).largest("success"))), best)
        right = state.number("donor_right")
        bound = "" if right == MISSING else f", where {right} of the donors' own questions are answered right"
        what = "What becomes right failed at the first hop, what stays wrong at the second."
        return Explanation(
            measured=measured,
            on=f"{best.asked(self.model, self.split, of=self.n_asked)}, those answered {self.answered} that have all "
            "donors.",
            means=f"With the {lead}, at most {best.number('success')} of the answers "
            f"{'become right' if wrong else 'follow'}, at {best.place} (1 is all, 0 none). "
            f"{what if wrong else f'A random direction gives {random} there.'}",
            sure=f"{best.bounds()} {CHOSEN}",
            would_change=f"With the whole state of a donor ({state.text('donor')}) it is at most {state.number('success')}, "
            f"at {state.place}{bound}. Where a state is all of the donor's question, as at r1 of a causal model, that says "
            "nothing about the intermediate.",
        )

    def figure(self) -> Any:
        """Heat maps of success, layer × position, for each donor."""
        title = f"success of interchange · {self.caption} · on hover: 95 % Wilson over units"
        return cell_heatmaps(self.table, "donor", "success", label="share of questions", title=title, bounds=True)


@torch.no_grad()
def interchange(
    model: Model,
    task: Source | PromptPairs,
    queries: Queries | None = None,
    *,
    second_hop: Literal["ID", "OOD"] = "ID",
    answered: Literal["right", "wrong"] = "right",
    intermediate: str | None = None,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> InterchangeResult:
    """Exchange the state at every layer and position for that of donors of several kinds.

    Args:
        model: any model that `graph_of` accepts; it is not changed.
        task: gives donors and the questions for mean states; or prompt pairs with intermediates, of which the clean
            prompts of half the units are asked.
        queries: questions of the task; pairs hold theirs.
        second_hop: whether the donors' (b′, r2) are ID or OOD facts; their (h′, r1′) are ID facts. Pairs do not know.
        answered: ask the questions that the model answers right, or those it answers wrong: if these become right with the
            `same bridge`, what failed is the first hop's state; if not, the fact (b, r2) as a second hop. That they follow
            donors of another bridge shows little: the state at r1 asks another question, see above.
        intermediate: its name, if the questions carry several.
        max_memory: bytes that may be used; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the choice of donors and of the random directions; for pairs also of the half that is asked.

    Raises:
        TypeError: if a task comes without queries, or pairs with them.
        ValueError: for another `second_hop` or `answered`; if pairs or queries cannot be examined (all problems at once), or
            no question is so answered and has all donors.
        MemoryError: if not a single question fits into `max_memory`, next to the states that means are taken of.
    """
    choices = choice_problems(second_hop=(second_hop, ("ID", "OOD")), answered=(answered, ("right", "wrong")))
    common = common_problems(intermediate=intermediate, max_memory=max_memory, progress=progress, seed=seed)
    refuse(given_problems(queries) + choices + common)
    source, queries, name = setting(model, task, queries, intermediate, seed=seed)
    graph = graph_of(model, queries.roles, queries.answer_position)
    means = BridgeMeans(model, graph, source, queries, intermediate=name, seed=seed, max_memory=max_memory)
    asked, found = questions_with_donors(
        model, graph, source, queries, means, second_hop=second_hop, answered=answered, seed=seed, max_memory=max_memory
    )
    new_values, wanted = values_and_answers(found)
    kinds = donor_kinds(found, name)

    def exchanged(run: StateRun, part: Rows) -> Iterator[tuple[tuple[int, int], Copies]]:
        donors = donor_runs(model, graph, [found[row] for row in part.tolist()], kinds)
        yield DONORS_THEMSELVES, torch.stack([donors[kind].logits for kind in kinds])
        generator = torch.Generator().manual_seed(int(seed))
        for layer, position in product(range(-1, graph.n_layers), range(len(graph.roles))):
            state = run.state(layer)[:, position]
            change = means.of(layer, position, new_values) - means.of(layer, position, asked.intermediates[name])
            random = random_like(change, generator)
            states = [donors[kind].state(layer)[:, position] for kind in kinds]
            states += [state + change[part], state + random[part]]
            yield (layer, position), with_states(run, layer, {position: torch.stack(states)})

    names = [*kinds, f"{name} direction", RANDOM_DIRECTION]
    outcomes = answers_with(
        model,
        graph,
        asked,
        exchanged,
        n_places=1 + (graph.n_layers + 1) * len(graph.roles),
        n_copies=len(names),
        n_runs=1 + DONOR_RUNS,
        kept=means.run.n_bytes,
        max_memory=max_memory,
        what="exchanging states",
        progress=progress,
    )
    right = donors_right(found, dict(zip(kinds, outcomes.pop(DONORS_THEMSELVES), strict=True)))
    rows = []
    for (layer, position), answers in outcomes.items():
        for donor, given in zip(names, answers, strict=True):
            place = {"layer": layer, "role": graph.roles[position], "donor": donor}
            met = given == (asked.answers if donor == f"same {name}" else wanted)
            rows.append(place | _outcome(given, asked, met) | under_ceiling(donor, met, found, right))
    status = second_hop if name == BRIDGE else ""
    return InterchangeResult(pd.DataFrame(rows), model.cfg.model_name, queries.split, status, answered, len(queries))


def questions_with_donors(
    model: Model,
    graph: ComputationGraph,
    source: Source,
    queries: Queries,
    means: BridgeMeans,
    *,
    second_hop: str,
    answered: str = "right",
    seed: int,
    max_memory: int | None = None,
) -> tuple[Queries, list[Donor]]:
    """The questions answered right, or wrong, that have all donors and mean states, and these donors.

    Raises:
        ValueError: if there are none.
    """
    donors = source.donors(intermediate=means.intermediate, second_hop=second_hop, seed=seed)
    right = answers_of(model, graph, queries, max_memory=max_memory) == queries.answers
    rows = (right == (answered == "right")).nonzero()[:, 0].tolist()
    values = queries.intermediates[means.intermediate].tolist()
    found = [(row, donors.of(queries, row)) for row in rows]
    usable = [(row, donor) for row, donor in found if donor and means.has(values[row], donor.value)]
    if not usable:
        none = f"none of the {len(queries)} questions of {queries.split} is answered {answered} and has donors"
        none += f" (which second_hop={second_hop!r} asks for)"
        n_known = sum(donor is not None for _, donor in found)
        left = f" and mean states: {n_known} have donors, but they ask about all units but {len(means.questions)}, ask fewer"
        raise ValueError(none + (left if n_known else ""))
    return queries.take(torch.tensor([row for row, _ in usable], device="cpu")), [donor for _, donor in usable]


def values_and_answers(found: list[Donor]) -> tuple[Int[Tensor, " query"], Int[Tensor, " query"]]:
    """The donors' other values of the intermediate and the answers that follow from them."""
    return torch.tensor([donor.value for donor in found], device="cpu"), torch.tensor(
        [donor.answer for donor in found], device="cpu"
    )


def donor_kinds(found: list[Donor], name: str) -> list[str]:
    """The kinds of prompts that donors have."""
    return [
        kind for kind in (*OTHER_VALUE, f"same {name}", f"other {name}") if all(kind in donor.prompts for donor in found)
    ]


DONOR_RUNS = 2  # plain runs that all donors of some questions take: the one that is made, and the states of all kinds


def donor_runs(model: Model, graph: ComputationGraph, found: list[Donor], kinds: list[str]) -> dict[str, StatesRun]:
    """By kind of donor, a run of its prompts."""
    return {kind: run_states(model, graph, torch.stack([donor.prompts[kind] for donor in found])) for kind in kinds}


DONORS_THEMSELVES: tuple[int, int] = (-2, -1)
"""In place of a cell: what the model answers to the donors' prompts as they are."""


def donors_right(found: list[Donor], given: Mapping[str, Int[Tensor, " query"]]) -> dict[str, Bool[Tensor, " query"]]:
    """By kind, which donors' prompts are themselves answered right; without the kinds of which that is not known."""
    known = [kind for kind in given if all(kind in donor.answers for donor in found)]
    return {kind: given[kind] == torch.tensor([donor.answers[kind] for donor in found], device="cpu") for kind in known}


def under_ceiling(
    donor: str, met: Bool[Tensor, " query"], found: list[Donor], right: Mapping[str, Bool[Tensor, " query"]]
) -> dict[str, Any]:
    """The columns donor_right, success_given and asks of an intervention that is met for some questions."""
    row = {"donor_right": float("nan"), "success_given": float("nan"), "asks": found[0].asks.get(donor, "")}
    if donor in right:
        row |= {
            "donor_right": float(right[donor].double().mean()),
            "success_given": float(met[right[donor]].double().mean()),
        }
    return row


def _outcome(answered: Int[Tensor, " query"], asked: Queries, met: Bool[Tensor, " query"]) -> dict[str, float]:
    share, kept = wilson_row(met, asked.unit), float((answered == asked.answers).double().mean())
    row = {"success": share.value, "low": share.low, "high": share.high, "kept": kept}
    return row | {"n": share.n, "n_facts": share.n_units}
