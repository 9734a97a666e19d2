"""Token-mixing networks with random weights in double precision, and pairs that they tell apart, for tests."""

from functools import cache

import torch

from grokscope.tasks import PromptPairs, TRMConfig, TwoHopTask, build_model
from grokscope.tasks.models.trm import TRM

SMALL = {"d_model": 8, "d_mixer": 4, "d_mlp": 12}
SHAPES = {
    "positions": TRMConfig.tiny(**SMALL, l_cycles=2),
    "short": TRMConfig.tiny(**SMALL),
    "channels": TRMConfig.tiny(**SMALL, l_cycles=2, mixer_norm="channels"),
    "two blocks": TRMConfig.tiny(**SMALL, n_blocks=2),
    "three cycles": TRMConfig.tiny(**SMALL, h_cycles=3, mixer_norm="channels"),
}
ROLES = ("h", "r1", "r2", "answer")


@cache
def world() -> TwoHopTask:
    """With prompts of four positions."""
    return TwoHopTask.random(n_entities=12, n_relations=5, out_degree=3, layout="four_slots", seed=1)


@cache
def mixing_model(name: str, seed: int = 3) -> TRM:
    """Of one of the shapes."""
    return build_model(SHAPES[name], world(), seed=seed).double()


def mixing_pairs(name: str, n: int = 12, seed: int = 0) -> PromptPairs:
    """Pairs that differ everywhere, with answer and foil that the model prefers in the clean and the corrupt run."""
    model, generator = mixing_model(name), torch.Generator().manual_seed(seed)
    clean = torch.randint(0, model.cfg.d_vocab, (n, len(ROLES)), generator=generator)
    corrupt = (clean + torch.randint(1, model.cfg.d_vocab, clean.shape, generator=generator)) % model.cfg.d_vocab
    with torch.no_grad():
        change = (model(clean) - model(corrupt))[:, -1]
    return PromptPairs(clean, corrupt, change.argmax(-1), change.argmin(-1), roles=ROLES)
