"""Tokenizers that are trained on the spot, and models that read words."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

END = "<|endoftext|>"
PIECES = Regex(r" ?\p{L}+| ?\d{2}|[^\s\p{L}\d]+|\s+")  # digits two by two


def byte_tokenizer(texts: Sequence[str], *, prepends: bool = True, side: str = "right") -> PreTrainedTokenizerFast:
    """Byte-level, with one token for each word of the texts; BOS, EOS and pad are one, as of GPT-2.

    Args:
        texts: from which it is trained.
        prepends: whether it prepends BOS; otherwise TransformerLens does that.
        side: where it pads.
    """
    made = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(PIECES, "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=5000, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    )
    tokens = {"eos_token": END} | ({"bos_token": END, "pad_token": END, "add_bos_token": True} if prepends else {})
    return PreTrainedTokenizerFast(tokenizer_object=made, padding_side=side, name_or_path="", **tokens)


def word_tokenizer(texts: Sequence[str], *, side: str = "right") -> PreTrainedTokenizerFast:
    """A token for each word and sign; no spaces, one token for unknown words, different ones for BOS and pad."""
    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[UNK]", "[BOS]", "[PAD]"]
    made.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=special, show_progress=False))
    tokens = {"unk_token": "[UNK]", "bos_token": "[BOS]", "eos_token": "[BOS]", "pad_token": "[PAD]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, padding_side=side, name_or_path="", add_bos_token=True, **tokens)


def word_model(tokenizer: PreTrainedTokenizerFast, *, n_ctx: int = 48, bos: bool = True) -> Any:
    """What was said less often is more likely: of two names the one that is not repeated.

    Its heads attend to all positions alike, and what they read makes the same token less likely.
    """
    from grokscope.tasks.transformerlens import HookedTransformer, HookedTransformerConfig

    if not hasattr(HookedTransformer, "to_tokens"):
        pytest.skip("the class that stands in for TransformerLens 3's tokenises no texts")

    d = 32
    settings = dict(n_layers=2, n_heads=2, d_model=d, d_head=d, d_mlp=8, n_ctx=n_ctx, d_vocab=len(tokenizer), act_fn="relu")
    config = HookedTransformerConfig(**settings, normalization_type=None, device="cpu", default_prepend_bos=bos)
    model = HookedTransformer(config, tokenizer=tokenizer)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
        model.embed.W_E.copy_(torch.randn(len(tokenizer), d, generator=generator) / d**0.5)
        model.unembed.W_U.copy_(-10 * model.embed.W_E.T)
        model.blocks[0].attn.W_V[0].copy_(torch.eye(d))
        model.blocks[0].attn.W_O[0].copy_(torch.eye(d))
    return model.eval()


def word_bridge(tokenizer: PreTrainedTokenizerFast, *, n_ctx: int = 48, bos: bool = True) -> Any:
    """A published family's shape with random weights as a TransformerBridge."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    config = GPT2Config(vocab_size=len(tokenizer), n_positions=n_ctx, n_embd=8, n_layer=1, n_head=2)
    torch.manual_seed(0)
    bridge = build_bridge_from_module(
        GPT2LMHeadModel(config).eval(), "GPT2LMHeadModel", hf_config=config, tokenizer=tokenizer
    )
    bridge.cfg.default_prepend_bos = bos
    return bridge
