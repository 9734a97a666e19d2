"""Whether a model's weights agree with its circuit: does a component read the directions that another one writes to?

The composition score of Elhage et al. 2021 ("A Mathematical Framework for Transformer Circuits", section "Analyzing a
Two-Layer Model") is ‖W_read W_write‖ / (‖W_read‖ ‖W_write‖), in Frobenius norms, with the matrices of `forward.composition`.
It is 0 if nothing that one writes is read by the other, and at most 1. Matrices that have nothing to do with each other
score about 1/√d_model, more exactly what the same matrices score if the stream between them is rotated at random: the
baseline. It knows nothing of prompts, and the circuit nothing of weights, so that their agreement is evidence for both.
Disagreement is less: all directions count alike, whether prompts use them or not, so that a strong edge through few of many
directions, as from an MLP to the logits, may score no more than chance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import mannwhitneyu, spearmanr
from torch import Tensor

from ...circuits import Circuit, Edge, Node, Result
from ...circuits.arguments import MOST_REPEATS, common_problems, refuse, whole_problems
from ...circuits.circuit import has_number, measured_rows
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation, without_rows
from ...circuits.plain_text import counted, named
from ...circuits.units import shown
from ...tasks.transformerlens import Model
from ..forward.composition import Weights, weight_problems, weights_of
from ..forward.places import without_positions
from .judging import circuit_problems

LEAST_RANKED = 3  # pairs, of which a rank correlation says something


@dataclass(frozen=True, eq=False)
class CompositionResult(Result):
    """Composition scores of all pairs of components between which a model has edges.

    Attributes:
        table: a row for each pair of matrices. Layers that share weights have the same ones, so there is one row for all
            their pairs, named by the first; its counts are of all of them and of all positions:
            sender: writes, such as L0H0;
            receiver, kind: the input that reads, such as L1H0.v, and its kind: q, k, v, mlp or logits;
            score: see above; NaN if one of the matrices is all zeros, as are all numbers that follow from it;
            baseline: its mean over random rotations of the stream between the two; spread: the standard deviation;
            excess: score − baseline;
            n_found: edges of the circuit between the two; n_edges: edges of the graph;
            effect: Σ |effect| over the measured edges, as a share of the gap; NaN if none was measured.
        model: the model's name.
        kept: the rule by which the circuit's edges were kept.
        n_random: rotations.
        seed: of them.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(
            words="sender receiver kind",
            numbers="score baseline spread excess effect",
            whole="n_found n_edges",
        ),
    ]
    model: str
    kept: str
    n_random: int
    seed: int

    @property
    def n_found(self) -> int:
        """Pairs with a score and edges of the circuit."""
        return int((self._scored["n_found"] > 0).sum())

    @property
    def n_others(self) -> int:
        """Pairs with a score and no edge of the circuit."""
        return len(self._scored) - self.n_found

    @property
    def auroc(self) -> float:
        """How often a pair with edges of the circuit has the larger excess of it and a pair without; NaN if one is missing.

        Pairs share matrices, so they are not independent, and no interval is given.
        """
        found = self._scored["n_found"] > 0
        if found.all() or not found.any():
            return float("nan")
        excess = self._scored["excess"].to_numpy(dtype=float)
        return float(mannwhitneyu(excess[found], excess[~found]).statistic / (found.sum() * (~found).sum()))

    @property
    def n_ranked(self) -> int:
        """Pairs with a score and a measured effect."""
        return len(self._ranked)

    @property
    def rank_correlation(self) -> float:
        """Spearman's, of the excess with Σ |effect| over `n_ranked` pairs; NaN if they are fewer than three or all alike."""
        if self.n_ranked < LEAST_RANKED or (self._ranked.nunique() < 2).any():
            return float("nan")
        found: Any = spearmanr(self._ranked["excess"], self._ranked["effect"])
        return float(found.statistic)

    @property
    def _scored(self) -> pd.DataFrame:
        return self.table.dropna(subset=["excess"])

    @property
    def _ranked(self) -> pd.DataFrame:
        return self.table[["excess", "effect"]].dropna()

    @property
    def caption(self) -> str:
        """Model, how well the weights agree with the circuit, and numbers of pairs in one line."""
        text = f"{self.model} · composition scores above those of {self.n_random} random rotations"
        text += f" · AUROC {shown(self.auroc)} ({self.n_found} pairs in the circuit, {self.n_others} not)"
        text += f" · rank correlation with Σ |effect| {shown(self.rank_correlation)} ({self.n_ranked} pairs)"
        missing = len(self.table) - len(self._scored)
        return text + (f" · {missing} pairs without a score: a matrix is all zeros" if missing else "")

    def explain(self) -> Explanation:
        """How well the weights agree with the circuit."""
        if self.table.empty:
            return without_rows(self.model)
        found, others = counted(self.n_found, "pair"), counted(self.n_others, "pair")
        agrees = (
            f"A pair with edges of the circuit has a larger excess over the baseline than one without in "
            f"{shown(self.auroc)} of the comparisons (1 is all, 0.5 chance)."
            if self.auroc == self.auroc
            else f"Nothing: there are {found} with edges of the circuit and {others} without."
        )
        rank = self.rank_correlation
        known = f"{shown(rank)} over {counted(self.n_ranked, 'pair')} (1 is the same order, 0 none)" if rank == rank else ""
        return Explanation(
            measured="How much of what each component writes each later one reads, by weights alone, above the mean of "
            f"{counted(self.n_random, 'random rotation')} of the stream.",
            on=f"{self.model}, {counted(len(self.table), 'pair')} of matrices: {found} with edges of the circuit and "
            f"{others} without them have a score.",
            means=agrees,
            sure="Pairs share matrices, so they are not independent and no interval is given. The rank correlation with "
            f"Σ |effect| is {known or 'not defined'}.",
            would_change=f"Other edges than those kept by {named(self.kept) if self.kept else 'an unknown rule'}; scores "
            "know nothing of prompts.",
        )


