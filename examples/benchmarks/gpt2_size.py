"""Attribution and exact patching at the size of GPT-2 small, with random weights, next to plain implementations by hooks.

Each row is measured in turns with its reference, in one process, with two threads. Printed are medians in seconds, of the
wall clock and of the processors, how many times longer the reference takes, the process's peak memory in GiB with the model
and the libraries (of the first call, before any reference), and the largest difference of the numbers from the reference's
as a share of the largest number.

    python examples/benchmarks/gpt2_size.py                 # all rows, minutes
    python examples/benchmarks/gpt2_size.py --row eap --repeats 5
    python examples/benchmarks/gpt2_size.py --row exact --n-edges 320

A row by itself has its peak to itself. `intervals` has no reference by hooks: it is the standard errors of all edges'
effects, next to all resamples of each, and its last column is their share of the time of attribution by `eap`. `exact` is
one edge at all positions: the time of `n-edges` of them less that of a single one, and a hooked forward pass for each of a
few. `discover` is the circuit by a screen and `verify` exact measurements; its reference is a hooked pass for a few of the
edges that it measured, times all edges. The ratio is one of processor time, which other work on the machine disturbs less.
"""

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer

from grokscope import analyses, circuits, tasks
from grokscope.analyses.forward.literal import hooked, input_hook, logits_at, sender_outputs
from grokscope.analyses.forward.places import input_place, sender_place
from grokscope.analyses.statistics import bootstrap_ratio, ratio_and_stderr
from grokscope.tasks.transformerlens import HookedTransformer, HookedTransformerConfig

GIB = 2**30
STEPS = 5


def random_model(n_layers: int, n_heads: int, d_model: int, d_vocab: int, n_positions: int) -> HookedTransformer:
    """A model as GPT-2 is before training."""
    config = HookedTransformerConfig(
        n_layers=n_layers,
        n_heads=n_heads,
        d_model=d_model,
        d_head=d_model // n_heads,
        d_vocab=d_vocab,
        n_ctx=n_positions,
        act_fn="gelu_new",
        normalization_type="LN",
        seed=0,
    )
    return HookedTransformer(config, move_to_device=False)


def random_pairs(model: HookedTransformer, n: int, n_shared: int) -> tasks.PromptPairs:
    """Pairs whose answer the model prefers in the clean run and whose foil in the corrupt one; their first tokens agree."""
    clean, corrupt = torch.randint(model.cfg.d_vocab, (2, n, model.cfg.n_ctx), generator=torch.Generator().manual_seed(0))
    corrupt[:, :n_shared] = clean[:, :n_shared]
    with torch.no_grad():
        change = torch.cat([(model(a[None]) - model(b[None]))[:, -1] for a, b in zip(clean, corrupt, strict=True)])
    roles = tuple(f"p{i}" for i in range(model.cfg.n_ctx))
    return tasks.PromptPairs(clean, corrupt, change.argmax(-1), change.argmin(-1), roles=roles)


@torch.no_grad()
def written(model: HookedTransformer, tokens: torch.Tensor) -> torch.Tensor:
    """What each component writes, [query, pos, sender, d_model]."""
    noted: dict[str, torch.Tensor] = {}
    layers = range(model.cfg.n_layers)
    names = ["hook_embed", "hook_pos_embed"]
    names += [f"blocks.{layer}.{name}" for layer in layers for name in ("attn.hook_z", "hook_mlp_out")]
    model.run_with_hooks(tokens, fwd_hooks=[(name, lambda value, hook: noted.update({hook.name: value})) for name in names])
    parts = [(noted["hook_embed"] + noted["hook_pos_embed"])[:, :, None]]
    for layer in layers:
        parts.append(torch.einsum("qphe,hed->qphd", noted[f"blocks.{layer}.attn.hook_z"], model.W_O[layer]))
        parts.append(noted[f"blocks.{layer}.hook_mlp_out"][:, :, None])
    return torch.cat(parts, 2)


def gradients(model: HookedTransformer, pairs: tasks.PromptPairs, added: torch.Tensor | float) -> dict[str, torch.Tensor]:
    """The gradient of the logit difference by what every input reads, with something added to the embedding."""
    reads: dict[str, torch.Tensor] = {}

    def note(value: torch.Tensor, hook: Any) -> torch.Tensor:
        reads[hook.name] = value
        return value

    layers, last = range(model.cfg.n_layers), f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    names = [f"blocks.{layer}.hook_{name}" for layer in layers for name in ("q_input", "k_input", "v_input", "mlp_in")]
    with (
        torch.enable_grad(),
        hooked(model, [("hook_embed", lambda x, hook: x + added), *((n, note) for n in [*names, last])]),
    ):
        logits, rows = model(pairs.clean)[:, -1], torch.arange(len(pairs))
        total = (logits[rows, pairs.answers] - logits[rows, pairs.foils]).sum()
        return dict(zip(reads, torch.autograd.grad(total, list(reads.values())), strict=True))


