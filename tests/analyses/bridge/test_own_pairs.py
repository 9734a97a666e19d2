"""A user's prompts with an intermediate called carry, on models set by hand: predicted from the weights, then measured."""

from dataclasses import replace

import pytest
import torch
from carry import DIGITS, ROLES, answer_of, carry_model, carry_of, carry_pairs, lookup_model
from conftest import no_hooks_left, random_model, random_pairs

from grokscope.analyses import (
    EvidenceResult,
    ablate_bridge,
    bridge_evidence,
    interchange,
    logit_lens,
    probe_bridge,
    steer_bridge,
)
from grokscope.analyses.bridge.own_pairs import OwnPairs
from grokscope.analyses.bridge.sources import Source, SplitSource
from grokscope.tasks import PromptPairs, Queries, TwoHopTask
from grokscope.tasks.transformerlens import HookedTransformer


@pytest.fixture(scope="module")
def model() -> HookedTransformer:
    return carry_model()


@pytest.fixture(scope="module")
def pairs() -> PromptPairs:
    return carry_pairs()


def at(table: object, layer: int, role: str, key: str, value: str) -> dict[str, float]:
    rows = table.query("layer == @layer and role == @role")
    return dict(zip(rows[key], rows[value], strict=True))


def verdicts(result: EvidenceResult, layer: int, role: str) -> dict[str, str]:
    return result.at(layer, role).iloc[0].to_dict()


def test_both_models_answer_everything_and_only_one_writes_the_carry(model: HookedTransformer, pairs: PromptPairs) -> None:
    for each in (model, lookup_model()):
        logits = each(pairs.clean)
        assert torch.equal(logits[:, -1].argmax(-1), pairs.answers)
        assert torch.equal(logits[:, 1].argmax(-1), carry_of(pairs.clean)) == (each is model)


def test_the_lens_reads_the_carry_where_it_is_written_and_nowhere_before(
    model: HookedTransformer, pairs: PromptPairs
) -> None:
    lens = logit_lens(model, pairs)
    rows = lens.table.query("after == 'layer'")
    assert set(rows["target"]) == {"carry", "answer", *ROLES, "shuffled carry"}
    read = rows[rows["target"] == "carry"]
    assert at(read, 0, "b", "target", "top1")["carry"] == 1.0
    assert at(read, 0, "a", "target", "mean_rank")["carry"] == DIGITS - 1  # nothing is written there: all tokens tie
    assert at(rows, 0, "b", "target", "top1")["shuffled carry"] < 0.5
    assert lens.bridge_found_any == 1.0 and lens.intermediates == ["carry"] and lens.figure()
    assert set(lens.first["outcome"]) >= {"carry first", "only carry"}
    first = lens.first.set_index("outcome")["share"]
    assert first["carry first"] > 0.7 and first["carry first"] + first["same stage"] == pytest.approx(1.0)
    again = logit_lens(model, pairs.queries())
    assert again.table.equals(lens.table)
    assert set(lens.found_by_correct["value"].head(2)) == {1.0}


def test_a_probe_reads_the_carry_with_or_without_pairs(model: HookedTransformer, pairs: PromptPairs) -> None:
    result = probe_bridge(model, pairs)
    assert set(result.table["target"]) == {"carry", "answer"} and set(result.table["tested_on"]) == {"held-out units"}
    assert at(result.table.query("target == 'carry'"), 0, "b", "target", "accuracy")["carry"] == 1.0
    assert at(result.table.query("target == 'carry'"), -1, "c", "target", "accuracy")["carry"] < 0.6
    assert (result.table["n_facts"] + result.table["n_left_out"] == len(pairs.unit.unique())).all() and result.figure()
    assert probe_bridge(model, pairs.queries()).table.equals(result.table)
    with pytest.raises(ValueError, match="no targets bridge; there are carry, answer, a, b, c"):
        probe_bridge(model, pairs, targets=("bridge",))
    few = pairs.take(pairs.unit < 24)
    with pytest.raises(ValueError, match=r"too few units to probe for carry: .*; too few units to probe for answer: "):
        probe_bridge(model, few)


