"""The table of settings: for each public callable how it is called, and what each of its parameters is.

A parameter is a setting of a kind, from which bad values follow, or it carries data, which other tests damage. A new
callable without a row here, or a new parameter that is neither, fails `test_settings`.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch

from grokscope import analyses, circuits, tasks
from grokscope.circuits import Result

HUGE = 10**12
NO_WHOLE = (True, 1.5, math.nan, math.inf, "3", [1])
NO_NUMBER = (True, math.nan, math.inf, -math.inf, "0.1", [0.1])

KINDS: dict[str, tuple[Any, ...]] = {
    "seed": (-1, 2**64, None, *NO_WHOLE),
    "count": (-1, 0, None, *NO_WHOLE),
    "count from 0": (-1, None, *NO_WHOLE),
    "bounded count": (-1, 0, None, HUGE, *NO_WHOLE),
    "bounded count or none": (-1, 0, HUGE, *NO_WHOLE),
    "bounded count from 0": (-1, None, HUGE, *NO_WHOLE),
    "position": (99, -99, None, *NO_WHOLE),
    "number above 0": (-1, 0, None, *NO_NUMBER),
    "number above 0 or none": (-1, 0, *NO_NUMBER),
    "number from 0": (-1, None, *NO_NUMBER),
    "number from 0 or none": (-1, *NO_NUMBER),
    "norm": (-1, 0, None, True, math.nan, -math.inf, "0.1", [0.1]),  # math.inf is one: nothing is clipped
    "tolerance": (-1, 0, None, True, math.nan, "0.1", [0.1]),  # math.inf is one: a single part of the line
    "alpha": (-0.1, 0, 0.5, 1, None, *NO_NUMBER),
    "margin": (-1, 0, 0.001, None, *NO_NUMBER),  # of distances, which exact rewrites move by as much
    "ratio": (-1, 0, 0.9, None, *NO_NUMBER),
    "spread": (-1, 100, None, *NO_NUMBER),
    "power": (-0.1, 0, 1, None, *NO_NUMBER),
    "share": (-0.1, 1.1, None, *NO_NUMBER),
    "share below 1": (-0.1, 1, None, *NO_NUMBER),
    "bytes": (-1, 0, True, math.nan, math.inf, "1G"),
    "flag": ("no", None, 0.5, 2),
    "flag or none": ("no", 0.5, 2),
    "choice": ("nonsense", "", 3, None, ["noising"]),
    "choice or none": ("nonsense", 3),
    "name": ("", 3, None, ["h"]),
    "name or none": ("", 3, ["h"]),
    "asked or none": (3, "queries", [1]),
    "state": (3, None, "nonsense", [1]),
    "state or none": (3, "nonsense", [1]),
    "folder's name": ("", " ", ".", "..", "../x", "a/b", "a\\b", "con", "NUL.txt", "a\nb", "x" * 300, 3, None),
    "device": ("nonsense", "cuda:7", "meta", "", 3, None),
    "folder to write": ("{tmp}/file", "{tmp}/file/x", "/proc/nothing/x", "", 3, None),
    "folder to write or none": ("{tmp}/file", "{tmp}/file/x", "/proc/nothing/x", "", 3),
    "file to write": ("{tmp}/file/x", "{tmp}/folder", "/proc/nothing/x", "", 3, None),
    "file to read": (3, "{tmp}/nothing", "{tmp}/folder", None),
    "folder to read": ("{tmp}/nothing", "{tmp}/file", "", 3, None),
    "counts": ((), (0,), (-1,), (1.5,), (True,), ("1",), 3, None, "12"),
    "steps": ((), (-1,), (1.5,), (True,), ("1",), 3, "12"),
    "numbers": ((), (math.nan,), (math.inf,), ("1",), (True,), 3, None),
    "shares": ((), (-0.1,), (1.1,), (math.nan,), ("1",), (True,), 3, None),
    "names": (("",), (3,), ("nonsense",), 3),
    "seeds": ((-1,), (1.5,), (True,), ("1",), 3, None),
    "decays": ((0.9,), (0.9, 1), (-0.1, 0.9), (math.nan, 0.9), ("0.9", 0.9), 0.9, None),
}
"""By kind, values that no such setting can have. `{tmp}` holds a file and a folder of these names, nothing else."""

SETTINGS: dict[str, str] = {
    "seed": "seed",
    "progress": "flag",
    "per_query": "flag",
    "allow_shared": "flag",
    "max_memory": "bytes",
    "direction": "choice",
    "engine": "choice",
    "n_bootstrap": "bounded count",
    "split": "name",
    "n_questions": "count",
    "n_pairs": "count",
    "intermediate": "name or none",
    "device": "device",
    "batch_size": "count",
    "steps": "bounded count",
    "tolerance": "tolerance",
    "n_random": "bounded count from 0",
    "path": "file to write",
    "out": "folder to write",
    "roles": "names",
    "layout": "choice",
    "answer_position": "position",
    "n_jobs": "jobs at a time",
    "causal": "flag",
    "aligned": "flag",
    "n": "count",
    "queries": "queries",
    "pairs": "pairs",
    "judged_on": "pairs or none",
    "graphs": "graphs",
}
"""By the name of a parameter its kind; what is special is in the rows below."""

MODELS = "models, see tests/analyses/test_inputs.py and tests/analyses/test_model_class.py"
QUESTIONS = "questions and columns, see tests/analyses/test_inputs.py and tests/tasks/questions/test_kinds_of_arguments.py"
MEASURED = "what was measured, see the tests of circuits/ and of each analysis"
FILES = "what is in a file, see the tests of readers"
DATA: dict[str, str] = {
    **dict.fromkeys(
        ("model", "models", "donor", "forward", "checkpoint", "initial", "from_checkpoint", "run", "study", "metric"), MODELS
    ),
    **dict.fromkeys(
        ("task", "hashes", "tokens", "answers", "foils", "clean", "corrupt", "unit"),
        QUESTIONS,
    ),
    **dict.fromkeys(("intermediates", "corrupt_intermediates", "facts", "recipe", "logits", "perturbed"), QUESTIONS),
    **dict.fromkeys(("rows", "transfer", "before", "graph", "without", "supervision", "patterns", "jobs"), QUESTIONS),
    **dict.fromkeys(("circuit", "circuits", "replicates", "effects", "edges", "edge_sets", "through"), MEASURED),
    **dict.fromkeys(("transferred", "tables", "metrics", "lens", "faithfulness", "found", "correct"), MEASURED),
    **dict.fromkeys(("arms", "parts", "compared", "distances", "tasks", "configs", "phases"), MEASURED),
    **dict.fromkeys(("one", "other"), MEASURED),
    "untrained": MODELS,
    **dict.fromkeys(("text", "settings", "arrays", "triples"), FILES),
}
"""Parameters that carry data, by name, with where these are damaged."""

RECORDS = {  # made by the library, of what it measured or read
    *("AttentionView", "Checkpoint", "Diagram", "Donor", "QueryView", "Run", "Specimen", "Study", "Edge", "Node"),
}
"""Classes whose constructors are not for users; so are those of results."""

Row = tuple[Callable[..., Any], Callable[[SimpleNamespace], dict[str, Any]], dict[str, str]]
A, C, T = analyses, circuits, tasks
PAIRS = dict(split="test_inferred_iid", contrast="bridge", n=8, seed=0)
SIZES = dict(n_entities=16, n_relations=14, out_degree=12)
THREE_HOPS = T.KHopTask.random(**SIZES, seed=0)
COMPARED = T.ComparisonTask.random(n_entities=10, n_attributes=2, n_levels=3, seed=0)
ASKED = T.Queries(torch.tensor([[0, 20, 21]]), torch.tensor([1]), roles=("h", "r1", "r2"))
PAIRED = T.PromptPairs(
    ASKED.tokens, ASKED.tokens + torch.tensor([1, 0, 0]), ASKED.answers, ASKED.answers + 1, roles=ASKED.roles
)
DISTANCES = {("one", "two"): 0.01, ("one", "one again"): 0.01, ("one again", "two"): 0.01}
PATHS = A.PathDistances(
    pd.DataFrame([("where", "trainings", "a", "b", 0.1, "")], columns=["measure", "kind", "a", "b", "distance", "reason"]),
    "test_inferred_iid", 60, 64,
)  # fmt: skip
GRAPH = dict(roles=("h", "r1", "r2"), answer_role="r2", n_layers=2, n_heads=2, n_blocks=2)


SUMS = T.Queries(
    torch.tensor([[1, 2, 5], [3, 9, 5], [4, 4, 5], [5, 6, 5]]), torch.tensor([5, 6, 5, 6]), roles=("a", "b", "c"),
    intermediates={"carry": torch.tensor([0, 1, 0, 1])},
)  # fmt: skip
OWN = dict(questions={"sums": ("trained", SUMS[:3]), "new_sums": ("test", SUMS[3:])}, decided_by={"carry": ("a", "b")})


def asked(w: SimpleNamespace) -> dict[str, Any]:
    return {"model": w.model, "pairs": w.pairs}


def questioned(w: SimpleNamespace) -> dict[str, Any]:
    return {"model": w.model, "task": w.task, "queries": w.queries}


ROWS: dict[str, Row] = {
    # tasks
    "Checkpoint.model": (T.Checkpoint.model, lambda w: {"self": w.checkpoint}, {"n_loops": "bounded count or none"}),
    "ComparisonTask": (
        T.ComparisonTask,
        lambda w: {name: getattr(COMPARED, name) for name in inspect.signature(T.ComparisonTask).parameters},
        {"values": "data", "is_ood": "data", "trained": "data", "tests": "data", "n_levels": "count", "regime": "choice"},
    ),
    "ComparisonTask.donors": (
        T.ComparisonTask.donors,
        lambda w: {"self": COMPARED, "intermediate": "value_1", "second_hop": "ID", "seed": 0},
        {"intermediate": "choice", "second_hop": "choice"},
    ),
    "ComparisonTask.fact_status": (
        T.ComparisonTask.fact_status,
        lambda w: {"self": COMPARED, "queries": COMPARED.split("train_compared")},
        {"queries": "data"},
    ),
    "ComparisonTask.fact_values": (
        T.ComparisonTask.fact_values,
        lambda w: {"task": COMPARED, "fact": 0},
        {"fact": "bounded count from 0"},
    ),
    "ComparisonTask.with_fact": (
        T.ComparisonTask.with_fact,
        lambda w: {"task": COMPARED, "queries": COMPARED.split("train_compared"), "fact": 0, "value": 0},
        dict.fromkeys(("fact", "value"), "bounded count from 0"),
    ),
    "ComparisonTask.from_arrays": (T.ComparisonTask.from_arrays, lambda w: dict(arrays={}, settings={}), {}),
    "ComparisonTask.from_files": (T.ComparisonTask.from_files, lambda w: {"folder": "."}, {"folder": "folder to read"}),
    "ComparisonTask.n_values": (
        T.ComparisonTask.n_values,
        lambda w: {"self": COMPARED, "intermediate": "value_1"},
        {"intermediate": "choice"},
    ),
    "ComparisonTask.random": (
        T.ComparisonTask.random,
        lambda w: {},
        {
            "n_entities": "bounded count",
            "n_attributes": "count",
            "n_levels": "count",
            "ood_fraction": "share",
            "test_fraction": "share",
            "phi": "number from 0 or none",
        },
    ),
    "ComparisonTask.reasoning": (
        T.ComparisonTask.reasoning,
        lambda w: {},
        {
            "n_entities": "bounded count",
            "n_attributes": "count",
            "n_levels": "count",
            "ood_fraction": "share",
            "test_fraction": "share",
            "phi": "number from 0",
            "n_compared": "count from 0",
        },
    ),
    "ComparisonTask.reference": (T.ComparisonTask.reference, lambda w: {"self": COMPARED, "seed": 0}, {}),
    "ComparisonTask.split": (
        T.ComparisonTask.split,
        lambda w: {"self": COMPARED, "name": "id_atomic"},
        {"name": "choice"},
    ),
    "ComparisonTask.to_files": (
        T.ComparisonTask.to_files,
        lambda w: {"self": COMPARED, "folder": w.tmp / "folder"},
        {"folder": "folder to write"},
    ),
    "ComparisonTask.token_name": (
        T.ComparisonTask.token_name,
        lambda w: {"self": COMPARED, "token": 0},
        {"token": "token"},
    ),
    "Job": (
        T.Job,
        lambda w: dict(name="a", task=w.task, model_config=T.ModelConfig.tiny(), train_config=T.TrainConfig.tiny()),
        {"name": "folder's name", "model_config": "data", "train_config": "data"},
    ),
    "KnowledgeGraph": (
        T.KnowledgeGraph,
        lambda w: {name: getattr(w.task.graph, name) for name in inspect.signature(T.KnowledgeGraph).parameters},
        {"n_entities": "count", "n_relations": "count", "heads": "data", "relations": "data", "tails": "data"},
    ),
    "KHopTask": (
        T.KHopTask,
        lambda w: {name: getattr(THREE_HOPS, name) for name in inspect.signature(T.KHopTask).parameters},
        {"n_hops": "bounded count", **dict.fromkeys(("two_hops", "trained", "tests"), "data")},
    ),
    "KHopTask.donors": (
        T.KHopTask.donors,
        lambda w: {"self": THREE_HOPS, "intermediate": "b1", "second_hop": "ID", "seed": 0},
        dict.fromkeys(("second_hop", "intermediate"), "choice"),
    ),
    "KHopTask.fact_status": (T.KHopTask.fact_status, lambda w: {"self": THREE_HOPS, "queries": w.queries}, {}),
    "KHopTask.from_arrays": (T.KHopTask.from_arrays, lambda w: dict(arrays={}, settings={}), {}),
    "KHopTask.n_values": (
        T.KHopTask.n_values,
        lambda w: {"self": THREE_HOPS, "intermediate": "b1"},
        {"intermediate": "choice"},
    ),
    "KHopTask.random": (
        T.KHopTask.random,
        lambda w: dict(SIZES),
        {
            **dict.fromkeys((*SIZES, "n_hops"), "bounded count"),
            "ood_fraction": "share",
            "test_fraction": "share",
            "phi": "data",
        },
    ),
    "KHopTask.reference": (T.KHopTask.reference, lambda w: {"self": THREE_HOPS, "seed": 0}, {}),
    "KHopTask.split": (T.KHopTask.split, lambda w: {"self": THREE_HOPS, "name": "id_atomic"}, {"name": "choice"}),
    "KHopTask.token_name": (T.KHopTask.token_name, lambda w: {"self": THREE_HOPS, "token": 0}, {"token": "token"}),
    "KHopTask.up_to": (T.KHopTask.up_to, lambda w: {"self": THREE_HOPS, "n_hops": 2}, {"n_hops": "bounded count"}),
    "KnowledgeGraph.extended": (
        T.KnowledgeGraph.extended,
        lambda w: {"self": w.task.graph, "chains": w.task.graph.compositions},
        {"chains": "data"},
    ),
    "KnowledgeGraph.from_triples": (
        T.KnowledgeGraph.from_triples,
        lambda w: dict(triples=[(0, 0, 1)], n_entities=2, n_relations=1),
        {"n_entities": "count", "n_relations": "count"},
    ),
    "KnowledgeGraph.random": (
        T.KnowledgeGraph.random,
        lambda w: dict(SIZES, seed=0),
        dict.fromkeys(SIZES, "bounded count"),
    ),
    "ModelConfig": (
        T.ModelConfig,
        lambda w: dict(d_model=32, n_heads=2, n_blocks=1, n_loops=2),
        {
            **dict.fromkeys(("d_model", "n_heads", "n_blocks", "n_loops", "mlp_ratio"), "count"),
            **{**dict.fromkeys(("tie_embeddings", "bidirectional"), "flag"), "carries": "choice", "positions": "choice"},
        },
    ),
    **{
        f"ModelConfig.{name}": (getattr(T.ModelConfig, name), lambda w: {}, {"changes": "data"})
        for name in ("paper", "small", "small_bidirectional", "tiny")
    },
    "TRMConfig": (
        T.TRMConfig,
        lambda w: dict(d_model=32, d_mixer=8, d_mlp=64),
        {
            **dict.fromkeys(("d_model", "d_mixer", "d_mlp", "n_blocks", "h_cycles", "l_cycles"), "count"),
            **{"n_prefix": "count from 0", "embedding_scale": "number above 0", "mixer_norm": "choice"},
            **dict.fromkeys(("last_cycle_only", "copy_loss", "halting"), "flag"),
        },
    ),
    **{
        f"TRMConfig.{name}": (getattr(T.TRMConfig, name), lambda w: {}, {"changes": "data"})
        for name in ("published", "small", "tiny")
    },
    "NewFacts": (
        T.NewFacts,
        lambda w: {name: getattr(w.new, name) for name in inspect.signature(T.NewFacts).parameters},
        {"is_probe": "data", "exposure": "count from 0"},
    ),
    "NewFacts.questions": (T.NewFacts.questions, lambda w: {"self": w.new, "cell": "new+old"}, {"cell": "choice"}),
    "NewFacts.random": (
        T.NewFacts.random,
        lambda w: {"before": w.task},
        {"n": "bounded count", "exposure": "count from 0"},
    ),
    "PromptPairs": (
        T.PromptPairs,
        lambda w: {name: getattr(w.pairs, name) for name in ("clean", "corrupt", "answers", "foils", "roles")},
        {"contrast": "name to show", "roles": "roles"},
    ),
    "PromptPairs.check_against": (T.PromptPairs.check_against, lambda w: {"self": w.pairs, "model": w.model}, {}),
    "PromptPairs.from_text": (
        T.PromptPairs.from_text,
        lambda w: {"model": w.model, "clean": ["a"], "corrupt": ["b"], "answers": [" c"], "foils": [" d"]},
        {"template": "name or none", "pad": "choice or none"},
    ),
    "PromptPairs.keep_correct": (T.PromptPairs.keep_correct, lambda w: {"self": w.pairs}, {}),
    "PromptPairs.apart_from": (T.PromptPairs.apart_from, lambda w: {"self": w.pairs, "hashes": w.pairs.hashes}, {}),
    "PromptPairs.shared_with": (T.PromptPairs.shared_with, lambda w: {"self": w.pairs, "hashes": w.pairs.hashes}, {}),
    "PromptPairs.take": (T.PromptPairs.take, lambda w: {"self": w.pairs, "rows": [0]}, {"rows": "rows"}),
    "Queries": (
        T.Queries,
        lambda w: {name: getattr(w.queries, name) for name in ("tokens", "answers", "roles")},
        {"split": "name to show", "roles": "roles"},
    ),
    "Queries.check_against": (
        T.Queries.check_against,
        lambda w: {"self": w.queries, "model": w.model},
        {"intermediates": "names", "roles": "names"},
    ),
    "Queries.one_per_unit": (T.Queries.one_per_unit, lambda w: {"self": w.queries, "seed": 0}, {}),
    "Queries.take": (T.Queries.take, lambda w: {"self": w.queries, "rows": [0]}, {"rows": "rows"}),
    "Contrast": (
        T.Contrast,
        lambda w: {"changes": ("h",)},
        dict.fromkeys(("changes", "differs", "keeps"), "data"),
    ),
    "QuestionDonors": (
        T.QuestionDonors,
        lambda w: {
            "questions": w.queries,
            "is_trained": torch.zeros(len(w.queries), dtype=torch.bool),
            "roles": ("h", "r1"),
            "intermediate": "bridge",
            "rng": np.random.default_rng(0),
        },
        dict.fromkeys(("questions", "is_trained", "roles", "intermediate", "rng", "may_differ"), "data"),
    ),
    "QuestionDonors.of": (
        T.QuestionDonors.of,
        lambda w: {
            "self": T.QuestionTask(**OWN).donors(intermediate="carry", second_hop="ID", seed=0),
            "queries": w.queries,
            "row": 0,
        },
        {"queries": "data", "row": "data"},
    ),
    "QuestionTask": (
        T.QuestionTask,
        lambda w: dict(OWN),
        {
            **dict.fromkeys(("questions", "decided_by", "shortcuts", "token_names"), "data"),
            **dict.fromkeys(("id_test", "ood_test"), "name or none"),
            **{"n_tokens": "bounded count or none", "regime": "name"},
        },
    ),
    "QuestionTask.donors": (
        T.QuestionTask.donors,
        lambda w: {"self": T.QuestionTask(**OWN), "intermediate": "carry", "second_hop": "ID", "seed": 0},
        {"intermediate": "choice", "second_hop": "choice"},
    ),
    "QuestionTask.fact_status": (
        T.QuestionTask.fact_status,
        lambda w: {"self": T.QuestionTask(**OWN), "queries": SUMS},
        {"queries": "data"},
    ),
    "QuestionTask.fact_values": (
        T.QuestionTask.fact_values,
        lambda w: {"task": T.QuestionTask(**OWN), "fact": 0},
        {"fact": "bounded count from 0"},
    ),
    "QuestionTask.with_fact": (
        T.QuestionTask.with_fact,
        lambda w: {"task": T.QuestionTask(**OWN), "queries": T.QuestionTask(**OWN).split("sums"), "fact": 0, "value": 0},
        dict.fromkeys(("fact", "value"), "bounded count from 0"),
    ),
    "QuestionTask.from_arrays": (T.QuestionTask.from_arrays, lambda w: dict(arrays={}, settings={}), {}),
    "QuestionTask.n_values": (
        T.QuestionTask.n_values,
        lambda w: {"self": T.QuestionTask(**OWN), "intermediate": "carry"},
        {"intermediate": "choice"},
    ),
    "QuestionTask.reference": (T.QuestionTask.reference, lambda w: {"self": T.QuestionTask(**OWN), "seed": 0}, {}),
    "QuestionTask.split": (
        T.QuestionTask.split,
        lambda w: {"self": T.QuestionTask(**OWN), "name": "sums"},
        {"name": "choice"},
    ),
    "QuestionTask.token_name": (
        T.QuestionTask.token_name,
        lambda w: {"self": T.QuestionTask(**OWN), "token": 0},
        {"token": "token"},
    ),
    "Run.checkpoint": (T.Run.checkpoint, lambda w: {"self": w.run, "which": "final"}, {"which": "checkpoint"}),
    "Run.load": (T.Run.load, lambda w: {"folder": w.run.folder}, {"folder": "folder to read"}),
    "Study.describe": (
        T.Study.describe,
        lambda w: {"self": w.study, "rows": w.study.summary[["run"]], "columns": ["arm"]},
        {"rows": "data", "columns": "names"},
    ),
    "Study.tables": (T.Study.tables, lambda w: {"self": w.study, "name": "lens"}, {"name": "table's name"}),
    "Supervision": (
        T.Supervision,
        lambda w: {},
        {
            f"{hop}_{what}": kind
            for hop in ("hop1", "hop2")
            for what, kind in (("share", "share"), ("compositions", "count from 0"))
        }
        | {"identity_share": "share"},
    ),
    "TrainConfig": (
        T.TrainConfig,
        lambda w: dict(max_steps=10),
        {
            **dict.fromkeys(("max_steps", "batch_size", "examples_per_prefix", "evaluate_every"), "bounded count"),
            **dict.fromkeys(("warmup_steps", "n_checkpoints"), "bounded count from 0"),
            "stop_at": "choice or none",
            "betas": "decays",
            "learning_rate": "number above 0",
            "clip_norm": "norm",
            "weight_decay": "number from 0",
            "label_smoothing": "share",
            "ema": "share below 1",
            "bfloat16": "flag",
        },
    ),
    "TrainConfig.paper": (T.TrainConfig.paper, lambda w: {}, {"changes": "data"}),
    "TrainConfig.small": (T.TrainConfig.small, lambda w: {}, {"changes": "data"}),
    "TrainConfig.small_bidirectional": (T.TrainConfig.small_bidirectional, lambda w: {}, {"changes": "data"}),
    "TrainConfig.small_trm": (T.TrainConfig.small_trm, lambda w: {}, {"changes": "data"}),
    "TrainConfig.tiny": (T.TrainConfig.tiny, lambda w: {}, {"changes": "data"}),
    "TwoHopTask": (
        T.TwoHopTask,
        lambda w: {name: getattr(w.task, name) for name in inspect.signature(T.TwoHopTask).parameters},
        dict.fromkeys(("is_ood", "trained", "added", "tests", "is_atomic", "is_identity"), "data"),
    ),
    "TwoHopTask.donors": (
        T.TwoHopTask.donors,
        lambda w: {"self": w.task, "second_hop": "ID", "seed": 0},
        dict.fromkeys(("second_hop", "intermediate"), "choice"),
    ),
    "TwoHopTask.fact_status": (T.TwoHopTask.fact_status, lambda w: {"self": w.task, "queries": w.queries}, {}),
    "TwoHopTask.fact_values": (
        T.TwoHopTask.fact_values,
        lambda w: {"task": w.task, "fact": 0},
        {"fact": "bounded count from 0"},
    ),
    "TwoHopTask.from_arrays": (T.TwoHopTask.from_arrays, lambda w: dict(arrays={}, settings={}), {}),
    "TwoHopTask.from_files": (T.TwoHopTask.from_files, lambda w: {"folder": "."}, {"folder": "folder to read"}),
    "TwoHopTask.n_values": (
        T.TwoHopTask.n_values,
        lambda w: {"self": w.task, "intermediate": "bridge"},
        {"intermediate": "choice"},
    ),
    "TwoHopTask.paper": (T.TwoHopTask.paper, lambda w: {}, {}),
    "TwoHopTask.random": (
        T.TwoHopTask.random,
        lambda w: dict(SIZES),
        {
            **dict.fromkeys(SIZES, "bounded count"),
            "ood_fraction": "share",
            "test_fraction": "share",
            "phi": "number from 0 or none",
        },
    ),
    "TwoHopTask.reference": (T.TwoHopTask.reference, lambda w: {"self": w.task, "seed": 0}, {}),
    "TwoHopTask.split": (T.TwoHopTask.split, lambda w: {"self": w.task, "name": "id_atomic"}, {"name": "choice"}),
    "TwoHopTask.with_fact": (
        T.TwoHopTask.with_fact,
        lambda w: {"task": w.task, "queries": w.queries, "fact": 0, "value": 1},
        {"fact": "bounded count from 0", "value": "bounded count from 0"},
    ),
    "TwoHopTask.to_files": (
        T.TwoHopTask.to_files,
        lambda w: {"self": w.task, "folder": w.tmp / "folder"},
        {"folder": "folder to write"},
    ),
    "TwoHopTask.token_name": (T.TwoHopTask.token_name, lambda w: {"self": w.task, "token": 0}, {"token": "token"}),
    "TwoHopTask.with_layout": (T.TwoHopTask.with_layout, lambda w: {"self": w.task, "layout": "slots"}, {}),
    "TwoHopTask.with_supervision": (
        T.TwoHopTask.with_supervision,
        lambda w: {"self": w.task, "supervision": T.NATURAL},
        {},
    ),
    "build_model": (T.build_model, lambda w: {"config": T.ModelConfig.tiny(), "task": w.task}, {"config": "data"}),
    "tasks.exact_match": (T.exact_match, lambda w: {"forward": w.model, "queries": w.queries}, {}),
    "grid": (
        T.grid,
        lambda w: dict(tasks={"a": w.task}, configs={"b": (T.ModelConfig.tiny(), T.TrainConfig.tiny())}, seeds=[0]),
        {"seeds": "seeds"},
    ),
    "is_right": (
        T.is_right,
        lambda w: dict(forward=w.model, tokens=w.pairs.clean, answers=w.pairs.answers, answer_position=2),
        {},
    ),
    "load_study": (T.load_study, lambda w: {"name": "pilot"}, {"name": "study"}),
    "make_pairs": (T.make_pairs, lambda w: {"task": w.task, **PAIRS}, {"contrast": "choice", "n": "bounded count"}),
    "migrate": (T.migrate, lambda w: {"folder": w.run.folder}, {"folder": "folder to read"}),
    "perturb": (T.perturb, lambda w: dict(task=w.task, queries=w.queries, role="h", seed=0), {"role": "choice"}),
    "predictions": (T.predictions, lambda w: dict(forward=w.model, tokens=w.pairs.clean, answer_position=2), {}),
    "published_new_facts": (
        T.published_new_facts,
        lambda w: {"before": w.task, "n": 4},
        {"n": "bounded count", "n_old": "bounded count or none", "reading": "choice"},
    ),
    "shortcut_accuracy": (T.shortcut_accuracy, lambda w: {"task": w.task, "queries": w.queries}, {}),
    "unsolved_by_shortcuts": (T.unsolved_by_shortcuts, lambda w: {"task": w.task, "queries": w.queries}, {}),
    "sweep": (
        T.sweep,
        lambda w: {"jobs": [w.job], "out": w.tmp / "folder", "progress": False},
        {"threads": "count", "n_jobs": "jobs at a time"},
    ),
    "top_token": (T.top_token, lambda w: {"logits": w.logits}, {}),
    "train": (
        T.train,
        lambda w: dict(
            task=w.task,
            model_config=T.ModelConfig.tiny(),
            train_config=T.TrainConfig.tiny(),
            out=w.tmp / "folder",
            progress=False,
        ),
        {"model_config": "data", "train_config": "data", "resume": "flag"},
    ),
    "train_together": (
        T.train_together,
        lambda w: {"jobs": [w.job], "out": w.tmp / "folder", "device": "cpu", "progress": False},
        {"n_jobs": "jobs at a time"},
    ),
    "two_hop": (T.two_hop, lambda w: {"task": w.task}, {}),
    # analyses
    "AttentionResult.figure": (
        A.AttentionResult.figure,
        lambda w: {"self": w.attention},
        {"reading": "choice"},
    ),
    "AttentionView.save": (A.AttentionView.save, lambda w: {"self": w.view, "path": w.tmp / "a.html"}, {}),
    "BridgeDirectionResult.figure": (
        A.BridgeDirectionResult.figure,
        lambda w: {"self": w.direction},
        {"value": "choice"},
    ),
    "EvidenceResult.at": (
        A.EvidenceResult.at,
        lambda w: {"self": w.evidence, "layer": -1, "role": "h"},
        {"layer": "position", "role": "choice"},
    ),
    "EvidenceResult.figure": (
        A.EvidenceResult.figure,
        lambda w: {"self": w.evidence},
        {"role": "choice or none"},
    ),
    "PathDistances.missing": (A.PathDistances.missing, lambda w: {"self": PATHS, "measure": "where"}, {"measure": "choice"}),
    "PathDistances.of": (
        A.PathDistances.of,
        lambda w: {"self": PATHS, "measure": "where"},
        {"measure": "choice", "kind": "choice"},
    ),
    "Metric": (
        A.Metric,
        lambda w: {"measure": A.cross_entropy, "name": "a"},
        {
            "measure": "callable",
            "name": "name to show",
            "unit": "name to show",
            "higher_is_better": "flag or none",
            "reference": "reference",
            "reads": "reads",
        },
    ),
    "ProbeResult.figure": (A.ProbeResult.figure, lambda w: {"self": w.probe}, {"value": "choice"}),
    "QueryView.save": (A.QueryView.save, lambda w: {"self": w.query_view, "path": w.tmp / "a.html"}, {}),
    "ablate_bridge": (A.ablate_bridge, questioned, {"queries": "queries or none"}),
    "audit": (
        A.audit,
        lambda w: {**asked(w), "circuit": w.circuit, "task": w.task, "queries": w.queries},
        {
            "circuit": "circuit",
            "task": "task",
            "queries": "queries or none",
            **dict.fromkeys(("controls", "other_tasks", "other_splits"), "prompts or none"),
            "replicates": "circuits",
            "predicted": "edges or none",
            "n_random": "bounded count",
        },
    ),
    "accuracy_by_exposure": (A.accuracy_by_exposure, questioned, {}),
    "accuracy_by_loops": (
        A.accuracy_by_loops,
        lambda w: {"checkpoint": w.checkpoint, "loops": [1]},
        {"loops": "counts", "splits": "names"},
    ),
    "accuracy_curves": (A.accuracy_curves, lambda w: dict(metrics={}, n={}, phases={}), {"n": "data"}),
    "accuracy_without_circuit": (A.accuracy_without_circuit, lambda w: {"graphs": {0: {}}}, {}),
    "activation_patch": (A.activation_patch, asked, {}),
    "attribute_attention": (A.attribute_attention, asked, {}),
    "back_patch": (A.back_patch, lambda w: {"model": w.model, "queries": w.queries}, {}),
    "bridge_copies": (A.bridge_copies, questioned, {"layer": "position", "places": "places"}),
    "bridge_evidence": (
        A.bridge_evidence,
        lambda w: {"model": w.model, "task": w.task, "split": "test_inferred_iid"},
        {"n": "count from 0", "split": "given name", "second_hop": "choice"},
    ),
    "bridge_geometry": (A.bridge_geometry, lambda w: {"model": w.model, "task": w.task}, {}),
    "bridge_standing": (A.bridge_standing, lambda w: {"evidence": w.evidence}, {"evidence": "data"}),
    "compare_readings": (A.compare_readings, questioned, {}),
    "cycle_distances": (
        A.cycle_distances,
        lambda w: {"model": w.model, "queries": w.queries},
        {"queries": "queries or pairs"},
    ),
    "causal_trace": (
        A.causal_trace,
        lambda w: {"model": w.model, "queries": w.queries, "perturbed": {"h": w.queries.tokens}},
        {"window": "bounded count"},
    ),
    "compare_regimes": (A.compare_regimes, lambda w: {"study": w.study}, {"used_split": "name"}),
    "cost_of_waiting": (A.cost_of_waiting, lambda w: {"study": w.study}, {"levels": "shares"}),
    "composition_scores": (
        A.composition_scores,
        lambda w: {"model": w.model, "circuit": w.circuit},
        {"circuit": "circuit", "n_random": "bounded count"},
    ),
    "content_distance": (A.content_distance, lambda w: {"one": w.transfer, "other": w.transfer}, {}),
    "direction_transfer": (
        A.direction_transfer,
        lambda w: {"model": w.model, "donor": w.model, "task": w.task, "split": "test_inferred_iid"},
        {"roles": "names"},
    ),
    "discover": (
        A.discover,
        asked,
        {
            "top_k": "bounded count or none",
            "threshold": "number from 0 or none",
            "greedy": "number above 0 or none",
            "method": "choice",
            "screen": "choice",
            "verify": "bounded count",
            "positions": "choice",
            "keep_in": "folder to write or none",
        },
    ),
    "edge_attribution": (
        A.edge_attribution,
        asked,
        {"method": "choice", "error_against_exact": "flag", "n_compared": "count"},
    ),
    "edit_facts": (
        A.edit_facts,
        lambda w: {"model": w.model, "task": w.task, "methods": ["exchange"]},
        {
            "methods": "names",
            "n_edits": "count",
            "sure": "share below 1",
            "learning_rate": "number above 0",
            "max_steps": "count",
        },
    ),
    "equivalence": (
        A.equivalence,
        lambda w: dict(distances=dict.fromkeys(range(3), DISTANCES), conditions=("one", "two"), margin=0.1),
        {
            "conditions": "conditions",
            "margin": "margin",
            "max_ratio": "ratio",
            "resolution": "number above 0",
            "alpha": "alpha",
        },
    ),
    "evidence_profile": (
        A.evidence_profile,
        lambda w: {"evidence": w.evidence},
        {"evidence": "data", "measures": "names"},
    ),
    "faithfulness": (
        A.faithfulness,
        lambda w: {**asked(w), "circuit": w.circuit},
        {"background": "choice"},
    ),
    "found_by_correct": (
        A.found_by_correct,
        lambda w: dict(found=w.met, correct=w.met, facts=w.units),
        {},
    ),
    "frechet_bounds": (
        A.frechet_bounds,
        lambda w: dict(found=0.5, correct=0.5),
        {"found": "share", "correct": "share"},
    ),
    "graded_response": (
        A.graded_response,
        questioned,
        {"queries": "queries or none", "cell": "cell or none", "doses": "doses", "control": "role or none"},
    ),
    "graph_of": (
        A.graph_of,
        lambda w: dict(model=w.model, roles=w.pairs.roles, answer_position=2),
        {"roles": "roles"},
    ),
    "graphs_needed": (
        A.graphs_needed,
        lambda w: dict(distance=0.01, margin=0.1, spread=0.1, ratio_spread=0.1),
        {
            **{"distance": "number above 0", "ratio": "number above 0", "margin": "margin", "max_ratio": "ratio"},
            **{"spread": "spread", "ratio_spread": "spread", "power": "power"},
        },
    ),
    "interchange": (A.interchange, questioned, {"queries": "queries or none", "second_hop": "choice", "answered": "choice"}),
    "invariance": (
        A.invariance,
        lambda w: {**asked(w), "circuit": w.circuit},
        {"circuit": "circuit", "n_rewrites": "bounded count"},
    ),
    "judge_on": (
        A.judge_on,
        lambda w: {"model": w.model, "circuit": w.circuit, "prompts": {"others": w.pairs}},
        {"circuit": "circuit", "prompts": "prompts", "background": "choice"},
    ),
    "lens_heatmaps": (
        A.lens_heatmaps,
        lambda w: dict(tables={"a": w.lens}, targets=["bridge"], value="top1", title="a"),
        {"targets": "names", "value": "choice", "title": "name to show"},
    ),
    "logit_lens": (A.logit_lens, lambda w: {"model": w.model, "queries": w.queries}, {"queries": "queries or pairs"}),
    "necessity": (
        A.necessity,
        lambda w: {**asked(w), "circuit": w.circuit},
        {"circuit": "circuit", "ablations": "ablations"},
    ),
    "path_distances": (
        A.path_distances,
        lambda w: {
            "models": {"a": w.model, "b": w.model},
            "task": w.task,
            "split": "test_inferred_iid",
            "evidence": {"a": w.evidence, "b": w.evidence},
            "compared": [("a", "b")],
        },
        {"evidence": "data"},
    ),
    "path_patch": (A.path_patch, asked, {"positions": "choice", "keep_in": "folder to write or none"}),
    "probe_bridge": (A.probe_bridge, lambda w: {"model": w.model, "task": w.task}, {"targets": "names"}),
    "profile_distance": (
        A.profile_distance,
        lambda w: {"a": w.profile, "b": w.profile},
        {"a": "data", "b": "data"},
    ),
    "query_details": (
        A.query_details,
        asked,
        {"token_names": "token names or none", "n_patterns": "count from 0", "patterns_of": "numbers of queries or none"},
    ),
    "realign": (A.realign, questioned, {}),
    "rival_circuits": (
        A.rival_circuits,
        lambda w: {**asked(w), "circuit": w.circuit},
        {"circuit": "circuit", "n": "bounded count from 0", "background": "choice"},
    ),
    "run_with_edge_sets": (A.run_with_edge_sets, lambda w: {**asked(w), "edge_sets": [[]]}, {}),
    "run_with_edges": (A.run_with_edges, lambda w: {**asked(w), "edges": []}, {}),
    "same_inference_path": (A.same_inference_path, lambda w: {"graphs": {0: {}}}, {}),
    "same_path_by_age": (A.same_path_by_age, lambda w: {"graphs": {0: {}}}, {}),
    "split_half": (
        A.split_half,
        lambda w: {"circuit": w.circuit},
        {"circuit": "circuit", "n_splits": "bounded count"},
    ),
    "state_profile": (A.state_profile, asked, {}),
    "steer_bridge": (A.steer_bridge, questioned, {"queries": "queries or none", "scales": "numbers"}),
    "study_arms": (A.study_arms, lambda w: {"study": w.study, "arms": {}}, {}),
    "summarise_run": (A.summarise_run, lambda w: {"run": w.run}, {}),
    "trace_inputs": (
        A.trace_inputs,
        lambda w: {"model": w.model, "queries": w.queries, "perturbed": {"h": w.queries.tokens}},
        {},
    ),
    "trajectory": (
        A.trajectory,
        lambda w: {"run": w.run, "pairs": w.pairs},
        {"threshold": "number from 0", "steps": "steps"},
    ),
    "transfer_evidence": (A.transfer_evidence, lambda w: {"study": w.study}, {}),
    "transfer_of_new_facts": (A.transfer_of_new_facts, lambda w: {"study": w.study}, {}),
    "transplant": (A.transplant, lambda w: {**asked(w), "donor": w.model, "circuit": w.circuit}, {}),
    "view_attention": (
        A.view_attention,
        lambda w: dict(patterns=w.patterns, tokens=["a"], causal=True, title="a"),
        {"title": "name to show"},
    ),
    "view_query": (
        A.view_query,
        lambda w: dict(model=w.model, task=w.task, pairs=w.pairs, number=0),
        {"number": "position"},
    ),
    **{
        f"metric {name}": (getattr(A, name), lambda w: dict(logits=0, answers=0, foils=0), {})
        for name in (
            *("answer_probability", "cross_entropy", "exact_match", "kl_to_clean", "logit_difference"),
            "probability_difference",
        )
    },
    # circuits
    "Circuit.from_effects": (
        C.Circuit.from_effects,
        lambda w: {"effects": w.effects},
        {"top_k": "bounded count or none", "threshold": "number from 0 or none"},
    ),
    "CircuitComparison.changed": (
        C.CircuitComparison.changed,
        lambda w: {"self": w.comparison, "a": "one", "b": "two"},
        {"a": "choice", "b": "choice"},
    ),
    "ComputationGraph": (
        C.ComputationGraph,
        lambda w: {name: getattr(w.graph, name) for name in ("roles", "answer_role", "steps")},
        {"roles": "roles", "answer_role": "choice", "steps": "data"},
    ),
    "ComputationGraph.first_use": (
        C.ComputationGraph.first_use,
        lambda w: {"self": w.graph, "node": w.head},
        {"node": "node"},
    ),
    "ComputationGraph.loop_of": (C.ComputationGraph.loop_of, lambda w: {"self": w.graph, "node": w.head}, {"node": "node"}),
    "ComputationGraph.number_of": (
        C.ComputationGraph.number_of,
        lambda w: {"self": w.graph, "node": w.head},
        {"node": "node"},
    ),
    "ComputationGraph.outputs_of": (
        C.ComputationGraph.outputs_of,
        lambda w: {"self": w.graph, "receiver": w.head},
        {"receiver": "node"},
    ),
    "ComputationGraph.component_of": (
        C.ComputationGraph.component_of,
        lambda w: {"self": w.graph, "receiver": w.head},
        {"receiver": "node"},
    ),
    "ComputationGraph.senders_into": (
        C.ComputationGraph.senders_into,
        lambda w: {"self": w.graph, "receiver": w.head},
        {"receiver": "node"},
    ),
    "ComputationGraph.from_dict": (C.ComputationGraph.from_dict, lambda w: {"settings": w.graph.to_dict()}, {}),
    "ComputationGraph.transformer": (
        C.ComputationGraph.transformer,
        lambda w: dict(GRAPH),
        {
            **dict.fromkeys(("n_layers", "n_heads", "n_blocks"), "bounded count"),
            **dict.fromkeys(("has_mlp", "parallel", "sinks"), "flag"),
            "n_key_value_heads": "bounded count or none",
            "answer_role": "choice",
            "roles": "roles",
        },
    ),
    "ComputationGraph.visible_from": (
        C.ComputationGraph.visible_from,
        lambda w: {"self": w.graph, "role": "h"},
        {"role": "choice"},
    ),
    "Circuit.with_view": (C.Circuit.with_view, lambda w: {"self": w.circuit, "state": {}}, {"state": "state"}),
    "Diagram.update": (C.Diagram.update, lambda w: {"self": w.diagram}, {"state": "state"}),
    "Diagram.save": (C.Diagram.save, lambda w: {"self": w.diagram, "path": w.tmp / "a.html"}, {}),
    "Edge.parse": (C.Edge.parse, lambda w: {"name": "MLP0@h -> logits@r2"}, {"name": "node's name"}),
    "Node.parse": (C.Node.parse, lambda w: {"name": "MLP0@h"}, {"name": "node's name"}),
    "Result.from_json": (C.Result.from_json, lambda w: {"text": "{}"}, {}),
    "Result.load": (C.Result.load, lambda w: {"path": w.tmp / "file"}, {"path": "file to read"}),
    "Result.save": (C.Result.save, lambda w: {"self": w.circuit, "path": w.tmp / "a.json"}, {}),
    "Step": (
        C.Step,
        lambda w: {"kind": "embed"},
        dict.fromkeys((each.name for each in fields(C.Step)), "data"),  # refused by the graph of them
    ),
    "compare": (
        C.compare,
        lambda w: {"circuits": {"one": w.circuit, "two": w.circuit}},
        {"top_k": "counts", "across_seeds": "flag", "margin": "number above 0 or none"},
    ),
    "compare_counterparts": (
        C.compare_counterparts,
        lambda w: {"circuits": {"one": w.circuit, "two": w.circuit}, "roles": {"h": "h"}},
        {"top_k": "counts", "roles": "mapping of roles"},
    ),
    "counterparts": (
        C.counterparts,
        lambda w: {"circuits": {"one": w.circuit, "two": w.circuit}, "roles": {"h": "h"}},
        {"roles": "mapping of roles"},
    ),
    "connected": (C.connected, lambda w: {"graph": w.graph, "edges": []}, {}),
    "draw": (
        C.draw,
        lambda w: {"circuits": w.circuit},
        {"despite": "fields", "queries": "asked or none", "state": "state or none"},
    ),
    "from_circuit_tracer": (C.from_circuit_tracer, lambda w: {"path": w.tmp / "file"}, {"path": "file to read"}),
    "from_eap_ig": (
        C.from_eap_ig,
        lambda w: {"path": w.file, "roles": ("a", "b"), "answer_role": "b"},
        {
            "path": "file to read",
            "roles": "roles",
            "answer_role": "choice",
            "n_blocks": "bounded count or none",
            "has_mlp": "flag or none",
        },
    ),
    "merge_loops": (C.merge_loops, lambda w: {"circuit": w.circuit}, {}),
    "to_eap_ig": (
        C.to_eap_ig,
        lambda w: {"circuit": w.circuit, "path": w.tmp / "a.json", "d_model": 8},
        {"d_model": "count"},
    ),
    "to_neuronpedia": (
        C.to_neuronpedia,
        lambda w: {"graph": w.circuit, "path": w.tmp / "a.json"},
        {"kept_only": "flag", "prompt_tokens": "words of the prompt", "scan": "scan"},
    ),
}

KINDS |= {
    "circuit": (3, None, "nonsense", C.Circuit, ASKED),
    "circuits": (3, None, "nonsense", (3,), ("a",), (None,)),
    "prompts": (3, None, "nonsense", {}, {"a": 3}, {"a": ASKED}, {"a": None}, {3: PAIRED}, PAIRED),
    "prompts or none": (3, "nonsense", {"a": 3}, {"a": ASKED}, {"a": None}, {3: PAIRED}, PAIRED),
    "edges or none": (3, "L0H0@h -> logits@r2", (), ("nonsense",), (3,), (None,)),
    "ablations": (3, None, "mean", (), ("nonsense",), ("mean", "mean"), (3,), (None,)),
    "task": (3, "two hops", T.TwoHopTask, ASKED),
    "cell or none": (3, "h", (), (0,), ("0", "h"), (True, "h"), (0.5, "h"), (0, 3), (0, "nonsense"), (99, "h"), (-2, "h")),
    "doses": (3, None, "12", (), (1,), (0, 2), (1, 0), (0, 1, 1), (-1, 1), (0, 1, math.inf), (0, 1, math.nan), (0, "1")),
    "role or none": (3, "", "nonsense", ["h"]),
    "mapping of roles": (3, None, "h", ("h",), {}),
    "name to show": (3, None, ["a"]),
    "words of the prompt": (3, "h", ("a",), ("a", "b", 3), (), [None, "a", "b"]),
    "scan": ("", "a b", "a/b", "ä", 3, ["h"]),
    "queries": ("test_inferred_iid", PAIRED, None, 3, T.Queries),
    "queries or none": ("test_inferred_iid", PAIRED, 3, T.Queries),
    "queries or pairs": ("test_inferred_iid", None, 3, T.Queries),
    "pairs": ("test_inferred_iid", ASKED, None, 3, T.PromptPairs),
    "graphs": ("study", 3, None, SimpleNamespace(), {0: 3}, {0: {"early": 3}}),
    "pairs or none": ("test_inferred_iid", ASKED, 3, T.PromptPairs),
    "roles": (None, 3, "h", ("h", "", "r2"), ("h", "h", "r2"), ("h", None, "r2"), ("h", "a b", "r2")),
    "rows": ([99], [-99], [0.5], ["a"], "a", None),
    "numbers of queries or none": ([99], [-1], [0.5], [True], ["a"], "a", 3, np.zeros((1, 1), dtype=int), torch.tensor(0)),
    "token names or none": (3, "e0", ["a"], T.TwoHopTask),
    "checkpoint": ("nonsense", "", 7, -1, True, 1.5, None, [1]),
    "table's name": ("", "nonsense", "../lens", "a/b", 3, None),
    "study": ("", "nonsense", "{tmp}/folder", "{tmp}/file", 3, None),
    "token": (-1, 99, 1.5, True, "3", None),
    "jobs at a time": (0, None, *NO_WHOLE),
    "places": ((), ((),), (("nonsense",),), ("r1",), 3, None),
    "given name": ("", "nonsense", 3),
    "callable": (3, None, "cross_entropy"),
    "reference": ("nonsense", 3, None),
    "reads": ("nonsense", 3, None),
    "node": ("nonsense", "L9H9@h", 3, None),
    "node's name": ("", "nonsense", "L0H0@", 3, None),
    "fields": ("nonsense", ["nonsense"], 3, None),
    "conditions": (("one",), ("one", "one"), ("one", "nonsense"), "one", 3, None),
}


class Word(str):
    """A str that is not exactly one, as names from other libraries are."""


WHOLE = ((np.int64(4), 4), (np.uint8(4), 4), (np.int16(4), 4))
UNIT = ((np.float32(0.5), 0.5), (np.float64(0.1), 0.1), (np.float16(0.25), 0.25), (Fraction(1, 2), 0.5), (np.int64(0), 0))
UNUSUAL: dict[str, tuple[tuple[Any, Any], ...]] = {
    "seed": (*WHOLE, (np.uint64(2**63 - 1), 2**63 - 1)),
    "count": WHOLE,
    "bounded count": WHOLE,
    "bounded count from 0": (*WHOLE, (np.int64(0), 0)),
    "count from 0": (*WHOLE, (np.int64(0), 0)),
    "number above 0": (*UNIT[:-1], (np.float32(2), 2.0)),
    "norm": (*UNIT[:-1], (np.float32(math.inf), math.inf)),
    "number from 0": UNIT,
    "alpha": UNIT[1:3],
    "margin": (*UNIT[:-1], (np.float32(2), 2.0)),
    "ratio": ((np.float32(2), 2.0), (np.int64(1), 1), (Fraction(3, 2), 1.5)),
    "spread": UNIT,
    "power": UNIT[:-1],
    "share": (*UNIT, (np.int64(1), 1)),
    "share below 1": UNIT,
    "flag": ((np.bool_(True), True), (np.bool_(False), False)),
    "choice": ((Word("positions"), "positions"),),
    "choice or none": ((Word("id_generalised"), "id_generalised"), (None, None)),
    "decays": (
        ([0.9, 0.98], (0.9, 0.98)),
        ((np.float32(0.5), np.float64(0.98)), (0.5, 0.98)),
        ([0, Fraction(1, 2)], (0, 0.5)),
    ),
}
"""By kind, values that such a setting may be given, and what each of them means."""


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """By name each public function, constructor, and public method that takes something."""
    for module in (tasks, analyses, circuits):
        for name in module.__all__:
            given = getattr(module, name)
            if inspect.isclass(given):
                yield from _of_class(given)
            elif inspect.isroutine(given):
                yield name, given


def _of_class(given: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    if issubclass(given, Exception) or getattr(given, "_is_protocol", False):
        return
    if not issubclass(given, Result) and given.__name__ not in RECORDS:
        yield given.__name__, given
    for name, method in inspect.getmembers(given, inspect.isroutine):
        takes = [] if name.startswith("_") or not callable(method) else [p for p in _parameters(method) if p != "self"]
        if takes and getattr(method, "__module__", "").startswith("grokscope"):
            yield method.__qualname__, method


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


def same(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether two are one function, as methods bound to different classes are."""
    return getattr(one, "__func__", one) is getattr(other, "__func__", other)


def kinds_of(name: str) -> dict[str, str]:
    """By parameter the kind of a callable's settings, and `data`; parameters without a row are left out."""
    function, _, special = ROWS[name]
    found = {}
    for parameter in _parameters(function):
        kind = special.get(parameter) or ("data" if parameter in DATA or parameter == "self" else SETTINGS.get(parameter))
        found |= {parameter: kind} if kind else {}
    return found


def settings_of(name: str) -> dict[str, str]:
    """The settings alone."""
    return {parameter: kind for parameter, kind in kinds_of(name).items() if kind != "data"}
