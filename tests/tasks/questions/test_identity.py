"""Zero-hop questions as a dose of supervision, and that nothing changes where there are none."""

import dataclasses
import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from grokscope.analyses import bridge_evidence
from grokscope.tasks import (
    BOTH_HALF,
    BOTH_HOPS,
    IDENTITY,
    NATURAL,
    SPLITS,
    DataFolderError,
    Job,
    ModelConfig,
    NewFacts,
    Queries,
    Run,
    Supervision,
    TrainConfig,
    TRMConfig,
    TwoHopTask,
    exact_match,
    make_pairs,
    published_new_facts,
    shortcut_accuracy,
    train,
    train_together,
)
from grokscope.tasks.questions.evaluation import evaluate, evaluation_queries
from grokscope.tasks.questions.files import PUBLISHED_FILES
from grokscope.tasks.questions.layout import free_slots
from grokscope.tasks.questions.side_file import SIDE_FILE
from grokscope.tasks.questions.supervision import PRESETS
from grokscope.tasks.runs.metrics import column_problems
from grokscope.tasks.training.batches import training_examples

SIZES = {"n_entities": 20, "n_relations": 10, "out_degree": 7, "ood_fraction": 0.2, "test_fraction": 0.1}
TASK = TwoHopTask.random(**SIZES, seed=3)
HALF = TASK.with_supervision(Supervision(identity_share=0.5))
RECORDED = {  # by the code before there were zero-hop questions: key, arrays, questions, files
    (NATURAL, "compact"): ("1411621c19f7", "32d36acc6d62", "40b74a6fcafb", "81408f823df5"),
    (NATURAL, "slots"): ("2f2182e4a0ae", "32d36acc6d62", "f8fa8db57752", "81408f823df5"),
    (NATURAL, "four_slots"): ("87a7d24af669", "32d36acc6d62", "95248822b2cf", "81408f823df5"),
    (BOTH_HALF, "compact"): ("d53bad725cb2", "a8b1768f99dd", "6371c7bfeb72", "d908b3a366a6"),
    (BOTH_HALF, "slots"): ("15f51ca40c83", "a8b1768f99dd", "758fe19a89e3", "d908b3a366a6"),
    (BOTH_HALF, "four_slots"): ("66c82f65042c", "a8b1768f99dd", "b0e9a1bf1812", "d908b3a366a6"),
}
DOSES = {
    NATURAL: {"hop1_share": 0.0, "hop1_compositions": 0, "hop2_share": 0.0, "hop2_compositions": 0},
    BOTH_HALF: {"hop1_share": 0.5, "hop1_compositions": 9, "hop2_share": 0.5, "hop2_compositions": 9},
}


def entities(task: TwoHopTask) -> set[int]:
    return set(task.split("identity").answers.tolist()) if "identity" in task.splits else set()