def test_an_exchanged_carry_moves_the_answer(model: HookedTransformer, pairs: PromptPairs) -> None:
    result = interchange(model, pairs)
    kinds = {"donor", "same carry", "other carry", "carry direction", "random direction"}
    assert set(result.table["donor"]) == kinds and no_hooks_left(model)
    carried = at(result.table, 0, "b", "donor", "success")
    assert carried["donor"] == carried["same carry"] == carried["carry direction"] == 1.0
    assert carried["other carry"] == 0.0 and carried["random direction"] < 0.3
    after = at(result.table, 1, "b", "donor", "success")  # nothing reads it any more
    assert after["donor"] == after["carry direction"] == 0.0 and after["same carry"] == 1.0
    assert result.second_hop == "" and "(b′, r2)" not in result.caption and result.figure()
    held_out = interchange(model, carry_pairs(held_out=True)).table
    assert at(held_out, 0, "b", "donor", "success")["held out"] == 1.0 and "donor" not in set(held_out["donor"])


def test_without_its_direction_the_carry_is_gone(model: HookedTransformer, pairs: PromptPairs) -> None:
    """The mean of all carries has a quarter of each, which opens no neuron of the second layer: the answer is digit 0."""
    table = ablate_bridge(model, pairs).table
    assert set(table["direction"]) == {"carry", "random"}
    kept = at(table, 0, "b", "direction", "kept")
    assert kept["carry"] < 0.2 and at(table, 1, "b", "direction", "kept")["carry"] == 1.0
    assert kept["random"] > 0.5


def test_a_turned_carry_turns_the_answer(model: HookedTransformer, pairs: PromptPairs) -> None:
    result = steer_bridge(model, pairs, scales=(0.0, 1.0))
    rows = result.table.query("scale == 1.0")
    moved = at(rows, 0, "b", "direction", "moved")
    assert moved["mean state"] == 1.0 and moved["embedding"] == 0.0  # digits are embedded in another block
    assert (result.table.query("scale == 0.0")["kept"] == 1.0).all()
    tenth = steer_bridge(model, pairs, scales=(0.1,)).table  # carries are unembedded with weight 10
    assert at(tenth, 0, "b", "direction", "moved")["unembedding"] == 1.0


@pytest.mark.parametrize("held_out", [False, True])
def test_evidence_says_that_the_carry_is_used(model: HookedTransformer, held_out: bool) -> None:
    result = bridge_evidence(model, carry_pairs(held_out=held_out), intermediate="carry")
    assert result.used_at == ["L0 b", "L0 all positions"] and no_hooks_left(model) and result.figure()
    cell = verdicts(result, 0, "b")
    assert all(cell[verdict] == "yes" for verdict in ("readable", "probe_readable", "necessary", "sufficient", "aligned"))
    measures = set(result.measures["measure"])
    kind = "held out" if held_out else "donor"
    assert measures == {"lens", "probe", "ablation", kind, "same carry", "direction"} and "reading" not in result.caption
    assert verdicts(result, 1, "c")["sufficient"] == "yes" and verdicts(result, 1, "c")["used"] == "no"  # the whole answer


def test_evidence_says_no_of_a_model_without_a_carry() -> None:
    result = bridge_evidence(lookup_model(), carry_pairs())
    cell = verdicts(result, 0, "b")
    assert cell["sufficient"] == cell["invariant"] == "yes"  # the whole state of a lookup passes, as it must
    assert cell["readable"] == cell["aligned"] == cell["used"] == "no" and result.used_at == []
    assert set(result.table["used"]) == {"no"}


def test_an_intermediate_of_two_values_is_judged_without_a_third(model: HookedTransformer) -> None:
    pairs = carry_pairs(900)
    binary = (carry_of(pairs.clean) < 2) & (carry_of(pairs.corrupt) < 2)
    result = bridge_evidence(model, pairs.take(binary))
    assert result.used_at == ["L0 b", "L0 all positions"]
    row = result.measures.query("layer == 0 and role == 'b' and measure == 'donor'").iloc[0]
    assert row["value"] == 1.0 and row["control"] == 0.0  # a state with the same carry leads nowhere else
    assert "other carry" not in set(interchange(model, pairs.take(binary)).table["donor"])


def test_donors_are_what_they_are_called(model: HookedTransformer, pairs: PromptPairs) -> None:
    own = OwnPairs.of(model, pairs, None)
    queries, donors = own.questions, own.donors(intermediate="carry", second_hop="ID", seed=0)
    for row in range(len(queries)):
        found = donors.of(queries, row)
        assert found is not None
        carries = {kind: int(carry_of(prompt[None])) for kind, prompt in found.prompts.items()}
        answers = {kind: int(answer_of(prompt[None])) for kind, prompt in found.prompts.items()}
        assert all(prompt[2] == queries.tokens[row, 2] for prompt in found.prompts.values())
        assert carries["donor"] == found.value != carries["same carry"] == int(carry_of(queries.tokens[row : row + 1]))
        assert carries["other carry"] not in (carries["donor"], carries["same carry"])
        assert answers["donor"] == found.answer != answers["other carry"] and answers["same carry"] == queries.answers[row]
        assert not torch.equal(found.prompts["same carry"], queries.tokens[row])
    assert not donors_of_the_same_value(pairs, model)


