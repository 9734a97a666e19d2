"""How much memory analyses take under a budget, each in a process of its own, next to what the library reckons with.

Printed are the growth of the process's peak, in MiB, its share of `max_memory`, and seconds.

    python examples/benchmarks/memory.py --max-memory 64
    python examples/benchmarks/memory.py --case wide --max-memory 2048
    python examples/benchmarks/memory.py --case dense --max-memory 512

`wide` is exact patching of 2,000 pairs at 12 layers × 12 heads and width 256, of a share of the 84,679 edges, next to the
same without a bound; `dense` is faithfulness of the 400 strongest of 73,865 edges.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

from grokscope import analyses, circuits, tasks
from grokscope.tasks.transformerlens import HookedTransformer, HookedTransformerConfig

MIB = 2**20
UNBOUNDED = 2**50
FEW = 500  # of which one edge is taken


def random_model(n_layers: int, d_model: int, n_positions: int, n_heads: int = 4) -> HookedTransformer:
    """A model in which everything matters."""
    config = HookedTransformerConfig(
        n_layers=n_layers,
        d_model=d_model,
        n_ctx=n_positions,
        d_head=d_model // n_heads,
        n_heads=n_heads,
        d_vocab=200,
        act_fn="gelu",
    )
    config.seed = 0
    torch.manual_seed(0)
    model = HookedTransformer(config, move_to_device=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())) / 8)
    return model


def random_pairs(model: HookedTransformer, n: int, seed: int = 0) -> tasks.PromptPairs:
    """Pairs whose answer and foil the model prefers in the clean and in the corrupt run."""
    size, generator = (2, n, model.cfg.n_ctx), torch.Generator().manual_seed(seed)
    clean, corrupt = torch.randint(model.cfg.d_vocab, size, generator=generator)
    with torch.no_grad():
        change = (model(clean) - model(corrupt))[:, -1]
    roles = tuple(f"p{i}" for i in range(model.cfg.n_ctx))
    return tasks.PromptPairs(clean, corrupt, change.argmax(-1), change.argmin(-1), roles=roles)


def every(model: HookedTransformer, pairs: tasks.PromptPairs, step: int) -> list[circuits.Edge]:
    """Some of the model's edges."""
    return list(analyses.graph_of(model, pairs.roles, -1).edges[::step])


def judged(model: HookedTransformer, pairs: tasks.PromptPairs, max_memory: int) -> object:
    """Faithfulness of a third of the edges."""
    others = random_pairs(model, len(pairs), seed=1)
    effects = analyses.edge_attribution(model, others, max_memory=max_memory)
    circuit = circuits.Circuit.from_effects(effects, edges=every(model, others, 3))
    return analyses.faithfulness(model, circuit, pairs, n_random=4, max_memory=max_memory)


def strongest(model: HookedTransformer, pairs: tasks.PromptPairs, max_memory: int) -> object:
    """Faithfulness of the 400 strongest edges."""
    others = random_pairs(model, len(pairs), seed=1)
    effects = analyses.edge_attribution(model, others, max_memory=max_memory)
    circuit = circuits.Circuit.from_effects(effects, top_k=min(400, len(effects.table)))
    return analyses.faithfulness(model, circuit, pairs, n_random=4, max_memory=max_memory)


def read(model: HookedTransformer, pairs: tasks.PromptPairs, max_memory: int) -> object:
    """The lens, which takes little for each prompt, on sixteen times as many; foils are taken as intermediates."""
    pairs = pairs.take(torch.arange(len(pairs)).repeat(16))
    layout: dict[str, Any] = {"roles": pairs.roles, "answer_position": -1, "split": "random"}
    asked = tasks.Queries(pairs.clean, pairs.answers, intermediates={"bridge": pairs.foils}, **layout)
    return analyses.logit_lens(model, asked, max_memory=max_memory)


def looked_at(model: HookedTransformer, pairs: tasks.PromptPairs, max_memory: int) -> object:
    """Where heads look, on thirty-two times as many."""
    return analyses.query_details(model, pairs.take(torch.arange(len(pairs)).repeat(32)), max_memory=max_memory)


