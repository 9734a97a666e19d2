import numpy as np
import pandas as pd
import plotly.graph_objects as go

from grokscope.analyses import accuracy_curves, lens_heatmaps, logit_lens
from grokscope.analyses.plots.heatmaps import effect_heatmap
from grokscope.tasks import SPLITS, Run, TwoHopTask


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
    assert (list(heat.x), list(heat.y), heat.zmid) == (["h", "r1"], ["MLP0"], 0)


def test_drawing_leaves_plotlys_global_state_alone(tiny_run: Run) -> None:
    import plotly.io as pio

    before = pio.templates.default
    accuracy_curves({"a": tiny_run.metrics}, tiny_run.n_reported, {"a": {}})
    assert pio.templates.default == before and isinstance(go.Figure(), go.Figure)
