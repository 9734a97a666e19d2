"""Models set by hand for chains of facts and for comparisons, known to the last edge: controls of longer tasks.

`handset_chain_model` answers k hops, `h r1 … rk`. One layer does one hop: at r1 the first one, at r2 the second one, and so
on. Head 0 copies the entity found so far from the position before, the MLP has one neuron for each fact and writes its tail.
Fewer hops are answered at their own last relation. `chain_lookup_model` answers chains that it has memorised, at the last
relation, from all tokens; as a decoy it also writes every intermediate where the first model does, and nothing reads it.

`handset_comparison_model` answers `attribute e1 e2` by two facts found side by side: layer 0 writes the value of the
attribute at e1 and at e2, layer 1 takes the first to e2 and compares. `attribute e` is answered at e.
`comparison_lookup_model` has memorised the answers, with the values as a decoy. Entities, values and labels are one-hot.

All are causal and of the compact layout. `hand_parts.shuffled_weights` of any is a null of the same shape.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from ...circuits.arguments import native, number_problems, refuse, seed_problems, shortly, whole_problems
from ..questions.graph import KnowledgeGraph
from ..transformerlens import HookedTransformer
from .hand_parts import Starts, add_noise, blank_model, look_up, move

LABELS = ("<", "=", ">")
MOST_HOPS = 16


def handset_chain_model(graph: KnowledgeGraph, n_hops: int, *, noise: float = 0.0, seed: int = 0) -> HookedTransformer:
    """The model of a graph that answers every chain of up to `n_hops` facts; it has as many layers.

    Args:
        graph: the facts; entities are tokens from 0 on, then relations.
        n_hops: the longest chain.
        noise: standard deviation of what is added to all weights.
        seed: of the noise.

    Raises:
        ValueError: if a setting is none.
    """
    n_hops, noise, seed = native((n_hops, noise, seed))
    refuse(whole_problems(1, most=MOST_HOPS, n_hops=n_hops) + _noise_problems(noise, seed))
    model, starts = _blank_chain(graph, n_hops, n_heads=1, d_head=graph.n_entities, d_mlp=len(graph), seen={})
    with torch.no_grad():
        for hop in range(1, n_hops + 1):
            _hop(model, starts, graph, hop)
        add_noise(model, noise, seed)
    model.cfg.model_name = f"hand-set, {n_hops} hops"
    return model.eval()


def chain_lookup_model(
    graph: KnowledgeGraph, chains: Int[np.ndarray, "chain hop"], *, decoy: bool = False, noise: float = 0.0, seed: int = 0
) -> HookedTransformer:
    """A model that has memorised the answers of chains and knows no intermediate.

    In the last layer head i takes the token at position i to the last relation, where one neuron for each chain answers. A
    decoy writes all intermediates, as `handset_chain_model` does, and nothing reads them.

    Args:
        graph: the facts.
        chains: numbers of facts, a row for each chain, all of one length of at least 2.
        decoy: whether intermediates are written.
        noise: standard deviation of what is added to all weights.
        seed: of the noise.

    Raises:
        ValueError: if chains are none of this graph, or a setting is none.
    """
    noise, seed = native((noise, seed))
    refuse(_chain_problems(graph, chains) + _noise_problems(noise, seed))
    n_hops = chains.shape[1]
    seen = {f"seen token {place}": graph.n_entities + graph.n_relations for place in range(n_hops)}
    sizes = {"d_head": graph.n_entities + graph.n_relations, "d_mlp": max(len(graph), len(chains))}
    model, starts = _blank_chain(graph, n_hops, n_heads=n_hops, seen=seen, **sizes)
    heads, relations, tails = (torch.from_numpy(each) for each in (graph.heads, graph.relations, graph.tails))
    facts = torch.from_numpy(chains)
    tokens = torch.cat([heads[facts[:, :1]], graph.n_entities + relations[facts]], dim=1)
    with torch.no_grad():
        for hop in range(1, n_hops) if decoy else ():
            _hop(model, starts, graph, hop)
        for place, (block, width) in enumerate(seen.items()):
            move(model, n_hops - 1, starts, {n_hops: place}, [("token", block, width)], head=place)
        reads = tokens[:, :-1] + torch.tensor([starts[block] for block in seen], device="cpu")
        look_up(model, n_hops - 1, reads, tokens[:, -1], starts[f"found {n_hops}"] + tails[facts[:, -1]])
        add_noise(model, noise, seed)
    model.cfg.model_name = f"lookup, {n_hops} hops{', with decoy' if decoy else ''}"
    return model.eval()


def handset_comparison_model(
    values: Int[np.ndarray, "attribute entity"], *, noise: float = 0.0, seed: int = 0
) -> HookedTransformer:
    """The model that says whether the first entity's value is less than, equal to or more than the second's.

    Tokens are the values, 0 to the largest one, the labels <, = and >, the attributes, and the entities.

    Args:
        values: whole numbers from 0 on.
        noise: standard deviation of what is added to all weights.
        seed: of the noise.

    Raises:
        ValueError: if values are none, or a setting is none.
    """
    noise, seed = native((noise, seed))
    refuse(_value_problems(values) + _noise_problems(noise, seed))
    n_values = int(values.max()) + 1
    model, starts = _blank_comparison(values, d_head=max(values.shape[0], n_values), d_mlp=max(values.size, n_values**2))
    first, second = (torch.from_numpy(each.ravel()) for each in np.indices((n_values, n_values)))
    with torch.no_grad():
        _retrieve_values(model, starts, values)
        move(model, 1, starts, {1: 0, 2: 1}, [("value", "other value", n_values)])
        reads = starts["other value"] + first[:, None]
        look_up(model, 1, reads, starts["value"] + second, starts["label"] + 1 + torch.sign(first - second))
        add_noise(model, noise, seed)
    model.cfg.model_name = "hand-set, comparison"
    return model.eval()


def comparison_lookup_model(
    values: Int[np.ndarray, "attribute entity"],
    trained: Int[np.ndarray, "question 3"],
    *,
    decoy: bool = False,
    noise: float = 0.0,
    seed: int = 0,
) -> HookedTransformer:
    """A model that has memorised which label belongs to (attribute, e1, e2) and compares nothing.

    Args:
        values: as in `handset_comparison_model`.
        trained: attribute, first and second entity of the questions that it answers, each numbered from 0.
        decoy: whether the values are written at e1 and e2, where nothing reads them in questions of two entities.
        noise: standard deviation of what is added to all weights.
        seed: of the noise.

    Raises:
        ValueError: if values or questions are none, or a setting is none.
    """
    noise, seed = native((noise, seed))
    refuse(_value_problems(values) or _question_problems(values, trained) + _noise_problems(noise, seed))
    n_attributes, n_entities = values.shape
    attribute, one, two = torch.from_numpy(trained).T
    table = torch.from_numpy(values)
    model, starts = _blank_comparison(values, d_head=n_attributes + n_entities, d_mlp=max(values.size, len(trained)))
    with torch.no_grad():
        if decoy:
            _retrieve_values(model, starts, values)
        move(model, 1, starts, {2: 0}, [("attribute", "carried", n_attributes)])
        move(model, 1, starts, {2: 1}, [("entity", "other entity", n_entities)], head=1)
        reads = torch.stack([starts["carried"] + attribute, starts["other entity"] + one], dim=1)
        label = 1 + torch.sign(table[attribute, one] - table[attribute, two])
        look_up(model, 1, reads, starts["entity"] + two, starts["label"] + label)
        add_noise(model, noise, seed)
    model.cfg.model_name = f"lookup, comparison{', with decoy' if decoy else ''}"
    return model.eval()


def _blank_chain(
    graph: KnowledgeGraph, n_hops: int, *, n_heads: int, d_head: int, d_mlp: int, seen: dict[str, int]
) -> tuple[Any, Starts]:
    """Layers of zeros for prompts of `n_hops` relations; what was found in any hop is unembedded."""
    hops = range(1, n_hops + 1)
    widths = {f"{what} {hop}": graph.n_entities for hop in hops for what in ("from", "found")}
    read = {f"found {hop}": (0, graph.n_entities) for hop in hops}
    sizes = {"d_vocab": graph.n_entities + graph.n_relations, "n_ctx": n_hops + 1, "n_layers": n_hops}
    sizes |= {"n_heads": n_heads, "d_head": max(n_hops + 1, d_head), "d_mlp": d_mlp}
    return blank_model(widths | seen, read, **sizes)


def _hop(model: Any, starts: Starts, graph: KnowledgeGraph, hop: int) -> None:
    """Every position takes what was found at the one before, which holds something at one of them, and looks up the fact."""
    before = {place: max(place - 1, 0) for place in range(model.cfg.n_ctx)}
    source = "token" if hop == 1 else f"found {hop - 1}"
    move(model, hop - 1, starts, before, [(source, f"from {hop}", graph.n_entities)])
    heads, relations, tails = (torch.from_numpy(each) for each in (graph.heads, graph.relations, graph.tails))
    reads = starts[f"from {hop}"] + heads[:, None]
    look_up(model, hop - 1, reads, graph.n_entities + relations, starts[f"found {hop}"] + tails)


def _blank_comparison(values: Int[np.ndarray, "attribute entity"], *, d_head: int, d_mlp: int) -> tuple[Any, Starts]:
    """Two layers of zeros, whose unembedding prefers labels to the value that is written at e2, too."""
    n_attributes, n_entities = values.shape
    n_values = int(values.max()) + 1
    widths = {
        "asked": n_attributes,
        "carried": n_attributes,
        "value": n_values,
        "other value": n_values,
        "other entity": n_entities,
        "label": 3,
    }
    tokens = {"attribute": n_values + len(LABELS), "entity": n_values + len(LABELS) + n_attributes}
    sizes = {"d_vocab": tokens["entity"] + n_entities, "n_ctx": 3, "n_layers": 2}
    sizes |= {"n_heads": 2, "d_head": max(3, d_head), "d_mlp": d_mlp}
    model, starts = blank_model(widths, {"value": (0, n_values), "label": (n_values, 3)}, **sizes)
    with torch.no_grad():
        model.unembed.W_U[starts["label"] : starts["label"] + 3] *= 2
    return model, starts | tokens


def _retrieve_values(model: Any, starts: Starts, values: Int[np.ndarray, "attribute entity"]) -> None:
    """Layer 0: at either entity the attribute arrives and the MLP looks the value up."""
    attributes, entities = (torch.from_numpy(each.ravel()) for each in np.indices(values.shape))
    move(model, 0, starts, {1: 0, 2: 0}, [("attribute", "asked", values.shape[0])])
    found = starts["value"] + torch.from_numpy(values.ravel())
    look_up(model, 0, starts["asked"] + attributes[:, None], starts["entity"] + entities, found)


def _noise_problems(noise: Any, seed: Any) -> list[str]:
    return number_problems(0, noise=noise) + seed_problems(seed)


def _is_table(given: Any, n_columns: int | None = None) -> bool:
    """Whether it is a table of whole numbers from 0 on, with rows."""
    fits = isinstance(given, np.ndarray) and given.ndim == 2 and given.size and np.issubdtype(given.dtype, np.integer)
    return bool(fits and given.min() >= 0 and n_columns in (None, given.shape[1]))


def _chain_problems(graph: KnowledgeGraph, chains: Any) -> list[str]:
    """Why these are no chains of two or more facts of a graph."""
    if not _is_table(chains) or not 2 <= chains.shape[1] <= MOST_HOPS:
        needed = f"a table of whole numbers, a row of 2 to {MOST_HOPS} facts for each chain"
        return [f"chains is {shortly(chains)}, needed is {needed}"]
    if chains.max() >= len(graph):
        return [f"chains names the fact {chains.max()}, but there are {len(graph)}"]
    broken = (graph.tails[chains[:, :-1]] != graph.heads[chains[:, 1:]]).any(axis=1)
    return [f"chains: {broken.sum()} are broken, the first is {chains[broken][0].tolist()}"] if broken.any() else []


def _value_problems(values: Any) -> list[str]:
    needed = "a table of whole numbers from 0 on, a row for each attribute and a column for each entity"
    return [] if _is_table(values) else [f"values is {shortly(values)}, needed is {needed}"]


def _question_problems(values: np.ndarray, trained: Any) -> list[str]:
    needed = f"a table of an attribute below {values.shape[0]} and two entities below {values.shape[1]} in each row"
    fits = _is_table(trained, 3) and (trained.max(axis=0) < [values.shape[0], values.shape[1], values.shape[1]]).all()
    return [] if fits else [f"trained is {shortly(trained)}, needed is {needed}"]
