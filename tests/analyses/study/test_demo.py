"""The main job on a small graph, and the README as a stranger would follow it."""

import dataclasses
import html
import json
import re
import runpy
import subprocess
import sys
from math import nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from wording import problems

from grokscope import analyses, tasks
from grokscope.analyses.study.compared import headline, lead
from grokscope.analyses.study.demo import main, run_demo
from grokscope.analyses.study.demo_report import accuracy_table, faithfulness_table, summary

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `demo --quick` was run; its words are in demo.log."""
    folder = tmp_path_factory.mktemp("quick")
    command = [sys.executable, "-m", "grokscope.analyses.demo", "--quick", "--out", "demo"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (folder / "demo.log").write_text(done.stdout)
    return folder


def test_the_quick_demo_trains_both_arms_to_their_phase(quick: Path) -> None:
    natural, both = (tasks.Run.load(quick / "demo" / arm) for arm in ("natural", "both_hops"))
    assert natural.task.graph.triples == both.task.graph.triples and natural.task.regime == "natural"
    assert natural.checkpoint("id_generalised").accuracy["test_inferred_iid"] > 0.95
    assert both.checkpoint("ood_generalised").accuracy["test_inferred_ood"] > 0.85
    assert natural.checkpoint("id_generalised").accuracy["test_inferred_ood"] < 0.5


def test_the_quick_demo_says_ten_lines_with_their_n(quick: Path) -> None:
    lines = (quick / "demo.log").read_text().strip().split("\n")
    assert len(lines) == 10 and lines[-1] == "report: demo/report.html"
    assert all(re.search(r"n = \d+|\d+ of \d+|of \d+ asked|seed \d|on \d+ pairs", line) for line in lines[:-1])


def test_the_report_is_one_page_without_network(quick: Path) -> None:
    page = (quick / "demo" / "report.html").read_text()
    outside_scripts = re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"https?:|<link|<script[^>]+src=", outside_scripts)
    assert page.count('id="plotly-packed"') == 1 and len(page) < 3_000_000
    for heading in ("Accuracy by training step", "Where bridge and answer can be read", "Do the circuits do the work?"):
        assert f">{heading}</h2>" in page
    assert problems(page) == []
    drawn = set(re.findall(r'data-edge="embed@h -&gt; (L0H0\.v@h)"', page))
    assert drawn == {"L0H0.v@h"}


def test_the_page_opens_with_its_result_and_the_circuits_and_folds_tables(quick: Path) -> None:
    page = re.sub(r"<(script|style)\b.*?</\1>", "", (quick / "demo" / "report.html").read_text(), flags=re.DOTALL)
    title = re.search(r"<h1>(.*?)</h1>", page)
    assert title and re.search(r"distance is 0\.\d\d \(95 % interval \[0\.\d\d, 0\.\d\d\], n = \d+ questions\)", title[1])
    opening = page[title.end() : page.index('<figure class="shown">')]
    assert not re.search(r"<(h2|ul|nav|table)\b", opening)
    for term in ("the bridge, the entity in between", "“natural” was", "“both hops” was", "OOD (out-of-distribution)"):
        assert term in opening
    unfolded = re.sub(r'<details class="fold">.*?</details>(?!</div>)', "", page, flags=re.DOTALL)
    assert "<ul>" not in unfolded and '<div class="table">' not in unfolded
    assert page.rstrip().index("All numbers of this run") > page.rindex("<h2")
    said = set((quick / "demo.log").read_text().strip().split("\n")[:-1])
    assert said <= {html.unescape(line) for line in re.findall(r"<li>(.*?)</li>", page)}


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("verdict", "low", "distance", "says"),
    [
        (
            "different",
            0.5,
            0.55,
            "The two circuits differ: their distance is 0.55 (95 % interval [0.50, 0.60], n = 9 questions)",
        ),
        ("same", nan, 0.0, "The two circuits are the same: their distance is 0.00 (n = 9 questions)"),
        ("undecided", nan, nan, "No sure difference between the two circuits: no effect"),
    ],
)
def test_the_headline_says_how_far_apart_and_how_sure(verdict: str, low: float, distance: float, says: str) -> None:
    row = {"verdict": verdict, "distance": distance, "low": low, "high": low + 0.1, "reason": "no effect", "halves": nan}
    summary = SimpleNamespace(table=pd.DataFrame([row | {"n": 9, "n_units": 3}]))
    found: Any = SimpleNamespace(summary=lambda: summary)
    assert headline(found) == says
    assert ("over 3 facts" in lead(found)) == (low == low) and "nan" not in lead(found)


QUICK_TASK = {"n_entities": 40, "n_relations": 20, "out_degree": 14, "test_fraction": 0.05, "seed": 0}
QUICK = {"model_config": dataclasses.replace(tasks.ModelConfig.small(), n_loops=2), "max_steps": 5000, "progress": False}


@pytest.mark.slow
def test_a_second_call_trains_nothing_again_and_its_tables_are_sound(quick: Path) -> None:
    task = tasks.TwoHopTask.random(**QUICK_TASK)
    before = {path: path.stat().st_mtime_ns for path in (quick / "demo").rglob("*.safetensors")}
    demo = run_demo(task, quick / "demo", **QUICK)
    assert {path: path.stat().st_mtime_ns for path in (quick / "demo").rglob("*.safetensors")} == before
    assert [*summary(demo)] == (quick / "demo.log").read_text().strip().split("\n")[:-1]
    table = accuracy_table(demo)
    assert (table["low"] <= table["exact match"]).all() and (table["exact match"] <= table["high"]).all()
    assert (table["n"] > 0).all() and len(table) == 2 * len(tasks.SPLITS)
    assert faithfulness_table(demo)["n"].tolist() == [len(demo.judged_on)] * 2
    with pytest.raises(
        ValueError,
        match=r"other settings, in .*: max_steps is 5000 there, 200 was asked for; choose another folder",
    ):
        run_demo(task, quick / "demo", **{**QUICK, "max_steps": 200})


@pytest.mark.slow
def test_the_command_line_takes_a_folder_in_the_published_format(quick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The shipped folder holds the quick demo's task, so its finished runs are taken; the report is written again."""
    (quick / "demo" / "report.html").unlink()
    main(data=ROOT / "examples" / "data", out=quick / "demo", quick=True)
    assert capsys.readouterr().out.split("\n")[:-2] == (quick / "demo.log").read_text().strip().split("\n")[:-1]
    assert (quick / "demo" / "report.html").stat().st_size > 1_000_000
    with pytest.raises(FileNotFoundError, match=r"lacks vocab.json, id_facts.json"):
        main(data=quick)


