"""Which hook points of a model hold what effects need, found by running it: names may exist whose hooks are never called.

A model is asked once, on a tiny batch: which points are called and with what shape, and whether what they hold adds up to
the residual stream. `hook_checks` then looks whether changes there do what an engine of hooks takes for granted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ...circuits.arguments import refuse
from ...tasks.transformerlens import Model
from .decoder import device_of
from .head_writes import Writes, writes_of
from .hooked_pass import Noted, Prompts, logits_and_noted
from .hooks import refuse_hooks

NAMES: Mapping[str, Sequence[str]] = {
    "before": ("hook_resid_pre", "hook_in"),
    "q": ("attn.hook_q", "attn.q.hook_out"),
    "k": ("attn.hook_k", "attn.k.hook_out"),
    "v": ("attn.hook_v", "attn.v.hook_out"),
    "z": ("attn.hook_z", "attn.o.hook_in"),
    "attention": ("hook_attn_out", "ln1_post.hook_out", "attn.hook_out"),
    "mlp": ("hook_mlp_out", "ln2_post.hook_out", "mlp.hook_out"),
    "after": ("hook_resid_post", "hook_out"),
}
"""By what is needed of a layer, under which names it may be found; the first that is called, and adds up, is taken."""
MEANING = {
    "before": "what enters the layer",
    "q": "queries",
    "k": "keys",
    "v": "values",
    "z": "what heads gather",
    "attention": "what attention adds",
    "mlp": "what the MLP adds",
    "after": "what leaves the layer",
}
ROUNDINGS = 256  # by how many roundings of the largest number two ways to compute the same may differ
MOST = 0.05  # and never by more than this share of it


@dataclass(frozen=True)
class LayerPoints:
    """The names of a layer's hook points; `mlp` is empty without MLP."""

    before: str
    q: str
    k: str
    v: str
    z: str
    attention: str
    mlp: str
    after: str


@dataclass(frozen=True, eq=False)
class Points:
    """Where a model can be read and changed.

    Attributes:
        layers: by layer, the names of its hook points.
        writes: by layer, from what heads gather to what they add to the residual stream.
        n_heads: of each layer.
        n_key_value_heads: keys and values of each layer.
        noted: what the points held on the tiny batch.
        prompts: that batch.
    """

    layers: Sequence[LayerPoints]
    writes: Sequence[Writes]
    n_heads: int
    n_key_value_heads: int
    noted: Noted
    prompts: Prompts

    @property
    def has_mlp(self) -> bool:
        """False for attention-only models."""
        return bool(self.layers[0].mlp)

    def n_slots(self, name: str) -> int:
        """How many queries, keys or values a layer has."""
        return self.n_heads if name == "q" else self.n_key_value_heads


def has_hook_points(model: object) -> bool:
    """Whether it has sizes, layers and hook points of a decoder, by name; whether they are called is seen in `points_of`.

    What torch.compile makes of a model shows the model's attributes, but may run without its hooks.
    """
    if hasattr(model, "_orig_mod"):
        return False
    named = [f"blocks.0.{name}" for name in NAMES["after"]]
    sizes = all(hasattr(getattr(model, "cfg", None), name) for name in ("n_layers", "n_heads", "d_model", "d_vocab"))
    return sizes and hasattr(model, "blocks") and any(name in getattr(model, "hook_dict", ()) for name in named)


@torch.no_grad()
def points_of(model: Model) -> Points:
    """Find the hook points of a model.

    Raises:
        ValueError: naming each that is needed and missing or never called, or sums that do not hold; if the model carries
            hooks.
    """
    refuse_hooks(model)
    cfg: Any = model.cfg
    refuse([] if cfg.n_layers else ["exact interventions are not defined here for a model with n_layers=0"])
    prompts = Prompts(_tokens(model), None)
    names = [f"blocks.{layer}.{name}" for layer in range(cfg.n_layers) for each in NAMES.values() for name in each]
    there = [name for name in names if name in model.hook_dict]
    _, noted = logits_and_noted(model, prompts, {}, there)
    needs_mlp = not getattr(cfg, "attn_only", False)
    refuse([line for layer in range(cfg.n_layers) for line in _missing(layer, noted, there, needs_mlp)])
    layers = [_that_add_up(layer, noted, cfg.d_model, needs_mlp) for layer in range(cfg.n_layers)]
    refuse(_gaps(layers, noted))
    n_heads = int(cfg.n_heads)
    writes = [
        writes_of(model.blocks[number], number, n_heads, noted[at.z][0], noted[at.attention][0])  # pyright: ignore
        for number, at in enumerate(layers)
    ]
    return Points(layers, writes, n_heads, int(getattr(cfg, "n_key_value_heads", None) or n_heads), noted, prompts)


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether they are the same up to rounding."""
    share = min(ROUNDINGS * torch.finfo(one.dtype).eps, MOST)
    return bool((one - other).abs().max() <= share * max(one.abs().max(), other.abs().max()))


def _tokens(model: Model) -> Int[Tensor, "2 pos"]:
    """Two prompts of no more than three tokens."""
    cfg: Any = model.cfg
    n = min(3, getattr(cfg, "n_ctx", None) or 3)
    return (torch.arange(2 * n, device="cpu") % cfg.d_vocab).view(2, n).to(device_of(model))


def _missing(layer: int, noted: Noted, there: Iterable[str], needs_mlp: bool) -> Iterator[str]:
    """The points of a layer that are not there or never called."""
    exist = set(there)
    for need, names in NAMES.items():
        full = [f"blocks.{layer}.{name}" for name in names]
        if any(name in noted for name in full) or (need == "mlp" and not needs_mlp):
            continue
        silent = [name for name in full if name in exist]
        how = f"{' and '.join(silent)} exist{'s' if len(silent) == 1 else ''} but never called" if silent else ""
        how = how.replace("exist but", "exist but are").replace("exists but", "exists but is")
        yield (
            f"{MEANING[need]} of layer {layer} cannot be reached: "
            + (how or f"there is no hook point {' or '.join(full)}")
            + "; effects need one that the model calls, and some models call more after enable_compatibility_mode()"
        )


def _that_add_up(layer: int, noted: Noted, d_model: int, needs_mlp: bool) -> LayerPoints:
    """The points of a layer, those of which add up that write to the residual stream."""
    found = {
        need: [f"blocks.{layer}.{name}" for name in names if f"blocks.{layer}.{name}" in noted]
        for need, names in NAMES.items()
    }
    before, after = found["before"][0], found["after"][0]
    mlps = [name for name in found["mlp"] if needs_mlp] or [""]
    change = noted[after] - noted[before]
    for attention, mlp in product(found["attention"], mlps):
        parts = [noted[name] for name in (attention, mlp) if name]
        if all(part.shape == change.shape for part in parts) and alike(noted[before] + sum(parts), noted[after]):
            first = {need: names[0] for need, names in found.items() if names}
            return LayerPoints(**{**first, "attention": attention, "mlp": mlp})
    raise ValueError(
        f"what attention and MLP of layer {layer} add ({', '.join(found['attention'] + [name for name in mlps if name])}) "
        f"is not what {after} has more than {before}: the layer scales it or adds something else, and no effect of a single "
        "part would be exact"
    )


def _gaps(layers: Sequence[LayerPoints], noted: Noted) -> list[str]:
    """Where a layer does not read what the one before left."""
    return [
        f"{one.after} is not {other.before}: something between the layers changes the residual stream"
        for one, other in pairwise(layers)
        if not alike(noted[one.after], noted[other.before])
    ]
