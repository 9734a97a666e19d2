"""Write diagrams of the shipped pilot: two checkpoints side by side, and the natural run step by step.

python examples/diagrams.py --out diagrams
python examples/diagrams.py --pictures docs/pictures   # and pictures of them; needs chromium and playwright (tests)
"""

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from grokscope import analyses, circuits, tasks
from grokscope.circuits.arguments import refuse
from grokscope.circuits.command import run_command
from grokscope.circuits.destination import folder_problems

SPLIT = "test_inferred_iid"
SIZE = {"width": 1280, "height": 760}
READY = "!!document.querySelector('.grokscope').grokscope"
API = "document.querySelector('.grokscope').grokscope"
TRACED = "MLP0@r1 -> L2H0.v@r1"
PICTURES: dict[str, tuple[str, dict[str, Any], str]] = {  # by name: page, what is seen, colours
    "diagram_pair": ("pair.html", {}, "light"),
    "diagram_traced": ("pair.html", {"selected": [TRACED]}, "light"),
    "diagram_difference": ("pair.html", {"view": "difference"}, "light"),
    "diagram_weights": ("pair.html", {"weights": True, "list": ""}, "light"),
    "diagram_steps": ("steps.html", {"multiples": True}, "dark"),
}


def main(
    out: Annotated[Path, typer.Option(help="folder for the pages")] = Path("diagrams"),
    n: Annotated[int, typer.Option(help="pairs asked for")] = 256,
    pictures: Annotated[Path | None, typer.Option(help="folder for pictures of the pages")] = None,
) -> None:
    """Measure the circuits and write the pages."""
    refuse(folder_problems(out=out))
    run = tasks.load_study("pilot").runs["natural"]
    models = {"early": run.checkpoint("id_generalised").model(), "grokked": run.checkpoint("grokked").model()}
    pairs = tasks.make_pairs(run.task, split=SPLIT, contrast="bridge", n=n, seed=0).keep_correct(*models.values())
    chosen_on, judged_on = pairs.halves()
    found = {name: analyses.discover(model, chosen_on) for name, model in models.items()}
    shown: dict[str, Any] = {
        "lens": {name: analyses.logit_lens(model, run.task.split(SPLIT)) for name, model in models.items()},
        "faithfulness": {name: analyses.faithfulness(model, found[name], judged_on) for name, model in models.items()},
        "queries": {
            name: analyses.query_details(model, chosen_on, token_names=run.task.token_name) for name, model in models.items()
        },
    }
    typer.echo(circuits.draw(found, **shown).save(out / "pair.html"))
    steps = analyses.trajectory(run, chosen_on, judged_on=judged_on).circuits
    typer.echo(circuits.draw(steps, lens=analyses.logit_lens(run, run.task.split(SPLIT))).save(out / "steps.html"))
    if pictures:
        take_pictures(out, pictures)


def take_pictures(pages: Path, folder: Path) -> None:
    """Open the pages in a browser and write what is seen in its window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name, (page_file, state, scheme) in PICTURES.items():
            page = browser.new_page(viewport=SIZE, color_scheme=scheme)  # pyright: ignore[reportArgumentType]
            page.goto((pages / page_file).resolve().as_uri())
            while not page.evaluate(READY):
                page.wait_for_timeout(20)
            page.evaluate(f"state => {API}.set(state)", state)
            page.screenshot(path=folder / f"{name}.png")
            typer.echo(folder / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    run_command(main, stopped="stopped before all pages were written")
