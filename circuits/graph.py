"""A computation graph at named positions: nodes that write, inputs that read, edges between them.

An edge joins two components at one position, where the outputs of earlier components add up to what a later one reads.
Components that see several positions move information between them: in attention the inputs q@i, k@j and v@j of a head
meet in its output @i, for every j that i can see. Layers are the unrolled ones; some of them may share their weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, ClassVar

from .arguments import flag_problems, refuse
from .graph_settings import check_settings
from .kinds import KINDS
from .node import Edge, Node
from .plain_text import LONGEST, never_raising, shortened
from .roles import ALL_POSITIONS, named_roles
from .step import Step, completed, indices_of, problems_of, roles_and_answer_problems, sharing, with_named_roles
from .transformer import size_problems, transformer_settings, transformer_steps


@dataclass(frozen=True, repr=False)
class ComputationGraph:
    """Which nodes and edges a model has, and which can matter to the answer at all.

    Attributes:
        roles: names of the positions, in order, without whitespace and @; whole numbers become their digits.
        answer_role: where the answer is read.
        steps: in the order of computation, the last one gives the answer.

    >>> graph = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=2, n_heads=1, n_blocks=1)
    >>> len(graph.edges), str(graph.edges[0])
    (44, 'embed@r1 -> L0H0.q@r1')
    >>> steps = (Step("embed"), Step("mlp", layer=0), Step("mlp", layer=1, reads=(1,)), Step("logits", reads=(2,)))
    >>> [str(edge) for edge in ComputationGraph(("x",), "x", steps).edges]
    ['embed@x -> MLP0@x', 'MLP0@x -> MLP1@x', 'MLP1@x -> logits@x']
    """

    roles: tuple[str, ...]
    answer_role: str
    steps: tuple[Step, ...]

    __no_type_check__: ClassVar[bool] = True  # what is wrong is said below, in words and all at once

    def __post_init__(self) -> None:
        problems = roles_and_answer_problems(self.roles, self.answer_role)
        if isinstance(self.roles, str) or not isinstance(self.roles, Sequence):
            refuse(problems)
        object.__setattr__(self, "roles", named_roles(self.roles))
        if not all(isinstance(role, str) for role in self.roles):
            refuse(problems)  # steps can be looked at only with names
        object.__setattr__(self, "answer_role", named_roles([self.answer_role])[0])
        object.__setattr__(self, "steps", tuple(map(with_named_roles, self.steps)))
        refuse(problems + problems_of(self.steps, self.roles))
        object.__setattr__(self, "steps", completed(self.steps, self.roles))

    @classmethod
    def transformer(
        cls,
        roles: Sequence[str | int],
        answer_role: str | int,
        n_layers: int,
        n_heads: int,
        n_blocks: int,
        causal: bool = True,
        has_mlp: bool = True,
        n_key_value_heads: int | None = None,
        parallel: bool = False,
        sinks: bool = False,
    ) -> "ComputationGraph":
        """The graph of a transformer whose layers are attention and an MLP on one residual stream.

        Args:
            roles: names of the positions, in order.
            answer_role: where the answer is read.
            n_layers: unrolled layers.
            n_heads: heads of a layer.
            n_blocks: layers with distinct weights; layer L has those of block L mod n_blocks.
            causal: whether a position sees only itself and earlier ones.
            has_mlp: False for attention-only models.
            n_key_value_heads: keys and values of a layer, if neighbouring heads share them (grouped-query attention): the
                inputs k and v are numbered by these, and reach every head of their group.
            parallel: whether a layer's MLP reads what its attention reads, instead of what attention leaves.
            sinks: whether heads can also look nowhere.

        Raises:
            ValueError: if answer_role is not among the roles, or a role is no name.
        """
        counts = {"n_layers": n_layers, "n_heads": n_heads, "n_blocks": n_blocks, "n_key_value_heads": n_key_value_heads}
        flags = {"causal": causal, "has_mlp": has_mlp, "parallel": parallel, "sinks": sinks}
        problems = roles_and_answer_problems(roles, answer_role) + size_problems(**counts) + flag_problems(**flags)
        refuse(problems)
        names = named_roles(roles)
        return cls(names, named_roles([answer_role])[0], transformer_steps(names, **counts, **flags))

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "ComputationGraph":
        """Read back what `to_dict` gave, also after JSON.

        Raises:
            ValueError: if it is no such settings, or of a graph too large to be read; the message says all that is wrong.
        """
        check_settings(settings)
        if "steps" not in settings:
            return cls.transformer(**{**settings, "roles": tuple(settings["roles"])})
        steps = (
            Step(**{**step, "reads": tuple(step["reads"]), "sees": tuple(map(tuple, step["sees"]))})
            for step in settings["steps"]
        )
        return cls(tuple(settings["roles"]), settings["answer_role"], tuple(steps))

    def to_dict(self) -> dict[str, Any]:
        """The graph as JSON values: a transformer's sizes, or every step of another graph."""
        where = {"roles": list(self.roles), "answer_role": self.answer_role}
        if self._transformer is not None:
            return where | self._transformer
        steps = [
            asdict(step) | {"reads": list(step.reads or ()), "sees": [*map(list, step.sees or ())]} for step in self.steps
        ]
        return where | {"steps": steps}

    @never_raising
    def __repr__(self) -> str:
        where = f"roles={self.roles}, answer_role={self.answer_role!r}"
        if self._transformer is not None:
            sizes = ", ".join(f"{name}={value}" for name, value in self._transformer.items() if value is not True)
            return shortened(f"ComputationGraph.transformer({where}, {sizes})", LONGEST)
        steps = ", ".join(f"{step.kind} {step.layer}" if step.layer >= 0 else step.kind for step in self.steps)
        return shortened(f"ComputationGraph({where}, steps: {steps})", LONGEST)

    # Nodes and edges

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """All edges that lie on a path to the answer, from the inputs upwards.

        Left out are those that cannot matter in any model of this shape: into what no later component that leads to
        the answer reads, and into a query (or key) that can attend to one position only.
        """
        return tuple(Edge(sender, receiver) for receiver in self.receivers for sender in self.senders_into(receiver))

    @cached_property
    def n_edges(self) -> int:
        """How many edges there are; they are counted without making them."""
        return sum(len(self.senders_into(receiver)) for receiver in self.receivers)

    @cached_property
    def component_edges(self) -> tuple[Edge, ...]:
        """The edges without their positions, each once."""
        positions: dict[Node, list[str]] = {}
        for receiver in self.receivers:
            positions.setdefault(receiver._replace(role=""), []).append(receiver.role)
        writers: dict[tuple[int, tuple[str, ...]], tuple[Node, ...]] = {}  # many inputs read the same
        for receiver, roles in positions.items():
            at = self.number_of(receiver), tuple(roles)
            if at not in writers:
                nodes = (node._replace(role="") for role in roles for node in self._writers[at[0], role])
                writers[at] = tuple(dict.fromkeys(nodes))
        return tuple(
            Edge(sender, receiver)
            for receiver, roles in positions.items()
            for sender in writers[self.number_of(receiver), tuple(roles)]
        )

    @cached_property
    def receivers(self) -> tuple[Node, ...]:
        """All inputs that can matter to the answer, from the first step upwards."""
        matters: list[set[str]] = [set() for _ in self.steps]  # the positions at which each step's output matters
        matters[-1] = {self.answer_role}
        found: list[list[Node]] = []
        for step, positions in zip(reversed(self.steps), reversed(matters), strict=True):
            read_at = self._read_at(step, positions)
            for number in step.reads or ():
                matters[number].update(*read_at.values())
            found.append(
                [
                    Node(step.kind, role, step.layer, index, name)
                    for index in step.indices
                    for name, where in read_at.items()
                    if index in indices_of(step, KINDS[step.kind].input(name))
                    for role in self.roles
                    if role in where
                ]
            )
        return tuple(node for nodes in reversed(found) for node in nodes)

    @cached_property
    def senders(self) -> tuple[Node, ...]:
        """All nodes whose output can matter to the answer."""
        read = dict.fromkeys((self.number_of(receiver), receiver.role) for receiver in self.receivers)
        return tuple(dict.fromkeys(node for each in read for node in self._writers[each]))

    @cached_property
    def sources(self) -> frozenset[Node]:
        """The nodes that read nothing, such as the embedding at each position."""
        steps = [number for number, step in enumerate(self.steps) if not step.reads]
        return frozenset(node for number in steps for role in self.roles for node in self._nodes_at[number, role])

    @property
    def answer(self) -> Node:
        """The input of which the answer is read."""
        return Node(self.steps[-1].kind, self.answer_role, self.steps[-1].layer)

    def senders_into(self, receiver: Node) -> tuple[Node, ...]:
        """The nodes that write to what `receiver` reads, from the first step upwards."""
        return self._writers[self.number_of(receiver), receiver.role]

    def outputs_of(self, receiver: Node) -> tuple[Node, ...]:
        """The nodes whose output depends on an input directly; none for the last step."""
        self.number_of(receiver)
        if receiver not in self._outputs:
            self._outputs[receiver] = self._find_outputs(receiver)
        return self._outputs[receiver]

    def component_of(self, receiver: Node) -> Node:
        """The component that has an input; of several that share it the first."""
        step, entered = self.steps[self.number_of(receiver)], KINDS[receiver.kind].input(receiver.input)
        return receiver._replace(index=sharing(step, receiver.index, entered)[0], input="")

    def visible_from(self, role: str) -> Sequence[str]:
        """The positions on which the output of a step at `role` can depend directly: what a head there attends to."""
        refuse((), unknown=[] if role in self.roles else [f"no role {role!r}; there are {', '.join(self.roles)}"])
        place = self.roles.index(role)
        return max(((step.sees or ())[place] for step in self.steps), key=len)

    def number_of(self, node: Node) -> int:
        """The number of the step to which a node belongs."""
        if not isinstance(node, Node):
            raise TypeError(f"a node is needed, as of Node.parse('L0H0@h'), got {node!r}")
        if (node.kind, node.layer) not in self._numbers:
            raise KeyError(f"no node {node} in this graph of {self.n_layers} layers")
        return self._numbers[node.kind, node.layer]

    # Weights

    @cached_property
    def by_weights(self) -> dict[tuple[str, int | None], tuple[Step, ...]]:
        """The steps that use the same weights, by kind and group, in order."""
        found: dict[tuple[str, int | None], tuple[Step, ...]] = {}
        for step in self.steps:
            found[step.weights] = (*found.get(step.weights, ()), step)
        return found

    @cached_property
    def n_loops(self) -> int:
        """How often the weights that are used most often are used."""
        return max(map(len, self.by_weights.values()))

    def loop_of(self, node: Node) -> int:
        """How often a node's weights were used before; −1 for a source, the number of loops for the answer."""
        step = self.steps[self.number_of(node)]
        if not step.reads:
            return -1
        return self.n_loops if step is self.steps[-1] else self.by_weights[step.weights].index(step)

    def first_use(self, node: Node) -> Node:
        """The node of the same weights in the first loop."""
        step = self.steps[self.number_of(node)]
        return node._replace(layer=self.by_weights[step.weights][0].layer)

    def first_loop(self) -> "ComputationGraph":
        """The graph in which all weights are used once."""
        first = {self._numbers[steps[0].kind, steps[0].layer] for steps in self.by_weights.values()}
        place = {number: new for new, number in enumerate(sorted(first))}
        steps = (
            replace(self.steps[number], reads=tuple(place[each] for each in self.steps[number].reads or () if each in place))
            for number in place
        )
        return replace(self, steps=tuple(steps))

    def untied(self) -> "ComputationGraph":
        """The same graph if no layers shared weights."""
        return replace(self, steps=tuple(replace(step, group=step.layer) for step in self.steps))

    @cached_property
    def together(self) -> "ComputationGraph":
        """The graph of edges that stand for all positions: one role, `all`, and the edges are `component_edges`.

        Which positions heads choose from is not told apart in it, but there are some: queries and keys matter, as if they
        could look nowhere (`Step.sinks`).
        """
        steps = []
        for step in self.steps:
            has_choice = any(each.is_choice for each in KINDS[step.kind].inputs)
            sees = ((ALL_POSITIONS,),) if any(step.sees or ()) else ((),)
            steps.append(replace(step, sees=sees, sinks=step.sinks or has_choice))
        return ComputationGraph((ALL_POSITIONS,), ALL_POSITIONS, tuple(steps))

    @property
    def is_together(self) -> bool:
        """Whether one role stands for all positions, see `together`."""
        return self.roles == (ALL_POSITIONS,)

    # Sizes

    @property
    def n_layers(self) -> int:
        """Unrolled layers."""
        return 1 + max(step.layer for step in self.steps)

    @cached_property
    def n_blocks(self) -> int:
        """Layers with distinct weights."""
        return len({steps[0].layer for steps in self.by_weights.values() if steps[0].layer >= 0})

    @property
    def is_transformer(self) -> bool:
        """Whether it is a graph that `transformer` makes."""
        return self._transformer is not None

    @property
    def n_heads(self) -> int:
        """Heads of a transformer's layer."""
        return self._size("n_heads")

    @property
    def n_key_value_heads(self) -> int:
        """Keys and values of a transformer's layer; as many as heads, unless these share them."""
        return self._size("n_key_value_heads", self.n_heads)

    @property
    def parallel(self) -> bool:
        """Whether in a transformer a layer's MLP reads what its attention reads."""
        return self._size("parallel", False)

    @property
    def causal(self) -> bool:
        """Whether in a transformer a position sees only itself and earlier ones."""
        return self._size("causal")

    @property
    def has_mlp(self) -> bool:
        """False for an attention-only transformer."""
        return self._size("has_mlp")

    @cached_property
    def _transformer(self) -> dict[str, Any] | None:
        return transformer_settings(self.roles, self.steps)

    def _size(self, name: str, default: Any = None) -> Any:
        if self._transformer is None:
            raise ValueError(f"only a transformer's graph has {name}, this is {self!r}")
        return self._transformer.get(name, default)

    # What is looked up in loops

    @cached_property
    def n_writing_before(self) -> tuple[int, ...]:
        """By step, how many components write at a position before it."""
        return tuple(accumulate((step.n for step in self.steps[:-1]), initial=0))

    @cached_property
    def _numbers(self) -> dict[tuple[str, int], int]:
        return {(step.kind, step.layer): number for number, step in enumerate(self.steps)}

    @cached_property
    def _nodes_at(self) -> dict[tuple[int, str], tuple[Node, ...]]:
        """By step and role, its components there."""
        return {
            (number, role): tuple(Node(step.kind, role, step.layer, index) for index in step.indices) if seen else ()
            for number, step in enumerate(self.steps)
            for role, seen in zip(self.roles, step.sees or (), strict=True)
        }

    @cached_property
    def _writers(self) -> dict[tuple[int, str], tuple[Node, ...]]:
        """By step and role, the components that write to what it reads there."""
        return {
            (number, role): tuple(node for earlier in step.reads or () for node in self._nodes_at[earlier, role])
            for number, step in enumerate(self.steps)
            for role in self.roles
        }

    @cached_property
    def _outputs(self) -> dict[Node, tuple[Node, ...]]:
        return {}

    def _find_outputs(self, receiver: Node) -> tuple[Node, ...]:
        step = self.steps[self.number_of(receiver)]
        if step is self.steps[-1]:
            return ()
        entered = KINDS[receiver.kind].input(receiver.input)
        indices, readers = sharing(step, receiver.index, entered), [receiver.role]
        if not entered.is_local:
            readers = [role for role, seen in zip(self.roles, step.sees or (), strict=True) if receiver.role in seen]
        return tuple(Node(receiver.kind, role, receiver.layer, index) for index in indices for role in readers)

    def _read_at(self, step: Step, positions: set[str]) -> dict[str, set[str]]:
        """By input of a step, the positions at which it can matter to outputs at `positions`."""
        found = {}
        for each in KINDS[step.kind].inputs:
            seen = {role: sees for role, sees in zip(self.roles, step.sees or (), strict=True) if role in positions}
            if each.is_choice and not step.sinks:
                seen = {role: sees for role, sees in seen.items() if len(sees) > 1}
            found[each.name] = set(seen) if each.is_local else {other for sees in seen.values() for other in sees}
        return found
