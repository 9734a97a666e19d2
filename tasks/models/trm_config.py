"""The shape of a recursive network that mixes positions by an MLP, without attention."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from ...circuits.arguments import (
    choice_problems,
    flag_problems,
    make_native,
    number_problems,
    refuse,
    whole_problems,
    with_changes,
)
from ...circuits.plain_text import never_raising
from ..printing import as_call

PRESETS = ("tiny", "small", "published")
NORMS = ("positions", "channels")


@dataclass(frozen=True, kw_only=True)
class TRMConfig:
    """The shape of a tiny recursive model with token mixing.

    Jolicoeur-Martineau 2025, arXiv 2510.04871, in the form of He et al. 2026, code.

    Two states are refined in turn by the same blocks F: l_cycles times z_L ← F(z_L + z_H + x), where x are the embedded
    tokens, then z_H ← F(z_H + z_L); all of that h_cycles times. The head reads z_H. A block is two gated MLPs, each followed
    by a norm without weights: the first mixes positions, the second channels. Prompts have to be of one length.

    Attributes:
        d_model: width of the states.
        d_mixer: hidden width of the MLP over positions.
        d_mlp: hidden width of the MLP over channels.
        n_blocks: blocks with separate weights, which F runs one after the other.
        h_cycles: how often z_H is refined.
        l_cycles: how often z_L is refined before z_H is.
        n_prefix: positions before the prompt that hold no token, the first a learned vector, the others zero.
        embedding_scale: root mean square of a fresh embedding; states have 1.
        mixer_norm: over what the norm after the first MLP goes, `"positions"`, as published, or `"channels"`. Over positions
            every position changes the scale of all others.
        last_cycle_only: in training, let gradients reach only the last cycle of z_H, as published.
        copy_loss: in training, ask for the tokens of the question, too, at their own positions, as published.
        halting: in training, predict from the first position whether all is right, as published; its loss counts half.
    """

    d_model: int
    d_mixer: int
    d_mlp: int
    n_blocks: int = 1
    h_cycles: int = 2
    l_cycles: int = 2
    n_prefix: int = 0
    embedding_scale: float = 0.2
    mixer_norm: Literal["positions", "channels"] = "positions"
    last_cycle_only: bool = False
    copy_loss: bool = False
    halting: bool = False
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # of saved ones

    def __post_init__(self) -> None:
        make_native(self)
        names = ("d_model", "d_mixer", "d_mlp", "n_blocks", "h_cycles", "l_cycles")
        problems = whole_problems(1, **{name: getattr(self, name) for name in names})
        problems += whole_problems(0, n_prefix=self.n_prefix) + number_problems(
            0, above=True, embedding_scale=self.embedding_scale
        )
        problems += choice_problems(mixer_norm=(self.mixer_norm, NORMS))
        flags = ("last_cycle_only", "copy_loss", "halting")
        refuse(problems + flag_problems(**{name: getattr(self, name) for name in flags}))

    @never_raising
    def __repr__(self) -> str:
        return as_call(self, PRESETS)

    @classmethod
    def tiny(cls, **changes: Any) -> "TRMConfig":
        """For tests: narrow, with one refinement of z_L before each of z_H; keyword arguments replace single settings."""
        return cls(**with_changes(cls, {"d_model": 32, "d_mixer": 8, "d_mlp": 64, "l_cycles": 1}, changes))

    @classmethod
    def small(cls, **changes: Any) -> "TRMConfig":
        """One block of width 128, applied six times: generalises to OOD compositions on one core."""
        return cls(**with_changes(cls, {"d_model": 128, "d_mixer": 32, "d_mlp": 344}, changes))

    @classmethod
    def published(cls, **changes: Any) -> "TRMConfig":
        """The sizes and losses of He et al. 2026, code: two blocks of width 1,536, in 28 applications.

        Their stablemax is not followed, and the token that ends an answer is no part of our tasks.
        """
        settings: dict[str, Any] = {"d_model": 1536, "d_mixer": 256, "d_mlp": 4096, "n_blocks": 2, "l_cycles": 6}
        settings |= {"n_prefix": 16, "embedding_scale": 1.0, "last_cycle_only": True, "copy_loss": True, "halting": True}
        return cls(**with_changes(cls, settings, changes))

    @property
    def n_refinements(self) -> int:
        """How often F is run."""
        return self.h_cycles * (self.l_cycles + 1)

    @property
    def n_layers(self) -> int:
        """Applications of a block."""
        return self.n_refinements * self.n_blocks

    @property
    def architecture(self) -> str:
        """Blocks and how often each is applied, for labels."""
        blocks = "1 block" if self.n_blocks == 1 else f"{self.n_blocks} blocks"
        return f"{blocks} × {self.n_refinements}, token mixing"
