"""Exact rewrites: other weights, other sizes, the same function, so that nothing a "same path" rests on may move.

A model is taken apart into `Parts`, changed, and built anew; the given one is left as it is. Layers that share parameters
are one dictionary in the parts, so that a change of a block is one change in all loops, and stay shared unless a rewrite
says otherwise. `REWRITES` has them by name; one that a model leaves no room for raises a `ValueError` with the reason.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from grokscope.tasks import Donor, PromptPairs, Queries, TwoHopTask
from grokscope.tasks.hooked_config import OnlyInTransformerLens3
from grokscope.tasks.transformerlens import HookedTransformer, HookedTransformerConfig

Block = dict[str, Tensor]
QK, OV = ("W_Q", "W_K", "b_Q", "b_K"), ("W_V", "b_V", "W_O")
OF_HEADS = (*QK, *OV)
WRITES = ("attn.W_O", "attn.b_O", "mlp.W_out", "mlp.b_out")
READS = ("attn.W_Q", "attn.W_K", "attn.W_V", "mlp.W_in")
Rewrite = Callable[[HookedTransformer, Generator], HookedTransformer]


@dataclass(frozen=True)
class Parts:
    """All parameters of a model, copied.

    Attributes:
        blocks: of each layer, parameters by their name in the block; layers that share them are one dictionary.
        rest: embeddings, final norm and unembedding, by name.
        settings: of the configuration, where they differ from the given model's.
    """

    blocks: list[Block]
    rest: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)


def parts_of(model: HookedTransformer) -> Parts:
    shared: dict[tuple[int, ...], Block] = {}
    blocks = [
        shared.setdefault(
            tuple(map(id, block.parameters())),
            {name: parameter.detach().clone() for name, parameter in block.named_parameters()},
        )
        for block in model.blocks
    ]
    rest = {name: each.detach().clone() for name, each in model.named_parameters() if not name.startswith("blocks.")}
    return Parts(blocks, rest)


def built(model: HookedTransformer, parts: Parts) -> HookedTransformer:
    """A new model with these parts, otherwise set up as the given one; scores keep its scale, whatever d_head is."""
    (n_heads, _, d_head), (_, d_mlp) = parts.blocks[0]["attn.W_Q"].shape, parts.blocks[0]["mlp.W_in"].shape
    sizes = {"n_layers": len(parts.blocks), "n_heads": n_heads, "d_head": d_head, "d_mlp": d_mlp, "init_weights": False}
    new = HookedTransformer(HookedTransformerConfig.from_dict({**model.cfg.to_dict(), **sizes, **parts.settings}))
    layers: dict[int, int] = {}
    with torch.no_grad():
        for name, value in parts.rest.items():
            new.get_parameter(name).copy_(value)
        for layer, block in enumerate(parts.blocks):
            first = layers.setdefault(id(block), layer)
            for name, value in block.items():
                path, _, leaf = name.rpartition(".")
                new.blocks[first].get_parameter(name).copy_(value)
                setattr(new.blocks[layer].get_submodule(path), leaf, new.blocks[first].get_parameter(name))
    return new.eval()


def each_block(model: HookedTransformer, change: Callable[[Block], Block]) -> HookedTransformer:
    """The model with every block changed; layers that share one share the changed one."""
    parts = parts_of(model)
    changed = {id(block): change(block) for block in parts.blocks}
    return built(model, replace(parts, blocks=[changed[id(block)] for block in parts.blocks]))


def permuted_heads(model: HookedTransformer, generator: Generator) -> HookedTransformer:
    """Exact: the layer's output is a sum over heads, in any order."""
    n_heads = model.cfg.n_heads
    if n_heads == 1:
        raise ValueError("one head has one order only")

    def change(block: Block) -> Block:
        order = torch.randperm(n_heads - 1, generator=generator) + 1  # then the first one's place, which surely moves it
        place = int(torch.randint(1, n_heads, (1,), generator=generator))
        order = torch.cat([order[:place], torch.tensor([0]), order[place:]])
        return block | {f"attn.{name}": block[f"attn.{name}"][order] for name in OF_HEADS}

    return each_block(model, change)


def permuted_neurons(model: HookedTransformer, generator: Generator) -> HookedTransformer:
    """Exact: the MLP's output is a sum over neurons, in any order."""

    def change(block: Block) -> Block:
        order = torch.randperm(len(block["mlp.W_out"]), generator=generator)
        found = {"mlp.W_in": block["mlp.W_in"][:, order], "mlp.b_in": block["mlp.b_in"][order]}
        return block | found | {"mlp.W_out": block["mlp.W_out"][order]}

    return each_block(model, change)


