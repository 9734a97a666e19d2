"""The slow, literal interventions: what exact means here. They stay as oracles for anything faster.

An edge is patched by a forward pass on the base prompts in which one input reads, instead of what one sender writes
there, what it writes on the donor prompts; everything behind the input is computed anew, norms included (Wang et al.
2022, arXiv 2211.00593, section 3.1; Goldowsky-Dill et al. 2023, arXiv 2304.05969).
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import einops
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from ...circuits import ComputationGraph, Edge, Node
from ...tasks import PromptPairs
from .model import graph_of

Hook = tuple[str, Callable[..., Tensor]]
Residual = Float[Tensor, "query d_model"]
"""What a node adds to, or an input reads from, the residual stream at its position, by query."""
Change = Callable[[Residual], Residual]
"""Another value for what an input reads."""


@contextlib.contextmanager
def hooked(model: HookedTransformer, hooks: list[Hook]) -> Iterator[None]:
    """Run the block with hooks on the model and the inputs of heads and MLPs split; then take all of it off again.

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
    model: HookedTransformer, tokens: Int[Tensor, "query pos"], answer_position: int, hooks: list[Hook]
) -> Float[Tensor, "query d_vocab"]:
    """The logits at the answer position of a run with hooks."""
    with hooked(model, hooks):
        return model(tokens.to(model.W_E.device))[:, answer_position]


def recorder(model: HookedTransformer, graph: ComputationGraph, outputs: dict[Node, Residual]) -> list[Hook]:
    """Hooks that note what each sender writes, at the moment it is written, into `outputs`."""
    has_positions = model.cfg.positional_embedding_type == "standard"
    roles = list(enumerate(graph.roles))

    def embedding(activation: Float[Tensor, "query pos d_model"], hook: object) -> Tensor:
        for position, role in roles:
            outputs[Node("embed", role)] = activation[:, position].clone()
        return activation

    def position_embedding(activation: Float[Tensor, "query pos d_model"], hook: object) -> Tensor:
        for position, role in roles:
            outputs[Node("embed", role)] = outputs[Node("embed", role)] + activation[:, position]
        return activation

    def head_outputs(layer: int) -> Callable[..., Tensor]:
        def note(z: Float[Tensor, "query pos head d_head"], hook: object) -> Tensor:
            weights = model.blocks[layer].attn.W_O
            written = einops.einsum(z, weights, "query pos head d_head, head d_head d_model -> query pos head d_model")
            for position, role in roles:
                for head in range(graph.n_heads):
                    outputs[Node("head", role, layer, head)] = written[:, position, head]
            return z

        return note

    def mlp_output(layer: int) -> Callable[..., Tensor]:
        def note(activation: Float[Tensor, "query pos d_model"], hook: object) -> Tensor:
            for position, role in roles:
                outputs[Node("mlp", role, layer)] = activation[:, position].clone()
            return activation

        return note

    hooks: list[Hook] = [("hook_embed", embedding)]
    if has_positions:
        hooks.append(("hook_pos_embed", position_embedding))
    for layer in range(graph.n_layers):
        hooks.append((f"blocks.{layer}.attn.hook_z", head_outputs(layer)))
        if graph.has_mlp:
            hooks.append((f"blocks.{layer}.hook_mlp_out", mlp_output(layer)))
    return hooks


def input_hook(graph: ComputationGraph, receiver: Node, change: Change) -> Hook:
    """A hook that changes what one input reads at its position."""
    position = graph.roles.index(receiver.role)

    def at_position(activation: Float[Tensor, "query pos d_model"], hook: object) -> Tensor:
        activation = activation.clone()
        activation[:, position] = change(activation[:, position])
        return activation

    def at_head(activation: Float[Tensor, "query pos head d_model"], hook: object) -> Tensor:
        activation = activation.clone()
        activation[:, position, receiver.head] = change(activation[:, position, receiver.head])
        return activation

    if receiver.kind == "head":
        return f"blocks.{receiver.layer}.hook_{receiver.input}_input", at_head
    if receiver.kind == "mlp":
        return f"blocks.{receiver.layer}.hook_mlp_in", at_position
    return f"blocks.{graph.n_layers - 1}.hook_resid_post", at_position


