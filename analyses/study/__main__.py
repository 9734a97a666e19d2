"""`python -m grokscope.analyses.study`."""

from ...circuits.command import run_command
from .run import main

run_command(main, stopped="stopped; what was measured is kept, and the same command goes on")
