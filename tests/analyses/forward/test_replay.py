"""Edges, nodes, paths and circuits of token-mixing networks against what exact means there, literally."""

from functools import cache
from typing import Any

import literal_replay as literal
import pytest
import torch

from grokscope.analyses.forward.engine import engine_of
from grokscope.analyses.forward.places import open_edges_of
from grokscope.analyses.forward.replay_engine import ReplayEngine
from grokscope.circuits import Edge, Node
from grokscope.tasks import TRMConfig, TwoHopTask, build_model

SHAPES = {
    "positions": TRMConfig.tiny(d_model=8, d_mixer=4, d_mlp=12, l_cycles=2),
    "channels": TRMConfig.tiny(d_model=8, d_mixer=4, d_mlp=12, mixer_norm="channels"),
    "two blocks": TRMConfig.tiny(d_model=8, d_mixer=4, d_mlp=12, n_blocks=2),
    "three cycles": TRMConfig.tiny(d_model=8, d_mixer=4, d_mlp=12, h_cycles=3, mixer_norm="channels"),
}
N = 3


@cache
def task() -> TwoHopTask:
    """With prompts of five positions."""
    return TwoHopTask.random(n_entities=12, n_relations=5, out_degree=3, layout="four_slots", seed=1)


@cache
def engine(name: str) -> ReplayEngine:
    """Of a random network in double precision."""
    model = build_model(SHAPES[name], task(), seed=3).double()
    roles = tuple(f"p{place}" for place in range(model.cfg.n_ctx))
    found = engine_of(model, roles, -1)
    assert isinstance(found, ReplayEngine)
    return found


@cache
def tokens(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Base and donor prompts, which differ everywhere."""
    cfg, generator = engine(name).model.cfg, torch.Generator().manual_seed(0)
    base = torch.randint(0, cfg.d_vocab, (N, cfg.n_ctx), generator=generator)
    return base, (base + torch.randint(1, cfg.d_vocab, base.shape, generator=generator)) % cfg.d_vocab


def found_by(logits: Any, n: int) -> torch.Tensor:
    """Logits of all targets, in their order."""
    found: dict[int, torch.Tensor] = {}
    for places, some in logits:
        found |= dict(zip(places, some, strict=True))
    return torch.stack([found[i] for i in range(n)])


@pytest.mark.parametrize("name", SHAPES)
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


@pytest.mark.parametrize("name", SHAPES)
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


@pytest.mark.parametrize("name", SHAPES)
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


@pytest.mark.parametrize("name", SHAPES)
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


@pytest.mark.parametrize("name", SHAPES)
def test_paths(name: str) -> None:
    """Through mixers and MLPs, some of them of one application; without any in between a path is its edge."""
    runner, (base, donor) = engine(name), tokens(name)
    model, graph = runner.model, runner.graph
    run, other = runner.run(base, donor)
    outputs = literal.outputs_of(model, base), literal.outputs_of(model, donor)
    ends = [
        Edge(Node("embed", "p0"), Node("mlp", "p1", 1)),
        Edge(Node("embed", "p0"), Node("mixer", "p0", 2)),
        Edge(Node("mlp", "p2", 0), graph.answer),
        Edge(Node("init", "p0"), graph.answer),
    ]
    for through in (
        [Node("mixer", "p1", 0)],
        [Node("mixer", "p1", 0), Node("mixer", "p2", 0), Node("mlp", "p1", 0)],
        [Node("mlp", role, 1) for role in graph.roles] + [Node("mixer", "p3", 1), Node("mixer", "p0", 0)],
    ):
        found = found_by(runner.path_logits(run, other, ends, through), len(ends))
        for each, logits in zip(ends, found, strict=True):
            expected = literal.patch_path(model, graph, base, *outputs, each, through)
            torch.testing.assert_close(logits, expected, rtol=1e-11, atol=1e-11, msg=f"{each} through {through}")
    edges = graph.edges[::7]
    found = found_by(runner.path_logits(run, other, edges, []), len(edges))
    torch.testing.assert_close(found, found_by(runner.edge_logits(run, other, edges), len(edges)), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["channels", "positions"])
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
    expected = literal.from_receiver(model, graph, base, {**mine, "blocks.0.hook_mixer_out": changed}, Node("mlp", "p2", 0))
    ends = [Edge(Node("embed", "p0"), Node("mlp", "p2", 0))]
    (found,) = found_by(runner.path_logits(run, other, ends, [Node("mixer", "p2", 0)]), 1)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
