"""Comparisons as the published files write them.

`{"input_text": "<e_1><attr_2>", "target_text": "<e_1><attr_2><7></a>", "type": "id_atomic"}` says a value;
`{"input_text": "<attr_2><q><e_1><mask><e_3>", "target_text": … "<attr_2_0></a>", "type": "train_inferred"}` a comparison, by
a label of the attribute: 0 where the first value is below the second, 1 where they are equal, 2 where it is above (Wang et
al. 2024, code).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int
from typing_extensions import TypedDict  # that of `typing` is one for pydantic from Python 3.12 on

from .balancing import LABELS, MISSING, Comparisons

SPECIAL_TOKENS = ("<mask>", "<sep>", "<a>", "</a>", "<q>", "</q>")
_ATOMIC = re.compile(r"(<e_(?P<e1>[0-9]{1,9})><attr_(?P<a>[0-9]{1,9})>)<(?P<said>[0-9]{1,9})></a>")
_COMPARED = re.compile(
    r"(<attr_(?P<a>[0-9]{1,9})><q><e_(?P<e1>[0-9]{1,9})><mask><e_(?P<e2>[0-9]{1,9})>)"
    r"<attr_(?P<of>[0-9]{1,9})_(?P<said>[012])></a>"
)


class ComparisonItem(TypedDict):
    """A value or a comparison, and which split it is of."""

    input_text: str
    target_text: str
    type: Literal["id_atomic", "ood_atomic", "train_inferred", "test_inferred_iid", "test_inferred_ood"]


@dataclass(frozen=True)
class Sizes:
    """How many tokens of each sort there are."""

    n_entities: int
    n_attributes: int
    n_levels: int

    @property
    def names(self) -> list[str]:
        """The published tokens: entities, attributes, values, special ones, three labels of each attribute."""
        numbers = range(self.n_attributes)
        return [
            *(f"<e_{i}>" for i in range(self.n_entities)),
            *(f"<attr_{i}>" for i in numbers),
            *(f"<{i}>" for i in range(self.n_levels)),
            *SPECIAL_TOKENS,
            *(f"<attr_{i}_{label}>" for i in numbers for label in range(len(LABELS))),
        ]

    @classmethod
    def of(cls, tokens: Sequence[str]) -> "Sizes":
        """The sizes of a vocabulary, by the number of tokens that look like each sort."""
        patterns = (r"<e_[0-9]+>", r"<attr_[0-9]+>", r"<[0-9]+>")
        return cls(*(sum(re.fullmatch(pattern, token) is not None for token in set(tokens)) for pattern in patterns))


@dataclass(frozen=True, eq=False)
class ReadItems:
    """What a file's items say; −1 in the rows of those with a problem.

    Attributes:
        facts: of each item; the second is −1 where it says a value.
        said: the value, or the place of the label.
        problems: what is wrong, by item.
    """

    facts: Comparisons
    said: Int[np.ndarray, " item"]
    problems: dict[int, str]

    @property
    def is_compared(self) -> Bool[np.ndarray, " item"]:
        """Which items compare."""
        return self.facts[:, 1] >= 0


def read_items(items: Sequence[ComparisonItem], sizes: Sizes) -> ReadItems:
    """What each item says, as far as it is written as it should be, with tokens that there are."""
    rows: list[tuple[int, int, int]] = []
    problems: dict[int, str] = {}
    for number, item in enumerate(items):
        row, problem = _read(item, sizes)
        rows.append(row)
        if problem:
            problems[number] = problem
    found = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return ReadItems(found[:, :2], found[:, 2], problems)


def _read(item: ComparisonItem, sizes: Sizes) -> tuple[tuple[int, int, int], str]:
    """The facts and what is said of them, or why they cannot be read."""
    nothing = MISSING, MISSING, MISSING
    is_atomic = item["type"].endswith("_atomic")
    match = (_ATOMIC if is_atomic else _COMPARED).fullmatch(item["target_text"])
    if match is None or match.group(1) != item["input_text"]:
        form = "input_text e attr" if is_atomic else "input_text attr <q> e <mask> e"
        return nothing, f"of type {item['type']}, expected {form} and target_text input + answer + </a>, got {_cut(item)}"
    number = {name: int(digits) for name, digits in match.groupdict().items()}
    if unknown := _unknown(number, sizes, is_atomic):
        return nothing, f"unknown token {unknown!r}; tokens are those of vocab.json"
    first = number["a"] * sizes.n_entities + number["e1"]
    if is_atomic:
        return (first, MISSING, number["said"]), ""
    if number["of"] != number["a"]:
        return nothing, f"the answer is of <attr_{number['of']}>, the question of <attr_{number['a']}>"
    return (first, number["a"] * sizes.n_entities + number["e2"], number["said"]), ""


def _unknown(number: dict[str, int], sizes: Sizes, is_atomic: bool) -> str:
    """The first token that is not there."""
    known = {"a": ("attr_", sizes.n_attributes), "of": ("attr_", sizes.n_attributes)}
    known |= {"e1": ("e_", sizes.n_entities), "e2": ("e_", sizes.n_entities)}
    known |= {"said": ("", sizes.n_levels)} if is_atomic else {}
    wrong = [f"<{known[name][0]}{each}>" for name, each in number.items() if name in known and each >= known[name][1]]
    return wrong[0] if wrong else ""


def _cut(item: ComparisonItem) -> str:
    text = str({name: item[name] for name in ("input_text", "target_text")})
    return text if len(text) < 200 else f"{text[:200]}…"


def items_of(values: Int[np.ndarray, "attribute entity"], facts: Comparisons, of: str) -> list[dict[str, str]]:
    """Values, where the second fact is −1, and comparisons as items of a type."""
    n_entities = values.shape[1]
    items = []
    for first, second in facts.tolist():
        a, e1 = divmod(first, n_entities)
        value = int(values[a, e1])
        if second < 0:
            prompt, answer = f"<e_{e1}><attr_{a}>", f"<{value}>"
        else:
            other = int(values[a, second % n_entities])
            prompt = f"<attr_{a}><q><e_{e1}><mask><e_{second % n_entities}>"
            answer = f"<attr_{a}_{(value > other) - (value < other) + 1}>"
        items.append({"input_text": prompt, "target_text": f"{prompt}{answer}</a>", "type": of})
    return items
