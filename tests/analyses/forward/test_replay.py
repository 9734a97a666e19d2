"""Edges, nodes, paths and circuits of token-mixing networks against what exact means there, literally."""

from functools import cache
from typing import Any

import literal_replay as literal
import pytest
import torch
from conftest import random_model
from token_mixing import EVERY, ROLES, SHAPES, mixing_model, mixing_pairs, world

from grokscope.analyses.forward.edge_sets import logits_with_edges
from grokscope.analyses.forward.engine import FastEngine, engine_of
from grokscope.analyses.forward.places import open_edges_of
from grokscope.analyses.forward.recursion import Recursion, States
from grokscope.analyses.forward.replay import _run
from grokscope.analyses.forward.replay_edges import patched_logits
from grokscope.analyses.forward.replay_engine import ReplayEngine
from grokscope.analyses.forward.replay_sets import logits_with_open_edges
from grokscope.circuits import ComputationGraph, Edge, Node, Step
from grokscope.tasks import build_model
from grokscope.tasks.transformerlens import HookedTransformer

N = 3


@cache
def engine(name: str) -> ReplayEngine:
    """Of a random network."""
    found = engine_of(mixing_model(name), ROLES, -1)
    assert isinstance(found, ReplayEngine)
    return found


@cache
def tokens(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Base and donor prompts, which differ everywhere."""
    pairs = mixing_pairs(name, N)
    return pairs.clean, pairs.corrupt


def found_by(logits: Any, n: int) -> torch.Tensor:
    """Logits of all targets, in their order."""
    found: dict[int, torch.Tensor] = {}
    for places, some in logits:
        found |= dict(zip(places, some, strict=True))
    return torch.stack([found[i] for i in range(n)])


@pytest.mark.parametrize("name", EVERY)
def test_edges_and_nodes(name: str) -> None:
    """Every edge, every node, and edges of the initial states, which change nothing to the bit."""
    runner, (base, donor) = engine(name), tokens(name)
    model, graph = runner.model, runner.graph
    run, other = runner.run(base, donor)
    outputs = literal.outputs_of(model, base), literal.outputs_of(model, donor)
    found = found_by(runner.edge_logits(run, other, graph.edges), len(graph.edges))
    for edge, logits in zip(graph.edges, found, strict=True):
        expected = literal.patch_edge(model, graph, base, *outputs, edge)
        torch.testing.assert_close(logits, expected, rtol=1e-11, atol=1e-11, msg=f"{edge}")
        last_elsewhere = edge.sender.layer == graph.n_layers - 1 and edge.receiver.kind == "logits"
        last_elsewhere &= edge.sender.kind == "mlp" and edge.sender.role != graph.answer_role  # after it channels are normed
        assert logits.equal(run.logits) == (edge.sender.kind == "init" or last_elsewhere), edge
    nodes = graph.senders
    for node, logits in zip(nodes, found_by(runner.node_logits(run, other, nodes), len(nodes)), strict=True):
        expected = literal.patch_node(model, graph, base, *outputs, node)
        torch.testing.assert_close(logits, expected, rtol=1e-11, atol=1e-11, msg=f"{node}")


@pytest.mark.parametrize("name", EVERY)
def test_edges_at_all_positions(name: str) -> None:
    """An edge without a position is its sender's whole output in one replay."""
    runner, (base, donor) = engine(name), tokens(name)
    model, graph = runner.model, runner.graph
    run, other = runner.run(base, donor)
    mine, theirs = literal.outputs_of(model, base), literal.outputs_of(model, donor)
    edges = [edge for edge in graph.component_edges if edge.sender.kind != "init"]
    for edge, logits in zip(edges, found_by(runner.edge_logits(run, other, edges), len(edges)), strict=True):
        changed = {**mine, literal.hook_of(edge.sender): theirs[literal.hook_of(edge.sender)]}
        expected = literal.from_receiver(model, graph, base, changed, edge.receiver)
        torch.testing.assert_close(logits, expected, rtol=1e-11, atol=1e-11, msg=f"{edge}")


@pytest.mark.parametrize("name", EVERY)
def test_sets_of_edges(name: str) -> None:
    """Nothing open is the background, everything the run, and random sets are what they literally are."""
    runner, (base, donor) = engine(name), tokens(name)
    model, graph = runner.model, runner.graph
    run, other = runner.run(base, donor)
    generator = torch.Generator().manual_seed(1)
    share = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 0.97])[:, None]
    some = torch.rand(len(share), len(graph.edges), generator=generator) < share
    ends = torch.tensor([[False], [True]]).expand(2, len(graph.edges))
    sets = torch.cat([ends, some])
    found = found_by(runner.logits_with_edges(other, run, sets), len(sets))
    torch.testing.assert_close(found[0], other.logits, rtol=0, atol=1e-12)
    torch.testing.assert_close(found[1], run.logits, rtol=0, atol=1e-12)
    background = literal.outputs_of(model, donor)
    for row, logits in zip(some, found[2:], strict=True):
        opened = [graph.edges[i] for i in row.nonzero()[:, 0].tolist()]
        expected = literal.run_with_edges(model, graph, base, background, opened)
        torch.testing.assert_close(logits, expected, rtol=1e-11, atol=1e-11)
    alone = torch.cat([found_by(runner.logits_with_edges(other, run, each[None]), 1) for each in sets])
    torch.testing.assert_close(alone, found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_one_edge_closed_or_open_is_path_patching_of_it(name: str) -> None:
    """Where nothing lies between its ends: an edge into the logits open alone, and one from the embedding closed alone."""
    runner, (base, donor) = engine(name), tokens(name)
    graph = runner.graph
    run, other = runner.run(base, donor)
    edges = [edge for edge in graph.edges if edge.receiver.kind == "logits"]
    closed = open_edges_of(graph, [set(graph.edges) - {edge} for edge in edges])
    found = found_by(runner.logits_with_edges(other, run, closed), len(edges))
    expected = found_by(runner.edge_logits(run, other, edges), len(edges))
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", EVERY)
def test_paths(name: str) -> None:
    """Through mixers and MLPs, some of them of one application; without any in between a path is its edge."""
    runner, (base, donor) = engine(name), tokens(name)
    model, graph = runner.model, runner.graph
    run, other = runner.run(base, donor)
    outputs = literal.outputs_of(model, base), literal.outputs_of(model, donor)
    ends = [
        Edge(Node("embed", "h"), Node("mlp", "r1", 1)),
        Edge(Node("embed", "h"), Node("mixer", "h", 2)),
        Edge(Node("mlp", "r2", 0), graph.answer),
        Edge(Node("init", "h"), graph.answer),
    ]
    for through in (
        [Node("mixer", "r1", 0)],
        [Node("mixer", "r1", 0), Node("mixer", "r2", 0), Node("mlp", "r1", 0)],
        [Node("mlp", role, 1) for role in graph.roles] + [Node("mixer", "answer", 1), Node("mixer", "h", 0)],
    ):
        found = found_by(runner.path_logits(run, other, ends, through), len(ends))
        for each, logits in zip(ends, found, strict=True):
            expected = literal.patch_path(model, graph, base, *outputs, each, through)
            torch.testing.assert_close(logits, expected, rtol=1e-11, atol=1e-11, msg=f"{each} through {through}")
    edges = graph.edges[::7]
    found = found_by(runner.path_logits(run, other, edges, []), len(edges))
    torch.testing.assert_close(found, found_by(runner.edge_logits(run, other, edges), len(edges)), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["two blocks", "short"])
def test_share_of_one_position_in_another_by_token_mixing(name: str) -> None:
    """The path through one row of a mixer recomputes its hidden layer with one position replaced, and takes that row."""
    runner, (base, donor) = engine(name), tokens(name)
    model, graph, mixer = runner.model, runner.graph, runner.model.core[0].mixer
    run, other = runner.run(base, donor)
    mine, theirs = literal.outputs_of(model, base), literal.outputs_of(model, donor)
    reads = literal.replay(model, mine)["MIX0"].clone()
    reads[:, 0] = literal.replay(model, theirs)["MIX0"][:, 0]  # of the embedding and constants alone
    hidden = sum(reads[:, at, :, None] * mixer.W_in[at] for at in range(len(graph.roles)))
    gate = sum(reads[:, at, :, None] * mixer.W_gate[at] for at in range(len(graph.roles)))
    row = (torch.nn.functional.silu(gate) * hidden) @ mixer.W_out[:, 2]
    changed = mine["blocks.0.hook_mixer_out"].clone()
    changed[:, 2] = row
    expected = literal.from_receiver(model, graph, base, {**mine, "blocks.0.hook_mixer_out": changed}, Node("mlp", "r2", 0))
    ends = [Edge(Node("embed", "h"), Node("mlp", "r2", 0))]
    (found,) = found_by(runner.path_logits(run, other, ends, [Node("mixer", "r2", 0)]), 1)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def as_recursion(model: HookedTransformer) -> Recursion:
    """A transformer with one head a layer, whose states are plain sums of what its sublayers write."""
    parts: list[Any] = []
    for block in model.blocks:
        parts += [(block.ln1, lambda normed, block=block: block.attn(normed, normed, normed)), (block.ln2, block.mlp)]

    def component(norm: Any, part: Any) -> Any:
        def written(reading: States) -> States:
            prompts = norm(reading.flatten(1, -2).transpose(0, 1).contiguous())
            return part(prompts).transpose(0, 1).reshape(reading.shape)

        return written

    n = len(parts)
    return Recursion(
        None,
        lambda prompts: (model.embed(prompts) + model.pos_embed(prompts)).transpose(0, 1),
        [component(*each) for each in parts],
        [True, False] * model.cfg.n_layers,
        [None] * (n + 1),
        [(number,) for number in range(n + 1)],
        (),
        lambda reading: model.unembed(model.ln_final(reading.flatten(0, -2)[None]))[0].view(*reading.shape[:-1], -1),
    )


@pytest.mark.transformerlens(3)  # whose attention can be called by itself
def test_without_norms_on_the_way_replay_is_path_patching() -> None:
    """In a transformer with one head a layer: its query, key and value together are what a mixer reads."""
    model, roles = random_model(4, n_heads=1, n_ctx=4), ROLES
    fast = engine_of(model, roles, -1)
    assert isinstance(fast, FastEngine)
    seen = [roles[: place + 1] for place in range(4)]
    steps = [each for at in range(2) for each in (Step("mixer", at, sees=tuple(seen)), Step("mlp", at))]
    graph = ComputationGraph(roles, roles[-1], (Step("embed"), *steps, Step("logits")))
    base, donor = (torch.randint(0, 11, (N, 4), generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    run, other = (_run(as_recursion(model), graph, each) for each in (base, donor))
    runs = fast.run(base, donor)
    torch.testing.assert_close(run.logits, runs[0].logits)
    found = found_by(patched_logits(run, other, graph.edges, n_copies=7), len(graph.edges))
    rows = torch.rand(5, len(graph.edges), generator=torch.Generator().manual_seed(2)) < 0.6
    same = {edge: _in_transformer(fast.graph, edge) for edge in graph.edges}
    for edge, logits in zip(graph.edges, found, strict=True):
        later = [each for each in fast.graph.edges if fast.graph.number_of(each.sender) >= graph.number_of(edge.receiver)]
        open_edges = open_edges_of(fast.graph, [{*same[edge], *later}])
        at = roles.index(edge.sender.role)
        node = fast.graph.senders_into(same[edge][0].receiver)[graph.number_of(edge.sender)]
        change = fast.differences(*runs)[node._replace(role="")][:, at]
        ((_, (expected,)),) = logits_with_edges(runs[0], open_edges, {node: change}, n_sets=1)
        torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10, msg=str(edge))
    sets = [{each for edge, is_open in zip(graph.edges, row, strict=True) if is_open for each in same[edge]} for row in rows]
    expected = found_by(fast.logits_with_edges(runs[1], runs[0], open_edges_of(fast.graph, sets)), len(sets))
    mixed = found_by(logits_with_open_edges(other, run.written[0], rows, n_sets=2), len(rows))
    torch.testing.assert_close(mixed, expected, rtol=1e-10, atol=1e-10)


def _in_transformer(graph: ComputationGraph, edge: Edge) -> list[Edge]:
    """The edges of a transformer with one head a layer that an edge of mixers stands for, as far as they matter."""
    sender, receiver = (node._replace(kind="head", index=0) if node.kind == "mixer" else node for node in edge)
    names = "qkv" if receiver.kind == "head" else [""]
    return [each for name in names if (each := Edge(sender, receiver._replace(input=name))) in set(graph.edges)]


def test_a_network_that_computes_something_else_is_refused() -> None:
    """Another norm than its config says, hooks that somebody left, and prompts that it cannot read."""
    model, pairs = build_model(SHAPES["short"], world(), seed=3), mixing_pairs("short", N)
    model.blocks[1].mixer_norm.dim = -1
    with pytest.raises(ValueError, match="the model's logits differ from those of its blocks run one by one on 3 of 3"):
        engine_of(model, ROLES, -1).run(pairs.clean)
    model.blocks[1].mixer_norm.dim = 1
    engine_of(model, ROLES, -1).run(pairs.clean)
    model.add_hook("blocks.0.hook_mid", lambda state, hook: state)
    with pytest.raises(ValueError, match="hook"):
        engine_of(model, ROLES, -1).run(pairs.clean)
    with pytest.raises(ValueError, match="the network mixes 4 positions, the prompts have 3"):
        engine_of(model, ROLES[:3], -1)


def test_the_mean_run_is_rebuilt_from_mean_outputs() -> None:
    runner, pairs = engine("short"), mixing_pairs("short", 5)
    (run,) = runner.run(pairs.clean)
    parts = [run.part(slice(0, 2)), run.part(slice(2, 5))]
    mean = runner.averaged([runner.averaged(parts, 1)], 2)
    outputs = {name: values.mean(0, keepdim=True) for name, values in literal.outputs_of(runner.model, pairs.clean).items()}
    reads = literal.replay(runner.model, outputs)
    torch.testing.assert_close(mean.logits[1], reads["logits"][0, -1] @ runner.model.unembed.W_U)
    torch.testing.assert_close(mean.state(0)[0], reads["MIX1"][0] - runner.model.z_h)
    assert run.part(slice(1, 2)).embedding.shape == (1, 4, 8)
