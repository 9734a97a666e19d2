"""Which conditions are compared: a couple of names, or several, of models that there are."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeGuard

from ...circuits.arguments import shortly
from ...circuits.conditions import Couple, condition_of
from ...circuits.plain_text import shortened


def is_couple(given: Any) -> TypeGuard[Couple]:
    """Whether something is two names."""
    return isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(name, str) for name in given)


def as_couples(compared: Any) -> list[Any]:
    """Several couples as they are, a single one as the only one.

    >>> as_couples(("early", "grokked")), as_couples([("early", "grokked")])
    ([('early', 'grokked')], [('early', 'grokked')])
    """
    return [tuple(each) if is_couple(each) else each for each in ([compared] if is_couple(compared) else compared)]


def models_problems(models: Any, evidence: Any) -> list[str]:
    """Why something is no models by name, or no evidence on each of them."""
    given = {"models": models, "evidence": evidence}
    if no_names := [name for name, each in given.items() if not isinstance(each, Mapping)]:
        return [f"{name} is {shortly(given[name])}, needed is a mapping by name, as in {{'early': …}}" for name in no_names]
    problems = [
        f"models has the name {shortened(repr(name))}, needed is text" for name in models if not isinstance(name, str)
    ]
    return problems + [f"no evidence on {name}" for name in models if name not in evidence]


def compared_problems(models: Any, compared: Any) -> list[str]:
    """Why something is no couple of these models, nor several of them."""
    conditions = _conditions(models)
    there = f"there are {', '.join(conditions) or 'none'}"
    if isinstance(compared, str | Mapping) or not isinstance(compared, Collection) or not len(compared):
        return [
            f"compared is {shortly(compared)}, needed is a couple of names, as in ('early', 'grokked'), or several; {there}"
        ]
    given = as_couples(compared)
    problems = [
        f"compared holds {shortened(repr(each))}, needed are couples of names; {there}"
        for each in given
        if not is_couple(each)
    ]
    couples = [each for each in given if is_couple(each)]
    for name in dict.fromkeys(name for couple in couples for name in couple):
        if name != condition_of(name):
            problems.append(
                f"compared holds {name!r}: replicates are compared with {condition_of(name)!r}, without being named"
            )
        elif name not in conditions:
            problems.append(f"compared holds {name!r}, which is no model; {there}")
    return problems + [f"compared holds {a!r} next to itself" for a, b in couples if a == b]


def _conditions(models: Any) -> list[str]:
    names: Iterable[Any] = models if isinstance(models, Mapping) else ()
    return list(dict.fromkeys(condition_of(name) for name in names if isinstance(name, str)))
