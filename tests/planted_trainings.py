"""Distances of trainings whose truth is known: each training is a point, a condition is a place around which they lie.

So the distances of a graph depend on each other as they do in a study: a training that is odd is far from all others.
"""

from collections.abc import Iterator

import numpy as np

DIMENSIONS = 12  # so that distances of one kind vary by about a fifth, as those of state profiles do
APART = 0.02  # typical distance of two trainings of one condition
SEPARATE = 0.4  # of two conditions that differ
ODD = 0.3
TRUTHS = {
    "same": "same",
    "different": "different",
    "one odd graph": "undecided",
    "one odd replicate": "undecided",
    "replicates disagree": "undecided",
    "different, but replicates disagree": "undecided",
    "identical": "same",
}
"""By world, what must be said of it."""

Distances = dict[tuple[str, str], float]


def distances(points: dict[str, np.ndarray]) -> Distances:
    """Of all pairs."""
    names = list(points)
    return {(a, b): float(np.linalg.norm(points[a] - points[b])) for i, a in enumerate(names) for b in names[i + 1 :]}


def trainings(
    rng: np.random.Generator, apart: float, separate: float, names: tuple[str, str] = ("a", "b")
) -> dict[str, np.ndarray]:
    """Two trainings of each condition."""
    scale = apart * np.exp(0.3 * rng.normal()) / np.sqrt(2 * DIMENSIONS)  # graphs differ in how alike trainings come out
    away = rng.normal(size=DIMENSIONS)
    places = dict(zip(names, (np.zeros(DIMENSIONS), separate * away / np.linalg.norm(away)), strict=True))
    return {
        name + again: place + scale * rng.normal(size=DIMENSIONS)
        for name, place in places.items()
        for again in ("", " again")
    }


def study(world: str, n: int, *, seed: int, names: tuple[str, str] = ("a", "b")) -> dict[int, Distances]:
    """Distances by graph."""
    rng = np.random.default_rng([seed, n])
    apart = ODD if "replicates disagree" in world else 0.0 if world == "identical" else APART
    separate = SEPARATE if world.startswith("different") else 0.0
    graphs = [trainings(rng, apart, separate, names) for _ in range(n)]
    odd = np.full(DIMENSIONS, ODD / np.sqrt(DIMENSIONS))
    if world == "one odd graph":
        graphs[-1] |= {name: place + odd for name, place in graphs[-1].items() if name.startswith(names[1])}
    if world == "one odd replicate":
        graphs[-1] |= {names[1] + " again": graphs[-1][names[1] + " again"] + odd}
    return {number: distances(points) for number, points in enumerate(graphs)}


def studies(world: str, n: int, draws: int) -> Iterator[dict[int, Distances]]:
    """One after the other, each with another seed."""
    return (study(world, n, seed=seed) for seed in range(draws))
