"""A donor's direction on hand-set models whose codes are known, on exact rewrites, and against a literal computation."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import scipy.linalg
import torch
from conftest import no_hooks_left, random_model
from explained import assert_explained
from handset import handset_model, lookup_model

from grokscope.analyses import DirectionTransferResult, content_distance, direction_transfer, graph_of
from grokscope.analyses.bridge.questions import halves_by_unit
from grokscope.analyses.forward.literal import logits_at
from grokscope.analyses.sameness.bridge_code import Reference
from grokscope.analyses.sameness.direction_transfer import _changes, _questions
from grokscope.analyses.sameness.procrustes import RANK, carried_over, folds_by_value, mean_states, turn
from grokscope.tasks import KnowledgeGraph, TwoHopTask, load_study
from grokscope.tasks.transformerlens import HookedTransformer, HookedTransformerConfig

SPLIT = "test_inferred_iid"
measured = partial(direction_transfer, split=SPLIT, n=100, progress=False)


def shares(result: DirectionTransferResult) -> dict[str, float]:
    return dict(zip(result.table["measure"], result.table["value"], strict=True))


def permuted_code(graph: KnowledgeGraph) -> HookedTransformer:
    """The hand-set model with each bridge written, and read, as another entity."""
    model, n = handset_model(graph), graph.n_entities
    bridge = slice(n + graph.n_relations + 3 + n, n + graph.n_relations + 3 + 2 * n)  # after token, position and first
    order = torch.randperm(n, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        model.blocks[0].mlp.W_out[:, bridge] = model.blocks[0].mlp.W_out[:, bridge][:, order]
        model.blocks[1].attn.W_V[0, bridge] = model.blocks[1].attn.W_V[0, bridge][order]
    return model


def pair_code(graph: KnowledgeGraph) -> HookedTransformer:
    """A model that notes h at r1 and looks up (h, r1, r2): a code of the fact, and no bridge."""
    return lookup_model(graph, torch.from_numpy(graph.compositions))


def rotated(model: HookedTransformer) -> HookedTransformer:
    """The same function with the whole stream turned; around the direction that norms take out, where there are some."""
    new, d = copy.deepcopy(model).double(), model.cfg.d_model
    basis = torch.randn(d, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis[:, 0] = 1.0
    q = torch.linalg.qr(basis).Q
    inner = torch.randn(d - 1, d - 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    by = q[:, :1] @ q[:, :1].T + q[:, 1:] @ torch.linalg.qr(inner).Q @ q[:, 1:].T
    with torch.no_grad():
        for name, parameter in new.named_parameters():
            if name.endswith(("W_E", "W_pos", "W_O", "W_out", "b_O", "b_out")):
                parameter.copy_(parameter @ by)
            elif name.endswith(("W_Q", "W_K", "W_V", "W_in", "W_U")):
                parameter.copy_(by.T @ parameter)
    return new.to(model.cfg.dtype)


def with_idle_block(model: HookedTransformer, place: int) -> HookedTransformer:
    """The same function with a block that writes nothing before layer `place`."""
    new = HookedTransformer(HookedTransformerConfig.from_dict(model.cfg.to_dict() | {"n_layers": model.cfg.n_layers + 1}))
    blocks = list(copy.deepcopy(model).blocks)
    idle = copy.deepcopy(blocks[0])
    with torch.no_grad():
        for parameter in (idle.attn.W_O, idle.attn.b_O, idle.mlp.W_out, idle.mlp.b_out):
            parameter.zero_()
        blocks.insert(place, idle)
        state = {name: each for name, each in model.state_dict().items() if not name.startswith("blocks.")}
        state |= {f"blocks.{i}.{name}": each for i, block in enumerate(blocks) for name, each in block.state_dict().items()}
    new.load_state_dict(state)
    return new.eval()


def normed_model(task: TwoHopTask) -> HookedTransformer:
    """Of random weights, with norms whose gains are 1 and whose biases are 0, so that its stream may be turned."""
    model = random_model(2, d_vocab=task.n_tokens, d_model=24, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".ln" in name or name.startswith("ln"):
                parameter.fill_(1.0 if name.endswith("w") else 0.0)
    return model


def test_a_code_in_another_basis_order_and_layer_transfers_fully_both_ways(evidence_world: TwoHopTask) -> None:
    graph = evidence_world.graph
    model = handset_model(graph)
    others = {
        "rotated": handset_model(graph, rotated=True),
        "permuted": permuted_code(graph),
        "later": handset_model(graph, layers=(1, 2), n_layers=3),
    }
    for name, other in others.items():
        there, back = measured(model, other, evidence_world), measured(other, model, evidence_world)
        for result in (there, back):
            found = shares(result)
            assert found["own"] == found["transferred"] == 1.0 and max(found["null"], found["random"]) < 0.1, name
        assert content_distance(there, back) == 0.0
        layers = {"layer_model": 0, "layer_donor": 1 if name == "later" else 0}
        assert all((there.table[column] == layer).all() for column, layer in layers.items())
        assert no_hooks_left(model) and no_hooks_left(other) and there.n_values == graph.n_entities


def test_a_code_of_the_fact_transfers_nothing_and_nothing_can_be_said_of_it(evidence_world: TwoHopTask) -> None:
    model, other = handset_model(evidence_world.graph), pair_code(evidence_world.graph)
    there, back = measured(model, other, evidence_world), measured(other, model, evidence_world)
    assert shares(there)["own"] == 1.0 and shares(there)["transferred"] < 0.15 and there.lost > 0.85
    assert there.lost_interval.low > 0.6 and there.lost_interval.high <= 1.0
    assert shares(back)["own"] < 0.15 and math.isnan(back.lost) and "(ceiling)" in back.reason
    assert back.lost_interval == (-1.0, 1.0) and math.isnan(content_distance(there, back))


REWRITES = {
    "rotated": rotated,
    "idle first": partial(with_idle_block, place=0),
    "idle within": partial(with_idle_block, place=1),
}


def test_exact_rewrites_move_nothing(evidence_world: TwoHopTask) -> None:
    clean, noisy = handset_model(evidence_world.graph), handset_model(evidence_world.graph, noise=0.03)
    there, back = measured(clean, noisy, evidence_world), measured(noisy, clean, evidence_world)
    assert 0 < min(shares(there)["transferred"], shares(back)["own"]) < 1
    for name, rewrite in REWRITES.items():
        new = rewrite(noisy)
        torch.testing.assert_close(new(torch.tensor([[0, 17, 18]])), noisy(torch.tensor([[0, 17, 18]])), atol=1e-3, rtol=0)
        for before, after in (
            (there, measured(clean, new, evidence_world)),
            (back, measured(new, clean, evidence_world)),
        ):
            moved = {name: abs(value - shares(after)[name]) for name, value in shares(before).items()}
            del moved["random"]  # the same length, in a direction drawn anew
            assert max(moved.values()) < 1e-3, name


def test_what_norms_take_out_is_no_part_of_the_code(evidence_world: TwoHopTask) -> None:
    """A vector of ones times anything, written next to a state, changes no function and must change no geometry."""
    model = normed_model(evidence_world)
    shifted = copy.deepcopy(model)
    with torch.no_grad():
        shifted.embed.W_E += 7 * torch.randn(len(model.embed.W_E), 1, generator=torch.Generator().manual_seed(0))
    queries, name = _questions(evidence_world, SPLIT, 60, None, 0)
    codes = []
    for each in (model, shifted, rotated(model)):
        code = Reference(each, evidence_world, queries, intermediate=name, max_memory=None, seed=0).code((1, ("r1",)))
        codes.append(mean_states(code.states, code.values))
    np.testing.assert_allclose(codes[1], codes[0], atol=1e-3)
    assert not np.allclose(codes[2], codes[0], atol=0.1)
    np.testing.assert_allclose(codes[2] @ codes[2].T, codes[0] @ codes[0].T, atol=1e-3 * (codes[0] ** 2).sum(1).max())


def test_the_turn_is_scipys_where_both_codes_vary() -> None:
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(30, 6)), rng.normal(size=(30, 6))
    literal = scipy.linalg.orthogonal_procrustes(source - source.mean(0), target - target.mean(0))[0]
    np.testing.assert_allclose(turn(source, target), literal, atol=1e-10)
    narrow = turn(source[:4], np.pad(target[:4], ((0, 0), (0, 5))))  # 3 dimensions, in spaces of 6 and of 11
    assert narrow.shape == (6, 11) and np.linalg.matrix_rank(narrow, tol=RANK) == 3
    np.testing.assert_allclose(narrow @ narrow.T @ narrow, narrow, atol=1e-10)


def test_each_fact_is_turned_by_what_others_say() -> None:
    rng = np.random.default_rng(1)
    values, fold = np.repeat(np.arange(5), 4), np.tile(np.arange(4), 5)
    source, target = rng.normal(size=(20, 7)), rng.normal(size=(20, 6))
    literal = np.zeros((5, 6))
    for fact in range(20):
        rest = [i for i in range(20) if fold[i] != fold[fact]]
        means = [np.mean([source[i] for i in rest if values[i] == v], axis=0) for v in range(5)]
        onto = [np.mean([target[i] for i in rest if values[i] == v], axis=0) for v in range(5)]
        literal[values[fact]] += (source[fact] - np.mean(means, axis=0)) @ turn(np.array(means), np.array(onto)) / 4
    found = carried_over(source, target, values, fold, np.arange(5))
    size = [np.sqrt(((code - code.mean(0)) ** 2).sum()) for code in (literal, mean_states(target, values), found)]
    np.testing.assert_allclose(found, literal * size[1] / size[0])
    assert size[2] == pytest.approx(size[1])
    changed = source.copy()
    changed[0] += 5.0
    other = carried_over(changed, target, values, fold, np.arange(5))
    assert not np.allclose(other, found)


def test_of_vectors_that_are_each_facts_alone_nothing_is_left() -> None:
    values, fold = np.repeat(np.arange(5), 4), np.tile(np.arange(4), 5)
    target = np.random.default_rng(0).normal(size=(20, 6))
    assert not carried_over(np.eye(20), target, values, fold, np.arange(5)).any()
    of_values = carried_over(np.eye(5)[values], target, values, fold, np.arange(5))
    assert np.linalg.norm(of_values) > 0.1


def test_folds_share_the_facts_of_each_value() -> None:
    values = np.random.default_rng(0).integers(6, size=130)
    fold = folds_by_value(values, seed=0)
    for value in range(6):
        counts = np.bincount(fold[values == value], minlength=10)
        assert counts.max() - counts.min() <= 1
    assert not np.array_equal(fold, folds_by_value(values, seed=1))


def test_answers_equal_those_of_literal_hooks(evidence_world: TwoHopTask) -> None:
    """Means by loops over plain runs, the change by a hook: the shares of `own` and `transferred`."""
    task, graph = evidence_world, evidence_world.graph
    model, donor = handset_model(graph, noise=0.03), handset_model(graph, noise=0.03, seed=1, layers=(1, 2), n_layers=3)
    result = measured(model, donor, task)
    (layer,), (donor_layer,) = result.table["layer_model"].unique(), result.table["layer_donor"].unique()
    queries, name = _questions(task, SPLIT, 100, None, 0)
    setting = {"intermediate": name, "max_memory": None, "seed": 0}
    reference = Reference(model, task, queries, **setting)
    facts = task.reference(seed=0, without=frozenset(queries.unit.tolist()))
    asked = reference.questions(halves_by_unit(queries, seed=0)[1])
    states, bridges = {}, facts.bridges.tolist()
    for each, at in ((model, layer), (donor, donor_layer)):
        _, cache = each.run_with_cache(facts.tokens)
        states[at] = cache[f"blocks.{at}.hook_resid_post"][:, 1].double().numpy()
    known = [b for b in range(graph.n_entities) if bridges.count(b) >= 2]
    rows = [i for i, b in enumerate(bridges) if b in known]
    values = np.array([known.index(bridges[i]) for i in rows])
    own = np.array([np.mean([states[layer][i] for i in rows if bridges[i] == b], axis=0) for b in known])
    fold = folds_by_value(values, seed=0)
    mapped = carried_over(states[donor_layer][rows], states[layer][rows], values, fold, np.arange(len(known)))
    for measure, code in (("own", own), ("transferred", mapped)):
        n_moved = 0
        for row in range(len(asked.asked)):
            tokens = asked.asked.tokens[row : row + 1]
            assert model(tokens)[0, -1].argmax() == asked.asked.answers[row]
            new = known[asked.new_values[row]]
            assert (new, int(tokens[0, 2]) - graph.n_entities, int(asked.wanted[row])) in graph.triples
            change = torch.from_numpy(code[known.index(new)] - code[known.index(int(asked.asked.bridges[row]))]).float()

            def add(state: torch.Tensor, hook: object, change: torch.Tensor = change) -> torch.Tensor:
                state[:, 1] += change
                return state

            logits = logits_at(model, tokens, 2, [(f"blocks.{layer}.hook_resid_post", add)])
            n_moved += int(logits.argmax() == asked.wanted[row])
        assert shares(result)[measure] == pytest.approx(n_moved / len(asked.asked)), measure
    assert 0 < shares(result)["transferred"] < shares(result)["own"]


def test_copies_are_exchanged_together_where_several_roles_are_asked_for(evidence_world: TwoHopTask) -> None:
    model = handset_model(evidence_world.graph)
    result = measured(model, model, evidence_world, roles=("h", "r1"))
    assert set(result.table["role"]) == {"r1"}  # alone enough, and the first of equals
    graph = graph_of(model, ("h", "r1", "r2"), 2)
    queries, name = _questions(evidence_world, SPLIT, 60, None, 0)
    reference = Reference(model, evidence_world, queries, intermediate=name, max_memory=None, seed=0)
    asked, code = reference.questions(queries), reference.code((0, ("h", "r1")))
    changes = _changes(asked, code, code, 0)
    assert changes.shape == (4, len(asked.asked), 2 * model.cfg.d_model) and graph.causal
    answers = reference.answers(asked, code.cell, changes)
    assert (answers[:2] == asked.wanted).all() and (answers[2:] == asked.wanted).float().mean() < 0.1


def test_a_model_that_answers_nothing_gives_a_reason(evidence_world: TwoHopTask) -> None:
    model, silent = handset_model(evidence_world.graph), handset_model(evidence_world.graph, misaligned=True)
    for result, who in (
        (measured(model, silent, evidence_world), "donor"),
        (measured(silent, model, evidence_world), "model"),
    ):
        assert f"the {who} answers no question" in result.reason and math.isnan(result.lost) and not len(result.table)
        again = DirectionTransferResult.from_json(result.to_json())
        assert again.reason == result.reason and result.reason in result.caption and result.figure()


def test_few_units_decide_nothing(evidence_world: TwoHopTask) -> None:
    model = handset_model(evidence_world.graph)
    result = measured(model, model, evidence_world, n=12)
    assert "needed are 20 units, there are" in result.reason and math.isnan(content_distance(result, result))


def test_what_it_says_of_itself_is_what_it_holds(evidence_world: TwoHopTask) -> None:
    model, other = handset_model(evidence_world.graph), pair_code(evidence_world.graph)
    result = measured(model, other, evidence_world)
    assert_explained(result, constants={"0.5"})
    found = shares(result)
    assert f"moves {found['own']:.2f} of the answers, the donor's {found['transferred']:.2f}" in result.explain().means
    assert f"{result.lost:.2f} is lost" in result.explain().means
    back = measured(other, model, evidence_world)
    assert_explained(back, constants={"0.5"})
    assert back.explain().means == f"Nothing is decided: {back.reason}."


def test_a_result_is_saved_and_drawn(evidence_world: TwoHopTask) -> None:
    model = handset_model(evidence_world.graph)
    result = measured(model, model, evidence_world)
    again = DirectionTransferResult.from_json(result.to_json())
    assert again.table.equals(result.table) and again.lost == result.lost == 0.0
    assert list(result.figure().data[0].y) == result.table["value"].tolist()
    assert "L0 r1 in L0 r1" in result.caption and (result.table["low"] <= result.table["value"]).all()


def test_bad_requests_are_refused(evidence_world: TwoHopTask) -> None:
    model = handset_model(evidence_world.graph)
    with pytest.raises(ValueError, match=r"no roles end; there are h, r1, r2"):
        measured(model, model, evidence_world, roles=("end",))
    with pytest.raises(ValueError, match="at least one role"):
        measured(model, model, evidence_world, roles=())
    with pytest.raises(ValueError, match="which are atomic"):
        direction_transfer(model, model, evidence_world, "id_atomic", progress=False)
    with pytest.raises(MemoryError, match="are allowed here"):
        measured(model, model, evidence_world, max_memory=10)
    small = random_model(0, d_vocab=5)
    with pytest.raises(ValueError, match="the model's tokens are 0 to 4"):
        measured(model, small, evidence_world)
    there = measured(model, handset_model(evidence_world.graph, rotated=True), evidence_world)
    with pytest.raises(ValueError, match="needed are two models both ways"):
        content_distance(there, there)


@pytest.mark.slow
def test_on_the_study_grokked_replicates_hold_the_same_and_rewrites_move_nothing() -> None:
    runs = load_study().runs
    grokked, again = (runs[name].checkpoint("ood_generalised") for name in ("natural-g1-r0", "natural-g1-r1"))
    model, donor, task = grokked.model(), again.model(), grokked.task
    there, back = measured(model, donor, task), measured(donor, model, task)
    assert content_distance(there, back) < 0.05 and max(shares(there)["null"], shares(back)["null"]) < 0.05
    for place in (0, 2, 4):
        idle = with_idle_block(donor, place)
        assert measured(model, idle, task).lost == pytest.approx(there.lost, abs=1e-3)
        assert measured(idle, model, task).lost == pytest.approx(back.lost, abs=1e-3)
