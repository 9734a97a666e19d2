"""Questions as the published files write them: {"input_text": "<e_1><r_2>", "target_text": "<e_1><r_2><e_3></a>"}."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from typing_extensions import TypedDict  # that of `typing` is one for pydantic from Python 3.12 on

from .graph import Compositions, KnowledgeGraph
from .queries import Queries

NO_RELATION, UNKNOWN, UNREADABLE = -2, -1, -3  # in place of a token's number
_TARGET = re.compile(r"(<e_[0-9]+>)(<r_[0-9]+>)(<r_[0-9]+>)?(<e_[0-9]+>)</a>")


class Item(TypedDict):
    """A question of one relation or two, and what follows it."""

    input_text: str
    target_text: str


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The numbers of entities and relations by their tokens."""

    entities: dict[str, int]
    relations: dict[str, int]

    @classmethod
    def of(cls, n_entities: int, n_relations: int) -> "Vocabulary":
        """The vocabulary of these sizes."""
        entities = {f"<e_{i}>": i for i in range(n_entities)}
        return cls(entities, {f"<r_{i}>": i for i in range(n_relations)})

    @property
    def names(self) -> list[str]:
        """Tokens in the order of their numbers in prompts: entities, then relations."""
        return [*self.entities, *self.relations]

    def unknown(self, tokens: Sequence[str]) -> list[str]:
        """Those of the tokens that it does not name."""
        return [token for token in tokens if token not in self.entities and token not in self.relations]


@dataclass(frozen=True, eq=False)
class Read:
    """What a file's items ask.

    Attributes:
        hop1: for each item the fact it starts with, or −1 if it has a problem.
        hop2: the second fact; −1 where there is none.
        problems: what is wrong, by item.
    """

    hop1: Int[np.ndarray, " item"]
    hop2: Int[np.ndarray, " item"]
    problems: dict[int, str]

    @property
    def is_composed(self) -> Bool[np.ndarray, " item"]:
        """Which items ask for two hops."""
        return self.hop2 >= 0

    def hops(self, chosen: Int[np.ndarray, " row"]) -> Compositions:
        """The compositions that some items ask for."""
        return np.stack([self.hop1[chosen], self.hop2[chosen]], axis=1)


def read_items(items: Sequence[Item], graph: KnowledgeGraph, vocabulary: Vocabulary) -> Read:
    """Find the facts that each item rests on."""
    numbers = _numbers(items, vocabulary)
    head, relation1, relation2, answer = numbers.T
    is_readable = (numbers[:, [0, 1, 3]] >= 0).all(1) & (relation2 != UNKNOWN)
    tails = np.append(graph.tails, UNKNOWN)  # so that no fact, −1, has an unknown tail
    hop1 = np.where(is_readable, graph.fact_of[head.clip(0), relation1.clip(0)], -1)
    is_composed = relation2 != NO_RELATION
    hop2 = np.where(is_composed & (hop1 >= 0), graph.fact_of[tails[hop1], relation2.clip(0)], -1)
    is_answered = (hop1 >= 0) & (np.where(is_composed, tails[hop2], tails[hop1]) == answer)
    wrong = np.flatnonzero(~is_answered).tolist()
    problems = {item: _problem(items[item], bool((numbers[item] == UNREADABLE).any()), vocabulary) for item in wrong}
    return Read(np.where(is_answered, hop1, -1), np.where(is_answered, hop2, -1), problems)


def items_of(queries: Queries, names: list[str]) -> list[Item]:
    """The queries as items, with the names of the tokens."""
    prompts = ["".join(names[token] for token in row) for row in queries.tokens.tolist()]
    return [
        Item(input_text=prompt, target_text=f"{prompt}{names[answer]}</a>")
        for prompt, answer in zip(prompts, queries.answers.tolist(), strict=True)
    ]


def _numbers(items: Sequence[Item], vocabulary: Vocabulary) -> Int[np.ndarray, "item 4"]:
    """Head, relations and answer of each item."""
    entity, relation = vocabulary.entities.get, {None: NO_RELATION, **vocabulary.relations}.get
    numbers: list[int] = []
    for item in items:
        match = _TARGET.fullmatch(item["target_text"])
        if match is None or item["input_text"] != item["target_text"][: match.start(4)]:
            numbers += [UNREADABLE] * 4
            continue
        head, relation1, relation2, answer = match.groups()
        numbers += [
            entity(head, UNKNOWN),
            relation(relation1, UNKNOWN),
            relation(relation2, UNKNOWN),
            entity(answer, UNKNOWN),
        ]
    return np.array(numbers, dtype=np.int64).reshape(-1, 4)


def _problem(item: Item, is_unreadable: bool, vocabulary: Vocabulary) -> str:
    words = re.findall(r"<[^>]*>", item["target_text"])
    if is_unreadable:
        return f"expected input_text h r [r] and target_text input + t + </a>, got {_cut(str(dict(item)))}"
    if unknown := vocabulary.unknown(words[:-1]):
        return f"unknown token {unknown[0]!r}; tokens are those of vocab.json"
    return f"no chain of facts leads from {item['input_text']} to {words[-2]}"


def _cut(text: str) -> str:
    return text if len(text) < 200 else f"{text[:200]}…"
