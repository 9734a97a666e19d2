"""Edges into queries and keys: where heads look is recomputed, what follows from it is linear.

A head that looks at one position with a weight near 1 hardly changes with its query by first order, however much it would
change if the query were another. So the softmax is recomputed with the changed query or key (AtP*, Kramár et al. 2024, arXiv
2403.00745, section 3.1.1), norm and rotation included, and only the change of what the head gathers is multiplied with a
gradient. That change is linear in the weights: with the slope of the objective by each weight no value is gathered at all.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ...circuits import Node
from .cached import CachedRun, LayerCache
from .decoder import Layer
from .layer import attention_weights, biased, by_head, linear, normalised, turned, turned_with_one, with_sink
from .places import Differences, Gathered, component


class Choices(NamedTuple):
    """What edges into all heads' queries, or keys, of one layer change, at one position or at all together.

    Attributes:
        receiver: layer, input and role; its index is that of the first head.
        senders: components.
        changes: of the objective, to first order in what heads gather, for each of some gradients.
    """

    receiver: Node
    senders: Sequence[Node]
    changes: Float[Tensor, "slope sender input query"]


@torch.no_grad()
def choice_changes(
    base: CachedRun, changes: Differences, slopes: Sequence[Gathered], *, together: bool = False, n_copies: int
) -> Iterator[Choices]:
    """What edges into queries and keys change, one layer, input and position after the other.

    Args:
        base: the base prompts.
        changes: see `Differences`.
        slopes: gradients by what heads gather, such as with one layer dropped and with another; at least one.
        together: whether an edge changes queries or keys at all positions, so that receivers have no role.
        n_copies: of each query, at once.
    """
    first_of = [node for node in base.graph.receivers if node.kind == "head" and node.input in _CHANGES and not node.index]
    if together:
        first_of = list(dict.fromkeys(node._replace(role="") for node in first_of))
    for layer, receivers in groupby(first_of, key=lambda node: node.layer):
        block, cache = base.decoder.layers[layer], base.layers[layer]
        by_weight = _by_weight(block, cache, [each[layer] for each in slopes])
        for receiver in receivers:
            yield _into(base, receiver, changes, by_weight, n_copies)


def _into(
    base: CachedRun,
    receiver: Node,
    changes: Differences,
    by_weight: Float[Tensor, "slope query head query_pos pos"],
    n_copies: int,
) -> Choices:
    """What edges into one kind of input change; without a role at all positions together."""
    roles = base.graph.roles
    start = roles.index(receiver.role) if receiver.role else 0
    span = slice(start, start + 1 if receiver.role else len(roles))
    writers = base.graph.senders_into(receiver if receiver.role else receiver._replace(role=roles[0]))
    senders = [component(node) for node in writers]
    parts = [
        _changed(base, receiver, span, torch.stack([changes[sender][:, span] for sender in some]), by_weight)
        for some in (senders[i : i + n_copies] for i in range(0, len(senders), n_copies))
    ]
    return Choices(receiver, senders, torch.cat(parts, 1).movedim(-1, 2))


def _by_weight(
    block: Layer, cache: LayerCache, slopes: Sequence[Float[Tensor, "query pos head d_head"]]
) -> Float[Tensor, "slope query head query_pos pos"]:
    """The gradient by the weight with which each position looks at each, from that by what it gathers."""
    return torch.einsum("sqihd,qjhd->sqhij", torch.stack(list(slopes)), by_head(block.attention, cache.v))


def _changed(
    run: CachedRun,
    receiver: Node,
    span: slice,
    change: Float[Tensor, "sender query _ d_model"],
    by_weight: Float[Tensor, "slope query head query_pos pos"],
) -> Float[Tensor, "slope sender query input"]:
    """What each input of one kind changes if it reads each of some changes more at the positions `span`."""
    block, cache, name = run.decoder.layers[receiver.layer], run.layers[receiver.layer], receiver.input
    projected = linear(block, name, normalised(block, cache.before[:, span] + change))
    changed_by = _by_all_keys if name == "k" and not receiver.role else _CHANGES[name]
    if block.attention.heads_apart:
        new = turned(block, name, projected, span.start, run.mask)
        return _by_input(block, name, changed_by(block, cache, span, new, by_weight))
    unchanged = linear(block, name, normalised(block, cache.before[:, span]))
    found = []
    for index in range(projected.shape[3]):  # one input that changes is normed together with all others
        new = turned_with_one(block, name, unchanged, index, projected[:, :, :, index], span.start, run.mask)
        found.append(changed_by(block, cache, span, new, by_weight).sum(-1))
    return torch.stack(found, -1)


def _by_input(
    block: Layer, name: str, by_reader: Float[Tensor, "slope sender query head"]
) -> Float[Tensor, "slope sender query input"]:
    """Summed over the heads that share an input."""
    return by_reader if name == "q" else by_reader.unflatten(-1, (-1, block.attention.n_sharing)).sum(-1)


def _by_queries(
    block: Layer,
    cache: LayerCache,
    span: slice,
    new: Float[Tensor, "sender query _ head d_head"],
    by_weight: Float[Tensor, "slope query head query_pos pos"],
) -> Float[Tensor, "slope sender query head"]:
    """What all heads' new queries at some positions change."""
    products = torch.einsum("cqihd,qjhd->cqhij", new, by_head(block.attention, cache.k))
    return _moved(block, products, cache.scores[:, :, span], span, by_weight[:, :, :, span])


