"""What makes numbers and arrays a two-hop task: the one place where that is decided.

Drawing a task, reading a folder, and loading a run all ask here, before anything is done with the arrays, which may be of
any kind: they may come from a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from ...circuits.arguments import seed_problems, shortly
from .graph import graph_problems, slot_problems
from .layout import layout_problems
from .splits import HOP_STATUS, TEST_SPLITS, hop_status
from .supervision import Supervision, n_identities

STATUS_OF: Mapping[str, tuple[str, ...]] = {
    "trained": ("ID+ID",),
    "added": ("OOD+ID", "ID+OOD"),
    "test_inferred_iid": ("ID+ID",),
    "test_inferred_ood": ("OOD+OOD",),
    "test_inferred_ood_id": ("OOD+ID",),
    "test_inferred_id_ood": ("ID+OOD",),
}
"""The hop status of the compositions in each array; no supervision trains an OOD+OOD one."""
NO_ROWS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class TaskParts:
    """What a task is made of, checked or not; the meanings are those of `KnowledgeGraph` and `TwoHopTask`."""

    n_entities: Any
    n_relations: Any
    heads: Any
    relations: Any
    tails: Any
    is_ood: Any
    trained: Any
    added: Any
    tests: Mapping[str, Any]
    supervision: Any
    seed: Any
    layout: Any
    is_atomic: Any = None
    is_identity: Any = None


@dataclass(frozen=True, eq=False)
class Problem:
    """One thing that is wrong with a task.

    Attributes:
        of: the array or setting, e.g. `"trained"`.
        says: what is wrong with it.
        rows: the rows of the array that are wrong; none if it is not about rows.
    """

    of: str
    says: str
    rows: Int[np.ndarray, " row"] = field(default_factory=NO_ROWS.copy)

    def __str__(self) -> str:
        wrong = f" ({len(self.rows):,} rows, the first is {self.rows[0]})" if len(self.rows) else ""
        return f"{self.of}: {self.says}{wrong}"


def task_problems(parts: TaskParts) -> list[Problem]:
    """All that is wrong with a task."""
    of_graph = graph_problems(parts.n_entities, parts.n_relations, parts.heads, parts.relations, parts.tails)
    found = [Problem("facts", text) for text in of_graph] + _setting_problems(parts) + _identity_problems(parts)
    if (n_facts := _length(parts)) is None:
        return found
    flags = {"is_ood": parts.is_ood} | ({} if parts.is_atomic is None else {"is_atomic": parts.is_atomic})
    found += [problem for name, flag in flags.items() for problem in _flag_problems(name, flag, n_facts, "facts")]
    checked = _Checked(parts, n_facts, not of_graph, all(problem.of != "is_ood" for problem in found))
    return found + checked.problems()


def _setting_problems(parts: TaskParts) -> list[Problem]:
    found = [Problem("seed", text) for text in seed_problems(parts.seed)]
    found += [Problem("layout", text) for text in layout_problems(parts.layout)]
    if not isinstance(parts.supervision, Supervision | None):
        found.append(Problem("supervision", f"needed is a Supervision or None, got {shortly(parts.supervision)}"))
    names = set(parts.tests)
    if missing := [name for name in TEST_SPLITS if name not in names]:
        found.append(Problem("tests", f"lacks {', '.join(missing)}"))
    if unknown := sorted(map(str, names - set(TEST_SPLITS))):
        found.append(Problem("tests", f"there is no {', '.join(unknown)}; the test splits are {', '.join(TEST_SPLITS)}"))
    return found


def _length(parts: TaskParts) -> int | None:
    """The number of facts, if their three arrays agree on it."""
    shapes = {np.shape(array) for array in (parts.heads, parts.relations, parts.tails)}
    return next(iter(shapes))[0] if len(shapes) == 1 and len(next(iter(shapes))) == 1 else None


def _identity_problems(parts: TaskParts) -> list[Problem]:
    """What is wrong with zero-hop questions; that they are as many as the supervision says is known of real sizes only."""
    n_entities, flag = parts.n_entities, parts.is_identity
    if slot_problems(n_entities, 1):
        return []
    if flag is not None and (problems := _flag_problems("is_identity", flag, n_entities, "entities")):
        return problems
    n = 0 if flag is None else int(flag.sum())
    if flag is not None and not n:
        return [Problem("is_identity", "there is no zero-hop question; a task without any has no such array")]
    if not isinstance(parts.supervision, Supervision) or n == (said := n_identities(parts.supervision, n_entities)):
        return []
    share = f"identity_share={parts.supervision.identity_share:g} of {n_entities:,} entities"
    return [Problem("supervision", f"{share} are {said:,}, in is_identity are {n:,}")]


def _flag_problems(name: str, flag: Any, n: int, of: str) -> list[Problem]:
    if isinstance(flag, np.ndarray) and flag.dtype == np.bool_ and flag.shape == (n,):
        return []
    return [Problem(name, f"needed is whether, for each of {n:,} {of}, got {shown(flag)}")]


def shown(array: Any) -> str:
    """An array as errors say it: its kind, shape and range."""
    if not isinstance(array, np.ndarray):
        return shortly(array)
    values = f" from {array.min()} to {array.max()}" if array.size and np.issubdtype(array.dtype, np.integer) else ""
    return f"{array.dtype}{values} of shape {array.shape}"


@dataclass(frozen=True)
class _Checked:
    """The compositions of a task whose arrays of facts agree in length."""

    parts: TaskParts
    n_facts: int
    is_graph: bool
    has_status: bool

    def problems(self) -> list[Problem]:
        """All that is wrong with compositions, and with the doses of the supervision."""
        arrays = {"trained": self.parts.trained, "added": self.parts.added} | {
            name: self.parts.tests[name] for name in TEST_SPLITS if name in self.parts.tests
        }
        found = [problem for name, hops in arrays.items() for problem in self._shape_problems(name, hops)]
        shaped = {name: hops for name, hops in arrays.items() if all(problem.of != name for problem in found)}
        inside = {name: self._inside(hops) for name, hops in shaped.items()}
        says = f"fact numbers must lie between 0 and {self.n_facts - 1}"
        found += [Problem(name, says, np.flatnonzero(~each)) for name, each in inside.items() if not each.all()]
        rows = {name: np.flatnonzero(each) for name, each in inside.items()}
        possible = {name: hops[rows[name]].astype(np.int64, copy=False) for name, hops in shaped.items()}
        codes = {name: hops[:, 0] * self.n_facts + hops[:, 1] for name, hops in possible.items()}
        in_order = {name: np.sort(each) for name, each in codes.items()}
        for name, hops in possible.items():
            found += [Problem(name, says, rows[name][wrong]) for says, wrong in self._wrong_rows(name, hops)]
            if (repeated := _repeated(codes[name], in_order[name])).any():
                found.append(Problem(name, "compositions that are there twice", rows[name][repeated]))
            if name in TEST_SPLITS and (leaked := _trained(codes[name], in_order)).any():
                found.append(Problem(name, "queries that are also trained", rows[name][leaked]))
        if self.has_status and "added" in possible and isinstance(self.parts.supervision, Supervision):
            found += _dose_problems(self.parts.supervision, possible["added"], self.parts.is_ood)
        return found

    def _shape_problems(self, name: str, hops: Any) -> list[Problem]:
        is_array = isinstance(hops, np.ndarray) and np.issubdtype(hops.dtype, np.integer)
        if is_array and hops.ndim == 2 and hops.shape[1] == 2:
            return []
        return [Problem(name, f"needed are rows of two fact numbers, got {shown(hops)}")]

    def _inside(self, hops: Int[np.ndarray, "row 2"]) -> Bool[np.ndarray, " row"]:
        if not len(hops) or 0 <= hops.min() <= hops.max() < self.n_facts:
            return np.ones(len(hops), dtype=bool)
        return np.all((hops >= 0) & (hops < self.n_facts), axis=1)

    def _wrong_rows(self, name: str, hops: Int[np.ndarray, "row 2"]) -> list[tuple[str, Bool[np.ndarray, " row"]]]:
        """What can be wrong with compositions by themselves, and where it is, if anywhere."""
        found = []
        if self.is_graph:
            wrong = self.parts.tails[hops[:, 0]] != self.parts.heads[hops[:, 1]]
            found.append(("no chains, the second fact does not start where the first ends", wrong))
        if self.has_status:
            status = hop_status(self.parts.is_ood, hops[:, 0], hops[:, 1])
            never = np.array([name in ("trained", "added") and each == "OOD+OOD" for each in HOP_STATUS])
            other = np.array([each not in STATUS_OF[name] for each in HOP_STATUS]) & ~never
            found.append(("OOD+OOD compositions, which no regime trains", never[status]))
            found.append((f"compositions that are not {' or '.join(STATUS_OF[name])}", other[status]))
        return [(says, wrong) for says, wrong in found if wrong.any()]


def _repeated(codes: Int[np.ndarray, " row"], in_order: Int[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
    """Which codes occurred in an earlier row."""
    repeated = np.zeros(len(codes), dtype=bool)
    if (in_order[1:] == in_order[:-1]).any():
        repeated[:] = True
        repeated[np.unique(codes, return_index=True)[1]] = False
    return repeated


def _trained(codes: Int[np.ndarray, " row"], in_order: Mapping[str, Int[np.ndarray, " _"]]) -> Bool[np.ndarray, " row"]:
    """Which codes are in training, by search in what is sorted: `np.isin` is a hundred times slower on such codes."""
    found = np.zeros(len(codes), dtype=bool)
    for name in ("trained", "added"):
        if len(there := in_order.get(name, codes[:0])):
            found |= there[np.searchsorted(there, codes).clip(max=len(there) - 1)] == codes
    return found


def _dose_problems(
    supervision: Supervision, added: Int[np.ndarray, "row 2"], is_ood: Bool[np.ndarray, " fact"]
) -> list[Problem]:
    """Where more was added than a supervision says; less is possible, see `Supervision`."""
    found = []
    one_ood = added[is_ood[added].sum(1) == 1]
    doses = (
        ("hop1", supervision.hop1_share, supervision.hop1_compositions),
        ("hop2", supervision.hop2_share, supervision.hop2_compositions),
    )
    for column, (hop, share, count) in enumerate(doses):
        facts, counts = np.unique(one_ood[is_ood[one_ood[:, column]], column], return_counts=True)
        if len(facts) > (most := round(share * int(is_ood.sum()))):
            text = f"{hop}_share={share:g} exposes at most {most:,} OOD facts, in added are {len(facts):,}"
            found.append(Problem("supervision", text))
        if (largest := counts.max(initial=0)) > count:
            text = f"{hop}_compositions={count} is the most for each OOD fact, in added one has {largest}"
            found.append(Problem("supervision", text))
    return found
