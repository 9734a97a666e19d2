import dataclasses

import pytest
import torch
from handset import handset_model

from grokscope.tasks import CONTRASTS, PromptPairs, Supervision, TwoHopTask, make_pairs


def status(task: TwoHopTask, tokens: list[int]) -> tuple[int, int, bool, bool]:
    """Bridge, answer and the hop status of a query, looked up in the graph."""
    graph = task.graph
    head, relation_1, relation_2 = tokens[0], tokens[1] - graph.n_entities, tokens[2] - graph.n_entities
    hop1 = graph.fact_of[head, relation_1]
    bridge = graph.tails[hop1]
    hop2 = graph.fact_of[bridge, relation_2]
    return int(bridge), int(graph.tails[hop2]), bool(task.is_ood[hop1]), bool(task.is_ood[hop2])


@pytest.mark.parametrize("split", ["test_inferred_iid", "test_inferred_ood", "test_inferred_ood_id", "train_inferred"])
@pytest.mark.parametrize("contrast", CONTRASTS)
def test_pairs_differ_as_the_contrast_says(task: TwoHopTask, split: str, contrast: str) -> None:
    available = most_pairs(task, split, contrast)
    if not available:
        pytest.fail(f"the task gives no {contrast} pair of {split}, so nothing would be tested")
    pairs = make_pairs(task, split=split, contrast=contrast, n=min(40, available), seed=0)
    changed = {"head": [0], "relation_1": [1], "relation_2": [2], "bridge": [0, 1]}[contrast]
    in_split = set(map(tuple, task.split(split).tokens.tolist()))
    in_training = set(map(tuple, task.split("train_inferred").tokens.tolist()))
    n_from_training = 0
    for clean, corrupt, answer, foil in zip(
        pairs.clean.tolist(), pairs.corrupt.tolist(), pairs.answers.tolist(), pairs.foils.tolist(), strict=True
    ):
        assert [i for i in range(3) if clean[i] != corrupt[i]] == changed
        bridge, right, *clean_status = status(task, clean)
        other_bridge, other_right, *corrupt_status = status(task, corrupt)
        assert (answer, foil) == (right, other_right) and answer != foil
        assert clean_status == corrupt_status
        assert (bridge != other_bridge) == (contrast != "relation_2")
        assert tuple(clean) in in_split and tuple(corrupt) in in_split | in_training
        n_from_training += tuple(corrupt) not in in_split
    assert pairs.recipe["n_from_training"] == n_from_training
    assert len(set(map(tuple, pairs.clean.tolist()))) == len(set(map(tuple, pairs.corrupt.tolist()))) == len(pairs)


def most_pairs(task: TwoHopTask, split: str, contrast: str) -> int:
    """How many pairs the error for too many says there are."""
    with pytest.raises(ValueError, match=r"but only \d+ can be made") as error:
        make_pairs(task, split=split, contrast=contrast, n=10**6, seed=0)
    return int(str(error.value).split("but only ")[1].split()[0])


def test_asking_for_all_that_can_be_made_works(task: TwoHopTask) -> None:
    available = most_pairs(task, "test_inferred_ood", "bridge")
    assert len(make_pairs(task, split="test_inferred_ood", contrast="bridge", n=available, seed=0)) == available
    with pytest.raises(
        ValueError, match=f"asked for {available + 1} 'bridge' pairs of test_inferred_ood, but only {available}"
    ):
        make_pairs(task, split="test_inferred_ood", contrast="bridge", n=available + 1, seed=0)


def test_same_seed_same_pairs(task: TwoHopTask) -> None:
    keys = [make_pairs(task, split="test_inferred_iid", contrast="head", n=20, seed=seed).key for seed in (0, 0, 1)]
    assert keys[0] == keys[1] != keys[2]


def test_unknown_contrast_split_and_atomic_splits_are_refused(task: TwoHopTask) -> None:
    with pytest.raises(KeyError, match="no contrast 'r2'; the contrasts are head, relation_1"):
        make_pairs(task, split="test_inferred_iid", contrast="r2", n=4, seed=0)
    with pytest.raises(KeyError, match="no split 'iid'"):
        make_pairs(task, split="iid", contrast="head", n=4, seed=0)
    with pytest.raises(ValueError, match="id_atomic holds atomic queries"):
        make_pairs(task, split="id_atomic", contrast="head", n=4, seed=0)


def test_keep_correct_drops_what_any_model_gets_wrong(small_world: TwoHopTask) -> None:
    right, wrong = handset_model(small_world.graph), handset_model(small_world.graph)
    pairs = make_pairs(small_world, split="train_inferred", contrast="bridge", n=30, seed=0)
    assert pairs.keep_correct(right).key == pairs.key
    spoilt = int(pairs.answers[0])
    with torch.no_grad():
        wrong.unembed.b_U[spoilt] = -100.0
    correct = pairs.keep_correct(right, wrong)
    untouched = (pairs.answers != spoilt) & (pairs.foils != spoilt)
    assert 0 < len(correct) < len(pairs)
    assert correct.key == pairs.take(untouched).key
    assert (correct.n_asked, len(correct)) == (30, int(untouched.sum()))
    with torch.no_grad():
        wrong.unembed.b_U[:] = torch.arange(len(wrong.unembed.b_U)) * 100.0
    with pytest.raises(ValueError, match="none of the 30 pairs is answered correctly on both sides by all 2 models"):
        pairs.keep_correct(right, wrong)