def split_head(model: HookedTransformer, generator: Generator, *, n_parts: int) -> HookedTransformer:
    """Exact: parts attend alike, and what a head writes is a sum over the dimensions of its values.

    Every dimension of a randomly chosen head goes to one of the parts, which are of random sizes; the others are zero there.
    """

    def change(block: Block) -> Block:
        n_heads, _, d_head = block["attn.W_Q"].shape
        head = int(torch.randint(n_heads, (1,), generator=generator))
        shares = torch.rand(n_parts, generator=generator) + 0.05
        part_of = torch.multinomial(shares, d_head, replacement=True, generator=generator)
        sources = torch.tensor([*range(n_heads), *[head] * (n_parts - 1)])
        kept = torch.ones(len(sources), d_head, dtype=torch.bool)
        kept[sources == head] = part_of == torch.arange(n_parts)[:, None]
        new = {name: block[f"attn.{name}"][sources] for name in OF_HEADS}
        new |= {"W_V": new["W_V"] * kept[:, None], "b_V": new["b_V"] * kept, "W_O": new["W_O"] * kept[:, :, None]}
        return block | {f"attn.{name}": value for name, value in new.items()}

    return each_block(model, change)


def dead_heads(model: HookedTransformer, generator: Generator, *, n: int) -> HookedTransformer:
    """Exact: heads that attend and gather, but write zeros; among the others at random places."""

    def change(block: Block) -> Block:
        order = torch.randperm(len(block["attn.W_O"]) + n, generator=generator)
        new = {}
        for name in OF_HEADS:
            live = block[f"attn.{name}"]
            scale = 0.0 if name == "W_O" else float(live.std(correction=0)) + 0.1
            dead = scale * torch.randn(n, *live.shape[1:], generator=generator, dtype=torch.float64)
            new[f"attn.{name}"] = torch.cat([live, dead.to(live)])[order]
        return block | new

    return each_block(model, change)


def idle_blocks(
    model: HookedTransformer, generator: Generator, *, places: tuple[int, ...] = (), n: int = 0
) -> HookedTransformer:
    """Exact: blocks that compute as their neighbours do and write nothing, each with separate weights.

    Args:
        model: the given one, whose other layers stay shared if they are.
        generator: draws `n` further places.
        places: before which of the given layers; its number of layers stands for the end.
        n: how many more.
    """
    parts, n_layers = parts_of(model), model.cfg.n_layers
    if places and max(places) > n_layers:
        raise ValueError(f"{n_layers} layers have no place {max(places)}")
    drawn = torch.randint(n_layers + 1, (n,), generator=generator).tolist()
    blocks = list(parts.blocks)
    for place in sorted((*places, *drawn), reverse=True):
        near = parts.blocks[min(place, n_layers - 1)]
        blocks.insert(place, {k: torch.zeros_like(v) if k in WRITES else v.clone() for k, v in near.items()})
    return built(model, replace(parts, blocks=blocks))


def halved_blocks(model: HookedTransformer, _: Generator) -> HookedTransformer:
    """Exact: each block as two, attention and then MLP. Not among `REWRITES`: cuts lie where the model had none."""
    parts, blocks = parts_of(model), []
    for block in parts.blocks:
        for part in ("mlp", "attn"):
            off = {f"{part}.W_out", f"{part}.b_out", f"{part}.W_O", f"{part}.b_O"} & set(WRITES)
            blocks.append({k: torch.zeros_like(v) if k in off else v.clone() for k, v in block.items()})
    return built(model, replace(parts, blocks=blocks))


def invertible_values(model: HookedTransformer, generator: Generator) -> HookedTransformer:
    """Exact: (x W_V + b_V) M, weighted and summed, times M⁻¹ W_O is what it was without M; a matrix for each head."""

    def change(block: Block) -> Block:
        matrices, inverses = _invertible(block["attn.W_V"], generator)
        values = {"attn.W_V": block["attn.W_V"] @ matrices, "attn.b_V": _row_times(block["attn.b_V"], matrices)}
        return block | values | {"attn.W_O": inverses @ block["attn.W_O"]}

    return each_block(model, change)


