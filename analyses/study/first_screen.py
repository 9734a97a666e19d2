"""The first screen of the page: what was asked, what was found, in which architecture, by which number."""

import html
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ..claims.deciding import ARCHITECTURES, CONFIRMATORY
from ..claims.registry import CLAIMS
from .verdict_table import in_words

SOURCE = "He et al. 2026, abstract"
WHY_NOT: dict[tuple[str, str], str] = {
    ("same_path", "bidirectional"): "not asked: no taught models of this kind were trained",
    ("transfer", "bidirectional"): "not asked: no model of this kind was taught new facts",
    ("transfer", "token mixing"): "not decided, as registered: one graph is shown in docs/explanation/trm.md",
}
"""By claim and architecture, why there is no verdict."""
TERMS = (
    ("question", "(h, r1, r2): follow relation r1 from entity h to the bridge b, then r2 from b to the answer"),
    ("in-distribution (ID)", "both facts were also trained inside other questions"),
    ("unseen (OOD)", "both facts were trained by themselves only"),
    ("grokked", "a natural training that has come to answer OOD questions; natural: no OOD fact in a trained question"),
    ("taught", "OOD facts were put into trained questions, so that OOD questions are answered early, without grokking"),
    ("early, late", "two moments of training at which natural ones answer no OOD questions and taught ones, as old, do"),
    ("replicate", "a second training of the same kind on the same graph: what two paths that are the same may differ by"),
    ("control", "a case whose answer is known; a measure that is wrong there decides nothing, its row is invalid"),
    ("path", "where the bridge is made, where it is kept, and that the answer needs it and follows it"),
    ("undecided", "the numbers neither support nor contradict the claim by the rules that were fixed beforehand"),
)
"""Words of the first screen."""


def first_screen(table: pd.DataFrame, cost: str) -> str:
    """A grid of claims and architectures as HTML, with the terms that it uses.

    Args:
        table: of `verdict_table`.
        cost: a sentence on what waiting costs, for the last row.
    """
    names = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in ARCHITECTURES.values())
    claims = [name for name, claim in CLAIMS.items() if claim.words]
    rows = "".join(_row(name, table[table["claim"] == name]) for name in claims)
    asked = '<a href="#claim-cost">Is waiting worthwhile?</a>'
    last = f'<tr><th scope="row">{asked}</th><td colspan="3">{html.escape(cost)}</td></tr>'
    terms = "".join(f"<dt>{html.escape(term)}:</dt> <dd>{html.escape(meaning)}</dd>" for term, meaning in TERMS)
    head = f'<thead><tr><th scope="col">the paper’s claim</th>{names}</tr></thead>'
    return f'<div class="grid"><table>{head}<tbody>{rows}{last}</tbody></table></div><dl class="terms">{terms}</dl>'


def headline(table: pd.DataFrame, sure: Mapping[str, pd.DataFrame]) -> list[str]:
    """What came out, a line for each claim: its verdicts, and what single rows say for or against it.

    Args:
        table: of `verdict_table`.
        sure: by claim, of `deciding.sure_rows`.
    """
    lines = []
    for name, rows in sure.items():
        of_claim = table.loc[table["claim"] == name, "verdict"]
        counts = ", ".join(f"{word} in {n} of {len(of_claim)} tests" for word, n in of_claim.value_counts().items())
        parts = " ".join(_of(word, rows) for word in ("supported", "contradicted") if (rows["says"] == word).any())
        lines.append(f"{CLAIMS[name].heading} {(counts or 'not judged').capitalize()}. {parts}".strip())
    return lines


def _of(word: str, rows: pd.DataFrame) -> str:
    """Which parts of a claim are supported or contradicted by themselves, and where."""
    told = [
        f"{quantity} ({'; '.join(dict.fromkeys(map(_place, of['architecture'], of['standing'])))})"
        for quantity, of in rows[rows["says"] == word].groupby("quantity", sort=False)
    ]
    return f"{word.capitalize()} by itself: {', '.join(told)}."


def _place(architecture: str, standing: str) -> str:
    return f"{ARCHITECTURES[architecture].partition(',')[0]}, {standing}"


def _row(name: str, table: pd.DataFrame) -> str:
    claim = CLAIMS[name]
    said = f'<a href="#claim-{name}">{html.escape(claim.label)}</a> <q>{html.escape(claim.words)}</q>'
    cells = "".join(
        f'<td data-label="{html.escape(label)}">{_cell(name, architecture, table)}</td>'
        for architecture, label in ARCHITECTURES.items()
    )
    return f'<tr><th scope="row">{said}</th>{cells}</tr>'


def _cell(name: str, architecture: str, table: pd.DataFrame) -> str:
    rows = table[table["architecture"] == architecture].sort_values("standing", kind="stable")
    if rows.empty:
        return f'<p class="none">{html.escape(WHY_NOT.get((name, architecture), "not judged yet"))}</p>'
    records: Any = rows.to_dict("records")
    return "".join(map(_verdict, records))


def _verdict(row: dict[str, object]) -> str:
    """A verdict with what it hangs on; confirmatory ones are filled."""
    look = "sure" if row["standing"] == CONFIRMATORY else "open"
    place = f'<span class="standing">{row["standing"]}, graphs {row["graphs"]}</span>'
    word = f'<a class="word {row["verdict"]} {look}" href="#claim-{row["claim"]}">{row["verdict"]}</a>'
    told = html.escape(in_words(row))
    number = f'<a class="number" href="#{row_name(row)}">{told}</a>' if row["row"] else f'<span class="number">{told}</span>'
    return f'<div class="verdict">{word} {place}<br>{number}</div>'


def row_name(row: dict[str, object]) -> str:
    """The name of a row of a result on the page, to which its numbers lead."""
    return prefix_of(str(row["study"]), str(row["claim"]), str(row["architecture"])) + str(row["row"])


def prefix_of(study: str, claim: str, architecture: str) -> str:
    """How names of rows begin."""
    return f"row-{study}-{claim}-{architecture.replace(' ', '_')}-"


def cost_in_words(summaries: Mapping[str, pd.DataFrame]) -> str:
    """How long natural training and that with both hops taught take, by graphs of which both were trained."""
    found = []
    for graphs, summary in summaries.items():
        rows = summary[summary["level"] == summary["level"].max()].set_index("arm")
        if {"natural", "both_hops"} <= set(rows.index):
            told = (
                _waits(name, rows.loc[arm])
                for name, arm in (("natural training", "natural"), ("taught both hops", "both_hops"))
            )
            found.append(f"{graphs}: {', '.join(told)}")
    return f"Until .9 of the unseen questions are answered: {'; '.join(found)}" if found else "not measured"


def _waits(name: str, row: pd.Series) -> str:
    if row["reached"] < row["n"]:
        return f"{name} gets there in {row['reached']:.0f} of {row['n']:.0f} graphs"
    return f"{name} takes {row['median']:,.0f} steps [{row['low']:,.0f}, {row['high']:,.0f}] (n = {row['n']:.0f} graphs)"
