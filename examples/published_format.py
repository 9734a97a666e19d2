"""Write a two-hop task in the published JSON formats and read it back.

`examples/data` was made by `python examples/published_format.py`; `python -m grokscope.analyses.demo --data
examples/data` trains and compares on it, as it does on a folder written by the authors' generator.
"""

from pathlib import Path

from grokscope import tasks
from grokscope.circuits.arguments import refuse
from grokscope.circuits.destination import folder_problems


def main(out: Path = Path("examples/data")) -> tasks.TwoHopTask:
    """Write a small task to a folder and return what is read back from it."""
    refuse(folder_problems(out=out))
    task = tasks.TwoHopTask.random(n_entities=40, n_relations=20, out_degree=14, test_fraction=0.05, seed=0)
    return tasks.TwoHopTask.from_files(task.to_files(out))


if __name__ == "__main__":
    main()
