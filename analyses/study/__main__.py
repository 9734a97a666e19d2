"""`python -m grokscope.analyses.study`."""

import sys

import typer

from ...circuits.plain_text import escape_what_it_lacks
from .run import main

escape_what_it_lacks(sys.stdout)
typer.run(main)
