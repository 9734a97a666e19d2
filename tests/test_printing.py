"""What prints itself can be printed where characters lack: under cp1252, cp437 and ASCII as under UTF-8."""

import io
import os
import subprocess
import sys

import pandas as pd
import pytest
import torch
from conftest import random_model, random_pairs

from grokscope import analyses, circuits, tasks
from grokscope.circuits.plain_text import PLAIN, plain
from grokscope.circuits.result import Result


class Odd(Result):
    @property
    def caption(self) -> str:
        return "a → b − c ≥ 1 · ′ \U0001f600 א"


def odd_records() -> list[object]:
    """What prints itself, with signs that few terminals have."""
    graph = circuits.ComputationGraph.transformer(("α", "\U0001f600"), "α", n_layers=1, n_heads=1, n_blocks=1)
    node = circuits.Node("mlp", "\U0001f600", layer=0)
    tokens, roles, title = torch.tensor([[0, 1]]), ("α", "\U0001f600"), "h → b \U0001f600"
    asked = tasks.Queries(tokens, tokens[:, 0], roles=roles, split=title)
    pairs = tasks.PromptPairs(tokens, 1 - tokens, tokens[:, 0], tokens[:, 1], roles=roles, contrast=title)
    views = [analyses.QueryView(title, pd.DataFrame(), pd.DataFrame(), ""), analyses.AttentionView("", title)]
    views.append(circuits.Diagram("", title, {}))
    return [Odd(pd.DataFrame()), graph, node, circuits.Edge(node, node), asked, pairs, *views]


def run(code: list[str], encoding: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-W", "ignore", *code], env=environment, cwd=sys.prefix, capture_output=True)


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii", "utf-8"])
def test_whatever_prints_itself_prints_under_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    records, printed = odd_records(), io.BytesIO()
    with io.TextIOWrapper(printed, encoding) as stream, monkeypatch.context() as terminal:
        terminal.setattr(sys, "stdout", stream)
        for each in records:
            stream.write(f"{each!r}\n{[each]}\n")
        stream.flush()
        text = printed.getvalue().decode(encoding)
    assert text.count("a -> b - c >= 1") == 2 and text.count("h -> b") == 10
    assert ("\N{GRINNING FACE}" in text) == (encoding == "utf-8") and ("\\U0001f600" in text) == (encoding != "utf-8")


@pytest.mark.parametrize("module", ["grokscope.analyses.study", "grokscope.analyses.demo"])
def test_commands_show_their_help_under_cp1252(module: str) -> None:
    done = run(["-m", module, "--help"], "cp1252")
    assert done.returncode == 0, done.stderr.decode()[-2000:]


def test_signs_are_spelled_in_characters_that_the_code_page_has() -> None:
    assert plain("a → b − c ≥ 1, ≤ 2, ≠ 3, b′") == "a -> b - c >= 1, <= 2, != 3, b'"
    assert plain("n · “x” – é ×") == "n · “x” – é ×" and all(spelled.isascii() for spelled in PLAIN.values())


@pytest.mark.parametrize("seed", range(3))
def test_reprs_of_results_need_no_more_than_the_code_page(seed: int) -> None:
    model, pairs = random_model(seed), random_pairs(seed, n=9)
    effects = analyses.path_patch(model, pairs, progress=False)
    found = [effects, circuits.Circuit.from_effects(effects), analyses.attribute_attention(model, pairs, steps=2), pairs]
    found += [
        effects.graph,
        circuits.draw(found[1]),
        found[2].view(),
        analyses.path_patch(model, pairs.take(torch.tensor([0]))),
    ]
    for each in found:
        repr(each).encode("cp1252")
