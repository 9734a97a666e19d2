"""Attention patterns in CircuitsVis, with its script in the page, so that they also show without a network."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from circuitsvis.attention import attention_heads
from jaxtyping import Float
from torch import Tensor

from ..circuits.result import save_page


@dataclass(frozen=True)
class AttentionView:
    """Patterns to look at; shows itself in Jupyter.

    Attributes:
        html: a fragment with the patterns and CircuitsVis' script, 1.3 MB.
        title: of the saved page.
    """

    html: str = field(repr=False)
    title: str

    def save(self, path: str | Path) -> Path:
        """Write a page that works from a file and without a network; returns the path."""
        return save_page(Path(path), self.title, self._repr_html_())

    def _repr_html_(self) -> str:
        return f"<h4>{html.escape(self.title)}</h4>{self.html}"


def view_attention(
    patterns: Float[Tensor, "layer head pos pos"], tokens: Sequence[str], *, causal: bool, title: str
) -> AttentionView:
    """Show the patterns of all heads, as they are drawn by CircuitsVis.

    Args:
        patterns: attention weights by layer, head, query position and key position.
        tokens: what the positions are called.
        causal: whether positions behind the query's are hidden.
        title: of the view; it should name the model and n.
    """
    n_layers, n_heads = patterns.shape[:2]
    names = [f"L{layer}H{head}" for layer in range(n_layers) for head in range(n_heads)]
    rendered = attention_heads(
        attention=patterns.flatten(0, 1).cpu().numpy(),
        tokens=[html.escape(token) for token in tokens],
        attention_head_names=names,
        max_value=1.0,
        min_value=0.0,
        mask_upper_tri=causal,
    )
    # its container is written `<div/>`, which HTML leaves open: it would swallow what follows on the page
    return AttentionView(rendered.local_src.replace("/>", "></div>", 1), title)
