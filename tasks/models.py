"""Small transformers, ordinary or with parameters shared over loops, as plain HookedTransformers.

With n_loops > 1 the same blocks run again: the very same Parameter objects sit in every loop, but each loop keeps its own
hook points, so that activations of different loops are told apart (Dehghani et al. 2019; Wang et al. 2024, appendix E.2).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens import HookedTransformer, HookedTransformerConfig

from .twohop import TwoHopTask


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a pre-LayerNorm transformer with learned positions.

    Attributes:
        d_model: width of the residual stream.
        n_heads: attention heads of a block; they share d_model evenly.
        n_blocks: blocks with weights of their own.
        n_loops: how often the blocks are applied; above 1 their parameters are tied across loops.
        mlp_ratio: hidden width of the MLP in units of d_model.
        tie_embeddings: train with the unembedding equal to the transposed embedding.
        bidirectional: let every position see every other; needs a task laid out in `"slots"`.
    """

    d_model: int
    n_heads: int
    n_blocks: int
    n_loops: int
    mlp_ratio: int = 4
    tie_embeddings: bool = True
    bidirectional: bool = False

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("d_model", "n_heads", "n_blocks", "n_loops", "mlp_ratio")}
        problems = [f"{name} must be at least 1, got {size}" for name, size in sizes.items() if size < 1]
        if not problems and self.d_model % self.n_heads:
            problems.append(f"d_model={self.d_model} cannot be shared evenly by n_heads={self.n_heads}")
        if problems:
            raise ValueError("; ".join(problems))

    @classmethod
    def tiny(cls) -> "ModelConfig":
        """For tests: one narrow block, twice."""
        return cls(d_model=32, n_heads=2, n_blocks=1, n_loops=2)

    @classmethod
    def small(cls) -> "ModelConfig":
        """One block of width 128 with one head, four times: generalises to OOD compositions on two cores."""
        return cls(d_model=128, n_heads=1, n_blocks=1, n_loops=4)

    @classmethod
    def small_bidirectional(cls) -> "ModelConfig":
        """As `small`, with four heads that see every position, for a task laid out in `"slots"`."""
        return cls(d_model=128, n_heads=4, n_blocks=1, n_loops=4, bidirectional=True)

    @classmethod
    def paper(cls) -> "ModelConfig":
        """Of the width and depth of He et al. 2026, section 3: two blocks of width 1,536, seven times, bidirectional.

        Theirs mixes positions by an MLP and injects the input into every loop; this one attends, with their 8 heads.
        """
        return cls(d_model=1536, n_heads=8, n_blocks=2, n_loops=7, bidirectional=True, tie_embeddings=False)

    @property
    def n_layers(self) -> int:
        """Unrolled layers: blocks times loops."""
        return self.n_blocks * self.n_loops

    @property
    def architecture(self) -> str:
        """Blocks, loops and what attention sees, for labels."""
        blocks = "1 block" if self.n_blocks == 1 else f"{self.n_blocks} blocks"
        return f"{blocks} × {self.n_loops}" + (", bidirectional" if self.bidirectional else "")


def build_model(config: ModelConfig, task: TwoHopTask, *, seed: int = 0, device: str = "cpu") -> HookedTransformer:
    """A freshly initialised model for a task.

    Matrices start normal with standard deviation 0.02, those that write into the residual stream start at zero.

    Args:
        config: the model's shape.
        task: gives vocabulary and prompt length.
        seed: of the initial weights; the global random state is neither used nor changed.
        device: where the parameters live.

    Raises:
        ValueError: if the model is bidirectional and the task's prompts are not of one length.
    """
    if config.bidirectional and task.layout != "slots":
        raise ValueError(
            f"a bidirectional model would see what pads the shorter prompts of the layout {task.layout!r}; lay the "
            "questions out in slots: task.with_layout('slots')"
        )
    model = HookedTransformer(
        HookedTransformerConfig(
            n_layers=config.n_layers,
            d_model=config.d_model,
            n_heads=config.n_heads,
            d_head=config.d_model // config.n_heads,
            d_mlp=config.mlp_ratio * config.d_model,
            d_vocab=task.n_tokens,
            n_ctx=task.n_positions,
            attention_dir="bidirectional" if config.bidirectional else "causal",
            act_fn="gelu",
            normalization_type="LN",
            init_weights=False,
            device=device,
        )
    )
    tie_blocks(model, config.n_blocks)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(_initial(name, parameter.shape, generator))
        if config.tie_embeddings:
            model.unembed.W_U.copy_(model.embed.W_E.T)
    return model


def tie_blocks(model: HookedTransformer, n_blocks: int) -> None:
    """Let block L use the Parameter objects of block L mod n_blocks."""
    for layer in range(n_blocks, model.cfg.n_layers):
        for name, parameter in model.blocks[layer % n_blocks].named_parameters():
            path, _, leaf = name.rpartition(".")
            setattr(model.blocks[layer].get_submodule(path), leaf, parameter)


def trained_parameters(model: HookedTransformer, config: ModelConfig) -> dict[str, nn.Parameter]:
    """The distinct parameters that training changes, by the first of their names."""
    parameters = dict(model.named_parameters())
    if config.tie_embeddings:
        del parameters["unembed.W_U"]
    return parameters


def tied_forward(
    model: HookedTransformer,
    config: ModelConfig,
    tokens: Int[Tensor, "batch pos"],
    parameters: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, "batch pos d_vocab"]:
    """The model's logits with the unembedding tied if the config says so, optionally with other parameters.

    HookedTransformer has no such tie, so the module is run with W_U = W_E.T put in its place; gradients reach W_E
    through both. `load_parameters` then makes the module itself agree. Training takes the quicker road of
    `fast_forward`, which a test holds to this one.
    """
    replaced = dict(parameters or {})
    if config.tie_embeddings:
        replaced["unembed.W_U"] = replaced.get("embed.W_E", model.embed.W_E).T
    return torch.func.functional_call(model, replaced, (tokens,))


@torch.no_grad()
def load_parameters(model: HookedTransformer, config: ModelConfig, parameters: Mapping[str, Tensor]) -> None:
    """Copy trained parameters into the model, the tied unembedding included."""
    for name, parameter in trained_parameters(model, config).items():
        parameter.copy_(parameters[name])
    if config.tie_embeddings:
        model.unembed.W_U.copy_(model.embed.W_E.T)


def decayed(names: Mapping[str, Tensor]) -> Iterator[str]:
    """The parameters that weight decay acts on: matrices, neither biases nor norms."""
    return (name for name in names if name.rpartition(".")[2].startswith("W"))


def _initial(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    leaf = name.rpartition(".")[2]
    if leaf == "w":  # the gain of a norm
        return torch.ones(shape)
    if leaf.startswith("b") or leaf in ("W_O", "W_out"):
        return torch.zeros(shape)
    return 0.02 * torch.randn(shape, generator=generator)
