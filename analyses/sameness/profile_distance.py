"""How far two profiles are apart, cut by cut in order: the discrete Fréchet distance.

Both profiles are walked from the first cut to the last, at every step on in one of them or in both; the distance is the
largest difference met on the way that keeps it smallest (Eiter & Mannila 1994, Computing discrete Fréchet distance).
Why this one:

- a cut that comes twice, as after an idle block, costs nothing, whatever the other profile is: the other waits there. So
  models with other numbers of blocks can be compared, and an idle block is of no account wherever it stands;
- it is a metric: symmetric, with the triangle inequality, and 0 only where profiles are equal but for repeats;
- it is in the unit of what is measured: a margin can be named before anything was measured.

Dynamic time warping sums where this takes the largest: repeats then count as often as they come, and the triangle inequality
is lost. `docs/explanation/sameness.md` compares both, and optimal transport between circuits, on rewritten models.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from jaxtyping import Float

from ...circuits import Result
from ...circuits.arguments import refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...circuits.plain_text import counted
from ...circuits.units import fixed
from ..plots.style import layer_name
from .profile import Profile

Coupling = list[tuple[int, int]]
"""The cuts of two profiles that are walked together, by their numbers."""


@dataclass(frozen=True, eq=False)
class ProfileDistance(Result):
    """How far two profiles are apart.

    Attributes:
        table: a row for each couple of cuts on the way, with
            layer_a, layer_b: the cuts (−1: the embedding);
            distance: the largest difference there, in `unit`;
            role, measure: of the coordinate where it is.
        value: the distance, the largest of them.
        a: the first model's name.
        b: the other's.
        unit: of the distances, that of the profiles.
        n_a: queries that the first profile rests on at least.
        n_b: the same of the other.
    """

    table: Annotated[pd.DataFrame, Columns(words="role measure", numbers="distance", whole="layer_a layer_b")]
    value: float
    a: str
    b: str
    unit: str
    n_a: int
    n_b: int

    @property
    def caption(self) -> str:
        """Models, distance and where it is, n in one line."""
        found = f"distance {fixed(self.value, 3)} ({self.unit}) at {self._where}"
        return f"{self.a} and {self.b} · {found} · n = {self.n_a} and {self.n_b}"

    @property
    def _where(self) -> str:
        """The cuts of both profiles and the coordinate at which they differ most."""
        rows = self.table.dropna(subset="distance").nlargest(1, "distance").to_dict("records")
        cuts = [f"{layer_name(int(row['layer_a']))} and {layer_name(int(row['layer_b']))}" for row in rows]
        return f"{cuts[0]}, {rows[0]['role']} {rows[0]['measure']}" if rows else "no cut"

    def explain(self) -> Explanation:
        """How far apart the profiles are, and where."""
        rest = self.table["distance"].dropna().sort_values().iloc[:-1]
        others = f"At the other couples of cuts on the way the difference is at most {fixed(rest.max(), 3)}. "
        means = (
            f"The profiles are {fixed(self.value, 3)} apart in the unit {self.unit}; 0 would be equal profiles, but for "
            f"repeated cuts. They differ most at {self._where}."
        )
        return Explanation(
            measured="The discrete Fréchet distance: both profiles are walked from the first cut to the last, and the "
            "distance is the largest difference of a coordinate that no way avoids.",
            on=f"{self.a} with n = {self.n_a} queries, {self.b} with n = {self.n_b}; the way has "
            f"{counted(len(self.table), 'couple')} of cuts.",
            means="Nothing: the distance is undefined." if math.isnan(self.value) else means,
            sure=f"No interval was computed; n = {self.n_a} and {self.n_b}. Noise in either profile enlarges it.",
            would_change=f"{others if len(rest) else ''}What counts as far takes a margin, or the distance of replicates; "
            "neither is held.",
        )


def profile_distance(a: Profile, b: Profile) -> ProfileDistance:
    """The discrete Fréchet distance of two profiles; two cuts differ by the largest difference of any coordinate.

    It is never negative, so what is measured on few queries looks farther apart than it is: compare with replicates.

    Args:
        a: a profile.
        b: another one of the same coordinates and unit; it may have more cuts, or fewer.

    Raises:
        ValueError: if coordinates or units differ, or a value is undefined (all problems at once).
    """
    refuse(_problems(a, b))
    first, second = a.matrix, b.matrix[:, [b.coordinates.index(each) for each in a.coordinates]]
    value, coupling = discrete_frechet(first, second)
    rows = []
    for i, j in coupling:
        differences = np.abs(first[i] - second[j])
        role, measure = a.coordinates[int(differences.argmax())]
        place = {"layer_a": a.layers[i], "layer_b": b.layers[j]}
        rows.append(place | {"distance": float(differences.max()), "role": role, "measure": measure})
    n_a, n_b = (int(each.table["n"].min()) for each in (a, b))
    return ProfileDistance(pd.DataFrame(rows), value, a.model, b.model, a.unit, n_a, n_b)


def discrete_frechet(
    a: Float[np.ndarray, "cut_a coordinate"], b: Float[np.ndarray, "cut_b coordinate"]
) -> tuple[float, Coupling]:
    """The distance, and a coupling of cuts on which nothing is larger.

    Args:
        a: values by cut and coordinate, finite; at least one of each.
        b: the same of another profile, with the same coordinates.

    >>> once, twice = np.array([[0.0], [1.0]]), np.array([[0.0], [0.0], [1.0]])
    >>> discrete_frechet(once, twice)
    (0.0, [(0, 0), (0, 1), (1, 2)])
    """
    ground = np.abs(a[:, None] - b[None]).max(-1)
    reach = np.empty_like(ground)
    for cell in np.ndindex(ground.shape):
        reach[cell] = max(ground[cell], min((reach[each] for each in _before(cell)), default=0.0))
    cell = (len(a) - 1, len(b) - 1)
    coupling = [cell]
    while before := _before(cell):
        cell = min(before, key=lambda each: (reach[each], ground[each]))
        coupling.append(cell)
    return float(reach[-1, -1]), coupling[::-1]


def _before(cell: tuple[int, ...]) -> Coupling:
    """From where a step leads to a couple of cuts: from one cut less of both, or of one of them."""
    i, j = cell
    return [(k, m) for k, m in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if k >= 0 and m >= 0]


def _problems(a: Profile, b: Profile) -> list[str]:
    """Why two profiles have no distance."""
    if problems := [f"the profile of {each.model} has no row" for each in (a, b) if not len(each.table)]:
        return problems
    for one, other in ((a, b), (b, a)):
        if lacking := [f"{role} {measure}" for role, measure in one.coordinates if (role, measure) not in other.coordinates]:
            problems.append(f"only the profile of {one.model} has {', '.join(lacking)}")
    if a.unit != b.unit:
        problems.append(f"units differ: {a.unit} and {b.unit}")
    for each in (a, b):
        if not (lacking := np.isnan(each.matrix)).any():
            continue
        reason = f" ({each.reason})" if each.reason else ""
        problems.append(f"{lacking.sum()} of {lacking.size} values of {each.model} are undefined{reason}")
    return problems
