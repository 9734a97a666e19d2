"""Questions as arrays and settings, as runs save them, and back: what is missing or of another type is named.

The arrays of a split are called after it: `tokens@sums`, `answers@sums`, `intermediates.carry@sums`, `facts.hop1@sums`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from ...circuits.arguments import refuse
from ...circuits.documents import problems_of
from .queries import Queries
from .task import Part, Settings

if TYPE_CHECKING:
    from .question_task import QuestionTask

SINGLE = ("decided_by", "id_test", "ood_test", "shortcuts", "token_names", "n_tokens", "regime", "seed")
KINDS = ("intermediates", "facts")


class SavedSplit(BaseModel):
    """What a file says of a split next to its arrays."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    part: Part
    roles: list[str]
    answer_position: int
    intermediates: list[str]
    facts: list[str]

    @property
    def arrays(self) -> dict[str, str]:
        """What its arrays are called, by `tokens`, `answers`, and kind and name of the others."""
        names = ["tokens", "answers", *(f"{kind}.{name}" for kind in KINDS for name in getattr(self, kind))]
        return {name: f"{name}@{self.name}" for name in names}


class SavedQuestions(BaseModel):
    """What a file says of a task of questions; see `QuestionTask`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    splits: list[SavedSplit]
    decided_by: dict[str, list[str]]
    id_test: str
    ood_test: str | None
    shortcuts: dict[str, list[str]]
    token_names: list[str] | None
    n_tokens: int
    regime: str
    seed: int


def settings_of(task: "QuestionTask") -> Settings:
    """What a saved run says of the task next to its arrays."""
    splits = [
        {"name": name, "part": part, "roles": list(each.roles), "answer_position": each.answer_position}
        | {kind: list(getattr(each, kind)) for kind in KINDS}
        for name, (part, each) in task.questions.items()
    ]
    return {"splits": splits} | {name: _json(getattr(task, name)) for name in SINGLE}


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: list(roles) for name, roles in value.items()}
    return list(value) if isinstance(value, tuple) else value


def arrays_of(questions: Mapping[str, tuple[Part, Queries]]) -> dict[str, np.ndarray]:
    """All columns of all splits but units, in the smallest integers that they fit in."""
    return {f"{name}@{split}": _small(each) for split, (_, queries) in questions.items() for name, each in _columns(queries)}


def _columns(queries: Queries) -> Iterator[tuple[str, Tensor]]:
    yield from (("tokens", queries.tokens), ("answers", queries.answers))
    for kind in KINDS:
        yield from ((f"{kind}.{name}", column) for name, column in getattr(queries, kind).items())


def _small(column: Tensor) -> np.ndarray:
    array = column.numpy()
    ends = array.min(initial=0), array.max(initial=0)
    fits = (t for t in (np.int16, np.int32) if np.iinfo(t).min <= ends[0] and ends[1] <= np.iinfo(t).max)
    return array.astype(next(fits, np.int64))


def parts_from(arrays: Mapping[str, np.ndarray], settings: Settings) -> dict[str, Any]:
    """The arguments of a `QuestionTask`.

    Raises:
        ValueError: with all settings, or all arrays, that are missing, unknown or of another type.
    """
    try:
        saved = SavedQuestions.model_validate(dict(settings))
    except ValidationError as error:
        raise ValueError(f"settings: {'; '.join(problems_of(error))}") from error
    names = [name for split in saved.splits for name in split.arrays.values()]
    lacking, unknown = [name for name in names if name not in arrays], [name for name in arrays if name not in names]
    problems = [f"arrays lack {', '.join(lacking)}"] if lacking else []
    problems += [f"arrays name {', '.join(unknown)}, which no split has"] if unknown else []
    problems += [
        f"the array {name} is of {array.dtype}, needed are whole numbers"
        for name, array in arrays.items()
        if not _whole(array)
    ]
    problems += [
        f"the split {name} is there twice" for name, n in Counter(split.name for split in saved.splits).items() if n > 1
    ]
    refuse(problems)
    questions = {split.name: (split.part, _queries(split, arrays)) for split in saved.splits}
    return {"questions": questions} | {name: getattr(saved, name) for name in SINGLE}


def _whole(array: np.ndarray) -> bool:
    return np.issubdtype(array.dtype, np.integer) and array.dtype != np.uint64


def _queries(split: SavedSplit, arrays: Mapping[str, np.ndarray]) -> Queries:
    columns = {name: torch.from_numpy(arrays[called].astype(np.int64)) for name, called in split.arrays.items()}
    about: dict[str, Any] = {kind: {name: columns[f"{kind}.{name}"] for name in getattr(split, kind)} for kind in KINDS}
    position: dict[str, Any] = {"roles": tuple(split.roles), "answer_position": split.answer_position, "split": split.name}
    try:
        return Queries(columns["tokens"], columns["answers"], **position, **about)
    except ValueError as error:
        raise ValueError(f"the arrays of {split.name}: {error}") from error
