"""The shape of a model."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from ...circuits.arguments import choice_problems, flag_problems, make_native, refuse, whole_problems, with_changes
from ...circuits.plain_text import never_raising
from ..printing import as_call

PRESETS = ("tiny", "small", "small_bidirectional", "paper")
STATE, STATE_AND_TOKEN = "state", "state and token"
LEARNED, ROTARY = "learned", "rotary"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a pre-LayerNorm transformer with learned positions.

    Attributes:
        d_model: width of the residual stream.
        n_heads: attention heads of a block; they share d_model evenly.
        n_blocks: blocks with separate weights.
        n_loops: how often the blocks are applied; above 1 their parameters are tied across loops.
        mlp_ratio: hidden width of the MLP in units of d_model.
        tie_embeddings: train with the unembedding equal to the transposed embedding.
        bidirectional: let every position see every other; needs prompts of one length.
        carries: what one loop hands to the next, `"state"`, or `"state and token"`: then the embedding of what the head
            decodes is added to the state at each position, see `token_channel`.
        positions: `"learned"`, an embedding for each, or `"rotary"`: queries and keys are turned by how far they are apart,
            so that prompts can be asked that are longer than trained ones.
    """

    d_model: int
    n_heads: int
    n_blocks: int
    n_loops: int
    mlp_ratio: int = 4
    tie_embeddings: bool = True
    bidirectional: bool = False
    carries: Literal["state", "state and token"] = "state"
    positions: Literal["learned", "rotary"] = "learned"
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # of saved ones

    def __post_init__(self) -> None:
        make_native(self)
        sizes = {name: getattr(self, name) for name in ("d_model", "n_heads", "n_blocks", "n_loops", "mlp_ratio")}
        problems = whole_problems(1, **sizes)
        if not problems and self.d_model % self.n_heads:
            problems.append(f"d_model={self.d_model} cannot be shared evenly by n_heads={self.n_heads}")
        problems += flag_problems(tie_embeddings=self.tie_embeddings, bidirectional=self.bidirectional)
        choices = {"carries": (self.carries, (STATE, STATE_AND_TOKEN)), "positions": (self.positions, (LEARNED, ROTARY))}
        if not problems and self.positions == ROTARY and (self.d_model // self.n_heads) % 2:
            problems.append(
                f"rotary positions turn halves of a head, and d_model / n_heads is {self.d_model // self.n_heads}"
            )
        refuse(problems + choice_problems(**choices))

    @never_raising
    def __repr__(self) -> str:
        return as_call(self, PRESETS)

    @classmethod
    def tiny(cls, **changes: Any) -> "ModelConfig":
        """For tests: one narrow block, twice; keyword arguments replace single settings, here as in every preset."""
        return cls(**with_changes(cls, {"d_model": 32, "n_heads": 2, "n_blocks": 1, "n_loops": 2}, changes))

    @classmethod
    def small(cls, **changes: Any) -> "ModelConfig":
        """One block of width 128 with one head, four times: generalises to OOD compositions on two cores."""
        return cls(**with_changes(cls, {"d_model": 128, "n_heads": 1, "n_blocks": 1, "n_loops": 4}, changes))

    @classmethod
    def small_bidirectional(cls, **changes: Any) -> "ModelConfig":
        """As `small`, with four heads that see every position, for a task in the layout `"slots"`."""
        settings = {"d_model": 128, "n_heads": 4, "n_blocks": 1, "n_loops": 4, "bidirectional": True}
        return cls(**with_changes(cls, settings, changes))

    @classmethod
    def paper(cls, **changes: Any) -> "ModelConfig":
        """Of the width and depth of He et al. 2026, section 3: two blocks of width 1,536, seven times, bidirectional.

        Theirs mixes positions by an MLP and injects the input into every loop; this one attends, with their 8 heads.
        """
        settings = {"d_model": 1536, "n_heads": 8, "n_blocks": 2, "n_loops": 7}
        settings |= {"bidirectional": True, "tie_embeddings": False}
        return cls(**with_changes(cls, settings, changes))

    @property
    def period(self) -> int:
        """After how many unrolled layers the same parameters come again: the blocks and, between loops, the channel."""
        return self.n_blocks + (self.carries == STATE_AND_TOKEN)

    @property
    def n_layers(self) -> int:
        """Unrolled layers: blocks times loops, and a channel between each two loops if the token is carried."""
        return self.period * self.n_loops - (self.period - self.n_blocks)

    @property
    def channels(self) -> range:
        """Which of the unrolled layers carry the token."""
        return range(self.n_blocks, self.n_layers if self.period > self.n_blocks else 0, self.period)

    @property
    def architecture(self) -> str:
        """Blocks, loops, what attention sees and what loops carry, for labels."""
        blocks = "1 block" if self.n_blocks == 1 else f"{self.n_blocks} blocks"
        carried = ", carrying the token" if self.carries == STATE_AND_TOKEN else ""
        return f"{blocks} × {self.n_loops}" + (", bidirectional" if self.bidirectional else "") + carried
