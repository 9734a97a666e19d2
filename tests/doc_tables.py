"""Tables of documents that are made from what is shipped."""

from collections.abc import Callable, Iterator
from functools import cache

import doc_compositions
import pandas as pd
from doc_numbers import like
from doc_shipped import VERDICTS, runs, shipped

from grokscope.analyses.claims.deciding import ARCHITECTURES
from grokscope.analyses.claims.registry import CLAIMS
from grokscope.analyses.study.first_screen import WHY_NOT
from grokscope.analyses.study.verdict_table import in_words
from grokscope.circuits import yardstick

ARMS = {
    "natural": "natural",
    "hop2_dose_4": "second hops, a quarter of the facts 4 times",
    "hop2_dose_9": "second hops, half of the facts 9 times",
    "both_half": "both half",
    "first_hop": "first hop",
    "second_hop": "second hop",
    "both_hops": "both hops",
    "untied": "untied control",
    "natural_phi5": "natural, φ ≈ 5",
    "natural_slots": "natural, bidirectional",
    "second_hop_slots": "second hop, bidirectional",
}
PILOT = {
    "natural": "natural",
    "first_hop": "first hop",
    "second_hop": "second hop",
    "both_hops": "both hops",
    "untied": "natural, four separate blocks instead of one four times",
}
ORIGINS = {
    "grokked": "grokked",
    "second_hop": "second hop",
    "early": "early",
    "taught": "taught",
    "random": "random",
    "grokked_late": "natural, step 15,000",
    "taught_late": "both hops, step 15,000",
}
CLAIMS_PAGE = "docs/explanation/claims.md"  # from the README, which lies beside docs
NOT = "not reached"
EVERY = 100  # steps between evaluations
MANY = 5  # trainings in one cell of a table


def pilot() -> list[list[str]]:
    """Phases and accuracies of the pilot's runs."""
    head = ["run", "`id_generalised`", "`ood_generalised`", "at 15,000 steps: ID test", "OOD+ID", "ID+OOD", "OOD+OOD"]
    rows = runs("pilot").set_index("run")
    return [
        head,
        *(
            [
                name,
                *(_step(rows[phase][run]) for phase in ("id_generalised", "ood_generalised")),
                *(like(rows[split][run], ".00") for split in ("id", "ood_id", "id_ood", "ood")),
            ]
            for run, name in PILOT.items()
        ),
    ]


def arms() -> list[list[str]]:
    """What the study's arms reached, graph by graph."""
    head = ["arm", "added compositions", "runs, graphs", "`id_generalised`", "`ood_generalised`, by graph"]
    head += ["OOD+OOD ≥ .9 on the reported half, by graph", "OOD+OOD at 15,000 steps"]
    table = [head]
    for arm, name in ARMS.items():
        rows = runs("study")[lambda frame, arm=arm: frame["arm"] == arm].sort_values(["seed", "replicate"])
        row = [name, like(rows["added"].median(), "1"), f"{len(rows)}, {rows['seed'].nunique()}"]
        row += [_span(rows["id_generalised"]), _by_graph(rows, "ood_generalised"), _by_graph(rows, "to_90")]
        table.append([*row, _by_graph(rows, "ood")])
    return table


def cost() -> list[list[str]]:
    """Steps to .9 on the half that chooses checkpoints, as read before, and on the reported half; FLOPs."""
    table = [["arm", "added compositions", "before", "now", "FLOPs", "graphs"]]
    names = {arm: name.removeprefix("second hops, ") for arm, name in ARMS.items() if arm != "untied"}
    first = runs("study")[lambda frame: frame["replicate"] == 0]
    for arm, name in names.items():
        steps, now = first[first["arm"] == arm]["ood_generalised"], shipped()[f"cost/{arm}.0.9"]
        before = _median(steps.median(), steps.min(), steps.max())
        row = [name, like(shipped()[f"cost/{arm}.added"].value, "1"), before, _median(now.value, now.low, now.high)]
        table.append([*row, like(shipped()[f"cost/{arm}.0.9.flops"].value, "1.0e1"), str(now.n)])
    return table


def new_facts() -> list[list[str]]:
    """Exact match on questions about new facts, medians over graphs, without exposure."""
    cells = ("new+old", "old+new", "new+new")
    rows = [
        [name, *(like(shipped()[f"transfer/cells.{arm}.m0.{cell}.exact_match"].value, ".00") for cell in cells)]
        for arm, name in ORIGINS.items()
    ]
    return [["from", *cells], *rows]


