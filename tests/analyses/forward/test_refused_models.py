"""Models on which nothing can be measured are refused by name: chance, no layer, one module as several layers."""

from collections.abc import Callable

import pandas as pd
import pytest
import torch
from conftest import random_model, strong_model, wide_pairs

from grokscope.analyses import attribute_attention, edge_attribution, logit_difference, logit_lens, path_patch
from grokscope.analyses.forward.literal import logits_at
from grokscope.analyses.forward.model import residual_states
from grokscope.tasks import Queries
from grokscope.tasks.transformerlens import HookedTransformer

MEASURES = [path_patch, edge_attribution, attribute_attention]


def lens(model: HookedTransformer, pairs: object) -> object:
    answers = {"bridge": pairs.answers}
    return logit_lens(model, Queries(pairs.clean, pairs.answers, roles=pairs.roles, intermediates=answers), progress=False)


@pytest.mark.parametrize("measure", [*MEASURES, lens], ids=lambda each: each.__name__)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_chance_is_told_from_rounding(measure: Callable[..., object], share: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, pairs = strong_model(0).to(dtype), wide_pairs(0)
    model.blocks[0].mlp = torch.nn.Sequential(model.blocks[0].mlp, Chance(share))
    with pytest.raises(ValueError, match=r"change from one pass to the next on \d+ of .*could be told from chance"):
        measure(model, pairs)


class Chance(torch.nn.Module):
    """Dropout that evaluation mode does not switch off."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(states, self.share, training=True)


@pytest.mark.parametrize("measure", [*MEASURES, lens], ids=lambda each: each.__name__)
def test_dropout_in_training_mode_is_off(measure: Callable[..., object]) -> None:
    model, pairs = strong_model(0), wide_pairs(0)
    model.blocks[0].mlp = torch.nn.Sequential(model.blocks[0].mlp, torch.nn.Dropout(0.5)).train()
    measured = measure(model, pairs).table
    assert model.blocks[0].mlp.training
    pd.testing.assert_frame_equal(measure(model.eval(), pairs).table, measured)


def test_a_model_that_is_sure_of_itself_is_passed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs, passes = strong_model(0), wide_pairs(0), []
    plain = model.forward
    monkeypatch.setattr(model, "forward", lambda *args, **options: passes.append(1) or plain(*args, **options))
    path_patch(model, pairs)
    assert len(passes) == 1


@pytest.mark.parametrize("measure", MEASURES, ids=lambda each: each.__name__)
def test_a_model_without_layers_is_refused(measure: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="not defined here for a model with n_layers=0"):
        measure(random_model(0, n_layers=0), wide_pairs(0))


def test_one_module_as_several_layers_is_patched_but_has_no_states_by_layer() -> None:
    model, pairs = strong_model(0), wide_pairs(0)
    model.blocks[1] = model.blocks[0]
    result = path_patch(model, pairs)
    clean, corrupt = (logits_at(model, tokens, -1, []) for tokens in (pairs.clean, pairs.corrupt))
    gap = logit_difference(clean - corrupt, pairs.answers, pairs.foils)
    assert result.gap == pytest.approx(float(gap.mean()))
    for ask in (lambda: residual_states(model, pairs.clean, -1), lambda: lens(model, pairs)):
        with pytest.raises(ValueError, match=r"layers 0 and 1 of the model are one module"):
            ask()
