"""A circuit: every edge that was measured, how strong it is, and which ones are kept.

Edges that are not kept stay in the table, so that a circuit can be cut elsewhere, compared edge by edge, or drawn with
another threshold.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from .arguments import MOST_REPEATS, native, number_problems, refuse, shortly, whole_problems
from .columns import Columns
from .explanation import Explanation, counted_units, gap_in_words, strongest_in_words, without_rows
from .frames import one_row_each
from .graph import ComputationGraph
from .hashes import hash_problems
from .node import Edge, Node
from .plain_text import counted, named, one_line, shortened
from .result import Result
from .roles import ALL_POSITIONS
from .units import after_number, fixed, shown

COLUMNS = ("sender", "receiver", "effect", "stderr", "n", "gap", "kept")
VERIFIED = ("exact", "sampled", "estimated")  # what the column `verified` may say of an edge, if there is one
HELD = Columns(words="sender receiver", numbers="effect stderr gap", whole="n", flags="kept")
DEFAULT_THRESHOLD = 0.02
DIRECTION = "direction"  # in the provenance
GIVEN = "given"  # the rule that edges chosen in another way were kept by


@dataclass(frozen=True, eq=False)
class Circuit(Result):
    """Measured edges of one model.

    Attributes:
        table: a row for each edge, with the columns
            sender, receiver: names, see Node;
            effect: of patching that edge alone, as a fraction of the clean–corrupt gap;
            stderr: its standard error over queries, or over units of them;
            n: number of queries;
            gap: mean clean–corrupt difference of the metric;
            kept: whether the edge belongs to the circuit;
            verified, if edges were screened: "exact" for those measured since their estimate is large, "sampled" for those
            drawn from the others and measured as exactly, "estimated" for those of which there is an estimate alone.
        graph: the computation graph that the edges belong to.
        provenance: how the effects were measured (metric, unit, contrast, pairs, model, direction), how edges were kept, the
            reason why effects have no number, and why no edge was kept (empty).
        deltas: change of the metric by edge and query, if measured; the effect is Σ deltas / Σ donor_gaps.
        donor_gaps: change of the metric by query if everything is patched.

    Raises:
        ValueError: if the table lacks a column, or one holds something else; if edges are not in the graph or listed twice;
            if deltas and gaps are not of these edges and the same queries; if hashes in the provenance are none.
    """

    graph: ComputationGraph
    provenance: Mapping[str, Any] = field(default_factory=dict)
    deltas: np.ndarray | None = None
    donor_gaps: np.ndarray | None = None

    def __post_init__(self) -> None:
        if missing := set(COLUMNS) - set(self.table.columns):
            raise ValueError(f"a circuit's table needs {', '.join(COLUMNS)}; it lacks {', '.join(sorted(missing))}")
        if problems := HELD.problems(self.table) + self._other_problems() + _provenance_problems(self.provenance):
            raise ValueError(f"this is no table of a circuit: {'; '.join(problems)}")
        name = {node: str(node) for edge in self.graph.edges for node in edge}  # each only once: graphs can be large
        known = {(name[sender], name[receiver]) for sender, receiver in self.graph.edges}
        rows = list(zip(self.table["sender"], self.table["receiver"], strict=True))
        if unknown := [f"{sender} -> {receiver}" for sender, receiver in rows if (sender, receiver) not in known]:
            raise ValueError(f"{len(unknown)} edges are not in the graph, the first is {unknown[0]}")
        if len(set(rows)) < len(rows):
            raise ValueError(f"{len(rows) - len(set(rows))} edges are listed twice")

    def _other_problems(self) -> list[str]:
        """Numbers of queries that are none, and changes by query that do not fit the table."""
        n_queries = self.table["n"].to_numpy(dtype=float) if pd.api.types.is_numeric_dtype(self.table["n"]) else np.zeros(0)
        problems = ["the column 'n' is less than 0"] if (n_queries < 0).any() else []
        if self.donor_gaps is not None and self.donor_gaps.ndim != 1:
            problems.append(f"donor_gaps have the shape {self.donor_gaps.shape}, needed is one number for each query")
        sizes = (len(self.table), *(self.donor_gaps.shape[:1] if self.donor_gaps is not None else ()))
        if self.deltas is not None and (self.deltas.ndim != 2 or self.deltas.shape[: len(sizes)] != sizes):
            problems.append(f"deltas have the shape {self.deltas.shape}, needed are edges and queries, {sizes}")
        by_query = {"deltas": self.deltas, "donor_gaps": self.donor_gaps}
        if unknown := [each for each in self.table.get("verified", ()) if each not in VERIFIED]:
            problems.append(f"the column 'verified' holds {shortly(unknown[0])}, needed are {', '.join(VERIFIED)}")
        wrong = [name for name, each in by_query.items() if each is not None and each.dtype.kind not in "iuf"]
        return problems + [f"{name} are no numbers but {by_query[name].dtype}" for name in wrong]  # pyright: ignore

    @classmethod
    def from_effects(
        cls,
        effects: Result | pd.DataFrame,
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        edges: Collection[Edge] | None = None,
        graph: ComputationGraph | None = None,
    ) -> "Circuit":
        """Keep the strongest edges of a measurement, or given ones, then those that connect the input with the answer.

        An edge whose effect has no number is never kept; if none has one, the circuit is empty and says why. Edges that were
        estimated where others were measured (see `verified`) are kept only if they are given. Edges without positions are
        those of `graph.together`.

        Args:
            effects: a result of `analyses.path_patch`, or its frame (which carries graph and provenance in `attrs`), with
                rows in any order.
            top_k: keep this number of edges of largest |effect|, before the unconnected ones are dropped.
            threshold: keep edges with |effect| of at least this much; 0.02 if no other rule is given.
            edges: keep these, chosen in another way.
            graph: the computation graph, for a frame without one.

        Raises:
            ValueError: if several rules are given, the graph is unknown, or top_k is beyond the number of edges; if the
                changes by query of a frame are not one for each edge and query, it names them.
        """
        top_k, threshold = native((top_k, threshold))
        problems = [] if top_k is None else whole_problems(1, most=MOST_REPEATS, top_k=top_k)
        problems += [] if threshold is None else number_problems(0, threshold=threshold)
        if sum(rule is not None for rule in (top_k, threshold, edges)) > 1:
            problems.append("give one of top_k, threshold and edges")
        refuse(problems)
        measured = _measured(effects, graph).in_order()
        strong, rule = _strong(measured.table, top_k, threshold, edges)
        all_edges = _edges_of(measured.table)
        kept = connected(measured.graph, [edge for edge, is_strong in zip(all_edges, strong, strict=True) if is_strong])
        table = measured.table.assign(kept=[edge in kept for edge in all_edges])
        table = table[[*COLUMNS, *(["verified"] if "verified" in table else [])]].reset_index(drop=True)
        table.attrs = {}  # a frame carries graph and provenance there, a circuit has fields for them
        provenance = {**measured.provenance, "kept": f"{rule}, connected"}
        if not kept:
            provenance["empty"] = _why_none(int(strong.sum()), rule)
        if not provenance.get("reason") and not has_number(measured.table["effect"]).all():
            provenance["reason"] = "the measurement does not say why"
        return cls(table, measured.graph, provenance, measured.deltas, measured.donor_gaps)

    @property
    def measured_edges(self) -> list[Edge]:
        """All edges of the table, in its order."""
        return _edges_of(self.table)

    @property
    def kept_edges(self) -> list[Edge]:
        """The edges of the circuit."""
        return [edge for edge, kept in zip(self.measured_edges, self.table["kept"], strict=True) if kept]

    @property
    def why_empty(self) -> str:
        """Why no edge is kept; empty if one is, or if nobody said."""
        if self.table["kept"].any():
            return ""
        known = has_number(self.table["effect"]).any()
        return str((not known and self.provenance.get("reason")) or self.provenance.get("empty") or "")

    @property
    def caption(self) -> str:
        """Model, metric and sizes in one line, and why no edge is kept if none is."""
        about = self.provenance
        parts = [about.get(name) for name in ("model", "contrast", "split", "metric", "direction")]
        n = int(self.table["n"].iloc[0]) if len(self.table) else 0
        gap = float(self.table["gap"].iloc[0]) if len(self.table) else float("nan")
        unit = after_number(str(about.get("unit", "")))
        sizes = f"{int(self.table['kept'].sum())} of {len(self.table)} edges, gap {shown(gap)}{unit}, n = {n}"
        missing = without_numbers(self.table["effect"], "effects")
        why = [f"{missing}: {about['reason']}"] if missing and about.get("reason") else []
        why += [self.why_empty] if self.why_empty != about.get("reason") else []
        why += [str(about["verified"])] if about.get("verified") else []
        why += [said] if (said := outside_in_words(about.get("outside"))) else []
        return " · ".join([str(part) for part in [*parts, sizes, *why] if part])

    def explain(self) -> Explanation:
        """How strong the strongest edge is, which ones are kept, and where the cut lies."""
        about = self.provenance
        model = (
            " ".join(str(about[name]) for name in ("model", "split", "contrast") if about.get(name)) or "an unknown model"
        )
        if self.table.empty:
            return without_rows(model)
        row, kept = self.table.iloc[0].to_dict(), int(self.table["kept"].sum())
        strongest, error = strongest_in_words(self.table)
        missing = without_numbers(self.table["effect"], "effects")
        why = f"There are {missing}: {about.get('reason') or 'nobody said why'}." if missing else ""
        return Explanation(
            measured=f"The effect of patching each of {counted(len(self.table), 'edge')} alone, as a share of the gap "
            f"between clean and corrupt.{f' The direction is {about[DIRECTION]}.' if about.get(DIRECTION) else ''}",
            on=f"{model}, {counted_units(row)}. {gap_in_words(row['gap'], about)}",
            means=" ".join(filter(None, [f"{counted(kept, 'edge')} {'is' if kept == 1 else 'are'} kept.", strongest, why])),
            sure=f"{error} No interval was computed.",
            would_change=f"{self._cut}{f' {self.why_empty}.' if self.why_empty and self.why_empty not in why else ''}",
        )

    @property
    def _cut(self) -> str:
        """By which rule edges are kept, and how strong those next to the cut are."""
        sizes = self.table["effect"].abs()
        kept, left = sizes[self.table["kept"]].min(), sizes[~self.table["kept"].astype(bool)].max()
        ends = [f"the weakest kept edge has |effect| {shown(kept)}"] if kept == kept else []
        ends += [f"the strongest one left out {shown(left)}"] if left == left else []
        rule = f"Another rule than {named(self.provenance['kept'])}" if self.provenance.get("kept") else "Another cut"
        return f"{rule}{': ' * bool(ends)}{', '.join(ends)}."

    @one_line
    def __repr__(self) -> Iterator[str]:
        about = self.provenance
        yield named(about["model"]) if about.get("model") else ""
        yield f"{int(self.table['kept'].sum()):,} of {len(self.table):,} edges"
        yield shortened(about.get("metric", ""), 25)
        yield f"contrast {shortened(about['contrast'], 25)!r}" if about.get("contrast") else ""
        yield f"n = {int(self.table['n'].iloc[0])}" if len(self.table) else ""

    def with_view(self, state: Any) -> "Circuit":
        """The same circuit, to be saved with what a diagram of it shows first: groups, what is selected, the cut and so on.

        Args:
            state: as for `draw`, such as a link that was copied from a diagram, or `diagram.state`.

        Raises:
            ValueError: if it is none.
        """
        from .diagram_state import state_of, state_problems

        refuse(state_problems(state))
        return replace(self, provenance={**self.provenance, "view": state_of(state)})

    def figure(self) -> Any:
        """The interactive diagram."""
        from .diagram import draw

        return draw(self)

    def _repr_html_(self) -> str:
        return self.figure()._repr_html_()


def outside_in_words(outside: Any) -> str:
    """How much of a circuit has no counterpart in another one, see `circuits.counterparts`; empty if nobody asked."""
    if not isinstance(outside, Mapping) or not {"share", "n_edges"} <= set(outside):
        return ""
    return (
        f"{fixed(100 * outside['share'], 1)} % of Σ |effect| outside, on {outside['n_edges']:,} edges without a counterpart"
    )


def _provenance_problems(provenance: Any) -> list[str]:
    """Why something does not say how a circuit was measured, or on which prompts and units."""
    if not isinstance(provenance, Mapping):
        return [f"provenance is {shortly(provenance)}, needed is a mapping, as in provenance={{'model': 'a'}}"]
    hashes = provenance.get("hashes")
    return [] if hashes is None else [f"provenance['hashes']: {each}" for each in hash_problems(hashes)]


def has_number(effects: pd.Series) -> np.ndarray:
    """Whether each effect is a number; infinite ones are none."""
    return np.isfinite(effects.to_numpy(dtype=float))


def measured_rows(table: pd.DataFrame) -> np.ndarray:
    """Which edges of a table are not merely estimated next to others that were measured."""
    return (table["verified"] != "estimated").to_numpy() if "verified" in table else np.ones(len(table), dtype=bool)


def without_numbers(effects: pd.Series, what: str) -> str:
    """How many have no number, in words; empty if all have one."""
    missing = int((~has_number(effects)).sum())
    if not missing:
        return ""
    return f"no {what}" if missing == len(effects) else f"{missing} of {len(effects)} {what} without a number"


def connected(graph: ComputationGraph, edges: Iterable[Edge]) -> set[Edge]:
    """Those of the edges that lie on a path from a source, such as an embedding, to the answer made of these edges alone.

    Args:
        graph: which says what comes before what.
        edges: to choose from.
    """
    given = set(edges)
    reached = set(graph.sources)
    from_input = []
    for edge in graph.edges:  # upwards: what a component reads comes before what it writes
        if edge in given and edge.sender in reached:
            from_input.append(edge)
            reached.update(graph.outputs_of(edge.receiver))
    needed: set[Node] = set()
    found = set()
    for edge in reversed(from_input):
        if edge.receiver == graph.answer or needed.intersection(graph.outputs_of(edge.receiver)):
            found.add(edge)
            needed.add(edge.sender)
    return found


@dataclass(frozen=True)
class _Measured:
    """What was measured of each edge: a row of the table and of the deltas."""

    table: pd.DataFrame
    deltas: np.ndarray | None
    donor_gaps: np.ndarray | None
    graph: ComputationGraph
    provenance: Mapping[str, Any]

    def _by_query_problem(self) -> str:
        """Why deltas and gaps do not belong to the rows of the table, as after one of them was sorted; empty if they do."""
        if self.deltas is None or self.donor_gaps is None:
            return ""
        if self.deltas.shape != (size := (len(self.table), len(self.donor_gaps))):
            return f"deltas have the shape {self.deltas.shape}, needed are edges and queries, {size}"
        known = has_number(self.table["effect"])
        found, said = self.deltas.sum(1)[known], self.table["effect"].to_numpy(dtype=float)[known] * self.donor_gaps.sum()
        allowed = 1e-6 * (np.abs(self.deltas[known]).sum(1) + np.abs(self.donor_gaps).sum())
        if not (wrong := np.abs(found - said) > allowed).any():
            return ""
        row = self.table.loc[known].iloc[int(wrong.argmax())]
        return f"{int(wrong.sum())} effects are not Σ deltas / Σ donor_gaps, the first is of {row.sender} -> {row.receiver}"

    def in_order(self) -> "_Measured":
        """Copies of all of it, with the rows in the order of the graph's edges, however they came."""
        if problem := self._by_query_problem():
            raise ValueError(f"the changes by query are not those of the table: {problem}")
        table, graph = _at_positions(self.table, self.graph)
        place = {(str(edge.sender), str(edge.receiver)): number for number, edge in enumerate(graph.edges)}
        rows = list(zip(table["sender"], table["receiver"], strict=True))
        order = np.argsort([place.get(row, len(place)) for row in rows], kind="stable").astype(int)
        deltas = None if self.deltas is None else self.deltas[order]
        gaps = None if self.donor_gaps is None else self.donor_gaps.copy()
        return _Measured(table.iloc[order], deltas, gaps, graph, deepcopy(dict(self.provenance)))


