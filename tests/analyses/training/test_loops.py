import dataclasses

import numpy as np
import pytest
import torch
from explained import assert_explained

from grokscope.analyses import LoopResult, accuracy_by_loops, logit_lens
from grokscope.tasks import Run, TwoHopTask


def test_fewer_loops_are_an_early_exit_at_every_layer(task: TwoHopTask, tiny_run: Run) -> None:
    """What the lens reads at the answer position after loop k is what the model with k loops answers."""
    checkpoint, queries = tiny_run.checkpoint("final"), task.split("train_inferred")
    whole = checkpoint.model(n_loops=4)
    lens = logit_lens(whole, queries).table.set_index(["layer", "after", "role", "target"])["top1"]
    result = accuracy_by_loops(checkpoint, (1, 2, 3, 4), splits=["train_inferred"])
    by_lens = [lens[layer, "layer", "r2", "answer"] for layer in range(4)]
    np.testing.assert_allclose(result.table["exact_match"], by_lens)
    assert len(set(by_lens)) > 1


def test_the_trained_number_of_loops_is_the_checkpoint_itself(task: TwoHopTask, tiny_run: Run) -> None:
    checkpoint, tokens = tiny_run.checkpoint("final"), task.split("test_inferred_iid").tokens
    same, more = checkpoint.model(n_loops=2), checkpoint.model(n_loops=3)
    assert torch.equal(same(tokens), checkpoint.model()(tokens)) and not torch.equal(more(tokens), same(tokens))
    assert more.cfg.n_layers == 3 and more.blocks[2].mlp.W_in is more.blocks[0].mlp.W_in
    assert more.cfg.model_name == "tiny, step 60 (final), 3 loops"


def test_numbers_of_loops_are_taken_in_order_and_once(tiny_run: Run) -> None:
    checkpoint = tiny_run.checkpoint("final")
    one, other = (accuracy_by_loops(checkpoint, loops) for loops in ((3, 1, 2, 1), (1, 2, 3)))
    assert one.to_json() == other.to_json() and list(one.figure().data[0].x) == [1, 2, 3]


def test_it_shows_itself_reads_back_and_refuses_nonsense(tiny_run: Run) -> None:
    checkpoint = tiny_run.checkpoint("final")
    result = accuracy_by_loops(checkpoint, (1, 2))
    assert len(result.table) == 8 and (result.table["low"] <= result.table["exact_match"]).all()
    assert LoopResult.from_json(result.to_json()).to_json() == result.to_json()
    figure = result.figure()
    assert len(figure.data) == 4 and figure.layout.shapes[0].x0 == 2 and "trained with 2 loops" in figure.layout.title.text
    with pytest.raises(ValueError, match=r"loops holds \[0, -1\]; the blocks can be applied once or more"):
        accuracy_by_loops(checkpoint, (0, 2, -1))
    with pytest.raises(KeyError, match="no splits iid"):
        accuracy_by_loops(checkpoint, (1,), splits=["iid"])


def test_what_it_says_of_itself_is_what_it_holds(tiny_run: Run) -> None:
    result = accuracy_by_loops(tiny_run.checkpoint("final"), (1, 2, 3), splits=["train_inferred", "test_inferred_iid"])
    assert_explained(result)
    by = result.table.set_index(["n_loops", "split"])["exact_match"]
    said = result.explain()
    assert f"With 2 loops, as in training, it answers {by[2, 'train_inferred']:.2f} of train_inferred" in said.means
    assert f"{by[1, 'train_inferred']:.2f} with 1, {by[3, 'train_inferred']:.2f} with 3" in said.would_change
    elsewhere = dataclasses.replace(result, trained_loops=9)
    assert_explained(elsewhere)
    assert "It was not run with 9 loops" in elsewhere.explain().means
    assert "no rows" in dataclasses.replace(result, table=result.table.head(0)).explain().means
