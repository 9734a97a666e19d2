"""Frames of planted edge effects, as path patching gives them."""

import numpy as np
import pandas as pd

from grokscope.circuits import Circuit, ComputationGraph

GRAPH = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=2, n_heads=1, n_blocks=1)

LOOPS = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=4, n_heads=1, n_blocks=1)


def effects(values: dict[str, float], n: int = 6, seed: int = 0, graph: ComputationGraph = GRAPH) -> pd.DataFrame:
    """A frame as path patching gives it, per query, in which the effects are the given ones and all others 0."""
    rng = np.random.default_rng(seed)
    gaps = -rng.uniform(8, 12, size=n)
    rows = []
    for edge in graph.edges:
        effect = values.get(str(edge), 0.0)
        noise = rng.normal(scale=0.01, size=n) if effect else np.zeros(n)
        deltas = effect * gaps + noise - noise.mean()
        rows += [
            {
                "sender": str(edge.sender),
                "receiver": str(edge.receiver),
                "effect": effect,
                "stderr": 0.01,
                "n": n,
                "gap": 10.0,
            }
            | {"query": query, "delta": delta}
            for query, delta in enumerate(deltas)
        ]
    frame = pd.DataFrame(rows)
    provenance = {"metric": "logit_difference", "contrast": "bridge", "direction": "noising", "pairs": "p", "model": "m"}
    frame.attrs = {"graph": graph.to_dict(), "provenance": provenance, "donor_gaps": gaps.tolist()}
    return frame


CHAIN = {
    "embed@h -> L0H0.v@h": 0.9,
    "L0H0@r1 -> MLP0@r1": 0.8,
    "MLP0@r1 -> L1H0.v@r1": 0.7,
    "L1H0@r2 -> logits@r2": -0.6,
}
LOOSE_ENDS = {"MLP0@r2 -> MLP1@r2": 0.95, "embed@r2 -> MLP1@r2": 0.5}
ONE = CHAIN | LOOSE_ENDS
OTHER = ONE | {"embed@h -> L0H0.v@h": 0.2}


def noisy_circuit(values: dict[str, float], seed: int, n: int = 256, spread: float = 0.0) -> Circuit:
    """A circuit measured on n queries: each edge's effect varies over queries, strong edges' more than the others'.

    The spread is a training's own: it changes all planted effects by random factors.
    """
    rng = np.random.default_rng(seed)
    gaps, rows = -rng.uniform(8, 12, size=n), []
    for edge in GRAPH.edges:
        effect = values.get(str(edge), 0.0) * (1 + spread * rng.normal())
        rows.append(effect * gaps + rng.normal(scale=2.0 if effect else 0.3, size=n))
    deltas = np.array(rows)
    measured = deltas.sum(1) / gaps.sum()
    names = {"sender": [str(e.sender) for e in GRAPH.edges], "receiver": [str(e.receiver) for e in GRAPH.edges]}
    numbers = {"effect": measured, "stderr": 0.01, "n": n, "gap": -gaps.mean(), "kept": abs(measured) > 0.05}
    provenance = {"metric": "logit_difference", "contrast": "bridge", "direction": "noising", "pairs": "p", "model": "m"}
    return Circuit(pd.DataFrame({**names, **numbers}), GRAPH, provenance, deltas, gaps)


def with_replicates(one: dict[str, float], other: dict[str, float], first_seed: int, spread: float) -> dict[str, Circuit]:
    """Two trainings of each of two conditions, a and b."""
    values = {"a": one, "a again": one, "b": other, "b again": other}
    return {name: noisy_circuit(each, first_seed + i, spread=spread) for i, (name, each) in enumerate(values.items())}
