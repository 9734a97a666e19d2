"""Does exact patching find a circuit that is known? It runs on a two-hop model that is set by hand to the last edge."""

from functools import lru_cache

import numpy as np
from sklearn.metrics import roc_auc_score

from ...tasks import TwoHopTask, make_pairs
from ...tasks.models.by_hand import BRIDGE_EDGES, handset_model
from ..patching.exact import path_patch

N_PAIRS = 64
NOISE = 1e-3  # of all weights, so that no effect is 0 by construction


@lru_cache
def planted_auroc(*, seed: int = 0) -> tuple[float, int, int]:
    """The area under the ROC curve by which |effect| tells the planted edges from all others.

    Returns:
        The area (1: every planted edge has a larger effect than any other), the number of planted edges, and of all.
    """
    task = TwoHopTask.random(n_entities=24, n_relations=10, out_degree=8, test_fraction=0.3, seed=seed)
    model = handset_model(task.graph, noise=NOISE, seed=seed)
    pairs = make_pairs(task, split=task.id_test, contrast="bridge", n=N_PAIRS, seed=seed).keep_correct(model)
    effects = path_patch(model, pairs, progress=False).table
    names = effects["sender"] + " -> " + effects["receiver"]
    planted = names.isin(BRIDGE_EDGES).to_numpy()
    return float(roc_auc_score(planted, np.abs(effects["effect"]))), int(planted.sum()), len(planted)
