"""Interchange: put the state of a question with another bridge into a question and see whether the answer follows.

If the state at a cell holds the bridge entity in the form that the second hop takes, a donor with bridge b′ makes the
model answer tail(b′, r2) (cross-query patching, Ye et al. 2025, arXiv 2505.23653; interchange interventions, Geiger et al.
2021, arXiv 2106.02997). In a causal model the whole state at r1 is a function of (h, r1) alone, so that a model which
memorised (h′, r1′, r2) passes as well: the decisive rows are donors whose composition was never trained, donors with the
same bridge, which must not change the answer, and the bridge's direction alone.
"""

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens import HookedTransformer

from ...circuits import ComputationGraph, Result
from ...tasks import Donor, Queries, TwoHopTask
from ..forward.cached import CachedRun, run_and_cache, with_states
from ..forward.model import graph_of
from ..plots.heatmaps import cell_heatmaps
from ..statistics import random_like, wilson
from .bridge_means import BridgeMeans

WHOLE_STATE = ("held out", "trained", "same bridge", "other bridge")
DIRECTION = ("bridge direction", "random direction")


@dataclass(frozen=True, eq=False)
class InterchangeResult(Result):
    """What the model answers with another question's state.

    Attributes:
        table: a row for each layer (−1: the embedding), position and donor, with
            donor: `held out` and `trained`: a state of (h′, r1′, r2), which leads to tail(b′, r2) and was not, or was, among
            the training compositions (`trained` only if there are such); `same bridge`: another fact's state with the
            same bridge; `other bridge`: a third bridge's state, judged by tail(b′, r2); `bridge direction`: the mean state
            of b′ minus that of b added, both over questions about other facts; `random direction`: a random vector of
            that length added;
            success: share of answers tail(b′, r2), or for `same bridge` of right answers, tail(b, r2);
            low, high: its 95 % Wilson interval, with the question's hop-1 fact as unit;
            kept: share of right answers;
            n, n_facts: questions and their hop-1 facts.
        model: the model's name.
        split: the questions' split.
        second_hop: whether the facts (b′, r2) are ID or OOD.
        answered: whether the questions used are those answered `right` or `wrong`.
        n_asked: questions, of which those so answered for which all donors exist are used.
    """

    model: str
    split: str
    second_hop: str
    answered: str
    n_asked: int

    @property
    def caption(self) -> str:
        """Model, split and n in one line."""
        row = self.table.iloc[0]
        used = f"n = {row['n']} of {self.n_asked} questions, answered {self.answered}, over {row['n_facts']} hop-1 facts"
        return f"{self.model} · {self.split} · (b′, r2) {self.second_hop} · {used}"

    def figure(self) -> Any:
        """Heat maps of success, layer × position, for each donor."""
        return cell_heatmaps(self.table, "donor", "success", title=self.caption)


@torch.no_grad()
def interchange(
    model: HookedTransformer,
    task: TwoHopTask,
    queries: Queries,
    *,
    second_hop: Literal["ID", "OOD"] = "ID",
    answered: Literal["right", "wrong"] = "right",
    seed: int = 0,
) -> InterchangeResult:
    """Exchange the state at every layer and position for that of donors of several kinds.

    Args:
        model: any HookedTransformer whose options `hooks.graph_of` accepts; it is left as it was.
        task: gives the facts and what was trained.
        queries: two-hop questions of the task.
        second_hop: whether the donors' (b′, r2) are ID or OOD facts; their (h′, r1′) are ID facts.
        answered: ask the questions that the model answers right, or those it answers wrong: if these follow donors, what
            reads the bridge works, and what fails is the fact (b, r2) as a second hop.
        seed: of the choice of donors and of the random directions.

    Raises:
        ValueError: if no question is so answered and has all donors.
    """
    graph = graph_of(model, queries.roles, queries.answer_position)
    means = BridgeMeans(model, graph, task, queries, seed=seed)
    asked, found = questions_with_donors(
        model, graph, task, queries, means, second_hop=second_hop, answered=answered, seed=seed
    )
    wanted = torch.tensor([donor.answer for donor in found])
    runs = donor_runs(model, graph, found)
    run, new_bridges = run_and_cache(model, graph, asked.tokens), torch.tensor([donor.value for donor in found])
    generator, rows = torch.Generator().manual_seed(seed), []
    for layer in range(-1, graph.n_layers):
        for position, role in enumerate(graph.roles):
            own = run.state(layer)[:, position]
            change = means.of(layer, position, new_bridges) - means.of(layer, position, asked.bridges)
            states = {kind: runs[kind].state(layer)[:, position] for kind in runs}
            states |= dict(zip(DIRECTION, (own + change, own + random_like(change, generator)), strict=True))
            answers = with_states(run, layer, {position: torch.stack(list(states.values()))}).argmax(-1).cpu()
            for donor, given in zip(states, answers, strict=True):
                place = {"layer": layer, "role": role, "donor": donor}
                rows.append(place | _outcome(given, asked, asked.answers if donor == "same bridge" else wanted))
    return InterchangeResult(pd.DataFrame(rows), model.cfg.model_name, queries.split, second_hop, answered, len(queries))


def questions_with_donors(
    model: HookedTransformer,
    graph: ComputationGraph,
    task: TwoHopTask,
    queries: Queries,
    means: BridgeMeans,
    *,
    second_hop: str,
    answered: str = "right",
    seed: int,
) -> tuple[Queries, list[Donor]]:
    """The questions answered right, or wrong, that have all donors and mean states, and these donors.

    Raises:
        ValueError: if there are none.
    """
    donors = task.donors(second_hop=second_hop, seed=seed)
    right = run_and_cache(model, graph, queries.tokens).logits.argmax(-1).cpu() == queries.answers
    wanted = (right == (answered == "right")).nonzero()[:, 0].tolist()
    found = [(row, donors.of(queries, row)) for row in wanted]
    kept = [(row, each) for row, each in found if each and means.has(int(queries.bridges[row]), each.value)]
    if not kept:
        raise ValueError(f"none of the {len(queries)} questions of {queries.split} is answered {answered} and has donors")
    return queries.take(torch.tensor([row for row, _ in kept])), [each for _, each in kept]


def donor_runs(model: HookedTransformer, graph: ComputationGraph, found: list[Donor]) -> dict[str, CachedRun]:
    """By kind of donor, a run of its prompts."""
    runs = {}
    for kind in (kind for kind in WHOLE_STATE if kind in found[0].prompts):
        runs[kind] = run_and_cache(model, graph, torch.stack([donor.prompts[kind] for donor in found]))
    return runs


def _outcome(answered: Int[Tensor, " query"], asked: Queries, wanted: Int[Tensor, " query"]) -> dict[str, float]:
    n_facts = asked.n_units
    success, kept = (float((answered == answers).double().mean()) for answers in (wanted, asked.answers))
    low, high = wilson(success, n_facts)
    return {"success": success, "low": low, "high": high, "kept": kept, "n": len(asked), "n_facts": n_facts}
