"""How far the paths of two trainings are apart, by three measures that do not rest on how heads and neurons are written.

- `where` the answer's information is: the distance of two state profiles, on prompt pairs that all models answer;
- `what` is held there: the share of answers that one model's bridge direction moves and the other's, mapped, does not;
- `how much` depends on it: the distance of two evidence profiles, at the positions where the bridge can be.

Each measure is also taken of something that is different by construction, from the same models: a model on prompt pairs that
differ in the last relation instead of the bridge; the direction under a map that was fitted to shuffled bridges; the
evidence against its controls. A measure that does not see these differences cannot say that two models are the same.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd

from ...circuits import Result
from ...circuits.arguments import choice_problems, common_problems, refuse
from ...circuits.columns import Columns
from ...circuits.conditions import AGAIN, Couple
from ...circuits.explanation import Explanation
from ...circuits.plain_text import counted
from ...circuits.progress import with_bar
from ...circuits.units import fixed
from ...tasks import PromptPairs, Task, two_hop
from ...tasks.questions.pairing import pairs_up_to
from ...tasks.transformerlens import Model
from ..bridge.evidence import EvidenceResult
from ..bridge.verdicts import bridge_roles
from .compared import as_couples, compared_problems, models_problems
from .direction_transfer import DirectionTransferResult, content_distance, direction_transfers
from .evidence_profile import evidence_profile
from .profile import Profile
from .profile_distance import profile_distance
from .state_profile import state_profile

MARGINS: Mapping[str, float] = {"where": 0.1, "what": 0.3, "how much": 0.2}
"""The largest distance that counts as none: for `where` a share of the gap, else a share of questions."""
RESOLUTIONS: Mapping[str, float] = {"where": 0.01, "what": 0.01, "how much": 0.03}
"""About what three questions make of those that a measure rests on: 256 pairs, 260 questions, 100 facts. Smaller distances
count as this."""
MIN_PAIRS = 50  # fewer say little about states or circuits
TRAININGS, KNOWN = "trainings", "known different"
N_NAMED = 2  # couples whose distances stand in the caption
Found = tuple[float, str]
"""A distance, and why it is NaN, if it is."""


@dataclass(frozen=True, eq=False)
class PathDistances(Result):
    """Distances between trainings on one graph.

    Attributes:
        table: a row for each measure (`where`, `what`, `how much`), kind and couple, with
            kind: `trainings`, or `known different` for what is different by construction in the models a and b (one model
            twice, where that needs only one);
            a, b: the trainings; a replicate of `taught` is called `taught again`;
            distance: in the measure's unit, see `MARGINS`; NaN if there is none, and then
            reason: why.
        split: of the questions.
        n_pairs: prompt pairs that all models answer, of n_asked.
        n_asked: prompt pairs that were made.
    """

    table: Annotated[pd.DataFrame, Columns(words="measure kind a b reason", numbers="distance")]
    split: str
    n_pairs: int
    n_asked: int

    @property
    def caption(self) -> str:
        """The distances of the first couples, split and n in one line."""
        n_models = len(set(self.table["a"]) | set(self.table["b"]))
        sizes = f"{n_models} trainings · {self.split} · n = {self.n_pairs} of {self.n_asked} pairs answered by all"
        said = self._in_words()
        left = f"; {len(said) - N_NAMED} more" if len(said) > N_NAMED else ""
        return " · ".join([f"{'; '.join(said[:N_NAMED])}{left}, without intervals"] * bool(said) + [sizes])

    def _in_words(self) -> list[str]:
        """Each couple of trainings with its distances; undefined where there is none."""
        rows = self.table[self.table["kind"] == TRAININGS]
        return [
            f"{a} / {b}: "
            + ", ".join(
                f"{measure} {'undefined' if np.isnan(distance) else fixed(distance, 3)}"
                for measure, distance in zip(of["measure"], of["distance"], strict=True)
            )
            for (a, b), of in rows.groupby(["a", "b"], sort=False)
        ]

    def explain(self) -> Explanation:
        """How far the first couple is apart, next to the margins and to what is different by construction."""
        said, measures = self._in_words(), tuple(dict.fromkeys(self.table["measure"]))
        undefined = self.table.loc[self.table["distance"].isna(), "reason"]
        margins = ", ".join(f"{MARGINS[measure]:g} ({measure})" for measure in measures if measure in MARGINS)
        known = self.table[self.table["kind"] == KNOWN].dropna(subset="distance").groupby("measure", sort=False)["distance"]
        why = next((f" ({reason})" for reason in undefined if reason), "")
        without = f" Rows without a distance: {len(undefined)}{why}." if len(undefined) else ""
        least = [f"{measure} {fixed(distance, 3)}" for measure, distance in known.min().items()]
        scale = f"0 is no difference, and up to {margins} counts as none" if margins else "0 is no difference"
        return Explanation(
            measured=f"The distance between two trainings by each measure: {', '.join(measures) or 'none'}.",
            on=f"{', '.join(dict.fromkeys([*self.table['a'], *self.table['b']]))}, on {self.split}, with {self.n_pairs} of "
            f"{counted(self.n_asked, 'prompt pair')}, which all of them answer.",
            means=f"{said[0]}; {scale}." if said else "Nothing: no couple of trainings was measured.",
            sure=f"No interval was computed; n = {self.n_pairs} prompt pairs. The least distance of what is different by "
            f"construction: {', '.join(least) or 'not measured'}.",
            would_change=f"Several graphs with replicates, over which equivalence decides.{without}",
        )

    def of(self, measure: str, kind: Literal["trainings", "known different"] = TRAININGS) -> dict[Couple, float]:
        """The distances of one measure by couple, without those that are NaN.

        Raises:
            ValueError: if there is no such measure or kind.
        """
        refuse(choice_problems(measure=(measure, tuple(MARGINS)), kind=(kind, (TRAININGS, KNOWN))))
        return self._by_couple.get((measure, kind), {})

    @cached_property
    def _by_couple(self) -> dict[tuple[str, str], dict[Couple, float]]:
        found: dict[tuple[str, str], dict[Couple, float]] = {}
        for row in self.table.dropna(subset="distance").to_dict("records"):
            found.setdefault((row["measure"], row["kind"]), {})[row["a"], row["b"]] = row["distance"]
        return found

    def missing(self, measure: str) -> dict[Couple, str]:
        """Why trainings have no distance, by couple.

        Raises:
            ValueError: if there is no such measure.
        """
        refuse(choice_problems(measure=(measure, tuple(MARGINS))))
        rows = self.table[(self.table["measure"] == measure) & (self.table["kind"] == TRAININGS)]
        rows = rows[rows["distance"].isna()]
        return dict(zip(zip(rows["a"], rows["b"], strict=True), rows["reason"], strict=True))


def couples_of(names: Collection[str], compared: Collection[Couple]) -> list[Couple]:
    """All couples of trainings that are needed: across the compared conditions, and replicates within each.

    Args:
        names: of the trainings that there are.
        compared: couples of conditions.
    """
    across = [(a, b) for one, other in compared for a in trainings_of(names, one) for b in trainings_of(names, other)]
    conditions = dict.fromkeys(name for couple in compared for name in couple)
    within = [couple for name in conditions for couple in combinations(trainings_of(names, name), 2)]
    return list(dict.fromkeys([*across, *within]))


def path_distances(
    models: Mapping[str, Model],
    task: Task,
    split: str,
    *,
    evidence: Mapping[str, EvidenceResult],
    compared: Couple | Collection[Couple],
    n_pairs: int = 256,
    n_questions: int = 256,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> PathDistances:
    """Measure how far trainings on one graph are apart.

    Example:
        run = tasks.load_study("pilot").runs["natural"]
        models = {"early": run.checkpoint("id_generalised").model(), "grokked": run.checkpoint("grokked").model()}
        questions = (run.task, "test_inferred_iid")
        evidence = {name: analyses.bridge_evidence(model, *questions) for name, model in models.items()}
        analyses.path_distances(models, *questions, evidence=evidence, compared=("early", "grokked"))

    Args:
        models: by name; none is changed. The replicate of `taught` is called `taught again`.
        task: two-hop questions that all of them can be asked.
        split: of the questions.
        evidence: on the bridge of each model, by the same names, see `bridge_evidence`.
        compared: a couple of names, without ` again`, or several: what is compared, with all replicates that there are.
        n_pairs: prompt pairs asked for, at most; those that all models answer are used.
        n_questions: for the transfer of directions, at most.
        max_memory: bytes that may be used; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of pairs, questions, halves and resampling.

    Raises:
        ValueError: if names are no text, a model lacks evidence, or something is compared that is no couple of these
            models; all problems at once.
    """
    given = common_problems(n_pairs=n_pairs, n_questions=n_questions, split=split)
    given += common_problems(max_memory=max_memory, progress=progress, seed=seed)
    refuse(given + models_problems(models, evidence) + compared_problems(models, compared))
    couples = couples_of(models, as_couples(compared))
    setting: dict[str, Any] = {"max_memory": max_memory, "seed": seed}
    asked, pairs = answered_pairs(models, task, split, "bridge", n_pairs, seed)
    others = answered_pairs(models, task, split, "relation_2", n_pairs, seed)[1]
    profiles, elsewhere = (_profiles(models, each, progress=progress, **setting) for each in (pairs, others))
    amounts = {name: _amounts(evidence[name], model) for name, model in models.items()}
    controls = {name: _amounts(_of_controls(evidence[name]), model) for name, model in models.items()}
    ways = [way for a, b in couples for way in ((a, b), (b, a))]
    transfers = direction_transfers(models, ways, task, split, n=n_questions, progress=progress, **setting)
    table = pd.DataFrame(
        [
            *_by_profile("where", profiles, elsewhere, couples, f"needed are {MIN_PAIRS} pairs that all models answer"),
            *_by_direction(transfers, couples),
            *_by_profile("how much", amounts, controls, couples, ""),
        ]
    )
    return PathDistances(table, split, len(pairs), len(asked))


def _amounts(evidence: EvidenceResult, model: Model) -> Profile:
    """How much is used where a model can make the bridge, of the positions that its questions have."""
    there = set(evidence.table["role"])
    return evidence_profile(evidence, [role for role in bridge_roles(model) if role in there])


def answered_pairs(
    models: Mapping[str, Model], task: Task, split: str, contrast: str, n: int, seed: int
) -> tuple[PromptPairs, PromptPairs]:
    """Prompt pairs of a contrast, and those that all models answer."""
    asked = pairs_up_to(two_hop(task), split=split, contrast=contrast, n=n, seed=seed)
    return asked, asked.keep_correct(*models.values())


def _profiles(models: Mapping[str, Model], pairs: PromptPairs, *, progress: bool, **setting: Any) -> dict[str, Profile]:
    """State profiles by model; none if there are too few pairs."""
    if len(pairs) < MIN_PAIRS:
        return {}
    shown = with_bar(models.items(), "patching states", show=progress)
    return {name: state_profile(model, pairs, progress=False, **setting) for name, model in shown}


def _of_controls(evidence: EvidenceResult) -> EvidenceResult:
    """The evidence with each value replaced by its control."""
    measures = evidence.measures
    return replace(evidence, measures=measures.assign(value=measures["control"]) if len(measures) else measures)


def _by_profile(
    measure: str, profiles: Mapping[str, Profile], known: Mapping[str, Profile], couples: list[Couple], lacking: str
) -> Iterator[dict[str, Any]]:
    """The distances of profiles, and of each model's profile from the one that is known to be different."""
    for a, b in couples:
        yield _row(measure, TRAININGS, a, b, _profile_distance(profiles, profiles, a, b, lacking))
    for name in dict.fromkeys(name for couple in couples for name in couple):
        yield _row(measure, KNOWN, name, name, _profile_distance(profiles, known, name, name, lacking))


