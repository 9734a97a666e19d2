"""Do bidirectional models keep several copies of the bridge? Exchange it at one position, then at several together.

If each copy is enough, exchanging one of them changes few answers while exchanging all changes all: a small effect at each
cell does not mean that the bridge is not used.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from ...circuits import Result
from ...circuits.arguments import common_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...tasks import Queries, Task, TwoHopTask, two_hop
from ...tasks.questions.given import queries_problems
from ...tasks.questions.validity import layer_problems, missing_problems
from ...tasks.transformerlens import Model
from ..forward.model import check_model, graph_of
from ..forward.state_runs import StateRun, with_states
from ..plots.bars import copies_bars
from ..plots.style import layer_name
from ..statistics import random_like, wilson_row
from .answers import Copies, Rows, answers_of, answers_with
from .bridge_means import BridgeMeans
from .largest import Cells, without_number

PLACES = (("r1",), ("r2",), ("end",), ("r1", "r2"), ("r1", "r2", "end"))
"""Of prompts with slots, see `tasks.layout`: single positions where a copy may be, and several together."""


@dataclass(frozen=True, eq=False)
class BridgeCopiesResult(Result):
    """What the model answers when the bridge is exchanged at one position and at several.

    Attributes:
        table: a row for each set of positions, with
            roles: the positions, such as `r1, r2`;
            followed: share of answers tail(b′, r2); low, high: its 95 % Wilson interval over units, the hop-1 facts;
            random: the same share with random vectors of the same lengths;
            n, n_facts: questions, all answered correctly before, and their hop-1 facts.
        model: the model's name.
        split: the questions' split.
        layer: after which the states are changed.
        n_asked: questions before those answered wrongly, or without another bridge, were left out.
    """

    table: Annotated[pd.DataFrame, Columns(words="roles", numbers="followed low high random", whole="n n_facts")]
    model: str
    split: str
    layer: int
    n_asked: int

    @property
    def caption(self) -> str:
        """Model, split, layer and n in one line."""
        row = self.table.iloc[0]
        n = f"n = {row['n']} of {self.n_asked} questions over {row['n_facts']} units"
        return f"{self.model} · {self.split} · bridge exchanged after layer {self.layer} · {n}"

    def explain(self) -> Explanation:
        """How many answers follow another bridge, exchanged at one position and at several together."""
        layer, cells = layer_name(self.layer), Cells.of(self.table)
        measured = (
            f"What the model answers when the difference of two bridges' mean states is added to the state after {layer}, "
            "at one position or at several together."
        )
        places = cells.names("roles")
        most = cells.having(roles=max(places, key=lambda place: place.count(", "), default="")).largest("followed")
        if most is None:
            return without_number(measured, self.table, self.model, self.split)
        roles = most.text("roles")
        single = Cells(self.table[~self.table["roles"].astype(str).str.contains(", ")]).largest("followed")
        alone = f"; at a single position at most {single.number('followed')}, at {single.text('roles')}" if single else ""
        return Explanation(
            measured=measured,
            on=f"{most.asked(self.model, self.split, of=self.n_asked)}, all answered right before.",
            means=f"Exchanged at {roles}, the bridge turns {most.number('followed')} of the answers (1 is all, 0 none)"
            f"{alone}. Where much is turned together and little alone, there are copies, and each is enough.",
            sure=f"{most.bounds(of=f'At {roles}')} Random vectors as long turn {most.number('random')} there.",
            would_change=f"Another layer than {layer}, or other sets of positions than these {len(self.table)}. A share "
            f"near the {most.number('random')} of random vectors would show no bridge.",
        )

    def figure(self) -> Any:
        """Bars of the share that follows, for each set of positions."""
        return copies_bars(self.table, title=f"{self.caption} · bars: 95 % over units")


@torch.no_grad()
def bridge_copies(
    model: Model,
    task: Task,
    queries: Queries,
    *,
    layer: int = 0,
    places: Sequence[Sequence[str]] = PLACES,
    max_memory: int | None = None,
    seed: int = 0,
) -> BridgeCopiesResult:
    """Exchange the bridge at each set of positions together and count the answers that follow.

    Added to a state is the difference of two bridges' mean states there, over ID facts that are not asked about. The other
    bridge b′ is drawn from those with a fact (b′, r2).

    Args:
        model: any model that `graph_of` accepts; it is not changed.
        task: of two-hop questions; gives the facts, and the questions for mean states.
        queries: two-hop questions of the task; those answered right are used.
        layer: after which the states are changed; −1 is the embedding.
        places: sets of roles.
        max_memory: bytes that may be used; by default a quarter of what is free.
        seed: of the other bridges, the questions for means and the random vectors.

    Raises:
        TypeError: if the task is of another kind.
        ValueError: for roles or a layer that there are not, all at once; or if no question is left to ask.
        MemoryError: if not a single question fits into `max_memory`.
    """
    check_model(model)
    common = common_problems(max_memory=max_memory, seed=seed)
    if problems := queries_problems(queries=queries) + _kind_problems(places) + common:
        refuse(problems + layer_problems([layer], model.cfg.n_layers))
    two_hops = two_hop(task)
    queries.check_against(model, intermediates=["bridge"])
    graph = graph_of(model, queries.roles, queries.answer_position)
    refuse(_problems(queries, places) + layer_problems([layer], graph.n_layers))
    asked = queries.take(answers_of(model, graph, queries, max_memory=max_memory) == queries.answers)
    means = BridgeMeans(model, graph, task, asked, intermediate="bridge", seed=seed, max_memory=max_memory)
    asked, bridges, tails = _with_other_bridges(asked, two_hops, means, seed)
    positions = sorted({queries.roles.index(role) for roles in places for role in roles})
    change = {at: means.of(layer, at, bridges) - means.of(layer, at, asked.bridges) for at in positions}
    random = {at: random_like(each, torch.Generator().manual_seed(int(seed))) for at, each in change.items()}
    both = {at: torch.stack([change[at], random[at]]) for at in positions}

    def exchanged(run: StateRun, part: Rows) -> Iterator[tuple[int, Copies]]:
        for place, roles in enumerate(places):
            at = [queries.roles.index(role) for role in roles]
            states = {position: run.state(layer)[:, position] + both[position][:, part] for position in at}
            yield place, with_states(run, layer, states)

    options: dict[str, Any] = {
        "n_copies": 2,
        "kept": means.run.n_bytes + sum(each.nbytes for each in both.values()),
        "max_memory": max_memory,
    }
    found = answers_with(model, graph, asked, exchanged, n_places=len(places), what="exchanging", **options)
    rows = []
    for place, answers in found.items():
        followed, control = answers == tails
        share = wilson_row(followed, asked.unit)
        row = {"roles": ", ".join(places[place]), "followed": share.value, "low": share.low, "high": share.high}
        rows.append(row | {"random": float(control.double().mean()), "n": share.n, "n_facts": share.n_units})
    return BridgeCopiesResult(pd.DataFrame(rows), model.cfg.model_name, queries.split, layer, len(queries))


def _problems(queries: Queries, places: Sequence[Sequence[str]]) -> list[str]:
    wanted = sorted({str(role) for roles in places for role in roles})
    return missing_problems("role", wanted, queries.roles)


def _kind_problems(places: Any) -> list[str]:
    """What is wrong whatever the model and the questions are."""
    if _is_list(places) and all(_is_list(each) for each in places):
        return []
    return [f"places are one or more sets of one or more roles, as in [('r1',)], got {places!r}"]


def _is_list(values: Any) -> bool:
    return isinstance(values, Collection) and not isinstance(values, str) and len(values) > 0


def _with_other_bridges(
    queries: Queries, task: TwoHopTask, means: BridgeMeans, seed: int
) -> tuple[Queries, Int[Tensor, " query"], Int[Tensor, " query"]]:
    """The questions that have another bridge with a mean state, that bridge, and its tail with the question's r2."""
    by_relation: dict[int, list[tuple[int, int]]] = defaultdict(list)
    triples = task.graph.triples
    for head, relation, tail in triples:
        by_relation[relation].append((head, tail))
    rng, chosen = np.random.default_rng(seed), []
    columns = (queries.hop2.tolist(), queries.bridges.tolist(), queries.answers.tolist())
    for row, (fact, bridge, answer) in enumerate(zip(*columns, strict=True)):
        others = by_relation[triples[fact][1]]
        usable = [(b, tail) for b, tail in others if tail != answer and b != bridge and means.has(b, bridge)]
        if usable:
            chosen.append((row, *usable[rng.integers(len(usable))]))
    if not chosen:
        raise ValueError(f"none of the questions of {queries.split} is answered right and has another bridge")
    rows, bridges, tails = torch.tensor(chosen, device="cpu").unbind(1)
    return queries.take(rows), bridges, tails
