"""Tables of docs/explanation/compositions.md, from the numbers that `examples/composition_numbers.py` wrote."""

import math
from functools import cache
from itertools import product
from pathlib import Path

import pandas as pd
from doc_numbers import Value, like

FILE = Path(__file__).parents[1] / "docs" / "numbers" / "compositions.csv"
GRAPHS = (1, 2)
PATTERNS = ("iii", "iio", "ioi", "oii", "ioo", "oio", "ooi", "ooo")
COMPARED = {"iid": "ID, ID", "ood_id": "OOD, ID", "id_ood": "ID, OOD", "ood": "OOD, OOD"}
TWO_HOPS = {"iid": "ID test", "ood_id": "OOD+ID", "id_ood": "ID+OOD", "ood": "OOD+OOD"}
COMPARING = {
    "comparison": "comparison, one block four times",
    "comparison_separate": "comparison, four blocks",
    "reasoning": "reasoning, one block four times",
}
LOOPS = (2, 3, 4, 5, 6, 8)
STANDING = {
    "three_hops": ("test_3hop_iii", "test_3hop_ooo"),
    "three_hops_natural": ("test_3hop_iii",),
    "comparison": ("test_compared_iid", "test_compared_ood"),
    "comparison_separate": ("test_compared_iid", "test_compared_ood"),
    "reasoning": ("test_compared_ood",),
    "token_channel": ("test_inferred_iid", "test_inferred_ood"),
}
MEASURES = ("lens", "probe", "ablation", "interchange", "direction")
EDITED = {
    "natural-g{}-r0": "natural, step 15,000",
    "untied-g{}-r0": "four blocks, step 15,000",
    "token_channel-g{}-r0": "token channel",
    "three_hops-g{}-r0": "three hops",
    "comparison-g{}-r0": "comparison",
    "comparison_separate-g{}-r0": "comparison, four blocks",
}


@cache
def numbers() -> pd.DataFrame:
    """The file, by name."""
    return pd.read_csv(FILE, keep_default_na=True).set_index("name")


def values() -> dict[str, Value]:
    """What pages can name, as `compositions/three_hops-g1-r0/test_3hop_iii`."""
    rows = numbers().itertuples()
    return {f"compositions/{row.Index}": Value(row.value, row.low, row.high, row.n) for row in rows}


def _value(name: str) -> float:
    return float(numbers()["value"].get(name, math.nan))


def _shown(name: str, form: str = ".00") -> str:
    value = _value(name)
    return "" if math.isnan(value) else like(value, form)


def _step(name: str) -> str:
    value = _value(name)
    return "not reached" if math.isnan(value) else f"{value:,.0f}"


def three_hops() -> list[list[str]]:
    """Accuracy by pattern, and when questions of OOD facts alone stay at .9."""
    table = [["training, graph", "steps", *(f"`{pattern}` (n)" for pattern in PATTERNS), "`ooo` ≥ .9 from step"]]
    for arm, graph in product(("three_hops", "three_hops_natural", "two_hops_only"), GRAPHS):
        run = f"{arm}-g{graph}-r0"
        cells = [_counted(f"{run}/test_3hop_{pattern}") for pattern in PATTERNS]
        table.append([f"`{arm}`, {graph}", _step(f"{run}/steps"), *cells, _step(f"{run}/test_3hop_ooo.steps")])
    return table


def depth() -> list[list[str]]:
    """Accuracy by loops that are run, of models that never saw three hops."""
    splits = ("test_inferred_iid", "test_inferred_ood", "test_3hop_iii", "test_3hop_ooo")
    table = [["asked, graph (n)", *(f"{loops} loops" for loops in LOOPS)]]
    for split, graph in product(splits, GRAPHS):
        names = [f"two_hops_only-g{graph}-r0/{split}.loops_{loops}" for loops in LOOPS]
        table.append([f"`{split}`, {graph} ({numbers()['n'][names[0]]})", *map(_with_bounds, names)])
    return table


def reappears() -> list[list[str]]:
    """How far the circuit of two hops is from the beginning and the end of that of three."""
    table = [["graph, place", "distance", "loops aligned", "chance, aligned", "kept in both, only in two, only in three"]]
    table[0] += ["outside in two, in three"]
    for graph, place in product(GRAPHS, ("beginning", "end")):
        name = f"three_hops-g{graph}-r0/{place}"
        kept = ", ".join(_shown(f"{name}.{each}", "1") for each in ("shared", "lost", "gained"))
        outside = ", ".join(_shown(f"{name}.outside_{each}") for each in "ab")
        cells = [_with_bounds(f"{name}.{each}") for each in ("jensen_shannon", "aligned_jensen_shannon")]
        table.append([f"{graph}, {place}", *cells, _shown(f"{name}.aligned_jensen_shannon.chance"), kept, outside])
    return table


def _counted(name: str) -> str:
    return f"{_with_bounds(name)} ({numbers()['n'][name]})"


