"""Patching that is stopped by a signal keeps what it measured, goes on, and ends with the same bits."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import strong_model, wide_pairs

from grokscope.analyses import activation_patch, discover, path_patch
from grokscope.analyses.patching import discovery
from grokscope.analyses.patching.kept import EFFECTS, QUESTION, Changes, hash_of_model
from grokscope.circuits.documents import FileError
from grokscope.circuits.lock import FolderInUseError, only_writer

QUIET: dict[str, Any] = {"progress": False}
BUDGET = 2**21  # bytes: several batches, and several parts of each


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str, int, int], list[int]]:
    """Let a call of a function be followed by a signal: every so many calls, from the first on."""

    def stop(owner: Any, name: str, every: int, number: int) -> list[int]:
        whole, calls = getattr(owner, name), []

        def stopped(*args: Any) -> Any:
            found = whole(*args)
            calls.append(1)
            if len(calls) % every == 0:
                os.kill(os.getpid(), number)
            return found

        monkeypatch.setattr(owner, name, stopped)
        return calls

    return stop


def until_done(call: Callable[[], Any]) -> tuple[Any, list[KeyboardInterrupt]]:
    """What a call gives, called again as often as it is stopped."""
    stops: list[KeyboardInterrupt] = []
    while True:
        try:
            return call(), stops
        except KeyboardInterrupt as error:
            stops.append(error)


@pytest.mark.parametrize("max_memory", [None, BUDGET])
def test_stopped_patching_goes_on_and_gives_the_same_bits(
    tmp_path: Path, stopping: Callable[..., list[int]], max_memory: int | None
) -> None:
    model, pairs = strong_model(3), wide_pairs(3, n=40)
    options = {"per_query": True, "max_memory": max_memory, **QUIET}
    whole = path_patch(model, pairs, **options)
    calls = stopping(Changes, "note", 3 if max_memory is None else 9, signal.SIGTERM)
    found, stops = until_done(lambda: path_patch(model, pairs, keep_in=tmp_path / "kept", **options))
    assert found.to_json() == whole.to_json() and found.deltas.tobytes() == whole.deltas.tobytes()
    assert len(stops) >= (1 if max_memory is None else 2) and stops[0].exit_code == 143
    assert f"of 94 effects on 40 pairs measured, kept in {tmp_path / 'kept'}; the same call goes on" in str(stops[0])
    n_calls = len(calls)
    again = path_patch(model, pairs, keep_in=tmp_path / "kept", **options)
    assert len(calls) == n_calls and again.to_json() == whole.to_json(), "nothing is measured twice"


def test_what_a_stop_costs_is_not_measured_twice(tmp_path: Path, stopping: Callable[..., list[int]]) -> None:
    model, pairs = strong_model(3), wide_pairs(3, n=40)
    whole = stopping(Changes, "note", 10**9, signal.SIGINT)
    path_patch(model, pairs, **QUIET)
    n_parts = len(whole)
    parts = stopping(Changes, "note", 3, signal.SIGINT)
    until_done(lambda: path_patch(model, pairs, keep_in=tmp_path, **QUIET))
    assert len(parts) == n_parts


def test_stopped_pruning_goes_on_and_keeps_the_same_edges(tmp_path: Path, stopping: Callable[..., list[int]]) -> None:
    model, pairs = strong_model(3), wide_pairs(3, n=40)
    whole = discover(model, pairs, greedy=0.02, **QUIET)
    stopping(discovery, "_try", 3, signal.SIGINT)
    found, stops = until_done(lambda: discover(model, pairs, greedy=0.02, keep_in=tmp_path, **QUIET))
    assert found.to_json() == whole.to_json() and len(stops) >= 2 and stops[0].exit_code == 130
    assert f"of 94 edges tried, kept in {tmp_path}; the same call goes on" in str(stops[0])
    others = [discover(model, pairs, threshold=0.1, keep_in=folder, **QUIET) for folder in (tmp_path, None)]
    assert others[0].to_json() == others[1].to_json(), "another rule uses the same effects"


def test_without_a_folder_it_says_that_nothing_is_kept(stopping: Callable[..., list[int]]) -> None:
    stopping(Changes, "note", 1, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"nothing is kept, since no folder was named by keep_in="):
        activation_patch(strong_model(3), wide_pairs(3), **QUIET)


@pytest.mark.parametrize(
    ("names", "other"),
    [
        ("model", lambda model, pairs: (strong_model(4), pairs, {})),
        ("pairs", lambda model, pairs: (model, wide_pairs(5), {})),
        ("direction", lambda model, pairs: (model, pairs, {"direction": "denoising"})),
        ("edges", lambda model, pairs: (model, pairs, {"positions": "together"})),
        ("metric", lambda model, pairs: (model, pairs, {"metric": lambda logits, answers, foils: logits[:, 0]})),
        ("max_memory", lambda model, pairs: (model, pairs, {"max_memory": 2**30})),
    ],
)
def test_a_folder_of_another_question_is_refused_by_name(tmp_path: Path, names: str, other: Callable[..., Any]) -> None:
    model, pairs = strong_model(3), wide_pairs(3)
    path_patch(model, pairs, keep_in=tmp_path, **QUIET)
    model, pairs, options = other(model, pairs)
    with pytest.raises(ValueError, match=rf"keeps effects of something else \({names}: .*choose another folder"):
        path_patch(model, pairs, keep_in=tmp_path, **options, **QUIET)


def test_damaged_files_and_folders_in_use_are_named(tmp_path: Path) -> None:
    model, pairs = strong_model(3), wide_pairs(3)

    def patch() -> object:
        return path_patch(model, pairs, keep_in=tmp_path, **QUIET)

    patch()
    with only_writer(tmp_path), pytest.raises(FolderInUseError):
        patch()
    sound = (tmp_path / EFFECTS).read_bytes()
    for damaged in (b"", sound[:-8], sound[:-1] + bytes([sound[-1] ^ 1])):
        (tmp_path / EFFECTS).write_bytes(damaged)
        with pytest.raises(FileError, match=EFFECTS):
            patch()
    (tmp_path / EFFECTS).write_bytes(sound)
    (tmp_path / QUESTION).write_text("{}")
    with pytest.raises(FileError, match=QUESTION):
        patch()


def test_estimates_and_longer_paths_are_not_kept(tmp_path: Path) -> None:
    model, pairs = strong_model(3), wide_pairs(3)
    with pytest.raises(ValueError, match="leave it out for estimates"):
        discover(model, pairs, method="attribution", keep_in=tmp_path / "kept")
    with pytest.raises(ValueError, match="without through"):
        path_patch(model, pairs, edges=["embed@p0 -> logits@p2"], through=["MLP0@p2"], keep_in=tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_the_hash_of_a_model_changes_with_a_weight_and_a_setting() -> None:
    model = strong_model(3)
    before = hash_of_model(model)
    assert hash_of_model(strong_model(3)) == before
    model.cfg.act_fn = "silu"
    changed = hash_of_model(model)
    next(model.parameters()).data.view(-1)[0] += 1e-6
    assert len({before, changed, hash_of_model(model)}) == 3
