"""The steps of a computation: components of one kind that work side by side, what they read and what they share."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from .arguments import make_native, shortly
from .kinds import KINDS, Input
from .node import Node
from .plain_text import LONGEST, never_raising, shortened
from .roles import named_roles, role_problems


@dataclass(frozen=True)
class Step:
    """Components of one kind that work side by side, at all positions.

    Attributes:
        kind: a key of `circuits.kinds.KINDS`.
        layer: the unrolled layer; −1 for what is in none, such as an embedding.
        n: how many there are.
        group: of the weights: steps of one kind and group share theirs. Each layer has its own if not given.
        reads: numbers of the steps whose outputs add up to what these components read; all earlier ones if not given.
        n_sharing: how many neighbours share each input that can be shared: the heads of a group in grouped-query attention.
        sinks: whether looking nowhere can be chosen, too, as with attention sinks: then a choice matters at every position.
        sees: for each position, in order, the names of those on which the output there depends; only itself if not given,
            and none where there is no such component.
    """

    kind: str
    layer: int = -1
    n: int = 1
    group: int | None = None
    n_sharing: int = 1
    sinks: bool = False
    reads: tuple[int, ...] | None = None
    sees: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        make_native(self)

    @never_raising
    def __repr__(self) -> str:
        given = [
            f"{each.name}={value!r}" for each in fields(self)[1:] if (value := getattr(self, each.name)) != each.default
        ]
        return shortened(f"Step({', '.join([repr(self.kind), *given])})", LONGEST)

    @property
    def weights(self) -> tuple[str, int | None]:
        """What steps that share weights have in common."""
        return self.kind, self.group

    @property
    def indices(self) -> Sequence[int]:
        """The numbers in the names of its components; −1 for a kind of which a layer has one."""
        return range(self.n) if KINDS[self.kind].is_numbered else (-1,)


def indices_of(step: Step, entered: Input) -> Sequence[int]:
    """The numbers in the names of one of a step's inputs: fewer than components, if they share it."""
    return range(step.n // step.n_sharing) if entered.is_shared and step.n_sharing > 1 else step.indices


def sharing(step: Step, index: int, entered: Input) -> Sequence[int]:
    """The numbers of the components that read an input."""
    if not entered.is_shared or step.n_sharing == 1:
        return (index,)
    return range(index * step.n_sharing, (index + 1) * step.n_sharing)


def with_named_roles(step: Step) -> Step:
    """The step with the roles it sees as names."""
    return step if step.sees is None else replace(step, sees=tuple(named_roles(tuple(seen)) for seen in step.sees))


def roles_and_answer_problems(roles: Any, answer_role: Any) -> list[str]:
    """Why these are no names of positions, one of which holds the answer."""
    if isinstance(roles, str) or not isinstance(roles, Iterable):
        return [
            f"roles is {shortly(roles)}, needed are names, as in roles=('h', 'r1', 'r2'); answer_role is {answer_role!r}"
        ]
    names, answer = named_roles(tuple(roles)), named_roles([answer_role])[0]
    problems = [] if answer in names else [f"answer_role {answer!r} is not among the roles {names}"]
    return problems + role_problems(names)


def completed(steps: Sequence[Step], roles: Sequence[Any]) -> tuple[Step, ...]:
    """The steps with everything given that was left to default, so that equal graphs compare equal."""
    alone = tuple((role,) for role in roles)
    found = []
    for number, step in enumerate(steps):
        reads = step.reads if step.reads is not None else tuple(range(number)) if KINDS[step.kind].inputs else ()
        group = step.layer if step.group is None else step.group
        found.append(replace(step, group=group, reads=reads, sees=alone if step.sees is None else step.sees))
    return tuple(found)


def problems_of(steps: Sequence[Step], roles: Sequence[Any]) -> list[str]:
    """Everything by which steps do not make a graph; empty if they do."""
    if unknown := sorted({step.kind for step in steps} - set(KINDS)):
        return [f"kinds must be rows of circuits.kinds.KINDS ({', '.join(KINDS)}), got {', '.join(unknown)}"]
    problems = [
        f"step {number} ({step.kind}, layer {step.layer}) {problem}"
        for number, step in enumerate(steps)
        for problem in _problems_of_one(number, step, roles)
    ]
    problems += _names_that_do_not_parse(steps)
    named = Counter((step.kind, step.layer) for step in steps)
    problems += [f"{n} steps are of kind {kind} and layer {layer}" for (kind, layer), n in named.items() if n > 1]
    sizes = {step.weights: set[int]() for step in completed(steps, roles)}
    for step in completed(steps, roles):
        sizes[step.weights].add(step.n)
    problems += [f"steps of {kind}, group {group} differ in n" for (kind, group), n in sizes.items() if len(n) > 1]
    if not steps or [each.name for each in KINDS[steps[-1].kind].inputs] != [""] or steps[-1].n != 1:
        problems.append("the last step must be one component with one input, of which the answer is read")
    return problems


def _problems_of_one(number: int, step: Step, roles: Sequence[Any]) -> list[str]:
    kind, reads = KINDS[step.kind], step.reads
    problems = []
    if step.n < 1 or (step.n > 1 and not kind.is_numbered):
        problems.append(f"has n = {step.n}, but names {kind.form} are for {'1 or more' if kind.is_numbered else 'one'}")
    if step.n_sharing < 1 or step.n % step.n_sharing:
        problems.append(f"has n = {step.n}, which cannot be shared out to n_sharing = {step.n_sharing} at a time")
    if step.n_sharing > 1 and not any(each.is_shared for each in kind.inputs):
        problems.append(f"has n_sharing = {step.n_sharing}, and no input that can be shared")
    if reads is not None and not all(0 <= each < number for each in reads):
        problems.append(f"reads {reads}, but only earlier steps can be read")
    if bool(kind.inputs) != bool(number if reads is None and kind.inputs else reads):
        problems.append("has inputs and reads nothing" if kind.inputs else "reads steps and has no inputs")
    if step.sees is not None and (len(step.sees) != len(roles) or not {r for seen in step.sees for r in seen} <= set(roles)):
        problems.append(f"sees {step.sees}, which is not one tuple of roles for each of {tuple(roles)}")
    return problems


def _names_that_do_not_parse(steps: Sequence[Step]) -> list[str]:
    """Steps whose nodes print as another kind's do, so that saved names would read back as other nodes."""
    problems = []
    for step in steps:
        node = Node(step.kind, "", step.layer, step.n - 1 if KINDS[step.kind].is_numbered else -1)
        try:
            parsed = Node.parse(str(node))
        except (KeyError, ValueError):
            parsed = None
        if parsed != node:
            problems.append(f"nodes of kind {step.kind}, layer {step.layer}, print as {node}, which reads as {parsed!r}")
    return problems