def invertible_scores(model: HookedTransformer, generator: Generator) -> HookedTransformer:
    """Exact: (q M) · (k M⁻ᵀ) = q · k, a matrix for each head, where nothing stands between products and scores."""
    if model.cfg.positional_embedding_type == "rotary":
        raise ValueError("rotation by position stands between a head's matrices and its scores")

    def change(block: Block) -> Block:
        new = {}
        matrices, inverses = _invertible(block["attn.W_Q"], generator)
        for name, matrix in (("Q", matrices), ("K", inverses.mT)):
            new[f"attn.W_{name}"] = block[f"attn.W_{name}"] @ matrix
            new[f"attn.b_{name}"] = _row_times(block[f"attn.b_{name}"], matrix)
        return block | new

    return each_block(model, change)


def folded_norms(model: HookedTransformer, _: Generator) -> HookedTransformer:
    """Exact, by TransformerLens: gains and biases of norms go into what reads them; what is written is centred, as every
    norm centres what it reads; the values' biases go into the output's, as weights of attention sum to 1.

    The library works layer by layer in place, which would fold a shared block once for each loop: it gets an untied copy,
    whose layers, all changed alike, are then shared again. The unembedding is not centred, which would move the logits.
    """
    if model.cfg.normalization_type != "LN":
        raise ValueError(f"there are no gains to fold in norms of the type {model.cfg.normalization_type}")
    folded = untied_blocks(model)
    if not hasattr(folded, "load_and_process_state_dict"):
        raise OnlyInTransformerLens3("no HookedTransformer whose norms can be folded")
    folded.load_and_process_state_dict(folded.state_dict(), center_unembed=False)
    parts, first = parts_of(folded), {}
    blocks = [parts.blocks[first.setdefault(id(block), i)] for i, block in enumerate(parts_of(model).blocks)]
    return built(folded, replace(parts, blocks=blocks))


def rotated_residual(model: HookedTransformer, generator: Generator) -> HookedTransformer:
    """Exact: of a centred stream the standard deviation is the root mean square, which no rotation changes.

    So norms are folded and what is written is centred first; the norms that are left divide by the root mean square.
    """
    centred = folded_norms(model, generator)
    turn = _orthogonal(model.W_E.shape[1], generator).to(model.W_E)
    parts = parts_of(centred)

    def turned(block: Block) -> Block:
        return block | {name: block[name] @ turn for name in WRITES} | {name: turn.T @ block[name] for name in READS}

    changed = {id(block): turned(block) for block in parts.blocks}
    rest = parts.rest | {name: parts.rest[name] @ turn for name in ("embed.W_E", "pos_embed.W_pos")}
    rest["unembed.W_U"] = turn.T @ rest["unembed.W_U"]
    blocks = [changed[id(block)] for block in parts.blocks]
    return built(centred, Parts(blocks, rest, {"normalization_type": "RMSPre"}))


def untied_copy(model: HookedTransformer, _: Generator) -> HookedTransformer:
    """Exact: every layer gets its own copy of what it shared. Embedding and unembedding are two parameters as it is; what
    ties them is training, and they stay equal here."""
    if len({id(block) for block in parts_of(model).blocks}) == model.cfg.n_layers:
        raise ValueError("no two layers share parameters")
    return untied_blocks(model)


def untied_blocks(model: HookedTransformer) -> HookedTransformer:
    parts = parts_of(model)
    return built(model, replace(parts, blocks=[dict(block) for block in parts.blocks]))


def all_together(model: HookedTransformer, generator: Generator) -> HookedTransformer:
    """Exact, since each of them is: dead and split heads, other bases everywhere, idle blocks."""
    steps = (
        partial(dead_heads, n=2),
        partial(split_head, n_parts=3),
        permuted_heads,
        permuted_neurons,
        invertible_values,
        invertible_scores,
        rotated_residual,
        partial(idle_blocks, n=3),
    )
    for step in steps:
        model = step(model, generator)
    return model


REWRITES: Mapping[str, Rewrite] = {
    "heads permuted": permuted_heads,
    "neurons permuted": permuted_neurons,
    "a head in two": partial(split_head, n_parts=2),
    "a head in seven": partial(split_head, n_parts=7),
    "a dead head": partial(dead_heads, n=1),
    "six dead heads": partial(dead_heads, n=6),
    "idle block first": partial(idle_blocks, places=(0,)),
    **{f"idle block after layer {layer}": partial(idle_blocks, places=(layer + 1,)) for layer in range(4)},
    "idle blocks": partial(idle_blocks, n=4),
    "values by a matrix": invertible_values,
    "scores by a matrix": invertible_scores,
    "norms folded": folded_norms,
    "residual rotated": rotated_residual,
    "untied": untied_copy,
    "all together": all_together,
}


