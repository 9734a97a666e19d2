"""The steps of a transformer's graph, from its sizes and back."""

from collections.abc import Sequence
from typing import Any

from .arguments import whole_problems
from .step import Step, completed

MOST_NODES = 1_000_000  # heads and MLPs of a graph; one with more has too many edges to be held


def size_problems(*, n_layers: Any, n_heads: Any, n_blocks: Any, n_key_value_heads: Any = None) -> list[str]:
    """Why there is no transformer of these sizes."""
    given = {} if n_key_value_heads is None else {"n_key_value_heads": n_key_value_heads}
    problems = whole_problems(1, most=MOST_NODES, n_layers=n_layers, n_heads=n_heads, n_blocks=n_blocks, **given)
    if not problems and n_heads % (n_key_value_heads or 1):
        problems.append(f"n_heads={n_heads} cannot share n_key_value_heads={n_key_value_heads} evenly")
    if not problems and n_layers * (n_heads + 1) > MOST_NODES:
        problems.append(f"n_layers={n_layers} of n_heads={n_heads} are more than {MOST_NODES:,} nodes")
    return problems


def transformer_steps(
    roles: Sequence[str],
    *,
    n_layers: int,
    n_heads: int,
    n_blocks: int,
    causal: bool,
    has_mlp: bool,
    n_key_value_heads: int | None = None,
    parallel: bool = False,
    sinks: bool = False,
) -> tuple[Step, ...]:
    """Embedding, then in each layer heads and an MLP, then logits; layer L has the weights of block L mod n_blocks."""
    sharing = n_heads // (n_key_value_heads or n_heads)
    roles = tuple(roles)
    sees = tuple(roles[: place + 1] if causal else roles for place in range(len(roles)))
    steps = [Step("embed")]
    for layer in range(n_layers):
        before = tuple(range(len(steps)))
        steps.append(Step("head", layer, n=n_heads, group=layer % n_blocks, n_sharing=sharing, sinks=sinks, sees=sees))
        if has_mlp:
            steps.append(Step("mlp", layer, group=layer % n_blocks, reads=before if parallel else None))
    return (*steps, Step("logits"))


def transformer_settings(roles: Sequence[str], steps: Sequence[Step]) -> dict[str, Any] | None:
    """The sizes of which `transformer_steps` makes these steps; None if they are no transformer's."""
    heads = [step for step in steps if step.kind == "head"]
    if not heads:
        return None
    settings = {
        "n_layers": len(heads),
        "n_heads": heads[0].n,
        "n_blocks": len({step.group for step in heads}),
        "causal": heads[0].sees is None or heads[0].sees[0] == (roles[0],),
        "has_mlp": any(step.kind == "mlp" for step in steps),
    }
    if heads[0].n_sharing > 1:
        settings["n_key_value_heads"] = heads[0].n // heads[0].n_sharing
    if settings["has_mlp"] and steps[2].reads == (0,):
        settings["parallel"] = True
    if heads[0].sinks:
        settings["sinks"] = True
    return settings if completed(transformer_steps(roles, **settings), roles) == tuple(steps) else None