def _at_positions(table: pd.DataFrame, graph: ComputationGraph) -> tuple[pd.DataFrame, ComputationGraph]:
    """Edges without positions as those of the graph in which one position stands for all."""
    if not len(table) or "@" in table["sender"].iloc[0]:
        return table, graph
    return table.assign(**{name: table[name] + f"@{ALL_POSITIONS}" for name in ("sender", "receiver")}), graph.together


def _measured(effects: Result | pd.DataFrame, graph: ComputationGraph | None) -> _Measured:
    """The parts of a result that has them (the fields of `Circuit` but for `kept`), else of its frame."""
    found: Any = effects
    if isinstance(effects, Result) and all(hasattr(found, name) for name in ("graph", "provenance", "deltas", "donor_gaps")):
        by_query = (found.deltas, found.donor_gaps)
        changes = (None, None) if any(part is None for part in by_query) else by_query
        return _Measured(found.table, *changes, graph or found.graph, found.provenance)
    frame = effects if isinstance(effects, pd.DataFrame) else effects.to_frame()
    graph = graph or _graph_from(frame)
    return _Measured(*one_row_each(frame), graph, frame.attrs.get("provenance", {}))


def _strong(
    table: pd.DataFrame, top_k: int | None, threshold: float | None, edges: Collection[Edge] | None
) -> tuple[np.ndarray, str]:
    """Which rows are kept before the unconnected ones are dropped, and by which rule; none without a number."""
    known = has_number(table["effect"])
    if edges is not None:
        names = {(str(edge.sender), str(edge.receiver)) for edge in edges}
        given = np.array([pair in names for pair in zip(table["sender"], table["receiver"], strict=True)], dtype=bool)
        return given & known, GIVEN
    known &= measured_rows(table)
    strength = np.where(known, table["effect"].abs().to_numpy(dtype=float), -np.inf)
    if top_k is None:
        threshold = DEFAULT_THRESHOLD if threshold is None else threshold
        return known & (strength >= threshold), f"|effect| ≥ {threshold:g}"
    if top_k > len(table):
        raise ValueError(f"top_k must be a whole number between 1 and the {len(table)} measured edges, got {top_k!r}")
    strong = np.zeros(len(table), dtype=bool)
    strong[np.argsort(-strength, kind="stable")[:top_k]] = True
    return strong & known, f"top {top_k} by |effect|"


def _why_none(n_strong: int, rule: str) -> str:
    """Why no edge is kept by a rule that chose this many edges, before the unconnected ones were dropped."""
    edges = f"{n_strong or 'no'} {'edge was' if n_strong < 2 else 'edges were'}"
    chosen = f"{edges} given" if rule == GIVEN else f"{edges} strong enough ({rule})"
    apart = ", but none lies on a path of them from an embedding to the logits" if n_strong else ""
    return f"{chosen}{apart}; keep more" + ("" if rule == GIVEN else ", with a larger top_k or a lower threshold")


def _edges_of(table: pd.DataFrame) -> list[Edge]:
    rows = zip(table["sender"], table["receiver"], strict=True)
    return [Edge(Node.parse(sender), Node.parse(receiver)) for sender, receiver in rows]


def _graph_from(frame: pd.DataFrame) -> ComputationGraph:
    if "graph" not in frame.attrs:
        raise ValueError(
            "this frame does not say which graph its edges belong to; pass graph=ComputationGraph.transformer(...)"
        )
    return ComputationGraph.from_dict(frame.attrs["graph"])
