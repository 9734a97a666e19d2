"""Every public noun says what it is in one line, shows itself as a card, and compares, counts and loops as one would try."""

import inspect
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hostile
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import random_model
from hostile import NAMES, ODD

from grokscope import analyses, circuits, tasks
from grokscope.circuits import Node, Result
from grokscope.circuits.card import Curve, curves
from grokscope.circuits.manifest import Manifest
from grokscope.circuits.same_content import ByContent, same
from grokscope.tasks import (
    KHopTask,
    ModelConfig,
    PromptPairs,
    Queries,
    Run,
    Study,
    Supervision,
    TrainConfig,
    TRMConfig,
    TwoHopTask,
)
from grokscope.tasks.questions.donors import TwoHopDonors

LONGEST, LONGEST_OF_RESULT, LARGEST_CARD = 140, 400, 20_000
EMBEDDED = (circuits.Diagram, analyses.QueryView, analyses.AttentionView)
"""What shows itself with a script or a page in it, which has tests of its own; results show their tables or diagrams."""
TAGS = {"div", "style", "strong", "span", "table", "tr", "th", "td", "svg", "path", "text", "title"}


@pytest.fixture(scope="module")
def world(task: TwoHopTask, tiny_run: Run) -> SimpleNamespace:
    tokens = torch.arange(4 * 24).reshape(24, 4)
    column = torch.arange(24)
    donors = task.donors(second_hop="ID", seed=0)
    questions = task.split("test_inferred_ood")
    found = (donors.of(questions, row) for row in range(len(questions)))
    return SimpleNamespace(
        task=task, run=tiny_run, tokens=tokens, column=column, donors=donors, donor=next(filter(None, found))
    )


def asked(world: SimpleNamespace, name: str) -> Queries:
    known = {name: world.column}
    return Queries(world.tokens, world.column, roles=NAMES, answer_position=1, intermediates=known, split=name)


def paired(world: SimpleNamespace, name: str) -> PromptPairs:
    about = {"split": name, "half": name, "n_left_out": 3, "n_asked": 64}
    known = {name: world.column}
    columns = (world.tokens, world.tokens + 1, world.column, world.column + 1)
    return PromptPairs(*columns, NAMES, 1, name, about, intermediates=known, corrupt_intermediates=known)


THREE_HOPS: Any = KHopTask.random(n_entities=12, n_relations=8, out_degree=5, seed=0)


def hop_donors() -> tasks.QuestionDonors:
    queries = THREE_HOPS.split("train_3hop")
    is_trained = torch.ones(len(queries), dtype=torch.bool)
    return tasks.QuestionDonors(queries, is_trained, ("h", "r1"), "b1", np.random.default_rng(0))


def own_task(world: SimpleNamespace, name: str) -> tasks.QuestionTask:
    questions = asked(world, "sum")
    splits = {NAMES[2]: ("trained", questions[:16]), "tested": ("test", questions[16:])}
    return tasks.QuestionTask(splits, token_names=[name] * 96, regime=name)  # pyright: ignore[reportArgumentType]


def run_named(world: SimpleNamespace, name: str) -> Run:
    return replace(world.run, folder=Path(name.replace("/", "|")), initial=name)


def checkpoint(world: SimpleNamespace, name: str) -> tasks.Checkpoint:
    return replace(world.run.checkpoint("final"), label=name)


def specimen(world: SimpleNamespace, name: str) -> analyses.Specimen:
    model = random_model(0)
    model.cfg.model_name = name
    return analyses.Specimen(model, world.task, {"test_inferred_iid": 0.5, "test_inferred_ood": math.nan}, 1000)


