"""Facts of a task of one's own, and what its questions say after a change, against plain sums."""

import pytest
import torch

from grokscope.analyses import edit_facts
from grokscope.tasks import ModelConfig, Queries, QuestionTask, TrainConfig, train
from grokscope.tasks.questions.editable import editable

P = 7


def sums(prompts: torch.Tensor, *roles: str) -> Queries:
    return Queries(prompts, prompts.sum(1) % P, roles=roles, intermediates={"partial": prompts[:, :2].sum(1) % P})


@pytest.fixture(scope="module")
def task() -> QuestionTask:
    numbers = torch.arange(P)
    twos, threes = torch.cartesian_prod(numbers, numbers), torch.cartesian_prod(numbers, numbers, numbers)
    is_new = threes.sum(1) % 5 == 0
    splits = {
        "twos": ("atomic", sums(twos, "a", "b")),
        "sums": ("trained", sums(threes[~is_new], "a", "b", "c")),
        "new": ("test", sums(threes[is_new], "a", "b", "c")),
    }
    return QuestionTask(splits, decided_by={"partial": ("a", "b")})


def test_longer_questions_rest_on_the_atomic_one_with_their_first_tokens(task: QuestionTask) -> None:
    prompts = task.split("twos").tokens.tolist()
    assert task.split("twos").facts["partial"].tolist() == list(range(P * P))
    for name in ("sums", "new"):
        queries = task.split(name)
        facts = queries.facts["partial"].tolist()
        assert [prompts[fact] for fact in facts] == queries.tokens[:, :2].tolist()


def test_after_a_change_sums_go_on_from_the_new_value(task: QuestionTask) -> None:
    assert editable(task) is task
    fact, value = 10, 3
    a, b = task.split("twos").tokens[fact].tolist()
    assert value in task.fact_values(fact) and (a + b) % P not in task.fact_values(fact)
    for name in task.splits:
        queries = task.split(name)
        changed = task.with_fact(queries, fact=fact, value=value)
        for tokens, answer in zip(changed.tokens.tolist(), changed.answers.tolist(), strict=True):
            partial = value if tokens[:2] == [a, b] else sum(tokens[:2]) % P
            assert answer == (partial + sum(tokens[2:])) % P
        assert torch.equal(changed.tokens, queries.tokens)


def test_questions_without_facts_and_unknown_facts_are_named(task: QuestionTask) -> None:
    with pytest.raises(ValueError, match="fact is 49, needed is a whole number"):
        task.fact_values(P * P)
    bare = QuestionTask({"sums": task.questions["sums"], "new": task.questions["new"]}, decided_by={"partial": ("a", "b")})
    with pytest.raises(ValueError, match="asks for no intermediate"):
        bare.fact_values(0)


def test_it_reads_back_with_its_facts_and_edits_of_a_run_are_counted(task: QuestionTask, tmp_path) -> None:
    again = QuestionTask.from_arrays(task.to_arrays(), task.settings)
    assert again == task and torch.equal(again.split("new").facts["partial"], task.split("new").facts["partial"])
    config = TrainConfig.tiny(max_steps=400, batch_size=128, ema=0.0, evaluate_every=200)
    run = train(task, ModelConfig.tiny(), config, tmp_path / "run", progress=False)
    result = edit_facts(run.checkpoint("final"), run.task, methods=["training"], n_edits=2, sure=0.5, progress=False)
    assert set(result.table["place"]) == {"partial"} and (result.table["n"] > 0).all()
