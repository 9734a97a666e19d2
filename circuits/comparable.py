"""Whether circuits may be laid side by side: measured on one graph, in one way, on the same questions."""

from collections.abc import Collection, Mapping
from typing import Any

from .arguments import shortly
from .circuit import Circuit

MUST_AGREE = ("metric", "contrast", "direction", "pairs")
RECIPE = ("split", "n_asked", "half")  # what of a recipe must agree where the pairs themselves cannot


def ignore_problems(despite: Any) -> list[str]:
    """Why fields cannot be ignored: there are no such ones."""
    known = (*MUST_AGREE, *RECIPE, "graph", "measured edges")
    is_list = isinstance(despite, Collection) and not isinstance(despite, str)
    unknown = [name for name in despite if name not in known] if is_list else [despite]
    return [f"despite holds fields, {', '.join(known)}; got {', '.join(map(repr, unknown))}"] if unknown else []


def mapping_problems(circuits: Any) -> list[str]:
    """Why something is no circuits by label."""
    if not isinstance(circuits, Mapping):
        kind = "a Circuit" if isinstance(circuits, Circuit) else shortly(circuits)
        return [f"circuits is {kind}, needed are circuits by label, as in circuits={{'a': …, 'b': …}}"]
    wrong = {label: each for label, each in circuits.items() if not isinstance(each, Circuit)}
    return [f"circuits holds {shortly(each)} under {label!r}, needed is a Circuit" for label, each in wrong.items()]


def check_comparable(circuits: Mapping[str, Circuit], *, across_seeds: bool = False, ignore: Collection[str] = ()) -> None:
    """Raise unless all circuits have the same graph and edges and were measured in the same way, except in `ignore`."""
    names = [name for name in MUST_AGREE if not (across_seeds and name == "pairs")]
    asked = {name: {label: c.provenance.get(name) for label, c in circuits.items()} for name in names}
    if across_seeds:
        recipes = {label: dict(c.provenance.get("recipe", {})) for label, c in circuits.items()}
        asked |= {name: {label: recipe.get(name) for label, recipe in recipes.items()} for name in RECIPE}
    problems = {name: str(values) for name, values in asked.items() if len(set(values.values())) > 1}
    graphs = {c.graph for c in circuits.values()}
    if len(graphs) > 1:
        problems["graph"] = str({label: circuit.graph for label, circuit in circuits.items()})
    elif len({tuple(zip(c.table["sender"], c.table["receiver"], strict=True)) for c in circuits.values()}) > 1:
        problems["measured edges"] = str({label: len(circuit.table) for label, circuit in circuits.items()})
    if left := [f"{name}: {values}" for name, values in problems.items() if name not in ignore]:
        raise ValueError("these circuits were not measured alike, they differ in " + "; ".join(left))
