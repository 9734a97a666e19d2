"""The logit lens: what would be answered if the rest of the model were skipped.

Each state of the residual stream goes through the model's head (nostalgebraist 2020; Wang et al. 2024, section 3.3), so
that the last one gives the model's logits, which is checked on every prompt. Readable is not used, and in a causal model the
bridge at r1 is readable as soon as the atomic fact is known; what tells is when it becomes readable, next to what chance
gives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import einops
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from ...circuits import Result
from ...circuits.arguments import common_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...circuits.progress import with_bar
from ...tasks import PromptPairs, Queries, Run, top_token
from ...tasks.questions.given_pairs import asked_problems
from ...tasks.questions.layout import free_slots
from ...tasks.questions.validity import outputs_of, taken_problems, vocabulary_problems
from ...tasks.transformerlens import Model
from ..forward.head import check_last_state, decode, same_vocabulary
from ..forward.hooks import refuse_hooks
from ..forward.memory import MAX_BATCH, Sizes, batches, budget, how_many
from ..forward.model import Stage, check_model, ends_of_loops, residual_states
from ..plots.curves import trajectory_curves
from ..plots.heatmaps import MEANING, cell_heatmaps
from ..statistics import wilson
from ..training.by_step import by_step, for_each_step
from .contingency import found_by_correct
from .found_by_query import COLUMNS, FIRST, any_cell, first_found
from .largest import CHOSEN, READABLE, Cells, without_number
from .own_pairs import questions_of
from .questions import as_read, seen_by

TARGETS = ("bridge", "answer", "shuffled bridge")
"""What a figure of two-hop questions shows."""
SHUFFLED = "shuffled "
ANSWER, OTHER = "answer", "other"  # what else a row may be about, next to intermediates and roles


@dataclass(frozen=True, eq=False)
class LensResult(Result):
    """What can be read at each layer and position.

    Attributes:
        table: a row for each stage (layer, −1 is the embedding, and `after`: `embedding`, `attention` or `layer`; there is
            no `attention` without MLPs or where these run in parallel with it), role and target (`bridge`, or each other
            intermediate by its name, `answer`, the question's tokens by role, in two-hop questions `h`, `r1`, `r2`, and as
            the null `shuffled bridge`, another query's; no tokens by role where the model answers from another vocabulary
            than that of its prompts, `d_vocab_out`), with
            top1: share of queries in which the target is strictly more likely than every other token, and its 95 %
                interval low, high (Wilson's, with the number of distinct units as its n, since states repeat in a unit);
            top5: share of queries with fewer than five other tokens at least as likely as the target;
            mean_rank: mean rank of the target, 0 is first, ties count against it, see `tasks.top_token`;
            mrr: mean of 1 / (rank + 1);
            probability: mean probability of the target;
            n: number of queries that have a token there: prompts in which the role is a pad that the model does not see are
            left out, and where none has one rates are NaN; n_facts: units among them, the hop-1 facts of two-hop questions.
        roles: which token is top-1: a row for each stage, role and token (a target, or `other`, where ties go; the first of
            them where two are the same entity) with its share of the queries, n as in `table`.
        queries: a row for each query with its unit (column `fact`), whether it is answered correctly, whether bridge, answer
            and another query's bridge are found at any cell, and the first stage, counted from 0, the embedding, at which
            bridge and answer are top-1 anywhere (NaN: nowhere).
        model: the model's name.
        split: what the queries are.
        n_cells: how many cells "any cell" means: embedding and the end of each loop (of each layer, if none are shared),
            times positions, as He et al. 2026 count (code, `evaluate`).

    Of several intermediates, `bridge_found_any`, `found_by_correct` and `first` are about the first.
    """

    table: Annotated[pd.DataFrame, Columns(words="role after target", numbers="top1", whole="layer")]
    roles: pd.DataFrame
    queries: pd.DataFrame  # whose columns are called by the intermediates
    model: str
    split: str
    n_cells: int

    @property
    def intermediates(self) -> list[str]:
        """The names of what lies between question and answer; two-hop questions have `bridge`."""
        first = [column.removeprefix(FIRST) for column in map(str, self.queries) if column.startswith(FIRST)]
        return [name for name in first if name != "answer"]

    @property
    def any_cell(self) -> pd.DataFrame:
        """Share of queries whose target is top-1 at any cell, by target, with Wilson's interval over units."""
        return for_each_step(self.queries, any_cell)

    @property
    def bridge_found_any(self) -> float:
        """Share of queries whose bridge is top-1 at any cell (He et al. 2026, section 3); see `any_cell` for a run."""
        return self._rate(self.intermediates[0])

    @property
    def target_found_any(self) -> float:
        """Share of queries whose answer is top-1 at any cell; not accuracy, but an upper bound of it."""
        return self._rate("answer")

    @property
    def found_by_correct(self) -> pd.DataFrame:
        """How finding the bridge at any cell goes together with a correct answer, see `contingency`."""
        columns = (self.intermediates[0], *reversed(COLUMNS))
        return for_each_step(self.queries, lambda rows: found_by_correct(*(rows[c].to_numpy() for c in columns)))

    @property
    def first(self) -> pd.DataFrame:
        """Which is top-1 somewhere at an earlier stage, bridge or answer: a row for each outcome with its share."""
        return for_each_step(self.queries, lambda rows: first_found(rows, self.intermediates[0]))

    @property
    def caption(self) -> str:
        """Model, split and n in one line."""
        most = self.table[["n", "n_facts"]].max()  # roles that are pads in some prompts have fewer
        return f"{self.model} · {self.split} · n = {most['n']} queries over {most['n_facts']} units"

    def explain(self) -> Explanation:
        """Where the first intermediate can be read, next to another question's."""
        cells, found = Cells.of(self.table), Cells.of(self.queries)
        name = next(iter([*self.intermediates, *cells.names("target")]), "")
        measured = (
            f"Whether the {name} is strictly the most likely token when a state goes through the model's head as it is, "
            "after every layer and at every position."
        )
        best = cells.having(target=name).largest("top1")
        if best is None:
            return without_number(measured, self.table, self.model, self.split)
        null = cells.beside(best, "layer", "after", "role", target=SHUFFLED + name)
        return Explanation(
            measured=measured,
            on=f"{best.asked(self.model, self.split)}.",
            means=f"It is read most often at {best.place}: in {best.number('top1')} of the questions (1 is all, 0 none), "
            f"another question's in {null.number('top1')}. {READABLE}",
            sure=f"{best.bounds()} {CHOSEN}",
            would_change=f"Counted at any of {self.n_cells} cells, it is found in {found.mean(name)} and another question's "
            f"in {found.mean(SHUFFLED + name)}: with more cells, more is found by chance.",
        )

    def figure(self) -> Any:
        """Heat maps of the top-1 rates, stage × position; of a run, the bridge's and the answer's rates by step."""
        measured = f"logit lens, top-1 share · {self.caption}"
        if "step" in self.table:
            shown = self.table["target"].isin((*self.intermediates, "answer"))
            rows = relation_rows(self.table[shown & (self.table["after"] != "attention")])
            rows = rows.assign(panel=rows["target"] + " at " + rows["role"])
            look = {"label": MEANING["top1"], "title": f"{measured} · bands: 95 % Wilson over units"}
            return trajectory_curves(rows, "top1", by="panel", **look)
        rows = self.table[self.table["target"].isin(shown_targets(self.intermediates))]
        title = f"{measured} · on hover: 95 % Wilson over units"
        return cell_heatmaps(rows, "target", "top1", label=MEANING["top1"], title=title, bounds=True)

    def _rate(self, target: str) -> float:
        if "step" in self.queries:
            raise ValueError("this lens holds a rate for each step of a run; see any_cell")
        return float(self.queries[target].mean())


@torch.no_grad()
def logit_lens(
    model: Model | Run,
    queries: Queries | PromptPairs,
    *,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> LensResult:
    """Read intermediates, answer and the question's tokens off every layer and position.

    Args:
        model: any model without hooks, which is not changed; or a run, all of whose checkpoints are read.
        queries: questions with intermediates, two-hop, atomic or any other; or pairs, whose clean prompts are read.
        max_memory: bytes that may be used, what is kept of all queries included; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the shuffle that gives each query another query's intermediate, for the null.

    Raises:
        ValueError: if there is no query or no intermediate; or, all at once, for answers and intermediates that the model
            cannot answer, intermediates called as a role or column, and roles called `answer` or `other`; if the model
            carries hooks, or its last state does not give its logits.
        MemoryError: if not a single prompt fits into `max_memory`.
    """
    refuse(asked_problems(queries=queries) + common_problems(max_memory=max_memory, progress=progress, seed=seed))
    queries = questions_of(queries)
    if not len(queries):
        raise ValueError(f"{queries.split} holds no query")
    if isinstance(model, Run):
        return by_step(
            model,
            lambda each: logit_lens(each, queries, max_memory=max_memory, progress=False, seed=seed),
            progress=progress,
        )
    check_model(model)
    if problems := _problems(queries, model):
        raise ValueError(f"the lens cannot read {queries.split}: " + "; ".join(problems))
    queries.check_against(model)
    refuse_hooks(model)
    targets, seen = _targets(as_read(model, queries), seed, _read_roles(queries, model)), seen_by(model, queries)
    stages = _stages(model, queries, targets, seen, max_memory, progress)
    rows = [
        {**stage._asdict(), "role": role, "target": target}
        for stage in stages
        for role in queries.roles
        for target in targets
    ]
    table = pd.DataFrame(rows).join(pd.concat([_summary(read, queries.unit) for read in stages.values()], ignore_index=True))
    ends = [Stage(-1, "embedding"), *(Stage(layer, "layer") for layer in ends_of_loops(model))]
    by_query = _by_query(queries, targets, stages, ends)
    n_cells = len(ends) * len(queries.roles)
    return LensResult(table, _role_map(queries, targets, stages), by_query, model.cfg.model_name, queries.split, n_cells)


def shown_targets(intermediates: Sequence[str]) -> list[str]:
    """What a figure shows: intermediates, the answer, and the null."""
    return [*intermediates, "answer", *(SHUFFLED + name for name in intermediates)]


def relation_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows at r1 and r2, to which figures by step are limited if the prompts have these roles."""
    at_relations = table["role"].isin(("r1", "r2"))
    return table[at_relations] if at_relations.any() else table


def _problems(queries: Queries, model: Model) -> list[str]:
    columns = {f"the {name}": values for name, values in (("answer", queries.answers), *queries.intermediates.items())}
    names = queries.intermediates
    taken = {ANSWER, OTHER, *COLUMNS, "step", *queries.roles, *(n for n in names if n.startswith((SHUFFLED, FIRST)))}
    return [
        *vocabulary_problems(columns, outputs_of(model.cfg)),
        *taken_problems("an intermediate", names, taken, by="is a role or a column"),
        *taken_problems("a role", _read_roles(queries, model), {ANSWER, OTHER}, by="the lens has rows for"),
    ]


def _read_roles(queries: Queries, model: Model) -> list[str]:
    """The roles whose tokens are looked for: those of the question, if the model could answer them."""
    return [role for role in queries.roles if role not in free_slots(queries.roles)] if same_vocabulary(model) else []


@dataclass(frozen=True, eq=False)
class _Reading:
    """One stage: rank and log-probability of each target, the top token, and where a prompt has a token."""

    ranks: Int[Tensor, "target query pos"]
    log_p: Float[Tensor, "target query pos"]
    top: Int[Tensor, "query pos"]
    seen: Bool[Tensor, "query pos"]

    def found(self, target: int) -> Bool[Tensor, " query"]:
        """Whether the target is top-1 at any position."""
        return ((self.ranks[target] == 0) & self.seen).any(1)

    def mean(self, values: Shaped[Tensor, "*target query pos"]) -> Float[Tensor, "*target pos"]:
        """The mean over the queries that have a token there; NaN where none has."""
        return values.double().where(self.seen, 0.0).sum(-2) / self.seen.sum(0)

    @classmethod
    def empty(cls, n_targets: int, seen: Bool[Tensor, "query pos"], dtype: torch.dtype) -> "_Reading":
        """To be filled."""
        ranks = torch.empty(n_targets, *seen.shape, dtype=torch.long, device="cpu")
        return cls(ranks, torch.empty_like(ranks, dtype=dtype), torch.empty_like(ranks[0]), seen)

    def fill(self, rows: Int[Tensor, " row"], part: "_Reading") -> None:
        """Put in what is read of some queries."""
        self.ranks[:, rows], self.log_p[:, rows], self.top[rows] = part.ranks, part.log_p, part.top


def _targets(queries: Queries, seed: int, roles: Sequence[str]) -> dict[str, Int[Tensor, " query"]]:
    """What to look for, by name, the tokens at some roles among it."""
    order = torch.randperm(len(queries), generator=torch.Generator().manual_seed(int(seed)), device="cpu")
    tokens = {role: queries.tokens[:, queries.roles.index(role)] for role in roles}
    shuffled = {SHUFFLED + name: values[order] for name, values in queries.intermediates.items()}
    return {**queries.intermediates, ANSWER: queries.answers, **tokens, **shuffled}


def _stages(
    model: Model,
    queries: Queries,
    targets: Mapping[str, Int[Tensor, " query"]],
    seen: Bool[Tensor, "query pos"],
    max_memory: int | None,
    progress: bool,
) -> dict[Stage, _Reading]:
    """What is read at each stage, of as many queries at a time as memory allows."""
    sizes, at = Sizes.of(model, len(queries.roles)), queries.answer_position
    kept = len(queries) * (2 * sizes.n_layers + 1) * sizes.n_positions * (8 + (8 + sizes.item) * len(targets))
    n = how_many(len(queries), sizes.lens, budget(max_memory, model) - kept, "the lens on one prompt, next to what is kept,")
    found: dict[Stage, _Reading] = {}
    for rows in with_bar(batches(len(queries), min(n, MAX_BATCH)), "reading", show=progress):
        states = residual_states(model, queries.tokens[rows], at)
        check_last_state(model, queries.tokens[rows], at, list(states.values())[-1])
        part = {name: tokens[rows] for name, tokens in targets.items()}
        for stage in states:
            read = _read(model, stage, states[stage], part, seen[rows])
            if stage not in found:
                found[stage] = _Reading.empty(len(targets), seen, read.log_p.dtype)
            found[stage].fill(rows, read)
    return found


def _read(
    model: Model,
    stage: Stage,
    states: Float[Tensor, "query pos d_model"],
    targets: Mapping[str, Int[Tensor, " query"]],
    seen: Bool[Tensor, "query pos"],
) -> _Reading:
    """How many other tokens are at least as likely as each target, and the target's log-probability.

    Logits are compared, not probabilities, whose rounding would tie tokens that the model tells apart.
    """
    logits = decode(model, states).cpu()
    if not logits.isfinite().all():
        raise ValueError(f"what can be read after {stage.after} {stage.layer} is not finite: states there are too large")
    total = logits.to(torch.promote_types(logits.dtype, torch.float32)).logsumexp(-1)
    ranks, log_p = [], []
    for tokens in targets.values():
        of_target = logits.gather(2, einops.repeat(tokens, "query -> query pos 1", pos=states.shape[1]))
        ranks.append((logits >= of_target).sum(-1) - 1)
        log_p.append(of_target[..., 0] - total)
    return _Reading(torch.stack(ranks), torch.stack(log_p), top_token(logits), seen)


def _summary(read: _Reading, unit: Int[Tensor, " query"]) -> pd.DataFrame:
    """Means over queries, a row for each position and, within it, each target."""
    ranks = read.ranks.double()
    columns = {
        "top1": ranks == 0,
        "top5": ranks < 5,
        "mean_rank": ranks,
        "mrr": 1 / (ranks + 1),
        "probability": read.log_p.double().exp(),
    }
    means = {
        name: einops.rearrange(read.mean(values), "target pos -> (pos target)").tolist() for name, values in columns.items()
    }
    counts = [(int(seen.sum()), len(unit[seen].unique())) for seen in read.seen.T for _ in range(len(read.ranks))]
    table = pd.DataFrame(counts, columns=pd.Index(["n", "n_facts"]))
    intervals = [wilson(share, n_units) for share, n_units in zip(means["top1"], table["n_facts"], strict=True)]
    shares = pd.DataFrame({"top1": means.pop("top1")}).join(pd.DataFrame(intervals)[["low", "high"]])
    return shares.assign(**means).join(table)


def _by_query(
    queries: Queries, targets: Mapping[str, Tensor], stages: Mapping[Stage, _Reading], ends: list[Stage]
) -> pd.DataFrame:
    place = {name: number for number, name in enumerate(targets)}
    last = list(stages.values())[-1].ranks[place[ANSWER], :, queries.answer_position]
    names = list(queries.intermediates)
    columns: dict[str, Any] = {"fact": queries.unit.numpy(), "correct": (last == 0).numpy()}
    for target in shown_targets(names):
        columns[target] = torch.stack([stages[end].found(place[target]) for end in ends]).any(0).numpy()
    for target in (*names, "answer"):
        found = torch.stack([read.found(place[target]) for read in stages.values()])  # stage, query
        first = found.int().argmax(0).double().where(found.any(0), float("nan"))
        columns[FIRST + target] = first.numpy()
    return pd.DataFrame(columns)


def _role_map(queries: Queries, targets: Mapping[str, Tensor], stages: Mapping[Stage, _Reading]) -> pd.DataFrame:
    names = [name for name in targets if not name.startswith(SHUFFLED)]
    tokens = einops.rearrange([targets[name] for name in names], "token query -> token query 1")
    rows = []
    for stage, read in stages.items():
        same = read.top == tokens
        which = torch.where(same.any(0), same.int().argmax(0), len(names))
        shares = torch.stack([read.mean(which == number) for number in range(len(names) + 1)]).tolist()
        counts = read.seen.sum(0).tolist()
        for position, role in enumerate(queries.roles):
            for name, share in zip((*names, OTHER), shares, strict=True):
                row = {**stage._asdict(), "role": role, "token": name, "share": share[position]}
                rows.append(row | {"n": counts[position]})
    return pd.DataFrame(rows)
