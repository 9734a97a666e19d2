"""Models of longer tasks, written by hand: what was put there is found, and nothing else."""

import numpy as np
import pytest
import torch
from handset_chains import (
    ATOMIC_EDGES,
    COMPARED,
    COMPARISON_EDGES,
    COMPARISON_LOOKUP_EDGES,
    FIRST_ENTITY_EDGES,
    GRAPH,
    N_VALUES,
    SECOND_ENTITY_EDGES,
    VALUES,
    chain_edges,
    chain_lookup_edges,
    chain_pairs,
    chains_of,
    comparison_pairs,
    comparison_prompts,
    comparisons,
    edges_from,
    prompts_of,
    roles_of,
)

from grokscope.analyses import discover, faithfulness, path_patch
from grokscope.circuits import compare_counterparts
from grokscope.tasks import PromptPairs
from grokscope.tasks.models.by_hand_chains import (
    chain_lookup_model,
    comparison_lookup_model,
    handset_chain_model,
    handset_comparison_model,
)
from grokscope.tasks.models.hand_parts import shuffled_weights
from grokscope.tasks.transformerlens import HookedTransformer

ROUNDING = 1e-4
NOISE = 1e-3


def answers_of(model: HookedTransformer, prompts: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(prompts)[:, -1].argmax(-1)


def found(model: HookedTransformer, pairs: PromptPairs, above: float = ROUNDING) -> set[str]:
    """The edges with an effect."""
    table = path_patch(model, pairs, progress=False).table
    return set((table["sender"] + " -> " + table["receiver"])[table["effect"].abs() > above])


def literal_answer(prompt: list[int]) -> int:
    """Where the relations of a prompt lead, by looking through all facts."""
    entity = prompt[0]
    for token in prompt[1:]:
        (entity,) = [
            tail for head, relation, tail in GRAPH.triples if (head, GRAPH.n_entities + relation) == (entity, token)
        ]
    return entity


@pytest.mark.parametrize("noise", [0.0, NOISE])
@pytest.mark.parametrize("n_hops", [1, 2, 3, 4])
def test_a_chain_of_any_length_up_to_its_own_is_answered(n_hops: int, noise: float) -> None:
    model = handset_chain_model(GRAPH, n_hops, noise=noise)
    assert model.cfg.n_layers == n_hops
    for n in range(1, n_hops + 1):
        prompts, answers = prompts_of(GRAPH, chains_of(GRAPH, n)[::7])
        assert answers.tolist() == list(map(literal_answer, prompts.tolist()))
        assert (answers_of(model, prompts) == answers).all()


@pytest.mark.parametrize("n_hops", [1, 2, 3, 4])
def test_the_edges_of_a_chain_are_exactly_those_put_there(n_hops: int) -> None:
    model, roles = handset_chain_model(GRAPH, max(n_hops, 2)), roles_of(n_hops)
    assert len(chain_edges(n_hops)) == 3 * n_hops + 1
    everything = [found(model, chain_pairs(GRAPH, n_hops, (role,))) for role in roles]
    for role, edges in zip(roles, everything, strict=True):
        assert edges == set(edges_from(chain_edges(n_hops), role)), role
    assert set.union(*everything) == set(chain_edges(n_hops))


def test_three_hops_whose_tokens_all_differ_have_ten_edges() -> None:
    assert chain_edges(3) == [
        "embed@h -> L0H0.v@h", "L0H0@r1 -> MLP0@r1", "embed@r1 -> MLP0@r1",
        "MLP0@r1 -> L1H0.v@r1", "L1H0@r2 -> MLP1@r2", "embed@r2 -> MLP1@r2",
        "MLP1@r2 -> L2H0.v@r2", "L2H0@r3 -> MLP2@r3", "embed@r3 -> MLP2@r3", "MLP2@r3 -> logits@r3",
    ]  # fmt: skip
    pairs = chain_pairs(GRAPH, 3, roles_of(3))
    model = handset_chain_model(GRAPH, 3)
    assert found(model, pairs) == set(chain_edges(3))
    noisy = handset_chain_model(GRAPH, 3, noise=NOISE)
    assert found(noisy, pairs, above=0.1) == set(chain_edges(3)) < found(noisy, pairs, above=0)
    null = shuffled_weights(model, seed=0)
    assert (answers_of(null, pairs.clean) == pairs.answers).float().mean() < 0.5
    assert sum(each.sum() for each in null.state_dict().values()) == pytest.approx(
        float(sum(each.sum() for each in model.state_dict().values())), abs=0.1
    )


def test_the_circuit_of_a_chain_is_found_and_faithful() -> None:
    model, contrast = handset_chain_model(GRAPH, 3, noise=NOISE), ("h", "r1", "r2")
    chosen_on, judged_on = chain_pairs(GRAPH, 3, contrast, n=60).halves()
    circuit = discover(model, chosen_on, progress=False)
    expected = set(chain_edges(3)) - {"embed@r3 -> MLP2@r3"}
    assert set(map(str, circuit.kept_edges)) == expected
    judged = faithfulness(model, circuit, judged_on, n_random=30)
    assert judged.faithfulness == pytest.approx(1.0, abs=0.02)
    assert judged.table["without"].iloc[0] == pytest.approx(0.0, abs=0.02)
    assert judged.edges["needed"].all() and judged.p_value == pytest.approx(1 / 31)


@pytest.mark.parametrize("decoy", [False, True])
def test_a_memorised_chain_has_the_edges_of_a_lookup_and_no_others(decoy: bool) -> None:
    chains = np.random.default_rng(0).permutation(chains_of(GRAPH, 3))
    model = chain_lookup_model(GRAPH, chains[:200], decoy=decoy)
    prompts, answers = prompts_of(GRAPH, chains[:200])
    assert (answers_of(model, prompts) == answers).all()
    assert found(model, pairs_among(prompts, answers)) == set(chain_lookup_edges(3))
    others, unseen = prompts_of(GRAPH, chains[200:])
    assert (answers_of(model, others) == unseen).float().mean() < 0.3
    assert (answers_of(chain_lookup_model(GRAPH, chains[:200], decoy=decoy, noise=NOISE), prompts) == answers).all()


def pairs_among(prompts: torch.Tensor, answers: torch.Tensor) -> PromptPairs:
    """Pairs of these prompts which differ everywhere."""
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(0))
    fits = ((prompts != prompts[order]).all(1) & (answers != answers[order])).nonzero()[:40, 0]
    return PromptPairs(prompts[fits], prompts[order][fits], answers[fits], answers[order][fits], roles=roles_of(3))


