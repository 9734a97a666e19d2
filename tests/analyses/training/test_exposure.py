"""Accuracy by exposure in sentences; its counts are compared with plain loops next to those of regimes."""

from dataclasses import replace

from explained import assert_explained

from grokscope.analyses.training.exposure import accuracy_by_exposure
from grokscope.tasks import Run, Supervision


def test_what_it_says_of_itself_is_what_it_holds(tiny_run: Run) -> None:
    task = tiny_run.task.with_supervision(Supervision(hop2_share=0.5, hop2_compositions=3))
    result = accuracy_by_exposure(tiny_run.checkpoint("final").model(), task, task.split("test_inferred_ood"))
    assert_explained(result)
    rows = result.table[result.table["hop"] == 2].sort_values("exposure")
    first, last = (rows.to_dict("records")[place] for place in (0, -1))
    ends = " and ".join(f"{row['accuracy']:.2f} at {row['exposure']}" for row in (first, last))
    assert f"{ends} for hop 2." in result.explain().means
    assert "no rows" in replace(result, table=result.table.head(0)).explain().means
