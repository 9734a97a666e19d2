"""What documents can name: numbers of the shipped runs, of the committed measurements of them, and of the code."""

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import doc_compositions
import pandas as pd
from doc_numbers import Value

from grokscope import tasks
from grokscope.analyses.bounds import graphs_to_exclude, rate_bounds
from grokscope.analyses.bridge import evidence_verdicts
from grokscope.analyses.claims import contrasts, cost, dissociation_rows, rules, same_path
from grokscope.analyses.sameness import equivalence, path_distances
from grokscope.analyses.training.growth import onset

MEASURED = Path(__file__).parents[1] / "docs" / "numbers" / "study.csv"
"""Written by `python -m grokscope.analyses.study` as numbers/study.csv, and copied."""
REGISTERED = {"trm": MEASURED.with_name("trm_registered.csv")}
"""By the beginning of names: the same of studies whose graphs were registered."""
VERDICTS = MEASURED.with_name("verdicts.csv")
"""Written by the same command as verdicts.csv, on all studies, and copied."""
RECORDED = MEASURED.with_name("recorded.csv")
"""What was measured on runs that are not shipped, and the command or page that it is from."""
ACCURACIES = {
    "id": "test_inferred_iid",
    "ood": "test_inferred_ood",
    "ood_id": "test_inferred_ood_id",
    "id_ood": "test_inferred_id_ood",
}
COLUMNS = (*tasks.PHASES, *ACCURACIES, "phi", "added", "to_50", "to_90", "compositions", "asked")
COLUMNS += ("least_id", "least_train", "most_ood", "id_memorised")
STEADY_FROM = 3_000  # a step


@cache
def shipped() -> dict[str, Value]:
    """All of them by name.

    `runs/natural-g1-r0.to_90` is of a run of the study, `runs/natural.to_90` the median and range over the runs of an arm
    (`runs/causal.…` of all causal arms but φ ≈ 5, `runs/bidirectional.…`),
    `pilot/natural.ood` of one of the pilot's; the columns are in `COLUMNS`. Names of measurements are in `MEASURED`, and
    those that begin with `recorded/` in `RECORDED`. For `:of`, as in `3 of 5`, see `_occurrences` and `_reached`.
    """
    table = pd.concat([pd.read_csv(MEASURED), *(_registered(path, name) for name, path in REGISTERED.items())])
    found = {row.name: Value(row.value, row.low, row.high, row.n) for row in table.itertuples(index=False)}
    of_graph = table[table["name"].str.contains(r"\.g\d+$")]
    for name, distances in of_graph.groupby(of_graph["name"].str.replace(r"\.g\d+$", "", regex=True))["value"]:
        found[f"{name}.mean"] = Value(distances.mean(), n=len(distances))
    found |= doc_compositions.values() | dict(_occurrences(found)) | dict(_recorded()) | dict(_counts()) | dict(_code())
    for row in runs("pilot").itertuples(index=False):
        found |= {f"pilot/{row.run}.{column}": Value(getattr(row, column)) for column in (*COLUMNS, "checkpoints")}
    frame = runs("study")
    for row in frame.itertuples(index=False):
        found |= {f"runs/{row.run}.{column}": Value(getattr(row, column)) for column in COLUMNS}
    phi5, slots = frame["arm"] == "natural_phi5", frame["arm"].str.endswith("_slots")
    groups = {"causal": frame[~phi5 & ~slots], "bidirectional": frame[slots], **dict(iter(frame.groupby("arm")))}
    for arm, rows in groups.items():
        for column in COLUMNS:
            values = rows[column].dropna()
            found[f"runs/{arm}.{column}"] = Value(values.median(), values.min(), values.max(), len(values))
        found |= dict(_reached(arm, rows))
    return found


def _registered(path: Path, name: str) -> pd.DataFrame:
    table = pd.read_csv(path)
    return table.assign(name=f"{name}/" + table["name"])


def _occurrences(found: dict[str, Value]) -> Iterator[tuple[str, Value]]:
    """Of how many graphs something is seen, and of how many it cannot be said, for shares of graphs.

    The lower bound of an occurrence counts the graphs where it is sure, the upper one those where it is possible, exactly.
    """
    for name, (value, low, high, n) in found.items():
        if not name.startswith(("dissociation/", "trm/dissociation/")) or not n or n != n:
            continue
        count = round(value * n)
        unclear = [k - count for k in range(count, n + 1) if math.isclose(rate_bounds(k, n).high, high, rel_tol=1e-4)]
        if unclear and math.isclose(rate_bounds(count, n).low, low, rel_tol=1e-4, abs_tol=1e-9):
            yield f"{name}.count", Value(count, n=n)
            yield f"{name}.unclear", Value(unclear[0])
    controls = [each for name, each in found.items() if name.startswith("dissociation/control.")]
    worst = min(controls, key=lambda each: each.value)
    yield "dissociation/controls", worst
    yield "dissociation/controls.count", Value(round(worst.value * worst.n))


def _recorded() -> Iterator[tuple[str, Value]]:
    """Each, and the median and range of those that are given by graph."""
    table = pd.read_csv(RECORDED).set_index("name")["value"]
    yield from ((f"recorded/{name}", Value(value)) for name, value in table.items())
    by_graph = table[table.index.str.contains(r"\.g\d+$")]
    for name, values in by_graph.groupby(by_graph.index.str.replace(r"\.g\d+$", "", regex=True)):
        yield f"recorded/{name}", Value(values.median(), values.min(), values.max(), len(values))