def hashed(*parts: bytes | str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()[:12]


def as_bytes(queries: Queries) -> bytes:
    about = str((queries.roles, queries.answer_position, queries.split, [*queries.intermediates], [*queries.facts]))
    columns = [queries.tokens, queries.answers, queries.unit, *queries.intermediates.values(), *queries.facts.values()]
    return about.encode() + b"".join(column.numpy().tobytes() for column in columns)


def fingerprint(task: TwoHopTask, folder: Path) -> tuple[str, ...]:
    """Key, and hashes of arrays, questions and files."""
    arrays = [f"{name} {array.dtype} {array.shape}".encode() + array.tobytes() for name, array in task.to_arrays().items()]
    task.to_files(folder)
    side = json.dumps(json.loads((folder / SIDE_FILE).read_text())["content"])
    files = [(folder / name).read_bytes() for name in PUBLISHED_FILES]
    return task.key, hashed(*arrays), hashed(*(as_bytes(task.split(name)) for name in task.splits)), hashed(side, *files)


@pytest.mark.parametrize(("supervision", "layout"), RECORDED)
def test_without_zero_hop_questions_all_is_as_it_was(supervision: Supervision, layout: str, tmp_path: Path) -> None:
    task = TwoHopTask.random(**SIZES, seed=3, supervision=supervision, layout=layout)
    assert fingerprint(task, tmp_path / "files") == RECORDED[supervision, layout]
    assert json.dumps(task.settings) == json.dumps(
        {"n_entities": 20, "n_relations": 10, "supervision": DOSES[supervision], "seed": 3, "layout": layout}
    )
    assert tuple(task.splits) == SPLITS and "is_identity" not in task.to_arrays()
    again = HALF.with_layout(layout).with_supervision(supervision)
    assert again.is_identity is None and again.key == task.key and again == task


def test_the_dose_is_the_first_entities_of_an_order_that_the_seed_alone_fixes() -> None:
    shares = (0, 0.1, 0.33, 0.5, 0.8, 1)
    doses = [entities(TASK.with_supervision(Supervision(identity_share=share))) for share in shares]
    assert [len(dose) for dose in doses] == [0, 2, 7, 10, 16, 20]
    assert all(small < large for small, large in itertools.pairwise(doses))
    other = TwoHopTask.random(**{**SIZES, "ood_fraction": 0.4, "out_degree": 5}, seed=3, layout="slots")
    assert entities(other.with_supervision(Supervision(identity_share=0.5))) == doses[3]
    different = TwoHopTask.random(**SIZES, seed=4, supervision=Supervision(identity_share=0.5))
    assert entities(different) != doses[3] and len(entities(different)) == 10


def test_a_share_that_rounds_to_no_entity_is_no_question() -> None:
    task = TASK.with_supervision(Supervision(identity_share=0.02))
    assert task.is_identity is None and tuple(task.splits) == SPLITS and task.key == TASK.key
    assert TwoHopTask.from_arrays(task.to_arrays(), task.settings) == task != TASK


@pytest.mark.parametrize("supervision", [NATURAL, BOTH_HALF, BOTH_HOPS])
def test_the_other_doses_and_all_tests_stay_what_they_are(supervision: Supervision) -> None:
    without = TASK.with_supervision(supervision)
    task = TASK.with_supervision(dataclasses.replace(supervision, identity_share=0.5))
    assert entities(task) == entities(HALF) and task.key != without.key and task.n_added == without.n_added
    assert [*task.splits] == ["identity", *SPLITS] and task.splits["identity"] == "atomic"
    for name in SPLITS:
        assert as_bytes(task.split(name)) == as_bytes(without.split(name))
    assert task.with_supervision(supervision) == without


@pytest.mark.parametrize(
    ("layout", "free"),
    [("compact", ()), ("slots", ("answer", "end", "pad", "pad2")), ("four_slots", ("answer", "end", "pad"))],
)
def test_the_prompt_is_the_entity_and_its_answer_comes_at_once(layout: str, free: tuple[str, ...]) -> None:
    task = HALF.with_layout(layout)
    asked, pad = task.split("identity"), 30
    assert asked.tokens.tolist() == [[entity, *[pad] * len(free)] for entity in sorted(entities(HALF))]
    assert asked.roles == ("h", *free) and free_slots(asked.roles) == free
    assert asked.answer_position == (asked.roles.index("answer") if free else 0) == min(len(free), 1)
    for column in (asked.answers, asked.bridges, asked.unit):
        assert torch.equal(column, asked.tokens[:, 0])
    assert (asked.hop1 == -1).all() and (asked.hop2 == -1).all() and asked.split == "identity"


def test_training_holds_them_next_to_everything_else() -> None:
    examples, without = training_examples(HALF), training_examples(TASK)
    assert len(examples.tokens) == len(without.tokens) + 10
    zero_hop = examples.positions == 0
    assert examples.tokens[zero_hop].tolist() == [[entity, 0, 0] for entity in sorted(entities(HALF))]
    assert torch.equal(examples.tokens[~zero_hop], without.tokens)


def test_names() -> None:
    assert IDENTITY.name == "identity" and PRESETS["identity"] == IDENTITY == Supervision(identity_share=1.0)
    names = {
        Supervision(identity_share=0.25): "identity 0.25",
        dataclasses.replace(BOTH_HALF, identity_share=1.0): "both_half, identity 1",
        Supervision(hop1_share=0.5, hop1_compositions=3, identity_share=0.5): "hop1 0.5×3, hop2 0×0, identity 0.5",
    }
    assert {each: each.name for each in names} == names
    assert repr(Supervision(identity_share=0.25)) == "Supervision(identity_share=0.25)" and repr(NATURAL) == "Supervision()"
    with pytest.raises(ValueError, match=r"identity_share is 1.5, needed.*at most 1"):
        Supervision(identity_share=1.5)
    with pytest.raises(KeyError, match="no split 'identity'; the splits are id_atomic"):
        TASK.split("identity")
    with pytest.raises(KeyError, match="no split 'valid'; the splits are identity, id_atomic"):
        HALF.split("valid")
    assert "<td>identity</td><td>atomic</td><td>10</td>" in HALF._repr_html_().replace(' class="gs-word"', "")
    assert "identity 0.5" in repr(HALF)


@pytest.mark.parametrize("layout", ["compact", "slots"])
def test_arrays_and_settings_read_back(layout: str) -> None:
    task = HALF.with_layout(layout)
    arrays = task.to_arrays()
    assert arrays["is_identity"].dtype == np.uint8 and task.settings["supervision"]["identity_share"] == 0.5
    again = TwoHopTask.from_arrays(arrays, json.loads(json.dumps(task.settings)))
    assert again == task and again.key == task.key and again.supervision == task.supervision
    assert len({each.key for each in (task, TASK.with_layout(layout), task.with_supervision(IDENTITY))}) == 3


BROKEN = {
    "too short": (np.ones(19, dtype=np.uint8), 0.5, r"is_identity: needed is whether, for each of 20 entities, .*\(19,\)"),
    "of numbers": (np.full(20, 2, dtype=np.uint8), 0.5, "is_identity: needed is whether, .*from 2 to 2"),
    "a number": (np.array(1), 0.5, r"is_identity: needed is whether, for each of 20 entities, got bool of shape \(\)"),
    "empty": (np.zeros(20, dtype=np.uint8), 0.0, "is_identity: there is no zero-hop question"),
    "more": (
        np.ones(20, dtype=np.uint8),
        0.5,
        "supervision: identity_share=0.5 of 20 entities are 10, in is_identity are 20",
    ),
    "none": (None, 0.5, "supervision: identity_share=0.5 of 20 entities are 10, in is_identity are 0"),
    "no dose": (np.ones(20, dtype=np.uint8), 0.0, "identity_share=0 of 20 entities are 0, in is_identity are 20"),
    "no share": (np.ones(20, dtype=np.uint8), 2.0, "supervision: identity_share: .* got 2.0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_damaged_arrays_and_settings_are_named(name: str) -> None:
    array, share, message = BROKEN[name]
    arrays = TASK.to_arrays() | ({} if array is None else {"is_identity": array})
    settings = {**TASK.settings, "supervision": {**TASK.settings["supervision"], "identity_share": share}}
    with pytest.raises(ValueError, match=f"this is no two-hop task: .*{message}"):
        TwoHopTask.from_arrays(arrays, settings)
    with pytest.raises(ValueError, match=f"{message}.*n_relations is 0|n_relations is 0.*{message}"):
        TwoHopTask.from_arrays(arrays, {**settings, "n_relations": 0})


def test_without_a_supervision_any_entities_are_taken() -> None:
    unknown = dataclasses.replace(HALF, supervision=None)
    again = TwoHopTask.from_arrays(unknown.to_arrays(), unknown.settings)
    assert entities(again) == entities(HALF) and again.regime == "from files"


def test_published_files_cannot_say_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="10 entities are trained as zero-hop questions, the split identity; these formats"):
        HALF.to_files(tmp_path / "half")
    assert not (tmp_path / "half").exists()
    folder = TASK.with_supervision(Supervision(identity_share=0.02)).to_files(tmp_path / "none")
    assert TwoHopTask.from_files(folder).supervision == Supervision(identity_share=0.02)
    side = json.loads((folder / SIDE_FILE).read_text())["content"]
    del side["files"]
    side["supervision"]["identity_share"] = 0.5
    (folder / SIDE_FILE).write_text(json.dumps(side))  # as in format 1, which has no checksum
    with pytest.raises(
        DataFolderError, match=rf"{SIDE_FILE}: supervision: identity_share=0.5 of 20 entities are 10, in is_identity are 0"
    ):
        TwoHopTask.from_files(folder)


def test_accuracies_have_the_split_and_known_facts_are_the_same() -> None:
    """A forward pass that is right about every second question of each split."""
    answers = {}
    for name in HALF.splits:
        asked = HALF.split(name)
        for place, (tokens, answer) in enumerate(zip(asked.tokens.tolist(), asked.answers.tolist(), strict=True)):
            answers[tuple(tokens)] = (answer + (place % 4 == 1)) % 20

    def forward(tokens: torch.Tensor) -> torch.Tensor:
        best = torch.tensor([answers[tuple(row)] for row in tokens.tolist()])
        return torch.nn.functional.one_hot(best, 30).float()[:, None].expand(-1, tokens.shape[1], -1)

    def row(task: TwoHopTask) -> dict[str, float]:
        return evaluate(lambda some: exact_match(forward, some), evaluation_queries(task), task.splits)

    with_them, without = row(HALF), row(TASK)
    assert list(with_them)[:2] == ["identity", "select_identity"]
    assert (with_them["identity"], with_them["select_identity"]) == (0.4, 1.0)
    new = {"identity", "select_identity", "train", "select_train"}
    shared = [name for name in without if name not in new]
    assert with_them.keys() - new == set(shared) and len(shared) > 14
    np.testing.assert_equal([with_them[name] for name in shared], [without[name] for name in shared])
    assert 0 < without["gated_test_inferred_iid"] < 1
    assert with_them["train"] == pytest.approx((3 * without["train"] + 0.4) / 4)


def test_a_run_reads_back_and_reports_the_split(tmp_path: Path) -> None:
    config = TrainConfig.tiny(max_steps=20, evaluate_every=10)
    run = train(HALF, ModelConfig.tiny(), config, tmp_path / "run", progress=False)
    again = Run.load(run.folder)
    assert again.task == HALF and again.task.key == HALF.key
    assert [*again.metrics.columns[3:5]] == ["identity", "select_identity"]
    pd.testing.assert_frame_equal(again.metrics, run.metrics)
    assert again.n_reported["identity"] == 5
    checkpoint = again.checkpoint("final")
    right = exact_match(checkpoint.model(), HALF.split("identity"))
    assert checkpoint.accuracy["identity"] == pytest.approx(float(right[1::2].double().mean()))
    names = [name for name in run.metrics if name != "identity"]
    assert column_problems(names, HALF) == ["the column identity is missing"]
    assert column_problems([*run.metrics], TASK)[0] == "the column 'identity' is unknown"


def test_a_small_model_learns_them(tmp_path: Path) -> None:
    config = TrainConfig.tiny(max_steps=250, evaluate_every=50)
    run = train(HALF, ModelConfig.tiny(tie_embeddings=False), config, tmp_path / "run", progress=False)
    assert run.metrics["identity"].iloc[-1] > 0.8
    others = torch.tensor(sorted(set(range(20)) - entities(HALF)))[:, None]
    model = run.checkpoint("final").model()
    assert (model(others)[:, 0, :20].argmax(-1) == others[:, 0]).float().mean() < 0.5  # what is not trained


def test_other_networks_and_trainings_together_take_them(tmp_path: Path) -> None:
    slots = HALF.with_layout("four_slots")
    mixing = train(
        slots, TRMConfig.tiny(), TrainConfig.tiny(max_steps=4, evaluate_every=2), tmp_path / "mix", progress=False
    )
    assert mixing.metrics["identity"].notna().all()
    config = TrainConfig.tiny(max_steps=6, evaluate_every=3, bfloat16=False)
    jobs = [Job(name, task, ModelConfig.tiny(), config) for name, task in {"half": HALF, "natural": TASK}.items()]
    for run, job in zip(train_together(jobs, tmp_path, device="cpu", n_jobs=1, progress=False), jobs, strict=True):
        alone = train(job.task, job.model_config, config, tmp_path / f"{job.name} alone", progress=False)
        assert [*run.metrics.columns] == [*alone.metrics.columns]
        apart = run.metrics.drop(columns="seconds") - alone.metrics.drop(columns="seconds")
        assert apart["loss"].abs().max() < 1e-4 and len(apart) == 2


def test_further_training_is_the_same_after_them() -> None:
    assert NewFacts.random(HALF, n=8).task == NewFacts.random(TASK, n=8).task
    assert published_new_facts(HALF, n=8, n_old=20).task == published_new_facts(TASK, n=8, n_old=20).task


def test_what_composes_refuses_them_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="identity holds atomic queries"):
        make_pairs(HALF, split="identity", contrast="head", n=4, seed=0)
    with pytest.raises(ValueError, match=r"cannot be asked identity: .*r2"):
        shortcut_accuracy(HALF, HALF.split("identity"))
    run = train(HALF, ModelConfig.tiny(), TrainConfig.tiny(max_steps=2, evaluate_every=1), tmp_path, progress=False)
    with pytest.raises(ValueError, match="identity holds 10 questions, which are atomic"):
        bridge_evidence(run.checkpoint("final").model(), HALF, "identity", progress=False)
