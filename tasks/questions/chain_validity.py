"""What makes chains of facts the longer questions of a task, and how they are read from saved arrays."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...circuits.arguments import is_whole, shortly
from .chain_splits import code_of, patterns, status_codes, test_split, trained_split
from .chains import Chains
from .saved_task import wide
from .task import Settings

if TYPE_CHECKING:
    from .twohop import TwoHopTask

MOST_HOPS = 12  # of a saved task; patterns of facts double with each hop


class ChainParts(NamedTuple):
    """The parts of a saved k-hop task: arrays and settings of its two-hop questions, and what is longer."""

    arrays: Mapping[str, np.ndarray]
    settings: Settings
    n_hops: Any
    trained: Mapping[int, Any]
    tests: Mapping[str, Any]


def parts_from(arrays: Mapping[str, np.ndarray], settings: Settings) -> ChainParts:
    """Sort saved arrays; what they hold is checked where the task is made of them.

    Raises:
        ValueError: if nothing says how many hops there are, or an array of test questions is missing.
    """
    n_hops: Any = settings.get("n_hops")
    if not is_whole(n_hops) or not 3 <= n_hops <= MOST_HOPS:
        raise ValueError(f"n_hops: needed is a whole number from 3 to {MOST_HOPS}, got {shortly(n_hops)}")
    lengths = range(3, n_hops + 1)
    tests = [test_split(pattern) for length in lengths for pattern in patterns(length)]
    if missing := [name for name in tests if name not in arrays]:
        raise ValueError(f"arrays: lacks {', '.join(missing)}")
    longer = {trained_split(length): length for length in lengths}
    rest = {name: array for name, array in arrays.items() if name not in {*tests, *longer}}
    trained = {length: wide(arrays[name]) for name, length in longer.items() if name in arrays}
    about = {name: value for name, value in settings.items() if name != "n_hops"}
    return ChainParts(rest, about, n_hops, trained, {name: wide(arrays[name]) for name in tests})


def chain_problems(two_hops: Any, n_hops: Any, trained: Any, tests: Any) -> list[str]:
    """All that keeps chains from being the longer questions of a task with these two-hop questions."""
    from .twohop import TwoHopTask

    if not isinstance(two_hops, TwoHopTask):
        return [f"two_hops is {shortly(two_hops)}, needed is a TwoHopTask"]
    if not is_whole(n_hops) or not 3 <= n_hops <= MOST_HOPS:
        return [f"n_hops is {shortly(n_hops)}, needed is a whole number from 3 to {MOST_HOPS}; two hops are a TwoHopTask"]
    if not isinstance(trained, Mapping) or not isinstance(tests, Mapping):
        return ["trained and tests are mappings, from numbers of hops and from splits to rows of fact numbers"]
    problems = [] if two_hops.layout == "compact" else [f"layout is {two_hops.layout!r}, questions of k hops are compact"]
    lengths = range(3, n_hops + 1)
    expected = {test_split(pattern): pattern for length in lengths for pattern in patterns(length)}
    problems += [f"trained: there are no questions of {shortly(each)} hops" for each in trained if each not in lengths]
    problems += [f"tests: there is no {shortly(name)}" for name in tests if name not in expected]
    problems += [f"tests: lacks {name}" for name in expected if name not in tests]
    if problems:
        return problems
    named = [(trained_split(length), "i" * length, chains) for length, chains in trained.items()]
    named += [(name, expected[name], chains) for name, chains in tests.items()]
    for name, pattern, chains in named:
        problems += [f"{name}: {says}" for says in _wrong(two_hops, chains, pattern)]
    return problems or _leaked(trained, tests)


def _wrong(task: "TwoHopTask", chains: Any, pattern: str) -> Iterator[str]:
    """What is wrong with the chains of one split."""
    length, graph = len(pattern), task.graph
    if not (isinstance(chains, np.ndarray) and chains.ndim == 2 and np.issubdtype(chains.dtype, np.integer)):
        yield f"needed are rows of {length} fact numbers, got {shortly(chains)}"
        return
    if chains.shape[1] != length:
        yield f"needed are rows of {length} fact numbers, got rows of {chains.shape[1]}"
        return
    if len(chains) and not 0 <= chains.min() <= chains.max() < len(graph):
        yield f"fact numbers must lie between 0 and {len(graph) - 1}, got {chains.min()} to {chains.max()}"
        return
    breaks = (graph.tails[chains[:, :-1]] != graph.heads[chains[:, 1:]]).any(1)
    if breaks.any():
        yield f"{int(breaks.sum()):,} rows are no chains, the first is {int(breaks.argmax())}"
    other = status_codes(task.is_ood, chains) != code_of(pattern)
    if other.any():
        yield f"{int(other.sum()):,} rows do not have the pattern {pattern}, the first is {int(other.argmax())}"
    if len(np.unique(chains, axis=0)) < len(chains):
        yield "some chains are there twice"


def _leaked(trained: Mapping[int, Chains], tests: Mapping[str, Chains]) -> list[str]:
    """Which test splits hold chains that are also trained."""
    problems = []
    for length, chains in trained.items():
        name, seen = test_split("i" * length), set(map(tuple, chains.tolist()))
        if n := sum(tuple(chain) in seen for chain in tests[name].tolist()):
            problems.append(f"{name}: {n:,} queries are also trained")
    return problems
