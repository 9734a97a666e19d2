"""`python -m grokscope.analyses.demo`; the work is done in `study/demo.py`."""

import sys

import typer

from ..circuits.plain_text import escape_what_it_lacks
from .study.demo import main

if __name__ == "__main__":
    escape_what_it_lacks(sys.stdout)
    typer.run(main)
