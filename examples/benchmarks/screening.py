"""By which estimates edges are best ranked for exact measurements: what `discover(screen=True)` uses.

Every edge is measured exactly, and estimated by each method. Printed is the share of the strongest 5 % of edges, by exact
|effect|, that are among the first 5 % and the first 10 % by |estimate|: what a screen with as many exact measurements
finds. Intervals are 95 % bootstrap intervals over models; seconds are of estimating, exact measurements for comparison.

    python examples/benchmarks/screening.py --n-graphs 5 --n-random 5

Integrated gradients have five points, as in `discover`. Models are the last checkpoints of the shipped study (two arms, one
training for each graph), and random ones of two families: with the options of GPT-2 (LayerNorm, learned positions) and of
Llama (RMSNorm, rotary positions, gated MLPs, shared keys and values).
"""

import math
import time
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer

from grokscope import analyses, tasks
from grokscope.analyses.patching.attribution import METHODS
from grokscope.analyses.statistics import bootstrap_ratio
from grokscope.tasks.transformerlens import HookedTransformer, HookedTransformerConfig

STRONG = 0.05
BUDGETS = (0.05, 0.1)
ARMS = ("natural", "both_hops")
PAIRS: dict[str, Any] = dict(split="test_inferred_iid", contrast="bridge", seed=0)
SIZES: dict[str, Any] = dict(n_layers=4, n_heads=4, d_model=64, d_head=16, d_mlp=128, n_ctx=6, d_vocab=97, device="cpu")
FAMILIES: dict[str, dict[str, Any]] = {
    "random, GPT-2's options": dict(normalization_type="LN", act_fn="gelu_new"),
    "random, Llama's options": dict(
        normalization_type="RMS",
        act_fn="silu",
        gated_mlp=True,
        positional_embedding_type="rotary",
        rotary_dim=16,
        n_key_value_heads=2,
    ),
}
Asked = tuple[str, Any, tasks.PromptPairs]


def shipped(n_graphs: int, n_pairs: int) -> Iterator[Asked]:
    """Trained models, on questions that they get right."""
    runs = tasks.load_study().runs
    for arm in ARMS:
        for graph in range(1, n_graphs + 1):
            run = runs[f"{arm}-g{graph}-r0"]
            model = run.checkpoint("final").model()
            yield f"trained, {arm}", model, tasks.make_pairs(run.task, n=n_pairs, **PAIRS).keep_correct(model)


def random(n: int, n_pairs: int) -> Iterator[Asked]:
    """Models with random weights, asked for the token they prefer on clean prompts rather than on corrupt ones."""
    for family, options in FAMILIES.items():
        for seed in range(n):
            generator = torch.Generator().manual_seed(seed)
            model = HookedTransformer(HookedTransformerConfig(**SIZES, **options)).eval()
            with torch.no_grad():
                for name, values in model.named_parameters():
                    scale = 0.3 if values.ndim < 2 else 2.0 * values.shape[-2] ** -0.5 if "W_E" not in name else 1.0
                    mean = 1.0 if name.endswith(".w") else 0.0
                    values.copy_(mean + scale * torch.randn(values.shape, generator=generator))
                clean, corrupt = torch.randint(SIZES["d_vocab"], (2, n_pairs, SIZES["n_ctx"]), generator=generator)
                corrupt[:, 2:] = clean[:, 2:]
                change = (model(clean) - model(corrupt))[:, -1]
            roles = tuple(f"p{place}" for place in range(SIZES["n_ctx"]))
            yield family, model, tasks.PromptPairs(clean, corrupt, change.argmax(-1), change.argmin(-1), roles=roles)


def measured(model: Any, pairs: tasks.PromptPairs) -> Iterator[dict[str, Any]]:
    """A row for each method and budget."""
    start = time.perf_counter()
    exact = analyses.path_patch(model, pairs, progress=False).table["effect"].abs().to_numpy()
    seconds_exact = time.perf_counter() - start
    if not np.isfinite(exact).all():
        return
    strong = set(np.argsort(-exact)[: round(STRONG * len(exact))].tolist())
    for method in METHODS:
        start = time.perf_counter()
        how: dict[str, Any] = {"method": method, "tolerance": math.inf, "progress": False}
        estimates = analyses.edge_attribution(model, pairs, **how).table["effect"].abs()
        row = {"method": method, "n_edges": len(exact), "seconds": time.perf_counter() - start, "exact": seconds_exact}
        order = np.argsort(-estimates.fillna(-1.0).to_numpy(), kind="stable")
        for budget in BUDGETS:
            row[f"found in {budget:.0%}"] = len(strong.intersection(order[: round(budget * len(exact))].tolist())) / len(
                strong
            )
        yield row


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over models with their intervals, by group of models and method, and over all."""
    found = []
    for models, some in [*rows.groupby("models", sort=False), ("all", rows)]:
        for method, each in some.groupby("method", sort=False):
            row: dict[str, Any] = {"models": models, "n": len(each), "method": method}
            for budget in BUDGETS:
                shares = each[f"found in {budget:.0%}"].to_numpy(copy=True)
                mean, _, interval = bootstrap_ratio(shares[None], np.ones(len(shares)))
                row[f"found in {budget:.0%}"] = f"{mean[0]:.3f} [{interval[0, 0]:.3f}, {interval[0, 1]:.3f}]"
            found.append(row | {"seconds": f"{each['seconds'].mean():.1f}", "exact": f"{each['exact'].mean():.1f}"})
    return pd.DataFrame(found)


def main(
    n_graphs: Annotated[int, typer.Option(min=0, max=5, help="trained models of each arm")] = 5,
    n_random: Annotated[int, typer.Option(min=0, help="random models of each family")] = 5,
    n_pairs: Annotated[int, typer.Option(min=8, help="prompt pairs")] = 64,
) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    rows = []
    for models, model, pairs in [*shipped(n_graphs, n_pairs), *random(n_random, n_pairs)]:
        rows += [{"models": models, **row} for row in measured(model, pairs)]
        typer.echo(f"{models}: {len(pairs)} pairs", err=True)
    typer.echo(summary(pd.DataFrame(rows)).to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