def composition_scores(model: Model, circuit: Circuit, *, n_random: int = 20, seed: int = 0) -> CompositionResult:
    """Score how much of what each component writes each later one reads, by their weights alone, beside a circuit's edges.

    A moment for models of this project; about two minutes on one core for a model of the size of GPT-2.

    Args:
        model: a HookedTransformer; left unmodified.
        circuit: its circuit, also one of edges at all positions together.
        n_random: rotations for the baseline.
        seed: of these.

    Raises:
        ValueError: all problems at once: for a circuit of another graph; for models without such matrices, by name: networks
            that mix tokens, models of other classes, MLPs of which they are not known, options that are not described.
    """
    settings = whole_problems(1, most=MOST_REPEATS, n_random=n_random) + common_problems(seed=seed)
    if problems := circuit_problems(circuit=circuit):
        refuse(problems + settings)
    refuse(settings + weight_problems(model, circuit.graph))
    table, weights = _pairs(circuit), weights_of(model, circuit.graph)
    found = _scored(weights, n_random, seed)
    numbers = [{name: each[pair] for name, each in found.items()} for pair in table.pop("pair")]
    columns = pd.DataFrame(numbers, columns=pd.Index(list(found)))
    table = pd.concat([table, columns.assign(excess=columns["score"] - columns["baseline"])], axis=1)
    order = ["sender", "receiver", "kind", "score", "baseline", "spread", "excess", "n_found", "n_edges", "effect"]
    rule = str(circuit.provenance.get("kept", ""))
    return CompositionResult(table[order], model.cfg.model_name, rule, int(n_random), int(seed))


Pair = tuple[Node, Node]
"""A sender and an input without positions, of those that share their weights the first."""


