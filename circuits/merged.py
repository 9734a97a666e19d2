"""Circuits of models with shared parameters, seen by weights: one row for an edge between weights, whatever the loop.

Unrolled, a node is a component in a loop; merged, it is a set of weights, with the loops in which it works. That shows, for
example, that the same MLP looks up the first hop in loop 0 at r1 and the second one in loop 2 at r2.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import pandas as pd

from .circuit import Circuit
from .columns import Columns
from .explanation import Explanation, largest, without_rows
from .graph import ComputationGraph
from .kinds import KINDS
from .node import Node
from .plain_text import counted
from .result import Result
from .units import fixed, shown


@dataclass(frozen=True, eq=False)
class MergedCircuit(Result):
    """A circuit by weights.

    Attributes:
        table: a row for each measured edge with sender and receiver as weights (`H0`, `MLP`, a head's input `H0.v`; with
            several blocks `B1.H0`; `embed`, `logits`), role, sender_loop, receiver_loop (−1 for what reads nothing, as the
            embedding, the number of loops for the answer), effect, stderr and kept.
        n_loops: how often the blocks are applied.
        label: the model's name.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(words="sender receiver role", numbers="effect stderr", whole="sender_loop receiver_loop", flags="kept"),
    ]
    n_loops: int
    label: str

    @property
    def edges(self) -> pd.DataFrame:
        """A row for each kept edge between weights and role: in which loops, with which effects, and how many."""
        kept = self.table[self.table["kept"]]
        where = kept["sender_loop"].astype(str) + " → " + kept["receiver_loop"].astype(str)
        kept = kept.assign(loops=where, shown=kept["effect"].map(partial(fixed, digits=3, plus=True)))
        grouped = kept.groupby(["sender", "receiver", "role"], sort=False)
        return grouped.agg(
            loops=("loops", ", ".join), effects=("shown", ", ".join), largest=("effect", _largest), n=("effect", "size")
        ).reset_index()

    @property
    def uses(self) -> pd.DataFrame:
        """What weights are used for: a row for each sender, role and loop with a kept edge out of it, and its strongest."""
        kept = self.table[self.table["kept"] & (self.table["sender_loop"] >= 0)]
        strongest = kept.assign(size=kept["effect"].abs()).sort_values("size", ascending=False, kind="stable")
        found = strongest.groupby(["sender", "role", "sender_loop"], sort=True).first().reset_index()
        return found.rename(columns={"sender_loop": "loop", "receiver": "read_by", "receiver_loop": "in_loop"})[
            ["sender", "role", "loop", "read_by", "in_loop", "effect"]
        ]

    @property
    def n_reused(self) -> int:
        """How many sets of weights are used in more than one loop."""
        return int((self.uses.groupby("sender")["loop"].nunique() > 1).sum())

    @property
    def caption(self) -> str:
        """The model, and what is used more than once."""
        n = self.uses["sender"].nunique()
        return f"{self.label} · {self.n_loops} loops · {self.n_reused} of {n} sets of weights are used in more than one loop"

    def explain(self) -> Explanation:
        """How many sets of weights work in several loops."""
        uses, kept = self.uses, self.table[self.table["kept"]]
        if self.table.empty:
            return without_rows(self.label)
        best = largest(kept, "effect")
        error = (
            f"the largest effect, {shown(best['effect'])} from {best['sender']} into {best['receiver']} at {best['role']}, "
            f"has a standard error of {shown(best['stderr'])}"
            if best and best["stderr"] == best["stderr"]
            else "no standard error is held"
        )
        return Explanation(
            measured="In which loops each set of weights sends along a kept edge of the circuit, whatever the layer.",
            on=f"{self.label}, {counted(self.n_loops, 'loop')}, {counted(len(kept), 'kept edge')} of {len(self.table):,} "
            "measured ones.",
            means=f"{self.n_reused} of {counted(uses['sender'].nunique(), 'set')} of weights are used in more than one loop "
            "(0 is none).",
            sure=f"This is a count, with no interval; {error}.",
            would_change="Another cut of the circuit: weights are used where an edge out of them is kept, and "
            f"{counted(len(self.table) - len(kept), 'edge')} are not.",
        )


def merge_loops(circuit: Circuit) -> MergedCircuit:
    """See a circuit by weights instead of by layers.

    Args:
        circuit: of any model; without shared parameters there is one loop.
    """
    graph = circuit.graph
    rows = [
        {"sender": weights_of(edge.sender, graph), "receiver": weights_of(edge.receiver, graph), "role": edge.receiver.role}
        | {"sender_loop": graph.loop_of(edge.sender), "receiver_loop": graph.loop_of(edge.receiver)}
        for edge in circuit.measured_edges
    ]
    table = pd.DataFrame(rows).assign(**{name: circuit.table[name].to_numpy() for name in ("effect", "stderr", "kept")})
    return MergedCircuit(table, graph.n_loops, str(circuit.provenance.get("model", "circuit")))


def weights_of(node: Node, graph: ComputationGraph) -> str:
    """The name of a node's weights, whatever the loop and position: `H0.v`, `MLP`, with several blocks `B1.H0`."""
    name = KINDS[node.kind].weights_form.format(index=node.index) + (f".{node.input}" if node.input else "")
    if node.layer < 0 or graph.n_blocks == 1:
        return name
    return f"B{graph.first_use(node).layer}.{name}"


def _largest(effects: pd.Series) -> float:
    return float(effects.iloc[int(effects.abs().argmax())])