def donors_of_the_same_value(pairs: PromptPairs, model: HookedTransformer) -> bool:
    """Whether a pair with the same carry on both sides gets a donor."""
    answers = pairs.foils.clone()
    corrupt, carries = pairs.corrupt.clone(), pairs.corrupt_intermediates["carry"].clone()
    corrupt[0] = (
        pairs.clean[0] + torch.tensor([0, 0, 1])
        if pairs.clean[0, 2] < DIGITS - 1
        else pairs.clean[0] - torch.tensor([0, 0, 1])
    )
    carries[0], answers[0] = pairs.intermediates["carry"][0], answer_of(corrupt[:1])[0]
    mixed = replace(pairs, corrupt=corrupt, foils=answers, corrupt_intermediates={"carry": carries})
    own = OwnPairs(mixed, "carry")
    return own.donors(intermediate="carry", second_hop="ID", seed=0).of(own.questions, 0) is not None


def test_a_third_value_that_leads_to_the_foil_is_no_control(model: HookedTransformer) -> None:
    """Carries 1 and 3 lead to the same answer here, so that a state with carry 3 cannot show what 1 does."""
    pairs = carry_pairs(900)
    same = {3: 1}

    def merged(tokens: torch.Tensor) -> torch.Tensor:
        carries = carry_of(tokens)
        return (tokens[:, 2] + torch.tensor([same.get(int(carry), int(carry)) for carry in carries])) % DIGITS

    chosen = merged(pairs.clean) != merged(pairs.corrupt)
    pairs = pairs.take(chosen)
    pairs = replace(pairs, answers=merged(pairs.clean), foils=merged(pairs.corrupt))
    own = OwnPairs.of(model, pairs, "carry")
    donors, queries, seen = own.donors(intermediate="carry", second_hop="ID", seed=1), own.questions, 0
    for row in range(len(queries)):
        if found := donors.of(queries, row):
            assert int(merged(found.prompts["other carry"][None])) != found.answer
            seen += found.value in (1, 3)
    assert seen > 50


def test_means_and_probes_rest_on_other_units_than_those_asked(model: HookedTransformer, pairs: PromptPairs) -> None:
    own = OwnPairs.of(model, pairs, "carry")
    asked = own.asked(seed=3)
    units = frozenset(asked.unit.tolist())
    reference = own.reference(seed=3, without=units)
    assert not units & set(reference.unit.tolist()) and len(units) + reference.n_units == own.n_reference
    assert abs(len(units) - reference.n_units) <= 1 and len(reference) == reference.n_units
    n_judged = bridge_evidence(model, pairs, n=1000).table["n_judged"].iloc[0]
    assert n_judged <= own.n_reference // 4 + 1


def test_tasks_and_pairs_are_sources(task: TwoHopTask, pairs: PromptPairs) -> None:
    assert isinstance(task, SplitSource) and isinstance(OwnPairs(pairs, "carry"), Source)
    assert not isinstance(OwnPairs(pairs, "carry"), SplitSource) and not isinstance(pairs, Source)


def test_pairs_without_an_intermediate_say_how_to_give_it(model: HookedTransformer, pairs: PromptPairs) -> None:
    bare = replace(pairs, intermediates={}, corrupt_intermediates={})
    how = r"PromptPairs carry no intermediate: give PromptPairs\(\.\.\., intermediates={'carry': tokens}\), .* and corrupt_"
    for analysis in (logit_lens, probe_bridge, interchange, ablate_bridge, steer_bridge, bridge_evidence):
        with pytest.raises(ValueError, match=how):
            analysis(model, bare)
    queries = Queries(pairs.clean, pairs.answers, roles=ROLES)
    with pytest.raises(ValueError, match=r"these Queries carry no intermediate: give Queries\(.*PromptPairs\(\.\.\., inter"):
        logit_lens(model, queries)
    with pytest.raises(ValueError, match=r"corrupt prompts carry no carry; give corrupt_intermediates={'carry': tokens}"):
        bridge_evidence(model, replace(pairs, corrupt_intermediates={}))


