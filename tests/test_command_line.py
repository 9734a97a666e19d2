"""`grokscope …`: what it says is what the library says, and each end has its exit code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import grokscope
from grokscope import analyses, circuits, tasks
from grokscope.__main__ import COMMANDS, command_line
from grokscope.analyses.study.compare_command import opened_checkpoint
from grokscope.tasks.runs.study import SHIPPED

EARLY, GROKKED = "pilot/natural@id_generalised", "pilot/natural@10700"
N_PAIRS = 48


def call(*arguments: str | Path) -> Result:
    words = [str(each) for each in arguments]
    return CliRunner().invoke(command_line(words), words, env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder where two checkpoints were compared, and what was said."""
    folder = tmp_path_factory.mktemp("compared")
    given = ("--save", folder / "circuits", "--n-pairs", str(N_PAIRS), "--json")
    done = call("compare", EARLY, GROKKED, "-o", folder / "page.html", *given)
    assert done.exit_code == 0, done.output
    return folder, json.loads(done.stdout)


def test_help_lists_every_command_and_each_has_examples() -> None:
    listed = call("--help").output
    assert all(name in listed and command.help.split(".")[0] in listed for name, command in COMMANDS.items())
    for name in COMMANDS:
        assert f"grokscope {name} " in call(name, "--help").output, f"{name} shows no example"
    assert call("--version").output.strip() == grokscope.__version__


def test_what_compare_says_is_what_the_library_measures(compared: tuple[Path, dict[str, Any]]) -> None:
    folder, said = compared
    checkpoints = dict(zip("ab", (opened_checkpoint(EARLY), opened_checkpoint(GROKKED)), strict=True))
    models = {f"step {checkpoint.step:,}": checkpoint.model() for _, checkpoint in checkpoints.values()}
    task = checkpoints["a"][0].task
    pairs = tasks.make_pairs(task, split="test_inferred_iid", contrast="bridge", n=N_PAIRS, seed=0)
    chosen_on, judged_on = pairs.keep_correct(*models.values()).halves()
    found = {label: analyses.discover(model, chosen_on, progress=False) for label, model in models.items()}
    summary = circuits.compare(found, progress=False).summary()
    assert said["sentences"] == list(summary.sentences) and said["compared"][0]["verdict"] == summary.table["verdict"][0]
    assert said["compared"][0]["distance"] == pytest.approx(summary.table["distance"][0])
    for label, model in models.items():
        judged = analyses.faithfulness(model, found[label], judged_on, progress=False)
        assert said["judged"][label]["faithfulness"] == pytest.approx(judged.faithfulness)
    page = (folder / "page.html").read_text()
    assert said["page"] == str(folder / "page.html") and "data-edge" in page and "<h1>The two circuits differ" in page
    assert said["edges"] == json.loads(circuits.compare(found, progress=False).differences.to_json(orient="records"))
    saved = [circuits.Circuit.load(each) for each in said["circuits"]]
    assert [each.kept_edges for each in saved] == [each.kept_edges for each in found.values()]