def _pairs(circuit: Circuit) -> pd.DataFrame:
    """A row for each pair of weights between which there are edges, with what the circuit says of it."""
    rows: dict[Pair, dict[str, Any]] = {}
    for edge in circuit.graph.edges:
        pair, (sender, receiver) = _weights_of(circuit, edge), without_positions(edge)
        names = {"sender": str(sender), "receiver": str(receiver), "kind": edge.kind}
        row = rows.setdefault(pair, {"pair": pair, **names, "n_found": 0, "n_edges": 0, "effect": np.nan})
        row["n_edges"] += 1
    effects = circuit.table["effect"].abs().to_numpy(dtype=float)
    measured = has_number(circuit.table["effect"]) & measured_rows(circuit.table)
    for edge, effect, known, kept in zip(circuit.measured_edges, effects, measured, circuit.table["kept"], strict=True):
        row = rows[_weights_of(circuit, edge)]
        row["n_found"] += int(kept)
        row["effect"] = float(np.nansum([row["effect"], effect])) if known else row["effect"]
    return pd.DataFrame(list(rows.values()))


def _weights_of(circuit: Circuit, edge: Edge) -> Pair:
    sender, receiver = map(circuit.graph.first_use, without_positions(edge))
    return sender, receiver


def _scored(weights: Weights, n_random: int, seed: int) -> Mapping[str, Mapping[Pair, float]]:
    """By column and pair, scores and what random rotations give."""
    writes, reads = list(weights.writes.values()), list(weights.reads.values())
    mean, spread = rotated_scores(writes, reads, n_random=n_random, seed=seed)
    columns = {"score": scores(writes, reads), "baseline": mean, "spread": spread}
    return {
        name: {
            (sender, receiver): float(each[row, column])
            for row, sender in enumerate(weights.writes)
            for column, receiver in enumerate(weights.reads)
        }
        for name, each in columns.items()
    }


Matrices = list[Tensor]
"""Some matrices [row, d_model], whose numbers of rows differ."""


def scores(writes: Matrices, reads: Matrices) -> Float[Tensor, "sender receiver"]:
    """‖R Wᵀ‖ / (‖R‖ ‖W‖) of each pair, in Frobenius norms."""
    stacked, sizes = torch.cat(writes), [len(each) for each in writes]
    columns = [
        torch.stack([part.sum() for part in (stacked @ read.T).square().sum(1).split(sizes)]).sqrt() / read.norm()
        for read in reads
    ]
    return (torch.stack(columns, 1) / torch.stack([each.norm() for each in writes])[:, None]).cpu()


def rotated_scores(
    writes: Matrices, reads: Matrices, *, n_random: int, seed: int
) -> tuple[Float[Tensor, "sender receiver"], Float[Tensor, "sender receiver"]]:
    """The mean score, and the standard deviation, if the stream between two matrices is rotated at random.

    With singular values s and t the squared score is Σ_ij s_i² Q_ij² t_j² / (Σ s_i² Σ t_j²), Q uniform among rotations. So
    the matrices' directions do not matter, and the same rotations do for all pairs. The mean of the square is 1/d_model.
    """
    generator, d_model = torch.Generator().manual_seed(int(seed)), writes[0].shape[1]
    left, right = (torch.stack([_shares(each, d_model) for each in matrices]) for matrices in (writes, reads))
    drawn = []
    for _ in range(n_random):
        normal = torch.randn(d_model, d_model, generator=generator, dtype=torch.float64, device="cpu")
        squares = torch.linalg.qr(normal).Q.square()  # QR fixes signs, which are gone here
        drawn.append((left @ squares @ right.T).sqrt())
    return torch.stack(drawn).mean(0), torch.stack(drawn).std(0, correction=0)


def _shares(matrix: Float[Tensor, "row d_model"], d_model: int) -> Float[Tensor, " d_model"]:
    """Squared singular values as shares of their sum, from the largest down."""
    squares = torch.linalg.svdvals(matrix).square().cpu()
    return torch.nn.functional.pad(squares / squares.sum(), (0, d_model - len(squares)))
