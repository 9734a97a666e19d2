"""Clean and corrupt prompts that differ in one thing: what every intervention works on.

A pair is two queries of the same length with different answers. The metric everywhere is how much the model prefers
the clean answer to the corrupt one (the foil), so swapping activations finds what carries the difference.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ...circuits.arguments import refuse, shortly
from ...circuits.hashes import hash_problems
from ...circuits.roles import named_roles, role_problems
from .cards import pairs_card, pairs_line
from .evaluation import is_right
from .halves import apart
from .hooks import problems_of_hooks
from .padding import check_forward
from .queries import Queries
from .rows import Rows
from .text_pairs import pairs_of_text
from .validity import (
    check,
    checked_rows,
    column_problems,
    columns_problems,
    held,
    position_problems,
    prompt_problems,
    settings_problems,
)

if TYPE_CHECKING:
    from ..transformerlens import Model


CUSTOM = "custom"  # whose numbers units are, where the recipe says nothing


@dataclass(frozen=True, eq=False)
class PromptPairs(Rows):
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
        unit: the id of what clean prompts repeat of each other, by which intervals are clustered; those of effects draw
            whole units. By default each pair is a separate unit, numbered by a hash of its prompts.

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
        roles, unit = named_roles(self.roles), self.unit
        if unit is None and self.clean.shape == self.corrupt.shape:
            unit = _numbered(held(self.clean), held(self.corrupt))
        if problems := self._problems(roles, unit):
            raise ValueError("these are no prompt pairs: " + "; ".join(problems))
        columns: dict[str, Any] = {name: held(getattr(self, name)) for name in ("clean", "corrupt", "answers", "foils")}
        for name in ("intermediates", "corrupt_intermediates"):
            columns[name] = {key: held(column) for key, column in getattr(self, name).items()}
        columns["recipe"] = deepcopy(dict(self.recipe))
        position = int(self.answer_position) % len(roles)
        for name, value in (columns | {"unit": held(unit), "roles": roles, "answer_position": position}).items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_text(
        cls,
        model: "Model",
        clean: Sequence[str],
        corrupt: Sequence[str],
        answers: Sequence[str],
        foils: Sequence[str],
        *,
        template: str | None = None,
        pad: Literal["left"] | None = None,
    ) -> "PromptPairs":
        """Pairs from prompts in words, as the model's tokenizer reads them; the answer is read at the last position.

        BOS is there where the model prepends it (`model.cfg.default_prepend_bos`).

        Args:
            model: a HookedTransformer or TransformerBridge with a fast tokenizer.
            clean: the prompts to be explained.
            corrupt: their counterparts, as many.
            answers: the right answers to the clean prompts, one token each, as they follow the prompt: `" Mary"`.
            foils: the right answers to the corrupt prompts.
            template: what all prompts look like, with slots, as in `"{IO} and {S} went to the {place}"`. Positions are
                called by their slot (`IO`; several tokens `place1`, `place2`), and between slots by their word (`went`;
                again `to.2`), the first one of a model with BOS `bos`. Each slot has one number of tokens in all prompts.
                By default positions are called by the words of the first of the longest prompts.
            pad: `left` to pad shorter prompts, for a tokenizer that pads there; by default all prompts need one length.

        Raises:
            ValueError: if the model has no such tokenizer, or the texts make no pairs; with all problems at once, and the
                tokens of the pairs at fault.
        """
        texts = {"clean": clean, "corrupt": corrupt, "answers": answers, "foils": foils}
        return cls(**pairs_of_text(model, texts, template, pad))

    def _problems(self, roles: tuple[Any, ...], unit: Any) -> list[str]:
        """Why these are no pairs."""
        n, n_pos = self.clean.shape
        problems = []
        if self.corrupt.shape != self.clean.shape:
            problems.append(f"clean has the shape {tuple(self.clean.shape)}, corrupt {tuple(self.corrupt.shape)}")
        columns = [("answers", self.answers), ("foils", self.foils)] + ([] if unit is None else [("unit", unit)])
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

    __repr__, _repr_html_ = pairs_line, pairs_card

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
        """64-bit hexadecimal hashes of each pair's `clean` and `corrupt` prompt and `unit`, in the order of the pairs.

        Units are numbers of the graph, or else the task, that the recipe names, and their hashes begin with its key; with
        `custom:` where it names none. Only units of one beginning can be compared.
        """
        found = {
            name: [_hash(row) for row in rows.tolist()] for name, rows in (("clean", self.clean), ("corrupt", self.corrupt))
        }
        of = str(self.recipe.get("graph") or self.recipe.get("task") or CUSTOM)
        return found | {"unit": [f"{of}:{_hash([of, unit])}" for unit in self.unit.tolist()]}

    @property
    def n_units(self) -> int:
        """How many different units there are."""
        return len(self.unit.unique())

    def shared_with(self, hashes: "PromptPairs | Mapping[str, Sequence[str]]") -> dict[str, Bool[Tensor, " query"]]:
        """Which of these pairs share something with others.

        Args:
            hashes: other pairs, or their hashes, as `PromptPairs.hashes` gives them and circuits keep in
                `provenance["hashes"]`.

        Returns:
            `prompt`: whether one of the two prompts is a clean or corrupt one of the others; `unit`: whether the unit is one
            of theirs. Without `unit` if the units cannot be compared: the others have none, as in old files, or they are
            numbers of another graph or task.

        Raises:
            ValueError: if these are neither.
        """
        hashes = _hashes_of(hashes)
        mine, prompts = self.hashes, {*hashes["clean"], *hashes["corrupt"]}
        pairs = zip(mine["clean"], mine["corrupt"], strict=True)
        found = {"prompt": [not prompts.isdisjoint(pair) for pair in pairs]}
        units = set(hashes.get("unit", ()))
        if units and len({unit.rpartition(":")[0] for unit in (*units, *mine["unit"])}) == 1:
            found["unit"] = [unit in units for unit in mine["unit"]]
        return {name: torch.tensor(rows, dtype=torch.bool, device="cpu") for name, rows in found.items()}

    def apart_from(self, hashes: "PromptPairs | Mapping[str, Sequence[str]]") -> "PromptPairs":
        """The pairs that share no prompt and no unit with others, see `shared_with`.

        Raises:
            ValueError: if all share something, or the others are no pairs and no hashes.
        """
        rows = torch.stack([*self.shared_with(hashes).values()]).any(0)
        if rows.all():
            raise ValueError(f"all {len(self)} pairs share a prompt or a unit with the others; take pairs of another split")
        return self.take(~rows)

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

    def check_against(self, model: "Model") -> None:
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
        """Two sets that share no prompt, clean or corrupt, and no unit: one to choose a circuit on, the other to judge it.

        Pairs that hang together stay together, see `halves.apart`. Those that cannot be put into one half without sharing
        something with the other are left out, as few as were found. The recipe of each says which `half` it is (of halves:
        `first of the second`) and how many were left out (`n_left_out`); `n_asked` is that of both together.

        Raises:
            ValueError: if all pairs share something with each other, so that one half would be empty.
        """
        prompts = zip(self.unit.tolist(), map(tuple, self.clean.tolist()), map(tuple, self.corrupt.tolist()), strict=True)
        parts = apart(list(prompts))
        sizes = [len(part) for part in parts]
        if not min(sizes):
            raise ValueError(
                f"there are no two halves of these {len(self)} pairs ({self.n_units} units) that share no prompt and no "
                f"unit: they could have {sizes[0]} and {sizes[1]} pairs; ask for more pairs, or choose and judge on "
                "different splits"
            )
        of = f" of the {self.recipe['half']}" if "half" in self.recipe else ""
        n_left_out = self.recipe.get("n_left_out", 0) + len(self) - sum(sizes)
        about = {**self.recipe, "n_asked": self.n_asked, "n_left_out": n_left_out}
        first, second = (
            replace(self.take(torch.tensor(part, device="cpu")), recipe={**about, "half": f"{name}{of}"})
            for name, part in zip(("first", "second"), parts, strict=True)
        )
        return first, second

    def keep_correct(self, *models: "Model") -> "PromptPairs":
        """The pairs that every model answers correctly on both prompts; the recipe says how many were asked.

        Raises:
            TypeError: for what cannot be asked, naming its class.
            ValueError: if there is no pair or none is left, or a model carries hooks or lacks tokens or positions of theirs.
        """
        for model in models:
            check_forward(model)
            self.check_against(model)
            refuse(problems_of_hooks(model, "pairs are kept for the model without any"))
        right = [self._right_of(model) for model in models]
        correct = torch.stack([torch.ones(len(self), dtype=torch.bool, device="cpu"), *right]).all(0)
        if not correct.any():
            each = (f"{int(rows.sum())} by {model.cfg.model_name}" for model, rows in zip(models, right, strict=True))
            raise ValueError(
                f"none of the {len(self)} pairs is answered correctly on both sides by all {len(models)} models; "
                f"{', '.join(each)}"
            )
        return replace(self.take(correct), recipe={**self.recipe, "n_asked": self.n_asked})

    def _right_of(self, model: "Model") -> Bool[Tensor, " query"]:
        """Which pairs a model answers correctly on both prompts."""
        sides = ((self.clean, self.answers), (self.corrupt, self.foils))
        one, other = (is_right(model, prompts, answers, self.answer_position) for prompts, answers in sides)
        return one & other


def _hashes_of(given: Any) -> Mapping[str, Sequence[str]]:
    """The hashes of pairs, or those that are given, unless they are none."""
    hashes = given.hashes if isinstance(given, PromptPairs) else given
    if problems := hash_problems(hashes):
        wanted = "pairs, or hashes as pairs.hashes and circuit.provenance['hashes'] are"
        raise ValueError(f"hashes is {shortly(given)}, needed are {wanted}: {'; '.join(problems)}")
    return hashes


def _alike(same: Mapping[str, Bool[Tensor, " query"]]) -> list[str]:
    """By what is the same on both sides of some pairs, how many these are."""
    return [
        f"{int(rows.sum())} pairs have the same {what} on both sides, the first is pair {int(rows.int().argmax())}"
        for what, rows in same.items()
        if rows.any()
    ]


def _hash(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _numbered(clean: Int[Tensor, "query pos"], corrupt: Int[Tensor, "query pos"]) -> Int[Tensor, " query"]:
    """A number for each pair that is always the same for the same prompts, below 2⁵²: JSON keeps it exactly."""
    rows = zip(clean.tolist(), corrupt.tolist(), strict=True)
    return torch.tensor([int(_hash(list(row)), 16) >> 12 for row in rows], dtype=torch.int64, device="cpu")
