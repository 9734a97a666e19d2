"""What files without a checksum say, read word by word: whether a file fits its schema, and whether that was loaded."""

import json
import math
import re
from pathlib import Path
from typing import Any

from grokscope.circuits import Circuit, FeatureGraph
from grokscope.tasks import TwoHopTask

TESTS = ("test_inferred_iid", "test_inferred_ood")
TYPES = ("id_atomic", "ood_atomic", "train_inferred", *TESTS)
SPECIAL = {"<mask>", "<sep>", "<a>", "</a>", "<q>", "</q>"}


class Wrong(Exception):
    """A file does not fit its schema."""


def demand(is_so: bool) -> None:
    if not is_so:
        raise Wrong


def strict_json(path: Path) -> Any:
    """Without a key twice; NaN is allowed, which Python's and EAP-IG's writers use."""

    def different(items: list[tuple[str, Any]]) -> dict[str, Any]:
        demand(len(dict(items)) == len(items))
        return dict(items)

    try:
        return json.loads(path.read_bytes().decode(), object_pairs_hook=different)
    except (ValueError, RecursionError, OSError) as error:
        raise Wrong from error


def is_as_eap_ig_says(path: Path, circuit: Circuit) -> bool:
    """Whether the file fits EAP-IG's schema and the circuit has its scores and its edges."""
    try:
        return _has_scores(strict_json(path), circuit)
    except (Wrong, LookupError, TypeError, AttributeError):
        return False


def _has_scores(content: Any, circuit: Circuit) -> bool:
    sizes, nodes, edges = content["cfg"], content["nodes"], content["edges"]
    layers, heads = sizes["n_layers"], sizes["n_heads"]
    demand(type(layers) is int and type(heads) is int and min(layers, heads) >= 1)
    demand((circuit.graph.n_layers, circuit.graph.n_heads) == (layers, heads))
    known = {"input", "logits", *(f"m{i}" for i in range(layers))}
    known |= {f"a{i}.h{head}" for i in range(layers) for head in range(heads)}
    demand(set(nodes) <= known and all(node["in_graph"] in (0, 1) for node in nodes.values()))
    demand(not any(node["in_graph"] and not all(node.get("neurons", ())) for node in nodes.values()))
    found: dict[str, tuple[float, bool]] = {}
    for row in circuit.table.itertuples():
        name = f"{_theirs(row.sender)}->{_theirs(row.receiver)}"
        total, kept = found.get(name, (0.0, False))
        found[name] = (total + row.effect, kept or bool(row.kept))
    for name, edge in edges.items():
        score, kept = edge["score"], edge["in_graph"]
        demand(kept in (0, 1) and (score is None or type(score) in (int, float)))
        number = math.nan if score is None else float(score)
        demand(not math.isinf(number))
        if name not in found and not circuit.graph.has_mlp and re.search(r"(^|>)m\d", name):
            demand(number == 0 and not kept)
            continue
        total, was_kept = found.pop(name)
        demand(was_kept == bool(kept))
        demand(math.isclose(total, number, abs_tol=1e-9) or (math.isnan(total) and math.isnan(number)))
    return not found


def _theirs(name: str) -> str:
    """`L0H1.v@r1` → `a0.h1<v>`."""
    name = name.partition("@")[0]
    head = re.fullmatch(r"L(\d+)H(\d+)(?:\.(\w))?", name)
    if head:
        return f"a{head[1]}.h{head[2]}" + (f"<{head[3]}>" if head[3] else "")
    return {"embed": "input"}.get(name, name.replace("MLP", "m").partition(".")[0])


def is_as_circuit_tracer_says(path: Path, graph: FeatureGraph) -> bool:
    """Whether the file fits the schema of attribution graphs, and the graph has its nodes, links and metadata."""
    try:
        return _has_nodes(strict_json(path), graph)
    except (Wrong, LookupError, TypeError, AttributeError):
        return False


