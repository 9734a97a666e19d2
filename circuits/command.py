"""Commands end with one line and a code, however they are stopped."""

import functools
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer

from .interrupts import signal_of, stop_at_once
from .plain_text import escape_what_it_lacks


def run_command(main: Callable[..., Any], *, stopped: str) -> None:
    """Run a function as the command of this process.

    Args:
        main: its parameters are the command's options.
        stopped: the line that it ends with if Ctrl-C or SIGTERM stops it where nothing says more; the exit code is 130 or
            143.
    """
    escape_what_it_lacks(sys.stdout)

    @functools.wraps(main)
    def ending_with_a_line(*args: Any, **kwargs: Any) -> None:
        before = signal.signal(signal.SIGTERM, stop_at_once)
        try:
            main(*args, **kwargs)
        except KeyboardInterrupt as error:
            typer.echo(str(error) or stopped, err=True)
            raise typer.Exit(128 + signal_of(error)) from None
        finally:
            signal.signal(signal.SIGTERM, before)

    typer.run(ending_with_a_line)
