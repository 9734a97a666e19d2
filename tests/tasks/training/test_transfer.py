"""New facts: which they are, what is trained, what is asked, against plain loops over triples."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from grokscope.tasks import (
    CELLS,
    CheckpointError,
    ModelConfig,
    NewFacts,
    Run,
    TrainConfig,
    TwoHopTask,
    published_new_facts,
    train,
)
from grokscope.tasks.questions.supervision import BOTH_HOPS

BEFORE = TwoHopTask.random(n_entities=30, n_relations=12, out_degree=8, seed=3)


def triples(task: TwoHopTask, name: str) -> list[tuple[int, ...]]:
    return [tuple(row) for row in task.split(name).tokens.tolist()]


def test_new_facts_fill_free_slots_and_leave_the_old_ones() -> None:
    new = NewFacts.random(BEFORE, n=25, seed=1)
    graph, old = new.task.graph, set(BEFORE.graph.triples)
    added = set(graph.triples) - old
    assert old < set(graph.triples) and len(added) == 25
    assert len({(h, r) for h, r, _ in graph.triples}) == len(graph)
    assert {graph.triples[i] for i in np.flatnonzero(new.task.is_ood)} == added
    probes = {graph.triples[i] for i in np.flatnonzero(new.is_probe)}
    was_id = {BEFORE.graph.triples[i] for i in np.flatnonzero(~BEFORE.is_ood)}
    assert len(probes) == 25 and probes < was_id


@pytest.mark.parametrize("exposure", [0, 3])
def test_questions_and_training_are_those_of_a_plain_loop(exposure: int) -> None:
    new = NewFacts.random(BEFORE, n=25, exposure=exposure, seed=1)
    graph, base = new.task.graph, BEFORE.graph.n_entities
    tail = {(h, r): t for h, r, t in graph.triples}
    is_new = {graph.triples[i][:2] for i in np.flatnonzero(new.task.is_ood)}
    is_probe = {graph.triples[i][:2] for i in np.flatnonzero(new.is_probe)}
    kinds = {"new+old": (is_new, is_probe), "old+new": (is_probe, is_new), "new+new": (is_new, is_new)}
    for cell, (first, second) in kinds.items():
        wanted = {(h, base + r1, base + r2) for h, r1 in first for b, r2 in second if tail[h, r1] == b}
        questions = new.questions(cell)
        assert set(map(tuple, questions.tokens.tolist())) == wanted and len(questions) == len(wanted) > 0
        assert questions.split == cell and new.task.split(CELLS[cell]).tokens.equal(questions.tokens)
    kept = {
        (h, r1, r2)
        for h, r1, r2 in triples(BEFORE, "train_inferred")
        if (h, r1 - base) not in is_probe and (tail[h, r1 - base], r2 - base) not in is_probe
    }
    trained = triples(new.task, "train_inferred")
    shown = [row for row in trained if row not in kept]
    assert kept < set(trained) if exposure else kept == set(trained)
    as_second_hop = Counter((tail[h, r1 - base], r2 - base) for h, r1, r2 in shown)
    available = Counter(
        (t, r) for h, r1, t in graph.triples if (h, r1) not in is_new | is_probe for b, r in is_new if b == t
    )
    assert as_second_hop == {fact: min(exposure, count) for fact, count in available.items() if exposure}
    assert not any((h, r1 - base) in is_new | is_probe for h, r1, _ in shown)
    assert set(triples(new.task, "test_inferred_iid")) < set(triples(BEFORE, "test_inferred_iid"))


def test_doses_are_nested_and_supervision_before_plays_no_part() -> None:
    doses = [NewFacts.random(BEFORE, n=25, exposure=m, seed=1).task for m in (0, 1, 2, 5)]
    trained = [set(triples(task, "train_inferred")) for task in doses]
    assert all(less < more for less, more in itertools.pairwise(trained))
    assert all(triples(doses[0], s) == triples(task, s) for s in CELLS.values() for task in doses)
    taught = NewFacts.random(BEFORE.with_supervision(BOTH_HOPS), n=25, seed=1)
    assert taught.task.key == doses[0].key
    assert NewFacts.random(BEFORE, n=25, seed=2).task.key != doses[0].key


def test_the_default_has_enough_questions_in_every_cell() -> None:
    new = NewFacts.random(TwoHopTask.random(seed=1), seed=1)
    assert all(len(new.questions(cell)) >= 200 for cell in CELLS)
    assert new.before.n_tokens == new.task.n_tokens


def test_bad_input_is_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"n=999 .* 1 to 120: 120 \(head, relation\) are free, 216 .*; exposure .* -1"):
        NewFacts.random(BEFORE, n=999, exposure=-1)
    with pytest.raises(KeyError, match=r"new\+old, old\+new, new\+new"):
        NewFacts.random(BEFORE, n=5).questions("old+old")


@pytest.mark.parametrize("reading", ["items", "facts"])
def test_the_published_recipe_keeps_what_a_plain_loop_keeps(reading: str) -> None:
    new = published_new_facts(BEFORE, n=20, n_old=90, reading=reading, seed=2)
    graph, base, tail = new.task.graph, BEFORE.graph.n_entities, {(h, r): t for h, r, t in new.task.graph.triples}
    added = {graph.triples[i] for i in np.flatnonzero(new.task.is_ood)}
    heads = Counter(h for h, _, _ in added)
    assert len(added) == 20 and sum(heads[t] > 0 for _, _, t in added) >= 10  # each chain's first fact leads to its second
    kept = {tuple(row) for row in triples(new.task, "id_atomic")}
    trained = set(triples(new.task, "train_inferred"))
    before = triples(BEFORE, "train_inferred")
    second = {(h, r1, r2): (tail[h, r1 - base], r2) for h, r1, r2 in before}
    if reading == "items":
        assert len(kept) + len(trained) == 90 and len(kept) < 10
        assert all((h, r1) in kept or second[h, r1, r2] in kept for h, r1, r2 in trained)
        assert len([row for row in trained if row[:2] in kept and second[row] in kept]) < len(trained)
    else:
        assert len(kept) == 90
        assert trained == {row for row in before if row[:2] in kept and second[row] in kept}
    is_new = {(h, base + r) for h, r, _ in added}
    kinds = {"new+old": (is_new, kept), "old+new": (kept, is_new), "new+new": (is_new, is_new)}
    for cell, (firsts, seconds) in kinds.items():
        wanted = {(h, r1, r2) for h, r1 in firsts for b, r2 in seconds if tail[h, r1 - base] == b}
        assert set(map(tuple, new.questions(cell).tokens.tolist())) == wanted


def test_a_task_with_facts_that_are_not_trained_alone_is_saved_but_not_published(tiny_run: Run, tmp_path: Path) -> None:
    task = published_new_facts(tiny_run.task, n=10).task
    run = train(task, tiny_run.model_config, TrainConfig.tiny(max_steps=2, evaluate_every=1), tmp_path / "a", progress=False)
    assert Run.load(run.folder).task.key == task.key != tiny_run.task.key
    assert len(run.task.split("id_atomic")) == len(task.split("id_atomic")) < len(tiny_run.task.split("id_atomic"))
    with pytest.raises(ValueError, match="facts are not trained by themselves"):
        task.to_files(tmp_path / "b")


def test_impossible_published_recipes_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"even number, got 7; .* readings are items, facts"):
        published_new_facts(BEFORE, n=7, reading="pages")
    with pytest.raises(ValueError, match=r"only 120 .* free; n_old=999 facts to train again, there are 216"):
        published_new_facts(BEFORE, n=200, n_old=999, reading="facts")


def test_training_goes_on_from_a_checkpoint_with_other_facts(tiny_run: Run, tmp_path: Path) -> None:
    new = NewFacts.random(tiny_run.task, n=10, seed=0)
    config = TrainConfig.tiny(max_steps=50, evaluate_every=50, learning_rate=1e-9, weight_decay=0.0)
    checkpoint = tiny_run.checkpoint("final")
    run = train(new.task, tiny_run.model_config, config, tmp_path / "a", initial=checkpoint, progress=False)
    torch.testing.assert_close(run.checkpoint("final").model().W_E, checkpoint.model().W_E)  # hardly a step was taken
    assert run.initial.startswith(f"{checkpoint.label}, weights ") and Run.load(run.folder).initial == run.initial
    again = train(new.task, tiny_run.model_config, config, tmp_path / "a", initial=checkpoint, resume=True, progress=False)
    assert again.metrics.equals(run.metrics) and tiny_run.initial == ""
    with pytest.raises(ValueError, match=r"it began with .*, random weights were asked for"):
        train(new.task, tiny_run.model_config, config, tmp_path / "a", resume=True, progress=False)


def test_a_checkpoint_of_another_shape_is_refused_and_nothing_is_written(tiny_run: Run, tmp_path: Path) -> None:
    other = ModelConfig(d_model=16, n_heads=2, n_blocks=1, n_loops=2)
    with pytest.raises(CheckpointError, match="does not fit"):
        train(tiny_run.task, other, TrainConfig.tiny(), tmp_path / "a", initial=tiny_run.checkpoint("final"))
    assert not (tmp_path / "a").exists()
