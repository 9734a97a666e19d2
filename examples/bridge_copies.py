"""Do bidirectional models keep several copies of the bridge? Exchange it at one position, then at several together.

    python examples/bridge_copies.py     # every bidirectional run of the study at its last shipped step, some seconds

If each copy is enough, exchanging one of them changes few answers while exchanging all changes all: a small effect at each
cell does not mean that the bridge is not used. Exchanged is the difference of two bridges' mean states over ID facts after
the first layer, next to a random vector of that length, on OOD+ID questions answered right; an answer follows if it is
tail(b′, r2).
"""

from collections import defaultdict

import numpy as np
import pandas as pd
import torch
import typer
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from grokscope import tasks
from grokscope.analyses.bridge.bridge_means import BridgeMeans
from grokscope.analyses.forward.model import graph_of
from grokscope.analyses.statistics import random_like, wilson

LAYER, SPLIT = 0, "test_inferred_ood_id"
PLACES = (("r1",), ("r2",), ("end",), ("r1", "r2"), ("r1", "r2", "end"))


def other_bridges(
    queries: tasks.Queries, task: tasks.TwoHopTask, means: BridgeMeans, rng: np.random.Generator
) -> tuple[list[int], list[int], list[int]]:
    """Rows of questions, another bridge for each and its tail with the question's r2; rows without one are left out."""
    by_relation: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for head, relation, tail in task.graph.triples:
        by_relation[relation].append((head, tail))
    chosen = []
    for row, (fact, bridge, answer) in enumerate(zip(queries.hop2, queries.bridges, queries.answers, strict=True)):
        others = by_relation[task.graph.triples[int(fact)][1]]
        usable = [(b, t) for b, t in others if t != answer and b != bridge and means.has(b, int(bridge))]
        if usable:
            chosen.append((row, *usable[rng.integers(len(usable))]))
    rows, bridges, tails = zip(*chosen, strict=True)
    return list(rows), list(bridges), list(tails)


@torch.no_grad()
def followed(
    model: HookedTransformer, queries: tasks.Queries, changes: dict[int, Float[Tensor, "query d_model"]], tails: Tensor
) -> Float[Tensor, " query"]:
    """Which answers become those tails when the states at some positions are changed."""

    def change(state: Float[Tensor, "query pos d_model"], hook: object) -> Float[Tensor, "query pos d_model"]:
        state = state.clone()
        for position, difference in changes.items():
            state[:, position] += difference
        return state

    logits = model.run_with_hooks(queries.tokens, fwd_hooks=[(f"blocks.{LAYER}.hook_resid_post", change)])
    return (logits[:, queries.answer_position].argmax(-1) == tails).float()


def measure(run: tasks.Run, seed: int = 0) -> pd.DataFrame:
    """A row for each set of positions: the share of answers that follow, with Wilson's interval over hop-1 facts."""
    model, asked = run.checkpoint(run.steps[-1]).model(), run.task.split(SPLIT)
    asked = asked.take(tasks.predictions(model, asked.tokens, asked.answer_position) == asked.answers)
    means = BridgeMeans(model, graph_of(model, asked.roles, asked.answer_position), run.task, asked, seed=seed)
    rows, bridges, tails = map(torch.tensor, other_bridges(asked, run.task, means, np.random.default_rng(seed)))
    asked, found = asked.take(rows), []
    n_facts = len(asked.hop1.unique())
    at = {role: asked.roles.index(role) for places in PLACES for role in places}
    change = {role: means.of(LAYER, at[role], bridges) - means.of(LAYER, at[role], asked.bridges) for role in at}
    random = {role: random_like(each, torch.Generator().manual_seed(seed)) for role, each in change.items()}
    for places in PLACES:
        value, control = (
            float(followed(model, asked, {at[role]: each[role] for role in places}, tails).mean())
            for each in (change, random)
        )
        interval = wilson(value, n_facts)
        about = {
            "run": run.name,
            "step": run.steps[-1],
            "exchanged at": ", ".join(places),
            "n": len(asked),
            "facts": n_facts,
        }
        found.append(about | {"follow": value, "low": interval.low, "high": interval.high, "random": control})
    return pd.DataFrame(found)


def main(study: str = "study") -> None:
    """Print the table."""
    runs = [run for run in tasks.load_study(study).runs.values() if run.model_config.bidirectional and run.steps]
    typer.echo(pd.concat(map(measure, runs)).round(2).to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
