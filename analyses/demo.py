"""`python -m grokscope.analyses.demo`; the work is done in `study/demo.py`."""

import typer

from .study.demo import main

if __name__ == "__main__":
    typer.run(main)
