"""The one-query view and CircuitsVis: the numbers are the model's, and the page needs no network."""

import pytest
import torch
from conftest import no_hooks_left
from handset import BRIDGE_EDGES, handset_model

from grokscope.analyses import AttentionView, QueryView, attribute_attention, path_patch, view_attention, view_query
from grokscope.tasks import PromptPairs, TwoHopTask, make_pairs


@pytest.fixture(scope="module")
def pairs(evidence_world: TwoHopTask) -> PromptPairs:
    return make_pairs(evidence_world, split="test_inferred_iid", contrast="bridge", n=6, seed=0)


@pytest.fixture(scope="module")
def view(evidence_world: TwoHopTask, pairs: PromptPairs) -> QueryView:
    return view_query(handset_model(evidence_world.graph), evidence_world, pairs, 2)


def test_it_names_the_question_and_reads_what_is_planted(
    view: QueryView, evidence_world: TwoHopTask, pairs: PromptPairs
) -> None:
    head, first, second = pairs.clean[2].tolist()
    graph, n = evidence_world.graph, evidence_world.graph.n_entities
    bridge = int(graph.tails[graph.fact_of[head, first - n]])
    answer = int(graph.tails[graph.fact_of[bridge, second - n]])
    assert view.title == f"(e{head}, r{first - n}, r{second - n}) → e{bridge} → e{answer}; hand-set says e{answer}"
    lens = view.lens.set_index(["layer", "after", "role"])
    read, said = lens.loc[(0, "layer", "r1")], lens.loc[(1, "layer", "r2")]
    assert (read["token"], read["is"]) == (f"e{bridge}", "bridge") and read["probability"] > 0.99
    assert (said["token"], said["is"]) == (f"e{answer}", "answer")
    assert len(lens) == 5 * 3


def test_its_edges_are_the_planted_ones_with_path_patchings_numbers(
    view: QueryView, evidence_world: TwoHopTask, pairs: PromptPairs
) -> None:
    strong = view.edges[view.edges["delta"].abs() > 1e-3]
    assert set(strong["sender"] + " -> " + strong["receiver"]) == set(BRIDGE_EDGES)
    model = handset_model(evidence_world.graph)
    whole = path_patch(model, pairs, per_query=True).to_frame().query("query == 2").set_index(["sender", "receiver"])
    for row in view.edges.itertuples():
        assert row.delta == pytest.approx(whole.loc[(row.sender, row.receiver), "delta"], abs=1e-4)
    assert no_hooks_left(model)


def test_the_page_has_all_parts_and_loads_nothing(view: QueryView, tmp_path: pytest.TempPathFactory) -> None:
    page = view.save(tmp_path / "view.html").read_text()
    assert "unpkg.com" not in page and 'src="http' not in page
    assert page.index("<b>bridge</b>") < page.index("CircuitsVis.render(") < page.index('class="gs-edge')
    container = page.index('<div class="grokscope-attention"')
    assert page[page.index(">", container) - 1] != "/"  # `<div/>` would swallow what follows
    assert view._repr_html_().startswith("<iframe srcdoc=")


def test_what_is_no_question_of_the_task_is_refused(evidence_world: TwoHopTask, pairs: PromptPairs) -> None:
    model = handset_model(evidence_world.graph)
    with pytest.raises(IndexError, match="number is 6, there are 6 pairs, 0 to 5"):
        view_query(model, evidence_world, pairs, 6)
    backwards = PromptPairs(pairs.clean.flip(1), pairs.corrupt, pairs.answers, pairs.foils, roles=pairs.roles)
    with pytest.raises(ValueError, match=r"is no two-hop question of this task: its facts are not in the graph"):
        view_query(model, evidence_world, backwards, 0)


def test_patterns_are_shown_as_they_are(evidence_world: TwoHopTask, pairs: PromptPairs) -> None:
    view = attribute_attention(handset_model(evidence_world.graph), pairs, steps=2).view()
    assert isinstance(view, AttentionView) and view.title.startswith("hand-set · ") and "n = 6" in view.title
    assert '"L0H0", "L0H1", "L1H0", "L1H1"' in view.html and "unpkg.com" not in view._repr_html_()
    hostile = view_attention(torch.ones(1, 1, 1, 1), ["</script><b>x"], causal=False, title="<i>t")
    assert "<b>x" not in hostile.html and "<i>t" not in hostile._repr_html_()


def test_tokens_have_names(evidence_world: TwoHopTask) -> None:
    slots = evidence_world.with_layout("slots")
    n = slots.graph.n_entities
    names = [slots.token_name(token) for token in (0, n - 1, n, slots.n_tokens - 2, slots.n_tokens - 1)]
    assert names == ["e0", f"e{n - 1}", "r0", f"r{slots.graph.n_relations - 1}", "_"]
