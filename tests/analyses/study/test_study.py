"""The whole analysis on one graph of the shipped study, and what it caches on disk."""

import dataclasses
import html
import json
import os
import re
import signal
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from wording import problems

from grokscope.analyses.bridge.evidence import bridge_evidence
from grokscope.analyses.bridge.verdicts import bridge_is
from grokscope.analyses.claims import dissociation, dissociation_measurement, regimes, same_path
from grokscope.analyses.claims.audit_measurement import AuditMeasurement
from grokscope.analyses.claims.claim import Claim, Inputs, Job, show_result, verdict_line
from grokscope.analyses.claims.path_measurement import PathMeasurement
from grokscope.analyses.claims.registry import CLAIMS
from grokscope.analyses.claims.rules import ClaimResult, Row, check, rows_to_frame
from grokscope.analyses.claims.same_path import ARMS, SAME_PATH
from grokscope.analyses.claims.specimens import Arms, study_arms
from grokscope.analyses.page import Report
from grokscope.analyses.study import run as whole
from grokscope.analyses.study.cache import cached, fingerprint
from grokscope.analyses.study.findings import verdicts
from grokscope.analyses.study.numbers import numbers, write_numbers
from grokscope.analyses.study.published import (
    pretraining_rates,
    published_pretraining,
    published_transfer,
    published_transfer_largest,
)
from grokscope.analyses.study.report import write_report
from grokscope.analyses.study.verdict_table import verdict_table
from grokscope.analyses.validity.audit_result import AuditResult, Entry, audited
from grokscope.circuits import Result
from grokscope.circuits.documents import FileError
from grokscope.tasks import Checkpoint, Run, Study, build_model, load_study

SLOTS = ("natural_slots-g1-r0", "second_hop_slots-g1-r0")
RUNS = ("natural-g1-r0", "natural-g1-r1", "both_hops-g1-r0", "second_hop-g1-r0", *SLOTS)
SMALL = {"n_pairs": 60, "n_questions": 64, "n_jobs": 1}
ONE_COMPARISON = {"main": (same_path.ID, {name: ARMS[name] for name in ("early", "early taught", "final")}, ())}


