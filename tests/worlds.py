"""Trained models on which exact rewrites are tried: of the shipped study, and one with four heads that is trained here."""

import tempfile
from dataclasses import dataclass, replace
from functools import cache

import torch
from rewrites import REWRITES, Renamed, built, parts_of

from grokscope.tasks import ModelConfig, PromptPairs, Run, TrainConfig, TwoHopTask, make_pairs, train
from grokscope.tasks.questions.pairing import n_pairable
from grokscope.tasks.runs.study import SHIPPED
from grokscope.tasks.transformerlens import HookedTransformer

SPLIT = "test_inferred_iid"
N_PAIRS = 64
STUDIED = {
    "tied": (("natural-g1-r0", 11600), ("natural-g1-r0", 1000)),
    "untied": (("untied-g1-r0", 15000), ("natural-g1-r0", 11600)),
    "bidirectional slots": (("natural_slots-g1-r0", 9200), ("natural_slots-g1-r0", 2400)),
}
"""By world, run and step of the model that is rewritten and of the one that it is compared with."""
WORLDS = (*STUDIED, "four heads")
INAPPLICABLE = {
    ("heads permuted", "tied"): "one head has one order only",
    ("heads permuted", "untied"): "one head has one order only",
    ("untied", "untied"): "no two layers share parameters",
}
"""By rewrite and world, why there is nothing to rewrite; all other rewrites are done in all worlds."""
APPLICABLE = [(rewrite, world) for world in WORLDS for rewrite in REWRITES if (rewrite, world) not in INAPPLICABLE]


@dataclass(frozen=True, eq=False)
class World:
    """A model, another of the same task, and what both are asked.

    Attributes:
        task: a task, or one with other names for its tokens.
        pairs: of test questions, that differ in the bridge; not only those that the models get right.
        model: is rewritten.
        other: what it is compared with.
    """

    task: TwoHopTask | Renamed
    pairs: PromptPairs
    model: HookedTransformer
    other: HookedTransformer


@cache
def world(name: str) -> World:
    """The world of that name, in double precision, so that what moves a number is the measure and no rounding."""
    if name == "four heads":
        task, model, other = _four_heads()
    else:
        (run, step), (other_run, other_step) = STUDIED[name]
        first, second = Run.load(SHIPPED / "study" / run), Run.load(SHIPPED / "study" / other_run)
        task, model, other = first.task, first.checkpoint(step).model(), second.checkpoint(other_step).model()
    n = min(N_PAIRS, n_pairable(task.split(SPLIT)))
    pairs = make_pairs(task, split=SPLIT, contrast="bridge", n=n, seed=0)
    return World(task, pairs, _double(model), _double(other))


def renamed(given: World, seed: int = 0) -> World:
    """The same world with shuffled vocabulary."""
    names = Renamed.of(given.task, torch.Generator().manual_seed(seed))
    return World(names, names.pairs(given.pairs), names.model(given.model), names.model(given.other))


def _double(model: HookedTransformer) -> HookedTransformer:
    return built(model, replace(parts_of(model), settings={"dtype": torch.float64}))


def _four_heads() -> tuple[TwoHopTask, HookedTransformer, HookedTransformer]:
    """A small causal model that answers most test questions, and itself when it answered few."""
    task = TwoHopTask.random(n_entities=16, n_relations=12, out_degree=10, ood_fraction=0.1, test_fraction=0.1, seed=0)
    shape = ModelConfig(d_model=64, n_heads=4, n_blocks=1, n_loops=4)
    settings = TrainConfig.tiny(max_steps=400, evaluate_every=100, n_checkpoints=4, learning_rate=3e-3, weight_decay=0.5)
    with tempfile.TemporaryDirectory() as folder:
        run = train(task, shape, settings, f"{folder}/four heads", progress=False)
        return task, run.checkpoint(400).model(), run.checkpoint(200).model()
