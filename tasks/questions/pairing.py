"""Pairs of a task's questions that differ in one thing: which partner each question gets."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch

from ...circuits.arguments import is_one_of, is_whole, name_problems, native, refuse, seed_problems, shortly, whole_problems
from .contrasts import Contrast, Contrasted, contrasted
from .pairs import PromptPairs
from .queries import Queries
from .task import Task, splits_for
from .twohop import TwoHopTask
from .validity import missing_problems

CONTRASTS = tuple(TwoHopTask.contrasts)
"""What differs in two-hop questions: one token, or (h, r1) together. All but `relation_2` lead to another bridge entity."""


def n_pairable(queries: Queries) -> int:
    """A safe number of pairs to request: some queries find no partner."""
    return math.floor(0.8 * len(queries))


def pairs_up_to(task: Task, *, split: str, contrast: str, n: int, seed: int) -> PromptPairs:
    """As many pairs as can safely be asked of a split, n at most; see `make_pairs`."""
    return make_pairs(task, split=split, contrast=contrast, n=min(n, n_pairable(task.split(split))), seed=seed)


def make_pairs(task: Task, *, split: str, contrast: str, n: int, seed: int) -> PromptPairs:
    """Pair n queries of a split with corrupt ones that differ in the contrast.

    In two-hop questions `head`, `relation_1` and `relation_2` change that token alone; `bridge` changes h and r1 but not
    r2. All but `relation_2` change the bridge entity. Other tasks have others, see their `contrasts`. The corrupt prompt is
    an existing query with another answer, whose facts are ID and OOD in the same places. As long as the split allows it, no
    prompt is used twice; after that a clean prompt may be the corrupt one of another pair (`recipe["n_twice"]` counts such
    prompts), and then corrupt prompts are taken from training (`recipe["n_from_training"]`). No prompt is ever clean in two
    pairs or corrupt in two.

    Args:
        task: any that has contrasts.
        split: one of its splits whose questions have the roles of the contrast.
        contrast: one of the task's, in two-hop questions of `CONTRASTS`.
        n: number of pairs.
        seed: fixes which queries are taken and how they are paired.

    Raises:
        KeyError: for an unknown split or contrast.
        TypeError: if the task has no contrasts.
        ValueError: if the split's questions lack a role or intermediate of the contrast, n is below 1, or fewer than n pairs
            can be made; the message says how many.
    """
    split, contrast, n, seed = native((split, contrast, n, seed))
    contrasts = contrasted(task).contrasts
    unknown = (
        []
        if is_one_of(contrast, contrasts)
        else [f"no contrast {shortly(contrast)}; the contrasts are {', '.join(contrasts)}"]
    )
    none = (
        [f"no pair: asked for n = {shortly(n)}, at least 1 can be made"] if is_whole(n) and n < 1 else whole_problems(1, n=n)
    )
    refuse(none + name_problems(split=split) + seed_problems(seed), unknown=unknown)
    task, queries = contrasted(task), task.split(split)
    refuse(_split_problems(task, queries, contrasts[contrast]))
    rng = np.random.default_rng(seed)
    trained = [task.split(name) for name in splits_for(task, "trained")]
    sources = [queries, *(each for each in trained if each.roles == queries.roles)]
    found = _Partners(task, sources, contrasts[contrast], rng).paired(rng.permutation(len(queries)).tolist(), n)
    rows = list(found)
    if len(rows) < n:
        raise ValueError(
            f"asked for {shortly(n)} {contrast!r} pairs of {split}, but only {len(rows)} can be made of its {len(queries)} "
            "queries without using a prompt twice as clean or twice as corrupt"
        )
    chosen = queries.take(torch.tensor(rows, device="cpu"))
    partners_of = [(sources[number], row) for number, row in found.values()]
    corrupt = torch.stack([source.tokens[row] for source, row in partners_of])
    twice = set(map(tuple, chosen.tokens.tolist())) & set(map(tuple, corrupt.tolist()))
    recipe = {"split": split, "contrast": contrast, "n_asked": n, "seed": seed}
    recipe |= task.pair_recipe
    recipe |= {"n_from_training": sum(number > 0 for number, _ in found.values()), "n_twice": len(twice)}
    return PromptPairs(
        chosen.tokens,
        corrupt,
        chosen.answers,
        torch.stack([source.answers[row] for source, row in partners_of]),
        roles=queries.roles,
        answer_position=queries.answer_position,
        contrast=contrast,
        recipe=recipe,
        intermediates=chosen.intermediates,
        corrupt_intermediates={
            name: torch.stack([source.intermediates[name][row] for source, row in partners_of])
            for name in chosen.intermediates
        },
        unit=chosen.unit,
    )


def _split_problems(task: Contrasted, queries: Queries, contrast: Contrast) -> list[str]:
    """Why there are no pairs of a split: its questions are atomic, or lack what the contrast is about."""
    if task.splits[queries.split] == "atomic":
        return [f"{queries.split} holds atomic queries; contrasts are defined for the compositional splits"]
    about = {"role": (contrast.changes, queries.roles)}
    about |= {"intermediate": ((*contrast.differs, *contrast.keeps), tuple(queries.intermediates))}
    return [
        f"{queries.split}: {problem}"
        for what, (needed, there) in about.items()
        for problem in missing_problems(what, needed, there)
    ]


Prompt = tuple[int, ...]


class _Partner(NamedTuple):
    """A query by its source and its row there."""

    source: int
    row: int


class _Partners:
    """Hands out corrupt queries from several sources in order of preference, each at most once.

    Attributes:
        found: by row of the first source, its partner.
        clean: the prompts of these rows.
        taken: by corrupt prompt, the row it is the partner of.
        dead_ends: corrupt prompts from which no chain leads to a free one.
    """

    def __init__(self, task: Contrasted, sources: list[Queries], contrast: Contrast, rng: np.random.Generator) -> None:
        self.changed = [sources[0].roles.index(role) for role in contrast.changes]
        self.differs, self.keeps = contrast.differs, contrast.keeps
        self.prompts = [[tuple(row) for row in source.tokens.tolist()] for source in sources]
        self.answers = [source.answers.tolist() for source in sources]
        names = (*contrast.differs, *contrast.keeps)
        self.values = [{name: source.intermediates[name].tolist() for name in names} for source in sources]
        self.statuses = [task.fact_status(source).tolist() for source in sources]
        self.found: dict[int, _Partner] = {}
        self.clean: set[Prompt] = set()
        self.taken: dict[Prompt, int] = {}
        self.dead_ends: set[Prompt] = set()
        self.buckets: list[dict[Hashable, list[int]]] = []
        for prompts, statuses in zip(self.prompts, self.statuses, strict=True):
            bucket: dict[Hashable, list[int]] = defaultdict(list)
            for row in rng.permutation(len(prompts)):
                bucket[self._kept(prompts[row]), statuses[row]].append(int(row))
            self.buckets.append(bucket)

    def paired(self, order: Sequence[int], n: int) -> dict[int, _Partner]:
        """Up to n rows with their partners: first those that need no prompt of another pair, then the others."""
        for find in (self._alone, self._any, self._rearranged):
            left = [row for row in order if row not in self.found]
            for row in sorted(left, key=self._is_corrupt):  # those that are nobody's corrupt prompt first
                if len(self.found) == n:
                    return self.found
                find(row)
        return self.found

    def _is_corrupt(self, row: int) -> bool:
        return self.prompts[0][row] in self.taken

    def _alone(self, row: int) -> None:
        """A partner of the same source, if neither is in another pair."""
        if not self._is_corrupt(row):
            self._take(row, self._unused(row))

    def _any(self, row: int) -> None:
        """Any partner that is nobody's, rather one that is nobody's clean prompt either, and rather of the same source."""
        self._take(row, chain(self._unused(row), self._fitting(row, range(len(self.prompts)))))

    def _unused(self, row: int) -> Iterator[_Partner]:
        """Partners of the same source that are nobody's clean prompt."""
        return (partner for partner in self._fitting(row, [0]) if self._prompt(partner) not in self.clean)

    def _rearranged(self, row: int) -> None:
        """A partner that others make free by taking another one each, if there is such a chain: the shortest."""
        reached: dict[Prompt, tuple[int, _Partner]] = {}
        rows = [row]
        for current in rows:  # which grows meanwhile
            for partner in self._fitting(current, range(len(self.prompts))):
                prompt = self._prompt(partner)
                if prompt in reached or prompt in self.dead_ends:
                    continue
                reached[prompt] = current, partner
                if prompt in self.taken:
                    rows.append(self.taken[prompt])
                else:
                    return self._shift(row, prompt, reached)
        self.dead_ends |= reached.keys()  # which no later chain can pass, since none of them leads to a free prompt
        return None

    def _shift(self, first: int, prompt: Prompt, reached: Mapping[Prompt, tuple[int, _Partner]]) -> None:
        """Give each row of a chain the prompt that it reached, from a free one back to the first row."""
        while True:
            row, partner = reached[prompt]
            before = self.found.get(row)
            self._give(row, partner)
            if row == first or before is None:
                return
            prompt = self._prompt(before)

    def _take(self, row: int, partners: Iterable[_Partner]) -> None:
        """The first of the partners that is nobody's."""
        for partner in partners:
            if self._prompt(partner) not in self.taken:
                self._give(row, partner)
                return

    def _give(self, row: int, partner: _Partner) -> None:
        self.found[row] = partner
        self.taken[self._prompt(partner)] = row
        self.clean.add(self.prompts[0][row])

    def _prompt(self, partner: _Partner) -> Prompt:
        return self.prompts[partner.source][partner.row]

    def _fitting(self, row: int, sources: Iterable[int]) -> Iterator[_Partner]:
        """All partners that the contrast allows."""
        key = self._kept(self.prompts[0][row]), self.statuses[0][row]
        for number in sources:
            for other in self.buckets[number].get(key, ()):
                if self._fits(row, number, other):
                    yield _Partner(number, other)

    def _fits(self, row: int, number: int, other: int) -> bool:
        """Whether the other query differs in answer, intermediates and tokens as the contrast demands."""
        if self.answers[0][row] == self.answers[number][other]:
            return False
        here, there = self.prompts[0][row], self.prompts[number][other]
        same = {name: values[row] == self.values[number][name][other] for name, values in self.values[0].items()}
        return (
            all(here[place] != there[place] for place in self.changed)
            and not any(same[name] for name in self.differs)
            and all(same[name] for name in self.keeps)
        )

    def _kept(self, prompt: Prompt) -> Prompt:
        """The tokens that the contrast leaves as they are."""
        return tuple(token for place, token in enumerate(prompt) if place not in self.changed)