MAKERS: dict[type, Callable[[SimpleNamespace, str], Any]] = {
    tasks.Checkpoint: checkpoint,
    tasks.ComparisonTask: lambda world, name: tasks.ComparisonTask.reasoning(n_entities=30, n_attributes=2, n_levels=4),
    tasks.Donor: lambda world, name: replace(world.donor, prompts={name: world.tokens[0], **world.donor.prompts}),
    TwoHopDonors: lambda world, name: world.donors,
    tasks.Job: lambda world, name: tasks.Job(
        "a", world.task, ModelConfig.tiny(), TrainConfig.tiny(), checkpoint(world, name)
    ),
    KHopTask: lambda world, name: THREE_HOPS,
    tasks.Contrast: lambda world, name: tasks.Contrast((name[:20],)),
    tasks.QuestionDonors: lambda world, name: hop_donors(),
    tasks.KnowledgeGraph: lambda world, name: world.task.graph,
    Manifest: lambda world, name: replace(world.run.manifest, kind=name),
    ModelConfig: lambda world, name: ModelConfig(d_model=64, n_heads=4, n_blocks=2, n_loops=3),
    TRMConfig: lambda world, name: TRMConfig(d_model=64, d_mixer=4, d_mlp=8, n_prefix=3),
    tasks.NewFacts: lambda world, name: tasks.NewFacts.random(world.task, n=5),
    PromptPairs: paired,
    Queries: asked,
    tasks.QuestionTask: own_task,
    Run: run_named,
    Study: lambda world, name: Study(Path(name), {f"{name}-g{graph}": run_named(world, name) for graph in range(200)}),
    Supervision: lambda world, name: tasks.BOTH_HALF,
    TrainConfig: lambda world, name: TrainConfig.small(max_steps=200, clip_norm=math.inf),
    TwoHopTask: lambda world, name: replace(world.task, layout="slots"),
    circuits.ComputationGraph: lambda world, name: hostile.graph(),
    circuits.Diagram: lambda world, name: circuits.draw(hostile.circuit(name)),
    circuits.Edge: lambda world, name: circuits.Edge(*(Node("mlp", NAMES[3], layer=layer) for layer in (0, 1))),
    Node: lambda world, name: Node("head", NAMES[3], layer=0, index=1, input="q"),
    circuits.Step: lambda world, name: circuits.Step("head", 0, 4, reads=tuple(range(99)), sees=(NAMES,) * 4),
    analyses.AttentionView: lambda world, name: analyses.AttentionView("", name),
    analyses.Metric: lambda world, name: analyses.Metric(lambda logits, answers, foils: logits[:, 0], name, name),
    analyses.QueryView: lambda world, name: analyses.QueryView(name, pd.DataFrame(), pd.DataFrame(), ""),
    analyses.Specimen: specimen,
}
"""By class, what makes one that bears a name, as far as it bears any; and what public attributes and functions return."""


def public_classes() -> set[type]:
    """Those that have objects of their own: no errors and no protocols."""
    found = [getattr(module, name) for module in (tasks, circuits, analyses) for name in module.__all__]
    classes = {each for each in found if inspect.isclass(each) and not issubclass(each, BaseException)}
    return {each for each in classes if not getattr(each, "_is_protocol", False)}


def test_each_public_class_has_an_example() -> None:
    missing = {each.__name__ for each in public_classes() - set(MAKERS) if not issubclass(each, Result)}
    assert not missing, f"no row in MAKERS: {', '.join(sorted(missing))}"


@pytest.mark.parametrize("name", ["natural-g1-r0", ODD], ids=["usual", "hostile"])
@pytest.mark.parametrize("kind", MAKERS, ids=lambda kind: kind.__name__)
def test_each_says_in_one_short_line_what_it_is(kind: type, name: str, world: SimpleNamespace) -> None:
    made = MAKERS[kind](world, name)
    said = repr(made)
    assert len(said) <= LONGEST and said.isprintable() and kind.__name__ in said and "incomplete" not in said
    assert not re.search(r"tensor\(|array\(|dtype|0x[0-9a-f]{6}|DataFrame", said)
    assert len(repr([made, {"a": made}])) < 2 * LONGEST + 20
    if hasattr(made, "_repr_html_") and not isinstance(made, EMBEDDED):
        html = made._repr_html_()
        assert html is not None and len(html) < LARGEST_CARD
        assert {each.tag for each in ElementTree.fromstring(html).iter()} <= TAGS
        assert not re.search(r"\son\w+=|https?:|url\(", re.sub(r">[^<]*<", "><", html))  # of tags, not of texts


