"""How a question becomes a prompt, and where its answer is read.

`compact`: `h r1` and `h r1 r2`, each answered at its last token, as causal models are trained (Wang et al. 2024).
A zero-hop question is `h` alone, answered there.
`slots`: padded to five positions, `h _ _ _ _`, `h r1 _ _ _` and `h r1 r2 _ _`, each answered in its first free slot, so
that atomic and two-hop answers are read in different places (He et al. 2026, code, `preprocess_data`; their `</a>` is
not trained here).
`four_slots`: the same without the fifth position, which holds nothing in either.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from ...circuits.arguments import shortly

N_SLOTS = {"slots": 5, "four_slots": 4}
LAYOUTS = ("compact", *N_SLOTS)
_TWO_HOPS = ("h", "r1", "r2")
_SLOTS = ("answer", "end", "pad", "pad2")


def layout_problems(layout: Any) -> list[str]:
    """Why there is no such layout."""
    if isinstance(layout, str) and layout in LAYOUTS:
        return []
    return [f"no layout {shortly(layout)}; the layouts are {', '.join(LAYOUTS)}"]


def n_positions(layout: str) -> int:
    """Length of the longest prompt."""
    return N_SLOTS.get(layout, len(_TWO_HOPS))


def question_roles(n_tokens: int) -> tuple[str, ...]:
    """The roles of a question's tokens: the head, then the relations.

    >>> question_roles(4)
    ('h', 'r1', 'r2', 'r3')
    """
    return ("h", *(f"r{hop}" for hop in range(1, n_tokens)))


def free_slots(roles: Sequence[str]) -> tuple[str, ...]:
    """The roles of `slots` prompts that hold no token of the question; other prompts have none, whatever they are called.

    >>> free_slots(("h", "r1", "answer", "end", "pad")), free_slots(("begin", "end"))
    (('answer', 'end', 'pad'), ())
    """
    known: dict[tuple[str, ...], int] = {
        (*question_roles(n), *_SLOTS)[:size]: n for n in (1, 2, 3) for size in N_SLOTS.values()
    }
    names = tuple(roles)
    return names[known[names] :] if names in known else ()


def to_prompts(
    questions: Int[np.ndarray, "query token"], layout: str, *, pad: int
) -> tuple[Int[np.ndarray, "query pos"], tuple[str, ...], int]:
    """Prompts, the roles of their positions and the position at which the answer is read.

    Args:
        questions: h and the relations, a row each; in slots two relations at most.
        layout: one of `LAYOUTS`.
        pad: the token that fills the free slots.

    >>> to_prompts(np.array([[3, 8]]), "slots", pad=9)
    (array([[3, 8, 9, 9, 9]]), ('h', 'r1', 'answer', 'end', 'pad'), 2)
    """
    n_tokens = questions.shape[1]
    roles = question_roles(n_tokens)
    if layout not in N_SLOTS:
        return questions, roles, n_tokens - 1
    size = N_SLOTS[layout]
    prompts = np.pad(questions, ((0, 0), (0, size - n_tokens)), constant_values=pad)
    return prompts, (*roles, *_SLOTS)[:size], n_tokens
