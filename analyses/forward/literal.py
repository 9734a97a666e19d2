"""The slow, literal interventions: what exact means here. They are the oracles for anything faster.

An edge is patched by a forward pass on the base prompts in which one input reads, instead of what one sender writes
there, what it writes on the donor prompts; everything after the input is recomputed, norms included (Wang et al. 2022,
arXiv 2211.00593, section 3.1; Goldowsky-Dill et al. 2023, arXiv 2304.05969).

A sender is read as what it adds to the residual stream; a receiver is written as the residual stream that it reads,
before its norm.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Edge, Node
from ...tasks.questions.padding import aligned
from ...tasks.transformerlens import Model
from .decoder import device_of
from .layer import head_outputs
from .model import described
from .places import check_edges

Hook = tuple[str, Callable[..., Tensor]]
Residual = Float[Tensor, "query d_model"]
"""What a node adds to, or an input reads from, the residual stream at its position, by query."""
Change = Callable[[Residual], Residual]
"""Another value for what an input reads."""


@contextlib.contextmanager
def hooked(model: Model, hooks: list[Hook]) -> Iterator[None]:
    """Run the block with hooks on the model and the inputs of heads and MLPs split, and restore the model on exit.

    Raises:
        KeyError: if the model has no such hook points; all of them are named.
    """
    flags = {"use_split_qkv_input": True, "use_hook_mlp_in": not model.cfg.attn_only}
    if unknown := sorted({name for name, _ in hooks} - set(model.hook_dict)):
        raise KeyError(f"no such hook points: {', '.join(unknown)}; the model has {', '.join(list(model.hook_dict)[:4])}, …")
    before = {flag: getattr(model.cfg, flag) for flag in flags}
    try:
        for flag, value in flags.items():
            setattr(model.cfg, flag, value)
        with model.hooks(fwd_hooks=hooks):  # pyright: ignore[reportArgumentType]
            yield
    finally:
        for flag, value in before.items():
            setattr(model.cfg, flag, value)


@torch.no_grad()
def logits_at(
    model: Model, tokens: Int[Tensor, "query pos"], answer_position: int, hooks: list[Hook]
) -> Float[Tensor, "query d_vocab"]:
    """The logits at the answer position of a run with hooks; they see the prompts as `aligned` makes them."""
    prompts = aligned(model, tokens.to(device_of(model)), answer_position)
    with hooked(model, hooks):
        return model(prompts.tokens, attention_mask=prompts.mask)[:, answer_position]


def recorder(model: Model, graph: ComputationGraph, outputs: dict[Node, Residual]) -> list[Hook]:
    """Hooks that note what each sender writes, at the moment it is written, into `outputs`."""
    layers, has_positions = described(model).layers, model.cfg.positional_embedding_type == "standard"
    roles = list(enumerate(graph.roles))

    def embedding(activation: Float[Tensor, "query pos d_model"], hook: object) -> Tensor:
        for position, role in roles:
            outputs[Node("embed", role)] = activation[:, position].clone()
        return activation

    def position_embedding(activation: Float[Tensor, "query pos d_model"], hook: object) -> Tensor:
        for position, role in roles:
            outputs[Node("embed", role)] = outputs[Node("embed", role)] + activation[:, position]
        return activation

    def heads(layer: int) -> Callable[..., Tensor]:
        def note(z: Float[Tensor, "query pos head d_head"], hook: object) -> Tensor:
            written = head_outputs(layers[layer], z)
            for position, role in roles:
                for head in range(graph.n_heads):
                    outputs[Node("head", role, layer, head)] = written[:, position, head]
            return z

        return note

    def mlp(layer: int) -> Callable[..., Tensor]:
        def note(activation: Float[Tensor, "query pos d_model"], hook: object) -> Tensor:
            for position, role in roles:
                outputs[Node("mlp", role, layer)] = activation[:, position].clone()
            return activation

        return note

    hooks: list[Hook] = [("hook_embed", embedding)]
    if has_positions:
        hooks.append(("hook_pos_embed", position_embedding))
    for layer in range(graph.n_layers):
        hooks.append((f"blocks.{layer}.attn.hook_z", heads(layer)))
        if graph.has_mlp:
            hooks.append((f"blocks.{layer}.hook_mlp_out", mlp(layer)))
    return hooks


def input_hook(graph: ComputationGraph, receiver: Node, change: Change) -> Hook:
    """A hook that changes what one input reads at its position."""
    position = graph.roles.index(receiver.role)
    if receiver.kind == "head":
        name, place = f"blocks.{receiver.layer}.hook_{receiver.input}_input", (position, receiver.head)
    elif receiver.kind == "mlp":
        name, place = f"blocks.{receiver.layer}.hook_mlp_in", (position,)
    else:
        name, place = f"blocks.{graph.n_layers - 1}.hook_resid_post", (position,)
    return name, partial(_changed, place, change)


def output_hooks(graph: ComputationGraph, node: Node, difference: Residual) -> list[Hook]:
    """A hook that adds `difference` to what a node writes, for every reader of it."""
    names = {"embed": "hook_embed", "mlp": f"blocks.{node.layer}.hook_mlp_out"}
    name = names.get(node.kind, f"blocks.{node.layer}.hook_attn_out")
    return [(name, partial(_changed, (graph.roles.index(node.role),), partial(torch.add, difference)))]


def _changed(
    place: tuple[int, ...], change: Change, activation: Float[Tensor, "query pos *head d_model"], hook: object
) -> Float[Tensor, "query pos *head d_model"]:
    """What passes a hook point, changed at a position, or at a position's head."""
    activation = activation.clone()
    activation[:, *place] = change(activation[:, *place])
    return activation


