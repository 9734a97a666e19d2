"""The paper's curves beside ours, where a study has them."""

import pytest

from grokscope.analyses.study.published import has_rates, pretraining_rates
from grokscope.tasks import load_study


def test_a_study_without_lens_rates_by_step_says_so_before_they_are_read() -> None:
    without, shipped = load_study("trm"), load_study("study")
    assert has_rates(shipped) and not has_rates(without)
    assert set(pretraining_rates(shipped)["rate"]) >= {"bridge", "target"}
    with pytest.raises(FileNotFoundError, match="found"):
        pretraining_rates(without)
