"""What an intervention is measured by: one number for each query, with its unit and its direction."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...circuits.arguments import flag_problems, refuse
from ...circuits.plain_text import named, one_line, shortened

AnyMetric = Callable[..., Tensor]
"""A `Metric`, or a plain function of the same arguments whose unit nobody declared."""

Logits = Float[Tensor, "query d_vocab"]
Tokens = Int[Tensor, " query"]
Numbers = Float[Tensor, " query"]


@dataclass(frozen=True)
class Metric:
    """A function of logits, answers and foils, and what its numbers mean. It is called as the function is.

    Attributes:
        measure: logits [query, d_vocab] at the answer position, answers [query] and foils [query] to one number for each
            query; a metric that compares with the clean run gets its logits [query, d_vocab] as a fourth argument. Logits
            come in double precision. Truth values and whole numbers are taken as they are: true is 1.
        name: what results call it; by default the function's name.
        unit: such as `nats` or `probability`; empty if nobody said, then labels say "units of NAME".
        higher_is_better: whether a larger number means a better answer; None if nobody said.
        reference: `"clean"` if it compares with the clean run of the same model on the same rows.
        reads: `"two"` if only the logits of answer and foil matter. It then gets only these, as a vocabulary of two tokens,
            which saves the conversion of all others.

    >>> Metric(lambda logits, answers, foils: logits.amax(-1), name="largest", unit="nats").name
    'largest'
    """

    measure: AnyMetric
    name: str = ""
    unit: str = ""
    higher_is_better: bool | None = None
    reference: Literal["", "clean"] = ""
    reads: Literal["all", "two"] = "all"

    def __post_init__(self) -> None:
        wrong = {name: given for name in ("name", "unit") if not isinstance(given := getattr(self, name), str)}
        problems = [f"a metric's {name} is a text, got {given!r}" for name, given in wrong.items()]
        if not callable(self.measure):
            problems.append(f"a metric's measure is a function of logits, answers and foils, got {self.measure!r}")
        if self.reference not in ("", "clean"):
            problems.append(f"a metric's reference is 'clean' or nothing, got {self.reference!r}")
        if self.reads not in ("all", "two"):
            problems.append(f"a metric reads 'all' logits or 'two', got {self.reads!r}")
        if self.higher_is_better is not None:
            problems += flag_problems(higher_is_better=self.higher_is_better)
        refuse(problems)
        object.__setattr__(self, "name", self.name or _name_of(self.measure))

    @one_line
    def __repr__(self) -> Iterator[str]:
        yield named(self.name)
        yield shortened(self.unit) or "no unit"
        yield {True: "higher is better", False: "lower is better", None: ""}[self.higher_is_better]
        yield f"compared with the {self.reference} run" if self.reference else ""

    def __call__(self, logits: Tensor, answers: Tensor, foils: Tensor, *clean: Tensor) -> Tensor:
        """One number for each query."""
        return self.measure(logits, answers, foils, *clean)


def as_metric(metric: AnyMetric) -> Metric:
    """The metric itself, or a plain function as one that declares nothing but its name."""
    return metric if isinstance(metric, Metric) else Metric(metric)


def _name_of(function: AnyMetric) -> str:
    """The function's name; of a partial one that of the whole, of an object with a call that of its class."""
    inner = getattr(function, "func", function)
    return getattr(inner, "__name__", type(inner).__name__)


def _picked(values: Logits, tokens: Tokens) -> Numbers:
    return values.gather(-1, tokens[:, None])[:, 0]


def _logit_difference(logits: Logits, answers: Tokens, foils: Tokens) -> Numbers:
    return _picked(logits, answers) - _picked(logits, foils)


def _cross_entropy(logits: Logits, answers: Tokens, foils: Tokens) -> Numbers:
    return torch.nn.functional.cross_entropy(logits, answers, reduction="none")


def _answer_probability(logits: Logits, answers: Tokens, foils: Tokens) -> Numbers:
    return _picked(logits.softmax(-1), answers)


def _probability_difference(logits: Logits, answers: Tokens, foils: Tokens) -> Numbers:
    return _logit_difference(logits.softmax(-1), answers, foils)


def _kl_to_clean(logits: Logits, answers: Tokens, foils: Tokens, clean: Logits) -> Numbers:
    expected, found = clean.log_softmax(-1), logits.log_softmax(-1)
    return torch.where(expected.isneginf(), 0.0, expected.exp() * (expected - found)).sum(-1)  # 0 log 0 is 0


def _exact_match(logits: Logits, answers: Tokens, foils: Tokens) -> Bool[Tensor, " query"]:
    others = logits.scatter(-1, answers[:, None], -torch.inf)
    return _picked(logits, answers) > others.amax(-1)


logit_difference = Metric(_logit_difference, "logit_difference", "nats", higher_is_better=True, reads="two")
"""How much the answer is preferred to the foil: logit(answer) − logit(foil), in nats."""
cross_entropy = Metric(_cross_entropy, "cross_entropy", "nats", higher_is_better=False)
"""−log p(answer), in nats, whatever the foils."""
answer_probability = Metric(_answer_probability, "answer_probability", "probability", higher_is_better=True)
"""p(answer), whatever the foils."""
probability_difference = Metric(_probability_difference, "probability_difference", "probability", higher_is_better=True)
"""p(answer) − p(foil)."""
kl_to_clean = Metric(_kl_to_clean, "kl_to_clean", "nats", higher_is_better=False, reference="clean")
"""Kullback–Leibler divergence Σ p log(p / p′) of the found distribution p′ from the clean run's p, in nats; 0 on the clean
prompts, where it has no gradient: estimate effects with `eap_ig_inputs`, or measure them exactly."""
exact_match = Metric(_exact_match, "exact_match", "accuracy", higher_is_better=True)
"""1 where the answer is the most likely token, else 0; a tie counts against the answer. It has no gradient."""
