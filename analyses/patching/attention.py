"""What single entries of attention patterns do for the answer: size, importance, direct contribution.

Four readings of each (layer, head, query position, key position): the pattern itself; integrated gradients along the pattern
(Hao et al. 2021, arXiv 2004.11207, section 3); the direct contribution to the logit difference; and what happens without it.
"""

import html
import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from circuitsvis.attention import attention_heads
from jaxtyping import Float
from torch import Tensor

from ...circuits import ComputationGraph, Result
from ...circuits.arguments import common_problems, flag_problems, name_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation, counted_units, largest, without_rows
from ...circuits.plain_text import LONGEST, counted, never_raising, shortened
from ...circuits.progress import with_bar
from ...circuits.units import better, shown, unit_of
from ...tasks import PromptPairs
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.transformerlens import Model
from ..forward.at_rest import as_measured
from ..forward.cached import CachedRun, run_and_cache
from ..forward.layer import attention_weights
from ..forward.lines import TOLERANCE, Integral, n_points, steps_problems
from ..forward.memory import MAX_BATCH, Sizes, batches, budget, how_many
from ..forward.model import graph_of
from ..forward.patterns import Pattern, direct_contributions, integrated_pattern, pattern_of, run_with_pattern
from ..page import Report
from ..plots.heatmaps import attention_heatmaps
from ..plots.theme import COLOURS
from ..statistics import stderr_of_mean
from .completeness import completeness, largest_residual
from .gap import check_finite, metric_by_query, metric_values
from .metrics import AnyMetric, as_metric, logit_difference
from .resolution import with_gradient

READINGS = ("pattern", "integrated", "direct", "knockout")
N_SUMS = 5  # of gradients along a line: that of the part, of those before, both added, and what is read next to them
LABELS = {"pattern": "attention weight", "direct": "direct, nats of logit(answer) − logit(foil)"}
"""Of readings that are not in the metric's unit."""


STARTER = """for (const place of document.querySelectorAll(".grokscope-attention:not([data-started])")) {
  place.dataset.started = "yes";
  CircuitsVis.render(place.id, CircuitsVis.AttentionHeads, JSON.parse(place.nextElementSibling.textContent));
}"""
"""What shows the views of a page, once each."""


@dataclass(frozen=True, repr=False)
class AttentionView:
    """Patterns to look at; shows itself in Jupyter.

    Attributes:
        html: a fragment with the patterns and CircuitsVis' script, 1.3 MB.
        title: of the saved page.
        script: the text of the script in it.
    """

    html: str = field(repr=False)
    title: str
    script: str = field(default="", repr=False)

    @never_raising
    def __repr__(self) -> str:
        return f"<AttentionView: {shortened(self.title, LONGEST)}>"

    def save(self, path: str | Path) -> Path:
        """Write a page that works from a file and without a network; returns the path."""
        report = Report(self.title)
        report.fragment(self.html, scripts=[self.script])
        return report.save(path)

    def _repr_html_(self) -> str:
        return f"<h4>{html.escape(self.title)}</h4>{self.html}"


