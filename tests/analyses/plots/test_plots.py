import numpy as np
import pandas as pd
import plotly.graph_objects as go
from conftest import calm_model, wide_pairs

from grokscope.analyses import accuracy_curves, activation_patch, lens_heatmaps, logit_lens, path_patch
from grokscope.analyses.plots.claims import quantity_rows
from grokscope.analyses.plots.curves import growth_curves
from grokscope.analyses.plots.heatmaps import effect_heatmap
from grokscope.analyses.plots.regimes import accuracy_against_use
from grokscope.tasks import SPLITS, Run, TwoHopTask, load_study
from grokscope.tasks.runs.theme import PHASE_SYMBOL


def test_accuracy_curves_show_every_split_with_its_n_and_the_floors(tiny_run: Run) -> None:
    figure = accuracy_curves(
        {"a": tiny_run.metrics, "b": tiny_run.metrics}, tiny_run.n_reported, {"a": {"memorised": 20}, "b": {}}
    )
    curves = {trace.name: trace for trace in figure.data if trace.legendgroup in SPLITS and trace.xaxis == "x"}
    assert set(curves) == {f"{split} (n = {tiny_run.n_reported[split]})" for split in SPLITS}
    for split in SPLITS:
        trace = curves[f"{split} (n = {tiny_run.n_reported[split]})"]
        assert list(trace.y) == tiny_run.metrics[split].tolist() and list(trace.x) == tiny_run.metrics["step"].tolist()
    floors = [trace for trace in figure.data if trace.legendgroup == "floor"]
    assert len(floors) == 2 * 4 and all(len(set(trace.y)) == 1 for trace in floors)
    assert [shape.x0 for shape in figure.layout.shapes] == [20]
    assert "memorised" in [note.text for note in figure.layout.annotations]


def test_lens_heatmaps_share_one_scale_and_hold_the_tables_numbers(task: TwoHopTask, tiny_run: Run) -> None:
    table = logit_lens(tiny_run.checkpoint("final").model(), task.split("test_inferred_iid")).table
    figure = lens_heatmaps({"a": table, "b": table}, ("bridge", "answer"), value="mrr", title="n = 87")
    assert len(figure.data) == 4 and {(heat.zmin, heat.zmax) for heat in figure.data} == {(0, 1)}
    cells = table[(table["target"] == "answer") & (table["after"] == "attention")]
    cells = cells.pivot(index="layer", columns="role", values="mrr")[["h", "r1", "r2"]]
    np.testing.assert_array_equal(np.array(figure.data[1].z)[[1, 3]], cells.to_numpy())
    assert list(figure.data[1].y) == ["embed", "L0 attn", "L0", "L1 attn", "L1"] and figure.layout.title.text == "n = 87"


def test_effect_heatmaps_hold_edges_or_nodes() -> None:
    edges = pd.DataFrame({"sender": ["embed@h", "L0H0@h"], "receiver": ["MLP0@h", "MLP0@h"], "effect": [0.25, -0.5]})
    heat = effect_heatmap(edges, title="t").data[0]
    assert (list(heat.x), list(heat.y), [list(row) for row in heat.z]) == (["embed@h", "L0H0@h"], ["MLP0@h"], [[0.25, -0.5]])
    nodes = pd.DataFrame({"node": ["MLP0@h", "MLP0@r1"], "effect": [0.25, -0.5]})
    heat = effect_heatmap(nodes, title="t").data[0]
    assert (list(heat.x), list(heat.y), heat.zmin, heat.zmax) == (["h", "r1"], ["MLP0"], -0.5, 0.5)


def test_effect_heatmaps_show_positions_in_the_prompts_order() -> None:
    model, pairs = calm_model(0), wide_pairs(0)
    nodes, edges = activation_patch(model, pairs, progress=False), path_patch(model, pairs, progress=False)
    heat = nodes.figure().data[0]
    assert list(heat.x) == list(pairs.roles)
    values = nodes.table.set_index("node")["effect"]
    assert all(
        heat.z[y][x] == values[f"{part}@{role}"]
        for y, part in enumerate(heat.y)
        for x, role in enumerate(heat.x)
        if f"{part}@{role}" in values
    )
    heat = edges.figure().data[0]
    for axis in (heat.x, heat.y):
        parts = pd.DataFrame([name.split("@") for name in axis], columns=["component", "role"])
        assert (parts["component"].ne(parts["component"].shift()).sum()) == parts["component"].nunique()
        places = parts["role"].map(pairs.roles.index)
        assert places.groupby(parts["component"]).apply(lambda each: each.is_monotonic_increasing).all()