def plain_attribution(
    model: HookedTransformer, pairs: tasks.PromptPairs, edges: tuple[circuits.Edge, ...], steps: int
) -> np.ndarray:
    """EAP, or with steps EAP-IG of the inputs, as usually written: all gradients of all inputs are kept."""
    graph, changes = analyses.graph_of(model, pairs.roles, -1), written(model, pairs.corrupt) - written(model, pairs.clean)
    if steps:
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        points = [(float(node + 1) / 2, float(weight) / 2) for node, weight in zip(nodes, weights, strict=True)]
    else:
        points = [(0.0, 1.0)]
    mean: dict[str, torch.Tensor] = {}
    for point, weight in points:
        for name, gradient in gradients(model, pairs, point * changes[:, :, 0]).items():
            mean[name] = mean.get(name, 0.0) + weight * gradient
    scores = {
        name: torch.einsum("qpsd,qpid->siq", changes, gradient if gradient.ndim == 4 else gradient[:, :, None])
        for name, gradient in mean.items()
    }
    found = np.empty((len(edges), len(pairs)))
    for row, (sender, receiver) in enumerate(edges):
        name = {"head": f"hook_{receiver.input}_input", "mlp": "hook_mlp_in"}.get(receiver.kind, "hook_resid_post")
        layer = graph.n_layers - 1 if receiver.kind == "logits" else receiver.layer
        found[row] = scores[f"blocks.{layer}.{name}"][
            sender_place(graph, sender), input_place(graph, receiver) % graph.n_heads
        ]
    return found


def loop(model: HookedTransformer, pairs: tasks.PromptPairs, edges: list[circuits.Edge]) -> np.ndarray:
    """One hooked forward pass of all pairs for each edge, which is hooked at every position."""
    graph = analyses.graph_of(model, pairs.roles, -1)
    (clean, base), (corrupt, _) = (sender_outputs(model, graph, tokens) for tokens in (pairs.clean, pairs.corrupt))
    rows, deltas = torch.arange(len(pairs)), []
    for sender, receiver in edges:
        hooks = []
        for role in graph.roles[-1:] if receiver.kind == "logits" else graph.roles:
            difference = corrupt[sender._replace(role=role)] - clean[sender._replace(role=role)]
            at = receiver._replace(role=role)
            hooks.append(input_hook(graph, at, lambda reads, difference=difference: reads + difference))
        change = logits_at(model, pairs.clean, -1, hooks) - base
        deltas.append((change[rows, pairs.answers] - change[rows, pairs.foils]).numpy())
    return np.array(deltas)


class Clock:
    """How long one call takes, and what it returns."""

    def __init__(self, run: Callable[[], Any]) -> None:
        wall, used = time.perf_counter(), time.process_time()
        self.found = run()
        self.seconds, self.processor = time.perf_counter() - wall, time.process_time() - used


