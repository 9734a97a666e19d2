"""Literal interventions on a TransformerBridge by torch's hooks on its modules; nothing is shared with the engine.

An input of attention is changed by projecting its changed reading once more and putting the head's slice in place; one of an
MLP or of the logits by changing what the norm before it, or it by itself, is given.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from families import Family
from torch import Tensor

from grokscope.circuits import ComputationGraph, Node


def _norm(parts: Any, name: str) -> Any:
    """A norm, which in TransformerLens 4 has another name if it comes after."""
    return parts[name] if name in parts else parts[f"{name}_post"]


Change = Callable[[Tensor], Tensor]


class LiteralBridge:
    """A bridge with hooks, see above."""

    def __init__(self, bridge: Any, family: Family, graph: ComputationGraph) -> None:
        self.bridge, self.family, self.graph = bridge, family, graph

    @torch.no_grad()
    def run(
        self, tokens: Tensor, changes: Mapping[Node, Change] | None = None, outputs: dict[Node, Tensor] | None = None
    ) -> Tensor:
        """The logits at the answer position with readings changed; what every sender writes is noted in `outputs`."""
        self.shape, self.changes, self.outputs = tokens.shape, changes or {}, {} if outputs is None else outputs
        with contextlib.ExitStack() as stack:
            for handle in self._hooks():
                stack.callback(handle.remove)
            return self.bridge(tokens)[:, self.graph.roles.index(self.graph.answer_role)]

    def _hooks(self) -> list[Any]:
        handles = []
        for layer, block in enumerate(self.bridge.blocks):
            parts, state = block.submodules, {}
            handles.append(block.register_forward_pre_hook(self._noting(layer, state), with_kwargs=True))
            for name in "qkv":
                hook = self._projecting(layer, name, parts, state)
                handles.append(parts["attn"].submodules[name].register_forward_hook(hook))
            handles.append(parts["attn"].submodules["o"].register_forward_hook(self._heads(layer, parts)))
            handles += self._mlp(layer, parts, state)
        last = self._adding(lambda name: Node("logits", name), lambda read: read)
        return [*handles, self.bridge.ln_final.register_forward_pre_hook(last)]

    def _noting(self, layer: int, state: dict[str, Tensor]) -> Any:
        def note(module: Any, args: Any, kwargs: Any) -> None:
            state["residual"] = args[0] if args else kwargs["hidden_states"]
            if layer == 0:
                for position, role in enumerate(self.graph.roles):
                    self.outputs[Node("embed", role)] = state["residual"][:, position]

        return note

    def _projecting(self, layer: int, name: str, parts: Any, state: dict[str, Tensor]) -> Any:
        norm = _norm(parts, self.family.reads) if self.family.reads else None
        module, n = parts["attn"].submodules[name].original_component, self.graph.n_heads
        n = n if name == "q" else self.graph.n_key_value_heads

        def project(component: Any, args: Any, projected: Tensor) -> Tensor:
            found = projected.clone()
            for position, role in enumerate(self.graph.roles):
                for index in range(n):
                    change = self.changes.get(Node("head", role, layer, index, name))
                    if change is not None:
                        read = change(state["residual"][:, position])[:, None]
                        values = module(read if norm is None else norm.forward(read))[:, 0].unflatten(-1, (n, -1))[:, index]
                        found.view(*self.shape, n, -1)[:, position, index] = values
            return found

        return project

    def _heads(self, layer: int, parts: Any) -> Any:
        def note(module: Any, args: Any, written: Tensor) -> None:
            z, written = args[0].view(*self.shape, self.graph.n_heads, -1), written.view(*self.shape, -1)
            bias, original = module.original_component.bias, module.original_component
            ends = torch.zeros(self.graph.n_heads, *args[0].view(*self.shape, -1).shape, dtype=z.dtype)
            for head in range(self.graph.n_heads):  # what the matrix makes of one head's values only
                ends[head].view(*z.shape)[:, :, head] = z[:, :, head]
            alone = original(ends) - (0 if bias is None else bias)
            if self.family.after:
                alone = alone + (0 if bias is None else bias / self.graph.n_heads)
                alone = alone * _norm(parts, self.family.after).forward(written) / written
            for position, role in enumerate(self.graph.roles):
                for head in range(self.graph.n_heads):
                    self.outputs[Node("head", role, layer, head)] = self.family.multiplier * alone[head][:, position]

        return note

    def _mlp(self, layer: int, parts: Any, state: dict[str, Tensor]) -> list[Any]:
        mlp, reads = parts["mlp"], self.family.mlp_reads
        first, last = (mlp.submodules["in"], mlp.submodules["out"]) if mlp.name is None else (mlp, mlp)

        def write(module: Any, args: Any, written: Any) -> None:
            written = written[0] if isinstance(written, tuple) else written
            if self.family.adds:
                written = written - args[1]
            if self.family.mlp_after and module is last:
                written = _norm(parts, self.family.mlp_after).forward(written)
            written = self.family.multiplier * written.view(*self.shape, -1)
            for position, role in enumerate(self.graph.roles):
                self.outputs[Node("mlp", role, layer)] = written[:, position]

        if reads == "ln1":  # attention reads the same norm, so only what the MLP is given is changed
            entered, norm = first, parts["ln1"].forward
            change = self._adding(lambda role: Node("mlp", role, layer), norm, lambda: state["residual"])
        else:
            entered = parts[reads] if reads else first
            change = self._adding(lambda role: Node("mlp", role, layer), lambda read: read)
        return [entered.register_forward_pre_hook(change), last.register_forward_hook(write)]

    def _adding(self, node_at: Callable[[str], Node], then: Change, read_at: Callable[[], Tensor] | None = None) -> Any:
        """A hook that changes what a module is given: what is read, changed at some positions, and then normed."""

        def add(module: Any, args: Any) -> Any:
            given = args[0].view(*self.shape, -1).clone()
            reads = given if read_at is None else read_at()
            for position, role in enumerate(self.graph.roles):
                if (change := self.changes.get(node_at(role))) is not None:
                    given[:, position] = then(change(reads[:, position])[:, None])[:, 0]
            return (given.view(args[0].shape), *args[1:])

        return add
