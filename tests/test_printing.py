"""What prints itself can be printed where characters lack: under cp1252, cp437 and ASCII as under UTF-8."""

import os
import subprocess
import sys

import pytest
import torch
from conftest import random_model, random_pairs

from grokscope import analyses, circuits
from grokscope.circuits.plain_text import PLAIN, plain

SCRIPT = """
import pandas as pd, torch
from grokscope import analyses, circuits, tasks
from grokscope.analyses.bridge.query_view import QueryView
from grokscope.analyses.patching.attention import AttentionView
from grokscope.circuits.result import Result
from grokscope.circuits.diagram import Diagram

class Odd(Result):
    @property
    def caption(self):
        return "a \u2192 b \u2212 c \u2265 1 \u00b7 \u2032 \U0001f600 \u05d0"

graph = circuits.ComputationGraph.transformer(("\u03b1", "\U0001f600"), "\u03b1", n_layers=1, n_heads=1, n_blocks=1)
node = circuits.Node("mlp", "\U0001f600", layer=0)
tokens, roles = torch.tensor([[0, 1]]), ("\u03b1", "\U0001f600")
asked = tasks.Queries(tokens, tokens[:, 0], roles=roles)
pairs = tasks.PromptPairs(tokens, 1 - tokens, tokens[:, 0], tokens[:, 1], roles=roles)
title = "h \u2192 b \U0001f600"
for each in (Odd(pd.DataFrame()), graph, QueryView(title, pd.DataFrame(), pd.DataFrame(), ""), AttentionView("", title),
             Diagram("", title, {}), [node], [circuits.Edge(node, node)], asked, pairs):
    print(each)
    print([each])
"""


def run(code: list[str], encoding: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-W", "ignore", *code], env=environment, cwd=sys.prefix, capture_output=True)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_whatever_prints_itself_prints_under_any_encoding(encoding: str) -> None:
    done = run(["-c", SCRIPT], encoding)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    text = done.stdout.decode(encoding)
    assert "a -> b - c >= 1" in text and text.count("h -> b") == 6
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
