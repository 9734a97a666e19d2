"""What tasks, questions and pairs say of themselves in one line and in a notebook; no question is made for it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ...circuits.card import card, or_line, table
from ...circuits.plain_text import counted, named, one_line, shortened

if TYPE_CHECKING:
    from .comparison import ComparisonTask
    from .graph import KnowledgeGraph
    from .khop import KHopTask
    from .pairs import PromptPairs
    from .queries import Queries
    from .question_task import QuestionTask
    from .twohop import TwoHopTask

SHOWN = 5  # rows in a notebook
SHOWN_ROLES = 12


@one_line
def task_line(task: "TwoHopTask | KHopTask") -> Iterator[str]:
    """Sizes, regime, layout where it is not the usual one, and seed."""
    yield from _sizes(task.graph)
    yield shortened(task.regime)
    yield f"layout {task.layout}" if task.layout != "compact" else ""
    yield f"seed {task.seed}"


@or_line
def task_card(task: "TwoHopTask") -> str:
    """The sizes, and how many questions each split has."""
    told = (*_sizes(task.graph), f"φ {task.phi:.1f}", f"layout {task.layout}", f"seed {task.seed}")
    rows = [(split, part, f"{_n_of(task, split, part):,}") for split, part in task.splits.items()]
    added = f"{counted(task.n_added, 'composition')} of OOD facts in train_inferred" if task.n_added else ""
    return card(type(task).__name__, task.regime, told, table(("split", "for", "questions"), rows, words=2, note=added))


@or_line
def chain_card(task: "KHopTask") -> str:
    """The sizes, and how many questions each split has, longer ones after those of two hops."""
    told = (*_sizes(task.graph), *(f"{name} {value:g}" for name, value in task.about.items()), f"seed {task.seed}")
    n_of = {split: len(chains) for split, chains in task.longer.items()}
    parts = task.splits.items()
    rows = [(s, part, f"{n_of[s] if s in n_of else _n_of(task.two_hops, s, part):,}") for s, part in parts]
    return card(type(task).__name__, task.regime, told, table(("split", "for", "questions"), rows, words=2))


def _n_of(task: "TwoHopTask", split: str, part: str) -> int:
    """How many questions a split has."""
    if part == "trained":
        return len(task.trained) + len(task.added)
    if part == "test":
        return len(task.tests[split])
    if task.is_identity is not None and split == "identity":
        return int(task.is_identity.sum())
    chosen = task.is_ood == (split == "ood_atomic")
    return int((chosen if task.is_atomic is None else chosen & task.is_atomic).sum())


def _sizes(graph: "KnowledgeGraph") -> tuple[str, str, str]:
    """How many entities, relations and facts."""
    return (
        counted(graph.n_entities, "entity", "entities"),
        counted(graph.n_relations, "relation"),
        counted(len(graph), "fact"),
    )


graph_line = one_line(_sizes)


@one_line
def comparison_line(task: "ComparisonTask") -> Iterator[str]:
    """Sizes, regime and seed."""
    yield from _world(task)
    yield task.regime
    yield f"seed {task.seed}"


@or_line
def comparison_card(task: "ComparisonTask") -> str:
    """The sizes, and how many questions each split has."""
    told = (*_world(task), *(f"{name} {value:g}" for name, value in task.about.items()), f"seed {task.seed}")
    n_ood = int(task.is_ood.sum())
    n_of = {"id_atomic": task.values.size - n_ood, "ood_atomic": n_ood, "train_compared": len(task.trained)}
    n_of |= {name: len(pairs) for name, pairs in task.tests.items()}
    rows = [(split, part, f"{n_of[split]:,}") for split, part in task.splits.items()]
    return card(type(task).__name__, task.regime, told, table(("split", "for", "questions"), rows, words=2))


def _world(task: "ComparisonTask") -> tuple[str, str, str]:
    """How many entities, attributes and values."""
    return (
        counted(task.n_entities, "entity", "entities"),
        counted(task.n_attributes, "attribute"),
        counted(task.n_levels, "value"),
    )


@one_line
def questions_line(task: "QuestionTask") -> Iterator[str]:
    """Splits with their sizes, positions, and what is decided by which of them."""
    yield from (f"{shortened(name)} {len(each):,}" for name, (_, each) in task.questions.items())
    yield counted(task.n_tokens, "token")
    yield from (f"{shortened(name)} by {shortened(' '.join(roles))}" for name, roles in task.decided_by.items())
    yield shortened(task.regime) if task.regime != "questions" else ""


@or_line
def questions_card(task: "QuestionTask") -> str:
    """How many questions each split has, at which positions."""
    told = (counted(task.n_tokens, "token"), counted(task.n_reference, "trained unit"))
    told += tuple(f"{name} by {' '.join(roles)}" for name, roles in task.decided_by.items())
    rows = [(name, part, " ".join(each.roles), f"{len(each):,}") for name, (part, each) in task.questions.items()]
    return card(type(task).__name__, task.regime, told, table(("split", "for", "roles", "questions"), rows, words=3))


@one_line
def queries_line(queries: "Queries") -> Iterator[str]:
    """How many, of which split, at which positions, and what is known of the way to the answers."""
    yield counted(len(queries), "question")
    yield f"split {named(queries.split)}"
    yield _roles(queries)
    yield f"intermediates {shortened(' '.join(queries.intermediates))}" if queries.intermediates else ""


@or_line
def queries_card(queries: "Queries") -> str:
    """The first questions as tokens."""
    columns = _by_role(queries.roles, queries.tokens) | {"answer": queries.answers} | {**queries.intermediates}
    rows = list(zip(*(column[:SHOWN].tolist() for column in columns.values()), strict=True))
    shown = table([*columns], rows, words=0, note=f"tokens by number; the first {len(rows)} of {len(queries):,}")
    told = (_roles(queries), counted(queries.n_units, "unit"))
    return card(counted(len(queries), "question"), f"split {queries.split}", told, shown)


@one_line
def pairs_line(pairs: "PromptPairs") -> Iterator[str]:
    """How many, what differs, of which split, at which positions, and how they were chosen."""
    yield counted(len(pairs), "pair")
    yield f"contrast {named(pairs.contrast)}"
    yield _split(pairs)
    yield _roles(pairs)
    yield _chosen(pairs)


@or_line
def pairs_card(pairs: "PromptPairs") -> str:
    """The first pairs as tokens, an arrow where the corrupt prompt has another one."""
    clean = _by_role(pairs.roles, pairs.clean) | {"answer": pairs.answers} | {**pairs.intermediates}
    corrupt = _by_role(pairs.roles, pairs.corrupt) | {"answer": pairs.foils} | {**pairs.corrupt_intermediates}
    columns = [
        [
            f"{a}" if a == b else f"{a} → {b}"
            for a, b in zip(clean[name][:SHOWN].tolist(), corrupt[name][:SHOWN].tolist(), strict=True)
        ]
        for name in clean
        if name in corrupt
    ]
    rows = list(zip(*columns, strict=True))
    note = f"clean → corrupt, tokens by number; the first {len(rows)} of {len(pairs):,}"
    shown = table([name for name in clean if name in corrupt], rows, words=0, note=note)
    told = (_split(pairs), _roles(pairs), counted(pairs.n_units, "unit"), _chosen(pairs))
    return card(counted(len(pairs), "pair"), f"contrast {pairs.contrast}", told, shown)


def _by_role(roles: Sequence[str], tokens: Tensor) -> dict[str, Tensor]:
    return {f"{role} ": tokens[:, place] for place, role in enumerate(roles[:SHOWN_ROLES])}  # a role may be called answer


def _roles(asked: "Queries | PromptPairs") -> str:
    """The names of the positions, and where the answer is read unless it is the last."""
    roles = asked.roles
    said = f"roles {shortened(' '.join(roles))}"
    return (
        said if asked.answer_position == len(roles) - 1 else f"{said}, answer at {shortened(roles[asked.answer_position])}"
    )


def _split(pairs: "PromptPairs") -> str:
    return f"split {shortened(pairs.recipe['split'])}" if "split" in pairs.recipe else ""


def _chosen(pairs: "PromptPairs") -> str:
    """Of how many they were chosen, which half they are, and how many were left out for that."""
    about = pairs.recipe
    told = [f"of {pairs.n_asked:,} asked"] if pairs.n_asked != len(pairs) else []
    told += [f"{shortened(about['half'])} half"] if "half" in about else []
    return ", ".join(told + ([f"{about['n_left_out']} left out"] if "n_left_out" in about else []))
