"""How much faster a training step is with shared prefixes than with the HookedTransformer's forward pass.

Both take the same examples in one process, in turns; printed are medians in milliseconds and their ratios, for a few
widths and numbers of loops. A step is forward, backward and AdamW.

    python examples/benchmarks/fast_step.py
"""

import statistics
import time
from collections.abc import Callable

import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from grokscope import tasks
from grokscope.tasks.models.fast_forward import answer_logits
from grokscope.tasks.models.transformer import tied_forward, trained_parameters
from grokscope.tasks.training.batches import Examples, training_examples


def examples_of_a_batch(task: tasks.TwoHopTask, n: int, per_prefix: int, seed: int = 0) -> Examples:
    """Random groups of examples that mostly share their (h, r1), as training takes them."""
    everything = training_examples(task)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(everything.tokens), generator=generator)
    groups = rows[torch.argsort(everything.tokens[rows, 0] * 10**6 + everything.tokens[rows, 1], stable=True)].split(
        per_prefix
    )
    chosen = torch.cat([groups[i] for i in torch.randperm(len(groups), generator=generator)[: n // per_prefix].tolist()])
    return Examples(everything.tokens[chosen], everything.answers[chosen], everything.positions[chosen])


def steps(task: tasks.TwoHopTask, config: tasks.ModelConfig, batch: Examples) -> dict[str, Callable[[], None]]:
    """One training step of each kind."""

    def step(fast: bool, bfloat16: bool) -> Callable[[], None]:
        model = tasks.build_model(config, task)
        parameters = trained_parameters(model, config)
        optimizer = torch.optim.AdamW(parameters.values(), lr=1e-4, fused=True)

        def run() -> None:
            if fast:
                dtype = torch.bfloat16 if bfloat16 else None
                logits = answer_logits(parameters, config, batch.tokens, batch.positions, dtype=dtype)
            else:
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
                    logits = tied_forward(model, config, batch.tokens)
                logits = logits[torch.arange(len(batch.tokens)), batch.positions]
            optimizer.zero_grad()
            cross_entropy(logits.float(), batch.answers, label_smoothing=0.1).backward()
            optimizer.step()

        return run

    kinds = {"own fp32": (False, False), "own bf16": (False, True), "fast fp32": (True, False), "fast bf16": (True, True)}
    return {name: step(*kind) for name, kind in kinds.items()}


def measure(kinds: dict[str, Callable[[], None]], n_rounds: int) -> dict[str, float]:
    """Median milliseconds of each kind, taken in turns after two rounds of warming up."""
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for round_ in range(n_rounds + 2):
        for name, run in kinds.items():
            start = time.perf_counter()
            run()
            if round_ >= 2:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main(n_rounds: int = 9, widths: tuple[int, ...] = (64, 128, 256), loops: tuple[int, ...] = (2, 4, 8)) -> pd.DataFrame:
    """The table of medians and ratios for 640 examples."""
    torch.set_num_threads(2)  # as in the docs
    task = tasks.TwoHopTask.random(seed=0)
    cases = [(width, n_loops, 4) for width in widths for n_loops in loops] + [(128, 4, 1), (128, 4, 16)]
    rows = []
    for width, n_loops, per_prefix in cases:
        config = tasks.ModelConfig(d_model=width, n_heads=1, n_blocks=1, n_loops=n_loops)
        medians = measure(steps(task, config, examples_of_a_batch(task, 640, per_prefix)), n_rounds)
        ratios = {f"own {kind} / fast bf16": medians[f"own {kind}"] / medians["fast bf16"] for kind in ("fp32", "bf16")}
        ratios["own fp32 / fast fp32"] = medians["own fp32"] / medians["fast fp32"]
        rows.append({"d_model": width, "loops": n_loops, "group": per_prefix} | medians | ratios)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    print(main().round(1).to_string(index=False))  # noqa: T201
