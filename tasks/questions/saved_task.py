"""A two-hop task as arrays and settings, as runs save it, and back: what is missing or of another type is named."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ...circuits.documents import problems_of
from .splits import IDENTITY_SPLIT, TEST_SPLITS
from .supervision import Supervision
from .task import Settings
from .task_validity import Problem, TaskParts, task_problems

NUMBERS = ("heads", "relations", "tails", "trained", "added", *TEST_SPLITS)
FLAGS = ("is_ood", "is_atomic", "is_identity")
SETTINGS = ("n_entities", "n_relations", "supervision", "seed", "layout")
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class Dose(BaseModel):
    """A Supervision in a file; one without identities does not speak of them, as before there were any."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    hop1_share: Share
    hop1_compositions: Count
    hop2_share: Share
    hop2_compositions: Count
    identity_share: Share = 0.0

    def read(self) -> Supervision:
        """What it says."""
        return Supervision(**self.model_dump())


def dose_of(supervision: Supervision | None) -> dict[str, float] | None:
    """What a file says of a supervision, see `Dose`."""
    if supervision is None:
        return None
    return {name: value for name, value in asdict(supervision).items() if name != "identity_share" or value}


def arrays_of(parts: TaskParts) -> dict[str, np.ndarray]:
    """Facts and splits, in 16-bit integers if they fit."""
    arrays = {name: getattr(parts, name) for name in NUMBERS if name not in TEST_SPLITS} | dict(parts.tests)
    largest = max(len(parts.heads), parts.n_entities, parts.n_relations)
    dtype = np.int16 if largest <= np.iinfo(np.int16).max else np.int32
    flags = {name: getattr(parts, name) for name in FLAGS if getattr(parts, name) is not None}
    numbers = {name: array.astype(dtype) for name, array in arrays.items()}
    return numbers | {name: flag.astype(np.uint8) for name, flag in flags.items()}


def settings_of(parts: TaskParts) -> Settings:
    """What a saved run says of the task next to its arrays."""
    return {name: getattr(parts, name) for name in SETTINGS} | {"supervision": dose_of(parts.supervision)}


def digest_of(parts: TaskParts) -> str:
    """A hash of graph, splits, training compositions and layout."""
    arrays = [parts.heads, parts.relations, parts.tails, parts.is_ood, parts.trained, parts.added]
    arrays += [parts.tests[name] for name in TEST_SPLITS] + ([] if parts.is_atomic is None else [parts.is_atomic])
    sizes = (parts.n_entities, parts.n_relations)
    digest = hashlib.sha256(str(sizes if parts.layout == "compact" else (*sizes, parts.layout)).encode())
    for array in arrays:
        digest.update(str(array.shape).encode() + np.ascontiguousarray(array, dtype=np.int64).tobytes())
    if parts.is_identity is not None:
        digest.update(IDENTITY_SPLIT.encode() + parts.is_identity.tobytes())
    return digest.hexdigest()[:12]


def parts_from(arrays: Mapping[str, np.ndarray], settings: Settings) -> TaskParts:
    """A task's parts, checked.

    Raises:
        ValueError: with all that keeps them from being a task.
    """
    numbers = {name: wide(arrays.get(name)) for name in NUMBERS}
    supervision, problems = _supervision(settings.get("supervision"))
    parts = TaskParts(
        n_entities=settings.get("n_entities"),
        n_relations=settings.get("n_relations"),
        is_ood=truth(arrays.get("is_ood")),
        tests={name: numbers.pop(name) for name in TEST_SPLITS},
        supervision=supervision,
        seed=settings.get("seed"),
        layout=settings.get("layout", "compact"),  # the first runs named no layout
        is_atomic=truth(arrays.get("is_atomic")),
        is_identity=truth(arrays.get("is_identity")),
        **numbers,
    )
    problems += name_problems("arrays", arrays, known=(*NUMBERS, *FLAGS), needed=(*NUMBERS, "is_ood"))
    problems += name_problems("settings", settings, known=SETTINGS, needed=[each for each in SETTINGS if each != "layout"])
    refuse_task(problems + task_problems(parts))
    return parts


def refuse_task(problems: list[Problem]) -> None:
    """Raise if there is a problem.

    Raises:
        ValueError: with all of them.
    """
    if problems:
        raise ValueError("this is no two-hop task: " + "; ".join(map(str, problems)))


def wide(array: Any) -> Any:
    """Whole numbers in 64 bits, if they fit; anything else as it is."""
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.integer):
        return array
    return array if array.max(initial=0) > np.iinfo(np.int64).max else array.astype(np.int64)


def truth(array: Any) -> Any:
    """Zeros and ones as truth values; anything else as it is."""
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.integer):
        return array
    return array if array.size and not 0 <= array.min() <= array.max() <= 1 else array.astype(bool)


def _supervision(value: Any) -> tuple[Supervision | None, list[Problem]]:
    try:
        dose = TypeAdapter(Dose | None).validate_python(value)
    except ValidationError as error:
        return None, [Problem("supervision", text) for text in problems_of(error)]
    return dose and dose.read(), []


def name_problems(of: str, found: Mapping[str, Any], *, known: tuple[str, ...], needed: Any) -> list[Problem]:
    """Which arrays or settings lack or are unknown."""
    lacking = [name for name in needed if name not in found]
    unknown = [name for name in found if name not in known]
    problems = [Problem(of, f"lacks {', '.join(lacking)}")] if lacking else []
    return problems + ([Problem(of, f"names {', '.join(map(str, unknown))}, which no task has")] if unknown else [])
