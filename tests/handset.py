"""A HookedTransformer whose weights are written by hand, so that its circuit is known to the last edge.

Layer 0 does hop 1 at r1: head 0 copies the entity at h to r1, the MLP has one neuron for each fact (h, r) and writes its
tail as the bridge. Layer 1 does hop 2 at r2: head 0 copies the bridge from r1 to r2, the MLP looks up (b, r2) and writes the
tail as the answer. Head 1 of both layers does nothing. There are no norms, so nothing is approximate.

The residual stream is a row of one-hot blocks: token, position, entity seen by hop 1, bridge, bridge seen by hop 2, answer.
The unembedding reads bridge and answer.
"""

import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

from grokscope.tasks import KnowledgeGraph

ROLES = ("h", "r1", "r2")
SURE = 50.0  # attention score of the position attended to; the others have 0
BRIDGE_EDGES = (
    "embed@h -> L0H0.v@h",
    "L0H0@r1 -> MLP0@r1",
    "embed@r1 -> MLP0@r1",
    "MLP0@r1 -> L1H0.v@r1",
    "L1H0@r2 -> MLP1@r2",
    "MLP1@r2 -> logits@r2",
)
"""All edges that carry a change of (h, r1) to the answer."""
RELATION_2_EDGES = ("embed@r2 -> MLP1@r2", "MLP1@r2 -> logits@r2")
"""All edges that carry a change of r2 to the answer."""


def handset_model(graph: KnowledgeGraph) -> HookedTransformer:
    """The model for a graph: it answers every two-hop query."""
    n_entities, n_tokens = graph.n_entities, graph.n_entities + graph.n_relations
    sizes = {
        "token": n_tokens,
        "position": 3,
        "first": n_entities,
        "bridge": n_entities,
        "second": n_entities,
        "answer": n_entities,
    }
    starts = dict(zip(sizes, torch.tensor([0, *sizes.values()]).cumsum(0).tolist(), strict=False))
    d_model = sum(sizes.values())
    model = HookedTransformer(
        HookedTransformerConfig(
            n_layers=2,
            d_model=d_model,
            n_ctx=3,
            n_heads=2,
            d_head=max(3, n_entities),
            d_mlp=len(graph),
            d_vocab=n_tokens,
            act_fn="relu",
            normalization_type=None,
            device="cpu",
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embed.W_E[:, :n_tokens].fill_diagonal_(1.0)
        for position in range(3):
            model.pos_embed.W_pos[position, starts["position"] + position] = 1.0
        # (layer, block copied from, block copied to, query position → key position)
        moves = ((0, "token", "first", {0: 0, 1: 0, 2: 2}), (1, "bridge", "second", {0: 0, 1: 0, 2: 1}))
        for layer, source, target, attends in moves:
            attention = model.blocks[layer].attn
            for query, key in attends.items():
                attention.W_Q[0, starts["position"] + query, query] = SURE * attention.attn_scale
                attention.W_K[0, starts["position"] + key, query] = 1.0
            for entity in range(n_entities):
                attention.W_V[0, starts[source] + entity, entity] = 1.0
                attention.W_O[0, entity, starts[target] + entity] = 1.0
        for layer, source, target in ((0, "first", "bridge"), (1, "second", "answer")):
            mlp = model.blocks[layer].mlp
            for fact, (head, relation, tail) in enumerate(graph.triples):
                mlp.W_in[starts[source] + head, fact] = 1.0
                mlp.W_in[n_entities + relation, fact] = 1.0
                mlp.b_in[fact] = -1.0
                mlp.W_out[fact, starts[target] + tail] = 1.0
        for block in ("bridge", "answer"):
            for entity in range(n_entities):
                model.unembed.W_U[starts[block] + entity, entity] = 10.0
    model.cfg.model_name = "hand-set"
    return model.eval()


def permute_heads(model: HookedTransformer, layer: int, order: list[int]) -> None:
    """Give head i of a layer the weights of head order[i]."""
    attention = model.blocks[layer].attn
    with torch.no_grad():
        for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"):
            parameter = getattr(attention, name)
            parameter.copy_(parameter[order].clone())
