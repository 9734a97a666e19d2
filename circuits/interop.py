"""Circuits in the JSON of EAP-IG and the MIB benchmark, so that they travel both ways.

Their graphs (Hanna et al. 2024, arXiv 2403.17806; code `Graph.to_json`) know components, not positions: `input->a0.h1<q>`,
`a0.h1->m0`, `m0->logits`. On the way out the effects of an edge at all positions are summed, which is not the effect of
patching them together; on the way in a score is spread evenly over the positions, so that going out again gives the same.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .arguments import flag_problems, refuse, whole_problems
from .circuit import Circuit, has_number
from .destination import file_problems, input_problems
from .documents import FileError, parsed, problems_of, read_text
from .graph import ComputationGraph
from .graph_settings import check_settings
from .node import Edge, Node
from .step import roles_and_answer_problems
from .transformer import MOST_NODES
from .writing import write_atomic


def to_eap_ig(circuit: Circuit, path: str | Path, *, d_model: int) -> Path:
    """Write a circuit as EAP-IG's and MIB's JSON; positions are summed. Returns the path.

    Args:
        circuit: effects that are no numbers, NaN or infinite, are written as 0.
        path: of the file.
        d_model: of the model, which their graphs ask for.

    Raises:
        ValueError: if the circuit is not a transformer's, since their names are only for attention heads and MLPs.
    """
    graph, problems = circuit.graph, whole_problems(1, d_model=d_model) + file_problems(path=path)
    if not graph.is_transformer:
        kinds = ", ".join(dict.fromkeys(step.kind for step in graph.steps))
        problems.append(f"EAP-IG's format can hold a transformer's circuit (embed, head, mlp, logits) only, got {kinds}")
    refuse(problems)
    score: dict[str, float] = {}
    in_graph: set[str] = set()
    effects = circuit.table["effect"].where(has_number(circuit.table["effect"]), 0.0)
    for edge, effect, kept in zip(circuit.measured_edges, effects, circuit.table["kept"], strict=True):
        name = _edge_name(edge)
        score[name] = score.get(name, 0.0) + float(effect)
        in_graph |= {name} if kept else set()
    edges = {name: {"score": score.get(name, 0.0), "in_graph": name in in_graph} for name in _all_edges(graph)}
    ends = {end for name in in_graph for end in _ends(name)}
    nodes = {name: {"in_graph": name in ends or name == "logits"} for name in _all_nodes(graph)}
    sizes = {"n_layers": graph.n_layers, "n_heads": graph.n_heads, "parallel_attn_mlp": False, "d_model": d_model}
    sizes |= {} if graph.has_mlp else {"attn_only": True}  # as TransformerLens calls it; theirs reads past it
    return write_atomic(Path(path), json.dumps({"cfg": sizes, "nodes": nodes, "edges": edges}))


def from_eap_ig(
    path: str | Path,
    *,
    roles: Sequence[str],
    answer_role: str,
    n_blocks: int | None = None,
    causal: bool = True,
    has_mlp: bool | None = None,
) -> Circuit:
    """Read EAP-IG's and MIB's JSON; each score is spread evenly over the positions.

    Args:
        path: of the file.
        roles: of the positions, two at least, which the file does not know.
        answer_role: where the answer is read.
        n_blocks: layers with distinct weights; all, if not given.
        causal: whether a position sees only itself and earlier ones.
        has_mlp: False for an attention-only model. EAP-IG writes MLPs for every model; by default the model has none if the
            file says so (`attn_only`), if it lists all heads but no MLP, or if edges have scores but those of MLPs are 0.

    Raises:
        FileError: if the file is no such JSON, has edges that are not in its graph, or is of neurons or of attention
            parallel to MLPs.
    """
    problems = input_problems(path=path) + roles_and_answer_problems(roles, answer_role) + flag_problems(causal=causal)
    problems += [] if n_blocks is None else whole_problems(1, most=MOST_NODES, n_blocks=n_blocks)
    refuse(problems + ([] if has_mlp is None else flag_problems(has_mlp=has_mlp)))
    file = _read(Path(path))
    sizes = {"n_layers": file.cfg.n_layers, "n_heads": file.cfg.n_heads, "causal": causal}
    sizes["n_blocks"] = file.cfg.n_layers if n_blocks is None else n_blocks
    try:  # before anything is counted that has as many layers and heads as the file says
        check_settings({"roles": list(roles), "answer_role": answer_role, "has_mlp": True, **sizes})
    except ValueError as error:
        raise FileError(f"{path} cannot be read as a circuit: {error}") from error
    if has_mlp is None:
        has_mlp = _has_mlp(file)
    if problems := _not_known_here(file, has_mlp):
        raise FileError(f"{path} cannot be read as a circuit: {'; '.join(problems)}")
    graph = ComputationGraph.transformer(tuple(roles), answer_role, has_mlp=has_mlp, **sizes)
    places: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        places.setdefault(_edge_name(edge), []).append(edge)
    scores = {name: edge for name, edge in file.scores.items() if has_mlp or not _is_mlp(name)}
    if unknown := sorted(scores.keys() - places.keys()):
        raise FileError(f"{path} has {len(unknown)} edges that are not in its graph, such as {', '.join(unknown[:3])}")
    rows = [
        {"sender": str(edge.sender), "receiver": str(edge.receiver), "effect": score / len(places[name]), "kept": kept}
        for name, (score, kept) in scores.items()
        for edge in places[name]
    ]
    nothing = {"stderr": float("nan"), "n": 0, "gap": float("nan")}
    columns = ["sender", "receiver", "effect", "stderr", "n", "gap", "kept"]
    table = pd.DataFrame(rows, columns=["sender", "receiver", "effect", "kept"]).assign(**nothing)[columns]
    about = {"model": Path(path).stem, "metric": "unknown", "contrast": "unknown", "kept": "as in the file"}
    return Circuit(table, graph, about)


class _Part(BaseModel):
    """What theirs and ours share: other keys are theirs and left alone."""

    model_config = ConfigDict(strict=True, frozen=True)


class _Sizes(_Part):
    n_layers: Annotated[int, Field(ge=1)]
    n_heads: Annotated[int, Field(ge=1)]
    parallel_attn_mlp: bool | None = None
    attn_only: bool | None = None


def _flag(value: Any) -> Any:
    """Some write 0 and 1."""
    return bool(value) if type(value) in (int, float) and value in (0, 1) else value


Flag = Annotated[bool, BeforeValidator(_flag)]


def _not_infinite(score: float) -> float:
    if math.isinf(score):
        raise ValueError(f"a score is a finite number, or null where there is none, got {score}")
    return score


Score = Annotated[float, AfterValidator(_not_infinite)]


class _Node(_Part):
    in_graph: Flag
    neurons: Sequence[Flag] = ()


class _Edge(_Part):
    in_graph: Flag
    score: Score | None  # null or NaN where it was not scored


class _File(_Part):
    cfg: _Sizes
    nodes: Mapping[str, _Node]
    edges: Mapping[str, _Edge]

    @property
    def scores(self) -> dict[str, tuple[float, bool]]:
        """Score and whether it is kept, by edge; a node of theirs is kept by its edges, whatever it says (see `prune`)."""
        nan = float("nan")
        return {name: (nan if edge.score is None else edge.score, edge.in_graph) for name, edge in self.edges.items()}

    @property
    def of_neurons(self) -> list[str]:
        """Nodes of the circuit of which some neurons are left out."""
        return [name for name, node in self.nodes.items() if node.in_graph and not all(node.neurons)]


def _read(path: Path) -> _File:
    found = parsed(read_text(path), str(path), finite=False)
    try:
        return _File.model_validate(found)
    except ValidationError as error:
        raise FileError(f"{path} is no circuit as EAP-IG writes it: {'; '.join(problems_of(error))}") from error


def _has_mlp(file: _File) -> bool:
    if file.cfg.attn_only is not None:
        return not file.cfg.attn_only
    heads = {f"a{layer}.h{head}" for layer in range(file.cfg.n_layers) for head in range(file.cfg.n_heads)}
    mlps = [score for name, score in file.scores.items() if _is_mlp(name)]
    if not mlps and not any(name.startswith("m") for name in file.nodes):
        return not heads <= file.nodes.keys()  # a file of kept nodes alone does not say that there are no others
    silent = all(score == (0.0, False) for score in mlps)
    return not (mlps and silent and any(score for score, _ in file.scores.values()))


def _not_known_here(file: _File, has_mlp: bool) -> list[str]:
    problems = []
    if file.cfg.parallel_attn_mlp and has_mlp:
        problems.append("its attention and MLPs work in parallel, which circuits here do not know")
    if file.of_neurons:
        problems.append(f"of {', '.join(file.of_neurons[:3])} it keeps some neurons only, which circuits here do not know")
    used = [name for name, (score, kept) in file.scores.items() if _is_mlp(name) and (score or kept)]
    if used and not has_mlp:
        problems.append(f"its model is said to have no MLP, but {len(used)} edges of MLPs have a score, such as {used[0]}")
    return problems


def _ends(name: str) -> tuple[str, str]:
    """The nodes of an edge."""
    sender, _, receiver = name.partition("->")
    return sender, receiver.partition("<")[0]


def _is_mlp(name: str) -> bool:
    return any(end.startswith("m") for end in _ends(name))


def _node_name(node: Node) -> str:
    if node.kind == "head":
        return f"a{node.layer}.h{node.head}"
    return {"embed": "input", "mlp": f"m{node.layer}"}.get(node.kind, "logits")


def _edge_name(edge: Edge) -> str:
    kind = f"<{edge.receiver.input}>" if edge.receiver.input else ""
    return f"{_node_name(edge.sender)}->{_node_name(edge.receiver)}{kind}"


def _all_nodes(graph: ComputationGraph) -> list[str]:
    names = ["input"]
    for layer in range(graph.n_layers):
        names += [f"a{layer}.h{head}" for head in range(graph.n_heads)] + [f"m{layer}"]
    return [*names, "logits"]


def _all_edges(graph: ComputationGraph) -> list[str]:
    """Every edge of their graph of these sizes; theirs always has MLPs."""
    senders, names = ["input"], []
    for layer in range(graph.n_layers):
        heads = [f"a{layer}.h{head}" for head in range(graph.n_heads)]
        names += [f"{sender}->{head}<{kind}>" for sender in senders for head in heads for kind in "qkv"]
        names += [f"{sender}->m{layer}" for sender in (*senders, *heads)]
        senders += [*heads, f"m{layer}"]
    return [*names, *(f"{sender}->logits" for sender in senders)]
