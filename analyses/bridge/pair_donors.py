"""Donors made of a user's prompt pairs, for which no task says what else would lead to which answer.

Clean and corrupt prompts differ at some positions D (those at which any pair differs). Donors put other tokens there. What
the model should then answer follows from what an intermediate is: the tokens at D decide its value, whatever stands
elsewhere; and given the tokens elsewhere, it decides the answer. `broken_assumptions` checks both on all the prompts there
are; where no prompt speaks against them they are assumed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ...tasks import Donor, PromptPairs, Queries
from ...tasks.questions.decided import clash

HELD_OUT = "held out"
DONOR = "donor"
OTHER_R2 = "other r2"
_OTHERS_TOKENS = "this prompt with another's tokens where pairs differ"


@dataclass(frozen=True, eq=False)
class PairDonors:
    """Finds donors for the clean prompts of pairs.

    The corrupt prompt is the donor of another value, and its answer, the foil, is what should follow. Its kind is `donor`,
    or `held out` where `pairs.recipe["held_out"]` says that the model was never trained on the corrupt prompts, which
    nothing else can tell. `same <name>`: the tokens at D of another clean prompt with the same value, which must not
    change the answer. `other <name>`: those of one with a third value, which must not lead to the foil; there are none
    where the intermediate has two values.

    Attributes:
        pairs: all of them.
        intermediate: its name.
        rng: draws one donor of each kind.
    """

    pairs: PromptPairs
    intermediate: str
    rng: np.random.Generator

    def of(self, queries: Queries, row: int) -> Donor | None:
        """Prompts by kind for a question whose fact `pair` is its number; None if a kind has none."""
        pairs, name, number = self.pairs, self.intermediate, int(queries.facts["pair"][row])
        values, new = pairs.intermediates[name], int(pairs.corrupt_intermediates[name][number])
        value, at = int(values[number]), changed_positions(pairs)
        if value == new:
            return None
        differs = (pairs.clean[:, at] != pairs.clean[number, at]).any(1)
        third = (values != value) & (values != new)
        fits = {f"same {name}": (values == value) & differs}
        if third.any():
            fits[f"other {name}"] = third & ~self._gives_foil(number)
        if not all(mask.any() for mask in fits.values()):
            return None
        is_held_out = bool(pairs.recipe.get("held_out"))
        kind = HELD_OUT if is_held_out else DONOR
        prompts, foil = {kind: pairs.corrupt[number]}, int(pairs.foils[number])
        asks = {kind: "the corrupt prompt, never trained" if is_held_out else "the corrupt prompt"}
        answers = {kind: foil, f"same {name}": int(pairs.answers[number])}  # that of a third value need not be known
        asks |= {f"same {name}": f"{_OTHERS_TOKENS}, same answer", f"other {name}": f"{_OTHERS_TOKENS}, a third {name}"}
        for kind, mask in fits.items():
            chosen = int(self.rng.choice(mask.nonzero()[:, 0].numpy()))
            prompts[kind] = torch.where(at, pairs.clean[chosen], pairs.clean[number])
        return Donor(prompts, new, foil, answers, {kind: asks[kind] for kind in prompts})

    def _gives_foil(self, number: int) -> Bool[Tensor, " pair"]:
        """Of which pairs the clean value is known to lead to the foil in a question with this one's other tokens."""
        pairs, elsewhere = self.pairs, ~changed_positions(self.pairs)
        prompts, values, answers = both_sides(pairs, self.intermediate)
        alike = (prompts[:, elsewhere] == pairs.clean[number, elsewhere]).all(1)
        known = values[alike & (answers == pairs.foils[number])]
        return torch.isin(pairs.intermediates[self.intermediate], known)


def changed_positions(pairs: PromptPairs) -> Bool[Tensor, " pos"]:
    """The positions at which any pair differs."""
    return (pairs.clean != pairs.corrupt).any(0)


def both_sides(
    pairs: PromptPairs, intermediate: str
) -> tuple[Int[Tensor, "prompt pos"], Int[Tensor, " prompt"], Int[Tensor, " prompt"]]:
    """Clean and then corrupt prompts, their values of the intermediate and their answers."""
    values = pairs.intermediates[intermediate], pairs.corrupt_intermediates[intermediate]
    return torch.cat([pairs.clean, pairs.corrupt]), torch.cat(values), torch.cat([pairs.answers, pairs.foils])


def broken_assumptions(pairs: PromptPairs, intermediate: str) -> list[str]:
    """What about the pairs speaks against their intermediate, with an example each; empty if nothing does."""
    prompts, values, answers = both_sides(pairs, intermediate)
    at = changed_positions(pairs)
    roles = ", ".join(role for role, changed in zip(pairs.roles, at.tolist(), strict=True) if changed)
    problems = []
    if found := clash(prompts[:, at], values):
        problems.append(
            f"{_names(found, len(pairs))} have the same tokens at {roles}, where pairs differ, but another {intermediate}: "
            f"let pairs differ at all positions that decide the {intermediate}"
        )
    if found := clash(torch.cat([prompts[:, ~at], values[:, None]], 1), answers):
        problems.append(
            f"{_names(found, len(pairs))} have the same {intermediate} and the same tokens but at {roles}, and other "
            f"answers: the answer depends on more than the {intermediate} there"
        )
    return problems


def _names(prompts: tuple[int, int], n_pairs: int) -> str:
    return " and ".join(f"{'clean' if i < n_pairs else 'corrupt'} prompt {i % n_pairs}" for i in prompts)
