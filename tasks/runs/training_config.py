"""How a run is trained.

Here and not with the training that follows it, since a saved run holds its config and must be readable without training.
"""

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, ConfigDict

from ...circuits.arguments import (
    MOST_REPEATS,
    choice_problems,
    flag_problems,
    make_native,
    number_problems,
    refuse,
    seed_problems,
    shortly,
    whole_problems,
    with_changes,
)
from ...circuits.plain_text import never_raising
from ..printing import as_call
from .phases import PHASES

PRESETS = ("tiny", "small", "small_bidirectional", "small_trm", "paper")
STOPS = PHASES[:-1]  # every run ends at the final step
MOST_STEPS = 1_000_000_000  # a thousand times the published ones
MOST_EXAMPLES = 10_000_000  # of a step
INFINITE = "infinite"
"""What files say of `math.inf`, which JSON does not know."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of AdamW training with an exponential moving average (EMA) of the weights.

    Attributes:
        max_steps: stop after this many steps at the latest.
        stop_at: stop as soon as this phase is confirmed; None trains to max_steps.
        batch_size: examples in a step, atomic and two-hop mixed as they occur.
        examples_per_prefix: a batch is made of random groups of this many examples that are neighbours when sorted by
            their first two tokens, so that most groups share them; 1 means independent examples. Larger groups make a step
            cheaper, since a prefix is computed once.
        learning_rate: after `warmup_steps` of linear warm-up, constant.
        betas: AdamW's.
        weight_decay: on matrices, none on biases and norms; on all of a token-mixing network.
        label_smoothing: of the cross-entropy.
        warmup_steps: see learning_rate.
        clip_norm: the gradient's largest norm; `math.inf` turns clipping off.
        ema: decay of the weight average that is evaluated and saved; 0 means the raw weights. The first steps use
            the smaller (1 + step) / (10 + step), so that the random start is soon forgotten.
        bfloat16: run the forward pass in bfloat16 autocast.
        evaluate_every: steps between evaluations.
        n_checkpoints: the number of log-spaced steps whose weights are saved, in addition to those of phases.
        seed: of initial weights and batches; not the task's seed.
    """

    max_steps: int
    stop_at: str | None = None
    batch_size: int = 640
    examples_per_prefix: int = 1
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.2
    label_smoothing: float = 0.1
    warmup_steps: int = 200
    clip_norm: Annotated[float, BeforeValidator(lambda given: math.inf if given == INFINITE else given)] = 1.0
    ema: float = 0.999
    bfloat16: bool = True
    evaluate_every: int = 100
    n_checkpoints: int = 10
    seed: int = 0
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # of saved ones

    def __post_init__(self) -> None:
        make_native(self)
        object.__setattr__(self, "betas", tuple(self.betas) if isinstance(self.betas, list) else self.betas)
        steps = whole_problems(1, most=MOST_STEPS, max_steps=self.max_steps, evaluate_every=self.evaluate_every)
        if not steps and self.max_steps // self.evaluate_every > MOST_REPEATS:
            steps = [
                f"max_steps={self.max_steps} and evaluate_every={self.evaluate_every} ask for "
                f"{self.max_steps // self.evaluate_every:,} evaluations, at most {MOST_REPEATS:,} can be kept"
            ]
        refuse(steps + self._problems())

    @never_raising
    def __repr__(self) -> str:
        return as_call(self, PRESETS, changeable=True)

    def _problems(self) -> list[str]:
        """What is wrong with the settings that say how a step is taken and what is kept."""
        sizes = {"batch_size": self.batch_size, "examples_per_prefix": self.examples_per_prefix}
        problems = whole_problems(1, most=MOST_EXAMPLES, **sizes)
        problems += whole_problems(0, most=MOST_STEPS, warmup_steps=self.warmup_steps)
        problems += whole_problems(0, most=MOST_REPEATS, n_checkpoints=self.n_checkpoints)
        problems += number_problems(0, above=True, learning_rate=self.learning_rate)
        if self.clip_norm != math.inf:
            problems += number_problems(0, above=True, clip_norm=self.clip_norm)
        problems += number_problems(0, weight_decay=self.weight_decay)
        problems += number_problems(0, most=1, label_smoothing=self.label_smoothing)
        problems += number_problems(0, most=1, below=True, ema=self.ema)
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            problems.append(f"betas are two decays, as in (0.9, 0.98), got {shortly(self.betas)}")
        else:
            wrong = [beta for beta in self.betas if number_problems(0, most=1, below=True, beta=beta)]
            problems += [f"betas are two decays, at least 0 and below 1, got {self.betas}"] if wrong else []
        if self.stop_at is not None:
            problems += choice_problems(stop_at=(self.stop_at, STOPS))
        return problems + flag_problems(bfloat16=self.bfloat16) + seed_problems(self.seed)

    @property
    def settings(self) -> dict[str, Any]:
        """All attributes as JSON values, as runs save them."""
        return {name: INFINITE if value == math.inf else value for name, value in asdict(self).items()}

    @classmethod
    def small(cls, **changes: Any) -> "TrainConfig":
        """What makes `ModelConfig.small()` generalise; keyword arguments replace single settings."""
        settings: dict[str, Any] = {"max_steps": 20_000, "learning_rate": 2e-3, "examples_per_prefix": 4}
        return cls(**with_changes(cls, settings, changes))

    @classmethod
    def small_bidirectional(cls, **changes: Any) -> "TrainConfig":
        """What makes `ModelConfig.small_bidirectional()` generalise; keyword arguments replace single settings."""
        settings: dict[str, Any] = {"max_steps": 15_000, "learning_rate": 2e-3, "batch_size": 512}
        return cls(**with_changes(cls, settings, changes))

    @classmethod
    def small_trm(cls, **changes: Any) -> "TrainConfig":
        """What makes `TRMConfig.small()` generalise; keyword arguments replace single settings."""
        settings: dict[str, Any] = {"max_steps": 15_000, "learning_rate": 4e-3, "batch_size": 512, "betas": (0.9, 0.95)}
        return cls(**with_changes(cls, settings | {"weight_decay": 0.5}, changes))

    @classmethod
    def paper(cls, **changes: Any) -> "TrainConfig":
        """As He et al. 2026 train, code: AdamW 4e-5, weight decay 1, batches of 512, 1.5 million steps.

        Their stablemax loss and decay of biases are not followed.
        """
        settings: dict[str, Any] = {"max_steps": 1_500_000, "batch_size": 512, "learning_rate": 4e-5, "betas": (0.9, 0.95)}
        settings |= {"weight_decay": 1.0, "label_smoothing": 0.0, "warmup_steps": 2000, "evaluate_every": 5000}
        return cls(**with_changes(cls, settings, changes))

    @classmethod
    def tiny(cls, **changes: Any) -> "TrainConfig":
        """For tests: a few hundred quick steps; keyword arguments replace single settings."""
        settings: dict[str, Any] = {"max_steps": 300, "batch_size": 256, "warmup_steps": 20, "evaluate_every": 50}
        return cls(**with_changes(cls, settings, changes))

    @property
    def evaluation_steps(self) -> list[int]:
        """The steps after which accuracies are measured: regular ones and the last."""
        return sorted({*range(self.evaluate_every, self.max_steps + 1, self.evaluate_every), self.max_steps})

    @property
    def checkpoint_steps(self) -> set[int]:
        """The evaluation steps nearest to `n_checkpoints` log-spaced ones."""
        if self.n_checkpoints == 0:
            return set()
        steps = self.evaluation_steps
        ratio = steps[-1] / steps[0]
        wanted = [steps[0] * ratio ** (i / max(1, self.n_checkpoints - 1)) for i in range(self.n_checkpoints)]
        return {min(steps, key=lambda step: abs(step - target)) for target in wanted}
