"""Activation patching: the effect of everything that one node writes, on all its readers together."""

from transformer_lens import HookedTransformer

from ..tasks import PromptPairs
from .fast_patching import node_logits
from .hooks import graph_of
from .metrics import Metric, logit_difference
from .partial_forward import MAX_BATCH
from .patching import Direction, PatchingResult, patch_each


def activation_patch(
    model: HookedTransformer,
    pairs: PromptPairs,
    *,
    direction: Direction = "noising",
    metric: Metric = logit_difference,
    per_query: bool = False,
    max_batch: int = MAX_BATCH,
    progress: bool = True,
    seed: int = 0,
) -> PatchingResult:
    """Patch one node at a time: the embedding, each head and each MLP, at each position.

    Args:
        model: any HookedTransformer whose options `hooks.graph_of` accepts; it is left as it was.
        pairs: clean and corrupt prompts.
        direction: noising (corrupt into clean) or denoising (clean into corrupt).
        metric: logits, answers and foils to one number for each query; the logit difference in nats by default.
        per_query: keep the change of every query.
        max_batch: prompts run at once; bounds memory.
        progress: show a bar if it takes longer than a moment.
        seed: of the bootstrap.
    """
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    result = patch_each(
        model,
        pairs,
        graph,
        graph.senders,
        node_logits,
        direction=direction,
        metric=metric,
        per_query=per_query,
        max_batch=max_batch,
        progress=progress,
        seed=seed,
    )
    assert isinstance(result, PatchingResult)  # one metric, one result
    return result
