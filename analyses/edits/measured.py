"""The rows that are counted of edits: how many dependent questions follow, how many of all others stay right."""

from typing import Any

import torch

from .asked import Asked, Met
from .fact_edit import Dependents, FactEdit, resting_on
from .methods import Edited

NAN = float("nan")


class Measured:
    """The rows of one method, edit by edit.

    Args:
        asked: what is edited and asked.
        method: its name.

    Attributes:
        edits: a row for each edit, see `EditResult.edits`.
    """

    def __init__(self, asked: Asked, method: str) -> None:
        self.asked, self.method = asked, method
        self.edits: list[dict[str, Any]] = []
        self._rows: list[tuple[tuple[int, int], dict[str, Any]]] = []
        self._other: dict[tuple[int, int], float] = {}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each edit, place and split, see `EditResult.table`."""
        return [{**row, "other_edit": self._other.get(key, NAN)} for key, row in self._rows]

    def add(self, number: int, edited: Edited) -> None:
        """Measure an edit, and what it does to the questions of the next one, as a control."""
        asked, edit = self.asked, self.asked.edits[number]
        about = {"method": self.method, "edit": number, "fact": edit.fact, "facts": edit.atomic.split}
        about |= {"old": edit.old, "new": edit.value}
        self.edits.append({**about, **_edit_row(asked, edit, edited)})
        for place, some in enumerate(asked.found[number]):
            row = {**about, "place": some.place, "split": some.split, "part": asked.parts[some.split]}
            self._rows.append(((number, place), {**row, **_place_row(asked, some, edited)}))
        following = (number + 1) % len(asked.edits)
        if edited.everywhere is not None and following != number:
            self._other |= {
                (following, place): _share(edited.everywhere(apart.after))
                for place, some in enumerate(asked.found[following])
                if len(apart := some.apart_from(edit.fact))
            }


def _place_row(asked: Asked, some: Dependents, edited: Edited) -> dict[str, Any]:
    """What is counted of the questions of an edit, a place and a split."""
    able, way = asked.able(some), edited.at(some)
    unedited = {"right_before": _share(asked.before(some.before)), "unedited": _share(asked.before(some.after))}
    sizes = {"n": len(some), "n_able": int(able.sum()), "n_units": some.before.n_units}
    if isinstance(way, str):
        return {"propagated": NAN, "kept": NAN, "propagated_able": NAN, **unedited, **sizes, "why_not": way}
    new, old = way(some.after), way(some.before)
    counted = {"propagated": _share(new), "kept": _share(old), "propagated_able": _share(new[able])}
    return {**counted, **unedited, **sizes, "why_not": ""}


def _edit_row(asked: Asked, edit: FactEdit, edited: Edited) -> dict[str, Any]:
    """What is counted of an edit: whether it took, and what else it changed."""
    row: dict[str, Any] = {"took": NAN if edited.everywhere is None else float(edited.everywhere(edit.edited)[0])}
    row |= {"n_steps": edited.n_steps, "where": edited.where}
    for name, parts in asked.others.items():
        apart = [~resting_on(queries, edit.fact) for queries, _ in parts]
        before = torch.cat([right[rows] for (_, right), rows in zip(parts, apart, strict=True)])
        after = before
        if edited.everywhere is not None:
            after = torch.cat(
                [edited.everywhere(queries.take(rows)) for (queries, _), rows in zip(parts, apart, strict=True)]
            )
        row |= {f"{name}_before": _share(before), f"{name}_after": _share(after), f"n_{name}": len(before)}
    return row


def _share(met: Met) -> float:
    """How many are met, as a fraction; NaN of none."""
    return float(met.double().mean()) if len(met) else NAN
