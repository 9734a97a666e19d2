import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from explained import assert_explained
from torch.utils.flop_counter import FlopCounterMode

from grokscope.analyses import RunSummary, summarise_run
from grokscope.tasks import ModelConfig, Run, TwoHopTask, build_model
from grokscope.tasks.models.building import architecture_of


def planted(run: Run, train: list[float], iid: list[float], ood: list[float]) -> Run:
    """The run with another metrics table: evaluations every 100 steps, ten seconds apart."""
    n = len(train)
    metrics = pd.concat([run.metrics.head(1)] * n, ignore_index=True)
    metrics = metrics.assign(step=range(100, 100 * n + 1, 100), seconds=[10.0 * i for i in range(1, n + 1)])
    metrics = metrics.assign(train=train, test_inferred_iid=iid, test_inferred_ood=ood)
    return dataclasses.replace(run, metrics=metrics)


def test_milestones_are_the_first_of_three_in_a_row_and_others_are_nan(tiny_run: Run) -> None:
    train = [0.5, 1.0, 1.0, 1.0, 0.8, 1.0, 1.0, 1.0]
    iid = [0.1, 1.0, 0.2, 0.3, 0.99, 0.99, 0.99, 0.99]
    ood = [0.0, 0.0, 0.0, 0.6, 0.6, 0.9, 0.95, 0.9]
    run = planted(tiny_run, train, iid, ood)
    summary = summarise_run(run)
    assert summary.table["step"].tolist() == [200, 500, 400, 600]
    assert summary.table["seconds"].tolist() == [20, 50, 40, 60]
    per_step = 256 * architecture_of(run.model_config).flops_per_example(run.model_config, run.task)
    np.testing.assert_allclose(summary.table["flops"], summary.table["step"] * per_step)
    assert summary.grokking_delay == 400 and summary.stability == pytest.approx(1 / 7)
    never = summarise_run(planted(tiny_run, train[:4], iid[:4], ood[:4]))
    assert never.table["step"].isna().tolist() == [False, True, True, True] and np.isnan(never.grokking_delay)
    assert (never.table["trained"] == 400).all() and "not grokked" in never.caption
    assert "in 0.143 of the evaluations since" in summary.caption
    unmemorised = summarise_run(planted(tiny_run, [0.5] * 4, iid[:4], ood[:4]))
    assert unmemorised.caption == "tiny (natural), 400 steps · not grokked"


def test_flops_are_those_that_torch_counts(task: TwoHopTask) -> None:
    """Up to attention's own small products, which grow with the prompt and not with the weights."""
    for config in (ModelConfig.small(), ModelConfig(d_model=64, n_heads=2, n_blocks=2, n_loops=2, mlp_ratio=2)):
        model = build_model(config, task)
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(5, 3, dtype=torch.long)).sum().backward()
        ratio = 5 * architecture_of(config).flops_per_example(config, task) / counter.get_total_flops()
        assert ratio == pytest.approx(1.0, abs=0.05)


def test_it_shows_itself_and_reads_back(tiny_run: Run) -> None:
    summary = summarise_run(planted(tiny_run, [1.0] * 5, [1.0] * 5, [0.6] * 5))
    assert [shape.x0 for shape in summary.figure().layout.shapes] == [100, 100, 100]
    again = RunSummary.from_json(summary.to_json())
    assert again.to_json() == summary.to_json() and again.grokking_delay != again.grokking_delay
    assert "tiny (natural), 500 steps" in summary._repr_html_()


def test_what_it_says_of_itself_is_what_it_holds(tiny_run: Run) -> None:
    reached, never = ([1.0] * 4 + [0.5] + [1.0] * 3, [0.0] * 3 + [0.99] * 5), ([1.0] * 4, [0.0] * 4)
    for (train, ood), said in (
        (reached, "OOD ≥ .9 came 300 steps after train ≥ .99"),
        (never, "There is no grokking delay"),
    ):
        summary = summarise_run(planted(tiny_run, train, ood, ood))
        assert_explained(summary, constants={"0.9"})
        assert said in summary.explain().means
    assert summary.explain().would_change == "More steps: ID ≥ .99, OOD ≥ .5, OOD ≥ .9 may be reached later."
    assert_explained(summarise_run(tiny_run), constants={"0.9"})
    assert "no rows" in dataclasses.replace(summary, table=summary.table.head(0)).explain().means
