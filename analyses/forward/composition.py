"""The matrices by which the components of a model write to its residual stream, and read from it.

As in Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits": a head writes by W_V W_O and reads by what
decides where it looks, W_Q W_Kᵀ (its query by the left side, its key by the right side), or by what it moves, W_V W_O. These
products are the same however a head's queries, keys and values are written; W_V alone, or W_Q alone, would not be. Beyond
attention-only models there are also the embedding (tokens and positions, one row each) and an MLP's output matrix as
writers, an MLP's input matrices (the gate's, too) and the unembedding as readers.

Norms are folded in: gains, and that a norm takes the mean off. If every reader does that, nobody sees the mean of what is
written, and it is left out there, too. Biases, the scale of norms, rotations by position and norms of queries and keys are
left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...circuits import ComputationGraph, Node
from ...circuits.arguments import refuse
from ...tasks.models.trm import TRM
from ...tasks.transformerlens import HookedTransformer, Model
from ..statistics import double
from .at_rest import at_rest
from .decoder import Decoder
from .head import token_embeddings
from .hooked import POST_NORM
from .model import described, described_graph, problems_of

Rows = Float[Tensor, "_ d_model"]
"""A matrix M with one column for each direction of the stream; only MᵀM is meant, so that there may be fewer rows."""


@dataclass(frozen=True, eq=False)
class Weights:
    """By component without position, of those that share their weights the first: matrices of one model, in double.

    Attributes:
        writes: what it writes is a product of something with these rows.
        reads: what an input sees of a state is these rows times the state, but for the scale of a norm.
    """

    writes: Mapping[Node, Rows]
    reads: Mapping[Node, Rows]


def weight_problems(model: Model, graph: ComputationGraph) -> list[str]:
    """Why the components of a graph have no matrices that write and read."""
    kind, needed = type(model).__name__, "composition needs matrices that write to one residual stream and read from it"
    if isinstance(model, TRM):
        return [f"{needed}; a {kind} mixes tokens and norms its states on the way from one component to the next"]
    if not isinstance(model, HookedTransformer):
        return [f"{needed}; only those of a HookedTransformer are known here, not of a {kind}"]
    if unsupported := problems_of(model, len(graph.roles)):
        return [f"{needed}; they say too little of a model with {', '.join(unsupported)}"]
    if graph != _graph_like(model, graph):
        return ["the circuit's graph is not the model's: layers, heads or shared weights differ"]
    return [
        f"{needed}; MLP{layer} is a {type(block.mlp).__name__}, whose matrices are not known here"
        for layer, block in enumerate(_blocks(model))
        if not model.cfg.attn_only and not isinstance(getattr(block.mlp, "W_in", None), Tensor)
    ]


def _graph_like(model: Model, graph: ComputationGraph) -> ComputationGraph:
    """The model's graph with the roles of another one."""
    if graph.is_together:
        return described_graph(model, ("first", "last"), 1).together
    return described_graph(model, graph.roles, graph.roles.index(graph.answer_role))


@torch.no_grad()
def weights_of(model: Model, graph: ComputationGraph) -> Weights:
    """The matrices of a model's components.

    Args:
        model: left unmodified.
        graph: of it; the embedding has the rows of its positions, or if they are not told apart of all there are.

    Raises:
        ValueError: see `weight_problems`.
    """
    refuse(weight_problems(model, graph))
    model = at_rest(model)
    decoder, blocks = described(model), _blocks(model)
    n_positions = model.cfg.n_ctx if graph.is_together else len(graph.roles)
    n_readers = 1 if model.cfg.attn_only else 2
    norms = [norm for block in blocks for norm in _norms_before(block, model.cfg)[:n_readers]]
    unseen_mean = all(map(_centres, [*norms, _final(model)]))
    writes: dict[Node, Rows] = {Node("embed", ""): _embedding(model, n_positions)}
    reads: dict[Node, Rows] = {}
    for layer in range(graph.n_blocks):
        reads |= dict(_read_in(decoder, model, layer, unseen_mean))
        writes |= dict(_written_in(decoder, model, layer))
    reads[Node("logits", "")] = _thin(_normed(double(decoder.W_U).T, _final(model)))
    if unseen_mean:
        writes = {node: _centred(rows) for node, rows in writes.items()}
    return Weights(_apart({node: _thin(rows) for node, rows in writes.items()}), _apart(reads))


def _apart(matrices: Mapping[Node, Rows]) -> Mapping[Node, Rows]:
    """No parameters of the model, which ask for gradients."""
    return {node: rows.detach() for node, rows in matrices.items()}


def _embedding(model: Any, n_positions: int) -> Rows:
    """Tokens, and under them positions where they are added."""
    tokens = double(token_embeddings(model))
    if model.cfg.positional_embedding_type != "standard":
        return tokens
    return torch.cat([tokens, double(model.pos_embed.W_pos[:n_positions])])


