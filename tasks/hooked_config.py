"""Sizes and settings of a HookedTransformer; see `hooked_transformer`."""

import math
from dataclasses import dataclass, fields
from typing import Any

import torch

from ..circuits.arguments import shortly

_POSSIBLE: dict[str, tuple[Any, ...]] = {
    "act_fn": ("relu", "gelu", "silu"),
    "attention_dir": ("causal", "bidirectional"),
    "normalization_type": ("LN", "LNPre", "RMS", "RMSPre", None),
    **dict.fromkeys(("n_key_value_heads", "original_architecture", "train_seq_length"), (None,)),
    **dict.fromkeys(("final_rms", "parallel_attn_mlp", "use_attn_in", "use_dynamic_ntk_rope"), (False,)),
    "positional_embedding_type": ("standard", "rotary"),
}


class OnlyInTransformerLens3(NotImplementedError):
    """An option that a HookedTransformer has in TransformerLens 3 only."""


@dataclass(kw_only=True)
class HookedTransformerConfig:
    """Options by their names in TransformerLens 3; what is −1 or None there follows from the others."""

    n_layers: int
    d_model: int
    d_head: int
    n_ctx: int
    d_vocab: int
    n_heads: int = -1
    d_mlp: Any = None
    d_vocab_out: int = -1
    act_fn: str = "relu"
    attn_only: bool = False
    gated_mlp: bool = False
    normalization_type: Any = "LN"
    attention_dir: str = "causal"
    positional_embedding_type: str = "standard"
    rotary_dim: int | None = None
    eps: float = 1e-5
    use_attn_scale: bool = True
    attn_scores_soft_cap: float | None = -1.0
    output_logits_soft_cap: float | None = -1.0
    use_split_qkv_input: bool = False
    use_hook_mlp_in: bool = False
    use_attn_result: bool = False
    default_prepend_bos: bool = True
    model_name: str = "custom"
    init_weights: bool = True
    initializer_range: float = -1.0
    dtype: torch.dtype = torch.float32
    device: Any = None
    n_key_value_heads: None = None
    original_architecture: None = None
    train_seq_length: None = None
    final_rms: bool = False
    parallel_attn_mlp: bool = False
    use_attn_in: bool = False
    use_dynamic_ntk_rope: bool = False

    def __new__(cls, **options: Any) -> "HookedTransformerConfig":
        """Refuse what models have in TransformerLens 3 only, known here or not, all at once.

        Raises:
            OnlyInTransformerLens3: naming these options.
        """
        known = {field.name for field in fields(cls)}
        removed = [
            f"{name}={shortly(value)}"
            for name, value in options.items()
            if name not in known or value not in _POSSIBLE.get(name, (value,))
        ]
        if removed:
            raise OnlyInTransformerLens3(
                f"a HookedTransformer without TransformerLens 3 has no {', '.join(removed)}; such models are "
                "TransformerBridges in TransformerLens 4, or install transformer-lens<4"
            )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        if self.n_heads == -1:
            self.n_heads = self.d_model // self.d_head
        if self.d_mlp is None:
            self.d_mlp = 4 * self.d_model
        if self.d_vocab_out == -1:
            self.d_vocab_out = self.d_vocab
        if self.initializer_range < 0:
            self.initializer_range = 0.8 / math.sqrt(self.d_model)
        if self.positional_embedding_type == "rotary" and self.rotary_dim is None:
            self.rotary_dim = self.d_head
        if self.device is None:
            self.device = "cuda" if torch.cuda.is_available() else "cpu"

    def to_dict(self) -> dict[str, Any]:
        """All options by name."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, options: dict[str, Any]) -> "HookedTransformerConfig":
        """A config of the options."""
        return cls(**options)
