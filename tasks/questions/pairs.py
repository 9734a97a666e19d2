"""Clean and corrupt prompts that differ in one thing: what every intervention works on.

A pair is two queries of the same length with different answers. The metric everywhere is how much the model prefers
the clean answer to the corrupt one (the foil), so swapping activations finds what carries the difference.
"""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from ..printing import printed
from .arguments import is_whole, name_problems, refuse, seed_problems, whole_problems
from .evaluation import is_right
from .hooks import problems_of_hooks
from .padding import check_forward
from .queries import Queries
from .splits import hop_status
from .task import Task
from .twohop import TwoHopTask, two_hop
from .validity import (
    check,
    checked_rows,
    column_problems,
    columns_problems,
    held,
    named_roles,
    position_problems,
    prompt_problems,
    role_problems,
    settings_problems,
)

CONTRASTS = ("head", "relation_1", "relation_2", "bridge")
"""What differs: one token, or (h, r1) together. All but `relation_2` lead to another bridge entity."""


@dataclass(frozen=True, eq=False)
class PromptPairs:
    """Clean and corrupt prompts with the answers to both.

    Attributes:
        clean: the prompts to be explained; they and all columns are kept as 64-bit numbers on the CPU.
        corrupt: their counterparts.
        answers: the right answers to the clean prompts.
        foils: the right answers to the corrupt prompts.
        roles: the name of each position, without whitespace and @; whole numbers become their digits.
        answer_position: where the answer is read; by default the last position. For padded prompts see `Queries`.
        contrast: what differs between the two.
        recipe: how the pairs were made; JSON values only.
        intermediates: of the clean prompts, by name, see `Queries`; empty if not known.
        corrupt_intermediates: the same of the corrupt prompts.
        unit: the id of what clean prompts repeat of each other, by which intervals of shares are clustered; by default each
            pair is a separate unit. Intervals of effects resample pairs, not units.

    Raises:
        ValueError: if the tensors do not fit together, hold no whole numbers, or a prompt or answer is below 0; all
            problems are named at once.

    >>> import torch
    >>> clean, corrupt = torch.tensor([[0, 5, 6]]), torch.tensor([[1, 5, 6]])
    >>> pairs = PromptPairs(clean, corrupt, torch.tensor([2]), torch.tensor([3]), roles=("h", "r1", "r2"))
    >>> len(pairs), pairs.answer_role
    (1, 'r2')
    """

    clean: Int[Tensor, "query pos"]
    corrupt: Int[Tensor, "_ _"]  # that the sizes agree is checked below, with a message
    answers: Int[Tensor, " _"]
    foils: Int[Tensor, " _"]
    roles: tuple[str, ...]
    answer_position: int = -1
    contrast: str = "custom"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    intermediates: Mapping[str, Int[Tensor, " _"]] = field(default_factory=dict)
    corrupt_intermediates: Mapping[str, Int[Tensor, " _"]] = field(default_factory=dict)
    unit: Int[Tensor, " _"] = field(default=None)  # pyright: ignore[reportAssignmentType]

    __no_type_check__: ClassVar[bool] = True  # what is wrong is said below, in words and all at once

    def __post_init__(self) -> None:
        prompts = {"clean": self.clean, "corrupt": self.corrupt}
        if problems := [each for name, tokens in prompts.items() for each in prompt_problems(name, tokens)]:
            raise ValueError("these are no prompt pairs: " + "; ".join(problems))
        roles, unit = (
            named_roles(self.roles),
            torch.arange(len(self.clean), device="cpu") if self.unit is None else self.unit,
        )
        if problems := self._problems(roles, unit):
            raise ValueError("these are no prompt pairs: " + "; ".join(problems))
        columns: dict[str, Any] = {name: held(getattr(self, name)) for name in ("clean", "corrupt", "answers", "foils")}
        for name in ("intermediates", "corrupt_intermediates"):
            columns[name] = {key: held(column) for key, column in getattr(self, name).items()}
        columns["recipe"] = deepcopy(dict(self.recipe))
        position = int(self.answer_position) % len(roles)
        for name, value in (columns | {"unit": held(unit), "roles": roles, "answer_position": position}).items():
            object.__setattr__(self, name, value)

    def _problems(self, roles: tuple[Any, ...], unit: Any) -> list[str]:
        """Why these are no pairs."""
        n, n_pos = self.clean.shape
        problems = []
        if self.corrupt.shape != self.clean.shape:
            problems.append(f"clean has the shape {tuple(self.clean.shape)}, corrupt {tuple(self.corrupt.shape)}")
        columns = [("answers", self.answers), ("foils", self.foils), ("unit", unit)]
        mappings = {"intermediates": self.intermediates, "corrupt_intermediates": self.corrupt_intermediates}
        for name, given in mappings.items():
            problems += columns_problems(name, given)
            columns += given.items() if isinstance(given, Mapping) else []
        problems += settings_problems(
            contrast=(self.contrast, str, "a name"), recipe=(self.recipe, Mapping, "a mapping, as in recipe={'seed': 0}")
        )
        size = "{n} clean prompts, but {found} {what}"
        problems += [
            problem
            for name, column in columns
            for problem in column_problems(name, column, n, are_tokens=name in ("answers", "foils"), wrong_size=size)
        ]
        problems += role_problems(roles, n_pos) + position_problems(self.answer_position, n_pos)
        return problems or _alike({"prompt": (self.clean == self.corrupt).all(1), "answer": self.answers == self.foils})

    def __len__(self) -> int:
        return len(self.clean)

    def __repr__(self) -> str:
        return printed(self)

    @property
    def answer_role(self) -> str:
        """The role at which the answer is read."""
        return self.roles[self.answer_position]

    @property
    def n_asked(self) -> int:
        """How many pairs there were before `keep_correct`."""
        return self.recipe.get("n_asked", len(self))

    @property
    def key(self) -> str:
        """A hash of the prompts and answers in their order: equal keys, equal pairs; see `hashes` for those of each."""
        columns = [column.tolist() for column in (self.clean, self.corrupt, self.answers, self.foils)]
        text = json.dumps([columns, self.roles, self.answer_position])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def hashes(self) -> dict[str, list[str]]:
        """64-bit hexadecimal hashes of each prompt, `clean` and `corrupt`, in the order of the pairs, and of the `unit`.

        Units are numbers of a task, so that those of pairs whose recipe names none cannot be compared; they are left out.
        """
        found = {
            name: [_hash(row) for row in rows.tolist()] for name, rows in (("clean", self.clean), ("corrupt", self.corrupt))
        }
        task = self.recipe.get("task")
        return found | ({} if task is None else {"unit": [_hash([task, unit]) for unit in self.unit.tolist()]})

    def take(self, rows: Int[Tensor, " row"] | Bool[Tensor, " query"]) -> "PromptPairs":
        """The pairs of the given rows (numbers or a mask), in that order.

        Raises:
            ValueError: for rows that there are not.
        """
        rows = checked_rows(rows, len(self))
        return replace(
            self,
            clean=self.clean[rows],
            corrupt=self.corrupt[rows],
            answers=self.answers[rows],
            foils=self.foils[rows],
            intermediates={name: column[rows] for name, column in self.intermediates.items()},
            corrupt_intermediates={name: column[rows] for name, column in self.corrupt_intermediates.items()},
            unit=self.unit[rows],
        )

    def check_against(self, model: HookedTransformer) -> None:
        """Raise unless there is a pair and the model has all tokens and positions, see `validity.check`."""
        check(model, self)

    def queries(self) -> Queries:
        """The clean prompts as questions."""
        return Queries(
            self.clean,
            self.answers,
            roles=self.roles,
            answer_position=self.answer_position,
            intermediates=self.intermediates,
            unit=self.unit,
            split=self.recipe.get("split", self.contrast),
        )

    def halves(self) -> tuple["PromptPairs", "PromptPairs"]:
        """Every other pair, and the rest: one half to choose a circuit on, the other to judge it."""
        rows, asked = torch.arange(len(self), device="cpu"), self.n_asked
        first, second = (
            replace(self.take(part), recipe={**self.recipe, "half": name, "n_asked": share})
            for part, name, share in ((rows[::2], "first", (asked + 1) // 2), (rows[1::2], "second", asked // 2))
        )
        return first, second

    def keep_correct(self, *models: HookedTransformer) -> "PromptPairs":
        """The pairs that every model answers correctly on both prompts; the recipe says how many were asked.

        Raises:
            TypeError: for what cannot be asked, naming its class.
            ValueError: if there is no pair or none is left, or a model carries hooks or lacks tokens or positions of theirs.
        """
        for model in models:
            check_forward(model)
            self.check_against(model)
            refuse(problems_of_hooks(model, "pairs are kept for the model without any"))
        correct = torch.ones(len(self), dtype=torch.bool, device="cpu")
        for model in models:
            for prompts, answers in ((self.clean, self.answers), (self.corrupt, self.foils)):
                correct &= is_right(model, prompts, answers, self.answer_position)
        if not correct.any():
            raise ValueError(
                f"none of the {len(self)} pairs is answered correctly on both sides by all {len(models)} models"
            )
        return replace(self.take(correct), recipe={**self.recipe, "n_asked": self.n_asked})


def _alike(same: Mapping[str, Bool[Tensor, " query"]]) -> list[str]:
    """By what is the same on both sides of some pairs, how many these are."""
    return [
        f"{int(rows.sum())} pairs have the same {what} on both sides, the first is pair {int(rows.int().argmax())}"
        for what, rows in same.items()
        if rows.any()
    ]


def _hash(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def n_pairable(queries: Queries) -> int:
    """A safe number of pairs to request: some queries find no partner."""
    return math.floor(0.8 * len(queries))


def make_pairs(task: Task, *, split: str, contrast: str, n: int, seed: int) -> PromptPairs:
    """Pair n two-hop queries of a split with corrupt ones that differ in the contrast.

    `head`, `relation_1` and `relation_2` change that token alone; `bridge` changes h and r1 but not r2. All but
    `relation_2` change the bridge entity. The corrupt prompt is an existing query with another answer and the same hop
    status, from the same split where one is left, otherwise from training (`recipe["n_from_training"]` counts them).
    Neither clean nor corrupt prompts are used twice.

    Args:
        task: two-hop questions.
        split: one of the compositional splits.
        contrast: one of `CONTRASTS`.
        n: number of pairs.
        seed: fixes which queries are taken and how they are paired.

    Raises:
        KeyError: for an unknown split or contrast.
        TypeError: if the task is of another kind.
        ValueError: if n is below 1, or fewer than n pairs can be made; the message says how many.
    """
    unknown = [] if contrast in CONTRASTS else [f"no contrast {contrast!r}; the contrasts are {', '.join(CONTRASTS)}"]
    none = [f"no pair: asked for n = {n}, at least 1 can be made"] if is_whole(n) and n < 1 else whole_problems(1, n=n)
    refuse(none + name_problems(split=split) + seed_problems(seed), unknown=unknown)
    task = two_hop(task)
    queries = task.split(split)
    if "r2" not in queries.roles:
        raise ValueError(f"{split} holds atomic queries; contrasts are defined for the compositional splits")
    rng = np.random.default_rng(seed)
    sources = [queries, task.split("train_inferred")]
    partners = _Partners(task, sources, contrast, rng)
    rows, found = [], []
    for row in rng.permutation(len(queries)):
        if len(rows) == n:
            break
        if (partner := partners.draw(int(row))) is not None:
            rows.append(int(row))
            found.append(partner)
    if len(rows) < n:
        raise ValueError(
            f"asked for {n} {contrast!r} pairs of {split}, but only {len(rows)} can be made of its {len(queries)} queries "
            "without using a prompt twice"
        )
    chosen = queries.take(torch.tensor(rows, device="cpu"))
    partners_of = [(sources[number], row) for number, row in found]
    recipe = {"split": split, "contrast": contrast, "n_asked": n, "seed": seed, "task": task.key}
    return PromptPairs(
        chosen.tokens,
        torch.stack([source.tokens[row] for source, row in partners_of]),
        chosen.answers,
        torch.stack([source.answers[row] for source, row in partners_of]),
        roles=queries.roles,
        answer_position=queries.answer_position,
        contrast=contrast,
        recipe=recipe | {"n_from_training": sum(number > 0 for number, _ in found)},
        intermediates=chosen.intermediates,
        corrupt_intermediates={
            name: torch.stack([source.intermediates[name][row] for source, row in partners_of])
            for name in chosen.intermediates
        },
        unit=chosen.unit,
    )


# what a corrupt prompt shares with the clean one, from (h, r1, r2)
_SHARED: dict[str, Callable[[tuple[int, int, int]], Hashable]] = {
    "head": lambda query: query[1:],
    "relation_1": lambda query: (query[0], query[2]),
    "relation_2": lambda query: query[:2],
    "bridge": lambda query: query[2],
}


class _Partners:
    """Hands out corrupt queries from several sources in order of preference, each at most once."""

    def __init__(self, task: TwoHopTask, sources: list[Queries], contrast: str, rng: np.random.Generator) -> None:
        self.contrast = contrast
        self.sources = sources
        self.prompts = [[tuple(row) for row in source.tokens.tolist()] for source in sources]
        self.statuses = [hop_status(task.is_ood, s.hop1.numpy(), s.hop2.numpy()).tolist() for s in sources]
        self.used: set[tuple[int, ...]] = set()
        self.buckets: list[dict[Hashable, list[int]]] = []
        for prompts, statuses in zip(self.prompts, self.statuses, strict=True):
            bucket: dict[Hashable, list[int]] = defaultdict(list)
            for row in rng.permutation(len(prompts)):
                bucket[_SHARED[contrast](prompts[row]), statuses[row]].append(int(row))
            self.buckets.append(bucket)

    def draw(self, row: int) -> tuple[int, int] | None:
        """Source and row of a partner for the first source's query `row`, or None if there is none left."""
        key = _SHARED[self.contrast](self.prompts[0][row]), self.statuses[0][row]
        for number in range(len(self.sources)):
            for other in self.buckets[number].get(key, ()):
                if self.prompts[number][other] not in self.used and self._fits(row, number, other):
                    self.used.add(self.prompts[number][other])
                    return number, other
        return None

    def _fits(self, row: int, number: int, other: int) -> bool:
        """Whether the other query differs in answer, bridge and tokens as the contrast demands."""
        clean, source = self.sources[0], self.sources[number]
        if clean.answers[row] == source.answers[other]:
            return False
        if self.contrast == "relation_2":
            return True
        here, there = self.prompts[0][row], self.prompts[number][other]
        changed = {"head": (0,), "relation_1": (1,), "bridge": (0, 1)}[self.contrast]
        return bool(clean.bridges[row] != source.bridges[other]) and all(here[i] != there[i] for i in changed)
