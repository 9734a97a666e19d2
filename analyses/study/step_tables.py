"""What a run is shipped with instead of all its weights: lens and node effects at every saved step."""

from collections.abc import Mapping

import pandas as pd

from ...tasks import Run, make_pairs
from ..bridge.lens import logit_lens
from ..patching.exact import activation_patch
from ..training.by_step import by_step

SPLITS = ("test_inferred_iid", "test_inferred_ood")
N_PAIRS = 128


def step_tables(run: Run, *, seed: int = 0) -> Mapping[str, pd.DataFrame]:
    """Measure every checkpoint of a run on ID and OOD test questions.

    Args:
        run: with its checkpoints.
        seed: of the lens' null, the pairs and the bootstrap.

    Returns:
        `lens`: as `logit_lens(run, …).table`; `found`: its rates of bridge and answer at any cell; `nodes`: effects of
        noising each node on `N_PAIRS` pairs of the contrast `bridge`, right or wrong, as `activation_patch` gives them.
        Each has the columns step and split.
    """
    parts: dict[str, list[pd.DataFrame]] = {"lens": [], "found": [], "nodes": []}
    for split in SPLITS:
        lens = logit_lens(run, run.task.split(split), seed=seed)
        pairs = make_pairs(run.task, split=split, contrast="bridge", n=N_PAIRS, seed=seed)
        nodes = by_step(run, lambda model, pairs=pairs: activation_patch(model, pairs, progress=False, seed=seed))
        for name, table in (("lens", lens.table), ("found", lens.any_cell), ("nodes", nodes.table)):
            parts[name].append(table.assign(split=split))
    return {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}
