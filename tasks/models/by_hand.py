"""Models whose weights are written by hand, so that it is known how they answer: controls for what criteria say.

`handset_model` is a two-hop circuit, known to the last edge. Layer 0 does hop 1 at r1: head 0 copies the entity at h to r1,
the MLP has one neuron for each fact (h, r) and writes its tail as the bridge. Layer 1 does hop 2 at r2: head 0 copies the
bridge from r1 to r2, the MLP looks up (b, r2) and writes the tail as the answer. Head 1 of both layers does nothing. There
are no norms, so nothing is approximate.

In slots models see all positions, and one more layer takes the answer from r2 to the slot where it is read.

The residual stream is a row of one-hot blocks: token, position, entity seen by hop 1, bridge, bridge seen by hop 2, answer.
The unembedding reads bridge and answer.

The other models answer the same questions in other ways. What a criterion for "the bridge is used" must say of each:

| model | is the bridge used? |
|---|---|
| `handset_model` | yes, after layer 0 at r1 |
| `handset_model(rotated=True)` | yes, though the lens cannot read it |
| `copies_model` | yes, at r1 and r2 together, of which either is enough |
| `lookup_model` (also with a decoy) | no; questions that were not trained are not answered |
| `pair_code_model` (soft, sharp, with a decoy) | no, though it answers every question and all passes through r1 |
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..questions.graph import KnowledgeGraph
from ..questions.layout import n_positions
from ..questions.splits import excluding
from ..questions.twohop import TwoHopTask
from ..transformerlens import HookedTransformer
from .hand_parts import GATE, add_noise, blank_model, look_up, move

TWO_HOPS, CODE, DECOY = "two hops by hand", "pair code by hand", "lookup with decoy by hand"
ANSWER_SLOT = 3
WIDTH = 128  # of codes in controls: signs of different facts overlap by .09
NOISE = 1e-3  # of all weights of controls, so that nothing ties
BRIDGE_EDGES = (
    "embed@h -> L0H0.v@h",
    "L0H0@r1 -> MLP0@r1",
    "embed@r1 -> MLP0@r1",
    "MLP0@r1 -> L1H0.v@r1",
    "L1H0@r2 -> MLP1@r2",
    "MLP1@r2 -> logits@r2",
)
"""All edges of `handset_model` that carry a change of (h, r1) to the answer."""


def models_by_hand(task: TwoHopTask, *, seed: int = 0) -> Mapping[str, HookedTransformer]:
    """Models of known circuits that answer a task's unseen compositions, by name: with a path, and two without.

    These two look up unseen compositions alone, so that they stay small. The sharp pair code stands for both: where few of
    the facts of a bridge can be looked up, the soft one, too, never follows a mean of codes.

    Args:
        task: gives graph, layout, and which compositions are not in training.
        seed: of codes and noise.
    """
    graph = task.graph
    about: dict[str, Any] = {"layout": task.layout, "noise": NOISE, "seed": seed}
    seen = np.concatenate([task.trained, task.added])
    unseen = torch.from_numpy(excluding(graph.compositions, seen, len(graph)))
    return {
        TWO_HOPS: handset_model(graph, **about),
        CODE: pair_code_model(graph, unseen, sharp=True, decoy=True, width=WIDTH, **about),
        DECOY: lookup_model(graph, unseen, decoy=True, **about),
    }


def handset_model(
    graph: KnowledgeGraph,
    *,
    rotated: bool = False,
    misaligned: bool = False,
    layers: tuple[int, int] = (0, 1),
    n_layers: int = 2,
    layout: str = "compact",
    noise: float = 0.0,
    seed: int = 0,
) -> HookedTransformer:
    """The model for a graph: it answers every two-hop query.

    If rotated, the bridge is written and read in another basis than that of the unembedding. If misaligned, the second hop
    reads the block of the token at r1, into which the first does not write, so that no query is answered. The hops are done
    in two of its layers, the others do nothing. Noise is added to all weights.
    """
    n_entities = graph.n_entities
    sizes: dict[str, Any] = {"d_head": n_entities, "d_mlp": len(graph), "n_layers": n_layers, "layout": layout}
    model, starts = _blank_model(graph, ("first", "bridge", "second", "answer"), **sizes)
    first, second = layers
    with torch.no_grad():
        move(model, first, starts, {0: 0, 1: 0, 2: 2}, [("token", "first", n_entities)])
        move(model, second, starts, {0: 0, 1: 0, 2: 1}, [("token" if misaligned else "bridge", "second", n_entities)])
        for layer, source, target in ((first, "first", "bridge"), (second, "second", "answer")):
            _look_up_facts(model, layer, starts[source], starts[target], graph)
        add_noise(model, noise, seed)
        if rotated:
            generator = torch.Generator().manual_seed(0)
            basis = torch.linalg.qr(torch.randn(n_entities, n_entities, generator=generator, device="cpu")).Q
            bridge = slice(starts["bridge"], starts["bridge"] + n_entities)
            model.blocks[0].mlp.W_out[:, bridge] = model.blocks[0].mlp.W_out[:, bridge] @ basis
            model.blocks[1].attn.W_V[0, bridge, :n_entities] = basis.T
    model.cfg.model_name = "hand-set, rotated" if rotated else "hand-set"
    return model.eval()


def lookup_model(
    graph: KnowledgeGraph,
    trained: Int[Tensor, "composition 2"],
    *,
    decoy: bool = False,
    n_layers: int = 2,
    layout: str = "compact",
    noise: float = 0.0,
    seed: int = 0,
) -> HookedTransformer:
    """A model that has memorised the answers of trained compositions and knows no bridge.

    At r1 the first layer notes h; the second layer takes h and r1 to r2, where one neuron for each trained (h, r1, r2)
    answers. A decoy writes the bridge at r1, where the unembedding can read it and nothing else does.
    """
    n_entities, n_both = graph.n_entities, graph.n_entities + graph.n_relations
    sizes: dict[str, Any] = {
        "d_head": n_both,
        "d_mlp": max(len(graph), len(trained)),
        "n_layers": n_layers,
        "layout": layout,
    }
    model, starts = _blank_model(graph, ("first", "bridge", "seen", "seen relation", "answer"), **sizes)
    heads, relations, tails = (torch.from_numpy(each) for each in (graph.heads, graph.relations, graph.tails))
    hop1, hop2 = trained.T
    with torch.no_grad():
        move(model, 0, starts, {0: 0, 1: 0, 2: 2}, [("token", "first", n_entities)])
        move(
            model,
            1,
            starts,
            {0: 0, 1: 0, 2: 1},
            [("first", "seen", n_entities), ("relation", "seen relation", graph.n_relations)],
        )
        if decoy:
            _look_up_facts(model, 0, starts["first"], starts["bridge"], graph)
        mlp, neurons = model.blocks[1].mlp, torch.arange(len(trained), device="cpu")
        for place in (starts["seen"] + heads[hop1], starts["seen relation"] + relations[hop1], n_entities + relations[hop2]):
            mlp.W_in[place, neurons] = 1.0
        mlp.b_in[neurons] = -2.0
        mlp.W_out[neurons, starts["answer"] + tails[hop2]] = 1.0
        add_noise(model, noise, seed)
    model.cfg.model_name = "lookup with decoy" if decoy else "lookup"
    return model.eval()


def pair_code_model(
    graph: KnowledgeGraph,
    trained: Int[Tensor, "composition 2"] | None = None,
    *,
    sharp: bool = False,
    decoy: bool = False,
    width: int | None = None,
    n_layers: int = 2,
    layout: str = "compact",
    noise: float = 0.0,
    seed: int = 0,
) -> HookedTransformer:
    """A model that writes a code of the fact (h, r1) at r1 and looks up (code, r2): it knows no bridge.

    The first layer writes the code, the second takes it to r2, where one neuron for each composition answers. Everything
    that is asked passes through r1, so that whole states can be exchanged there as if they held the bridge.

    The mean code of b′ is a weak code of each of its facts, and their neurons all answer tail(b′, r2). By default neurons
    answer in proportion, and some codes louder than others: the codes of b′ together outvote the question's own code where
    that is a faint one, in about half of the questions. If sharp, a neuron needs more than half of its code, and they never
    do. In neither does taking out the mean code of b change anything. A decoy also writes the bridge at r1, where the
    unembedding can read it and nothing else does.

    Without `trained` it can look up every composition. Codes are one-hot, or random signs over a width, which keeps
    models of many facts small.
    """
    known = torch.from_numpy(graph.compositions) if trained is None else trained
    codes = _codes(len(graph), width, seed)
    sizes: dict[str, Any] = {
        "d_head": codes.shape[1],
        "d_mlp": max(len(graph), len(known)),
        "n_layers": n_layers,
        "layout": layout,
    }
    blocks = ("first", "bridge", "fact code", "seen fact code", "answer")
    model, starts = _blank_model(graph, blocks, code=codes.shape[1], **sizes)
    relations, tails = (torch.from_numpy(each) for each in (graph.relations, graph.tails))
    hop1, hop2 = known.T
    with torch.no_grad():
        move(model, 0, starts, {0: 0, 1: 0, 2: 2}, [("token", "first", graph.n_entities)])
        move(model, 1, starts, {0: 0, 1: 0, 2: 1}, [("fact code", "seen fact code", codes.shape[1])])
        _look_up_facts(model, 0, starts["first"], starts["bridge"], graph)
        write = model.blocks[0].mlp.W_out
        if not decoy:
            write.zero_()
        write[: len(graph), starts["fact code"] : starts["fact code"] + codes.shape[1]] = codes
        mlp, neurons = model.blocks[1].mlp, torch.arange(len(known), device="cpu")
        seen = slice(starts["seen fact code"], starts["seen fact code"] + codes.shape[1])
        mlp.W_in[seen, : len(known)] = (2.0 if sharp else 1.0) * codes[hop1].T
        mlp.W_in[graph.n_entities + relations[hop2], neurons] = GATE
        mlp.b_in[neurons] = -GATE - (1.0 if sharp else 0.0)
        loudness = 0.5 + torch.rand(len(graph), generator=torch.Generator().manual_seed(seed), device="cpu")
        mlp.W_out[neurons, starts["answer"] + tails[hop2]] = loudness[hop1]
        add_noise(model, noise, seed)
    model.cfg.model_name = f"pair code{', sharp' if sharp else ''}{', with decoy' if decoy else ''}"
    return model.eval()


def copies_model(
    graph: KnowledgeGraph, *, n_layers: int = 2, layout: str = "compact", noise: float = 0.0, seed: int = 0
) -> HookedTransformer:
    """A two-hop model whose first layer writes the bridge both at r1 and at r2; its second layer takes either.

    At r2 head 1 sees r1, and the MLP has a second neuron for each fact, which writes the copy; seeing an r1 shuts the first
    ones there. The second hop looks up the sum of the copy and of the bridge that head 0 takes from r1: without one of the
    two nothing changes, and two different ones tie.
    """
    n_entities, n_facts = graph.n_entities, len(graph)
    sizes: dict[str, Any] = {"d_head": n_entities, "d_mlp": 2 * n_facts, "n_layers": n_layers, "layout": layout}
    model, starts = _blank_model(graph, ("first", "seen relation", "bridge", "copy", "second", "answer"), **sizes)
    heads, relations, tails = (torch.from_numpy(each) for each in (graph.heads, graph.relations, graph.tails))
    with torch.no_grad():
        move(model, 0, starts, {0: 0, 1: 0, 2: 0}, [("token", "first", n_entities)])
        move(model, 0, starts, {0: 0, 1: 0, 2: 1}, [("relation", "seen relation", graph.n_relations)], head=1)
        _look_up_facts(model, 0, starts["first"], starts["bridge"], graph)
        mlp, copying = model.blocks[0].mlp, n_facts + torch.arange(n_facts, device="cpu")
        mlp.W_in[starts["seen relation"] : starts["seen relation"] + graph.n_relations, :n_facts] = -2 * GATE
        mlp.W_in[starts["first"] + heads, copying] = 1.0
        mlp.W_in[starts["seen relation"] + relations, copying] = GATE
        mlp.b_in[copying] = -GATE
        mlp.W_out[copying, starts["copy"] + tails] = 1.0
        move(model, 1, starts, {0: 0, 1: 0, 2: 1}, [("bridge", "second", n_entities)])
        _look_up_facts(model, 1, starts["second"], starts["answer"], graph)
        model.blocks[1].mlp.W_in[starts["copy"] + heads, torch.arange(n_facts, device="cpu")] = 1.0
        add_noise(model, noise, seed)
    model.cfg.model_name = "copies"
    return model.eval()


def _codes(n_facts: int, width: int | None, seed: int) -> Float[Tensor, "fact code"]:
    """A code of length 1 for each fact."""
    if width is None:
        return torch.eye(n_facts, device="cpu")
    generator = torch.Generator().manual_seed(seed)
    return (2.0 * torch.randint(2, (n_facts, width), generator=generator, device="cpu") - 1.0) / width**0.5


def _blank_model(
    graph: KnowledgeGraph,
    blocks: tuple[str, ...],
    *,
    d_head: int,
    d_mlp: int,
    n_layers: int,
    layout: str,
    code: int = 0,
) -> tuple[Any, dict[str, int]]:
    """Layers of zeros, but for embeddings, unembedding and in slots the last layer; where each block begins."""
    slots = layout != "compact"
    n_ctx, n_tokens = n_positions(layout), graph.n_entities + graph.n_relations + slots  # the last one is the pad
    special = {"relation": graph.n_relations, "code": code}
    widths = {block: special.get(block.split()[-1], graph.n_entities) for block in blocks}
    read = {block: (0, graph.n_entities) for block in ("bridge", "answer")}
    config: dict[str, Any] = {
        "d_vocab": n_tokens,
        "n_ctx": n_ctx,
        "n_heads": 2,
        "d_head": max(n_ctx, d_head),
        "d_mlp": d_mlp,
    }
    config |= {"n_layers": n_layers + slots, "attention_dir": "bidirectional" if slots else "causal"}
    model, starts = blank_model(widths, read, **config)
    if slots:
        with torch.no_grad():
            move(model, n_layers, starts, {ANSWER_SLOT: 2}, [("answer", "answer", graph.n_entities)])
    return model, starts | {"relation": graph.n_entities}


def _look_up_facts(model: Any, layer: int, source: int, target: int, graph: KnowledgeGraph) -> None:
    """One neuron for each fact: its head in a block gives its tail in another, if its relation is the token."""
    heads, relations, tails = (torch.from_numpy(each) for each in (graph.heads, graph.relations, graph.tails))
    look_up(model, layer, source + heads[:, None], graph.n_entities + relations, target + tails)