def test_where_nothing_is_learned_the_demo_says_that_there_is_nothing_to_compare(tmp_path: Path) -> None:
    settings = {**QUICK, "model_config": tasks.ModelConfig.tiny(), "max_steps": 2}
    with pytest.raises(ValueError, match=r"none of the .* pairs is answered correctly on both sides by all 2 models"):
        run_demo(tasks.TwoHopTask.random(**QUICK_TASK), tmp_path, **settings)
    assert len(tasks.Run.load(tmp_path / "both_hops").metrics) == 1


def test_the_shipped_data_folder_is_what_to_files_writes(tmp_path: Path) -> None:
    task = runpy.run_path(str(ROOT / "examples" / "published_format.py"))["main"](tmp_path)
    for path in (ROOT / "examples" / "data").glob("[!.]*.json"):
        there, here = path.read_text(), (tmp_path / path.name).read_text()
        is_side = path.name == "grokscope.json"  # which names the version that wrote it
        assert json.loads(there)["content"] == json.loads(here)["content"] if is_side else there == here
    assert task.key == tasks.TwoHopTask.from_files(ROOT / "examples" / "data").key


@pytest.mark.slow
def test_the_benchmark_of_a_step_compares_the_same_examples() -> None:
    benchmark = runpy.run_path(str(ROOT / "examples" / "benchmarks" / "fast_step.py"))
    table = benchmark["main"](n_rounds=1, widths=(16,), loops=(1,))
    assert len(table) == 3 and (table.filter(regex=r"fast|own") > 0).all(axis=None)
    task = tasks.TwoHopTask.random(seed=0)
    batches = {size: benchmark["examples_of_a_batch"](task, 640, size) for size in (1, 4, 16)}
    n_prefixes = [len(batch.tokens[:, :2].unique(dim=0)) for batch in batches.values()]
    assert all(len(batch.tokens) == 640 for batch in batches.values())
    assert n_prefixes[0] > 400 > 320 >= n_prefixes[1] > 80 >= n_prefixes[2]  # a group holds one prefix, or parts of two


def test_every_public_analysis_is_reachable() -> None:
    assert all(hasattr(analyses, name) for name in analyses.__all__)


@pytest.mark.slow
def test_the_default_graph_reaches_the_phases_of_the_demo(tmp_path: Path) -> None:
    """Full size, about five minutes on two cores: what docs/explanation/demo.md reports."""
    demo = run_demo(
        tasks.TwoHopTask.random(seed=0), tmp_path, model_config=tasks.ModelConfig.small(), max_steps=5000, progress=False
    )
    assert "id_generalised" in demo.runs["natural"].phases and "ood_generalised" in demo.runs["both hops"].phases
    assert demo.checkpoints["natural"].accuracy["test_inferred_iid"] >= 0.97
    assert demo.checkpoints["both hops"].accuracy["test_inferred_ood"] >= 0.85
    for result in demo.judged.values():
        assert result.faithfulness > 0.6 and result.p_value < 0.05