def replicates() -> list[list[str]]:
    """How far circuits of two trainings of one arm are apart, and two halves of one circuit, over the study's graphs."""
    phases, arms = ("id_generalised", "ood_generalised", "final"), ("natural", "both_hops")
    measured = pd.DataFrame(yardstick.shipped()["pairs"])
    found = measured.groupby(["arm", "phase"])[["jensen_shannon", "halves"]].agg(["min", "max"])
    table = [["arm", *(f"`{phase}`" for phase in phases)]]
    for column, word in (("jensen_shannon", ""), ("halves", "halves, ")):
        for arm in arms:
            spans = [found.loc[(arm, phase), column] if (arm, phase) in found.index else None for phase in phases]
            shown = ["" if span is None else f"{like(span['min'], '.000')} to {like(span['max'], '.000')}" for span in spans]
            table.append([word + arm.replace("_", " "), *shown])
    return table


def verdicts() -> list[list[str]]:
    """Claims by architecture: the verdict, and the number that it hangs on, as the first screen of the report has them."""
    table = pd.read_csv(VERDICTS, keep_default_na=False, na_values={"value": "", "low": "", "high": ""})
    head = ["claim of He et al. 2026 (abstract)", *ARCHITECTURES.values()]
    return [
        head,
        *([f"{claim.label} “{claim.words}”", *_cells(name, table)] for name, claim in CLAIMS.items() if claim.words),
    ]


def verdict_lines() -> list[list[str]]:
    """Claims by architecture, the verdict alone with what it rests on, for a first look."""
    table = pd.read_csv(VERDICTS)
    head = ["claim", *ARCHITECTURES.values()]
    asked = {name: claim for name, claim in CLAIMS.items() if claim.words}
    return [head, *([f"[{claim.heading}]({CLAIMS_PAGE})", *_lines(name, table)] for name, claim in asked.items())]


def _lines(claim: str, table: pd.DataFrame) -> Iterator[str]:
    for architecture in ARCHITECTURES:
        rows = table[(table["claim"] == claim) & (table["architecture"] == architecture)].sort_values("standing")
        told = [f"**{row['verdict']}**, {row['standing']}, {row['n']} graphs" for row in rows.to_dict("records")]
        yield "<br>".join(told) or "not asked"


def _cells(claim: str, table: pd.DataFrame) -> Iterator[str]:
    for architecture in ARCHITECTURES:
        rows = table[(table["claim"] == claim) & (table["architecture"] == architecture)].sort_values("standing")
        told = [f"**{row['verdict']}**, {row['standing']}: {in_words(row)}" for row in rows.to_dict("records")]
        yield "<br>".join(told) or WHY_NOT.get((claim, architecture), "not judged yet")


TABLES: dict[str, Callable[[], list[list[str]]]] = {
    **{made.__name__: cache(made) for made in (pilot, arms, cost, new_facts, replicates, verdicts, verdict_lines)},
    **doc_compositions.TABLES,
}
"""By the names that pages use; each is made once."""


def _step(step: float) -> str:
    return NOT if step != step else f"{step:,.0f}"


def _median(value: float, low: float, high: float) -> str:
    return f"{value:,.0f}" if low == high else f"{value:,.0f} [{low:,.0f}, {high:,.0f}]"


def _span(steps: pd.Series) -> str:
    return _step(steps.min()) if steps.min() == steps.max() else f"{steps.min():,.0f} to {steps.max():,.0f}"


def _by_graph(rows: pd.DataFrame, column: str) -> str:
    """Trainings on one graph between slashes, graphs between semicolons; once, if all are alike, to one evaluation."""
    form: Callable[[float], str] = _step if column != "ood" else lambda value: like(value, ".00")
    each: Iterator[str] = (" / ".join(map(form, of_graph[column])) for _, of_graph in rows.groupby("seed"))
    graphs = list(each)
    alike = {form(value) for value in rows[column]}
    if len(alike) > 1 and len(rows) > MANY and column != "ood" and rows[column].max() - rows[column].min() <= EVERY:
        return _span(rows[column])
    return graphs[0].split(" / ")[0] + ("" if alike == {NOT} else " in all") if len(alike) == 1 else "; ".join(graphs)
