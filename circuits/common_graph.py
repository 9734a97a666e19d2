"""The graph that two graphs with different roles have in common, once the roles of one are given their names in the other.

Roles without a counterpart are left out, and with them all that is seen there. What remains must be the same in both: the
same steps, of the same sizes and weights, with the same order of sight between positions. Where a role is left out, a choice
of where to look stays one even if there is a single role left to look at, as if heads could look nowhere (`Step.sinks`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from .arguments import shortly
from .graph import ComputationGraph
from .kinds import KINDS
from .plain_text import shortened
from .roles import named_roles
from .step import Step

SIZES = ("n_layers", "n_heads", "n_blocks", "n_key_value_heads", "causal", "has_mlp", "parallel", "sinks")
NEEDED = "{'h': 'h', 'r1': 'r1'}"


def as_names(roles: Any) -> dict[Any, Any]:
    """A mapping of roles by their names; whole numbers become their digits. What is no mapping has none."""
    if not isinstance(roles, Mapping):
        return {}
    return dict(zip(named_roles(list(roles)), named_roles(list(roles.values())), strict=True))


def role_mapping_problems(roles: Any, graphs: Mapping[Any, ComputationGraph]) -> list[str]:
    """Why roles of the first graph cannot be named as those of the second, and why nothing would be in common then.

    Args:
        roles: by role of the first graph one of the second, which may be anything.
        graphs: the two, by label.
    """
    if not isinstance(roles, Mapping) or not roles:
        return [f"roles is {shortly(roles)}, needed is a mapping from roles of the first to the second, as in {NEEDED}"]
    names = as_names(roles)
    problems = [f"roles holds {len(roles)} roles, but only {len(names)} names"] if len(names) < len(roles) else []
    for (label, graph), given in zip(graphs.items(), (list(names), list(names.values())), strict=True):
        unknown = [shortly(role) for role in given if not isinstance(role, str) or role not in graph.roles]
        if unknown:
            there = ", ".join(graph.roles)
            problems.append(f"roles names {', '.join(unknown)}, which {label!r} does not have; it has {there}")
    onto: dict[Any, list[Any]] = {}
    for own, other in names.items():
        onto.setdefault(repr(other), []).append(own)
    problems += [
        f"roles leads {' and '.join(map(repr, several))} to one role, {other}"
        for other, several in onto.items()
        if len(several) > 1
    ]
    return problems + (_graph_problems(names, graphs) if not problems else _size_problems(graphs))


def answer_of(graph: ComputationGraph, names: Mapping[str, str]) -> str:
    """The common name of the role where the answer is read; empty if it has none."""
    return names.get(graph.answer_role, "")


def common_graph(first: ComputationGraph, second: ComputationGraph, roles: Mapping[str, str]) -> ComputationGraph:
    """The graph of both, with roles named and ordered as in the second.

    The answer is read where one of the two reads it, or, if neither does at a common role, at the last one.

    Args:
        first: a graph.
        second: another one, which fits, see `role_mapping_problems`.
        roles: by role of the first graph one of the second.
    """
    order = tuple(role for role in second.roles if role in roles.values())
    own = {role: role for role in order}
    answer = answer_of(first, roles) or answer_of(second, own) or order[-1]
    lost = len(order) < max(len(first.roles), len(second.roles))
    steps = [replace(step, sinks=step.sinks or (lost and _chooses(step))) for step in _restricted(second, own, order)]
    return ComputationGraph(order, answer, tuple(steps))


def _restricted(graph: ComputationGraph, names: Mapping[str, str], order: tuple[str, ...]) -> list[Step]:
    """The steps at the roles that have a name, which see what has a name."""
    found = []
    for step in graph.steps:
        seen = {
            names[role]: {names[other] for other in sees if other in names}
            for role, sees in zip(graph.roles, step.sees or (), strict=True)
            if role in names
        }
        found.append(replace(step, sees=tuple(tuple(other for other in order if other in seen[role]) for role in order)))
    return found


def _chooses(step: Step) -> bool:
    return any(each.is_choice for each in KINDS[step.kind].inputs)


def _size_problems(graphs: Mapping[Any, ComputationGraph]) -> list[str]:
    """In which sizes two graphs differ."""
    first, second = graphs.values()
    if first.is_transformer and second.is_transformer:
        sizes = {name: [graph.to_dict().get(name) for graph in graphs.values()] for name in SIZES}
    else:
        sizes = {"kinds of steps": [[(step.kind, step.layer) for step in graph.steps] for graph in graphs.values()]}
    differ = [f"{name} ({shortened(a)} and {shortened(b)})" for name, (a, b) in sizes.items() if a != b]
    where = " and ".join(map(repr, graphs))
    return [f"the graphs of {where} differ in {', '.join(differ)}; layers, heads and loops must agree"] if differ else []


def _graph_problems(names: Mapping[str, str], graphs: Mapping[Any, ComputationGraph]) -> list[str]:
    """Why what is left of two graphs at their common roles is not the same."""
    if problems := _size_problems(graphs):
        return problems
    first, second = graphs.values()
    order = tuple(role for role in second.roles if role in names.values())
    own = {role: role for role in order}
    answers = answer_of(first, names), answer_of(second, own)
    problems = []
    if all(answers) and answers[0] != answers[1]:
        problems.append(
            f"both answers are read at common roles, {answers[0]} and {answers[1]}, and these are two; leave one of them out"
        )
    steps = zip(_restricted(first, names, order), _restricted(second, own, order), strict=True)
    differ = next((each for pair in steps for each in _step_differences(*pair, order)), "")
    return problems + (
        [f"at the common roles the graphs of {' and '.join(map(repr, graphs))} differ: {differ}"] * bool(differ)
    )


def _step_differences(one: Step, other: Step, order: tuple[str, ...]) -> Iterator[str]:
    """What two steps differ in, in words."""
    where = f"{one.kind}{f' of layer {one.layer}' if one.layer >= 0 else ''}"
    for role, *seen in zip(order, one.sees or (), other.sees or (), strict=True):
        if seen[0] != seen[1]:
            sees = [", ".join(each) or "nothing" for each in seen]
            yield f"{where} at {role} sees {sees[0]} in the first and {sees[1]} in the second"
    for name in (field.name for field in fields(Step) if field.name != "sees"):
        if getattr(one, name) != getattr(other, name):
            yield f"{where} has {name} = {getattr(one, name)} in the first and {getattr(other, name)} in the second"