def test_circuits_are_drawn_without_torch(compared: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    files, page = compared[1]["circuits"], tmp_path / "two.html"
    code = (
        "import sys\nfrom grokscope.__main__ import command_line\n"
        f"arguments = ['draw', *{files!r}, '-o', {str(page)!r}, '--label', 'one', '--label', 'two']\n"
        "command_line(arguments)(arguments, standalone_mode=False)\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    drawn = {name: circuits.Circuit.load(file) for name, file in zip(("one", "two"), files, strict=True)}
    assert page.read_text() == circuits.draw(drawn).save(tmp_path / "ours.html").read_text()


def test_circuits_of_a_folder_are_drawn_by_step(compared: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    assert call("draw", compared[0] / "circuits", "-o", tmp_path / "page.html").exit_code == 0
    assert "step_900 / step_10700" in (tmp_path / "page.html").read_text()


def test_info_says_what_things_are(compared: tuple[Path, dict[str, Any]]) -> None:
    circuit = compared[1]["circuits"][0]
    told = json.loads(call("info", circuit, "--json").stdout)
    assert told["kind"] == "Circuit" and told["format"] == 3 and told["written by"] == grokscope.__version__
    assert dict(circuits.Circuit.load(circuit).explain()).items() <= told.items()
    run = SHIPPED / "pilot" / "natural"
    assert json.loads(call("info", run, "--json").stdout)["phases"] == tasks.Run.load(run).phases
    weights = tasks.Run.load(run).checkpoint(10700)
    assert json.loads(call("info", weights.path, "--json").stdout)["step"] == 10700
    assert "natural" in json.loads(call("info", run.parent, "--json").stdout)["runs"]
    assert json.loads(call("info", "pilot/natural", "--json").stdout)["phases"] == tasks.Run.load(run).phases
    assert "page" in call("info", compared[0] / "page.html").output
    assert list(json.loads(call("info", compared[0] / "circuits", "--json").stdout)["files"]) == [
        "step_10700.json",
        "step_900.json",
    ]
    data = json.loads(call("info", SHIPPED.parent / "data", "--json").stdout)
    assert data["splits"]["test_inferred_iid"] == len(
        tasks.TwoHopTask.from_files(SHIPPED.parent / "data").split("test_inferred_iid")
    )


def test_a_run_is_trained_and_trained_longer(tmp_path: Path) -> None:
    first = call(
        "train", "-o", tmp_path / "run", "--size", "tiny", "--max-steps", "100", "--supervision", "both_hops", "--json"
    )
    assert first.exit_code == 0 and json.loads(first.stdout)["phases"] == {"final": 100}
    assert tasks.Run.load(tmp_path / "run").task.regime == "both_hops"
    again = call("train", "-o", tmp_path / "run", "--size", "tiny", "--max-steps", "200", "--supervision", "both_hops")
    assert again.exit_code == 1 and "holds a run already" in again.stderr
    longer = call(
        "train", "-o", tmp_path / "run", "--size", "tiny", "--max-steps", "200", "--supervision", "both_hops", "--resume"
    )
    assert longer.exit_code == 0 and "final at 200" in longer.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nonsense",), 2, "nonsense"),
        (("compare", "--nonsense"), 2, "nonsense"),
        (("compare", EARLY), 1, "two checkpoints or more, got 1"),
        (("compare", EARLY, GROKKED, "--label", "a"), 1, "2 checkpoints and 1 labels"),
        (("compare", EARLY, GROKKED, "-o", "page.svg"), 1, "needed is a file that ends in .html"),
        (("compare", "pilot/naturl", GROKKED), 1, "pilot has no run 'naturl'; its runs: both_hops"),
        (("compare", "pilot", GROKKED), 1, "pilot is a study; name one of its runs"),
        (
            ("compare", EARLY, "pilot/untied"),
            1,
            "n_blocks 4, n_loops 1 against n_layers 4",
        ),
        (("compare", EARLY, "pilot/natural@nonsense"), 1, "no checkpoint 'nonsense'; phases reached"),
        (("compare", EARLY, "nonsense@final"), 1, "nonsense is no complete run"),
        (("compare", EARLY, EARLY), 1, "is given twice"),
        (("compare", EARLY, "study/natural-g1-r0@final"), 1, "was trained on another knowledge graph than natural"),
        (("compare", EARLY, GROKKED, "--split", "nonsense"), 1, "split must be one of"),
        (("draw", "nonsense.json"), 1, "nonsense.json"),
        (("draw", "a.json", "a.json"), 1, "a.json: there is no such file"),
        (("draw", "a.json", "--label", "x", "--label", "y"), 1, "1 circuits and 2 labels"),
        (("draw", "."), 1, "no circuit in the folder"),
        (("train", "-o", "run", "--supervision", "nonsense"), 1, "supervision must be one of"),
        (("train",), 2, "--out"),
        (("info", "nonsense"), 1, "no such file or folder"),
        (("info", Path(__file__)), 1, "none of the files that grokscope writes"),
        (("info", "."), 1, "holds no run, no study, no results"),
    ],
)
def test_what_is_refused_ends_with_a_line_and_a_code(
    arguments: tuple[str | Path, ...], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == code and said in " ".join(done.stderr.split()), done.output
    assert not list(tmp_path.iterdir())