def test_heat_maps_write_no_zero_with_a_sign() -> None:
    table = pd.DataFrame({"layer": [0], "role": ["h"], "target": ["t"], "after": ["layer"], "excess": [-0.0001]})
    (heat,) = lens_heatmaps({"": table}, ["t"], value="excess", title="n").data
    assert heat.text[0][0] == "0.00"


def test_drawing_leaves_plotlys_global_state_alone(tiny_run: Run) -> None:
    import plotly.io as pio

    before = pio.templates.default
    accuracy_curves({"a": tiny_run.metrics}, tiny_run.n_reported, {"a": {}})
    assert pio.templates.default == before and isinstance(go.Figure(), go.Figure)


def test_each_phase_has_one_symbol_in_all_pictures_filled_where_the_bridge_is_used() -> None:
    phases, used = list(PHASE_SYMBOL), ["yes", "no", "undecided", "yes", "no"]
    numbers = {"exact_match": [0.1, 0.2, 0.3, 0.4, 0.5], "bridge_effect": [0.5, 0.6, 0.7, 0.8, float("nan")]}
    table = pd.DataFrame(
        {"run": "a-g1", "arm": "a", "phase": phases, "step": 7, "low": 0.4, "high": 0.9, "used": used, **numbers}
    )
    trace, *_ = accuracy_against_use(table, title="t").data
    symbols = ["square", "triangle-down-open", "diamond-open", "star"]
    assert list(trace.marker.symbol) == symbols and (list(trace.x), list(trace.y)) == (
        numbers["bridge_effect"][:4], numbers["exact_match"][:4]
    )  # fmt: skip
    np.testing.assert_allclose(trace.error_x.array, [0.4, 0.3, 0.2, 0.1])
    np.testing.assert_allclose(trace.error_x.arrayminus, [0.1, 0.2, 0.3, 0.4])
    drawn = {
        trace.name.split()[0]: trace.marker.symbol for trace in load_study("pilot").figure().data if trace.mode == "markers"
    }
    assert drawn == {phase: PHASE_SYMBOL[phase] for phase in ("memorised", "id_generalised", "ood_generalised")}


def test_quantities_have_the_colour_of_what_they_say_and_none_without_a_value() -> None:
    rows = {
        "quantity": ["a", "b", "c", "d"],
        "value": [0.5, 0.25, 0.125, float("nan")],
        "says": ["supported", "contradicted", "", ""],
        "role": ["main", "falsifier", "beside", "beside"],
        "margin": [0.3, float("nan"), float("nan"), 0.2],
    }
    table = pd.DataFrame({**rows, "low": 0.0, "high": 1.0})
    traces = {trace.name: trace for trace in quantity_rows(table, title="t").data}
    assert {name: (list(trace.x), list(trace.y)) for name, trace in traces.items()} == {
        "margin": ([0.3], ["a"]),
        "supported": ([0.5], ["a"]), "contradicted": ([0.25], ["b"]), "no rule": ([0.125], ["c"])
    }  # fmt: skip
    assert len({trace.marker.color for name, trace in traces.items() if name != "margin"}) == 3
    assert traces["contradicted"].marker.symbol == ("diamond",), "a falsifier's"
    assert traces["contradicted"].error_x.array == (0.75,) and traces["contradicted"].error_x.arrayminus == (0.25,)


def test_bands_of_growth_are_the_intervals_of_the_table() -> None:
    effects = pd.DataFrame({"step": [10, 100], "edge": "e", "effect": [0.25, 0.5], "low": [0.0, 0.25], "high": [0.5, 1.0]})
    columns = ("weighted_overlap", "weighted_overlap_final", "loss", "restricted", "excluded")
    stability = pd.DataFrame({"step": [10, 100], **dict.fromkeys(columns, 0.5)})
    band, line = growth_curves(effects, stability, {"ID .9": 20.0}, title="t").data[:2]
    assert list(band.x) == [10, 100, 100, 10] and list(band.y) == [0.5, 1.0, 0.25, 0.0]
    assert (line.name, list(line.y)) == ("e", [0.25, 0.5])
