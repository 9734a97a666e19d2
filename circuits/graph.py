"""The computation graph of a transformer at named positions: nodes that write, inputs that read, edges between them.

An edge joins two components at one position through the residual stream. What moves information between positions is
attention: the inputs q@i, k@j and v@j of a head meet in its output @i, for every j that i can see. Layers are the
unrolled ones; in a model with shared parameters the weights behind layer L are those of block L mod n_blocks.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

INPUTS = ("q", "k", "v")
_HEAD = re.compile(r"L(\d+)H(\d+)(?:\.([qkv]))?")
_MLP = re.compile(r"MLP(\d+)")


class Node(NamedTuple):
    """A component at a position; a head can also name one of its three inputs.

    Printed as `embed@h` (token and position embedding together), `L2H0@r1`, `MLP2@r1`, `logits@r2`; inputs of a head as
    `L2H0.q@r2`. Without a role it is the component at all positions, `L2H0`.

    >>> Node.parse("L1H0.v@r1")
    Node(kind='head', role='r1', layer=1, head=0, input='v')
    >>> str(Node("mlp", "h", layer=3))
    'MLP3@h'
    """

    kind: Literal["embed", "head", "mlp", "logits"]
    role: str
    layer: int = -1
    head: int = -1
    input: Literal["", "q", "k", "v"] = ""

    def __str__(self) -> str:
        return f"{self.component}@{self.role}" if self.role else self.component

    @property
    def component(self) -> str:
        """The name without the position."""
        if self.kind == "head":
            return f"L{self.layer}H{self.head}" + (f".{self.input}" if self.input else "")
        return f"MLP{self.layer}" if self.kind == "mlp" else self.kind

    @classmethod
    def parse(cls, name: str) -> "Node":
        """The node of a printed name."""
        component, at, role = name.partition("@")
        if bool(at) == bool(role):
            if component in ("embed", "logits"):
                return cls("embed" if component == "embed" else "logits", role)
            if match := _HEAD.fullmatch(component):
                return cls("head", role, int(match[1]), int(match[2]), match[3] or "")  # pyright: ignore[reportArgumentType]
            if match := _MLP.fullmatch(component):
                return cls("mlp", role, int(match[1]))
        raise ValueError(f"{name!r} is no node; names look like embed@h, L0H2@r1, L0H2.k@r1, MLP1@r2 or logits@r2")


class Edge(NamedTuple):
    """From what one component writes to what another reads, at one position.

    >>> str(Edge.parse("MLP0@r1 -> L1H0.v@r1"))
    'MLP0@r1 -> L1H0.v@r1'
    """

    sender: Node
    receiver: Node

    def __str__(self) -> str:
        return f"{self.sender} -> {self.receiver}"

    @property
    def kind(self) -> str:
        """The kind of input that it enters: q, k, v, mlp or logits."""
        return self.receiver.input or self.receiver.kind

    @classmethod
    def parse(cls, name: str) -> "Edge":
        """The edge of a printed name."""
        sender, arrow, receiver = name.partition(" -> ")
        if not arrow:
            raise ValueError(f"{name!r} is no edge; names look like MLP0@r1 -> L1H0.v@r1")
        return cls(Node.parse(sender), Node.parse(receiver))


@dataclass(frozen=True)
class ComputationGraph:
    """Which nodes and edges a model has, and which can matter to the answer at all.

    Attributes:
        roles: names of the positions, in order.
        answer_role: where the answer is read.
        n_layers: unrolled layers.
        n_heads: heads of a layer.
        n_blocks: layers with weights of their own; layer L has those of block L mod n_blocks.
        causal: whether a position sees only itself and earlier ones.
        has_mlp: False for attention-only models.

    >>> graph = ComputationGraph(("h", "r1", "r2"), "r2", n_layers=2, n_heads=1, n_blocks=1)
    >>> len(graph.edges), str(graph.edges[0])
    (44, 'embed@r1 -> L0H0.q@r1')
    """

    roles: tuple[str, ...]
    answer_role: str
    n_layers: int
    n_heads: int
    n_blocks: int
    causal: bool = True
    has_mlp: bool = True

    def __post_init__(self) -> None:
        if self.answer_role not in self.roles:
            raise ValueError(f"answer_role {self.answer_role!r} is not among the roles {self.roles}")

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "ComputationGraph":
        """Read back what `to_dict` gave, also after JSON."""
        return cls(**{**settings, "roles": tuple(settings["roles"])})

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return asdict(self) | {"roles": list(self.roles)}

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """All edges that lie on a path to the answer, from the inputs upwards.

        Left out are those that cannot matter in any model of this shape: into what no later component that leads to
        the answer reads, and into a query (or key) that can attend to one position only.
        """
        return tuple(Edge(sender, receiver) for receiver in self.receivers for sender in self.senders_into(receiver))

    @cached_property
    def component_edges(self) -> tuple[Edge, ...]:
        """The edges without their positions, each once."""
        merged = (Edge(edge.sender._replace(role=""), edge.receiver._replace(role="")) for edge in self.edges)
        return tuple(dict.fromkeys(merged))

    @cached_property
    def receivers(self) -> tuple[Node, ...]:
        """All inputs that can matter to the answer, from the first layer upwards."""
        matters = {self.answer_role}  # the positions whose residual stream matters after the layer at hand
        found: list[Node] = [Node("logits", self.answer_role)]
        for layer in reversed(range(self.n_layers)):
            if self.has_mlp:
                found += [Node("mlp", role, layer) for role in reversed(self.roles) if role in matters]
            reads: dict[Literal["q", "k", "v"], set[str]] = {
                "v": {key for query in matters for key in self.visible_from(query)},
                "k": {key for query in matters for key in self._choices_of(query)},
                "q": {query for query in matters if self._choices_of(query)},
            }
            for head in reversed(range(self.n_heads)):
                for name, positions in reads.items():
                    found += [Node("head", role, layer, head, name) for role in reversed(self.roles) if role in positions]
            matters = matters | reads["v"]
        return tuple(reversed(found))

    @cached_property
    def senders(self) -> tuple[Node, ...]:
        """All nodes whose output can matter to the answer."""
        return tuple(dict.fromkeys(edge.sender for edge in self.edges))

    def senders_into(self, receiver: Node) -> Iterator[Node]:
        """The nodes that write to what `receiver` reads, from the embedding upwards."""
        yield Node("embed", receiver.role)
        below = self.n_layers if receiver.kind == "logits" else receiver.layer
        for layer in range(below):
            yield from self._heads(layer, receiver.role)
            if self.has_mlp:
                yield Node("mlp", receiver.role, layer)
        if receiver.kind == "mlp":
            yield from self._heads(receiver.layer, receiver.role)

    def outputs_of(self, receiver: Node) -> tuple[Node, ...]:
        """The nodes whose output depends on an input directly; none for the logits."""
        if receiver.kind == "logits":
            return ()
        if receiver.kind == "mlp" or receiver.input == "q":
            return (receiver._replace(input=""),)
        readers = (query for query in self.roles if receiver.role in self.visible_from(query))
        return tuple(Node("head", query, receiver.layer, receiver.head) for query in readers)

    def visible_from(self, query: str) -> Sequence[str]:
        """The positions that `query` can attend to."""
        return self.roles[: self.roles.index(query) + 1] if self.causal else self.roles

    def _choices_of(self, query: str) -> Sequence[str]:
        """The positions among which `query` chooses; none if there is only one, as its weight is then always 1."""
        visible = self.visible_from(query)
        return visible if len(visible) > 1 else ()

    def _heads(self, layer: int, role: str) -> Iterator[Node]:
        return (Node("head", role, layer, head) for head in range(self.n_heads))
