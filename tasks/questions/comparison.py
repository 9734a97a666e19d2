"""Comparisons of ordinal values, and the reasoning about values that were never told (Wang et al. 2024, sections 4 and 5).

An atomic fact (attribute, e) has a value; a question (attribute, e1, e2) asks whether the value of e1 is below, equal to, or
above that of e2. Both values are found in parallel, by the same lookup: a model that stores each fact once answers OOD
comparisons, too.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ...circuits.arguments import (
    choice_problems,
    is_one_of,
    is_whole,
    make_native,
    native,
    number_problems,
    refuse,
    seed_problems,
    shortly,
    whole_problems,
)
from ...circuits.destination import folder_problems, input_problems
from ...circuits.same_content import ByContent
from .balancing import LABELS, Comparisons, all_comparisons, mirrored
from .cards import comparison_card, comparison_line
from .chain_splits import status_codes
from .comparison_draws import COMPARED_TESTS, Drawn, drawing_problems
from .comparison_files import read_comparisons, write_comparisons
from .comparison_queries import VALUES, atomic_queries, compared_queries, first_attribute, other_values, with_value
from .comparison_validity import ComparisonParts, arrays_of, parts_from, refuse_comparisons, settings_of
from .contrasts import Contrast
from .given import queries_problems, split_problems
from .queries import Queries
from .question_donors import QuestionDonors
from .saved_task import wide
from .task import Part, Settings

SHORTCUTS: Mapping[str, tuple[str, ...]] = {
    "a": ("a",),
    "e1": ("e1",),
    "e2": ("e2",),
    "a e1": ("a", "e1"),
    "a e2": ("a", "e2"),
    "e1 e2": ("e1", "e2"),
}
CONTRASTS: Mapping[str, Contrast] = {
    "value_1": Contrast(("e1",), differs=("value_1",), keeps=("value_2",)),
    "value_2": Contrast(("e2",), differs=("value_2",), keeps=("value_1",)),
    "both_values": Contrast(("e1", "e2"), differs=VALUES),
    "attribute": Contrast(("a",)),
}


@dataclass(frozen=True, eq=False)
class ComparisonTask(ByContent):
    """The values of entities, which facts are OOD, and which comparisons are trained and tested.

    A fact's number is attribute · n_entities + entity. Tokens are the values, then the labels `<`, `=`, `>`, attributes, and
    entities.

    Attributes:
        values: of all facts.
        n_levels: how many values there are.
        is_ood: which facts are OOD.
        trained: the comparisons in training.
        tests: the test comparisons by split name; no mirror image of theirs is trained either.
        seed: fixes every random choice except those of training.
        regime: `"comparison"`: all facts are trained by themselves, and no comparison of an OOD fact is. `"reasoning"`: OOD
            facts are never trained by themselves, only comparisons of them with ID facts.
    """

    values: Int[np.ndarray, "attribute entity"]
    n_levels: int
    is_ood: Bool[np.ndarray, "attribute entity"]
    trained: Comparisons
    tests: Mapping[str, Comparisons]
    seed: int
    regime: str = "comparison"
    kind = "comparison"
    id_test = "test_compared_iid"
    ood_test = "test_compared_ood"
    shortcuts = SHORTCUTS
    contrasts = CONTRASTS
    n_positions = 3
    one_length = False
    n_added = 0

    def __post_init__(self) -> None:
        make_native(self, "n_levels", "seed", "regime")
        held = {"values": wide(self.values), "trained": wide(self.trained)}
        if isinstance(self.tests, Mapping):
            held["tests"] = {name: wide(pairs) for name, pairs in self.tests.items()}
        for name, value in held.items():
            object.__setattr__(self, name, value)
        refuse_comparisons(self._parts)

    __repr__, _repr_html_ = comparison_line, comparison_card
    fact_values, with_fact = other_values, with_value

    @classmethod
    def random(
        cls,
        *,
        n_entities: int = 100,
        n_attributes: int = 8,
        n_levels: int = 12,
        ood_fraction: float = 0.1,
        test_fraction: float = 0.1,
        phi: float | None = None,
        seed: int = 0,
    ) -> "ComparisonTask":
        """Draw values and split the comparisons: all facts are known, comparisons of OOD facts are not trained.

        Args:
            n_entities: number of entities.
            n_attributes: number of attributes; every entity has a value of each.
            n_levels: number of values.
            ood_fraction: share of each attribute's facts that are OOD.
            test_fraction: of the ID comparisons whose label is the rarest, the share held out as `test_compared_iid`, and of
                the other labels as many.
            phi: trained comparisons per ID fact, of each label equally many as far as there are; by default as many as keep
                the labels equally frequent.
            seed: fixes values and splits, not training.

        Raises:
            ValueError: for impossible sizes, fractions outside [0, 1], or a phi beyond what the values can give.

        >>> task = ComparisonTask.random(n_entities=20, n_attributes=2, n_levels=4, seed=0)
        >>> len(task.split("id_atomic")), len(task.split("ood_atomic"))
        (36, 4)
        """
        sizes = native({"n_entities": n_entities, "n_attributes": n_attributes, "n_levels": n_levels})
        shares = {"ood_fraction": ood_fraction, "test_fraction": test_fraction}
        refuse(drawing_problems(sizes, shares, phi) + seed_problems(seed))
        drawn = Drawn.random(**sizes, ood_fraction=ood_fraction, seed=native(seed))
        held_out = drawn.held_out(test_fraction)
        trained, tests = drawn.trained(held_out, native(phi), equally=True), drawn.tests(held_out)
        return cls(drawn.values, drawn.n_levels, drawn.is_ood, trained, tests, drawn.seed)

    @classmethod
    def reasoning(
        cls,
        *,
        n_entities: int = 400,
        n_attributes: int = 2,
        n_levels: int = 16,
        ood_fraction: float = 0.3,
        test_fraction: float = 0.1,
        phi: float = 16.0,
        n_compared: int = 24,
        seed: int = 0,
    ) -> "ComparisonTask":
        """Draw values of which OOD ones are hidden: only comparisons with ID facts say something of them.

        `test_compared_ood` holds the comparisons of two OOD facts that follow from the values of ID facts together with
        trained comparisons, and from these comparisons alone do not, see `reasoning.needs_both`; likewise the mixed tests.
        `ood_atomic` asks for the hidden values. Labels are equally frequent in tests. In training they are as frequent as
        among all comparisons, as in the published task: the more equalities, the more follows from comparisons alone.

        Args:
            n_entities: as in `random`, as are the other sizes and fractions.
            n_attributes: see `random`.
            n_levels: see `random`.
            ood_fraction: share of each attribute's facts that are hidden.
            test_fraction: see `random`.
            phi: trained comparisons of two ID facts per ID fact, of any label. With more of them there is more to search
                (`about["facts_per_attribute"]`), and more OOD comparisons follow from comparisons alone.
            n_compared: trained comparisons of each OOD fact with ID facts, of any label; fewer, if there are no more.
            seed: fixes values and splits, not training.

        Raises:
            ValueError: as `random`.
        """
        sizes = native({"n_entities": n_entities, "n_attributes": n_attributes, "n_levels": n_levels})
        shares = {"ood_fraction": ood_fraction, "test_fraction": test_fraction}
        problems = drawing_problems(sizes, shares, phi) + number_problems(0, phi=phi)
        refuse(dict.fromkeys(problems + whole_problems(0, n_compared=n_compared) + seed_problems(seed)))
        drawn = Drawn.random(**sizes, ood_fraction=ood_fraction, seed=native(seed))
        held_out = drawn.held_out(test_fraction)
        of_id = drawn.trained(held_out, native(phi), equally=False)
        trained = np.concatenate([of_id, drawn.with_ood(native(n_compared))])
        tests = drawn.reasoned_tests(held_out, trained)
        return cls(drawn.values, drawn.n_levels, drawn.is_ood, trained, tests, drawn.seed, "reasoning")

    @classmethod
    def from_files(cls, folder: str | Path) -> "ComparisonTask":
        """Read a folder in the published JSON formats, see `comparison_files`.

        Folders of the authors' generator have no mixed tests: some are drawn for them, always the same.

        Raises:
            FileNotFoundError: if files are missing; all of them are named.
            DataFolderError: for all that is wrong in the files.
        """
        refuse(input_problems(folder=folder))
        return cls(**vars(read_comparisons(Path(folder))))

    def to_files(self, folder: str | Path) -> Path:
        """Write the task in the published JSON formats, see `comparison_files`; returns the folder.

        Raises:
            ValueError: if OOD facts are hidden, which those formats cannot say.
        """
        why = ["OOD facts are hidden in the regime 'reasoning'; these formats cannot say so"] if self._hides else []
        refuse(why + folder_problems(folder=folder))
        write_comparisons(Path(folder), self._parts)
        return Path(folder)

    @property
    def splits(self) -> Mapping[str, Part]:
        """The splits; `ood_atomic` is trained, unless OOD facts are hidden."""
        parts: dict[str, Part] = {"id_atomic": "atomic", "ood_atomic": "test" if self._hides else "atomic"}
        parts["train_compared"] = "trained"
        for name in COMPARED_TESTS:
            parts[name] = "test"
        return parts

    @property
    def n_entities(self) -> int:
        """How many entities there are."""
        return self.values.shape[1]

    @property
    def n_attributes(self) -> int:
        """How many attributes there are."""
        return self.values.shape[0]

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary."""
        return first_attribute(self.n_levels) + self.n_attributes + self.n_entities

    @property
    def _hides(self) -> bool:
        return self.regime == "reasoning"

    def token_name(self, token: int) -> str:
        """What a token is called in figures: `v3`, `<`, `a2` or `e12`."""
        if not is_whole(token) or not 0 <= token < self.n_tokens:
            raise ValueError(f"token is {shortly(token)}, the tokens of this task are 0 to {self.n_tokens - 1}")
        entities = token - first_attribute(self.n_levels) - self.n_attributes
        if entities >= 0:
            return f"e{entities}"
        attributes = token - first_attribute(self.n_levels)
        if attributes >= 0:
            return f"a{attributes}"
        return f"v{token}" if token < self.n_levels else LABELS[token - self.n_levels]

    @property
    def phi(self) -> float:
        """Trained comparisons of two ID facts per ID fact (Wang et al. 2024, section 4)."""
        n_id = int((~self.is_ood.ravel()[self.trained]).all(1).sum())
        return n_id / max(1, self.n_reference)

    @property
    def about(self) -> Mapping[str, float]:
        """φ, and how many trained facts and comparisons an attribute has: what there is to search for an answer."""
        n_atomic = self.n_reference if self._hides else self.values.size
        search = (n_atomic + len(self.trained)) / self.n_attributes
        return {"phi": round(self.phi, 2), "facts_per_attribute": round(search, 1)}

    @property
    def n_reference(self) -> int:
        """How many ID facts there are, the units of `reference`."""
        return int((~self.is_ood).sum())

    @property
    def key(self) -> str:
        """A hash of values, splits, comparisons and regime: equal keys, equal tasks."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(str((self.kind, self.n_levels, self.regime)).encode())
        for array in (self.values, self.is_ood, self.trained, *(self.tests[name] for name in COMPARED_TESTS)):
            digest.update(str(array.shape).encode() + np.ascontiguousarray(array, dtype=np.int64).tobytes())
        return digest.hexdigest()[:12]

    def split(self, name: str) -> Queries:
        """The questions of one split.

        Raises:
            KeyError: if there is no such split; the message lists them.
        """
        refuse([], unknown=split_problems(name, self.splits))
        if name in ("id_atomic", "ood_atomic"):
            facts = np.flatnonzero(self.is_ood == (name == "ood_atomic"))
            return atomic_queries(self.values, self.n_levels, facts, name)
        return self._compared(self.trained if name == "train_compared" else self.tests[name], name)

    def reference(self, *, seed: int, without: frozenset[int] = frozenset()) -> Queries:
        """A random trained comparison for each ID fact as first one, leaving some facts out: for means and probes."""
        questions = self.split("train_compared").one_per_unit(seed=seed, without=without)
        return questions.take(~torch.from_numpy(self.is_ood.ravel())[questions.unit])

    @property
    def unit_facts(self) -> Mapping[str, str]:
        """Questions are clustered by their first fact; what concerns `value_2` by the second."""
        return {VALUES[1]: "fact_2"}

    @property
    def pair_recipe(self) -> Mapping[str, str]:
        """What pairs keep: the task's key."""
        return {"task": self.key}

    def fact_status(self, queries: Queries) -> Int[Tensor, " query"]:
        """Which of the two facts are OOD: 1 for the first, 2 for the second, 3 for both."""
        refuse(queries_problems(queries=queries))
        facts = np.stack([column.numpy() for column in queries.facts.values()], 1)
        return torch.from_numpy(status_codes(self.is_ood.ravel(), facts))

    def donors(self, *, intermediate: str, second_hop: str, seed: int) -> QuestionDonors:
        """Finds questions that compare another entity, see `QuestionDonors`; its fact is ID.

        Args:
            intermediate: `"value_1"` (another e1) or `"value_2"` (another e2).
            second_hop: the status of the other fact, which donor and question share: `"ID"` or `"OOD"`. Questions whose
                other fact has another status find no donor.
            seed: of the choice.

        Raises:
            KeyError: if there is no such intermediate.
            ValueError: for another status or seed.
        """
        problems = choice_problems(second_hop=(second_hop, ("ID", "OOD"))) + seed_problems(seed)
        refuse(problems, unknown=_unknown(intermediate))
        pairs = all_comparisons(self.n_attributes, self.n_entities)
        pairs = np.concatenate([pairs, mirrored(pairs)])
        place = VALUES.index(intermediate)
        is_ood = self.is_ood.ravel()[pairs]
        pairs = pairs[~is_ood[:, place] & (is_ood[:, 1 - place] == (second_hop == "OOD"))]
        codes = np.array([self.values.size, 1])
        is_trained = torch.from_numpy(np.isin(pairs @ codes, self.trained @ codes))
        rng = np.random.default_rng(seed)
        return QuestionDonors(self._compared(pairs, "donors"), is_trained, (f"e{place + 1}",), intermediate, rng)

    def n_values(self, intermediate: str) -> int:
        """How many values an intermediate can have; they are the first tokens.

        Raises:
            KeyError: if the task has no such intermediate.
        """
        refuse([], unknown=_unknown(intermediate))
        return self.n_levels

    @property
    def settings(self) -> Settings:
        """What a saved run says of the task next to its arrays."""
        return settings_of(self._parts)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Values and splits, in 16-bit integers if they fit."""
        return arrays_of(self._parts)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], settings: Settings) -> "ComparisonTask":
        """Read back what `to_arrays` and `settings` gave.

        Raises:
            ValueError: if they are no comparisons; all that is missing or wrong is named.
        """
        parts = parts_from(arrays, settings)
        return cls(**{each.name: getattr(parts, each.name) for each in fields(cls)})

    @property
    def _parts(self) -> ComparisonParts:
        return ComparisonParts(**{each.name: getattr(self, each.name) for each in fields(self)})

    def _compared(self, pairs: Comparisons, split: str) -> Queries:
        return compared_queries(self.values, self.n_levels, pairs, split)


def _unknown(intermediate: Any) -> list[str]:
    """Why there is no such intermediate."""
    if is_one_of(intermediate, VALUES):
        return []
    return [f"no intermediate {shortly(intermediate)}; comparisons have {' and '.join(map(repr, VALUES))}"]
