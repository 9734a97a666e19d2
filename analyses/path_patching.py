"""Path patching: the exact effect of every single edge."""

from collections.abc import Iterable

from transformer_lens import HookedTransformer

from ..circuits import Edge
from ..tasks import PromptPairs
from .hooks import graph_of
from .literal import check_edges, patch_edge
from .metrics import Metric, logit_difference
from .patching import Direction, PatchingResult, patch_each


def path_patch(
    model: HookedTransformer,
    pairs: PromptPairs,
    *,
    edges: Iterable[Edge | str] | None = None,
    direction: Direction = "noising",
    metric: Metric = logit_difference,
    per_query: bool = False,
    seed: int = 0,
) -> PatchingResult:
    """Patch one edge at a time: q, k and v apart, each position by itself, all queries in one batch.

    Exact: the forward pass is really run with that edge replaced, and everything behind it computed anew (see
    `literal.patch_edge`). Effects of single edges do not add up. The model is left as it was.

    Args:
        model: any HookedTransformer whose options `hooks.graph_of` accepts.
        pairs: clean and corrupt prompts.
        edges: which edges, as edges or names; by default all that can matter to the answer.
        direction: noising (corrupt into clean) or denoising (clean into corrupt).
        metric: logits, answers and foils to one number for each query; the logit difference in nats by default.
        per_query: keep the change of every query, for intervals of comparisons.
        seed: of the bootstrap.

    Raises:
        KeyError: for edges that the model does not have.
        ValueError: for models with options that cannot be done exactly, or a metric of the wrong shape.
    """
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    wanted = set(graph.edges) if edges is None else check_edges(graph, edges)
    in_order = [edge for edge in graph.edges if edge in wanted]
    return patch_each(
        model, pairs, graph, in_order, patch_edge, direction=direction, metric=metric, per_query=per_query, seed=seed
    )