@dataclass(frozen=True, eq=False)
class AttentionResult(Result):
    """What attention entries do for the metric on clean prompts.

    Attributes:
        table: a row for each layer, head, query position and key position that it can see, with the mean over queries and,
            as `…_stderr`, its standard error over units, of
            pattern: the attention weight;
            integrated: its integrated-gradients attribution, in the metric's unit; over a layer these sum to the metric
            minus its value with no attention in that layer, as far as `completeness` says;
            direct: what the head moves from the key position straight to the logit difference, final norm frozen, in nats;
            zero except at the answer's position; before the soft cap of the logits, if the model has one;
            knockout: the change of the metric if the head does not see this key, its score −∞, so that its weight goes to
            the others of the row; NaN where the row has no other entry in some prompt; what a prompt's pads hide counts as
            an entry of weight 0;
            n: number of queries; n_units: of their units, see `PromptPairs.unit`.
            integrated and direct depend on where biases of values stand: moved into the output's bias, as TransformerLens
            does when it loads a model with `fold_value_biases`, what they add is no longer moved by attention, although the
            model computes the same; pattern and knockout do not depend on it.
        model: the model's name.
        pairs: hash of the prompt pairs.
        metric: name of the metric.
        patterns: the weights of every query, [layer, query, head, pos, key], for CircuitsVis; 8 bytes each.
        completeness: by layer, how far integrated attributions add up: sum and difference, the means over queries of what
            they sum to and of what they should; residual, the mean size of the error, of no sign, as a share of the mean
            |difference|; steps, the most points on the line that a query took.
        unit: of the metric; empty if nobody said.
        higher_is_better: whether a larger metric means better answers; None if nobody said.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(
            words="query key",
            numbers="head pattern pattern_stderr integrated integrated_stderr direct direct_stderr knockout knockout_stderr",
            whole="layer n",
        ),
    ]
    model: str
    pairs: str
    metric: str
    patterns: np.ndarray = field(repr=False)
    completeness: pd.DataFrame | None = field(default=None, repr=False)
    unit: str = ""
    higher_is_better: bool | None = None

    @property
    def caption(self) -> str:
        """Model, metric, n and how far attributions add up, in one line."""
        n = self.table["n"].iloc[0]
        metric = f"{self.metric}{better(self.higher_is_better)}"
        return f"{self.model} · {metric} · n = {n} clean prompts{largest_residual(self.completeness)}"

    def explain(self) -> Explanation:
        """The entry of the largest attribution."""
        row, unit = largest(self.table, "integrated"), unit_of(self.metric, self.unit)
        if not row:
            return without_rows(self.model)
        errors = f"{shown(row['integrated_stderr'])} and {shown(row['pattern_stderr'])}"
        knocked = (
            f"it changes by {shown(row['knockout'])} {unit}"
            if row["knockout"] == row["knockout"]
            else "nothing is known, since its row has no other"
        )
        return Explanation(
            measured=f"What single entries of attention patterns do for {self.metric} on clean prompts: the weight, its "
            "integrated gradients, the direct contribution, and the change without the entry.",
            on=f"{self.model}, {counted_units(row, 'clean prompt')}, {counted(len(self.table), 'entry', 'entries')}.",
            means=f"Head {row['head']} of layer {row['layer']}, looking from {row['query']} at {row['key']}, has the "
            f"largest attribution, {shown(row['integrated'])} {unit} (0 is none), with a weight of {shown(row['pattern'])}.",
            sure=f"The standard errors of attribution and weight are {errors}, over units."
            if row["integrated_stderr"] == row["integrated_stderr"]
            else "No standard error is held.",
            would_change=f"Another metric than {self.metric}. Without that entry {knocked}.",
        )

    def view(self) -> AttentionView:
        """The mean patterns over queries in CircuitsVis; needs no network."""
        roles, rows = list(dict.fromkeys(self.table["query"])), self.table[["query", "key"]]
        causal = not any(roles.index(key) > roles.index(query) for query, key in rows.itertuples(index=False))
        return view_attention(torch.from_numpy(self.patterns).mean(1), roles, causal=causal, title=self.caption)

    def figure(self, reading: str = "integrated") -> Any:
        """A heat map for each layer and head of one of `READINGS`, query × key position."""
        label = LABELS.get(str(reading), f"{reading} in {unit_of(self.metric, self.unit)}")
        look = {"label": label, "title": f"{reading} · {self.caption}", "signed": reading != "pattern"}
        return attention_heatmaps(self.table, reading, **look)


@torch.no_grad()
def attribute_attention(
    model: Model,
    pairs: PromptPairs,
    *,
    steps: int = 5,
    tolerance: float = TOLERANCE,
    metric: AnyMetric = logit_difference,
    max_memory: int | None = None,
    progress: bool = True,
) -> AttentionResult:
    """Attribute the metric on the clean prompts to attention entries.

    Args:
        model: any model that `graph_of` accepts; left unmodified.
        pairs: clean prompts, answers and foils are used.
        steps: Gauss–Legendre points on the line from no attention to the pattern; where attributions then miss what they
            should add up to, each half of the line gets as many, and so on.
        tolerance: how far a query's attributions may miss what they should add up to, as a share of it; `math.inf` takes
            the line as one part.
        metric: differentiable; logits, answers and foils to one number for each query.
        max_memory: bytes that may be used, results included; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.

    Warns:
        UserWarning: if the attributions of a layer do not add up within the tolerance.

    Raises:
        ValueError: for no pair, or tokens and positions that the model does not have, all problems at once; if steps or
            tolerance are not above 0, or the model has an option that `graph_of` refuses; if the metric cannot be
            differentiated, or has no finite number on some prompt or without attention in some layer, naming the queries.
        MemoryError: if not a single prompt fits into `max_memory`.
    """
    common = common_problems(max_memory=max_memory, progress=progress)
    refuse(pairs_problems(pairs=pairs) + steps_problems(steps, tolerance) + common)
    pairs.check_against(model)
    about = as_metric(metric)
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    if not graph.is_transformer:
        raise ValueError(f"a {type(model).__name__} has no attention: path_patch and edge_attribution know its token mixing")
    model = as_measured(model)
    found: dict[tuple[int, str], list[Tensor]] = {}
    integrals: dict[str | int, list[Integral]] = {layer: [] for layer in range(graph.n_layers)}
    n_at_once, memory = _at_once(model, pairs, steps, max_memory)
    for rows in with_bar(batches(len(pairs), n_at_once), "attributing", show=progress):
        part = pairs.take(rows)
        run = run_and_cache(model, graph, part.clean)
        check = partial(check_finite, about.name, rows=rows.numpy(), n=len(pairs))
        check({"the clean prompts": metric_by_query(metric, run.logits, part, run.logits)})
        objective = partial(with_gradient, about.name, partial(metric_values, metric, pairs=part, clean=run.logits))
        for layer in range(graph.n_layers):
            pattern = pattern_of(run, layer)
            integrated, integral = integrated_pattern(run, layer, pattern, objective, steps=steps, tolerance=tolerance)
            check({f"the clean prompts without attention in layer {layer}": integral.difference})
            integrals[layer].append(integral.without_gradients)
            readings = {
                "pattern": pattern,
                "integrated": integrated,
                "direct": direct_contributions(run, layer, pattern, part.answers, part.foils),
                "knockout": _knocked_out(run, part, layer, pattern, metric, memory),
            }
            for name, values in readings.items():
                found.setdefault((layer, name), []).append(values.cpu().double())
    by_query = {key: torch.cat(parts) for key, parts in found.items()}
    patterns = torch.stack([by_query[layer, "pattern"] for layer in range(graph.n_layers)]).numpy()
    sums = completeness(integrals, "layer", tolerance=tolerance)
    names, meaning = (model.cfg.model_name, pairs.key, about.name), (about.unit, about.higher_is_better)
    return AttentionResult(_table(graph, by_query, pairs), *names, patterns, sums, *meaning)


def _at_once(model: Model, pairs: PromptPairs, steps: int, max_memory: int | None) -> tuple[int, int]:
    """How many prompts may be read at once, and the bytes for what is computed of them."""
    sizes, half = Sizes.of(model, len(pairs.roles)), budget(max_memory, model) // 2
    results = len(pairs) * len(READINGS) * 8 * sizes.n_layers * sizes.n_heads * sizes.n_positions**2
    points = n_points(steps)  # of a line, all of which are run at once; their sum and its like are held next to them
    each = sizes.run + points * (sizes.backward + 2 * sizes.scores) + N_SUMS * sizes.scores
    n = how_many(len(pairs), each, 2 * half - results, f"one prompt at {steps} steps, next to what is read of all,")
    return min(n, how_many(n, sizes.copy + 2 * sizes.scores, half, "one knock-out"), max(1, MAX_BATCH // points)), half


def _knocked_out(
    run: CachedRun,
    pairs: PromptPairs,
    layer: int,
    pattern: Pattern,
    metric: AnyMetric,
    memory: int,
) -> Pattern:
    """The change of the metric without each entry: its score is −∞, so that rows of which it had all are defined, too."""
    before = metric_by_query(metric, run.logits, pairs, run.logits)
    scores = run.layers[layer].scores[:, :, : run.stop, : run.stop]
    visible = scores.isfinite()
    several = visible.sum(-1, keepdim=True) > 1
    some, defined = (visible & several).any(0).cpu(), (several | ~visible).cpu()
    entries = [tuple(entry) for entry in some.nonzero().tolist()]
    hidden = torch.arange(scores.shape[-1], device=scores.device)[:, None]
    change = torch.zeros(pattern.shape, dtype=torch.float64, device="cpu").masked_fill(visible.cpu(), math.nan)
    attention = run.decoder.layers[layer].attention
    sizes = Sizes.of(run.decoder.source, len(run.graph.roles))
    each = len(pattern) * (sizes.copy + 2 * sizes.scores)
    n_at_once = how_many(max(1, MAX_BATCH // len(pattern)), each, memory, "one knock-out")
    for start in range(0, len(entries), n_at_once):
        chunk = entries[start : start + n_at_once]
        copies = pattern.repeat(len(chunk), 1, 1, 1, 1)
        for copy, (head, query, key) in zip(copies, chunk, strict=True):
            without = scores[:, head, query].index_fill(-1, hidden[key], -math.inf)
            copy[:, head, query] = attention_weights(attention, without, head)
        after = metric_by_query(metric, run_with_pattern(run, layer, copies), pairs, run.logits)
        for (head, query, key), values in zip(chunk, after, strict=True):
            values = torch.from_numpy(values - before)
            change[:, head, query, key] = values.where(defined[:, head, query, key], math.nan)
    return change


def _table(graph: ComputationGraph, by_query: Mapping[tuple[int, str], Tensor], pairs: PromptPairs) -> pd.DataFrame:
    rows = []
    n, n_heads, n_pos, _ = by_query[0, "pattern"].shape
    for layer, head, query, key in product(range(graph.n_layers), range(n_heads), range(n_pos), range(n_pos)):
        if graph.roles[key] not in graph.visible_from(graph.roles[query]):
            continue
        row = {"layer": layer, "head": head, "query": graph.roles[query], "key": graph.roles[key]}
        for name in READINGS:
            values = by_query[layer, name][:, head, query, key]
            stderr = float(stderr_of_mean(values.numpy()[None], pairs.unit)[0])
            row |= {name: float(values.mean()), f"{name}_stderr": stderr}
        rows.append(row | {"n": n, "n_units": pairs.n_units})
    return pd.DataFrame(rows)


def view_attention(
    patterns: Float[Tensor, "layer head pos pos"], tokens: Sequence[str], *, causal: bool, title: str
) -> AttentionView:
    """Show the patterns of all heads with CircuitsVis.

    Args:
        patterns: attention weights by layer, head, query position and key position.
        tokens: names of the positions.
        causal: whether keys after the query are hidden.
        title: should name the model and n.

    Raises:
        ValueError: if there are not as many tokens as positions, or the patterns are not square.
    """
    refuse(flag_problems(causal=causal) + name_problems(title=title))
    if patterns.ndim != 4 or {len(tokens)} != set(patterns.shape[2:]):
        raise ValueError(
            f"patterns are needed [layer, head, pos, pos] with a token for each position, got {tuple(patterns.shape)} and "
            f"{len(tokens)} tokens"
        )
    n_layers, n_heads = patterns.shape[:2]
    names = [f"L{layer}H{head}" for layer in range(n_layers) for head in range(n_heads)]
    rendered = attention_heads(
        attention=patterns.detach().flatten(0, 1).cpu().float().numpy(),
        tokens=list(tokens),  # CircuitsVis escapes them
        attention_head_names=names,
        max_value=1.0,
        min_value=0.0,
        positive_color=COLOURS[0],
        negative_color=COLOURS[1],
        mask_upper_tri=causal,
    )
    return _view(rendered.local_src, title)


def _view(source: str, title: str) -> AttentionView:
    """CircuitsVis' page with its numbers and names apart from its script, which is then the same text for all views.

    It writes `<div/>`, which HTML reads as open, so that it would swallow what follows on the page, names into the script,
    where they could end it, and the address of a file that browsers ask for when their tools are open.
    """
    before, _, values = source.rpartition("CircuitsVis.render(")
    library = before.partition('type="module">')[2].replace("//# sourceMappingURL=iife.js.map", "")
    values = json.loads(values[values.index("{") : values.rindex("}") + 1], parse_constant=lambda _: None)
    content = json.dumps(values).replace("<", "\\u003c")
    script = f"{library}\n{STARTER}"
    place = f'<div class="grokscope-attention" id="attention-{uuid.uuid4().hex}" style="margin: 15px 0"></div>'
    data = f'<script type="application/json">{content}</script>'
    return AttentionView(f'{place}{data}<script type="module">{script}</script>', title, script)
