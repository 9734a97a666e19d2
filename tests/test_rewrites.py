"""Rewrites are exact: the same logits at all positions, the given model untouched, and nothing left out in silence."""

import pytest
import torch
from conftest import random_model
from handset import handset_model
from rewrites import REWRITES, Renamed, folded_norms, idle_blocks, parts_of
from worlds import APPLICABLE, INAPPLICABLE, SPLIT, World, renamed, world

from grokscope.analyses.forward.model import graph_of
from grokscope.tasks import TwoHopTask
from grokscope.tasks.transformerlens import HookedTransformer

IN_SINGLE = (
    "norms folded",
    "residual rotated",
    "all together",
)  # TransformerLens folds in single precision, whatever is given
FAST = {(rewrite, "tied") for rewrite in ("a head in seven", "idle blocks", "all together")}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cases() -> list[object]:
    return [pytest.param(*case, marks=[] if case in FAST else pytest.mark.slow, id=" · ".join(case)) for case in APPLICABLE]


def logits(model: HookedTransformer, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(tokens)


def far(new: torch.Tensor, old: torch.Tensor) -> float:
    """The largest difference as a share of the largest logit."""
    return float((new - old).abs().max() / old.abs().max())


@pytest.mark.parametrize(("rewrite", "name"), cases())
def test_a_rewrite_computes_the_same(rewrite: str, name: str) -> None:
    given: World = world(name)
    before = {each: parameter.clone() for each, parameter in given.model.named_parameters()}
    tokens = given.task.split(SPLIT).tokens[:200]
    new = REWRITES[rewrite](given.model, seeded())
    assert far(logits(new, tokens), logits(given.model, tokens)) <= (1e-6 if rewrite in IN_SINGLE else 1e-10)
    assert all(torch.equal(before[each], parameter) for each, parameter in given.model.named_parameters())
    assert not {id(each) for each in new.parameters()} & {id(each) for each in given.model.parameters()}


@pytest.mark.parametrize("rewrite", REWRITES)
def test_rewrites_of_random_weights_change_something_and_compute_the_same(rewrite: str) -> None:
    model = random_model(3, n_layers=4, n_blocks=2, n_heads=3)
    tokens = torch.randint(11, (20, 3), generator=seeded())
    new = REWRITES[rewrite](model, seeded(1))
    assert far(logits(new, tokens), logits(model, tokens)) <= (1e-5 if rewrite in IN_SINGLE else 1e-10)
    old, changed = (sum(float(each.detach().abs().sum()) for each in one.parameters()) for one in (model, new))
    names = {name for name, each in new.named_parameters() if name in dict(model.named_parameters())}
    same = all(
        each.shape == new.get_parameter(name).shape and torch.equal(each, new.get_parameter(name))
        for name, each in model.named_parameters()
        if name in names
    )
    assert old != changed or not same


@pytest.mark.parametrize(("rewrite", "name"), [pytest.param(*case, id=" · ".join(case)) for case in INAPPLICABLE])
def test_a_rewrite_without_room_says_so(rewrite: str, name: str) -> None:
    with pytest.raises(ValueError, match=INAPPLICABLE[rewrite, name]):
        REWRITES[rewrite](world(name).model, seeded())


def test_rewrites_that_a_model_has_no_place_for_are_refused(small_world: TwoHopTask) -> None:
    without_norms = handset_model(small_world.graph)
    with pytest.raises(ValueError, match="no gains to fold in norms of the type None"):
        folded_norms(without_norms, seeded())
    with pytest.raises(ValueError, match="2 layers have no place 3"):
        idle_blocks(without_norms, seeded(), places=(3,))
    rotary = random_model(0, positional_embedding_type="rotary", d_head=4, rotary_dim=4)
    with pytest.raises(ValueError, match="rotation by position"):
        REWRITES["scores by a matrix"](rotary, seeded())


def test_what_is_shared_stays_shared_but_where_it_is_untied() -> None:
    model = random_model(0, n_layers=4, n_blocks=2, n_heads=3)

    def n_blocks(rewrite: str) -> int:
        return len({id(block) for block in parts_of(REWRITES[rewrite](model, seeded())).blocks})

    shared = {rewrite: n_blocks(rewrite) for rewrite in REWRITES}
    idle = {rewrite: n for rewrite, n in shared.items() if "idle" in rewrite or rewrite == "all together"}
    assert idle == {rewrite: {"idle blocks": 6, "all together": 5}.get(rewrite, 3) for rewrite in idle}
    assert shared.pop("untied") == 4
    assert set(shared[rewrite] for rewrite in shared if rewrite not in idle) == {2}
    graph = graph_of(REWRITES["six dead heads"](model, seeded()), ("h", "r1", "r2"), 2)
    assert (graph.n_blocks, graph.n_heads) == (2, 9)


@pytest.mark.parametrize("name", ["tied", pytest.param("bidirectional slots", marks=pytest.mark.slow)])
def test_shuffled_vocabulary_asks_and_answers_the_same(name: str) -> None:
    given, new = world(name), renamed(world(name))
    names, old, queries = new.task.names, given.task.split(SPLIT), new.task.split(SPLIT)
    assert not torch.equal(old.tokens, queries.tokens)
    assert torch.equal(queries.unit, old.unit)
    was, found = logits(given.model, old.tokens), logits(new.model, queries.tokens)
    torch.testing.assert_close(found[..., names], was)  # columns in another order may be added up in another
    assert torch.equal(names[was[:, queries.answer_position].argmax(-1)], found[:, queries.answer_position].argmax(-1))


def test_shuffled_vocabulary_has_the_same_donors(task: TwoHopTask) -> None:
    names = Renamed.of(task, seeded())
    donors, found = (each.donors(second_hop="ID", seed=0) for each in (task, names))
    queries = task.split(SPLIT)
    for row in range(len(queries)):
        one, other = donors.of(queries, row), found.of(names.queries(queries), row)
        assert (one is None) == (other is None)
        if one is None or other is None:
            continue
        assert (other.value, other.answer) == (int(names.names[one.value]), int(names.names[one.answer]))
        assert all(torch.equal(names.names[prompt], other.prompts[kind]) for kind, prompt in one.prompts.items())
