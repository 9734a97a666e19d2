"""How much compositional training the OOD facts get: the five regimes of He et al. 2026, any dose between, and identities.

He et al. (arXiv 2601.09049, section 4 and appendix C) add training queries with exactly one OOD hop. Their regimes
are four numbers: the share of OOD facts chosen and the number of compositions for each chosen fact, for either hop.
Lin, Chen and Xu 2025 (arXiv 2509.24653) add zero-hop questions, an entity whose answer is itself, the *identity bridge*:
no composition of an OOD fact, and yet, they report, OOD questions are answered that otherwise are not.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int

from ...circuits.arguments import make_native, number_problems, refuse, whole_problems
from ...circuits.plain_text import never_raising
from ..printing import as_call
from .graph import Compositions


@dataclass(frozen=True, kw_only=True)
class Supervision:
    """Which compositions with one OOD hop are added to the training set.

    **Which facts.** Hop 1 draws from the OOD facts that open at least one OOD+OOD test query, hop 2 from those that
    close one, as in the published code. **Which partners.** The other hop is always an ID fact, and never one of the
    queries of the two mixed test splits, which stay unseen in every regime. **In which order.** The task's seed fixes
    one random order of the facts and one of each fact's partners; a dose takes the first `share` of the facts
    (rounded) and the first `compositions` partners of each. So doses are nested: a larger one contains every smaller
    one, on the same graph, with the same tests. **The cap.** `compositions` is a maximum: a fact with fewer partners
    left gives all it has, and nothing is drawn twice.

    **Identities** are a dose of their own, on top of any other: the first `identity_share` of the entities (rounded), in
    one random order of *all* entities that the task's seed fixes, are trained as the question `e → e`. The order does not
    look at the tests, so that with a share between 0 and 1 some of the test bridges are trained so and others are not, by
    chance alone.

    Attributes:
        hop1_share: fraction of the OOD facts exposed as first hop.
        hop1_compositions: at most this many compositions of each of them.
        hop2_share: fraction of the OOD facts exposed as second hop.
        hop2_compositions: at most this many compositions of each of them.
        identity_share: fraction of the entities that are trained as zero-hop questions, the split `identity`.

    >>> Supervision(hop2_share=0.25, hop2_compositions=4).name, Supervision(identity_share=0.5).name
    ('hop1 0×0, hop2 0.25×4', 'identity 0.5')
    """

    hop1_share: float = 0.0
    hop1_compositions: int = 0
    hop2_share: float = 0.0
    hop2_compositions: int = 0
    identity_share: float = 0.0

    def __post_init__(self) -> None:
        make_native(self)
        counts = {"hop1_compositions": self.hop1_compositions, "hop2_compositions": self.hop2_compositions}
        shares = {name: getattr(self, name) for name in ("hop1_share", "hop2_share", "identity_share")}
        refuse(number_problems(0, most=1, **shares) + whole_problems(0, **counts))

    @never_raising
    def __repr__(self) -> str:
        return as_call(self)

    @property
    def name(self) -> str:
        """The regime's name, or the dose in numbers."""
        for name, preset in PRESETS.items():
            if preset == self:
                return name
        if self.identity_share:
            identity, rest = f"identity {self.identity_share:g}", replace(self, identity_share=0.0)
            return identity if rest == NATURAL else f"{rest.name}, {identity}"
        return f"hop1 {self.hop1_share:g}×{self.hop1_compositions}, hop2 {self.hop2_share:g}×{self.hop2_compositions}"


NATURAL = Supervision()
"""No composition of any OOD fact is trained: what generalises to them has grokked."""
FIRST_HOP = Supervision(hop1_share=1.0, hop1_compositions=18)
"""Every OOD fact is exposed as first hop, in up to 18 compositions."""
SECOND_HOP = Supervision(hop2_share=1.0, hop2_compositions=18)
"""Every OOD fact is exposed as second hop, in up to 18 compositions."""
BOTH_HOPS = Supervision(hop1_share=1.0, hop1_compositions=18, hop2_share=1.0, hop2_compositions=18)
"""Every OOD fact is exposed in either hop, in up to 18 compositions each."""
BOTH_HALF = Supervision(hop1_share=0.5, hop1_compositions=9, hop2_share=0.5, hop2_compositions=9)
"""Half the OOD facts are exposed in each hop, in up to 9 compositions each."""
IDENTITY = Supervision(identity_share=1.0)
"""No composition of any OOD fact is trained, but every entity as the zero-hop question e → e (Lin et al. 2025)."""
PRESETS = {
    "natural": NATURAL,
    "first_hop": FIRST_HOP,
    "second_hop": SECOND_HOP,
    "both_hops": BOTH_HOPS,
    "both_half": BOTH_HALF,
    "identity": IDENTITY,
}


def n_identities(supervision: Supervision, n_entities: int) -> int:
    """How many entities a dose trains as zero-hop questions."""
    return round(supervision.identity_share * n_entities)


def chosen_identities(supervision: Supervision, n_entities: int, *, seed: int) -> Bool[np.ndarray, " entity"] | None:
    """Which entities a dose trains as zero-hop questions; None if there are none."""
    if not (n := n_identities(supervision, n_entities)):
        return None
    chosen = np.zeros(n_entities, dtype=bool)
    chosen[np.random.default_rng([seed, 8]).permutation(n_entities)[:n]] = True
    return chosen


def added_compositions(
    supervision: Supervision,
    *,
    one_ood: Compositions,
    is_ood: Bool[np.ndarray, " fact"],
    test_ood: Compositions,
    seed: int,
) -> Compositions:
    """The training queries that `supervision` adds, as fact numbers (hop 1, hop 2).

    Args:
        supervision: the dose.
        one_ood: the compositions with exactly one OOD hop that may be trained.
        is_ood: which facts are OOD.
        test_ood: the OOD+OOD test queries, which name the facts worth exposing.
        seed: fixes the order in which facts and partners are taken.
    """
    doses = (
        (0, supervision.hop1_share, supervision.hop1_compositions),
        (1, supervision.hop2_share, supervision.hop2_compositions),
    )
    parts = [
        _first_partners(
            one_ood[is_ood[one_ood[:, hop]]],
            hop,
            np.unique(test_ood[:, hop]),
            share,
            count,
            np.random.default_rng([seed, hop]),
        )
        for hop, share, count in doses
    ]
    return np.concatenate(parts)


def _first_partners(
    pool: Compositions,
    hop: int,
    facts: Int[np.ndarray, " fact"],
    share: float,
    count: int,
    rng: np.random.Generator,
) -> Compositions:
    """The first `count` compositions of each of the first `share` of `facts`, in the orders that `rng` fixes."""
    pool = pool[rng.permutation(len(pool))]
    chosen = rng.permutation(facts)[: round(share * len(facts))]
    place = np.full(max(facts.max(initial=-1), pool.max(initial=-1)) + 1, len(chosen))
    place[chosen] = np.arange(len(chosen))
    order = np.argsort(place[pool[:, hop]], kind="stable")
    pool, places = pool[order], place[pool[order, hop]]
    rank_within_fact = np.arange(len(pool)) - np.searchsorted(places, places)
    return pool[(places < len(chosen)) & (rank_within_fact < count)]
