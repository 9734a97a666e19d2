"""Steps of training at the published sizes: 2,000 entities, width 1,536, 14 unrolled layers, batches of 512.

python examples/benchmarks/paper_steps.py --device cuda --steps 200
"""

import resource
import statistics
import time
from typing import Annotated

import torch
import typer

from grokscope import tasks
from grokscope.tasks.training.batches import batches, training_examples
from grokscope.tasks.training.train import initial_state, take_step


def main(
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    steps: Annotated[int, typer.Option(help="how many")] = 20,
) -> None:
    """Take some steps; print the losses and seconds."""
    task, model_config = tasks.TwoHopTask.paper(), tasks.ModelConfig.paper()
    config = tasks.TrainConfig.paper(max_steps=steps)
    model = tasks.build_model(model_config, task, device=device)
    state, examples = initial_state(model, model_config, config), training_examples(task)
    n_parameters = sum(parameter.numel() for parameter in state.parameters.values())
    print(f"{len(examples.tokens):,} examples, {n_parameters:,} parameters, {model_config.n_layers} layers")  # noqa: T201
    seconds, losses = [], []
    for rows in batches(examples, config, first=0):
        start = time.perf_counter()
        losses.append(float(take_step(state, examples, rows, model_config, config)))
        seconds.append(time.perf_counter() - start)
    peak = (
        torch.cuda.max_memory_allocated() if device == "cuda" else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    print(f"loss {losses[0]:.2f} to {losses[-1]:.2f} in {steps} steps")  # noqa: T201
    print(f"{statistics.median(seconds):.2f} s a step (median), peak {peak / 2**30:.1f} GiB")  # noqa: T201


if __name__ == "__main__":
    typer.run(main)
