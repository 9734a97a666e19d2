"""The distinct beginnings of a batch of prompts: what a causal model computes once for all that share them."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Prefixes:
    """The distinct beginnings of one length.

    Attributes:
        tokens: the last token of each.
        before: by each shorter length, the number of the beginning that each goes on from.
        of_prompt: which of them each prompt begins with; 0 for prompts that are read before.
    """

    tokens: Int[Tensor, " prefix"]
    before: tuple[Int[Tensor, " prefix"], ...]
    of_prompt: Int[Tensor, " prompt"]


def distinct_prefixes(tokens: Int[Tensor, "prompt pos"], positions: Int[Tensor, " prompt"]) -> list[Prefixes]:
    """By length, the distinct beginnings of prompts up to where each is read; prompts of full length are all kept apart.

    >>> levels = distinct_prefixes(torch.tensor([[3, 7, 8], [3, 7, 9], [3, 8, 0]]), torch.tensor([2, 2, 1]))
    >>> [level.tokens.tolist() for level in levels]
    [[3], [7, 8], [8, 9]]
    """
    levels: list[Prefixes] = []
    n_prompts, n_pos = tokens.shape
    base, parent = int(tokens.max()) + 1, torch.zeros_like(positions)
    for place in range(n_pos):
        read = torch.arange(n_prompts, device=tokens.device) if place == 0 else (positions >= place).nonzero()[:, 0]
        if place == n_pos - 1:
            last, parents, found = tokens[read, place], parent[read], torch.arange(len(read), device=tokens.device)
        else:
            codes, found = torch.unique(parent[read] * base + tokens[read, place], return_inverse=True)
            last, parents = codes % base, codes // base
        earlier = tuple(index[parents] for index in levels[-1].before) if levels else ()
        before = (*earlier, parents) if levels else ()
        parent = torch.zeros_like(positions).index_copy(0, read, found)
        levels.append(Prefixes(last, before, parent))
    return levels
