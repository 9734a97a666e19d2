"""Names among marks lie where nothing else is: as a browser shows them, in windows of several widths."""

from pathlib import Path

import pandas as pd
from chromium import launched, opened

from grokscope.analyses.page import Report
from grokscope.analyses.plots.cost import cost_frontier

ARMS = {
    "natural": (0, (9700, 10600, 12200)),
    "natural_phi5": (0, (7600, 8000, 9600)),
    "natural_slots": (0, (7300, 8000, 12500)),
    "hop2_dose_4": (108, (7300, 8400)),
    "hop2_dose_9": (485, (4800, 6400)),
    "both_half": (1006, (3500, 4300, 7200)),
    "first_hop": (1757, (2600, 2600, 2700)),
    "second_hop": (1786, (2300, 2500, 2700)),
    "second_hop_slots": (1786, (2700, 3100, 6300)),
    "both_hops": (3519, (1000, 1100, 1100)),
}
"""By arm, added compositions and steps of runs: those of the shipped study."""
BOXES = """all => all.map(each => { const r = each.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; })"""


def frontier() -> object:
    runs = [
        {"run": f"{arm}-{place}", "arm": arm, "added": added, "level": 0.9, "step": float(step), "trained": 15_000}
        for arm, (added, steps) in ARMS.items()
        for place, step in enumerate(steps)
    ]
    table = pd.DataFrame(runs)
    medians = table.groupby(["arm", "level", "added"], as_index=False)["step"].median().rename(columns={"step": "median"})
    both = [pd.concat([each, each.assign(level=1.0)], ignore_index=True) for each in (table, medians)]
    return cost_frontier(*both, title="n = 3")


def touching(a: list[float], b: list[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_no_name_hides_a_mark_or_another_name(tmp_path: Path) -> None:
    report = Report("cost")
    report.figure(frontier(), "")
    path = report.save(tmp_path / "page.html")
    with launched() as browser:
        for width in (1000, 1280):
            with opened(browser, path, viewport={"width": width, "height": 800}) as page:
                page.wait_for_selector(".js-plotly-plot .annotation-text-g text")
                names = [box for box in page.eval_on_selector_all(".annotation-text-g text", BOXES) if box[2] - box[0] > 12]
                points = page.eval_on_selector_all(".scatterlayer .point, .scatterlayer .js-line", BOXES)
            assert len(names) == 2 * len(ARMS) and len(points) >= 2 * len(ARMS)
            hidden = [(name, point) for name in names for point in points if touching(name, point)]
            twice = [(a, b) for place, a in enumerate(names) for b in names[:place] if touching(a, b)]
            assert (width, hidden, twice) == (width, [], [])