def sender_outputs(
    model: Model, graph: ComputationGraph, tokens: Int[Tensor, "query pos"]
) -> tuple[dict[Node, Residual], Float[Tensor, "query d_vocab"]]:
    """What every sender adds to the residual stream on plain prompts, and the logits at the answer position."""
    outputs: dict[Node, Residual] = {}
    logits = logits_at(model, tokens, graph.roles.index(graph.answer_role), recorder(model, graph, outputs))
    return outputs, logits


def patch_edge(
    model: Model,
    graph: ComputationGraph,
    base_tokens: Int[Tensor, "query pos"],
    edge: Edge,
    difference: Residual,
) -> Float[Tensor, "query d_vocab"]:
    """The logits on the base prompts when one input reads one sender's donor output.

    Args:
        model: left unmodified.
        graph: the model's graph.
        base_tokens: the prompts that are run.
        edge: which input, and which sender.
        difference: the sender's output on the donor prompts minus that on the base prompts.
    """
    hook = input_hook(graph, edge.receiver, lambda reads: reads + difference)
    return logits_at(model, base_tokens, graph.roles.index(graph.answer_role), [hook])


def patch_node(
    model: Model,
    graph: ComputationGraph,
    base_tokens: Int[Tensor, "query pos"],
    node: Node,
    difference: Residual,
) -> Float[Tensor, "query d_vocab"]:
    """The logits on the base prompts when all readers of a node see its donor output."""
    hooks = output_hooks(graph, node, difference)
    return logits_at(model, base_tokens, graph.roles.index(graph.answer_role), hooks)


def run_with_edges(
    model: Model,
    graph: ComputationGraph,
    tokens: Int[Tensor, "query pos"],
    edges: Iterable[Edge | str],
    background: Mapping[Node, Residual],
) -> Float[Tensor, "query d_vocab"]:
    """The oracle of `edge_sets.logits_with_edges`: one hooked run, every input by itself.

    Args:
        model: left unmodified.
        graph: the model's graph.
        tokens: the prompts that are run.
        edges: which edges carry what their sender writes in this run, as edges or names.
        background: what each sender is taken to write by all other edges, e.g. its output on corrupt prompts.
    """
    intact = check_edges(graph, edges, graph.edges)
    live: dict[Node, Residual] = {}
    hooks = recorder(model, graph, live)
    for receiver in graph.receivers:
        cut = [sender for sender in graph.senders_into(receiver) if Edge(sender, receiver) not in intact]
        hooks.append(input_hook(graph, receiver, partial(_swapped, cut, live, background)))
    return logits_at(model, tokens, graph.roles.index(graph.answer_role), hooks)


def _swapped(
    cut: list[Node], live: Mapping[Node, Residual], background: Mapping[Node, Residual], reads: Residual
) -> Residual:
    """What an input reads with the background's output of the cut senders instead of their live one."""
    return reads + sum((background[sender] - live[sender] for sender in cut), start=torch.zeros_like(reads))
