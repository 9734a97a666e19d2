"""Values and comparisons in tokens: the values, then the labels, attributes, and entities."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ...circuits.arguments import refuse, whole_problems
from .balancing import LABELS, MISSING, Comparisons, labels_of
from .given import queries_problems
from .queries import Queries

if TYPE_CHECKING:
    from .comparison import ComparisonTask

VALUES = ("value_1", "value_2")
"""The intermediates: the values of both entities; `value_1` of an atomic question is its answer."""
Values = Int[np.ndarray, "attribute entity"]


def first_attribute(n_levels: int) -> int:
    """The token of the first attribute; those of entities follow that of the last."""
    return n_levels + len(LABELS)


def atomic_queries(values: Values, n_levels: int, facts: Int[np.ndarray, " fact"], split: str) -> Queries:
    """The questions `attribute e` for the values of facts."""
    said, numbers = torch.from_numpy(values.ravel()[facts]), torch.from_numpy(facts)
    return Queries(
        _prompts(values, n_levels, facts[:, None]),
        said,
        roles=("a", "e1"),
        intermediates={VALUES[0]: said},
        unit=numbers,
        facts={"fact_1": numbers, "fact_2": torch.full_like(numbers, MISSING)},
        split=split,
    )


def compared_queries(values: Values, n_levels: int, pairs: Comparisons, split: str) -> Queries:
    """The questions `attribute e1 e2` for the labels of comparisons."""
    facts = {f"fact_{place}": torch.from_numpy(each.copy()) for place, each in enumerate(pairs.T, start=1)}
    both = torch.from_numpy(values.ravel()[pairs])
    return Queries(
        _prompts(values, n_levels, pairs),
        torch.from_numpy(n_levels + labels_of(values, pairs)),
        roles=("a", "e1", "e2"),
        intermediates=dict(zip(VALUES, both.T, strict=True)),
        unit=facts["fact_1"],
        facts=facts,
        split=split,
    )


def other_values(task: "ComparisonTask", fact: int) -> Int[np.ndarray, " value"]:
    """`Editable.fact_values` of comparisons: all values but the fact's."""
    refuse(whole_problems(0, most=task.values.size - 1, fact=fact))
    return np.delete(np.arange(task.n_levels), task.values.ravel()[fact])


def with_value(task: "ComparisonTask", queries: Queries, *, fact: int, value: int) -> Queries:
    """`Editable.with_fact` of comparisons: the same facts are asked for or compared, one of them with another value."""
    problems = whole_problems(0, most=task.values.size - 1, fact=fact)
    refuse(queries_problems(queries=queries) + problems + whole_problems(0, most=task.n_levels - 1, value=value))
    values = task.values.copy()
    values.ravel()[fact] = value
    first, second = (column.numpy() for column in queries.facts.values())
    if len(queries.roles) == 2:
        return atomic_queries(values, task.n_levels, first, queries.split)
    return compared_queries(values, task.n_levels, np.column_stack([first, second]), queries.split)


def _prompts(values: Values, n_levels: int, facts: Int[np.ndarray, "query n"]) -> Int[Tensor, "query pos"]:
    """The attribute of facts of one attribute, then their entities."""
    n_attributes, n_entities = values.shape
    attributes = first_attribute(n_levels) + facts[:, :1] // n_entities
    entities = first_attribute(n_levels) + n_attributes + facts % n_entities
    return torch.from_numpy(np.hstack([attributes, entities]))
