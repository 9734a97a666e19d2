"""TransformerLens in the version that is installed: the one module that looks which one it is.

TransformerLens 4.0 dropped `HookedTransformer`. There the small class of `hooked_transformer` stands in its place for the
models of this project; published models are bridges in both versions. Importing TransformerLens takes seconds, so what can
do without a model does not import this.
"""

from typing import Any, Protocol, runtime_checkable

from transformer_lens import HookedRootModule
from transformer_lens.model_bridge import TransformerBridge

try:
    from transformer_lens import HookedTransformer, HookedTransformerConfig
except ImportError:  # from 4.0 on
    from .hooked_transformer import HookedTransformer, HookedTransformerConfig

__all__ = ["HookedRootModule", "HookedTransformer", "HookedTransformerConfig", "Model", "TransformerBridge"]


@runtime_checkable
class Model(Protocol):
    """What analyses take: a HookedTransformer, a TransformerBridge, or another module with hook points and a `cfg`."""

    @property
    def cfg(self) -> Any:
        """Its sizes and settings."""
        ...

    @property
    def hook_dict(self) -> Any:
        """Its hook points by name."""
        ...

    def hooks(self, *args: Any, **kwargs: Any) -> Any:
        """A context with hooks in place."""
        ...

    def run_with_cache(self, *args: Any, **kwargs: Any) -> Any:
        """Logits, and activations by the names of their hook points."""
        ...

    def parameters(self, *args: Any, **kwargs: Any) -> Any:
        """As of a torch module."""
        ...

    def buffers(self, *args: Any, **kwargs: Any) -> Any:
        """As of a torch module."""
        ...

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        """As of a torch module."""
        ...

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As of a torch module."""
        ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Tokens [query, pos] to logits [query, pos, d_vocab]."""
        ...
