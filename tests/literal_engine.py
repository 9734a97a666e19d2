"""A second engine, made of hooked runs only: what it can answer is all that measuring effects needs of a model."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grokscope.analyses.forward import literal
from grokscope.analyses.forward.places import (
    Differences,
    Gradients,
    Logits,
    Objective,
    Sublayer,
    component,
    input_place,
    order_of,
    sublayer_of,
)
from grokscope.circuits import ComputationGraph, Edge, Node
from grokscope.tasks.questions.padding import aligned
from grokscope.tasks.transformerlens import HookedTransformer


@dataclass(frozen=True, eq=False)
class LiteralRun:
    """Prompts, what every sender writes on them, and the logits."""

    tokens: Tensor
    outputs: Mapping[Node, Tensor]
    logits: Tensor


@dataclass(frozen=True, eq=False)
class LiteralEngine:
    """One hooked forward pass for each question."""

    model: HookedTransformer
    graph: ComputationGraph

    def batches(self, n: int, work: str, *, results: int = 0) -> list[Tensor]:
        return [torch.arange(n)]

    def run(self, *prompts: Tensor) -> Sequence[LiteralRun]:
        return [LiteralRun(tokens, *literal.sender_outputs(self.model, self.graph, tokens)) for tokens in prompts]

    def averaged(self, runs: Iterable[LiteralRun], n: int) -> LiteralRun:
        held = list(runs)
        all_of = {node: torch.cat([run.outputs[node] for run in held]) for node in held[0].outputs}
        outputs = {node: value.mean(0, keepdim=True).expand(n, -1) for node, value in all_of.items()}
        return LiteralRun(held[0].tokens[:1].expand(n, -1), outputs, held[0].logits[:1].expand(n, -1))

    def edge_logits(self, base: LiteralRun, donor: LiteralRun, edges: Sequence[Edge]) -> Logits:
        for i, (sender, receiver) in enumerate(edges):
            roles = [receiver.role or sender.role] if sender.role else self.graph.roles
            if receiver.kind == "logits":
                roles = [self.graph.answer_role]
            at = [(sender._replace(role=role), receiver._replace(role=role)) for role in roles]
            hooks = [self._reading(donor.outputs[s] - base.outputs[s], r) for s, r in at]
            yield [i], self._logits(base, hooks)[None]

    def node_logits(self, base: LiteralRun, donor: LiteralRun, nodes: Sequence[Node]) -> Logits:
        for i, node in enumerate(nodes):
            hooks = literal.output_hooks(self.graph, node, donor.outputs[node] - base.outputs[node])
            yield [i], self._logits(base, hooks)[None]

    def path_logits(self, base: LiteralRun, donor: LiteralRun, ends: Sequence[Edge], through: Collection[Node]) -> Logits:
        """Each node in between is run with what changed before it; then the receiver is."""
        for i, (sender, receiver) in enumerate(ends):
            changes = {sender: donor.outputs[sender] - base.outputs[sender]}
            for node in sorted(through, key=order_of):
                if order_of(sender) < order_of(node) < order_of(receiver):
                    outputs: dict[Node, Tensor] = {}
                    reads = [each for each in self.graph.receivers if node in self.graph.outputs_of(each)]
                    hooks = [self._reading(self._sum(changes, each), each) for each in reads]
                    self._logits(base, literal.recorder(self.model, self.graph, outputs) + hooks)
                    changes[node] = outputs[node] - base.outputs[node]
            yield [i], self._logits(base, [self._reading(self._sum(changes, receiver), receiver)])[None]

    def logits_with_edges(self, background: LiteralRun, run: LiteralRun, open_edges: Tensor) -> Logits:
        for i, row in enumerate(open_edges):
            edges = [edge for edge, is_open in zip(self.graph.edges, row.tolist(), strict=True) if is_open]
            yield [i], literal.run_with_edges(self.model, self.graph, run.tokens, edges, background.outputs)[None]

    def differences(self, base: LiteralRun, donor: LiteralRun) -> Differences:
        components = dict.fromkeys(map(component, self.graph.senders))
        zero = torch.zeros_like(next(iter(base.outputs.values())))
        change = {node: donor.outputs[node] - base.outputs[node] for node in base.outputs}
        return {
            each: torch.stack([change.get(each._replace(role=role), zero) for role in self.graph.roles], 1)
            for each in components
        }

    def input_gradients(self, base: LiteralRun, objective: Objective, added: Mapping[Sublayer, Tensor]) -> Gradients:
        """By adding zeros to what every input reads, and differentiating with respect to these."""
        zeros = {node: torch.zeros_like(base.outputs[self.graph.senders[0]]) for node in self.graph.receivers}
        hooks = []
        for (kind, layer), change in added.items():
            for position, role in enumerate(self.graph.roles):
                node = Node(kind, role, layer, 0) if kind == "head" else Node(kind, role, layer)
                hooks += literal.output_hooks(self.graph, node, change[:, position])
        with torch.enable_grad():
            for node, zero in zeros.items():
                hooks.append(self._reading(zero.requires_grad_(), node))
            with literal.hooked(self.model, hooks):
                answer = self.graph.roles.index(self.graph.answer_role)
                prompts = aligned(self.model, base.tokens, answer)
                total = objective(self.model(prompts.tokens, attention_mask=prompts.mask)[:, answer]).sum()
            found = torch.autograd.grad(total, list(zeros.values()), allow_unused=True)
        sizes = {sublayer_of(self.graph, node): 3 * self.graph.n_heads if node.input else 1 for node in zeros}
        query, d_model = next(iter(zeros.values())).shape
        n_pos = len(self.graph.roles)
        gradients = {at: base.logits.new_zeros(query, n_pos, n, d_model) for at, n in sizes.items()}
        for node, gradient in zip(zeros, found, strict=True):
            position = self.graph.roles.index(node.role)
            if gradient is not None:
                gradients[sublayer_of(self.graph, node)][:, position, input_place(self.graph, node)] = gradient
        return gradients

    def _logits(self, base: LiteralRun, hooks: list[literal.Hook]) -> Tensor:
        return literal.logits_at(self.model, base.tokens, self.graph.roles.index(self.graph.answer_role), hooks)

    def _reading(self, change: Tensor | float, receiver: Node) -> literal.Hook:
        return literal.input_hook(self.graph, receiver, lambda reads: reads + change)

    def _sum(self, changes: Mapping[Node, Tensor], receiver: Node) -> Tensor | float:
        return sum(changes[node] for node in self.graph.senders_into(receiver) if node in changes)