def _by_all_keys(
    block: Layer,
    cache: LayerCache,
    span: slice,
    new: Float[Tensor, "sender query pos kv_head d_head"],
    by_weight: Float[Tensor, "slope query head query_pos pos"],
) -> Float[Tensor, "slope sender query head"]:
    """What all heads' new keys at all positions change."""
    products = torch.einsum("qihd,cqjhd->cqhij", cache.q, by_head(block.attention, new))
    return _moved(block, products, cache.scores, span, by_weight)


def _moved(
    block: Layer,
    products: Float[Tensor, "sender query head query_pos pos"],
    before: Float[Tensor, "query head query_pos pos"],
    queries: slice,
    by_weight: Float[Tensor, "slope query head query_pos pos"],
) -> Float[Tensor, "slope sender query head"]:
    """The change of all weights of some queries, times the slopes by them."""
    attention = block.attention
    scores = biased(attention, products / attention.scale, queries, slice(0, products.shape[-1]))
    scores = scores.masked_fill(before.isneginf(), -math.inf)
    moved = attention_weights(attention, scores) - attention_weights(attention, before)
    return torch.einsum("cqhij,sqhij->scqh", moved, by_weight)


def _by_keys(
    block: Layer,
    cache: LayerCache,
    span: slice,
    new: Float[Tensor, "sender query 1 kv_head d_head"],
    by_weight: Float[Tensor, "slope query head query_pos pos"],
) -> Float[Tensor, "slope sender query head"]:
    """What all heads' new keys at one position change.

    One weight of each row changes, and the others share what it leaves in the same proportions as before. So a row changes
    by the change of this weight times its slope's distance from the others' mean slope.
    """
    attention, position = block.attention, span.start
    products = torch.einsum("qihd,cqjhd->cqhij", cache.q, by_head(attention, new)) / attention.scale
    before = cache.scores[..., position]
    scores = biased(attention, products, slice(0, cache.q.shape[1]), span)[..., 0].masked_fill(before.isneginf(), -math.inf)
    others = cache.scores.index_fill(-1, torch.tensor([position], device=before.device), -math.inf)
    level = with_sink(attention, others).logsumexp(-1)
    moved = ((scores - level).sigmoid() - (before - level).sigmoid()).nan_to_num(0.0)  # NaN: sees nothing at all
    elsewhere = (attention_weights(attention, others) * by_weight).sum(-1)
    return torch.einsum("cqhi,sqhi->scqh", moved, by_weight[..., position] - elsewhere)


_CHANGES = {"q": _by_queries, "k": _by_keys}
