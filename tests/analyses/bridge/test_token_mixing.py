"""Every analysis of states on a token-mixing network that has learned its questions by heart; against literal hooks."""

from collections.abc import Callable
from functools import partial

import pandas as pd
import pytest
import torch

from grokscope import analyses
from grokscope.analyses.bridge.bridge_means import BridgeMeans
from grokscope.analyses.bridge.questions import halves_by_unit, sample
from grokscope.analyses.forward.state_runs import run_model
from grokscope.tasks import Queries, TRMConfig, TwoHopTask, make_pairs, perturb
from grokscope.tasks.models.building import build_model
from grokscope.tasks.models.trm import TRM

TASK = TwoHopTask.random(
    n_entities=12, n_relations=8, out_degree=6, ood_fraction=0.1, test_fraction=0.1, layout="four_slots", seed=0
)
SPLIT = "train_inferred"
EVERY = TASK.split(SPLIT)


@pytest.fixture(scope="module")
def model() -> TRM:
    network = build_model(TRMConfig.tiny(), TASK, seed=0)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(45):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(EVERY.tokens)[:, EVERY.answer_position], EVERY.answers).backward()
        optimiser.step()
    logits = network(EVERY.tokens)[:, EVERY.answer_position]
    logits = network(EVERY.tokens)[:, EVERY.answer_position]
    assert (logits.argmax(1) == EVERY.answers).double().mean() > 0.9
    return network


def asked() -> Queries:
    return sample(EVERY, 60, max_units=20, seed=0)


CALLS: dict[str, Callable[[TRM], object]] = {
    "ablate_bridge": lambda m: analyses.ablate_bridge(m, TASK, asked()),
    "steer_bridge": lambda m: analyses.steer_bridge(m, TASK, asked(), scales=(1.0,)),
    "interchange": lambda m: analyses.interchange(m, TASK, asked()),
    "bridge_copies": lambda m: analyses.bridge_copies(m, TASK, asked(), places=[("r1",), ("r1", "r2")]),
    "bridge_evidence": lambda m: analyses.bridge_evidence(m, TASK, SPLIT, n=40),
    "bridge_geometry": lambda m: analyses.bridge_geometry(m, TASK),
    "causal_trace": lambda m: analyses.causal_trace(m, asked(), {"h": perturb(TASK, asked(), "h", seed=0)}, window=2),
    "back_patch": lambda m: analyses.back_patch(m, TASK.split("test_inferred_iid")),
    "realign": lambda m: analyses.realign(m, TASK, asked()),
    "compare_readings": lambda m: analyses.compare_readings(m, TASK, asked()),
    "cycle_distances": lambda m: analyses.cycle_distances(m, asked()),
    "direction_transfer": lambda m: analyses.direction_transfer(m, m, TASK, SPLIT, n=40),
    "state_profile": lambda m: analyses.state_profile(m, make_pairs(TASK, split=SPLIT, contrast="bridge", n=8, seed=0)),
    "view_query": lambda m: analyses.view_query(m, TASK, make_pairs(TASK, split=SPLIT, contrast="bridge", n=8, seed=0), 0),
    "logit_lens": lambda m: analyses.logit_lens(m, asked()),
    "probe_bridge": lambda m: analyses.probe_bridge(m, TASK, targets=["bridge"]),
}


SLOW = {"direction_transfer", "probe_bridge", "steer_bridge", "back_patch"}


@pytest.mark.parametrize("name", [pytest.param(each, marks=[pytest.mark.slow] if each in SLOW else []) for each in CALLS])
def test_analyses_of_states_run_on_it_and_leave_it_as_it_was(model: TRM, name: str) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    result = CALLS[name](model)
    assert len(result.lens if isinstance(result, analyses.QueryView) else result.table)  # pyright: ignore[reportAttributeAccessIssue]
    assert not any(point.fwd_hooks for point in model.hook_dict.values())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_reads_single_inputs_or_heads_is_refused_by_name(model: TRM) -> None:
    with pytest.raises(ValueError, match="token mixing instead of attention"):
        analyses.trace_inputs(model, asked(), {"h": perturb(TASK, asked(), "h", seed=0)})


def test_the_lens_reads_each_application_once(model: TRM) -> None:
    lens = analyses.logit_lens(model, asked())
    assert lens.n_cells == (1 + model.cfg.n_layers) * 4
    last = lens.table.query("layer == @model.cfg.n_layers - 1 and role == 'answer' and target == 'answer'").iloc[0]
    assert last["top1"] == lens.queries["correct"].mean() > 0.9


def hooked(model: TRM, tokens: torch.Tensor, position: int, states: dict[int, torch.Tensor]) -> torch.Tensor:
    """The answers with states put in at a slot after some applications."""

    def put(state: torch.Tensor, activation: torch.Tensor, hook: object) -> torch.Tensor:
        activation = activation.clone()
        activation[:, position] = state
        return activation

    hooks = [(f"blocks.{layer}.hook_out", partial(put, state)) for layer, state in states.items()]
    with torch.no_grad():
        return model.run_with_hooks(tokens, fwd_hooks=hooks)[:, EVERY.answer_position].argmax(-1)


def number(table: pd.DataFrame, **place: object) -> float:
    rows = table.loc[(table[list(place)] == pd.Series(place)).all(axis=1), "value"]
    return float(rows.item())


def test_donors_in_one_cell_and_in_every_application_equal_literal_hooks(model: TRM) -> None:
    evidence = analyses.bridge_evidence(model, TASK, SPLIT, n=40, seed=1)
    queries = sample(EVERY, 40, max_units=TASK.n_reference // 2, seed=1)
    judged = halves_by_unit(queries, seed=1)[1]
    graph = analyses.graph_of(model, judged.roles, judged.answer_position)
    right = run_model(model, graph, judged.tokens).logits.argmax(1) == judged.answers
    means = BridgeMeans(model, graph, TASK, queries, intermediate="bridge", seed=1)
    donors, found = TASK.donors(second_hop="ID", seed=1), {}
    for row in right.nonzero()[:, 0].tolist():
        if (donor := donors.of(judged, row)) and means.has(int(judged.bridges[row]), donor.value):
            found[row] = donor
    tokens = judged.tokens[list(found)]
    wanted = torch.tensor([donor.answer for donor in found.values()])
    assert len(found) == evidence.measures.query("measure == 'held out'")["n"].iloc[0] > 10
    for kind in ("held out", "other r2"):
        run = run_model(model, graph, torch.stack([donor.prompts[kind] for donor in found.values()]))
        for position, role in enumerate(judged.roles):
            states = {layer: run.state(layer)[:, position] for layer in range(model.cfg.n_layers)}
            every = (hooked(model, tokens, position, states) == wanted).double().mean()
            assert number(evidence.every_layer, role=role, measure=kind) == pytest.approx(float(every))
            for layer, state in states.items():
                one = (hooked(model, tokens, position, {layer: state}) == wanted).double().mean()
                assert number(evidence.measures, layer=layer, role=role, measure=kind) == pytest.approx(float(one))
