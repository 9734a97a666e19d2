"""What edits of facts did: a row for each edit, place and split, and a summary over edits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd

from ...circuits import Result
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation, without_rows
from ...circuits.plain_text import counted
from ...circuits.units import fixed, interval
from ..plots.edits import propagation_by_place
from ..statistics import wilson

BY = ["method", "facts", "place", "part"]
SHARES = ("propagated", "kept", "propagated_able", "right_before", "unedited", "other_edit")
OTHERS = ["facts_before", "facts_after", "composed_before", "composed_after"]


@dataclass(frozen=True, eq=False)
class EditResult(Result):
    """Whether questions follow a change of a fact that they rest on.

    Attributes:
        table: a row for each method, edit, place and split of questions whose answer changes with the fact, with
            method, edit: its number; fact, facts: the fact's number and its split; old, new: its answers, as tokens;
            place: where the questions use the fact: `hop1` or `hop2` in two-hop questions; split, part: of the questions;
            propagated: share of them that are answered with the new answer; kept: with the old one;
            propagated_able: the first share among the `n_able` for which every other fact of the new answer works at its
            place before the edit: at least half of the questions that use it there are answered right;
            right_before: share answered right before; unedited: share answered with the new answer before;
            other_edit: the same after another fact was changed by the same method; NaN for `exchange`, which changes nothing
            else, or where there is but one edit;
            n, n_able, n_units: questions, and their units;
            why_not: why the method is not defined there; all that is measured is then NaN. Else empty.
        edits: a row for each method and edit, with method, edit, fact, facts, old, new, and
            took: 1 if the atomic question is now given the new answer, 0 if not; NaN for `exchange`, which is no change of a
            fact but of its use;
            n_steps: of training or of the gradient; where: what was changed;
            facts_before, facts_after, n_facts: accuracy on all other atomic questions; composed_before, composed_after,
            n_composed: on a sample of the composed questions that rest on other facts.
        model: the model's name.
        methods: those asked for.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(
            words="method facts place split part why_not",
            numbers="propagated kept propagated_able right_before unedited other_edit",
            whole="edit fact old new n n_able n_units",
        ),
    ]
    edits: Annotated[
        pd.DataFrame,
        Columns(
            words="method facts where",
            numbers="took facts_before facts_after composed_before composed_after",
            whole="edit fact old new n_steps n_facts n_composed",
        ),
    ]
    model: str
    methods: list[str]

    @property
    def by_edit(self) -> pd.DataFrame:
        """Shares by method, split of facts, place, part and edit, over the questions of all splits of a part.

        Edits that did not take are left out, and places where the method is not defined.
        """
        rows = self._taken
        weights = {name: rows["n_able" if name == "propagated_able" else "n"].where(rows[name].notna()) for name in SHARES}
        parts = {name: rows[name] * weights[name] for name in SHARES} | {f"n of {name}": weights[name] for name in SHARES}
        sums = rows[[*BY, "edit", "n"]].assign(**parts).groupby([*BY, "edit"], sort=False).sum().reset_index()
        shares = {name: sums[name] / sums[f"n of {name}"].where(sums[f"n of {name}"] > 0) for name in SHARES}
        return sums[[*BY, "edit", "n"]].assign(**shares)

    @property
    def summary(self) -> pd.DataFrame:
        """Means over edits that took, each counted once: by method, split of facts, place and part of questions.

        The shares of `table`; low, high: the 95 % Wilson interval of `propagated` over edits, which are independent, as
        questions are not; facts_before, facts_after, composed_before, composed_after: of `edits`; n_edits: those that took
        and on which such questions rest, of n_asked; n: their questions.
        """
        asked = self.edits.groupby(["method", "facts"]).size().to_dict()
        rows = self.by_edit.merge(self.edits[["method", "edit", *OTHERS]], on=["method", "edit"])
        found = []
        groups: Any = rows.groupby(BY, sort=False)
        for key, group in groups:
            row: dict[str, Any] = dict(zip(BY, key, strict=True))
            row |= {name: float(group[name].mean()) for name in SHARES}
            bounds = wilson(row["propagated"], len(group))
            row |= {"low": bounds.low, "high": bounds.high, **{name: float(group[name].mean()) for name in OTHERS}}
            found.append(
                row | {"n_edits": len(group), "n_asked": asked[row["method"], row["facts"]], "n": int(group["n"].sum())}
            )
        return pd.DataFrame(found)

    @property
    def _taken(self) -> pd.DataFrame:
        """The rows of edits that took, where the method is defined."""
        failed = self.edits[self.edits["took"] == 0][["method", "edit"]]
        gone = pd.MultiIndex.from_frame(self.table[["method", "edit"]]).isin(pd.MultiIndex.from_frame(failed))
        return self.table[~gone & (self.table["why_not"] == "")]

    @property
    def caption(self) -> str:
        """Model, methods, and how many edits took."""
        took = self.edits.groupby("method", sort=False)["took"]
        said = [
            f"{method}: {int(values.sum())} of {len(values)} edits took"
            if values.notna().all()
            else f"{method}: {len(values)}"
            for method, values in took
        ]
        return f"{self.model} · {' · '.join(said)}"

    def explain(self) -> Explanation:
        """Where questions follow an edit most, and where least."""
        if self.table.empty:
            return without_rows(self.model)
        rows = self.summary
        known = [row for row in rows.to_dict("records") if row["propagated"] == row["propagated"]]
        known.sort(key=lambda row: row["propagated"])
        ends = [known[-1], known[0]] if len(known) > 1 else known  # which follow most, and least
        shares = " and ".join(f"{fixed(row['propagated'], 2)} {_where(row)}" for row in ends)
        bounds = " and ".join(interval(row["low"], row["high"], 2) for row in ends)
        took = " and ".join(f"{row['n_edits']} of {row['n_asked']}" for row in ends)
        before = " and ".join(fixed(row["right_before"], 2) for row in ends)
        return Explanation(
            measured="Whether questions that rest on a fact get the new answer after that fact is changed, by "
            f"{', '.join(self.methods)}.",
            on=f"{self.model}, {counted(len(self.edits), 'edit')} of facts and the questions whose answer follows.",
            means=f"The share of questions that follow is {shares} (1 is all, 0 none)."
            if ends
            else "Nothing: no edit took where a method is defined.",
            sure=f"The 95 % Wilson intervals, over edits, are {bounds}." if ends else "No interval was computed.",
            would_change=f"More edits: {took} took and have such questions, of which {before} were answered right before."
            if ends
            else "Other methods, or other facts.",
        )

    def figure(self) -> Any:
        """Answers that follow by place and method, a panel for each split of facts and part of questions; dots are edits."""
        how = f"n = {self.edits['edit'].nunique()} edits, the dots · bars: mean, 95 % Wilson interval over edits"
        return propagation_by_place(self.by_edit, self.summary, title=f"{self.caption} · {how}")


def _where(row: Mapping[Any, Any]) -> str:
    """Which edits and which questions a row of the summary is of."""
    return f"after {row['method']} of {row['facts']} facts, used at {row['place']} in questions of the part {row['part']}"
