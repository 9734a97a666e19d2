"""Longer paths by hooks: each node in between is run with what changed before it on the path, everything else as it was."""

from collections.abc import Collection, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ...circuits import Edge, Node
from .hooked_pass import Edit, noted_on, slots
from .hooks_changes import Passes, added
from .hooks_run import HooksRun, State
from .places import component

Written = dict[Node, Float[Tensor, "query d_model"]]
"""By node, what it writes more than in the plain run."""


@torch.no_grad()
def along_paths(
    passes: Passes, run: HooksRun, ends: Sequence[Edge], changes: Mapping[Node, State], through: Collection[Node]
) -> list[State]:
    """What each path's receiver reads more: what the sender writes more, and what nodes in between make of it.

    Args:
        passes: of the model.
        run: the base prompts.
        ends: sender and receiver of each path.
        changes: by component, what it writes more.
        through: the nodes in between.
    """
    order = passes.graph.number_of
    written: list[Written] = [_at_roles(passes, {sender: changes[component(sender)]}) for sender, _ in ends]
    for kind, layer in dict.fromkeys((node.kind, node.layer) for node in sorted(through, key=order)):
        nodes = [node for node in through if (node.kind, node.layer) == (kind, layer)]
        here = order(nodes[0])
        between = [i for i, (sender, receiver) in enumerate(ends) if order(sender) < here < order(receiver)]
        if between:
            reads = torch.stack([_read(passes, run, written[i], nodes[0]) for i in between])
            made = {
                n: (_head if kind == "head" else _mlp)(passes, run, n, reads) for n in dict.fromkeys(map(component, nodes))
            }
            for row, i in enumerate(between):
                written[i] |= _at_roles(passes, {node: made[component(node)][row] for node in nodes})
    return [_read(passes, run, each, receiver) for each, (_, receiver) in zip(written, ends, strict=True)]


def _at_roles(passes: Passes, by_node: Mapping[Node, State]) -> Written:
    return {node: state[:, passes.graph.roles.index(node.role)] for node, state in by_node.items()}


def _read(passes: Passes, run: HooksRun, written: Written, node: Node) -> State:
    """What a node's inputs read more, at all positions."""
    more = torch.zeros_like(run.last)
    for position, role in enumerate(passes.graph.roles):
        for sender in passes.graph.senders_into(node._replace(role=role)):
            if sender in written:
                more[:, position] += written[sender]
    return more


def _head(
    passes: Passes, run: HooksRun, node: Node, reads: Float[Tensor, "path query pos d_model"]
) -> Float[Tensor, "path query pos d_model"]:
    """What a head writes more if its query, key and value read this more; others that share the two change with it."""
    at, n = passes.points.layers[node.layer], len(reads)
    names = {name: getattr(at, name) for name in "qkv"}
    before: dict[str, list[Edit]] = {at.before: [added(slice(None), slice(None), reads)]}
    noted = noted_on(passes.model, run.prompts, before, names.values(), n=n)
    edits: dict[str, list[Edit]] = {}
    for name, point in names.items():
        n_slots = passes.points.n_slots(name)
        edits[point] = [_slot_of(noted[point], n_slots, node.head * n_slots // passes.graph.n_heads)]
    z = slots(noted_on(passes.model, run.prompts, edits, [at.z], n=n)[at.z], passes.graph.n_heads)
    return (passes.points.writes[node.layer](z) - run.heads[node.layer])[..., node.head, :]


def _slot_of(values: Tensor, n: int, index: int) -> Edit:
    """Takes one head's part over, at all positions."""
    new = slots(values, n)[:, :, :, index]
    return lambda activation: slots(activation, n)[:, :, :, index].copy_(new)


def _mlp(
    passes: Passes, run: HooksRun, node: Node, reads: Float[Tensor, "path query pos d_model"]
) -> Float[Tensor, "path query pos d_model"]:
    """What an MLP writes more if it reads this more."""
    state, point = run.middle[node.layer] + reads, passes.points.layers[node.layer].mlp
    edits = {at: [edit] for at, edit in passes.read_by_mlp(node.layer, slice(None), state)}
    return noted_on(passes.model, run.prompts, edits, [point], n=len(reads))[point] - run.mlp[node.layer]