def _written_in(decoder: Decoder, model: Any, layer: int) -> Iterator[tuple[Node, Rows]]:
    """What the heads of a layer and its MLP write."""
    block, attention = _blocks(model)[layer], decoder.layers[layer].attention
    (before, _), (after, after_mlp) = _norms_before(block, model.cfg), _norms_after(block, model.cfg)
    values = [_normed(double(each).T, before) for each in attention.W_V]
    for head, output in enumerate(attention.W_O):
        yield (
            Node("head", "", layer, head),
            _product(values[head // attention.n_sharing].T, _scaled(double(output), after)),
        )
    if not model.cfg.attn_only:
        yield Node("mlp", "", layer), _scaled(double(block.mlp.W_out), after_mlp)


def _read_in(decoder: Decoder, model: Any, layer: int, unseen_mean: bool) -> Iterator[tuple[Node, Rows]]:
    """What the inputs of a layer's heads and its MLP read; a shared key or value for all heads that share it."""
    block, attention = _blocks(model)[layer], decoder.layers[layer].attention
    (before, before_mlp), (after, _) = _norms_before(block, model.cfg), _norms_after(block, model.cfg)
    queries, keys, values = (
        [_normed(double(each).T, before) for each in matrices] for matrices in (attention.W_Q, attention.W_K, attention.W_V)
    )
    outputs = [_scaled(double(each), after) for each in attention.W_O]
    outputs = [_centred(each) for each in outputs] if unseen_mean else outputs
    n = attention.n_sharing
    for head, query in enumerate(queries):
        yield Node("head", "", layer, head, "q"), _product(keys[head // n].T, query)
    for group, (key, value) in enumerate(zip(keys, values, strict=True)):
        heads = range(group * n, (group + 1) * n)
        yield Node("head", "", layer, group, "k"), _joined([_product(queries[head].T, key) for head in heads])
        yield Node("head", "", layer, group, "v"), _joined([_product(outputs[head].T, value) for head in heads])
    if not model.cfg.attn_only:
        matrices = [getattr(block.mlp, name, None) for name in ("W_in", "W_gate")]
        rows = torch.cat([double(each).T for each in matrices if isinstance(each, Tensor)])
        yield Node("mlp", "", layer), _thin(_normed(rows, before_mlp))


# Norms, as in `hooked`


def _blocks(model: Any) -> Sequence[Any]:
    return list(model.blocks)


def _norms_before(block: Any, cfg: Any) -> tuple[Any, Any]:
    """The norms of what attention and MLP read; None where there is none."""
    if cfg.original_architecture in POST_NORM:
        return None, None
    return block.ln1, None if cfg.attn_only else block.ln2


def _norms_after(block: Any, cfg: Any) -> tuple[Any, ...]:
    """The norms of what attention and MLP write; None where there is none."""
    names = ("ln1", "ln2") if cfg.original_architecture in POST_NORM else ("ln1_post", "ln2_post")
    return tuple(getattr(block, name, None) for name in names)


def _final(model: Any) -> Any:
    return getattr(model, "ln_final", None)


def _is_norm(module: Any) -> bool:
    return module is not None and not isinstance(module, nn.Identity)


def _centres(module: Any) -> bool:
    """Whether a norm takes the mean off; nothing does not."""
    return _is_norm(module) and getattr(module, "centred", not type(module).__name__.startswith("RMS"))


def _normed(rows: Rows, module: Any) -> Rows:
    """Rows that give of a state what the given rows give of the normed state, but for its scale and bias."""
    rows = _gained(rows, module)
    return _centred(rows) if _centres(module) else rows


def _scaled(rows: Rows, module: Any) -> Rows:
    """What becomes of written rows in a norm after them, but for its scale and bias."""
    return _gained(_centred(rows) if _centres(module) else rows, module)


def _gained(rows: Rows, module: Any) -> Rows:
    gain = getattr(module, "w", None) if _is_norm(module) else None
    return rows if gain is None else rows * double(gain)


def _centred(rows: Rows) -> Rows:
    return rows - rows.mean(-1, keepdim=True)


# Fewer rows


def _product(left: Float[Tensor, "_ rank"], right: Float[Tensor, "rank d_model"]) -> Rows:
    """What stands for the product of two matrices, with no more rows than it has ranks."""
    return _thin(left) @ right


def _joined(parts: Sequence[Rows]) -> Rows:
    """What stands for several matrices under each other."""
    return _thin(torch.cat(list(parts)))


def _thin(matrix: Float[Tensor, "row column"]) -> Float[Tensor, "_ column"]:
    """A matrix with no more rows than columns, and the same products of its columns: R of M = QR, as MᵀM = RᵀR.

    A column of zeros stays one, to the bit.
    """
    return torch.linalg.qr(matrix, mode="r").R if matrix.shape[0] > matrix.shape[1] else matrix
