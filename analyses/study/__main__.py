"""`python -m grokscope.analyses.study`."""

import typer

from .run import main

typer.run(main)