def test_a_decoy_shows_intermediates_that_nothing_reads() -> None:
    chains = chains_of(GRAPH, 3)[::5]
    prompts, _ = prompts_of(GRAPH, chains)
    first, second = (torch.from_numpy(GRAPH.tails[chains[:, hop]]) for hop in (0, 1))
    for model, shown in (
        (handset_chain_model(GRAPH, 3), True),
        (chain_lookup_model(GRAPH, chains, decoy=True), True),
        (chain_lookup_model(GRAPH, chains), False),
    ):
        with torch.no_grad():
            logits = model(prompts)
        right = [(logits[:, place].argmax(-1) == each).all() for place, each in ((1, first), (2, second))]
        assert all(right) == shown, model.cfg.model_name


@pytest.mark.parametrize("noise", [0.0, NOISE])
def test_comparisons_and_values_are_answered(noise: float) -> None:
    model = handset_comparison_model(VALUES, noise=noise)
    prompts, answers = comparison_prompts(comparisons())
    assert set(answers.tolist()) == {N_VALUES, N_VALUES + 1, N_VALUES + 2}
    assert (answers_of(model, prompts) == answers).all()
    for (attribute, one, two), answer in zip(comparisons(), answers.tolist(), strict=True):
        less, more = VALUES[attribute, one] < VALUES[attribute, two], VALUES[attribute, one] > VALUES[attribute, two]
        assert answer == N_VALUES + (0 if less else 2 if more else 1)
    atomic, values = comparison_prompts(sorted({question[:2] for question in comparisons()}))
    assert values.tolist() == VALUES.ravel().tolist() and (answers_of(model, atomic) == values).all()


def test_the_edges_of_a_comparison_are_exactly_those_put_there() -> None:
    model = handset_comparison_model(VALUES)
    assert len(COMPARISON_EDGES) == 9
    assert found(model, comparison_pairs(("e1",))) == set(FIRST_ENTITY_EDGES)
    assert found(model, comparison_pairs(("e2",))) == set(SECOND_ENTITY_EDGES)
    assert found(model, comparison_pairs(COMPARED, n=60)) == set(COMPARISON_EDGES)
    attribute = found(model, comparison_pairs(("attribute",), n=60))
    assert attribute == set(COMPARISON_EDGES) - {"embed@e1 -> MLP0@e1", "embed@e2 -> MLP0@e2"}
    atomic = comparison_pairs(("attribute", "e1"), ("attribute", "e1"), n=60)
    assert found(model, atomic) == set(ATOMIC_EDGES)
    noisy = handset_comparison_model(VALUES, noise=NOISE)
    assert found(noisy, comparison_pairs(("e1",)), above=0.1) == set(FIRST_ENTITY_EDGES)


