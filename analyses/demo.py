"""`python -m grokscope.analyses.demo`; the work is done in `study/demo.py`."""

from ..circuits.command import run_command
from .study.demo import main

if __name__ == "__main__":
    run_command(main, stopped="stopped; trainings are kept, and the same command goes on with them")