def _reached(arm: str, rows: pd.DataFrame) -> Iterator[tuple[str, Value]]:
    """On how many graphs of an arm all runs reach .9 of OOD+OOD, none does, and all only memorise for a while."""
    by_graph = rows.groupby("seed")[["to_90", "memorised"]].agg(lambda column: column.notna().mean())
    n = len(by_graph)
    graphs = {
        "reached": by_graph["to_90"] == 1,
        "missed": by_graph["to_90"] == 0,
        "memorised_in": by_graph["memorised"] == 1,
    }
    for word, those in graphs.items():
        yield f"runs/{arm}.{word}", Value(int(those.sum()), n=n)
        yield f"runs/{arm}.{word}.count", Value(int(those.sum()))


study_of = cache(tasks.load_study)
"""A shipped study by name, read once."""


@cache
def runs(study: str) -> pd.DataFrame:
    """A row for each run of a study with `COLUMNS`: the step of each phase, accuracies at the end on the reported half, φ,
    compositions that were added and that there are, when OOD+OOD stays at .5 and .9, how many OOD+OOD questions, the lowest
    ID and training accuracy from `STEADY_FROM` and `id_generalised` on, the highest OOD+OOD accuracy, ID when memorised."""
    rows = []
    shipped_study = study_of(study)
    for about in shipped_study.summary.to_dict("records"):
        run = shipped_study.runs[str(about["run"])]
        task = tasks.two_hop(run.task)
        row = {name: about[name] for name in ("run", "arm", "seed", "replicate", *tasks.PHASES)}
        row |= {name: about[split] for name, split in ACCURACIES.items()}
        row |= {f"to_{level}": onset(run, "test_inferred_ood", level / 100) for level in (50, 90)}
        row |= {"added": task.n_added, "compositions": len(task.split("train_inferred"))}
        row |= {"phi": (row["compositions"] - task.n_added) / len(task.split("id_atomic"))}
        metrics = run.metrics.set_index("step")
        answered = metrics.loc[max(STEADY_FROM, int(row["id_generalised"])) :]
        row |= {"least_id": answered["test_inferred_iid"].min(), "least_train": answered["train"].min()}
        row |= {"most_ood": metrics["test_inferred_ood"].max(), "id_memorised": float("nan")}
        if row["memorised"] == row["memorised"]:
            row["id_memorised"] = metrics["test_inferred_iid"][row["memorised"]]
        row |= {"asked": run.n_reported["test_inferred_ood"], "checkpoints": len(run.steps)}
        rows.append(row)
    return pd.DataFrame(rows)


def _counts() -> Iterator[tuple[str, Value]]:
    frame = runs("study")
    yield "study/runs", Value(len(frame))
    yield "study/graphs", Value(frame["seed"].nunique())
    yield "study/arms", Value(frame["arm"].nunique())
    yield "study/least_id", Value(frame["least_id"].min())
    yield "study/least_train", Value(frame.loc[~frame["arm"].str.endswith("_slots"), "least_train"].min())
    further = study_of("study/transfer").runs
    yield "study/transfers", Value(len(further))
    yield "study/transfer_graphs", Value(study_of("study/transfer").summary["seed"].nunique())
    yield "transfer/steps", Value(max(run.steps[-1] if run.steps else 0 for run in further.values()))
    graph = tasks.two_hop(study_of("pilot").runs["natural"].task).graph
    yield "graph/entities", Value(graph.n_entities)
    yield "graph/relations", Value(graph.n_relations)
    yield "graph/facts", Value(len(graph))
    run = study_of("pilot").runs["natural"]
    yield from ((f"pilot/natural.saved.{i}", Value(step)) for i, step in enumerate(run.steps, 1))
    yield from ((f"pilot/questions.{name}", Value(run.n_reported[split])) for name, split in ACCURACIES.items())
    natural = frame[frame["arm"] == "natural"].pivot(index="seed", columns="replicate", values="to_90")
    apart = (natural[0] - natural[1]).abs()
    yield "study/natural.replicates_apart", Value(apart.median(), apart.min(), apart.max(), len(apart))


def _code() -> Iterator[tuple[str, Value]]:
    for measure, margin in path_distances.MARGINS.items():
        yield f"code/margin.{measure.replace(' ', '_')}", Value(margin)
    yield "code/ratio", Value(equivalence.MAX_RATIO)
    yield "code/same_age", Value(contrasts.SAME_AGE)
    yield "code/rare", Value(rules.RARE)
    yield "code/alpha", Value(rules.ALPHA)
    yield "code/level", Value(max(cost.LEVELS))
    yield "code/late", Value(same_path.LATE)
    yield "code/steady_from", Value(STEADY_FROM)
    m = len(dissociation_rows.DIRECTIONS)
    needed = graphs_to_exclude(rules.RARE, alpha=rules.ALPHA / m)
    yield "code/graphs_needed", Value(needed)
    enough = (count for count in range(needed + 1) if rate_bounds(count, needed).low > rules.FALSE_ALARM)
    yield "code/can_occur", Value(next(enough))
    yield "code/strict", Value(rules.ALPHA / m)
    for name, config in (("small", tasks.TrainConfig.small()), ("paper", tasks.TrainConfig.paper())):
        for field, value in vars(config).items():
            if isinstance(value, int | float):
                yield f"{name}/{field}", Value(value)
    yield "paper/d_model", Value(tasks.ModelConfig.paper().d_model)
    yield "code/readable", Value(dissociation_rows.PATH_READABLE)
    yield "code/used_margin", Value(evidence_verdicts.MARGIN)
    yield "code/half", Value(evidence_verdicts.HALF)
    yield "code/min_units", Value(evidence_verdicts.MIN_UNITS_TO_JUDGE)