@dataclass(frozen=True, eq=False)
class Renamed:
    """A task whose tokens carry other numbers: the same questions, units, facts and draws.

    Entities and relations are each permuted among themselves. A task with a renamed graph would sort its facts anew and so
    draw others by the same seed; this one asks the given task and renames what it says, so that nothing else changes.
    """

    task: TwoHopTask
    names: Int[Tensor, " token"]

    @classmethod
    def of(cls, task: TwoHopTask, generator: Generator) -> "Renamed":
        n_entities, n_relations = task.graph.n_entities, task.graph.n_relations
        entities = torch.randperm(n_entities, generator=generator)
        relations = n_entities + torch.randperm(n_relations, generator=generator)
        return cls(task, torch.cat([entities, relations, torch.arange(n_entities + n_relations, task.n_tokens)]))

    def model(self, model: HookedTransformer) -> HookedTransformer:
        """Exact for renamed prompts: token names[t] is embedded and unembedded as t was."""
        parts, old = parts_of(model), self.names.argsort()
        rest = parts.rest | {"embed.W_E": parts.rest["embed.W_E"][old]}
        rest |= {"unembed.W_U": parts.rest["unembed.W_U"][:, old], "unembed.b_U": parts.rest["unembed.b_U"][old]}
        return built(model, replace(parts, rest=rest))

    def pairs(self, pairs: PromptPairs) -> PromptPairs:
        columns = {name: self.names[getattr(pairs, name)] for name in ("clean", "corrupt", "answers", "foils")}
        columns |= {name: self._columns(getattr(pairs, name)) for name in ("intermediates", "corrupt_intermediates")}
        return replace(pairs, **columns)

    def queries(self, queries: Queries) -> Queries:
        columns = {"tokens": self.names[queries.tokens], "answers": self.names[queries.answers]}
        return replace(queries, **columns, intermediates=self._columns(queries.intermediates))

    def _columns(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.names[column] for name, column in columns.items()}

    @property
    def n_reference(self) -> int:
        return self.task.n_reference

    def n_values(self, intermediate: str) -> int:
        return self.task.n_values(intermediate)

    def split(self, name: str) -> Queries:
        return self.queries(self.task.split(name))

    def reference(self, *, seed: int, without: frozenset[int] = frozenset()) -> Queries:
        return self.queries(self.task.reference(seed=seed, without=without))

    def donors(self, *, intermediate: str = "bridge", second_hop: str, seed: int) -> "RenamedDonors":
        return RenamedDonors(self, self.task.donors(intermediate=intermediate, second_hop=second_hop, seed=seed))


@dataclass(frozen=True, eq=False)
class RenamedDonors:
    """The given task's donors, renamed; questions come with new names and are found by their facts and old ones."""

    renamed: Renamed
    donors: Any

    def of(self, queries: Queries, row: int) -> Donor | None:
        names = self.renamed.names
        old = replace(queries, tokens=names.argsort()[queries.tokens])
        if (found := self.donors.of(old, row)) is None:
            return None
        prompts = {kind: names[prompt] for kind, prompt in found.prompts.items()}
        return replace(found, prompts=prompts, value=int(names[found.value]), answer=int(names[found.answer]))


def _row_times(rows: Float[Tensor, "head d_head"], matrices: Float[Tensor, "head d_head d_head"]) -> Tensor:
    return (rows[:, None] @ matrices)[:, 0]


def _invertible(like: Float[Tensor, "head _ d_head"], generator: Generator) -> tuple[Tensor, Tensor]:
    """A matrix for each head, none close to singular, and their inverses."""
    n_heads, _, d_head = like.shape
    turns = [torch.stack([_orthogonal(d_head, generator) for _ in range(n_heads)]) for _ in range(2)]
    scales = 0.5 + 1.5 * torch.rand(n_heads, 1, d_head, generator=generator, dtype=torch.float64)
    matrices = turns[0] * scales @ turns[1]
    return matrices.to(like), torch.linalg.inv(matrices).to(like)


def _orthogonal(size: int, generator: Generator) -> Float[Tensor, "size size"]:
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
