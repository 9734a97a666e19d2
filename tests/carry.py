"""Prompts and models that no task of the package made: three hexadecimal digits a, b, c, and a carry that a and b decide.

The carry is (a + b) // 8, one of 0 to 3, and the answer (c + carry) mod 16. `carry_model` finds the carry at b in its first
layer and adds it to c in its second. `lookup_model` knows the 4,096 answers by heart and no carry.
"""

import itertools

import torch

from grokscope.tasks import Part, PromptPairs, Queries, QuestionTask
from grokscope.tasks.transformerlens import HookedTransformer, HookedTransformerConfig

DIGITS = 16
ROLES = ("a", "b", "c")
SURE = 50.0  # attention score of the position attended to; the others have 0
BLOCKS = {
    "token": DIGITS,
    "position": 3,
    "first": DIGITS,
    "carry": DIGITS,
    "seen first": DIGITS,
    "seen": DIGITS,
    "answer": DIGITS,
}
START = dict(zip(BLOCKS, itertools.accumulate((0, *BLOCKS.values())), strict=False))


def carry_of(tokens: torch.Tensor) -> torch.Tensor:
    return (tokens[:, 0] + tokens[:, 1]) // 8


def answer_of(tokens: torch.Tensor) -> torch.Tensor:
    return (tokens[:, 2] + carry_of(tokens)) % DIGITS


def carry_pairs(n: int = 600, *, seed: int = 0, held_out: bool = False) -> PromptPairs:
    """Random clean prompts, and corrupt ones with other a and b that lead to another carry; their unit is (a, b)."""
    generator = torch.Generator().manual_seed(seed)
    clean, corrupt = torch.randint(DIGITS, (2, 4 * n, 3), generator=generator)
    corrupt[:, 2] = clean[:, 2]
    differs = (carry_of(clean) != carry_of(corrupt)).nonzero()[:n, 0]
    clean, corrupt = clean[differs], corrupt[differs]
    return PromptPairs(
        clean,
        corrupt,
        answer_of(clean),
        answer_of(corrupt),
        roles=ROLES,
        recipe={"held_out": True} if held_out else {},
        intermediates={"carry": carry_of(clean)},
        corrupt_intermediates={"carry": carry_of(corrupt)},
        unit=DIGITS * clean[:, 0] + clean[:, 1],
    )


def carry_model() -> HookedTransformer:
    model = _blank("carry by hand", d_mlp=DIGITS**2)
    with torch.no_grad():
        _copy(model, 0, {0: 0, 1: 0, 2: 2}, {"token": "first"})
        _copy(model, 1, {0: 0, 1: 1, 2: 1}, {"carry": "seen"})
        for neuron, (a, b) in enumerate(itertools.product(range(DIGITS), repeat=2)):
            _neuron(model, 0, neuron, [("first", a), ("token", b), ("position", 1)], ("carry", (a + b) // 8))
            carry, c = a, b
            _neuron(model, 1, neuron, [("seen", carry), ("token", c), ("position", 2)], ("answer", (c + carry) % DIGITS))
    return model


def lookup_model() -> HookedTransformer:
    model = _blank("looked up", d_mlp=DIGITS**3)
    with torch.no_grad():
        _copy(model, 0, {0: 0, 1: 0, 2: 2}, {"token": "first"})
        _copy(model, 1, {0: 0, 1: 1, 2: 1}, {"first": "seen first", "token": "seen"})
        for neuron, (a, b, c) in enumerate(itertools.product(range(DIGITS), repeat=3)):
            answer = (c + (a + b) // 8) % DIGITS
            _neuron(model, 1, neuron, [("seen first", a), ("seen", b), ("token", c), ("position", 2)], ("answer", answer))
    return model


def _blank(name: str, *, d_mlp: int) -> HookedTransformer:
    settings = {
        "n_layers": 2,
        "d_model": sum(BLOCKS.values()),
        "n_ctx": 3,
        "n_heads": 1,
        "d_head": 2 * DIGITS,
        "d_mlp": d_mlp,
    }
    settings |= {"d_vocab": DIGITS, "act_fn": "relu", "normalization_type": None, "device": "cpu", "model_name": name}
    model = HookedTransformer(HookedTransformerConfig(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for table, block in ((model.embed.W_E, "token"), (model.pos_embed.W_pos, "position")):
            table[:, START[block] : START[block] + len(table)].fill_diagonal_(1.0)
        for block in ("carry", "answer"):
            model.unembed.W_U[START[block] : START[block] + DIGITS].fill_diagonal_(10.0)
    return model.eval()


def _copy(model: HookedTransformer, layer: int, attends: dict[int, int], blocks: dict[str, str]) -> None:
    """Let the head look from each position at one, and copy blocks from there."""
    attention = model.blocks[layer].attn
    for query, key in attends.items():
        attention.W_Q[0, START["position"] + query, query] = SURE * attention.attn_scale
        attention.W_K[0, START["position"] + key, query] = 1.0
    for number, (source, target) in enumerate(blocks.items()):
        for i in range(DIGITS):
            attention.W_V[0, START[source] + i, number * DIGITS + i] = 1.0
            attention.W_O[0, number * DIGITS + i, START[target] + i] = 1.0


def _neuron(
    model: HookedTransformer, layer: int, neuron: int, needs: list[tuple[str, int]], writes: tuple[str, int]
) -> None:
    """A neuron that writes 1 where all of some entries are 1, and stays shut where one is less than a half."""
    mlp = model.blocks[layer].mlp
    for block, i in needs:
        mlp.W_in[START[block] + i, neuron] = 1.0
    mlp.b_in[neuron] = 0.5 - len(needs)
    mlp.W_out[neuron, START[writes[0]] + writes[1]] = 2.0


def carry_task(n: int = 1200, *, seed: int = 0) -> QuestionTask:
    """Random questions, a third of them held out; their unit is (a, b)."""
    tokens = torch.cartesian_prod(*[torch.arange(DIGITS)] * 3)
    tokens = tokens[torch.randperm(len(tokens), generator=torch.Generator().manual_seed(seed))][:n]
    asked = Queries(tokens, answer_of(tokens), roles=ROLES, intermediates={"carry": carry_of(tokens)})
    splits: dict[str, tuple[Part, Queries]]
    splits = {"sums": ("trained", asked[: 2 * n // 3]), "new_sums": ("test", asked[2 * n // 3 :])}
    return QuestionTask(splits, decided_by={"carry": ("a", "b")})
