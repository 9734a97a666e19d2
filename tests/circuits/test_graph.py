import pytest

from grokscope.circuits import ComputationGraph, Edge, Node

NAMES = ["embed@h", "L2H0@r1", "MLP2@r1", "logits@r2", "L12H3.q@r2", "L0H0.k@r1", "L1H0.v@a role@with at", "L1H2.k", "MLP0"]


@pytest.mark.parametrize("name", NAMES)
def test_names_parse_back(name: str) -> None:
    assert str(Node.parse(name)) == name


def test_edges_parse_back_for_a_whole_graph() -> None:
    graph = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=3, n_heads=2, n_blocks=1)
    assert len(set(graph.edges)) == len(graph.edges)
    assert all(Edge.parse(str(edge)) == edge for edge in graph.edges)


@pytest.mark.parametrize("name", ["H2@r1", "L2H0.x@r1", "mlp2@r1", "embed@", "MLP@r1"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no node; names look like embed@h"):
        Node.parse(name)


def test_an_edge_needs_an_arrow() -> None:
    with pytest.raises(ValueError, match="is no edge; names look like"):
        Edge.parse("embed@h, MLP0@h")


def test_the_answer_role_must_be_a_role() -> None:
    with pytest.raises(ValueError, match="answer_role 'r3' is not among the roles"):
        ComputationGraph.transformer(("h", "r1", "r2"), "r3", n_layers=1, n_heads=1, n_blocks=1)


def test_the_smallest_graph_by_hand() -> None:
    """One layer, two positions, causal: h is read by k and v only, as its own query has nothing to choose."""
    graph = ComputationGraph.transformer(("h", "r1"), "r1", n_layers=1, n_heads=1, n_blocks=1)
    assert sorted(map(str, graph.edges)) == sorted(
        [
            "embed@h -> L0H0.k@h",
            "embed@h -> L0H0.v@h",
            "embed@r1 -> L0H0.q@r1",
            "embed@r1 -> L0H0.k@r1",
            "embed@r1 -> L0H0.v@r1",
            "embed@r1 -> MLP0@r1",
            "L0H0@r1 -> MLP0@r1",
            "embed@r1 -> logits@r1",
            "L0H0@r1 -> logits@r1",
            "MLP0@r1 -> logits@r1",
        ]
    )


def test_a_position_that_sees_only_itself_has_nothing_to_choose() -> None:
    """Over two layers what h writes matters, but neither its query nor, to itself, its key: the one weight is always 1."""
    graph = ComputationGraph.transformer(("h", "r1"), "r1", n_layers=2, n_heads=1, n_blocks=2)
    read = {str(receiver) for receiver in graph.receivers}
    assert "L0H0.q@h" not in read and {"L0H0.v@h", "L0H0.k@h", "L0H0.q@r1", "MLP0@h"} <= read
    alone = ComputationGraph.transformer(("h",), "h", n_layers=1, n_heads=1, n_blocks=1)
    assert [str(receiver) for receiver in alone.receivers] == ["L0H0.v@h", "MLP0@h", "logits@h"]


def test_attention_only_and_bidirectional_graphs() -> None:
    graph = ComputationGraph.transformer(("h", "r1"), "r1", n_layers=1, n_heads=1, n_blocks=1, has_mlp=False)
    assert not any("MLP" in str(edge) for edge in graph.edges) and len(graph.edges) == 7
    both_ways = ComputationGraph.transformer(("h", "r1"), "h", n_layers=1, n_heads=1, n_blocks=1, causal=False)
    assert "embed@r1 -> L0H0.v@r1" in map(str, both_ways.edges)
    one_way = ComputationGraph.transformer(("h", "r1"), "h", n_layers=1, n_heads=1, n_blocks=1)
    assert not any("@r1" in str(edge) for edge in one_way.edges)


def test_inputs_meet_in_outputs_at_positions_that_see_them() -> None:
    graph = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=1, n_heads=1, n_blocks=1)
    assert [str(node) for node in graph.outputs_of(Node.parse("L0H0.k@r1"))] == ["L0H0@r1", "L0H0@r2"]
    assert [str(node) for node in graph.outputs_of(Node.parse("L0H0.q@r1"))] == ["L0H0@r1"]
    assert graph.outputs_of(Node.parse("logits@r2")) == ()


@pytest.mark.parametrize("answer", ["a", "c"])
@pytest.mark.parametrize("options", [{}, {"causal": False}, {"has_mlp": False}, {"n_key_value_heads": 1, "parallel": True}])
def test_edges_without_positions_senders_and_counts_are_those_of_all_edges(options: dict, answer: str) -> None:
    graph = ComputationGraph.transformer(("a", "b", "c"), answer, n_layers=2, n_heads=2, n_blocks=1, **options)
    merged = (Edge(*(node._replace(role="") for node in edge)) for edge in graph.edges)
    assert graph.component_edges == tuple(dict.fromkeys(merged)) and graph.n_edges == len(graph.edges)
    assert graph.senders == tuple(dict.fromkeys(edge.sender for edge in graph.edges))


def test_json_round_trip() -> None:
    graph = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=4, n_heads=2, n_blocks=1)
    assert ComputationGraph.from_dict(graph.to_dict()) == graph


def test_grouped_heads_share_keys_and_values() -> None:
    graph = ComputationGraph.transformer(("x", "y"), "y", n_layers=2, n_heads=4, n_blocks=2, n_key_value_heads=2)
    inputs = {node.component for node in graph.receivers if node.layer == 0}
    assert inputs == {*(f"L0H{i}.q" for i in range(4)), *(f"L0H{i}.{name}" for i in range(2) for name in "kv"), "MLP0"}
    fed = graph.outputs_of(Node.parse("L0H1.v@x"))
    assert {str(node) for node in fed} == {"L0H2@x", "L0H3@x", "L0H2@y", "L0H3@y"}
    assert str(graph.component_of(Node.parse("L1H1.k@y"))) == "L1H2@y"
    assert ComputationGraph.from_dict(graph.to_dict()) == graph
    assert (graph.n_heads, graph.n_key_value_heads) == (4, 2)


def test_parallel_mlps_do_not_read_the_heads_of_their_layer() -> None:
    graph = ComputationGraph.transformer(("x",), "x", n_layers=2, n_heads=2, n_blocks=2, parallel=True)
    assert [str(node) for node in graph.senders_into(Node.parse("MLP1@x"))] == ["embed@x", "L0H0@x", "L0H1@x", "MLP0@x"]
    assert graph.parallel
    assert ComputationGraph.from_dict(graph.to_dict()) == graph


def test_sizes_of_shared_keys_are_checked() -> None:
    with pytest.raises(ValueError, match="n_heads=4 cannot share n_key_value_heads=3 evenly"):
        ComputationGraph.transformer(("x",), "x", n_layers=1, n_heads=4, n_blocks=1, n_key_value_heads=3)
