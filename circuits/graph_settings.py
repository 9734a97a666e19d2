"""What a graph is made of when it is read from JSON: types, and sizes for which there is time and memory."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .documents import problems_of
from .kinds import KINDS

MOST_EDGES = 30_000_000  # of a graph that is read; GPT-2 XL at three positions has seven million
MOST_SEEN = 30_000_000  # names of positions that its steps see

Role = str | int
Size = Annotated[int, Field(ge=0, le=1_000)]


class _Graph(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    roles: Sequence[Role]
    answer_role: Role


class _Transformer(_Graph):
    n_layers: Size
    n_heads: Annotated[int, Field(ge=1, le=1_000)]
    n_blocks: Annotated[int, Field(ge=1)]
    causal: bool = True
    has_mlp: bool = True
    n_key_value_heads: Annotated[int, Field(ge=1, le=1_000)] | None = None
    parallel: bool = False
    sinks: bool = False


class _Step(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    kind: str
    layer: Annotated[int, Field(ge=-1, le=100_000)] = -1
    n: Annotated[int, Field(ge=1, le=100_000)] = 1
    group: int | None = None
    n_sharing: Annotated[int, Field(ge=1)] = 1
    sinks: bool = False
    reads: Sequence[Annotated[int, Field(ge=0)]]
    sees: Sequence[Sequence[Role]]


class _Steps(_Graph):
    steps: Sequence[_Step]


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise unless a graph can be made of this.

    Raises:
        ValueError: if it is of other keys, types or sizes; the message says all that is wrong.
    """
    try:
        if isinstance(settings, Mapping) and "steps" in settings:
            n_edges, n_seen = _sizes_of_steps(_Steps.model_validate(dict(settings)))
        else:
            n_edges, n_seen = _sizes_of_transformer(_Transformer.model_validate(settings))
    except ValidationError as error:
        raise ValueError(f"no settings of a graph: {'; '.join(problems_of(error))}") from error
    if n_edges > MOST_EDGES or n_seen > MOST_SEEN:
        raise ValueError(f"a graph with up to {n_edges:,} edges is too large; read are those of up to {MOST_EDGES:,}")


def _sizes_of_transformer(graph: _Transformer) -> tuple[int, int]:
    """Not less than its edges, and the names of positions that its steps see."""
    layers, heads, roles = graph.n_layers, graph.n_heads, len(graph.roles)
    receivers, senders = layers * (3 * heads + graph.has_mlp) + 1, layers * (heads + graph.has_mlp) + 1
    return roles * receivers * senders // 2, layers * roles**2


def _sizes_of_steps(graph: _Steps) -> tuple[int, int]:
    steps, n_edges = graph.steps, 0
    for step in steps:
        n_inputs = len(KINDS[step.kind].inputs) if step.kind in KINDS else 0
        n_senders = sum(steps[number].n for number in step.reads if number < len(steps))
        n_edges += len(graph.roles) * step.n * n_inputs * n_senders
    return n_edges, sum(len(seen) for step in steps for seen in step.sees)
