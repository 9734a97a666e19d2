"""Names of positions, by which nodes and edges are called, as in `MLP0@r1`."""

from collections.abc import Sequence
from typing import Any

from .arguments import is_whole, native

ALL_POSITIONS = "all"  # the role that stands for all positions, see `ComputationGraph.together`


def named_roles(roles: Any) -> tuple[Any, ...]:
    """Roles as names; whole numbers become their digits. What is no list of roles is the only one, which is then refused."""
    if isinstance(roles, str) or not isinstance(roles, Sequence):
        return (roles,)
    return tuple(str(int(role)) if is_whole(role) else native(role) for role in roles)


def role_problems(roles: Sequence[Any], n_pos: int | None = None) -> list[str]:
    """Why these are no names of positions, of that number if it is known.

    Whitespace and @ would end a role in the names of nodes and edges.
    """
    if n_pos is not None and len(roles) == 1 and not isinstance(roles[0], str) and hasattr(roles[0], "__len__"):
        return [f"roles is a {type(roles[0]).__name__}, needed are {n_pos} names, as in roles=('h', 'r1', 'r2')"]
    problems = [
        f"a role is a name without whitespace, signs that do not show, and @, got {role!r}"
        for role in roles
        if not isinstance(role, str) or not role or "@" in role or any(map(str.isspace, role)) or not role.isprintable()
    ]
    are_different = len(set(map(repr, roles))) == len(roles)
    if n_pos is None and not (roles and are_different):
        problems.append(f"there must be roles, all different, got {tuple(roles)}")
    if n_pos is not None and not (len(roles) == n_pos and are_different):
        problems.append(f"{n_pos} positions need {n_pos} different roles, got {tuple(roles)}")
    return problems