def test_nouns_have_cards() -> None:
    assert all(hasattr(each, "_repr_html_") for each in (Run, Study, tasks.Checkpoint, TwoHopTask, PromptPairs, Queries))


def test_each_result_says_in_one_line_what_it_is() -> None:
    for name, result in hostile.results():
        said = repr(result)
        if not isinstance(result, circuits.ComparisonSummary):  # which is there to be read, a sentence a line
            assert len(said) <= LONGEST_OF_RESULT and said.isprintable() and type(result).__name__ in said, name
        assert result == replace(result) and hash(result) == hash(replace(result)), name


@pytest.mark.parametrize(
    "kind", [kind for kind in MAKERS if is_dataclass(kind) and kind is not circuits.Diagram], ids=lambda kind: kind.__name__
)
def test_one_that_is_half_made_prints_itself_too(kind: type, world: SimpleNamespace) -> None:
    made, whole = object.__new__(kind), MAKERS[kind](world, "a")
    for each in fields(kind):
        assert len(repr(made)) <= LONGEST
        if hasattr(made, "_repr_html_") and not isinstance(made, EMBEDDED):
            assert made._repr_html_() is None or isinstance(made._repr_html_(), str)
        object.__setattr__(made, each.name, getattr(whole, each.name))
    assert repr(tuple.__new__(Node, ())) == "Node()"


def test_a_run_says_how_far_it_came(world: SimpleNamespace) -> None:
    metrics = pd.concat([world.run.metrics.iloc[:1]] * 12, ignore_index=True).assign(step=range(10, 130, 10))
    metrics = metrics.assign(select_train=1.0, select_test_inferred_iid=0.0, select_test_inferred_ood=0.0)
    config = TrainConfig.tiny(max_steps=300, evaluate_every=10)
    run = replace(world.run, metrics=metrics, train_config=config, folder=Path("a"))
    n = len(run.checkpoints)
    assert repr(run) == f"Run('a', at step 120 of 300, memorised at 10, {n} checkpoints)"
    late = metrics.assign(select_test_inferred_iid=1.0, select_test_inferred_ood=[0.0] * 9 + [1.0] * 3)
    run = replace(run, metrics=late, train_config=replace(config, max_steps=120))
    assert repr(run) == f"Run('a', 120 steps, grokked at 100, {n} checkpoints)" and run.why_not_grokked == []
    taught = replace(run, task=world.task.with_supervision(tasks.BOTH_HOPS))
    assert repr(taught) == f"Run('a', 120 steps, ood_generalised at 100, {n} checkpoints)"
    assert repr(replace(run, metrics=metrics.iloc[:1])).startswith("Run('a', at step 60 of 120, no phase reached")
    assert repr(replace(run, metrics=metrics.iloc[:0])).startswith("Run('a', at step 60 of 120, no phase reached")


def test_cards_show_what_was_measured(world: SimpleNamespace) -> None:
    run, task = world.run, world.task
    html = run._repr_html_()
    assert (
        f"{run.metrics['test_inferred_iid'].iloc[-1]:.2f}" in html and html.count("<path") == 2 + 3 + 3 + len(run.phases) - 1
    )
    counts = re.findall(r'<td class="gs-word">(\w+)</td><td class="gs-word">\w+</td><td>([\d,]+)</td>', task._repr_html_())
    assert {split: int(n.replace(",", "")) for split, n in counts} == {
        split: len(task.split(split)) for split in tasks.SPLITS
    }
    pairs = tasks.make_pairs(task, split="test_inferred_iid", contrast="relation_2", n=6, seed=0)
    row = re.findall(r"<td>(.*?)</td>", pairs._repr_html_())[:3]
    assert row[:2] == [str(token) for token in pairs.clean[0, :2].tolist()]
    assert row[2] == f"{pairs.clean[0, 2]} → {pairs.corrupt[0, 2]}"
    assert "the first 5 of 6" in pairs._repr_html_()


