"""Two parts of a set that have nothing in common, such as pairs to choose a circuit on and pairs to judge it on.

Things that share something hang together. Such groups stay whole and are dealt out, the largest first, each to the part that
is smaller so far. Where one group is most of all there is, it is cut: the things in the cut belong to neither part.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence

import numpy as np

Rows = list[int]
Holders = dict[Hashable, Rows]
"""By what things have, those that have it."""


def apart(things: Sequence[Collection[Hashable]]) -> tuple[Rows, Rows]:
    """Two parts of some things, as rows in order, of which no thing of one has anything that a thing of the other has.

    Args:
        things: what each of them has.

    Returns:
        The parts, the larger one first. The same things give the same parts; those of neither are left out. If no group has
        more things than all others together, nothing is left out and sizes differ by at most that of the largest group.

    >>> apart(["ab", "b", "c", "cd", "e"])
    ([0, 1, 4], [2, 3])
    """
    have: Holders = defaultdict(list)
    for row, thing in enumerate(things):
        for each in dict.fromkeys(thing):
            have[each].append(row)
    groups = sorted(_groups(things, have), key=len, reverse=True)
    whole = _dealt([], [], groups)
    cut = _dealt(*_cut(things, have, groups[0]), groups[1:]) if groups else whole
    one, other = max(whole, cut, key=lambda parts: (min(map(len, parts)), sum(map(len, parts))))
    return (sorted(one), sorted(other)) if len(one) >= len(other) else (sorted(other), sorted(one))


def _groups(things: Sequence[Collection[Hashable]], have: Holders) -> list[Rows]:
    """Rows that hang together, directly or through others."""
    found, seen = [], np.zeros(len(things), dtype=bool)
    for start in range(len(things)):
        if seen[start]:
            continue
        seen[start], group = True, [start]
        for row in group:  # which grows meanwhile
            for other in _near(row, things, have):
                if not seen[other]:
                    seen[other] = True
                    group.append(other)
        found.append(group)
    return found


def _dealt(one: Rows, other: Rows, groups: Sequence[Rows]) -> tuple[Rows, Rows]:
    """Both parts after each group went to the smaller of them."""
    parts = ([*one], [*other])
    for group in groups:
        min(parts, key=len).extend(group)
    return parts


def _cut(things: Sequence[Collection[Hashable]], have: Holders, group: Rows) -> tuple[Rows, Rows]:
    """Two parts of one group, and what is left out between them.

    One part grows thing by thing, each time by that which costs the rest the fewest; the moment at which the smaller part is
    largest is kept.
    """
    near = {row: _near(row, things, have) for row in group}
    rest, grown = dict.fromkeys(group), dict[int, None]()
    cost = {row: len(near[row]) for row in group}  # of what is in the rest
    best: tuple[Rows, Rows] = ([], [])
    while rest:
        row = min((row for row in group if row not in grown), key=cost.__getitem__)
        grown[row] = None
        for lost in [other for other in near[row] if other in rest]:
            del rest[lost]
            for other in near[lost]:
                cost[other] -= 1
        if min(len(grown), len(rest)) >= min(map(len, best)):
            best = list(grown), list(rest)
    return best


def _near(row: int, things: Sequence[Collection[Hashable]], have: Holders) -> Rows:
    """The rows that share something with one, itself included."""
    return list(dict.fromkeys([row, *(other for each in things[row] for other in have[each])]))
