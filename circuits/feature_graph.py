"""Attribution graphs over features, as circuit-tracer and Neuronpedia write them: read, looked at and written back.

Their nodes are what a replacement model is made of on one prompt: features of transcoders, what these leave out (errors),
tokens and candidates for the next token. Links are direct effects, with attention patterns and the denominators of norms
held fixed (Ameisen et al. 2025, "Circuit Tracing: Revealing Computational Graphs in Language Models", Transformer Circuits
Thread). They are not effects of patching: a `Circuit` holds those.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import pandas as pd

from .columns import Columns
from .explanation import Explanation, largest, without_rows
from .plain_text import counted, named, one_line, shortened
from .result import Result
from .units import shown

LINKS = Columns(words="sender receiver", numbers="effect")
NODES = Columns(
    words="node kind token label type id", numbers="activation influence probability", whole="layer index position"
)
KINDS = {"embedding": "embedding", "feature": "feature", "error": "error", "logit": "logit", "other": "other node"}


@dataclass(frozen=True, eq=False)
class FeatureGraph(Result):
    """The attribution graph of one prompt.

    Attributes:
        table: a row for each link, in the order of the file, with
            sender, receiver: names of nodes;
            effect: the link's weight, what the sender adds to the receiver: to a feature's input, in the units of its
            activation, or to a logit less the mean of all logits, in nats.
        nodes: a row for each node, with
            node: its name: `embed@2:word`, `L3F1234@5:word` (feature 1234 of layer 3 at position 5), `L3error@5:word`,
            `logit235@9:word` (where the word is the predicted one), others by their labels; names that were there before
            end in #2, #3;
            kind: embedding, feature, error, logit, or other, such as the bias of a layer or a component of a circuit;
            layer: as in the file, −1 for embeddings; logits come after the last layer;
            index: a feature's number in its layer, a token's in the vocabulary, a component's in its layer; −1 for none;
            position: place in the prompt, from 0, and token: the prompt's there, as in the file;
            label: what somebody wrote of it (`clerp`), may be empty;
            activation: of a feature, in its own unit; influence: the share of all influence on the logits of nodes that have
            at least as much as this one, so that it is small for those that matter most; probability: of a logit's token;
            these three are NaN where the file says nothing;
            type: the file's word for the kind (`feature_type`), such as "cross layer transcoder", which circuit-tracer
            writes for per-layer transcoders, too; id: the file's name of the node (`node_id`).
        prompt: its tokens, as in the file.
        about: the file's metadata: slug, scan (the model, or the transcoders), prompt as one text, and what else it says.
        view: what was saved of how the graph is looked at (`qParams`): pinned nodes, supernodes and more, by ids.
        rest: what else the file holds, by its keys there; for "nodes" by name.
    """

    table: Annotated[pd.DataFrame, LINKS]
    nodes: Annotated[pd.DataFrame, NODES]
    prompt: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    view: Mapping[str, Any] = field(default_factory=dict)
    rest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pinned(self) -> tuple[str, ...]:
        """Names of the nodes that somebody pinned; an id of no node here stays as it is."""
        return self._named(self.view.get("pinnedIds") or ())

    @property
    def supernodes(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What somebody grouped: label and names of the nodes; an id of no node here stays as it is."""
        return tuple((label, self._named(ids)) for label, *ids in self.view.get("supernodes") or ())

    @property
    def caption(self) -> str:
        """Scan, prompt and sizes in one line."""
        words = shortened(self.about.get("prompt", "") or " ".join(self.prompt), 80)
        return " · ".join(filter(None, [*self._names, f"“{words}”", self._sizes]))

    def explain(self) -> Explanation:
        """The strongest link, and the likeliest next token."""
        who = " ".join(self._names) or "an unnamed graph"
        if self.table.empty or self.nodes.empty:
            return without_rows(who)
        logits = self.nodes[self.nodes["kind"] == "logit"]
        link = largest(self.table[self.table["receiver"].isin(logits["node"])], "effect")
        best = largest(logits, "probability")
        token = f" The likeliest next token is {best['node']}, probability {shown(best['probability'])}." if best else ""
        pinned = f" {counted(len(self.pinned), 'node')} were chosen by hand and pinned." if self.pinned else ""
        return Explanation(
            measured=f"Direct effects along {counted(len(self.table), 'link')} between tokens, features and logits of a "
            "replacement model, attention patterns and norms held fixed.",
            on=f"{who}, one prompt of {counted(len(self.prompt), 'token')}; {self._sizes}.",
            means=f"The strongest link into a logit, {link['sender']} -> {link['receiver']}, adds {shown(link['effect'])} "
            f"nats to it, less the mean of all logits (0 is nothing).{token}"
            if link
            else f"Nothing: no link into a logit has a number.{token}",
            sure=f"A graph is of one prompt, so no interval was computed; {(self.nodes['kind'] == 'error').sum()} of "
            f"{counted(len(self.nodes), 'node')} are errors, which is what features leave out.",
            would_change=f"Another prompt, or patching: these are no effects of interventions.{pinned}",
        )

    def figure(self) -> Any:
        """The interactive diagram, which opens with the supernodes as groups."""
        from .feature_drawing import draw_features

        return draw_features(self)

    def _repr_html_(self) -> str:
        return self.figure()._repr_html_()

    @one_line
    def __repr__(self) -> Iterator[str]:
        yield from map(named, self._names)
        yield counted(len(self.nodes), "node")
        yield counted(len(self.table), "link")

    @property
    def _names(self) -> list[str]:
        return [shortened(self.about[name]) for name in ("scan", "slug") if self.about.get(name)]

    @property
    def _sizes(self) -> str:
        found = self.nodes["kind"].value_counts() if len(self.nodes) else {}
        kinds = [counted(int(found[kind]), called) for kind, called in KINDS.items() if kind in found]
        return ", ".join([*kinds, counted(len(self.table), "link")])

    def _named(self, ids: Any) -> tuple[str, ...]:
        names = dict(zip(self.nodes["id"], self.nodes["node"], strict=True)) if len(self.nodes) else {}
        return tuple(names.get(each, each) for each in ids)
