"""Commands end with one line and a code, however they are stopped."""

import functools
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer

from .interrupts import signal_of, stop_at_once
from .plain_text import escape_what_it_lacks

WRONG, REFUSED = (ValueError, OSError), 1
"""What the library refuses with a message that says what to do, and the exit code of that; 2 is for wrong options."""


def run_command(main: Callable[..., Any], *, stopped: str) -> None:
    """Run a function as the command of this process.

    Args:
        main: its parameters are the command's options.
        stopped: see `ending_with_a_line`.
    """
    typer.run(ending_with_a_line(main, stopped=stopped))


def ending_with_a_line(main: Callable[..., Any], *, stopped: str) -> Callable[..., None]:
    """A command that says in one line why it ended early, and exits with a code.

    Args:
        main: the command.
        stopped: the line that it ends with if Ctrl-C or SIGTERM stops it where nothing says more; the exit code is 130 or
            143. It is 1 where an argument or a file is refused.
    """

    @functools.wraps(main)
    def command(*args: Any, **kwargs: Any) -> None:
        escape_what_it_lacks(sys.stdout)
        before = signal.signal(signal.SIGTERM, stop_at_once)
        try:
            main(*args, **kwargs)
        except KeyboardInterrupt as error:
            typer.echo(str(error) or stopped, err=True)
            raise typer.Exit(128 + signal_of(error)) from None
        except WRONG as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(REFUSED) from None
        finally:
            signal.signal(signal.SIGTERM, before)

    return command