ANALYSES: dict[str, Callable[[HookedTransformer, tasks.PromptPairs, int], object]] = {
    "path_patch": lambda model, pairs, most: analyses.path_patch(
        model, pairs, edges=every(model, pairs, 10), max_memory=most
    ),
    "activation_patch": lambda model, pairs, most: analyses.activation_patch(model, pairs, max_memory=most),
    "paths": lambda model, pairs, most: analyses.path_patch(
        model, pairs, edges=every(model, pairs, 40), through=["MLP0@p0"], max_memory=most
    ),
    "eap": lambda model, pairs, most: analyses.edge_attribution(model, pairs, max_memory=most),
    "eap_ig_inputs": lambda model, pairs, most: analyses.edge_attribution(
        model, pairs, method="eap_ig_inputs", max_memory=most
    ),
    "attribute_attention": lambda model, pairs, most: analyses.attribute_attention(model, pairs, max_memory=most),
    "query_details": looked_at,
    "logit_lens": read,
    "faithfulness": judged,
    "path_patch of a few": lambda model, pairs, most: analyses.path_patch(
        model, pairs, edges=every(model, pairs, FEW), max_memory=most
    ),
    "faithfulness of the strongest": strongest,
    "greedy": lambda model, pairs, most: analyses.discover(model, pairs, greedy=0.001, method="eap", max_memory=most),
}


SMALL = tuple(name for name in ANALYSES if " of " not in name)
CASES: dict[str, dict[str, dict[str, int]]] = {
    "small": {name: {} for name in SMALL},
    "wide": {"path_patch of a few": {"n_layers": 12, "n_heads": 12, "d_model": 256, "n_positions": 3, "n_pairs": 2000}},
    "dense": {
        "faithfulness of the strongest": {"n_layers": 8, "n_heads": 12, "d_model": 48, "n_positions": 6, "n_pairs": 16}
    },
}
"""By name, the analyses and their sizes, where these are fixed."""


def peak_memory() -> int:
    """Bytes, the most that this process has held; the system's usual answer counts the process that started it, too."""
    for line in Path("/proc/self/status").read_text().splitlines() if Path("/proc/self/status").exists() else ():
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(
    name: str, max_memory: int, n_layers: int, n_heads: int, d_model: int, n_positions: int, n_pairs: int
) -> dict[str, Any]:
    """One analysis, in this process."""
    small = random_model(2, 16, 3)
    ANALYSES[name](small, random_pairs(small, 12), UNBOUNDED)  # what is loaded and cached once
    model = random_model(n_layers, d_model, n_positions, n_heads)
    pairs = random_pairs(model, n_pairs)
    before, start = peak_memory(), time.perf_counter()
    ANALYSES[name](model, pairs, max_memory)
    seconds = time.perf_counter() - start
    peak = peak_memory() - before
    return {"analysis": name, "peak MiB": peak / MIB, "share": peak / max_memory, "seconds": seconds}


def main(
    max_memory: Annotated[float, typer.Option(help="MiB")] = 64,
    case: Annotated[str, typer.Option(help="small, wide or dense")] = "small",
    only: Annotated[str, typer.Option(help="one analysis, measured in this process and printed as JSON")] = "",
    n_layers: Annotated[int, typer.Option(help="layers")] = 4,
    d_model: Annotated[int, typer.Option(help="width")] = 128,
    n_heads: Annotated[int, typer.Option(help="heads of a layer")] = 4,
    n_positions: Annotated[int, typer.Option(help="length of the prompts")] = 8,
    n_pairs: Annotated[int, typer.Option(help="prompt pairs")] = 64,
) -> None:
    """Measure all analyses, each in a process, or one in this."""
    sizes = {"n_layers": n_layers, "n_heads": n_heads, "d_model": d_model, "n_positions": n_positions, "n_pairs": n_pairs}
    if only:
        typer.echo(json.dumps(measure(only, int(max_memory * MIB), **sizes)))
        return
    rows = []
    bounds = (max_memory,) if case == "small" else (max_memory, UNBOUNDED / MIB)
    for (name, fixed), most in product(CASES[case].items(), bounds):
        options = [f"--{option.replace('_', '-')}={value}" for option, value in (sizes | fixed).items()]
        command = [sys.executable, __file__, f"--max-memory={most}", f"--only={name}", *options]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    typer.echo(pd.DataFrame(rows).to_string(index=False, float_format="{:.2f}".format))


if __name__ == "__main__":
    typer.run(main)