@pytest.fixture(scope="module")
def one_graph(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder, shipped = tmp_path_factory.mktemp("study"), load_study().folder
    for name in RUNS:
        os.symlink(shipped / name, folder / name)
    return load_study(folder)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("measured")


@cache
def one_audit() -> AuditResult:
    return audited([Entry("I1", True, "necessity", "0.01 left", 0.01, 0.0, 0.02, "< .5", 9, "pairs")], "one")


def audited_once(arms: Arms, *_: Any) -> AuditMeasurement:
    return AuditMeasurement(dict.fromkeys(arms, one_audit()))


@pytest.fixture(scope="module")
def findings(one_graph: Study, measured: Path) -> whole.Findings:
    with pytest.MonkeyPatch.context() as small:
        small.setattr(same_path, "COMPARISONS", ONE_COMPARISON)
        small.setattr(dissociation_measurement, "models_by_hand", lambda *_, **__: {})  # as if no control had run: minutes
        for module in (same_path, dissociation):
            small.setattr(module, "measure_audits", audited_once)
        return whole.analyse(one_graph, None, measured, **SMALL)


def test_one_graph_decides_nothing_and_all_is_shown(findings: whole.Findings, tmp_path: Path) -> None:
    lines = list(verdicts(findings))
    assert len(lines) == len(CLAIMS) and all("undecided" in line for line in lines[:3])
    assert [line.split()[0] for line in lines][:4] == ["(i)", "(ii)", "(iii)", "Worthwhile?"]
    assert "Also bidirectional: undecided (m = 2, n ≥ 1)." in lines[1]
    found = findings.claims["same_path"]
    assert set(found.results) == {"main"} and set(found.by_age.points["contrast"]) == {
        "early / early taught",
        "early / final",
    }
    assert list(findings.claims["dissociation"].results) == ["causal", "bidirectional"]
    assert set(findings.claims["dissociation"].regimes.table["run"]) == set(RUNS)
    page = write_report([findings], tmp_path / "report.html").read_text(encoding="utf-8")
    assert problems(page) == []
    assert page.count("<h2") == 1 + len(CLAIMS) and "gs-edge" in page and len(page) < 5e6
    assert all(html.escape(claim.words) in page for claim in CLAIMS.values())
    assert page.count("What it rests on: main rows open") == 3 and page.count("Controls, where the truth is known") == 3
    assert page.index("Main rows, which decide together") < page.index("Controls, where the truth is known")
    names = set(re.findall(r' id="([^"]+)"', page))
    links = re.findall(r'href="#([^"]+)"', page)
    assert len(links) >= 8 and not [link for link in links if link not in names], "every link leads somewhere"
    assert page.count('<details class="chip') == 28 * 3, "two claims, one of them in two architectures"


def test_the_first_screen_says_what_the_table_of_verdicts_says(findings: whole.Findings, tmp_path: Path) -> None:
    table = verdict_table([findings])
    assert list(zip(table["claim"], table["architecture"], strict=True)) == [
        ("same_path", "causal"), ("dissociation", "causal"), ("dissociation", "bidirectional"),
    ]  # fmt: skip
    assert set(table["standing"]) == {"exploratory"} and set(table["graphs"]) == {"1"}
    page = write_report([findings], tmp_path / "report.html").read_text(encoding="utf-8")
    grid = page[page.index('<div class="grid">') : page.index('<dl class="terms">')]
    assert re.findall(r'class="word (\w+) open"', grid) == table["verdict"].tolist()
    assert grid.count('class="none"') == 9 - len(table)
    result = findings.claims["dissociation"].results["causal"]
    rows = pd.concat([result.table, result.falsifiers])
    told = table[(table["claim"] == "dissociation") & (table["architecture"] == "causal")].iloc[0]
    assert told["row"] in set(rows.loc[rows["role"] == "main", "key"])


def test_a_claim_is_audited_with_its_circuits(findings: whole.Findings) -> None:
    found = findings.claims["same_path"].results["main"].audit()
    words = found.words
    assert words["I1"] == "met" and words["I2"] == "not measured" and words["C1"] == "met"
    row = found.table.set_index("code").loc["I1"]
    assert (row["n"], row["unit"], row["value"]) == (2, "circuits", 0.01) and "met on 2" in row["finding"]
    assert found.tier == "proposed"


@dataclasses.dataclass
class _Twice:
    one: Result
    other: Result


def test_the_numbers_of_the_findings_have_stable_names(findings: whole.Findings, tmp_path: Path) -> None:
    table = pd.read_csv(write_numbers(findings, tmp_path / "numbers.csv")).set_index("name")
    assert table.index.is_unique and table["value"].notna().all()
    found = findings.claims
    row = found["dissociation"].results["bidirectional"].table.set_index("key").loc["accuracy_without_path"]
    written = table.loc["dissociation/bidirectional/accuracy_without_path"]
    assert (written["value"], written["n"], written["of"]) == (row["value"], row["n"], "graphs")
    median = found["cost"].summary.set_index(["arm", "level"])["median"]["both_hops", 0.9]
    assert table["value"]["cost/both_hops.0.9"] == median and table["unit"]["cost/both_hops.0.9"] == "steps"
    circuit = found["same_path"].measured["main"][1].circuits["early"]
    assert table["value"]["same_path/edges.early.g1"] == len(circuit.kept_edges)
    by_run = found["dissociation"].regimes.table
    read = by_run[(by_run["arm"] == "natural") & (by_run["phase"] == "id_generalised")]["read"]
    assert np.isclose(table["low"]["dissociation/regimes.natural.id_generalised.read"], read.min(), rtol=1e-5)
    direction = table.loc["same_path/evidence.early.direction"]
    low = (
        found["same_path"]
        .measured["main"][1]
        .evidence["early"]
        .measures.query("measure == 'direction' and role == 'r1'")["low"]
    )
    assert float(direction["high"]) >= float(low.max()) - 1e-5 and str(direction["of"]) == "trainings"
    with pytest.raises(ValueError, match="occur twice: cost/"):
        numbers(whole.Findings(findings.study, None, {"cost": _Twice(found["cost"], found["cost"])}))


def test_bidirectional_models_use_the_bridge_elsewhere_than_at_r1(findings: whole.Findings) -> None:
    found = findings.claims["dissociation"]
    rules = {name: result.table.set_index("key")["rule"] for name, result in found.results.items()}
    assert "0 of 1 graphs, 0 unclear" in rules["bidirectional"]["accuracy_without_path"]
    assert "controls: pair code by hand: not run" in rules["bidirectional"]["accuracy_without_path"]
    answering = found.regimes.table.query("run in @SLOTS and phase == 'ood_generalised'")
    assert answering["used"].tolist() == ["yes", "yes"] and (answering["bridge_effect"] > 0.5).all()


def test_the_bridge_of_a_memorised_model_is_readable_and_not_called_used() -> None:
    run = load_study().runs["natural_phi5-g1-r0"]
    answered = {"memorised": "train_inferred", "id_generalised": "test_inferred_iid"}
    found = {
        phase: bridge_evidence(run.checkpoint(phase).model(), run.task, split, n=256) for phase, split in answered.items()
    }
    readable = {phase: bridge_is(evidence, "readable") for phase, evidence in found.items()}
    used = {phase: bridge_is(evidence) for phase, evidence in found.items()}
    assert readable == {"memorised": "yes", "id_generalised": "yes"}
    assert used == {"memorised": "undecided (ceiling)", "id_generalised": "yes"}, "it answers few of the donors' questions"


def test_what_was_measured_is_read_again(
    findings: whole.Findings, one_graph: Study, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(same_path, "COMPARISONS", ONE_COMPARISON)
    audits = ((module, "measure_audits") for module in (same_path, dissociation))
    measures = ((same_path, "measure_paths"), (dissociation, "measure_dissociation"), (regimes, "measure_run"), *audits)
    for module, name in measures:
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("measured again"))
    again = whole.analyse(one_graph, None, measured, **SMALL)
    assert list(verdicts(again)) == list(verdicts(findings))
    pd.testing.assert_frame_equal(again.claims["dissociation"].regimes.table, findings.claims["dissociation"].regimes.table)
    found, read = (each.claims["same_path"] for each in (findings, again))
    assert read.results["main"].to_json() == found.results["main"].to_json()
    assert read.by_age.to_json() == found.by_age.to_json()


def test_a_job_opens_the_models_of_its_own_graph_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def model(checkpoint: Checkpoint):
        opened.append(checkpoint.label)
        return build_model(checkpoint.model_config, checkpoint.task)

    monkeypatch.setattr(Checkpoint, "model", model)
    monkeypatch.setattr(whole, "cached", lambda path, kind, measure: path)
    jobs = SAME_PATH.jobs(Inputs(load_study()))["main"]
    assert sorted(jobs) == [1, 2, 3, 4, 5] and opened == []
    _, path, _ = whole._measure("", jobs[2], tmp_path)
    assert path.name.startswith("paths-main-g2-") and len(opened) == 11
    assert all("-g2-" in label for label in opened)


def test_a_dummy_claim_is_measured_decided_and_on_the_page(one_graph: Study, tmp_path: Path) -> None:
    """One object and one line in `CLAIMS` are all that a claim needs."""

    def jobs(inputs: Inputs) -> dict[str, dict[str, Job]]:
        run = inputs.study.runs[RUNS[0]]
        return {"steps": {run.name: Job(f"steps-{run.name}", Result, steps_of, run, (inputs.seed,))}}

    def steps_of(run: Run, seed: int) -> Result:
        calls.append((run.name, seed))
        return Result(pd.DataFrame({"step": run.steps}))

    def decide(inputs: Inputs, measured: dict[str, dict[str, Result]]) -> dict[str, ClaimResult]:
        rows = measured["steps"][RUNS[0]]
        row = Row("steps", "main", "saved steps", "none", value=float(len(rows.table)), n=1, says="supported")
        checks = pd.DataFrame([check("steps are saved", not rows.table.empty, "")])
        table, falsifiers = rows_to_frame([row]), rows_to_frame([])
        return {"dummy": ClaimResult(table, falsifiers, checks, "dummy", "supported", "Many steps.", "fewer")}

    def show(results: dict[str, ClaimResult], report: Report) -> None:
        show_result(report, results["dummy"])

    calls: list[tuple[str, int]] = []
    dummy = Claim("(v)", "(v) Is it so?", decide, verdict_line, show, jobs)
    with patch.dict(CLAIMS, {"dummy": dummy}, clear=True):
        whole.analyse(one_graph, None, tmp_path / "measured", n_jobs=1, seed=7)
        found = whole.analyse(one_graph, None, tmp_path / "measured", n_jobs=1, seed=7)
        assert calls == [(RUNS[0], 7)], "measured once, then read"
        whole.analyse(one_graph, None, tmp_path / "measured", n_jobs=1, seed=8)
        assert calls == [(RUNS[0], 7), (RUNS[0], 8)], "other settings, another measurement"
        assert list(verdicts(found)) == ["(v) dummy: supported. Many steps."]
        page = write_report([found], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "(v) Is it so?</h2>" in page and "saved steps" in page and page.count("<h2") == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_study_keeps_what_is_measured_and_reads_it_first(
    one_graph: Study, tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[int] = []

    def jobs(inputs: Inputs) -> dict[str, dict[int, Job]]:
        run = inputs.study.runs[RUNS[0]]
        return {"all": {n: Job(f"job-{n}", Result, steps_of, run, (n,)) for n in (2, 1, 0)}}

    def steps_of(run: Run, n: int) -> Result:
        if n == 0 and len(measured) == 2:
            os.kill(os.getpid(), number)
        measured.append(n)
        return Result(pd.DataFrame({"step": run.steps}))

    dummy = Claim("(v)", "", lambda inputs, found: found, verdict_line, show_result, jobs)
    with patch.dict(CLAIMS, {"dummy": dummy}, clear=True):
        with pytest.raises(
            KeyboardInterrupt, match=r"stopped: 2 of 3 measured, kept in .*; the same call goes on"
        ) as raised:
            whole.analyse(one_graph, None, tmp_path, n_jobs=1)
        assert raised.value.exit_code == 128 + number and measured == [2, 1]
        next(tmp_path.glob("job-1-*.json")).unlink()
        found = whole.analyse(one_graph, None, tmp_path, n_jobs=1)
    assert measured == [2, 1, 1, 0] and found.claims["dummy"]["all"].keys() == {0, 1, 2}
    assert f"3 measurements, 1 of them in {tmp_path} before; about " in capsys.readouterr().err


def test_a_study_without_an_arm_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    os.symlink(load_study().folder / RUNS[0], folder / RUNS[0])
    with pytest.raises(ValueError, match="early taught needs runs of both_hops"):
        whole.analyse(load_study(folder), None, tmp_path / "measured", n_jobs=1)
    assert not (tmp_path / "measured").exists()


def test_measurements_read_back_equal_and_a_wrong_file_is_named(findings: whole.Findings, tmp_path: Path) -> None:
    (measurement,) = findings.claims["same_path"].measured["main"].values()
    path = tmp_path / "m.json"
    cached(path, PathMeasurement, lambda: measurement)
    back = cached(path, PathMeasurement, lambda: pytest.fail("measured again"))
    assert back.steps == measurement.steps and back.answers_ood == measurement.answers_ood
    assert back.distances.to_json() == measurement.distances.to_json() and list(back.circuits) == list(measurement.circuits)
    pd.testing.assert_frame_equal(back.circuit_distances, measurement.circuit_distances)
    for name, circuit in measurement.circuits.items():
        pd.testing.assert_frame_equal(back.circuits[name].table, circuit.table)
        np.testing.assert_array_equal(back.circuits[name].deltas, circuit.deltas)
        pd.testing.assert_frame_equal(back.evidence[name].measures, measurement.evidence[name].measures)
    for name, trace in measurement.traces.items():
        pd.testing.assert_frame_equal(back.traces[name].table, trace.table)
    path.write_text(json.dumps({"circuits": {}}))
    with pytest.raises(FileError, match=r"m\.json: .*delete that file, and it is measured again"):
        cached(path, PathMeasurement, lambda: measurement)


def test_a_fingerprint_changes_with_weights_tasks_and_settings(one_graph: Study) -> None:
    arms = study_arms(one_graph, ARMS)[1]
    before = fingerprint(arms, "iid", 256)
    assert before == fingerprint(study_arms(one_graph, ARMS)[1], "iid", 256)
    assert len({before, fingerprint(arms, "iid", 257), fingerprint({"early": arms["early"]}, "iid", 256)}) == 3
    parameter = next(iter(arms["early"].model.parameters()))
    parameter.data.view(-1)[0] += 1e-3
    assert fingerprint(arms, "iid", 256) != before
    runs = [fingerprint(one_graph.runs[name]) for name in RUNS]
    assert len(set(runs)) == len(RUNS)


def test_the_papers_numbers_are_those_it_reports() -> None:
    """Sentences of the paper and its appendix tables, against the series."""
    series = published_pretraining().set_index(["arm", "step"])
    assert series.loc[("natural", 1_280_000), ["bridge", "target"]].tolist() == [0.998, 0.702]
    assert set(series.index.get_level_values("arm")) == {"natural", "both_hops", "first_hop", "both_half", "second_hop"}
    end = published_transfer().query("step == 39040").set_index("arm")["exact_match"]
    assert end.to_dict() == {
        "grokked": 1.0, "taught": 1.0, "first_hop": 1.0, "second_hop": 0.33, "random": 0.31, "both_half": 0.53
    }  # fmt: skip
    assert published_transfer_largest().query("cell == 'old+new'")["largest"].max() == 0.114


def test_our_rates_are_those_of_the_shipped_tables(one_graph: Study) -> None:
    rates = pretraining_rates(one_graph)
    run = one_graph.runs["natural-g1-r0"]
    own = rates[rates["run"] == run.name].set_index(["rate", "step"])["value"]
    metrics = run.metrics.set_index("step")
    assert (
        own["exact match", 15_000] == metrics.loc[15_000, "test_inferred_ood"]
        and own["train", 100] == metrics.loc[100, "train"]
    )
    found = one_graph.tables("found").query("run == @run.name and split == 'test_inferred_ood' and step == 15000")
    assert own["bridge", 15_000] == found.set_index("target")["rate"]["bridge"]


def test_a_result_of_a_table_alone_is_cached_too(tmp_path: Path) -> None:
    table = Result(pd.DataFrame({"a": [1.0, float("nan")], "b": ["x", "y"]}))
    cached(tmp_path / "t.json", Result, lambda: table)
    pd.testing.assert_frame_equal(cached(tmp_path / "t.json", Result, lambda: pytest.fail("again")).table, table.table)
