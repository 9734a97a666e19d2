"""`grokscope`, or `python -m grokscope`: the library's main jobs from a shell.

A command is imported when it is asked for, so that help is there at once and `draw` needs no torch.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, NamedTuple

import typer

from grokscope import __version__
from grokscope.circuits.command import ending_with_a_line


class Command(NamedTuple):
    """Where a command's function is, what it does in a line, and what is said if it is stopped."""

    module: str
    help: str
    stopped: str


COMMANDS = {
    "demo": Command(
        "analyses.study.demo",
        "Train two regimes on one graph, compare their circuits, write a report.",
        "stopped; trainings are kept, and the same command goes on with them",
    ),
    "study": Command(
        "analyses.study.run",
        "Decide the paper's claims on studies, and write one report.",
        "stopped; what was measured is kept, and the same command goes on",
    ),
    "train": Command(
        "tasks.training.train_command",
        "Train one model on two-hop questions.",
        "stopped; the same command with --resume goes on",
    ),
    "compare": Command(
        "analyses.study.compare_command",
        "Find the circuits of two checkpoints, and say whether they differ.",
        "stopped; nothing was written",
    ),
    "draw": Command(
        "circuits.draw_command", "Draw saved circuits on one page. Needs no torch.", "stopped; nothing was written"
    ),
    "info": Command("info", "Say what a file or folder is, and what it holds.", "stopped"),
}


def command_line(arguments: Sequence[str]) -> typer.Typer:
    """All commands, of which the one that is asked for is imported; of the others only the line for the list is there."""
    asked = next((each for each in arguments if not each.startswith("-")), None)
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_show_locals=False)
    app.callback()(_about)
    for name, command in COMMANDS.items():
        if name == asked:
            main = import_module(f"grokscope.{command.module}").main
            app.command(name)(ending_with_a_line(main, stopped=command.stopped))
        else:
            app.command(name, help=command.help)(_not_imported)
    return app


def _say_version(asked: bool) -> bool:
    if asked:
        typer.echo(__version__)
        raise typer.Exit
    return asked


def _about(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    """Do these checkpoints take the same path, and how sure is that? COMMAND --help has examples."""


def _not_imported() -> None:
    """A stand-in for a command that was not asked for."""


def run() -> None:
    """The command line of this process."""
    command_line(sys.argv[1:])(prog_name="grokscope")


if __name__ == "__main__":
    run()
