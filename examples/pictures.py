"""Make the pictures of the documentation, those that shipped runs are enough for.

python examples/pictures.py                     # all, into docs/pictures: five minutes; needs chromium, playwright (tests)
python examples/pictures.py study evidence      # some
python examples/pictures.py --run runs/pilot/natural growth evidence_by_step   # with a run that examples/pilot.py trained

Others are made by `diagrams.py` and `composition_numbers.py` here, with `--pictures docs/pictures`.
"""

import shutil
from collections.abc import Callable
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import plotly.graph_objects as go
import typer

from grokscope import analyses, circuits, tasks
from grokscope.analyses.claims import same_path
from grokscope.analyses.plots.study import transfer_comparison
from grokscope.analyses.study.published import published_transfer, published_transfer_largest, transfer_curves
from grokscope.circuits.arguments import refuse
from grokscope.circuits.command import run_command
from grokscope.circuits.destination import folder_problems

ID, OOD = "test_inferred_iid", "test_inferred_ood"
ORIGINS = ("random", "early", "grokked", "taught", "second_hop")


def checkpoint_of(study: str, run: str, phase: str) -> tasks.Checkpoint:
    """One of a shipped study."""
    return tasks.load_study(study).runs[run].checkpoint(phase)


def study_figure() -> go.Figure:
    """Accuracy by step, a panel for each arm."""
    return tasks.load_study().figure()


def transfer_figure() -> go.Figure:
    """Questions about new facts, the study above and the paper below."""
    curves, theirs = (
        transfer_curves(tasks.load_study("study/transfer")),
        (published_transfer(), published_transfer_largest()),
    )
    return transfer_comparison(
        curves, *theirs, arms=ORIGINS, title="Questions about new facts: this study above, He et al. below"
    )


def evidence_figure(study: str, run: str, phase: str, split: str) -> go.Figure:
    """Where the bridge is read and used in a checkpoint."""
    checkpoint = checkpoint_of(study, run, phase)
    return analyses.bridge_evidence(checkpoint.model(), checkpoint.task, split, n=512, progress=False).figure()