def _has_nodes(content: Any, graph: FeatureGraph) -> bool:
    metadata, view, nodes, links = (content[part] for part in ("metadata", "qParams", "nodes", "links"))
    tokens = metadata["prompt_tokens"]
    demand(all(type(each) is str for each in [*tokens, metadata["slug"], metadata["scan"], metadata["prompt"]]))
    demand(graph.prompt == tuple(tokens) and len(nodes) == len(graph.nodes) and len(links) == len(graph.table))
    about = {key: value for key, value in metadata.items() if value is not None and key != "prompt_tokens"}
    demand(graph.about == about)
    demand(all(graph.view.get(key) == value for key, value in view.items() if type(value) is not str or "Id" not in key))
    names = {}
    for node, row in zip(nodes, graph.nodes.itertuples(), strict=True):
        texts = [node[key] for key in ("node_id", "feature_type", "clerp", "jsNodeId")]
        demand(all(type(text) is str for text in texts) and [row.id, row.type, row.label] == texts[:3])
        demand(type(node["ctx_idx"]) is int and row.position == node["ctx_idx"] and row.token == tokens[row.position])
        demand(type(node["feature"]) in (int, type(None)) and type(node["layer"]) in (int, str))
        demand(row.kind == "embedding" or str(row.layer) == str(node["layer"]).lstrip("0").rjust(1, "0"))
        for key, number in (("activation", row.activation), ("influence", row.influence)):
            demand(_same_number(node.get(key), number))
        names[row.id] = row.node
    demand(len(names) == len(nodes) == graph.nodes["node"].nunique())
    found = list(graph.table.itertuples(index=False, name=None))
    return found == [(names[link["source"]], names[link["target"]], link["weight"]) for link in links]


def _same_number(said: Any, number: float) -> bool:
    demand(said is None or (type(said) in (int, float) and math.isfinite(said)))
    return math.isnan(number) if said is None else number == said


def is_as_published(folder: Path, task: TwoHopTask) -> bool:
    """Whether the six files fit their schema and each other, and the task holds their facts and questions."""
    try:
        names = ("vocab", "id_facts", "ood_facts", "train", "valid", "test")
        return _has_questions({name: strict_json(folder / f"{name}.json") for name in names}, task)
    except (Wrong, LookupError, TypeError, AttributeError, ValueError):
        return False


def _has_questions(content: Any, task: TwoHopTask) -> bool:
    vocab, graph = content["vocab"], task.graph
    entities, relations = (
        [f"<{kind}_{i}>" for i in range(n)] for kind, n in (("e", graph.n_entities), ("r", graph.n_relations))
    )
    demand(type(vocab) is list and len(vocab) == len(set(vocab)) and set(vocab) - SPECIAL == {*entities, *relations})
    facts = {(fact[0], fact[1]): fact[2] for part in ("id_facts", "ood_facts") for fact in content[part]}
    for part in ("id_facts", "ood_facts"):
        demand(all(type(fact) is list and len(fact) == 3 for fact in content[part]))
    demand(len(facts) == len(content["id_facts"]) + len(content["ood_facts"]))
    demand({(h, r, t) for (h, r), t in facts.items()} == {(f"<e_{h}>", f"<r_{r}>", f"<e_{t}>") for h, r, t in graph.triples})
    ood = {(fact[0], fact[1]) for fact in content["ood_facts"]}

    def question(item: Any) -> tuple[str, ...]:
        words = tuple(re.findall(r"<[^>]*>", item["input_text"]))
        demand("".join(words) == item["input_text"] and len(words) in (2, 3))
        end = words[0]
        for relation in words[1:]:
            end = facts[end, relation]
        demand(item["target_text"] == f"{item['input_text']}{end}</a>")
        return words

    def n_ood(words: tuple[str, ...]) -> int:
        slots = [(words[0], words[1]), (facts[words[0], words[1]], words[2])]
        return sum(slot in ood for slot in slots)

    train = {question(item) for item in content["train"]}
    tests = {name: [question(item) for item in content["test"] if item["type"] == name] for name in TYPES}
    demand(all(item["type"] in TYPES and question(item) for item in content["test"]))
    demand(all(n_ood(question(item)) == 2 for item in content["valid"]))
    demand(facts.keys() <= train and not train & {each for name in TESTS for each in tests[name]})
    hops = {words for words in train if len(words) == 3}
    demand(all(n_ood(words) < 2 for words in hops))
    demand(all(n_ood(w) == 2 * (name == TESTS[1]) for name in TESTS for w in tests[name]))
    demand(hops == set(_asked(task, "train_inferred")))
    return all(tests[name] == _asked(task, name) for name in TESTS)


def _asked(task: TwoHopTask, split: str) -> list[tuple[str, ...]]:
    n = task.graph.n_entities
    names = [f"<e_{i}>" for i in range(n)] + [f"<r_{i}>" for i in range(task.graph.n_relations)]
    return [tuple(names[token] for token in row) for row in task.split(split).tokens.tolist()]