def _profile_distance(first: Mapping[str, Profile], second: Mapping[str, Profile], a: str, b: str, lacking: str) -> Found:
    if a not in first or b not in second:
        return float("nan"), lacking
    undefined = [f"{each.model}: {each.reason or 'undefined values'}" for each in (first[a], second[b]) if _holes(each)]
    if undefined:
        return float("nan"), "; ".join(dict.fromkeys(undefined))
    return profile_distance(first[a], second[b]).value, ""


def _holes(profile: Profile) -> bool:
    return bool(np.isnan(profile.matrix).any())


def _by_direction(
    transfers: Mapping[Couple, DirectionTransferResult], couples: Collection[Couple]
) -> Iterator[dict[str, Any]]:
    """What is lost of both models' directions, and what is lost under a map fitted to shuffled values."""
    for a, b in couples:
        both = transfers[a, b], transfers[b, a]
        reason = "; ".join(dict.fromkeys(each.reason for each in both if each.reason))
        yield _row("what", TRAININGS, a, b, (content_distance(*both), reason))
        yield _row("what", KNOWN, a, b, (float("nan") if reason else max(map(_lost_to_null, both)), reason))


def _lost_to_null(result: DirectionTransferResult) -> float:
    """The share of answers that the model's direction moves and the shuffled map's does not."""
    value = result.table.set_index("measure")["value"]
    return max(0.0, float(value["own"] - value["null"]))


def _row(measure: str, kind: str, a: str, b: str, found: Found) -> dict[str, Any]:
    return {"measure": measure, "kind": kind, "a": a, "b": b, "distance": found[0], "reason": found[1]}


def trainings_of(names: Collection[str], condition: str) -> list[str]:
    """The names of a condition's trainings, of those that there are."""
    return [name for name in (condition, condition + AGAIN) if name in names]
