"""Which two-hop question belongs to which split: Wang et al. 2024 and He et al. 2026, and their mixed cases.

The ID/OOD split is over facts. Compositions fall into four classes by the status of their two facts, hop 1 first.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int

from .graph import Compositions, KnowledgeGraph
from .task import Part

SPLIT_PARTS: Mapping[str, Part] = {
    "id_atomic": "atomic",
    "ood_atomic": "atomic",
    "train_inferred": "trained",
    "test_inferred_iid": "test",
    "test_inferred_ood": "test",
    "test_inferred_ood_id": "test",
    "test_inferred_id_ood": "test",
}
IDENTITY_SPLIT = "identity"
WITH_IDENTITY: Mapping[str, Part] = {IDENTITY_SPLIT: "atomic", **SPLIT_PARTS}
"""The splits of a task that also trains zero-hop questions, see `Supervision`."""
SPLITS = tuple(SPLIT_PARTS)
"""The splits of a two-hop task; of two hops, the status of the first is named first."""
ATOMIC_SPLITS = tuple(name for name, part in SPLIT_PARTS.items() if part == "atomic")
TEST_SPLITS = tuple(name for name, part in SPLIT_PARTS.items() if part == "test")
HOP_STATUS = ("ID+ID", "OOD+ID", "ID+OOD", "OOD+OOD")  # first hop first
MIXED_TEST_SHARE = 0.1  # of the queries with one OOD hop, held out from every regime


def hop_status(
    is_ood: Bool[np.ndarray, " fact"], hop1: Int[np.ndarray, " query"], hop2: Int[np.ndarray, " query"]
) -> Int[np.ndarray, " query"]:
    """Which hops of each composition rest on OOD facts, as a place in `HOP_STATUS`."""
    return is_ood[hop1] + 2 * is_ood[hop2].astype(int)


def by_hop_status(compositions: Compositions, is_ood: Bool[np.ndarray, " fact"]) -> list[Compositions]:
    """The compositions by hop status, in the order of `HOP_STATUS`."""
    status = hop_status(is_ood, *compositions.T)
    return [compositions[status == code] for code in range(len(HOP_STATUS))]


def excluding(rows: Compositions, banned: Compositions, n_facts: int) -> Compositions:
    """The rows that are not among `banned`."""
    codes = np.array([n_facts, 1])
    return rows[~np.isin(rows @ codes, banned @ codes)]


def n_to_train(phi: float | None, *, n_id_facts: int, n_available: int) -> int:
    """How many ID+ID compositions phi asks for.

    Raises:
        ValueError: if that is more than there are, or negative.
    """
    if phi is None:
        return n_available
    if not 0 <= phi * n_id_facts <= n_available + 0.5:
        raise ValueError(
            f"phi={phi:g} asks for {phi * n_id_facts:.0f} trained ID+ID compositions of {n_id_facts} ID facts, but the "
            f"graph has {n_available} apart from the test queries; phi can be between 0 and "
            f"{n_available / max(1, n_id_facts):.2f}"
        )
    return min(round(phi * n_id_facts), n_available)


def untrained_mixed(
    graph: KnowledgeGraph, is_ood: Bool[np.ndarray, " fact"], trained: Compositions
) -> dict[str, Compositions]:
    """A tenth of the queries with one OOD hop, none of them trained, as the two mixed test splits."""
    shuffled = np.random.default_rng([0, 3]).permutation(graph.compositions)
    _, ood_id, id_ood, _ = by_hop_status(shuffled, is_ood)
    return {
        name: excluding(rows, trained, len(graph))[: round(MIXED_TEST_SHARE * len(rows))]
        for name, rows in (("test_inferred_ood_id", ood_id), ("test_inferred_id_ood", id_ood))
    }