def test_pairs_made_by_hand_are_checked_all_at_once() -> None:
    clean = torch.tensor([[0, 4, 5], [1, 4, 5]])
    answers = torch.tensor([1, 2])
    with pytest.raises(ValueError, match=r"clean has the shape \(2, 3\), corrupt \(1, 3\).*1 foils.*3 different roles"):
        PromptPairs(clean, clean[:1], answers, answers[:1], roles=("h", "r1"))
    with pytest.raises(ValueError, match=r"2 pairs have the same prompt.*pair 0; 1 pairs have the same answer.*pair 1"):
        PromptPairs(clean, clean, answers, torch.tensor([3, 2]), roles=("h", "r1", "r2"))
    with pytest.raises(ValueError, match="answer_position=3 is outside the 3 positions"):
        PromptPairs(clean, clean.flip(0), answers, answers.flip(0), roles=("h", "r1", "r2"), answer_position=3)


def test_hashes_are_of_single_prompts_and_of_units(task: TwoHopTask) -> None:
    pairs = make_pairs(task, split="test_inferred_iid", contrast="head", n=20, seed=0)
    turned = pairs.take(torch.arange(20).flip(0))
    assert turned.key != pairs.key and all(turned.hashes[name] == column[::-1] for name, column in pairs.hashes.items())
    prompts = [tuple(row) for row in [*pairs.clean.tolist(), *pairs.corrupt.tolist()]]
    found = [*pairs.hashes["clean"], *pairs.hashes["corrupt"]]
    assert len(set(found)) == len(set(prompts)) and all(len(each) == 16 for each in found)
    for each in (pairs, dataclasses.replace(pairs, recipe={}), dataclasses.replace(pairs, recipe={}, unit=None)):
        assert len(set(each.hashes["unit"])) == len(set(each.unit.tolist())) == each.n_units
        assert each.hashes["clean"] == pairs.hashes["clean"]
    plain = dataclasses.replace(pairs, recipe={}).hashes["unit"]
    assert all(unit.startswith("custom:") for unit in plain) and set(plain).isdisjoint(pairs.hashes["unit"])


@pytest.mark.parametrize("split", ["test_inferred_iid", "test_inferred_ood"])
@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize("n", [24, "all"])
def test_no_prompt_is_used_twice_unless_the_split_leaves_no_other(
    task: TwoHopTask, split: str, contrast: str, n: int | str
) -> None:
    available = most_pairs(task, split, contrast)
    pairs = make_pairs(task, split=split, contrast=contrast, n=available if n == "all" else min(n, available), seed=1)
    clean, corrupt = (list(map(tuple, tokens.tolist())) for tokens in (pairs.clean, pairs.corrupt))
    assert len(set(clean)) == len(set(corrupt)) == len(pairs)
    assert pairs.recipe["n_twice"] == len(set(clean) & set(corrupt))
    queries = set(map(tuple, task.split(split).tokens.tolist()))
    if pairs.recipe["n_from_training"]:
        assert queries & set(clean) & set(corrupt) or len(pairs) == available  # the split was used up first
    if len(pairs) * 8 <= len(queries) and split != "test_inferred_ood":
        assert not pairs.recipe["n_twice"]  # there is room


def matched(task: TwoHopTask, split: str, contrast: str) -> int:
    """The size of a maximum matching of queries and partners: augmenting paths over all prompts, one by one."""
    queries = [*map(tuple, task.split(split).tokens.tolist())]
    others = sorted({*queries, *map(tuple, task.split("train_inferred").tokens.tolist())})
    same = {"head": (1, 2), "relation_1": (0, 2), "relation_2": (0, 1), "bridge": (2,)}[contrast]
    known = {query: status(task, list(query)) for query in others}

    def fits(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
        (bridge, answer, *hops), (other_bridge, other_answer, *other_hops) = known[one], known[other]
        differ = [i for i in range(3) if one[i] != other[i]] == [i for i in range(3) if i not in same]
        return (
            differ and answer != other_answer and hops == other_hops and (contrast == "relation_2" or bridge != other_bridge)
        )

    owner: dict[tuple[int, ...], tuple[int, ...]] = {}

    def augment(query: tuple[int, ...], seen: set[tuple[int, ...]]) -> bool:
        for other in others:
            if other not in seen and fits(query, other):
                seen.add(other)
                if other not in owner or augment(owner[other], seen):
                    owner[other] = query
                    return True
        return False

    return sum(augment(query, set()) for query in queries)


@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize("split", ["test_inferred_iid", "test_inferred_ood", "test_inferred_ood_id"])
def test_as_many_pairs_can_be_made_as_there_are_partners(small_world: TwoHopTask, split: str, contrast: str) -> None:
    """No order of drawing can make more than a maximum matching has."""
    assert most_pairs(small_world, split, contrast) == matched(small_world, split, contrast)


def test_units_are_those_of_the_graph_whatever_else_a_task_is(task: TwoHopTask) -> None:
    """Arms and layouts of one graph have its facts; another graph's facts with the same numbers are others."""
    pairs = make_pairs(task, split="test_inferred_iid", contrast="bridge", n=20, seed=0)
    arms = [task.with_supervision(Supervision(hop2_share=1.0, hop2_compositions=2)), task.with_layout("slots")]
    for arm in arms:
        other = make_pairs(arm, split="test_inferred_iid", contrast="bridge", n=20, seed=1)
        wanted = [unit in set(pairs.unit.tolist()) for unit in other.unit.tolist()]
        assert arm.key != task.key and any(wanted) and other.shared_with(pairs.hashes)["unit"].tolist() == wanted
    sizes = {"n_entities": task.graph.n_entities, "n_relations": task.graph.n_relations}
    drawn = TwoHopTask.random(**sizes, out_degree=10, seed=task.seed + 1)
    other = make_pairs(drawn, split="test_inferred_iid", contrast="bridge", n=20, seed=0)
    assert "unit" not in other.shared_with(pairs.hashes)
