"""Which chain of facts belongs to which split, by the status of its facts: ID or OOD, hop by hop."""

from collections.abc import Mapping
from itertools import product

import numpy as np
from jaxtyping import Bool, Int

from .chains import Chains
from .splits import MIXED_TEST_SHARE

MOST_TESTED = 1000  # questions of a test split of chains, more than Wilson intervals of ± .03 need
LETTERS = "io"


def patterns(n_hops: int) -> tuple[str, ...]:
    """Every status that the facts of a chain can have, `i` for ID and `o` for OOD, the first hop first.

    >>> patterns(2)
    ('ii', 'io', 'oi', 'oo')
    """
    return tuple("".join(letters) for letters in product(LETTERS, repeat=n_hops))


def trained_split(n_hops: int) -> str:
    """The name of the split of trained chains.

    >>> trained_split(3)
    'train_3hop'
    """
    return f"train_{n_hops}hop"


def test_split(pattern: str) -> str:
    """The name of the test split of the chains with a pattern.

    >>> test_split("ioo")
    'test_3hop_ioo'
    """
    return f"test_{len(pattern)}hop_{pattern}"


def status_codes(is_ood: Bool[np.ndarray, " fact"], chains: Int[np.ndarray, "chain hop"]) -> Int[np.ndarray, " chain"]:
    """A number for each pattern: the sum of 2ⁱ over the hops i, counted from 0, whose facts are OOD; −1 is no fact."""
    weights = 2 ** np.arange(chains.shape[1])
    return ((is_ood[chains] & (chains >= 0)) * weights).sum(1)


def code_of(pattern: str) -> int:
    """The number of a pattern, see `status_codes`.

    >>> [code_of(pattern) for pattern in patterns(2)]
    [0, 2, 1, 3]
    """
    return sum(2**hop for hop, letter in enumerate(pattern) if letter == LETTERS[1])


def drawn(
    chains: Chains, is_ood: Bool[np.ndarray, " fact"], test_fraction: float, rng: np.random.Generator
) -> tuple[Chains, Mapping[str, Chains]]:
    """The chains of ID facts that may be trained, in random order, and the test chains by split.

    Of the ID chains `test_fraction` is tested, of those with ID and OOD facts a tenth, of those of OOD facts all; of each no
    more than `MOST_TESTED`.
    """
    chains = rng.permutation(chains)
    codes, (first, *mixed, last) = status_codes(is_ood, chains), patterns(chains.shape[1])
    all_id = chains[codes == code_of(first)]
    n_tested = min(MOST_TESTED, round(test_fraction * len(all_id)))
    tests = {test_split(first): all_id[:n_tested]}
    for pattern, share in ((each, MIXED_TEST_SHARE) for each in mixed):
        rows = chains[codes == code_of(pattern)]
        tests[test_split(pattern)] = rows[: min(MOST_TESTED, round(share * len(rows)))]
    tests[test_split(last)] = chains[codes == code_of(last)][:MOST_TESTED]
    return all_id[n_tested:], tests
