"""Small random models of published families, built from their configurations, and where their blocks have their norms."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformers import AutoConfig, AutoModelForCausalLM

D_VOCAB = 47
LLAMA = {
    "vocab_size": D_VOCAB,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEADS = {**LLAMA, "head_dim": 6}
MIXED = {"sliding_window": 3, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
NEOX = {
    "vocab_size": D_VOCAB,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
GPT2 = {"vocab_size": D_VOCAB, "n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 64}
EXPERTS = {"num_experts": 3, "num_experts_per_tok": 2}


@dataclass(frozen=True)
class Family:
    """How to build one, and what a literal intervention must know of its blocks.

    Attributes:
        kind: the name of its configuration.
        settings: of a small one.
        reads, after: the norms before and after attention, as the bridge calls them; None: there is none.
        mlp_reads, mlp_after: the same of the MLP; an MLP that reads "ln1", or is `parallel`, reads what attention reads.
        multiplier: of what joins the residual stream.
        adds: whether attention and MLP add the residual stream themselves.
    """

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    reads: str | None = "ln1"
    after: str | None = None
    mlp_reads: str | None = "ln2"
    mlp_after: str | None = None
    parallel: bool = False
    multiplier: float = 1.0
    adds: bool = False


SHARED = {"mlp_reads": "ln1", "parallel": True}
SANDWICH = {"after": "ln1_post", "mlp_after": "ln2_post"}
AFTER = {"reads": None, "after": "ln1", "mlp_reads": None, "mlp_after": "ln2"}
GRANITE = {"embedding_multiplier": 3.0, "logits_scaling": 2.0, "residual_multiplier": 0.5, "attention_multiplier": 0.3}
FAMILIES = {
    "GPT2LMHeadModel": Family("gpt2", GPT2),
    "LlamaForCausalLM": Family("llama", LLAMA),
    "MistralForCausalLM": Family("mistral", {**HEADS, "sliding_window": 3}),
    "Qwen2ForCausalLM": Family("qwen2", LLAMA),
    "Qwen3ForCausalLM": Family("qwen3", {**HEADS, "head_dim": 8}),
    "GemmaForCausalLM": Family("gemma", HEADS),
    "Gemma2ForCausalLM": Family(
        "gemma2",
        {**HEADS, **MIXED, "query_pre_attn_scalar": 5, "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0},
        **SANDWICH,
    ),
    "Gemma3ForCausalLM": Family("gemma3_text", {**HEADS, **MIXED}, **SANDWICH),
    "GPTNeoXForCausalLM": Family("gpt_neox", {**NEOX, "rotary_pct": 0.5}, parallel=True),
    "OlmoForCausalLM": Family("olmo", LLAMA),
    "Olmo2ForCausalLM": Family("olmo2", LLAMA, **AFTER),
    "Olmo3ForCausalLM": Family("olmo3", {**LLAMA, **MIXED}, **AFTER),
    "BloomForCausalLM": Family("bloom", {"vocab_size": D_VOCAB, "hidden_size": 24, "n_layer": 3, "n_head": 4}, adds=True),
    "MptForCausalLM": Family(
        "mpt", {"vocab_size": D_VOCAB, "d_model": 24, "n_layers": 3, "n_heads": 4, "max_seq_len": 64}, adds=True
    ),
    "MixtralForCausalLM": Family("mixtral", {**LLAMA, "num_local_experts": 3, "num_experts_per_tok": 2}),
    "Qwen3MoeForCausalLM": Family("qwen3_moe", {**HEADS, **EXPERTS, "moe_intermediate_size": 16, "decoder_sparse_step": 1}),
    "OlmoeForCausalLM": Family("olmoe", {**LLAMA, **EXPERTS}),
    "GptOssForCausalLM": Family("gpt_oss", {**HEADS, **MIXED, "num_local_experts": 3, "num_experts_per_tok": 2}),
    "GPTJForCausalLM": Family("gptj", {**GPT2, "rotary_dim": 4}, **SHARED),
    "CodeGenForCausalLM": Family("codegen", {**GPT2, "n_embd": 32, "rotary_dim": 4, "n_ctx": 64}, **SHARED),
    "PhiForCausalLM": Family("phi", {**NEOX, "partial_rotary_factor": 0.5}, **SHARED),
    "Phi3ForCausalLM": Family("phi3", {**LLAMA, "pad_token_id": 0}),
    "FalconForCausalLM": Family(
        "falcon",
        {**NEOX, "alibi": False, "multi_query": True, "parallel_attn": True, "bias": True},
        **SHARED,
    ),
    "CohereForCausalLM": Family("cohere", {**LLAMA, "logit_scale": 0.5, "pad_token_id": 0}, **SHARED),
    "GraniteForCausalLM": Family("granite", {**LLAMA, **GRANITE}, multiplier=0.5),
    "GPTNeoForCausalLM": Family(
        "gpt_neo",
        {
            "vocab_size": D_VOCAB,
            "hidden_size": 24,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 3,
            "max_position_embeddings": 64,
        },
    ),
    "OPTForCausalLM": Family(
        "opt",
        {
            "vocab_size": D_VOCAB,
            "hidden_size": 24,
            "ffn_dim": 40,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
            "word_embed_proj_dim": 24,
        },
    ),
    "StableLmForCausalLM": Family("stablelm", LLAMA),
    "SmolLM3ForCausalLM": Family("smollm3", {**LLAMA, "pad_token_id": 0, "no_rope_layers": [1, 0, 1]}),
    "GlmForCausalLM": Family("glm", {**HEADS, "pad_token_id": 0}),
    "Starcoder2ForCausalLM": Family("starcoder2", {**LLAMA, "sliding_window": None}),
}


def transformers_model(name: str, dtype: torch.dtype = torch.float32, seed: int = 0, **settings: Any) -> Any:
    """A model of transformers whose parameters are all random: gains and biases, too; large enough that all matters."""
    family = FAMILIES[name]
    torch.manual_seed(seed)
    config = AutoConfig.for_model(family.kind, **{**family.settings, **settings})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", experts_implementation="eager").eval()
    with torch.no_grad():
        for path, values in model.named_parameters():
            if values.ndim > 1:
                values.normal_(0, 1.0 if values.shape[0] == D_VOCAB else 1.5 * values.shape[-1] ** -0.5)
            else:
                gain = path.endswith("weight") and not family.kind.startswith("gemma")
                values.normal_(1.0 if gain else 0.0, 0.3)
    return model.to(dtype)


def bridge_of(
    name: str, dtype: torch.dtype = torch.float32, *, compatible: bool = False, **settings: Any
) -> TransformerBridge:
    """A bridge to it, as it is or in compatibility mode, with norms folded into weights."""
    model = transformers_model(name, dtype, **settings)
    bridge = build_bridge_from_module(model, name, hf_config=model.config, tokenizer=None, dtype=dtype, device="cpu").eval()
    if compatible:
        bridge.enable_compatibility_mode(disable_warnings=True)
    return bridge


class _InDouble(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def doubled(value: Any) -> Any:
            return torch.float64 if value is torch.float32 else value

        if func is torch.Tensor.float:
            return args[0].double()
        return func(*map(doubled, args), **{name: doubled(value) for name, value in (kwargs or {}).items()})


@contextlib.contextmanager
def computing_in(dtype: torch.dtype) -> Iterator[None]:
    """In double precision also what models compute in single precision whatever they are given: norms, softmax."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with _InDouble() if dtype == torch.float64 else contextlib.nullcontext():
            yield
    finally:
        torch.set_default_dtype(before)
