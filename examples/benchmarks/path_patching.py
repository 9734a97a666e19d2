"""How much faster exact path patching is than a loop of one hooked forward pass for each edge, all queries in a batch.

Both in one process, in turns; printed are medians in seconds, their ratio and the largest difference of the results. The
loop is timed on a sample of the edges and scaled to all of them. The floor is the time that the matrix products which
must be done would take at the machine's own rate. A second table: the cost of attributions.

    python examples/benchmarks/path_patching.py
"""

import statistics
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from grokscope import analyses, circuits, tasks
from grokscope.analyses.forward.literal import input_hook, logits_at, sender_outputs
from grokscope.tasks.transformerlens import HookedTransformer

N_PAIRS, SAMPLE, ROUNDS = 64, 40, 5
MODES: tuple[Literal["together", "separate"], ...] = ("together", "separate")


def random_model(config: tasks.ModelConfig, task: tasks.TwoHopTask) -> HookedTransformer:
    """A model in which everything matters: fresh ones write nothing."""
    model, generator = tasks.build_model(config, task), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in dict.fromkeys(model.parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def random_pairs(n_positions: int, d_vocab: int) -> tasks.PromptPairs:
    """Prompts of random tokens: time does not depend on them."""
    generator = torch.Generator().manual_seed(0)
    clean, corrupt = torch.randint(d_vocab, (2, N_PAIRS, n_positions), generator=generator)
    answers = torch.randint(d_vocab, (N_PAIRS,), generator=generator)
    roles = tuple(f"p{i}" for i in range(n_positions))
    return tasks.PromptPairs(clean, corrupt, answers, (answers + 1) % d_vocab, roles=roles)


def loop(model: HookedTransformer, pairs: tasks.PromptPairs, edges: list[circuits.Edge]) -> torch.Tensor:
    """One forward pass of all pairs for each edge, with hooks; without roles an edge is hooked at every position."""
    graph = analyses.graph_of(model, pairs.roles, pairs.answer_position)
    (clean, base), (corrupt, _) = (sender_outputs(model, graph, tokens) for tokens in (pairs.clean, pairs.corrupt))
    rows, changes = torch.arange(len(pairs)), []
    for edge in edges:
        last = edge.receiver.kind == "logits"
        roles = [edge.sender.role] if edge.sender.role else [graph.answer_role] if last else graph.roles
        hooks = []
        for role in roles:
            sender, receiver = edge.sender._replace(role=role), edge.receiver._replace(role=role)
            difference = corrupt[sender] - clean[sender]
            hooks.append(input_hook(graph, receiver, lambda reads, difference=difference: reads + difference))
        change = logits_at(model, pairs.clean, pairs.answer_position, hooks) - base
        changes.append(change[rows, pairs.answers] - change[rows, pairs.foils])
    return torch.stack(changes)


def seconds(run: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(
    name: str, model: HookedTransformer, n_positions: int, positions: Literal["separate", "together"]
) -> dict[str, Any]:
    """One row of the table."""
    pairs = random_pairs(n_positions, model.cfg.d_vocab)
    graph = analyses.graph_of(model, pairs.roles, pairs.answer_position)
    edges = list(graph.edges if positions == "separate" else graph.component_edges)
    every = max(1, len(edges) // SAMPLE)
    sample = edges[::every]

    def fast() -> analyses.PatchingResult:
        return analyses.path_patch(model, pairs, positions=positions, per_query=True, progress=False)

    error = float((torch.as_tensor(np.asarray(fast().deltas)[::every]) - loop(model, pairs, sample)).abs().max())
    times: dict[str, list[float]] = {"loop": [], "fast": []}
    for _ in range(ROUNDS):
        times["loop"].append(seconds(lambda: loop(model, pairs, sample)) * len(edges) / len(sample))
        times["fast"].append(seconds(fast))
    medians = {kind: statistics.median(values) for kind, values in times.items()}
    shown = {
        "model": name,
        "positions": positions,
        "edges": len(edges),
        "loop s": medians["loop"],
        "fast s": medians["fast"],
    }
    with FlopCounterMode(display=False) as counter:
        fast()
    floor = counter.get_total_flops() / matmul_rate()
    shown |= {"ratio": medians["loop"] / medians["fast"], "share of the floor": floor / medians["fast"]}
    return shown | {"largest difference": error}


def matmul_rate() -> float:
    """Floating-point operations a second in a product that suits the machine."""
    reads, weights = torch.randn(2048, 128), torch.randn(128, 512)
    return 2 * 2048 * 128 * 512 / statistics.median(seconds(lambda: reads @ weights) for _ in range(200))


def attributions(name: str, model: HookedTransformer, n_positions: int) -> dict[str, Any]:
    """What gradients cost in plain forward passes of the same prompts, and how far off they are on a sample of edges."""
    pairs = random_pairs(n_positions, model.cfg.d_vocab)
    kinds: dict[str, Callable[[], object]] = {
        "forward": lambda: logits_at(model, pairs.clean, pairs.answer_position, []),
        "eap": lambda: analyses.edge_attribution(model, pairs),
        "eap_ig_inputs, 5 steps": lambda: analyses.edge_attribution(model, pairs, method="eap_ig_inputs"),
    }
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(ROUNDS + 1):
        for kind, run in kinds.items():
            times[kind].append(seconds(run))
    medians = {kind: statistics.median(values[1:]) for kind, values in times.items()}
    return {"model": name} | {kind: medians[kind] / medians["forward"] for kind in list(kinds)[1:]}


def main() -> list[pd.DataFrame]:
    """The tables of medians and ratios, for 64 pairs."""
    torch.set_num_threads(2)  # as in the docs
    task = tasks.TwoHopTask.random(seed=0, layout="slots")
    peers = tasks.ModelConfig(d_model=128, n_heads=4, n_blocks=4, n_loops=1)  # the shape on which peers were timed
    cases = [("4 layers, 4 heads, 4 positions", peers, 4), ("small: 1 head, 4 loops", tasks.ModelConfig.small(), 3)]
    models = [(name, random_model(config, task), n_positions) for name, config, n_positions in cases]
    patching = pd.DataFrame([compare(*model, positions) for model in models for positions in MODES])
    return [patching, pd.DataFrame([attributions(*model) for model in models])]


if __name__ == "__main__":
    for table in main():
        print(table.to_string(index=False, float_format="{:.3g}".format))  # noqa: T201
