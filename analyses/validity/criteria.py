"""The 28 criteria by which a claim about a mechanism is audited, and what levels and tiers ask of them.

They are those of Mechanistic Validity (2026, mechanistic-validity.github.io), in our words. It names criteria, levels and
tiers and no evaluation; each threshold here is ours, and stands in the row that it decides. Which criteria a level rests on
is ours, too: the source names the levels alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

KINDS = {
    "C": "construct",
    "I": "internal",
    "E": "external",
    "M": "measurement",
    "V": "interpretation",
}
"""By the letter of a criterion, its kind of validity."""


@dataclass(frozen=True)
class Criterion:
    """One of the 28.

    Attributes:
        code: letter of its kind and number.
        name: in two or three words.
        asks: what must be so.
    """

    code: str
    name: str
    asks: str

    @property
    def kind(self) -> str:
        """Of validity, in a word."""
        return KINDS[self.code[0]]


CRITERIA: Mapping[str, Criterion] = {
    code: Criterion(code, name, asks)
    for code, name, asks in (
        ("C1", "falsifiable", "a result named beforehand would have disconfirmed it"),
        ("C2", "weights agree", "the weights compose along the found edges more than elsewhere"),
        ("C3", "task-specific", "the circuit does not do unrelated tasks as well"),
        ("C4", "minimal", "each edge is needed"),
        ("C5", "convergent", "several independent instruments name the same edges"),
        ("I1", "necessary", "without it the answers fall, by two or more kinds of ablation"),
        ("I2", "sufficient", "alone it keeps the answers, more than random circuits of its size"),
        ("I3", "specific", "a control variable stays where the causal one is moved"),
        ("I4", "consistent", "it is the same over prompts, methods and seeds"),
        ("I5", "not collateral", "the loss is not that of taking out any edges"),
        ("I6", "no rival", "no other set of edges of its size is as faithful"),
        ("E1", "reached", "the state after the intervention decodes as intended"),
        ("E2", "graded", "the effect grows with the dose, with a threshold and a plateau"),
        ("E3", "on task", "at equal strength the task suffers more than other tasks"),
        ("E4", "size told", "the effect is told in absolute units, with an interval"),
        ("E5", "robust", "it holds on other questions of the task"),
        ("E6", "general", "it holds in another architecture"),
        ("M1", "reliable", "halves of the data give the same effects"),
        ("M2", "invariant", "rewriting the weights without changing the function moves nothing"),
        ("M3", "beyond baselines", "random vectors and an untrained model do not do it"),
        ("M4", "finds what is planted", "where the circuit is known, the instrument finds it"),
        ("M5", "calibrated", "floor and ceiling of the measure are known"),
        ("M6", "on target", "what is measured is the answer, not a proxy of it"),
        ("V1", "level declared", "it is said at which level the claim is made"),
        ("V2", "evidence suffices", "all that this level rests on has a number with its n"),
        ("V3", "prose agrees", "the sentences say the numbers of the table"),
        ("V4", "alternatives", "other explanations were measured"),
        ("V5", "scope told", "it is said for what models, questions and n it holds"),
    )
}
"""By code, in order."""

_FUNCTIONAL = ("E4", "M5")
_CAUSAL = (*_FUNCTIONAL, "I1", "I2", "I3")
LEVELS: Mapping[str, tuple[str, ...]] = {
    "functional": _FUNCTIONAL,
    "representational": (*_FUNCTIONAL, "E1", "M3"),
    "causal": _CAUSAL,
    "structural": (*_CAUSAL, "C2", "C4", "I6"),
    "transportable": (*_CAUSAL, "E5", "E6", "M2"),
}
"""By level, from the weakest to the strongest, the criteria that must be met for a claim to be made at it."""

_SUGGESTIVE = ("I1", "E4", "V1")
_SUPPORTED = (*_SUGGESTIVE, "I2", "I3", "I4", "M1", "M5")
TIERS: Mapping[str, tuple[str, ...]] = {
    "proposed": (),
    "causally suggestive": _SUGGESTIVE,
    "mechanistically supported": _SUPPORTED,
    "triangulated": (*_SUPPORTED, "C5"),
    "validated": tuple(CRITERIA),
}
"""By tier, from the lowest, what must be met; the last asks for all criteria of all five kinds."""