def models_of(study: str, moments: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Models by label."""
    return {label: checkpoint_of(study, *moment).model() for label, moment in moments.items()}


def pairs_of(study: str, run: str, n: int) -> tasks.PromptPairs:
    """Pairs that differ in the bridge, on the graph of a run."""
    return tasks.make_pairs(tasks.load_study(study).runs[run].task, split=ID, contrast="bridge", n=n, seed=0)


def pilot_circuits() -> circuits.Diagram:
    """Three of those that `compare_circuits.py` finds, on its pairs: the natural run early and late, and both hops late."""
    moments = {"natural, early": ("natural", "id_generalised"), "natural, late": ("natural", "final")}
    moments |= {each: (each, "final") for each in ("first_hop", "second_hop")} | {"both hops": ("both_hops", "final")}
    models = models_of("pilot", moments)
    pairs = pairs_of("pilot", "natural", 512).keep_correct(*models.values()).halves()[0]
    shown = ("natural, early", "natural, late", "both hops")
    return circuits.draw({name: analyses.discover(models[name], pairs, progress=False) for name in shown})


def claim_circuits() -> circuits.Diagram:
    """Graph 1, on the questions that all models of claim (i) answer: early, grokked, and taught."""
    arms = analyses.study_arms(tasks.load_study(), same_path.ARMS)[1]
    models = {name: specimen.model for name, specimen in arms.items()}
    pairs = pairs_of("study", "natural-g1-r0", 256).keep_correct(*models.values())
    shown = {"early": "early", "grokked": "grokked", "taught": "early taught"}
    return circuits.draw({label: analyses.discover(models[name], pairs, progress=False) for label, name in shown.items()})


def trm_circuits() -> circuits.Diagram:
    """Two trainings of the token-mixing network, by replay, each on the questions that it answers."""
    moments = {
        "second hop, step 11,800": ("second_hop-g1-r0", "ood_generalised"),
        "natural, step 30,000": ("natural-g1-r0", "final"),
    }
    pairs, found = pairs_of("trm", "natural-g1-r0", 128), {}
    for label, model in models_of("trm", moments).items():
        found[label] = analyses.discover(model, pairs.keep_correct(model), top_k=40, progress=False)
    return circuits.draw(found, despite=("pairs",))


MADE: dict[str, Callable[[], Any]] = {
    "study": study_figure,
    "claim_transfer": transfer_figure,
    "evidence": lambda: evidence_figure("pilot", "natural", "final", OOD),
    "trm_natural": lambda: evidence_figure("trm", "natural-g1-r0", "final", ID),
    "trm_second_hop": lambda: evidence_figure("trm", "second_hop-g1-r0", "ood_generalised", OOD),
    "circuits": pilot_circuits,
    "claim_circuits": claim_circuits,
    "trm_circuits": trm_circuits,
}


def of_run(run: tasks.Run) -> dict[str, Any]:
    """What takes more checkpoints of the pilot's natural run than are shipped."""
    pairs = tasks.make_pairs(run.task, split=ID, contrast="bridge", n=512, seed=0)
    chosen_on, judged_on = pairs.keep_correct(run.checkpoint("id_generalised").model()).halves()
    return {
        "evidence_by_step": lambda: analyses.bridge_evidence(run, run.task, ID).figure(),
        "growth": lambda: analyses.trajectory(run, chosen_on, judged_on=judged_on).figure(),
    }


STYLE = (
    "text{font:14px system-ui,sans-serif;text-anchor:middle;fill:#1b1b1b}rect{fill:#fff;stroke:#767676}"
    "path{fill:none;stroke:#9a9a9a;stroke-width:2}.patched{stroke:#d55e00;stroke-width:4}"
    "text.say{text-anchor:start}text.key{fill:#d55e00}"
)
SAYS = (("key", "MLP0@r1 -> L1H0.v@r1"), ("", "this term from the corrupt run,"), ("", "all others from the clean one"))
SENDERS, READERS = ("embed@r1", "L0H0@r1", "MLP0@r1"), ("L1H0.q@r1", "L1H0.v@r1", "MLP1@r1")


def edge_picture() -> str:
    """What patching one edge replaces: one term of the sum that one input reads."""
    heights = [48 + 60 * i for i in range(3)]
    lines = [_line(start, end, "") for start in heights for end in heights] + [_line(heights[2], heights[1], "patched")]
    boxes = [_box(20, y, name) for y, name in zip(heights, SENDERS, strict=True)]
    boxes += [_box(300, y, name) for y, name in zip(heights, READERS, strict=True)]
    words = [
        f'<text class="say {kind}" x="440" y="{92 + 22 * i}">{escape(text)}</text>' for i, (kind, text) in enumerate(SAYS)
    ]
    size = 'viewBox="0 0 680 216" width="680" height="216"'
    drawn = ['<rect width="680" height="216" style="stroke:none"/>', *lines, *boxes, *words]
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>{"".join(drawn)}</svg>\n'


def _line(start: int, end: int, kind: str) -> str:
    return f'<path class="{kind}" d="M130 {start} C 215 {start} 215 {end} 300 {end}"/>'


def _box(x: int, y: int, name: str) -> str:
    return f'<rect x="{x}" y="{y - 18}" width="110" height="36" rx="6"/><text x="{x + 55}" y="{y + 5}">{name}</text>'


def take(shown: Any, path: Path, browser: Any, folder: Path) -> None:
    """Write what a browser shows of a figure, or of a diagram without scripts: its still picture."""
    page_file, is_diagram = folder / f"{path.stem}.html", isinstance(shown, circuits.Diagram)
    shown.save(page_file) if is_diagram else shown.write_html(page_file, include_plotlyjs=True)
    page = browser.new_page(viewport={"width": 1320, "height": 1100}, java_script_enabled=not is_diagram)
    page.goto(page_file.as_uri())
    page.wait_for_timeout(1500)
    page.locator(".grokscope" if is_diagram else ".plotly-graph-div").first.screenshot(path=path)
    page.close()


def main(
    names: Annotated[list[str] | None, typer.Argument(help="all if not given")] = None,
    out: Annotated[Path, typer.Option(help="folder for the pictures")] = Path("docs/pictures"),
    run: Annotated[Path | None, typer.Option(help="a training of the pilot's natural run with all its checkpoints")] = None,
) -> None:
    """Make pictures."""
    refuse(folder_problems(out=out))
    from playwright.sync_api import sync_playwright

    out.mkdir(parents=True, exist_ok=True)
    made = MADE | (of_run(tasks.Run.load(run)) if run else {})
    (out / "edge.svg").write_text(edge_picture(), encoding="utf-8")
    with sync_playwright() as playwright, TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name in names or made:
            take(made[name](), out / f"{name}.png", browser, Path(folder))
            typer.echo(out / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    run_command(main, stopped="stopped; pictures that were named have been made")