def output_hooks(graph: ComputationGraph, node: Node, difference: Residual) -> list[Hook]:
    """A hook that adds `difference` to what a node writes, for every reader of it."""
    position = graph.roles.index(node.role)

    def add(activation: Float[Tensor, "query pos d_model"], hook: object) -> Tensor:
        activation = activation.clone()
        activation[:, position] += difference
        return activation

    if node.kind == "embed":
        return [("hook_embed", add)]
    if node.kind == "mlp":
        return [(f"blocks.{node.layer}.hook_mlp_out", add)]
    return [(f"blocks.{node.layer}.hook_attn_out", add)]


def sender_outputs(
    model: HookedTransformer, graph: ComputationGraph, tokens: Int[Tensor, "query pos"]
) -> tuple[dict[Node, Residual], Float[Tensor, "query d_vocab"]]:
    """What every sender adds to the residual stream on plain prompts, and the logits at the answer position."""
    outputs: dict[Node, Residual] = {}
    logits = logits_at(model, tokens, graph.roles.index(graph.answer_role), recorder(model, graph, outputs))
    return outputs, logits


def patch_edge(
    model: HookedTransformer,
    graph: ComputationGraph,
    base_tokens: Int[Tensor, "query pos"],
    edge: Edge,
    difference: Residual,
) -> Float[Tensor, "query d_vocab"]:
    """The logits on the base prompts when one input reads one sender's donor output.

    Args:
        model: stays as it is.
        graph: the model's graph.
        base_tokens: the prompts that are run.
        edge: which input, and which sender.
        difference: the sender's output on the donor prompts minus that on the base prompts.
    """
    hook = input_hook(graph, edge.receiver, lambda reads: reads + difference)
    return logits_at(model, base_tokens, graph.roles.index(graph.answer_role), [hook])


def patch_node(
    model: HookedTransformer,
    graph: ComputationGraph,
    base_tokens: Int[Tensor, "query pos"],
    node: Node,
    difference: Residual,
) -> Float[Tensor, "query d_vocab"]:
    """The logits on the base prompts when all readers of a node see its donor output."""
    hooks = output_hooks(graph, node, difference)
    return logits_at(model, base_tokens, graph.roles.index(graph.answer_role), hooks)


def run_with_edges(
    model: HookedTransformer,
    pairs: PromptPairs,
    edges: Iterable[Edge | str],
    *,
    background: Mapping[Node, Residual] | None = None,
) -> Float[Tensor, "query d_vocab"]:
    """The oracle of `edge_sets.run_with_edges`, which says what it does: one hooked run, every input by itself.

    The background, what closed edges carry, can be other outputs than those on the corrupt prompts.
    """
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    intact = check_edges(graph, edges, graph.edges)
    corrupt = sender_outputs(model, graph, pairs.corrupt)[0] if background is None else background
    live: dict[Node, Residual] = {}
    hooks = recorder(model, graph, live)
    for receiver in graph.receivers:
        cut = [sender for sender in graph.senders_into(receiver) if Edge(sender, receiver) not in intact]
        hooks.append(input_hook(graph, receiver, _swapping(cut, live, corrupt)))
    return logits_at(model, pairs.clean, pairs.answer_position, hooks)


def check_edges(graph: ComputationGraph, edges: Iterable[Edge | str], possible: Iterable[Edge]) -> set[Edge]:
    """The edges as a set, parsed if need be; ones that are not possible are an error that names them."""
    parsed = {Edge.parse(edge) if isinstance(edge, str) else edge for edge in edges}
    if unknown := sorted(map(str, parsed - set(possible))):
        raise KeyError(
            f"{len(unknown)} edges are not in the graph of {graph.n_layers} layers, {graph.n_heads} heads and roles "
            f"{', '.join(graph.roles)}: {'; '.join(unknown[:5])}"
        )
    return parsed


def _swapping(cut: list[Node], live: Mapping[Node, Residual], corrupt: Mapping[Node, Residual]) -> Change:
    """A change of what an input reads: the cut senders' corrupt outputs instead of their live ones."""

    def change(reads: Residual) -> Residual:
        return reads + sum((corrupt[sender] - live[sender] for sender in cut), start=torch.zeros_like(reads))

    return change