def _with_bounds(name: str, form: str = ".00") -> str:
    row = numbers().loc[name]
    bounds = "" if math.isnan(row["low"]) else f" [{like(row['low'], form)}, {like(row['high'], form)}]"
    return like(row["value"], form) + bounds


def compared() -> list[list[str]]:
    """Accuracy of comparisons, the best shortcut's, and on questions that no shortcut answers."""
    table = [["training, graph", "steps", *COMPARED.values(), "OOD, OOD ≥ .9 from step"]]
    for (arm, words), graph in product(COMPARING.items(), GRAPHS):
        run = f"{arm}-g{graph}-r0"
        cells = [_comparison_cell(f"{run}/test_compared_{split}") for split in COMPARED]
        table.append([f"{words}, {graph}", _step(f"{run}/steps"), *cells, _step(f"{run}/test_compared_ood.steps")])
    return table


def _comparison_cell(name: str) -> str:
    n = numbers()["n"]
    if name not in n:
        return ""
    hard = "none" if f"{name}.unsolved" not in n else f"{_with_bounds(f'{name}.unsolved')} ({n[f'{name}.unsolved']})"
    floors = f"floors {_shown(f'{name}.floor')}, {_shown(f'{name}.one_value')}"
    commonest = f", one label {_shown(f'{name}.unsolved.commonest')}" if hard != "none" else ""
    return f"{_with_bounds(name)} ({n[name]}) · {floors} · unsolved {hard}{commonest}"


def two_hops() -> list[list[str]]:
    """Two-hop trainings with zero-hop questions, and with a channel."""
    table = [["training, graph", "steps", *TWO_HOPS.values(), "OOD+OOD ≥ .9 from step"]]
    for arm, graph in product(("identity", "token_channel"), GRAPHS):
        run = f"{arm}-g{graph}-r0"
        cells = [
            f"{_with_bounds(f'{run}/test_inferred_{s}')} ({numbers()['n'][f'{run}/test_inferred_{s}']})" for s in TWO_HOPS
        ]
        table.append([f"`{arm}`, {graph}", _step(f"{run}/steps"), *cells, _step(f"{run}/test_inferred_ood.steps")])
    return table


def composition_standing() -> list[list[str]]:
    """What reads and uses each intermediate, at its best place."""
    table = [["training, graph, asked", "intermediate", *MEASURES, "standing", "n read, changed"]]
    found = numbers()
    for (arm, splits), graph in product(STANDING.items(), GRAPHS):
        for split in splits:
            label = f"{arm}-g{graph}-r0/{split}"
            names = [name.removesuffix(".standing") for name in found.index if name.startswith(f"{label}.")]
            for name in [each for each in names if f"{each}.standing" in found.index]:
                cells = [_place_cell(f"{name}.{measure}") for measure in MEASURES]
                standing = str(found["where"].get(f"{name}.standing", ""))
                n = ", ".join(str(int(found["n"][f"{name}.{measure}"])) for measure in ("lens", "direction"))
                row = [f"`{arm}`, {graph}, `{split}`", name.rpartition(".")[2], *cells, standing, n]
                table.append(row)
    return table


def _place_cell(name: str) -> str:
    row, control = numbers().loc[name], _shown(f"{name}.control")
    if math.isnan(row["value"]):
        return ""
    where = "" if str(row["where"]) == "nan" else f", {row['where']}"
    bounds = f"[{like(row['low'], '.00')}, {like(row['high'], '.00')}]"
    return f"{like(row['value'], '.00')} / {control} {bounds}{where}"


METHODS = {"training": "training", "rank_one": "rank one", "exchange": "exchange"}


def edits() -> list[list[str]]:
    """Shares of test questions that follow a changed ID fact, over edits that took: a column for each method."""
    table = [["model, graph", "place", *METHODS.values(), "edits"]]
    for (pattern, words), graph in product(EDITED.items(), GRAPHS):
        of_run = _edits_of(pattern.format(graph))
        for place in dict.fromkeys(place for _, place in of_run):
            names = [of_run.get((method, place), "") for method in METHODS]
            n = dict.fromkeys(str(int(numbers()["n"][name])) for name in names if name)
            table.append([f"{words}, {graph}", place, *(_with_bounds(name) if name else "" for name in names), ", ".join(n)])
    return table


def _edits_of(run: str) -> dict[tuple[str, str], str]:
    """The names of a run's edits of ID facts, by method and place."""
    rows, found = numbers().index, {}
    for name in rows[rows.str.startswith(f"{run}.edit.")]:
        method, facts, place, *rest = name.removeprefix(f"{run}.edit.").split(".")
        if facts == "id_atomic" and rest == ["test"]:
            found[method, place] = name
    return found


TABLES = {
    made.__name__: cache(made) for made in (three_hops, depth, reappears, compared, two_hops, composition_standing, edits)
}
