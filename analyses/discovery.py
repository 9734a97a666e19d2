"""From a model and prompt pairs to a circuit."""

from transformer_lens import HookedTransformer

from ..circuits import Circuit
from ..tasks import PromptPairs
from .metrics import Metric, logit_difference
from .patching import Direction
from .path_patching import path_patch


def discover(
    model: HookedTransformer,
    pairs: PromptPairs,
    *,
    top_k: int | None = None,
    threshold: float | None = None,
    direction: Direction = "noising",
    metric: Metric = logit_difference,
    seed: int = 0,
) -> Circuit:
    """Measure every edge exactly and keep the strong ones that connect the input with the answer.

    What is chosen on these pairs should be judged on others, see `faithfulness`.

    Args:
        model: any HookedTransformer that `path_patch` accepts; it is left as it was.
        pairs: clean and corrupt prompts.
        top_k: keep so many edges of largest |effect|, before the unconnected ones go.
        threshold: keep edges with |effect| of at least this much; 0.02 unless top_k is given.
        direction: noising or denoising.
        metric: see `path_patch`.
        seed: of the bootstrap.

    Returns:
        A circuit with every measured edge and per-query changes.
    """
    effects = path_patch(model, pairs, direction=direction, metric=metric, per_query=True, seed=seed)
    return Circuit.from_effects(effects, top_k=top_k, threshold=threshold)
