"""The HookedTransformer of this project's models, where TransformerLens no longer has one.

TransformerLens 4.0 dropped the class that checkpoints are loaded into. This one has the same parameters, hook points and
config by the same names and does the same operations in the same order, so that logits are the same to the bit. It has the
options that models of this project use, and no text: published models are bridges there.
"""

from collections.abc import Callable
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens import ActivationCache, HookedRootModule
from transformer_lens.hook_points import HookPoint
from transformer_lens.utilities.tokenize_utils import get_attention_mask

from .hooked_config import HookedTransformerConfig
from .hooked_layers import Embed, Norm, PosEmbed, TransformerBlock, Unembed, soft_capped

__all__ = ["HookedTransformer", "HookedTransformerConfig"]


class HookedTransformer(HookedRootModule):
    """A transformer with a hook point at every activation; see TransformerLens 3 for the names."""

    def __init__(self, cfg: HookedTransformerConfig | dict[str, Any], tokenizer: Any = None) -> None:
        super().__init__()
        self.cfg = cfg = HookedTransformerConfig.from_dict(cfg) if isinstance(cfg, dict) else cfg
        self.tokenizer = tokenizer
        self.embed = Embed(cfg)
        self.hook_embed = HookPoint()
        if cfg.positional_embedding_type != "rotary":
            self.pos_embed = PosEmbed(cfg)
            self.hook_pos_embed = HookPoint()
        self.blocks: Any = nn.ModuleList([TransformerBlock(cfg) for _ in range(cfg.n_layers)])
        if cfg.normalization_type is not None:
            self.ln_final = Norm(cfg)
        self.unembed = Unembed(cfg)
        if cfg.init_weights:
            for name, parameter in self.named_parameters():
                if "W_" in name:
                    nn.init.normal_(parameter, std=cfg.initializer_range)
        self.setup()

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:
        """The embedding."""
        return self.embed.W_E

    @property
    def W_pos(self) -> Float[Tensor, "n_ctx d_model"]:
        """The embedding of positions."""
        return self.pos_embed.W_pos

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab"]:
        """The unembedding."""
        return self.unembed.W_U

    @property
    def b_U(self) -> Float[Tensor, " d_vocab"]:
        """What is added to all logits."""
        return self.unembed.b_U

    def forward(
        self,
        input: Tensor,
        return_type: str | None = "logits",
        *,
        tokens: Int[Tensor, "query pos"] | None = None,
        attention_mask: Tensor | None = None,
        start_at_layer: int | None = None,
        stop_at_layer: int | None = None,
    ) -> Tensor | None:
        """The logits of tokens [query, pos], or the state [query, pos, d_model] before a layer at which it stops.

        Args:
            input: tokens; the state before the first layer that is run, if start_at_layer is given.
            return_type: None: no logits.
            tokens: not used; those of a state.
            attention_mask: which positions are seen; by default all but leading pads of the tokenizer, if it pads left.
            start_at_layer: the first layer that is run.
            stop_at_layer: the first that is not.
        """
        state, mask = input, attention_mask
        if start_at_layer is None:
            state, mask = self._embedded(input[None] if input.ndim == 1 else input, attention_mask)
        for block in list(self.blocks)[start_at_layer:stop_at_layer]:
            state = block(state, mask)
        if stop_at_layer is not None:
            return state
        if self.cfg.normalization_type is not None:
            state = self.ln_final(state)
        return None if return_type is None else soft_capped(self.unembed(state), self.cfg.output_logits_soft_cap)

    def _embedded(self, tokens: Int[Tensor, "query pos"], mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The state before the first layer, and which positions are seen."""
        tokens = tokens.to(self.W_E.device)
        if mask is None and self.tokenizer and self.tokenizer.padding_side == "left":
            mask = get_attention_mask(self.tokenizer, tokens, self.cfg.default_prepend_bos)
        mask = None if mask is None else mask.to(tokens.device)
        embedding = self.hook_embed(self.embed(tokens))
        if self.cfg.positional_embedding_type == "rotary":
            return embedding, mask
        return embedding + self.hook_pos_embed(self.pos_embed(tokens, 0, mask)), mask

    def run_with_cache(
        self, *args: Any, return_cache_object: bool = True, remove_batch_dim: bool = False, **kwargs: Any
    ) -> Any:
        """Output and activations by the names of their hook points."""
        output, cache = super().run_with_cache(*args, remove_batch_dim=remove_batch_dim, **kwargs)
        if not return_cache_object:
            return output, cache
        return output, ActivationCache(cache, self, has_batch_dim=not remove_batch_dim)

    def check_hooks_to_add(self, hook_point: HookPoint, hook_point_name: str, *args: Any, **kwargs: Any) -> None:
        """Refuse a hook that would never be called."""
        name = hook_point_name.rpartition(".")[2]
        split = dict.fromkeys(("hook_q_input", "hook_k_input", "hook_v_input"), "use_split_qkv_input")
        flag = {**split, "hook_mlp_in": "use_hook_mlp_in", "hook_result": "use_attn_result"}.get(name)
        assert flag is None or getattr(self.cfg, flag), f"Cannot add hook {hook_point_name} if {flag} is False"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "HookedTransformer":
        """Move or convert all tensors; the config follows."""
        super()._apply(fn, recurse)
        self.cfg.device, self.cfg.dtype = str(self.W_E.device), self.W_E.dtype
        return self
