"""Nodes and edges, and their names, which parse back."""

from typing import NamedTuple

from .kinds import KINDS, Input
from .plain_text import LONGEST, never_raising, shortened


class Node(NamedTuple):
    """A component at a position; of a kind with several inputs it can also name one.

    Printed as `embed@h` (token and position embedding together), `L2H0@r1`, `MLP2@r1`, `logits@r2`; inputs of a head as
    `L2H0.q@r2`. Without a role it is the component at all positions, `L2H0`. Other kinds are printed as their row of
    `circuits.kinds.KINDS` says.

    Attributes:
        kind: a key of `KINDS`.
        role: the name of the position, or empty.
        layer: the unrolled layer; −1 for what is in none.
        index: among those of one kind in a layer; −1 for kinds of which a layer has one.
        input: the name of one of its inputs, or empty.

    >>> Node.parse("L1H0.v@r1")
    Node(kind='head', role='r1', layer=1, index=0, input='v')
    >>> Node.parse("MLP3@r1")
    Node(kind='mlp', role='r1', layer=3)
    >>> str(Node("mlp", "h", layer=3))
    'MLP3@h'
    """

    kind: str
    role: str
    layer: int = -1
    index: int = -1  # pyright: ignore[reportIncompatibleMethodOverride]  # the word for it, though tuples have a method
    input: str = ""

    def __str__(self) -> str:
        return f"{self.component}@{self.role}" if self.role else self.component

    @never_raising
    def __repr__(self) -> str:
        values = [(name, value) for name, value in self._asdict().items() if value != self._field_defaults.get(name)]
        return shortened(f"Node({', '.join(f'{name}={value!r}' for name, value in values)})", LONGEST)

    @property
    def head(self) -> int:
        """The index of a head."""
        return self.index

    @property
    def component(self) -> str:
        """The name without the position."""
        name = KINDS[self.kind].form.format(layer=self.layer, index=self.index)
        return f"{name}.{self.input}" if self.input else name

    @classmethod
    def parse(cls, name: str) -> "Node":
        """The node of a printed name."""
        if not isinstance(name, str):
            raise TypeError(f"the name of a node is a text, as 'L0H2@r1', got {name!r}")
        component, at, role = name.partition("@")
        if bool(at) == bool(role):
            for kind, row in KINDS.items():
                if match := row.pattern.fullmatch(component):
                    found = match.groupdict()
                    return cls(
                        kind, role, int(found.get("layer", -1)), int(found.get("index", -1)), found.get("input") or ""
                    )
        raise ValueError(
            f"{name!r} is no node; names look like embed@h, L0H2@r1, L0H2.k@r1, MLP1@r2 or logits@r2, "
            f"and the kinds there are: {', '.join(KINDS)}"
        )


class Edge(NamedTuple):
    """From what one component writes to what another reads, at one position.

    >>> str(Edge.parse("MLP0@r1 -> L1H0.v@r1"))
    'MLP0@r1 -> L1H0.v@r1'
    """

    sender: Node
    receiver: Node

    def __str__(self) -> str:
        return f"{self.sender} -> {self.receiver}"

    @never_raising
    def __repr__(self) -> str:
        return shortened(f"Edge(sender={self.sender!r}, receiver={self.receiver!r})", LONGEST)

    @property
    def kind(self) -> str:
        """The kind of input that it enters: q, k, v, mlp or logits, in other graphs the input's or the node's kind."""
        return self.receiver.input or self.receiver.kind

    @property
    def look(self) -> Input:
        """How edges into that input are drawn."""
        return KINDS[self.receiver.kind].input(self.receiver.input)

    @classmethod
    def parse(cls, name: str) -> "Edge":
        """The edge of a printed name."""
        if not isinstance(name, str):
            raise TypeError(f"the name of an edge is a text, as 'MLP0@r1 -> L1H0.v@r1', got {name!r}")
        sender, arrow, receiver = name.partition(" -> ")
        if not arrow:
            raise ValueError(f"{name!r} is no edge; names look like MLP0@r1 -> L1H0.v@r1")
        return cls(Node.parse(sender), Node.parse(receiver))
