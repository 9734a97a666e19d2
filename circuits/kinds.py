"""The kinds of nodes there are: how each is called and how it looks. Nothing else in this package knows one from another.

A new kind of component, such as an expert or a token mixer, is a new row of `KINDS`.
"""

import re
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Input:
    """One of the inputs of a kind of node, and the look of the edges into it.

    Attributes:
        name: printed after a dot, as in `L0H2.q`; empty if the kind has a single input.
        colour: of the edges, a hue of the palette.
        label: in the legend.
        bulge: to which side, and how far, the edges swing on their way up; −1 is left, 1 is right.
        port: where on the node's lower side the edges arrive, in pixels from its middle.
        is_local: whether it is read only at the position of the output, wherever else the node looks.
        is_choice: whether it only decides among the positions that the node sees, so that it cannot matter where there is
            only one.
        is_shared: whether neighbouring nodes may share it, as heads share keys and values in grouped-query attention.
    """

    name: str
    colour: str
    label: str
    bulge: float
    port: float = 0.0
    is_local: bool = False
    is_choice: bool = False
    is_shared: bool = False


@dataclass(frozen=True)
class Kind:
    """One kind of node.

    Attributes:
        form: of its names, with `{layer}` and, if there are several side by side, `{index}`.
        inputs: in the order of their edges; none for what the computation starts from.
        width: of its boxes, in pixels.
        moves: in the legend, of arcs between positions.
        plural: what several of them are called.
    """

    form: str
    inputs: tuple[Input, ...] = ()
    width: float = 42.0
    moves: str = "moved between positions"
    plural: str = "parts"

    @property
    def is_numbered(self) -> bool:
        """Whether several can stand side by side in a layer."""
        return "{index}" in self.form

    @property
    def weights_form(self) -> str:
        """The form of its names without the layer: `H{index}`, `MLP`."""
        return self.form.replace("L{layer}", "").replace("{layer}", "")

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What matches its names, with the groups layer, index and input as far as it has them."""
        parts = re.split(r"\{(\w+)\}", self.form)  # text and fields in turn
        name = "".join(rf"(?P<{part}>\d+)" if i % 2 else re.escape(part) for i, part in enumerate(parts))
        inputs = "|".join(re.escape(each.name) for each in self.inputs if each.name)
        return re.compile(name + (rf"(?:\.(?P<input>{inputs}))?" if inputs else ""))

    def input(self, name: str) -> Input:
        """The input of that name."""
        return next(each for each in self.inputs if each.name == name)


BY_NORM = "moved by a norm over positions"

KINDS: dict[str, Kind] = {
    "embed": Kind("embed"),
    "init": Kind("init"),
    "head": Kind(
        "L{layer}H{index}",
        (
            Input("q", "sky", "into a query", bulge=-1.0, port=-12.0, is_local=True, is_choice=True),
            Input("k", "orange", "into a key", bulge=-0.7, is_choice=True, is_shared=True),
            Input("v", "green", "into a value", bulge=1.0, port=12.0, is_shared=True),
        ),
        moves="moved by attention",
        plural="heads",
    ),
    "mixer": Kind(
        "MIX{layer}",
        (Input("", "orange", "into a token mixer", bulge=-0.9),),
        moves="moved by token mixing",
        plural="mixers",
    ),
    "mlp": Kind("MLP{layer}", (Input("", "black", "into an MLP", bulge=0.8),), moves=BY_NORM),
    "logits": Kind("logits", (Input("", "purple", "into the logits", bulge=-1.0),), moves=BY_NORM),
}
"""By name, in the order of the legend."""


def css_name(kind: str) -> str:
    """A kind of input, `Edge.kind`, as a part of CSS names."""
    return re.sub(r"\W+", "-", kind)