def peak_memory() -> float:
    """GiB, the most that this process has held."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1]) / GIB
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB


def in_turns(ours: Callable[[], Any], reference: Callable[[], Any], repeats: int) -> dict[str, Any]:
    """Both in turns, ours first; medians."""
    pairs, peak = [], 0.0
    for _ in range(repeats):
        one = Clock(ours)
        peak = peak or peak_memory()
        pairs.append((one, Clock(reference)))
    (found, expected), mine = (each.found for each in pairs[-1]), [one for one, _ in pairs]
    return {
        "seconds": statistics.median(one.seconds for one in mine),
        "processor": statistics.median(one.processor for one in mine),
        "reference": statistics.median(other.seconds for _, other in pairs),
        "ratio": statistics.median(other.processor / max(one.processor, 1e-9) for one, other in pairs),
        "GiB": peak,
        "difference": np.abs(found - expected).max() / np.abs(expected).max(),
    }


def attribution(model: HookedTransformer, pairs: tasks.PromptPairs, steps: int, repeats: int) -> dict[str, Any]:
    """EAP without steps, or integrated gradients."""
    edges = analyses.graph_of(model, pairs.roles, -1).component_edges
    method: dict[str, Any] = {"method": "eap_ig_inputs", "steps": steps} if steps else {"method": "eap"}

    def ours() -> np.ndarray:
        result = analyses.edge_attribution(model, pairs, edges=edges, per_query=True, progress=False, **method)
        return np.asarray(result.deltas)

    return in_turns(ours, lambda: plain_attribution(model, pairs, edges, steps), repeats) | {"edges": len(edges)}


def intervals(model: HookedTransformer, pairs: tasks.PromptPairs, repeats: int) -> dict[str, Any]:
    """Standard errors of all effects, and resamples one by one."""
    edges = analyses.graph_of(model, pairs.roles, -1).component_edges
    whole = Clock(lambda: analyses.edge_attribution(model, pairs, edges=edges, per_query=True, progress=False))
    given = np.asarray(whole.found.deltas), np.asarray(whole.found.donor_gaps)
    row = in_turns(lambda: ratio_and_stderr(*given)[1], lambda: bootstrap_ratio(*given)[1], repeats)
    return row | {"edges": len(edges), "share of eap": row["processor"] / whole.processor}


def exact(model: HookedTransformer, pairs: tasks.PromptPairs, n_edges: int, n_looped: int, repeats: int) -> dict[str, Any]:
    """Patching of one edge at all positions, spread over the graph."""
    edges = analyses.graph_of(model, pairs.roles, -1).component_edges
    some = list(edges[:: max(1, len(edges) // n_edges)])
    few = some[:: max(1, len(some) // n_looped)]

    def ours(chosen: list[circuits.Edge]) -> np.ndarray:
        options: dict[str, Any] = {"positions": "together", "per_query": True, "progress": False}
        return np.asarray(analyses.path_patch(model, pairs, edges=chosen, **options).deltas)

    once, none = Clock(lambda: ours(some[:1])), Clock(lambda: loop(model, pairs, []))
    row = in_turns(lambda: ours(some)[:: max(1, len(some) // n_looped)], lambda: loop(model, pairs, few), repeats)
    seconds = (row["seconds"] - once.seconds) / (len(some) - 1)
    processor = (row["processor"] - once.processor) / (len(some) - 1)
    each = (row["reference"] - none.seconds) / len(few)
    used = (row["ratio"] * row["processor"] - none.processor) / len(few)
    per_edge = {"seconds": seconds, "processor": processor, "reference": each, "ratio": used / processor}
    return row | per_edge | {"edges": len(some)}


def screened(model: HookedTransformer, pairs: tasks.PromptPairs, verify: int, n_looped: int) -> dict[str, Any]:
    """A circuit of edges at all positions, the strongest of which are measured exactly; once, for it takes minutes."""
    options: dict[str, Any] = {"screen": "eap_ig_inputs", "verify": verify, "positions": "together", "progress": False}
    whole = Clock(lambda: analyses.discover(model, pairs, **options))
    peak, circuit = peak_memory(), whole.found
    measured = circuit.table.query("verified != 'estimated'").iloc[:: max(1, verify // n_looped)]
    few = [circuit.graph.edges[row] for row in measured.index]
    none = Clock(lambda: loop(model, pairs, []))
    plain = Clock(lambda: loop(model, pairs, few))
    times, expected = len(circuit.graph.edges) / len(few), plain.found
    return {
        "seconds": whole.seconds,
        "processor": whole.processor,
        "reference": (plain.seconds - none.seconds) * times,
        "ratio": (plain.processor - none.processor) * times / whole.processor,
        "GiB": peak,
        "difference": np.abs(circuit.deltas[measured.index] - expected).max() / np.abs(expected).max(),
        "edges": len(circuit.graph.edges),
    }


ROWS = ("eap", "ig", "intervals", "exact", "discover")


def main(
    row: Annotated[str, typer.Option(help=f"{', '.join(ROWS)} or all")] = "all",
    repeats: Annotated[int, typer.Option(min=1, help="of each, alternating")] = 3,
    n_edges: Annotated[int, typer.Option(min=2, help="of exact patching")] = 160,
    n_looped: Annotated[int, typer.Option(min=1, help="of these, patched by the loop")] = 16,
    verify: Annotated[int, typer.Option(min=101, help="exact measurements of discover")] = 2000,
    n_layers: Annotated[int, typer.Option(help="layers")] = 12,
    n_heads: Annotated[int, typer.Option(help="heads of a layer")] = 12,
    d_model: Annotated[int, typer.Option(help="width")] = 768,
    d_vocab: Annotated[int, typer.Option(help="tokens")] = 50_257,
    n_positions: Annotated[int, typer.Option(help="length of the prompts")] = 15,
    n_shared: Annotated[
        int, typer.Option(min=0, help="first tokens that both prompts of a pair have, as of a template")
    ] = 0,
    n_pairs: Annotated[int, typer.Option(help="prompt pairs")] = 32,
    threads: Annotated[int, typer.Option(help="of torch")] = 2,
) -> None:
    """Measure and print."""
    torch.set_num_threads(threads)
    model = random_model(n_layers, n_heads, d_model, d_vocab, n_positions)
    pairs = random_pairs(model, n_pairs, n_shared)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    cores = f"{os.cpu_count()} cores, {threads} threads{load}"
    typer.echo(f"{platform.machine()}, {cores}; Python {platform.python_version()}, torch {torch.__version__}")
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "eap": lambda: attribution(model, pairs, 0, repeats),
        "ig": lambda: attribution(model, pairs, STEPS, repeats),
        "intervals": lambda: intervals(model, pairs, repeats),
        "exact": lambda: exact(model, pairs, n_edges, n_looped, repeats),
        "discover": lambda: screened(model, pairs, verify, n_looped),
    }
    table = pd.DataFrame([{"row": name} | measures[name]() for name in (ROWS if row == "all" else [row])])
    typer.echo(table.to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    typer.run(main)
