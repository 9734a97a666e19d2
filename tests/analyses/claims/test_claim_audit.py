"""The audit of a claim: what its circuits say together, and what only its rows and its sentence say."""

import dataclasses

import pandas as pd
import pytest

from grokscope.analyses import ClaimResult
from grokscope.analyses.claims.audit_measurement import AuditMeasurement, atomic_pairs, measure_audits
from grokscope.analyses.claims.claim_audit import with_audit, with_elsewhere
from grokscope.analyses.claims.rules import Role, Row, check, rows_to_frame
from grokscope.analyses.claims.specimens import study_arms
from grokscope.analyses.validity.audit_result import MET, MISSED, NOT_MEASURED, AuditResult, Entry, audited
from grokscope.circuits import Result
from grokscope.tasks import TwoHopTask, load_study


def result(sentence: str = "It is .31 at n = 5.", *others: Row) -> ClaimResult:
    role: Role = "main"
    rows = [Row("a.b", role, "a", "iid", 0.3142, 0.2, 0.4, margin=0.5, n=5, says="supported"), *others]
    checks = pd.DataFrame([check("one", True, "")])
    frames = (rows_to_frame([row for row in rows if (row.role == "falsifier") is wanted]) for wanted in (False, True))
    return ClaimResult(*frames, checks, "claim", "supported", sentence, "that")


def measured(*words: bool | None, value: float = 0.1) -> dict[int, AuditMeasurement]:
    def one(met: bool | None, i: int) -> AuditResult:
        return audited([Entry("I1", met, "necessity", f"finding {i}", value * i, rule="< .5", n=9, unit="pairs")], "one")

    return {i: AuditMeasurement({"early": one(met, i)}) for i, met in enumerate(words, start=1)}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((True, True, True), MET),
        ((True, True, False), MISSED),
        ((True, True, None), MET),
        ((True, None, None), MISSED),
        ((None, None), NOT_MEASURED),
        ((), NOT_MEASURED),
    ],
)
def test_circuits_meet_a_criterion_if_none_misses_it_and_most_meet_it(words: tuple[bool | None, ...], says: str) -> None:
    assert with_audit(result(), measured(*words)).audit().words["I1"] == says


def test_the_number_of_several_circuits_is_their_median_with_the_range() -> None:
    row = with_audit(result(), measured(True, True, None, True)).audited.set_index("code").loc["I1"]
    assert (row["value"], row["low"], row["high"]) == pytest.approx((0.2, 0.1, 0.4))
    assert (row["n"], row["unit"], row["measured_by"]) == (3, "circuits", "necessity")
    assert row["finding"].startswith("met on 3, missed on 0 of 4 circuits; the first: finding 1")


@pytest.mark.parametrize(
    ("sentence", "word"),
    [
        ("It is 0.31 [0.20, 0.40], margin 0.5, on 5 graphs.", MET),
        ("It is .31.", NOT_MEASURED),  # no sentence writes a number so
        ("It is 0.32 on 5 graphs.", MISSED),
        ("It is 0.3 of all.", MET),
        ("It holds.", NOT_MEASURED),
    ],
)
def test_every_number_of_the_sentence_must_be_one_of_the_table(sentence: str, word: str) -> None:
    table = with_audit(result(sentence)).audited
    (found,) = table[table["code"] == "V3"].to_dict("records")
    assert found["word"] == word
    if sentence.startswith("It is 0.32"):
        assert found["finding"] == "not in a main row: 0.32" and found["value"] == 0.5


def test_controls_falsifiers_and_other_architectures_make_their_criteria() -> None:
    right = Row("c1", "control", "c", "iid", says="supported")
    wrong, against = dataclasses.replace(right, key="c2", says="invalid"), Row("f", "falsifier", "f", "iid", n=5)
    plain = with_audit(result()).audit()
    assert plain.words["M4"] == plain.words["E6"] == NOT_MEASURED and plain.words["C1"] == MET
    assert with_audit(result("x", right)).audit().words["M4"] == MET
    some = with_elsewhere(with_audit(result("x", right, wrong, against)), {"other": "contradicted"})
    mixed = some.audited.set_index("code")
    assert mixed.loc["M4", ["word", "value", "n"]].tolist() == [MISSED, 0.5, 2] and mixed.loc["C1", "n"] == 2
    assert mixed.loc["E6", "word"] == MISSED
    both = with_elsewhere(with_audit(result()), {"other": "supported"}).audit()
    assert both.words == {**plain.words, "E6": MET} and with_elsewhere(with_audit(result()), {}).audit().words == plain.words


def test_a_claim_without_what_it_needs_says_so_and_the_table_is_saved_with_it() -> None:
    with pytest.raises(ValueError, match="nothing was gathered to audit 'claim'"):
        result().audit()
    found = with_audit(result())
    again = Result.from_json(found.to_json())
    assert isinstance(again, ClaimResult) and again.audit().words == found.audit().words


def test_atomic_pairs_are_facts_with_other_answers() -> None:
    task = TwoHopTask.random(n_entities=16, n_relations=8, out_degree=4, test_fraction=0.3, seed=0)
    pairs = atomic_pairs(task, 20, seed=1)
    facts = {(h, r): t for h, r, t in task.graph.triples}
    for prompts, answers in ((pairs.clean, pairs.answers), (pairs.corrupt, pairs.foils)):
        asked = [task.split("id_atomic").tokens.tolist().index(row) for row in prompts.tolist()]
        assert task.split("id_atomic").answers[asked].tolist() == answers.tolist() and facts
    assert (pairs.answers != pairs.foils).all() and 0 < len(pairs) <= 20 and pairs.roles == ("h", "r1")


@pytest.mark.slow
def test_circuits_of_a_shipped_graph_are_audited() -> None:
    arms = study_arms(load_study("pilot"), {"taught": ("both_hops", "ood_generalised"), "none": ("untied", "memorised")})
    found = measure_audits(arms[0], "test_inferred_iid", 64).audits
    assert set(found) == {"taught"} and {"I1", "I2", "E1"} <= {
        code for code, word in found["taught"].words.items() if word == MET
    }