@pytest.mark.parametrize("n", [1, 2, 5000])
def test_curves_keep_their_ends_and_extremes_however_long_they_are(n: int) -> None:
    x = list(range(1, n + 1))
    y = [0.5] * n
    y[n // 2], y[-1] = math.nan, 0.25
    y[n // 3] = 1.0
    drawn = curves([Curve("a", "red", "none", x, y)], {"b": n}, x_label="step")
    assert len(drawn) < 6000 and "nan" not in drawn
    heights = [float(each) for each in re.findall(r"[ML][\d.]+ ([\d.]+)", re.findall(r'd="(M[^"]*)" fill', drawn)[0])]
    known = [value for value in y if not math.isnan(value)]
    assert (heights[0] - heights[-1]) * (known[-1] - known[0]) >= 0
    assert min(heights) == 6 + 80 * (1 - max(known)) and heights[-1] == 6 + 80 * (1 - known[-1])
    assert curves([], {}, x_label="step") == ""


CONFIGS = [
    (ModelConfig.small(), "ModelConfig.small()"),
    (
        ModelConfig(d_model=128, n_heads=1, n_blocks=1, n_loops=2),
        "ModelConfig(d_model=128, n_heads=1, n_blocks=1, n_loops=2)",
    ),
    (TRMConfig.small(), "TRMConfig.small()"),
    (TRMConfig(d_model=8, d_mixer=4, d_mlp=8), "TRMConfig(d_model=8, d_mixer=4, d_mlp=8)"),
    (TrainConfig.small(max_steps=200), "TrainConfig.small(max_steps=200)"),
    (TrainConfig(max_steps=200), "TrainConfig(max_steps=200)"),
    (TrainConfig.paper(), "TrainConfig.paper()"),
    (TrainConfig.tiny(clip_norm=math.inf), "TrainConfig.tiny(clip_norm=math.inf)"),
    (tasks.NATURAL, "Supervision()"),
    (tasks.FIRST_HOP, "Supervision(hop1_share=1.0, hop1_compositions=18)"),
]


@pytest.mark.parametrize(("config", "said"), CONFIGS, ids=[said for _, said in CONFIGS])
def test_settings_print_the_shortest_call_that_makes_them(config: object, said: str) -> None:
    assert repr(config) == said


@pytest.mark.parametrize("seed", range(5))
def test_what_settings_print_makes_them_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    presets = [getattr(kind, name)() for kind in (ModelConfig, TrainConfig) for name in ("tiny", "small", "paper")]
    presets += [getattr(TRMConfig, name)() for name in ("tiny", "small", "published")]
    for config in (*presets, Supervision()):
        names = [each.name for each in fields(config)]
        for name in rng.permutation(names)[: int(rng.integers(3))]:
            value = getattr(config, name)
            other = {bool: not value, float: 0.25, str: value}.get(type(value))
            other = value * 4 if type(value) is int else (0.5, 0.75) if type(value) is tuple else other
            config = replace(config, **{name: other})
        kinds = {kind.__name__: kind for kind in (ModelConfig, TRMConfig, TrainConfig, Supervision)}
        made = eval(repr(config), {**kinds, "math": math})
        assert made == config


def test_equal_are_those_that_hold_the_same(world: SimpleNamespace) -> None:
    run, task = world.run, world.task
    again = Run.load(run.folder)
    pairs, others = (tasks.make_pairs(task, split="test_inferred_iid", contrast="bridge", n=6, seed=seed) for seed in (0, 1))
    backwards = torch.arange(5, -1, -1)
    alike: list[tuple[Any, Any, Any]] = [
        (run, again, replace(run, metrics=run.metrics.assign(loss=0.5))),
        (run.task, again.task, replace(task, seed=task.seed + 1)),
        (task.graph, again.task.graph, tasks.KnowledgeGraph(24, 14, *(np.zeros(1, dtype=int),) * 3)),
        (run.checkpoint("final"), again.checkpoint(60), run.checkpoints[0]),
        (Study(Path("a"), {"b": run}), Study(Path("a"), {"b": again}), Study(Path("a"), {"c": run})),
        (pairs, pairs[backwards][backwards], others),
        (pairs, pairs[:], pairs[backwards]),
        (pairs.queries(), pairs.queries(), replace(pairs.queries(), answers=pairs.foils)),
        (
            tasks.NewFacts.random(task, n=5, seed=0),
            tasks.NewFacts.random(task, n=5, seed=0),
            tasks.NewFacts.random(task, n=5, seed=1),
        ),
        (circuits.Result.from_json(hostile.circuit().to_json()), hostile.circuit(), hostile.circuit("a")),
        (analyses.summarise_run(run), analyses.summarise_run(again), 3),
    ]
    for one, same_one, other in alike:
        assert isinstance(one, ByContent) and one is not same_one
        assert one == same_one and hash(one) == hash(same_one) and one in [other, same_one]
        assert one != other and one is not None and one != "a" and {one: 1}[same_one] == 1


def test_numbers_that_are_none_are_the_same() -> None:
    nan = float("nan")
    assert same({"a": [nan, np.array([nan])]}, {"a": [float("nan"), np.array([nan])]}) and not same(nan, 1.0)
    assert not same(torch.zeros(2), torch.zeros(3)) and not same([1], (1,)) and not same({"a": 1}, {"b": 1})
    assert same(pd.DataFrame({"a": [nan]}), pd.DataFrame({"a": [nan]})) and not same(np.zeros(2), torch.zeros(2))


def test_rows_are_taken_in_brackets_and_one_by_one(world: SimpleNamespace) -> None:
    for rows in (asked(world, "a"), paired(world, "a")):
        first = "tokens" if isinstance(rows, Queries) else "clean"
        assert [len(each) for each in rows] == [1] * len(rows) and len(rows[:10]) == 10 and len(rows[::-2]) == len(rows) // 2
        assert torch.equal(torch.cat([getattr(each, first) for each in rows]), world.tokens)
        assert torch.equal(getattr(rows[-1], first), world.tokens[-1:]) and len(rows[torch.arange(24) > 20]) == 3
        assert rows[2] == rows[np.int64(2)] == rows[torch.tensor([2])] and len(rows[:0]) == 0 and rows[5] in list(rows)
        for wrong in (24, -25):
            with pytest.raises(IndexError, match=f"no row {wrong}; there are 24, counted from 0"):
                rows[wrong]


def test_a_study_counts_and_names_its_runs_and_a_run_its_checkpoints(world: SimpleNamespace) -> None:
    study = Study(Path("a"), {"natural-g1-r0": world.run, "natural-g1-r1": world.run, "both": world.run})
    assert len(study) == 3 and list(study) == [*study.runs] and "both" in study and "natural" not in study
    assert study["both"] is world.run and study.arms == ["natural", "both"]
    assert repr(study) == "Study('a', 3 runs, 2 arms, 1 graph, 0 ood_generalised)"
    with pytest.raises(KeyError, match="no run 'natural-g1-r3' in a; there are natural-g1-r"):
        study["natural-g1-r3"]
    assert [each.step for each in world.run.checkpoints] == world.run.steps
    assert not len(Study(Path("a"), {})) and "0 runs" in repr(Study(Path("a"), {}))
    assert Study(Path("a"), {})._repr_html_() is not None
