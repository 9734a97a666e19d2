"""Three distances between models, on exact rewrites of one model and between models of the study.

    pip install "grokscope[benchmarks]"            # POT, for optimal transport
    python examples/benchmarks/distances.py        # graphs 1 to 3, some minutes
    python examples/benchmarks/distances.py --graphs 1

Compared are `frechet` and `dtw`, the discrete Fréchet distance and dynamic time warping of state profiles, and `fgw`, fused
Gromov–Wasserstein between the live nodes of exact circuits (Vayer et al. 2020), which keeps edges: a node's features are its
position and its effect, structure are the effects of edges, and every node has the same mass, or (`fgw, by effect`) one in
proportion to its effect. A rewrite computes the same function, so that its distance to the model should be 0, and it should
not change the model's distance to any other. Of `fgw` the square root is shown; half of it is from features.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import ot  # pyright: ignore[reportMissingImports]  # an extra
import pandas as pd
import torch
import typer

from grokscope import analyses, tasks
from grokscope.analyses.sameness.profile_distance import discrete_frechet
from grokscope.circuits import Circuit, Node
from grokscope.tasks.transformerlens import HookedTransformer, Model

SPLIT = "test_inferred_iid"
ARMS = {
    "early": ("natural", "id_generalised"),
    "grokked": ("natural", "ood_generalised"),
    "taught": ("both_hops", "ood_generalised"),
    "late natural": ("natural", "final"),
    "late taught": ("both_hops", "final"),
}
PART = 0.5  # of structure in `fgw`; the rest are features


@dataclass(frozen=True, eq=False)
class Measured:
    """One model: its state profile by cut and position, its circuit, and the effect of each node of that."""

    profile: np.ndarray
    circuit: Circuit
    effects: Mapping[str, float]


def measure(model: Model, pairs: tasks.PromptPairs) -> Measured:
    """What the distances are made of."""
    nodes = analyses.activation_patch(model, pairs, progress=False).table
    effects = dict(zip(nodes["node"], nodes["effect"], strict=True))
    profile = analyses.state_profile(model, pairs, progress=False)
    return Measured(profile.matrix, analyses.discover(model, pairs, progress=False), effects)


# --- distances


def frechet(a: Measured, b: Measured) -> float:
    """The largest difference of cuts on the way that keeps it smallest."""
    return discrete_frechet(a.profile, b.profile)[0]


def dtw(a: Measured, b: Measured) -> float:
    """The sum of differences of cuts on the way that keeps it smallest."""
    total = np.abs(a.profile[:, None] - b.profile[None]).max(-1)
    for i, j in np.ndindex(total.shape):
        before = [total[k, m] for k, m in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if k >= 0 and m >= 0]
        total[i, j] += min(before, default=0.0)
    return float(total[-1, -1])


def fgw(a: Measured, b: Measured, *, by_effect: bool = False) -> float:
    """Fused Gromov–Wasserstein; the least of three starts, since it has local minima."""
    (features_a, edges_a, mass_a), (features_b, edges_b, mass_b) = (
        _as_network(each, by_effect=by_effect) for each in (a, b)
    )
    cost = ((features_a[:, None] - features_b[None]) ** 2).sum(-1)
    rng = np.random.default_rng(0)
    starts = [np.outer(mass_a, mass_b), ot.emd(mass_a, mass_b, cost), ot.emd(mass_a, mass_b, rng.random(cost.shape))]
    given = {"loss_fun": "square_loss", "alpha": PART, "symmetric": False, "tol_rel": 1e-12, "tol_abs": 1e-12}
    found: list[Any] = [
        ot.fused_gromov_wasserstein2(cost, edges_a, edges_b, mass_a, mass_b, G0=start, **given) for start in starts
    ]
    return float(np.sqrt(max(0.0, min(map(float, found)))))


def _as_network(measured: Measured, *, by_effect: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, edges (from row to column) and mass of the live nodes, those at an edge that is kept."""
    graph, kept = measured.circuit.graph, measured.circuit.table[measured.circuit.table["kept"]]
    nodes = list(dict.fromkeys([*kept["sender"], f"logits@{graph.answer_role}"]))
    edges = np.zeros((len(nodes), len(nodes)))
    for sender, receiver, effect in zip(kept["sender"], kept["receiver"], kept["effect"], strict=True):
        node = Node.parse(receiver)
        ends = [str(each) for each in (graph.outputs_of(node) if node.kind != "logits" else [node])]
        for end in ends:
            if end in nodes:
                edges[nodes.index(sender), nodes.index(end)] += effect
    effects = np.array([measured.effects.get(node, 1.0) for node in nodes])
    places = np.array([[Node.parse(node).role == role for role in graph.roles] for node in nodes], dtype=float)
    mass = np.abs(effects) if by_effect else np.ones(len(nodes))
    return np.column_stack([places, effects]), edges, mass / mass.sum()


DISTANCES = {
    "frechet": frechet,
    "dtw": dtw,
    "fgw": fgw,
    "fgw, by effect": lambda a, b: fgw(a, b, by_effect=True),
}

# --- rewrites


