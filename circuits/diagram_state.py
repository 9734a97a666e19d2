"""What a reader of a diagram chose to see: the same in a link, in a saved page, in a notebook and in a saved circuit."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .arguments import shortly
from .documents import problems_of

State = str | Mapping[str, Any]
"""A link to a diagram, the part of it after #, or what it says."""
LONGEST = 100_000  # characters of a link


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class _Group(_Part):
    name: str = Field(min_length=1, max_length=40)
    nodes: list[str] = Field(min_length=2)


class _Open(_Part):
    columns: list[str] = []
    rows: list[int] = []


class _View(_Part):
    """Every entry is optional; one that is left out is as the diagram opens by itself.

    view: pictures side by side, or the difference of a pair of circuits.
    weights: one node for each set of weights.
    cut, threshold, top: which edges: of the circuit, of at least a threshold, or the strongest ones.
    step: of training.
    pair: numbers of the circuits that are compared.
    search, kinds, role, layer, measured, member, hidden: what is searched for, and what is left out.
    groups: nodes that are drawn as one.
    selected: names of nodes and edges; the last one is traced.
    open: unfolded columns (roles) and rows (numbers of steps).
    zoom: how many times, and the middle in pixels of the picture.
    list, sort: the table beside the picture.
    multiples: a small picture of every step.
    """

    view: Literal["side", "difference"] | None = None
    weights: bool | None = None
    cut: Literal["kept", "threshold", "top"] | None = None
    threshold: float | None = Field(default=None, ge=0)
    top: int | None = Field(default=None, ge=0)
    step: int | None = None
    pair: list[int] | None = Field(default=None, min_length=2, max_length=2)
    search: str | None = None
    kinds: list[str] | None = None
    role: str | None = None
    layer: str | None = None
    measured: Literal["all", "measured", "estimated"] | None = None
    member: Literal["all", "a", "b", "both", "differs"] | None = None
    hidden: list[str] | None = None
    groups: list[_Group] | None = None
    selected: list[str] | None = None
    open: _Open | None = None
    zoom: list[float] | None = Field(default=None, min_length=3, max_length=3)
    sort: list[str | int] | None = Field(default=None, min_length=2, max_length=2)
    multiples: bool | None = None
    list: Literal["edges", "nodes", "differences", ""] | None = None  # last, since it hides the type of that name


def state_problems(state: Any) -> list[str]:
    """Why something is no state of a diagram."""
    if not isinstance(state, str | Mapping):
        return [f"state is {shortly(state)}, needed is a link to a diagram, or what it says, as in state={{'cut': 'top'}}"]
    try:
        state_of(state)
    except ValidationError as error:
        return [f"state: {problem}" for problem in problems_of(error)]
    except ValueError as error:
        return [f"state: {error}"]
    return []


def state_of(state: State) -> dict[str, Any]:
    """The entries of a state, checked.

    Raises:
        ValueError: if it is none.

    >>> state_of({"cut": "top", "top": 5})
    {'cut': 'top', 'top': 5}
    >>> state_of("circuits.html#gs=eyJzZWFyY2giOiJAcjEifQ")
    {'search': '@r1'}
    """
    given = _decoded(state) if isinstance(state, str) else dict(state)
    return _View.model_validate(given).model_dump(exclude_unset=True, mode="json")


def _decoded(link: str) -> dict[str, Any]:
    if len(link) > LONGEST:
        raise ValueError(f"the link has {len(link):,} characters, at most {LONGEST:,} are read")
    fragment = urlsplit(link).fragment if "#" in link else link
    found = next(iter(parse_qs(fragment).get("gs", [])), "")
    if not found:
        if "#" in link and not fragment:
            return {}
        raise ValueError(f"{shortly(link)} holds no state, which follows #gs=")
    try:
        text = base64.urlsafe_b64decode(found + "=" * (-len(found) % 4)).decode()
        decoded = json.loads(text)
    except (binascii.Error, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"the link is damaged: {error}") from error
    if not isinstance(decoded, dict):
        raise ValueError(f"the link says {shortly(decoded)}, needed is a mapping")
    return decoded
