"""Models with a tokenizer that pads, and prompt pairs of several lengths."""

from types import SimpleNamespace

import torch
from conftest import random_model

from grokscope.tasks import PromptPairs
from grokscope.tasks.transformerlens import HookedTransformer

PADDED_ROLES = ("x", "y", "h", "r1", "r2")
PAD = 10
SETTINGS = {
    "standard": {},
    "rotary": {"positional_embedding_type": "rotary", "rotary_dim": 4, "normalization_type": "RMS"},
    "no norm": {"normalization_type": None},
    "attention only": {"attn_only": True},
    "bidirectional": {"attention_dir": "bidirectional"},
}
PADS = {  # of clean and corrupt prompts
    "none": ([0], [0]),
    "both": ([0, 2, 1, 0], [0, 2, 1, 0]),
    "clean": ([0, 0, 0, 0, 0, 2, 1], [0]),
    "corrupt": ([0], [0, 0, 0, 0, 0, 0, 2]),
    "different": ([1, 0, 2, 0], [2, 1, 0, 1, 0]),
}


def padding_model(
    seed: int, side: str, *, pad: int = PAD, bos: int = 8, strength: float = 10.0, **settings: object
) -> object:
    """A random model with strong logits, whose tokenizer pads on a side."""
    model = random_model(seed, n_ctx=5, d_head=4, **settings)
    model.tokenizer = SimpleNamespace(padding_side=side, pad_token_id=pad, bos_token_id=bos, eos_token_id=9)
    with torch.no_grad():
        model.unembed.W_U.mul_(strength)
    return model


def padded_prompts(generator: torch.Generator, side: str, pads: list[int], n: int, pad: int) -> torch.Tensor:
    """Prompts of five positions, the given numbers of them pads."""
    tokens = torch.randint(8, (n, 5), generator=generator)
    for row in range(n):
        if n_pads := pads[row % len(pads)]:
            tokens[row, slice(0, n_pads) if side == "left" else slice(5 - n_pads, 5)] = pad
    return tokens


def padded_pairs(
    model: HookedTransformer, side: str, pads: str, *, n: int = 9, seed: int = 0, pad: int = PAD, answer_position: int = -1
) -> PromptPairs:
    """Pairs whose answer and foil the model prefers in the clean and in the corrupt run."""
    generator = torch.Generator().manual_seed(seed)
    clean, corrupt = (padded_prompts(generator, side, each, n, pad) for each in PADS[pads])
    with torch.no_grad():
        change = own_logits(model, clean, pad, answer_position) - own_logits(model, corrupt, pad, answer_position)
    return PromptPairs(
        clean, corrupt, change.argmax(-1), change.argmin(-1), roles=PADDED_ROLES, answer_position=answer_position
    )


def own_logits(model: HookedTransformer, tokens: torch.Tensor, pad: int, answer_position: int = -1) -> torch.Tensor:
    """The logits of the model's own forward pass at each prompt's last real token, found in a loop."""
    rows = []
    for prompt, logits in zip(tokens.tolist(), model(tokens), strict=True):
        place = answer_position % len(prompt)
        while model.tokenizer.padding_side == "right" and all(token == pad for token in prompt[place:]):
            place -= 1
        rows.append(logits[place])
    return torch.stack(rows)


def without_pads(pairs: PromptPairs, rows: list[int], n_pads: int) -> PromptPairs:
    """Some pairs with as many pads each, without them."""
    pairs = pairs.take(torch.tensor(rows))
    left = bool((pairs.clean[:, 0] == PAD).any())
    keep = slice(n_pads, None) if left else slice(0, 5 - n_pads)
    clean, corrupt = pairs.clean[:, keep], pairs.corrupt[:, keep]
    return PromptPairs(clean, corrupt, pairs.answers, pairs.foils, roles=pairs.roles[n_pads:])
