"""Edits of facts in models whose circuits are known: what follows is predicted, and counted once more by a plain loop."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import no_hooks_left
from explained import assert_explained
from handset import handset_model, lookup_model
from same import assert_same
from small_runs import small, trained

from grokscope.analyses import EditResult, edit_facts
from grokscope.analyses.edits.asked import Asked
from grokscope.analyses.edits.fact_edit import choose_edits, composed_by_split, dependents, facts_by_split
from grokscope.circuits import Result
from grokscope.tasks import BOTH_HOPS, ModelConfig, TrainConfig, TRMConfig, TwoHopTask, build_model, train

WEIGHTS = ("rank one",)
ALL = ("rank one", "exchange")


@pytest.fixture(scope="module")
def world() -> TwoHopTask:
    return TwoHopTask.random(
        n_entities=12, n_relations=8, out_degree=6, ood_fraction=0.2, test_fraction=0.2, supervision=BOTH_HOPS, seed=1
    )


@pytest.fixture(scope="module")
def by_hand(world: TwoHopTask) -> EditResult:
    return edit_facts(handset_model(world.graph), world, methods=ALL, n_edits=4, progress=False)


def rows(result: EditResult, method: str, place: str) -> pd.DataFrame:
    return result.table[(result.table["method"] == method) & (result.table["place"] == place)]


def test_first_hops_follow_an_edit_of_the_layer_that_writes_them_and_second_hops_do_not(by_hand: EditResult) -> None:
    """Facts are stored twice, for hop 1 in layer 0 and for hop 2 in layer 1; an atomic question asks the first."""
    first, second = rows(by_hand, "rank one", "hop1"), rows(by_hand, "rank one", "hop2")
    assert len(first) > 4 and len(second) > 4
    assert (first[["propagated", "propagated_able", "right_before"]].dropna() == 1).all(axis=None)
    assert (second[["kept", "right_before"]] == 1).all(axis=None)
    assert (first[["kept", "unedited"]] == 0).all(axis=None) and (second[["propagated", "unedited"]] == 0).all(axis=None)
    others = by_hand.table.loc[by_hand.table["method"] == "rank one", "other_edit"].dropna()
    assert len(others) and (others == 0).all()
    edits = by_hand.edits[by_hand.edits["method"] == "rank one"]
    assert (edits[["took", "facts_before", "facts_after", "composed_before", "composed_after"]] == 1).all(axis=None)
    assert set(edits["where"]) == {"output weights of MLP0, chosen at L0"}


def test_an_exchange_is_followed_as_first_hop_and_not_defined_as_second(by_hand: EditResult) -> None:
    first, second = rows(by_hand, "exchange", "hop1"), rows(by_hand, "exchange", "hop2")
    known = first[first["why_not"] == ""]
    assert len(known) > 4 and (known["propagated"] == 1).all() and (known["kept"] == 0).all()
    assert set(second["why_not"]) == {"its value is the answer: there is no intermediate to exchange"}
    assert second[["propagated", "kept", "propagated_able"]].isna().all(axis=None)
    edits = by_hand.edits[by_hand.edits["method"] == "exchange"]
    assert set(edits["where"]) == {"bridge at L0 r1"} and edits["took"].isna().all()


def test_what_is_looked_up_does_not_follow(world: TwoHopTask) -> None:
    """A model that has memorised its answers, with a decoy that answers atomic questions and nothing else."""
    trained_and_added = torch.from_numpy(world.graph.compositions)
    model = lookup_model(world.graph, trained_and_added, decoy=True)
    found = edit_facts(model, world, methods=WEIGHTS, n_edits=3, progress=False)
    assert (found.edits["took"] == 1).all()
    assert (found.table["propagated"] == 0).all() and (found.table["kept"] == 1).all()


@pytest.mark.parametrize("method", ALL)
def test_counts_are_those_of_a_plain_loop(world: TwoHopTask, method: str) -> None:
    """In a hand-set model with a fact of layer 0 rewritten, asked one question at a time."""
    found = edit_facts(handset_model(world.graph), world, methods=(method,), n_edits=2, progress=False)
    triples = {(head, relation): tail for head, relation, tail in world.graph.triples}
    for edit in found.edits.itertuples():
        head, relation = int(world.graph.heads[edit.fact]), int(world.graph.relations[edit.fact])
        changed = {**triples, (head, relation): edit.new}
        counted: dict[tuple[str, str], list[int]] = {}
        for split in ("train_inferred", *[name for name, part in world.splits.items() if part == "test"]):
            for h, r1, r2 in world.split(split).tokens.tolist():
                r1, r2 = r1 - world.graph.n_entities, r2 - world.graph.n_entities
                old_bridge, bridge = triples[h, r1], changed[h, r1]
                old, new = triples[old_bridge, r2], changed.get((bridge, r2))
                was = [(h, r1) == (head, relation), (old_bridge, r2) == (head, relation)]
                now = [(h, r1) == (head, relation), (bridge, r2) == (head, relation)]
                if new is None or new == old or was != now or sum(was) != 1:
                    continue
                answered = triples[bridge, r2]  # the second hop asks the facts as they were
                place = "hop1" if was[0] else "hop2"
                counted.setdefault((place, split), []).append(int(answered == new))
        of_edit = found.table[found.table["edit"] == edit.edit]
        assert {(row.place, row.split): row.n for row in of_edit.itertuples()} == {
            key: len(each) for key, each in counted.items()
        }
        for row in of_edit[of_edit["why_not"] == ""].itertuples():
            each = counted[row.place, row.split]
            assert row.propagated == pytest.approx(sum(each) / len(each))


def test_edits_have_dependents_at_every_place_and_new_values(world: TwoHopTask) -> None:
    composed, facts = composed_by_split(world), list(facts_by_split(world).values())
    edits = choose_edits(world, facts, composed, 5, seed=0)
    assert [edit.atomic.split for edit in edits] == ["id_atomic"] * 5 + ["ood_atomic"] * 5
    assert len({edit.fact for edit in edits}) == 10
    for edit in edits:
        assert edit.value != edit.old == int(world.graph.tails[edit.fact])
        found = dependents(world, composed, edit.fact, edit.value)
        assert found
        for some in found:
            assert (some.before.facts[some.place] == edit.fact).all() and (some.before.answers != some.after.answers).all()
            assert torch.equal(some.before.tokens, composed[some.split].tokens[some.rows])
            assert some.intermediate == ("bridge" if some.place == "hop1" else None)
    again = choose_edits(world, facts, composed, 5, seed=0)
    assert [(edit.fact, edit.value) for edit in again] == [(edit.fact, edit.value) for edit in edits]


def test_a_fact_works_where_half_of_its_questions_are_right(world: TwoHopTask) -> None:
    """A model that has looked up the trained questions alone answers no second hop of the tests."""
    model = lookup_model(world.graph, torch.from_numpy(world.trained), decoy=True)
    asked = Asked.of(model, world, 3, seed=0)
    right: dict[int, list[bool]] = {}
    seen = set(map(tuple, world.trained.tolist()))
    for queries in composed_by_split(world).values():
        for hop1, hop2 in zip(queries.hop1.tolist(), queries.hop2.tolist(), strict=True):
            right.setdefault(hop2, []).append((hop1, hop2) in seen)
    for found in asked.found:
        for some in found:
            if some.place == "hop1":
                met = [
                    right.get(hop2, [False]) for hop2 in some.after.hop2.tolist()
                ]  # of what is never asked nothing is known
                expected = [sum(each) / len(each) >= 0.5 for each in met]
                assert asked.able(some).tolist() == expected


def test_the_summary_counts_each_edit_once(by_hand: EditResult) -> None:
    taken = by_hand.table[by_hand.table["why_not"] == ""]
    for row in by_hand.summary.itertuples():
        of_row = taken[(taken["method"] == row.method) & (taken["facts"] == row.facts)]
        of_row = of_row[(of_row["place"] == row.place) & (of_row["part"] == row.part)]
        shares = [
            sum(each.propagated * each.n for each in group.itertuples()) / group["n"].sum()
            for _, group in of_row.groupby("edit")
        ]
        assert row.propagated == pytest.approx(sum(shares) / len(shares))
        assert row.n_edits == len(shares) <= row.n_asked == 4 and row.n == of_row["n"].sum()
        assert row.low <= row.propagated <= row.high


def test_edits_that_did_not_take_are_left_out_of_the_summary(by_hand: EditResult) -> None:
    edits = by_hand.edits.copy()
    edits.loc[(edits["method"] == "rank one") & (edits["facts"] == "id_atomic"), "took"] = [0.0, 1.0, 0.0, 0.0]
    found = EditResult(by_hand.table, edits, by_hand.model, by_hand.methods).summary
    first = found[(found["method"] == "rank one") & (found["facts"] == "id_atomic")]
    assert set(first["n_edits"]) == {1} and set(first["n_asked"]) == {4}


def test_training_of_a_checkpoint_and_its_steps(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", 150, task=small(), evaluate_every=50)
    checkpoint = run.checkpoint("final")
    found = edit_facts(
        checkpoint, run.task, methods=("training", "rank one"), n_edits=2, learning_rate=3e-3, max_steps=400, progress=False
    )
    edits = found.edits[found.edits["method"] == "training"]
    assert (edits["took"] == 1).all() and (edits["n_steps"] > 0).all() and set(edits["where"]) == {"all weights"}
    slow = edit_facts(checkpoint, run.task, methods=("training",), n_edits=2, max_steps=1, progress=False)
    assert (slow.edits["took"] == 0).all() and (slow.edits["n_steps"] == 1).all() and not len(slow.summary)
    slow.figure()
    assert [*slow.edits["fact"]] == [*edits["fact"]]


def test_token_mixing_networks_are_edited_by_training_alone(tmp_path: Path) -> None:
    task = TwoHopTask.random(n_entities=8, n_relations=5, out_degree=4, ood_fraction=0.2, layout="four_slots", seed=1)
    config = TrainConfig.tiny(max_steps=150, evaluate_every=150, batch_size=64)
    run = train(task, TRMConfig.tiny(d_model=16), config, tmp_path / "run", progress=False)
    checkpoint = run.checkpoint("final")
    found = edit_facts(checkpoint, task, methods=("training",), n_edits=1, learning_rate=3e-3, progress=False)
    assert (found.edits["took"] == 1).all() and len(found.table)
    with pytest.raises(TypeError, match="rank-one edits are of an MLP's output weights in a HookedTransformer, got a TRM"):
        edit_facts(checkpoint, task, methods=("training", "rank one"), n_edits=1, progress=False)


def test_the_model_is_left_as_it_was(world: TwoHopTask) -> None:
    model = handset_model(world.graph)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    edit_facts(model, world, methods=ALL, n_edits=1, progress=False)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    no_hooks_left(model)


def test_results_are_saved_and_drawn(by_hand: EditResult, tmp_path: Path) -> None:
    assert_same(Result.load(by_hand.save(tmp_path / "edits.json")), by_hand)
    figure = by_hand.figure()
    drawn = [trace for trace in figure.data if trace.marker.symbol == "diamond"]
    shown = sum(len(trace.y) for trace in drawn)
    assert shown == len(by_hand.summary)
    dots = sum(len(trace.y) for trace in figure.data) - shown
    assert dots == len(by_hand.by_edit)
    assert "rank one: 8 of 8 edits took" in by_hand.caption


@pytest.mark.usefixtures("as_users_call")
def test_what_is_not_possible_is_said(world: TwoHopTask) -> None:
    model: Any = handset_model(world.graph)
    with pytest.raises(TypeError, match=r"training goes on from a checkpoint, .*got a HookedTransformer"):
        edit_facts(model, world)
    with pytest.raises(ValueError, match=r"(?s)methods are 'training', .*n_edits is 0.*sure is 1"):
        edit_facts(model, world, methods=("<script>",), n_edits=0, sure=1.0)
    with pytest.raises(ValueError, match="methods names one twice"):
        edit_facts(model, world, methods=("exchange", "exchange"))
    with pytest.raises(TypeError, match="facts are changed in tasks that have"):
        edit_facts(model, "two-hop", methods=WEIGHTS)  # pyright: ignore[reportArgumentType]
    untrained = build_model(ModelConfig.tiny(), world)
    with pytest.raises(ValueError, match="no fact can be changed: 0 facts are answered right"):
        edit_facts(untrained, world, methods=WEIGHTS, progress=False)


def test_what_it_says_of_itself_is_what_it_holds(by_hand: EditResult) -> None:
    assert_explained(by_hand)
    most, least = (by_hand.summary["propagated"].agg(each) for each in ("max", "min"))
    means = by_hand.explain().means
    assert f"follow is {most:.2f} after" in means and f"and {least:.2f} after rank one" in means and "used at hop2" in means
    nothing = replace(by_hand, edits=by_hand.edits.assign(took=0.0))
    assert nothing.explain().means == "Nothing: no edit took where a method is defined."
    assert "no rows" in replace(by_hand, table=by_hand.table.head(0)).explain().means
