"""Estimates that miss less than gradients alone: AtP* for edges (Kramár et al. 2024, arXiv 2403.00745).

Two ways in which a first-order estimate is near 0 for an effect that is not:

- A saturated softmax: attention hardly moves with a small change of a query or key. Here the weights are recomputed with the
  changed query or key, and only what the head gathers is linear (their section 3.1.1, "QK fix"), see `forward.choices`.
- Effects along different ways cancel, so that a small error of one of them decides. GradDrop (their section 3.1.2) takes the
  gradient once more for each layer, with what that layer writes held constant, and averages the sizes of the estimates.

They patch nodes, here edges are patched; so the layer in which an estimate must be 0 when it is dropped is the receiver's,
where theirs is the node's, and as in theirs the sum over layers is divided by one less than there are. A layer is attention
and MLP together. A query (key, value) is changed by one sender, through the norm, not replaced.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ...circuits import ComputationGraph, Edge
from ..forward.engine import AnyRun, ChoosingEngine, Engine
from ..forward.places import Differences, Gathered, Objective, component, sublayer_of
from .products import Estimates, Products


def with_softmax(
    engine: Engine[AnyRun], edges: Sequence[Edge], base: AnyRun, donor: AnyRun, objective: Objective, steps: int
) -> Estimates:
    """EAP with the softmax recomputed: estimates with a sign."""
    return _weighted(engine, edges, base, donor, objective, {None: np.ones(len(edges))}, lambda each: each)


def atp_star(
    engine: Engine[AnyRun], edges: Sequence[Edge], base: AnyRun, donor: AnyRun, objective: Objective, steps: int
) -> Estimates:
    """The same with GradDrop: sizes, without a sign."""
    return _weighted(engine, edges, base, donor, objective, drop_weights(engine.graph, edges), np.abs)


def drop_weights(graph: ComputationGraph, edges: Sequence[Edge]) -> dict[int | None, Float[np.ndarray, " edge"]]:
    """By dropped layer (None: nothing is), how much its estimate counts for each edge.

    Layers before the receiver's are not on the way from it to the answer, so that with one of them dropped the estimate is
    the plain one.
    """
    layer, others = np.array([sublayer_of(graph, edge.receiver)[1] for edge in edges]), graph.n_layers - 1
    is_plain = (layer == graph.n_layers) | (others == 0)
    found: dict[int | None, np.ndarray] = {None: np.where(is_plain, 1.0, layer / max(1, others))}
    return found | {dropped: (layer < dropped) / others for dropped in range(1, graph.n_layers)}


def _weighted(
    engine: Engine[AnyRun],
    edges: Sequence[Edge],
    base: AnyRun,
    donor: AnyRun,
    objective: Objective,
    weights: Mapping[int | None, Float[np.ndarray, " edge"]],
    of: Callable[[np.ndarray], np.ndarray],
) -> Estimates:
    """Sums over dropped layers of a function of each estimate, times what it counts.

    Gradients by what inputs read are large, so that one layer's are dropped after the other; those by what heads gather
    are kept, since recomputing the softmax takes longest.
    """
    if not isinstance(engine, ChoosingEngine):
        raise ValueError(
            "eap_qk and atp_star recompute the softmax for changed queries and keys, which the engine of "
            f"{engine.name} cannot do; leave out engine={engine.name!r} if it was asked for, estimate with eap, "
            "eap_ig_inputs or eap_ig_activations, or measure exactly"
        )
    changes, found = engine.differences(base, donor), np.zeros((len(edges), len(base.logits)))
    straight = [i for i, edge in enumerate(edges) if not edge.look.is_choice]
    products = Products(engine.graph, [edges[i] for i in straight], changes) if straight else None
    gathered: list[Gathered] = []
    for dropped, weight in weights.items():
        slopes = engine.slopes(base, objective, dropped=dropped)
        gathered.append(slopes.gathered)
        if products is not None:
            found[straight] += weight[straight, None] * of(products.of(slopes.inputs))
    counts = np.stack(list(weights.values()))[:, :, None]
    for rows, estimates in _by_choice(engine, edges, base, changes, gathered):
        found[rows] = (counts[:, rows] * of(estimates)).sum(0)
    return found


def _by_choice(
    engine: ChoosingEngine[Any], edges: Sequence[Edge], base: Any, changes: Differences, gathered: Sequence[Gathered]
) -> Iterator[tuple[list[int], Float[np.ndarray, "slope edge query"]]]:
    """Estimates of edges into queries and keys, with their numbers, some at a time."""
    rows: dict[tuple[int, str, str], list[int]] = {}
    for i, edge in enumerate(edges):
        if edge.look.is_choice:
            rows.setdefault((edge.receiver.layer, edge.receiver.input, edge.receiver.role), []).append(i)
    if not rows:
        return
    for found in engine.choice_changes(base, changes, gathered, together=not edges[0].receiver.role):
        places = rows.get((found.receiver.layer, found.receiver.input, found.receiver.role), [])
        number = {sender: place for place, sender in enumerate(found.senders)}
        senders, inputs = [number[component(edges[i].sender)] for i in places], [edges[i].receiver.index for i in places]
        if places:
            yield places, found.changes.cpu().double().numpy()[:, senders, inputs]