def test_the_circuit_of_a_comparison_is_found_and_faithful() -> None:
    model = handset_comparison_model(VALUES, noise=NOISE)
    chosen_on, judged_on = comparison_pairs(("e1",), n=60).halves()
    circuit = discover(model, chosen_on, progress=False)
    assert set(map(str, circuit.kept_edges)) == set(FIRST_ENTITY_EDGES)
    judged = faithfulness(model, circuit, judged_on, n_random=30)
    assert judged.faithfulness == pytest.approx(1.0, abs=0.02) and judged.edges["needed"].all()


@pytest.mark.parametrize("decoy", [False, True])
def test_a_memorised_comparison_has_the_edges_of_a_lookup_and_no_others(decoy: bool) -> None:
    trained = np.array(comparisons())[::2]
    model = comparison_lookup_model(VALUES, trained, decoy=decoy)
    prompts, answers = comparison_prompts(list(map(tuple, trained.tolist())))
    assert (answers_of(model, prompts) == answers).all()
    everything = comparison_lookup_model(VALUES, np.array(comparisons()), decoy=decoy)
    assert found(everything, comparison_pairs(COMPARED, n=60)) == set(COMPARISON_LOOKUP_EDGES)
    first = [edge for edge in COMPARISON_LOOKUP_EDGES if edge.startswith(("embed@e1", "L1H1", "MLP1"))]
    assert found(everything, comparison_pairs(("e1",), n=60)) == set(first)
    others, unseen = comparison_prompts(list(map(tuple, np.array(comparisons())[1::2].tolist())))
    assert (answers_of(model, others) == unseen).float().mean() < 0.5
    atomic, values = comparison_prompts(sorted({question[:2] for question in comparisons()}))
    assert (answers_of(model, atomic) == values).all() == decoy


def test_two_hops_reappear_as_the_beginning_of_three_in_one_model() -> None:
    """Of three layers: the lengths share the edges of two hops, and the third hop's lie outside."""
    model = handset_chain_model(GRAPH, 3)
    circuits = {f"{n} hops": discover(model, chain_pairs(GRAPH, n, ("h", "r1"), n=60), progress=False) for n in (2, 3)}
    beginning = {"h": "h", "r1": "r1", "r2": "r2"}
    comparison = compare_counterparts(circuits, beginning, n_bootstrap=50, progress=False)
    common = {edge for edge in chain_edges(2) if not edge.startswith("embed@r2")}
    live = comparison.edges[(comparison.edges.filter(like="effect").abs() > ROUNDING).any(axis=1)]
    assert set(live["sender"] + " -> " + live["receiver"]) == common
    assert comparison.distance < 0.05 < 0.5 < comparison.table.set_index("measure").loc["jensen_shannon", "chance_bound"]
    outside = comparison.outside[comparison.outside["effect"].abs() > ROUNDING]
    assert set(outside["edge"]) == {"L2H0@r3 -> MLP2@r3", "MLP2@r3 -> logits@r3"}
    mass = circuits["3 hops"].table["effect"].abs()
    assert comparison.outside_shares["2 hops"] == pytest.approx(0, abs=ROUNDING)
    assert comparison.outside_shares["3 hops"] == pytest.approx(2 / mass.sum(), abs=1e-3)
    memorised = chain_lookup_model(GRAPH, chains_of(GRAPH, 3), decoy=True)
    other = discover(memorised, chain_pairs(GRAPH, 3, ("h", "r1"), n=60), progress=False)
    with pytest.raises(ValueError, match=r"n_heads \(1 and 3\)"):
        compare_counterparts({"2 hops": circuits["2 hops"], "memorised": other}, beginning, progress=False)


@pytest.mark.usefixtures("as_users_call")
def test_what_no_model_can_be_made_of_is_refused_with_all_problems() -> None:
    with pytest.raises(ValueError, match=r"n_hops is 0.*noise is -1.*seed is 'a'"):
        handset_chain_model(GRAPH, 0, noise=-1, seed="a")
    broken = np.array([[0, np.flatnonzero(GRAPH.heads != GRAPH.tails[0])[0]]])
    for chains, said in (
        ([[0]], "chains is a list"),
        (np.array([[0, 10**6]]), "the fact 1000000"),
        (broken, "chains: 1 are broken"),
    ):
        with pytest.raises(ValueError, match=said):
            chain_lookup_model(GRAPH, chains)
    for values in (VALUES[0], VALUES - 5, VALUES.astype(float), [[1]], np.zeros((0, 2), dtype=int)):
        with pytest.raises(ValueError, match="values is a"):
            handset_comparison_model(values)
    for trained in (np.array([[3, 0, 0]]), np.array([[0, 6, 0]]), np.array([[0, 0]]), None):
        with pytest.raises(ValueError, match="trained is"):
            comparison_lookup_model(VALUES, trained)