def test_of_several_intermediates_one_is_named(model: HookedTransformer, pairs: PromptPairs) -> None:
    sides = ({**side, "twice": 2 * side["carry"]} for side in (pairs.intermediates, pairs.corrupt_intermediates))
    several = replace(pairs, **dict(zip(("intermediates", "corrupt_intermediates"), sides, strict=True)))
    with pytest.raises(ValueError, match="there are the intermediates carry, twice: choose one, as in intermediate='carry'"):
        bridge_evidence(model, several)
    with pytest.raises(ValueError, match="no intermediate 'bridge'; there is carry, twice"):
        interchange(model, several, intermediate="bridge")
    assert bridge_evidence(model, several, intermediate="carry").used_at == ["L0 b", "L0 all positions"]
    assert set(interchange(model, several, intermediate="twice").table["donor"]) >= {"same twice", "twice direction"}
    lens = logit_lens(model, several)
    assert lens.intermediates == ["carry", "twice"] and lens.any_cell["target"].tolist() == [
        "carry",
        "twice",
        "answer",
        "shuffled carry",
        "shuffled twice",
    ]


def test_all_problems_of_pairs_are_named_at_once(model: HookedTransformer, pairs: PromptPairs) -> None:
    strange = {"carry": pairs.intermediates["carry"] + 14}
    wrong = replace(pairs, intermediates=strange, corrupt_intermediates=strange).take(torch.arange(3))
    with pytest.raises(ValueError) as caught:
        bridge_evidence(model, wrong)
    for part in (
        "carry of the clean prompts is 1",
        " and the model's tokens are 0 to 15; carry of the corrupt prompts is 1",
        "too few units",
        "need 4 each; there are ",
        "every pair has the same carry on both sides",
    ):
        assert part in str(caught.value), part


def test_pairs_that_speak_against_their_intermediate_are_refused(model: HookedTransformer, pairs: PromptPairs) -> None:
    only_a = pairs.corrupt.clone()
    only_a[:, 1] = pairs.clean[:, 1]
    chosen = carry_of(only_a) != carry_of(pairs.clean)
    part = pairs.take(chosen)
    part = replace(
        part,
        corrupt=only_a[chosen],
        foils=answer_of(only_a[chosen]),
        corrupt_intermediates={"carry": carry_of(only_a[chosen])},
    )
    with pytest.raises(
        ValueError, match="have the same tokens at a, where pairs differ, but another carry: let pairs differ"
    ):
        bridge_evidence(model, part)
    loose = replace(pairs, intermediates={"carry": pairs.clean[:, 0]}, corrupt_intermediates={"carry": pairs.corrupt[:, 0]})
    with pytest.raises(ValueError, match="the same carry and the same tokens but at a, b, and other answers"):
        bridge_evidence(model, loose)


def test_the_lens_refuses_strange_tokens_and_names_at_once(model: HookedTransformer, pairs: PromptPairs) -> None:
    queries = pairs.queries()
    carry = queries.intermediates["carry"]
    named = replace(queries, intermediates={"b": carry - 1, "fact": carry})
    with pytest.raises(ValueError, match=r"the b is -1 and .* 0 to 15; .* called b, .*; .* called fact"):
        logit_lens(model, named)


def test_a_task_needs_questions_and_pairs_hold_theirs(
    model: HookedTransformer, pairs: PromptPairs, task: TwoHopTask
) -> None:
    for analysis in (interchange, ablate_bridge, steer_bridge):
        with pytest.raises(TypeError, match="pairs hold their questions"):
            analysis(model, pairs, pairs.queries())
        with pytest.raises(TypeError, match="give the queries to ask, or prompt pairs"):
            analysis(model, task)
    with pytest.raises(TypeError, match="pairs are asked themselves"):
        bridge_evidence(model, pairs, "test_inferred_iid")
    with pytest.raises(TypeError, match="a task has several splits: name one"):
        bridge_evidence(model, task)


def test_an_intermediate_cannot_be_called_as_what_stands_next_to_it() -> None:
    pairs = random_pairs(0, n=12)
    asked = replace(pairs, intermediates={"random": pairs.foils}, corrupt_intermediates={"random": pairs.answers})
    for analyse in (interchange, ablate_bridge, steer_bridge):
        with pytest.raises(ValueError, match="an intermediate cannot be called random, which is the control's name"):
            analyse(random_model(0), asked)
    for name in ("answer", pairs.roles[0]):
        with pytest.raises(ValueError, match=f"an intermediate cannot be called {name}, which is another target"):
            probe_bridge(random_model(0), replace(pairs, intermediates={name: pairs.foils}))
