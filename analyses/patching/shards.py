"""Effects in shards: fixed groups of targets on a batch of pairs, each group patched by itself.

What is stacked together decides the last bits of an effect. Therefore what makes a shard follows from the targets and the
number of pairs in the batch alone, so that shards can be measured in any order, in this process or in others (`workers`),
and those that a folder keeps go with those that are measured later.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...circuits import Edge, Node
from ...tasks import PromptPairs
from ..forward.engine import AnyRun, Engine
from ..forward.places import Logits
from .gap import Ends, base_and_donor
from .metrics import AnyMetric

MOST_RUNS = 4096  # patched prompts of a shard; an engine runs no more at once, so that shards cost no stacking

Found = tuple[int, Sequence[int], Float[np.ndarray, "target query"]]
"""Number of a batch, places of targets, and the change that each makes on each query of the batch."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What is measured, whoever does it.

    Attributes:
        pairs: clean and corrupt prompts.
        targets: edges or nodes.
        direction: noising or denoising.
        metric: logits, answers and foils to one number for each query.
        batches: rows of pairs that are run together.
        alone: whether every target is computed by itself, so that they may be parted.
    """

    pairs: PromptPairs
    targets: Sequence[Edge] | Sequence[Node]
    direction: str
    metric: AnyMetric
    batches: Sequence[Int[Tensor, " _"]]
    alone: bool = True

    def left(self, done: Bool[np.ndarray, "target batch"]) -> Iterator[tuple[int, list[int]]]:
        """The number of a batch and places of a shard, for all that is not done."""
        for number, rows in enumerate(self.batches):
            for shard in shards_of(self.targets, len(rows)) if self.alone else [np.arange(len(self.targets))]:
                if len(places := shard[~done[shard, number]]):
                    yield number, places.tolist()


def shards_of(targets: Sequence[Edge] | Sequence[Node], n_rows: int) -> list[Int[np.ndarray, " _"]]:
    """Places of targets in shards: those that enter a model at one layer and position, in groups of a fixed size.

    Args:
        targets: edges or nodes.
        n_rows: pairs that are run together.
    """
    nodes = [target.receiver if isinstance(target, Edge) else target for target in targets]
    order = sorted(range(len(nodes)), key=lambda i: (_entry(nodes[i]), nodes[i].kind, nodes[i].input, nodes[i]))
    size = max(1, MOST_RUNS // n_rows)
    groups = (np.array(list(group)) for _, group in groupby(order, key=lambda i: _entry(nodes[i])))
    return [group[start : start + size] for group in groups for start in range(0, len(group), size)]


def _entry(node: Node) -> tuple[bool, int, str]:
    """Where a model that differs in what a node reads begins to differ."""
    return node.kind == "logits", node.layer, node.role


def measured_here(
    engine: Engine[AnyRun],
    patched: Callable[..., Logits],
    asked: Asked,
    ends: Ends,
    done: Bool[np.ndarray, "target batch"],
) -> Iterator[Found]:
    """Changes of the metric, shard by shard, measured in this process.

    Args:
        engine: runs the prompts.
        patched: its method for such targets.
        asked: see `Asked`.
        ends: in which the metric on base and donor prompts is noted.
        done: what need not be measured.
    """
    base, donor = base_and_donor(asked.pairs, asked.direction)
    shards = groupby(list(asked.left(done)), key=lambda each: each[0])
    left = {number: [places for _, places in group] for number, group in shards}
    for number, part_rows in enumerate(asked.batches):
        rows = part_rows.numpy()
        run, other = engine.run(base[part_rows], donor[part_rows])
        by_query = ends.note(rows, asked.pairs.take(part_rows), run, other)
        for places in left.get(number, []):
            for some, logits in patched(run, other, [asked.targets[i] for i in places]):
                yield number, [places[i] for i in some], by_query(logits) - ends.base[rows]