def rewrites(model: HookedTransformer) -> dict[str, HookedTransformer]:
    """The same function, written otherwise; all are untied copies."""
    layers, heads = list(range(model.cfg.n_layers)), model.cfg.n_heads
    same = {head: 1.0 for head in range(heads)}
    found = {"untied copy": rebuilt(model, layers)}
    for place in range(len(layers) + 1):
        found[f"idle block at {place}"] = rebuilt(model, [*layers[:place], None, *layers[place:]])
    found["three idle blocks at 1"] = rebuilt(model, [0, None, None, None, *layers[1:]])
    found["head split in two"] = rebuilt(model, layers, [*((h, w if h else 0.5) for h, w in same.items()), (0, 0.5)])
    found["head split 9 : 1"] = rebuilt(model, layers, [*((h, w if h else 0.9) for h, w in same.items()), (0, 0.1)])
    found["dead head"] = rebuilt(model, layers, [*same.items(), (0, 0.0)])
    found["neurons permuted"] = _permuted(rebuilt(model, layers))
    return found


@torch.no_grad()
def rebuilt(
    model: HookedTransformer, layers: Sequence[int | None], heads: Sequence[tuple[int, float]] = ()
) -> HookedTransformer:
    """An untied copy.

    Args:
        model: left unmodified.
        layers: which block stands where; None writes nothing.
        heads: of each block: which of the model's, and the share of what it writes that this one does.
    """
    chosen = heads or [(head, 1.0) for head in range(model.cfg.n_heads)]
    config = copy.deepcopy(model.cfg)
    config.n_layers, config.n_heads = len(layers), len(chosen)
    made = HookedTransformer(config).eval()
    for name in ("embed", "pos_embed", "ln_final", "unembed"):
        getattr(made, name).load_state_dict(getattr(model, name).state_dict())
    index, share = torch.tensor([head for head, _ in chosen]), torch.tensor([each for _, each in chosen])
    for block, layer in zip(made.blocks, layers, strict=True):
        state = {name: value.clone() for name, value in model.blocks[layer or 0].state_dict().items()}
        for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"):
            state[f"attn.{name}"] = state[f"attn.{name}"][index]
        state["attn.W_O"] *= share[:, None, None]
        if layer is None:
            for name in ("attn.W_O", "attn.b_O", "mlp.W_out", "mlp.b_out"):
                state[name].zero_()
        block.load_state_dict(state)
    return made


@torch.no_grad()
def _permuted(model: HookedTransformer) -> HookedTransformer:
    for block in model.blocks:
        order = torch.randperm(model.cfg.d_mlp or 0, generator=torch.Generator().manual_seed(0))
        for name, rows in (("W_in", (slice(None), order)), ("b_in", order), ("W_out", order)):
            weight = getattr(block.mlp, name)
            weight.copy_(weight[rows].clone())
    return model


# --- tables


def on_rewrites(model: HookedTransformer, other: Measured, pairs: tasks.PromptPairs) -> pd.DataFrame:
    """By rewrite, its distance to the model, and by how much it changes the model's distance to another one."""
    rows, plain = [], measure(model, pairs)
    for name, rewritten in rewrites(model).items():
        with torch.no_grad():
            differs = float((model(pairs.clean) - rewritten(pairs.clean))[:, pairs.answer_position].abs().max())
        found, row = measure(rewritten, pairs), {"rewrite": name, "logits": differs}
        row |= {distance: of(plain, found) for distance, of in DISTANCES.items()}
        rows.append(row | {f"Δ {distance}": of(found, other) - of(plain, other) for distance, of in DISTANCES.items()})
    return pd.DataFrame(rows)


def between(measured: Mapping[str, Measured]) -> pd.DataFrame:
    """By couple of models, their distances."""
    couples = combinations(measured, 2)
    rows = [{"a": a, "b": b} | {name: of(measured[a], measured[b]) for name, of in DISTANCES.items()} for a, b in couples]
    return pd.DataFrame(rows)


def main(study: str = "study", graphs: int = 3, n: int = 256) -> None:
    """Print, for graph 1, the distances of the grokked model to its rewrites; for all, those between arms and replicates."""
    torch.set_num_threads(1)
    tables, first = [], True
    for graph, arms in list(analyses.study_arms(tasks.load_study(study), ARMS).items())[:graphs]:
        models: dict[str, Any] = {name: arm.model for name, arm in arms.items()}
        asked = tasks.make_pairs(arms["early"].task, split=SPLIT, contrast="bridge", n=n, seed=0)
        pairs = asked.keep_correct(*models.values())
        measured = {name: measure(model, pairs) for name, model in models.items()}
        if first:
            for rewritten, other in (("grokked", "early"), ("early", "grokked")):
                table = on_rewrites(models[rewritten], measured[other], pairs)
                typer.echo(
                    f"\ngraph {graph}, rewrites of {rewritten}; Δ: change of the distance to {other}; n = {len(pairs)} pairs"
                )
                typer.echo(table.to_string(index=False, float_format=lambda value: f"{value:.6f}"))
            first = False
        tables.append(between(measured).assign(graph=graph, n=len(pairs)))
        typer.echo(f"graph {graph}: n = {len(pairs)} of {asked.n_asked} pairs, {len(models)} models")
    table = pd.concat(tables)
    arm = {name: table[name].str.removesuffix(" again") for name in ("a", "b")}
    table = table.assign(**arm).groupby(["a", "b", "graph"], sort=False)[list(DISTANCES)].mean()
    typer.echo(table.round(3).unstack("graph").to_string())


if __name__ == "__main__":
    typer.run(main)
