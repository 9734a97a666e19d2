"""What makes questions a task: the one place where that is decided, for those made in a session and those from a file."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import torch

from ...circuits.arguments import choice_problems, name_problems, names_problems, seed_problems, whole_problems
from ...circuits.plain_text import counted
from ...circuits.roles import role_problems
from .decided import clash
from .given import kind_of
from .queries import Queries
from .task import Part
from .validity import missing_problems, settings_problems

if TYPE_CHECKING:
    from .question_task import QuestionTask

MOST_TOKENS = 100_000_000  # a hundred times the largest vocabularies of language models
COLUMNS = ("step", "seconds", "loss", "train")
PREFIXES = ("select_", "gated_", "floor_")
"""Columns of a run's metrics next to those of splits."""
_QUESTIONS = "what each split is for and its questions, as in questions={'sums': ('trained', queries)}"
_ROLES = "roles by name, as in {what}={{'carry': ('a', 'b')}}"


def kind_problems(task: "QuestionTask") -> list[str]:
    """Which fields are of another kind than they must be."""
    problems = settings_problems(questions=(task.questions, Mapping, _QUESTIONS))
    if isinstance(task.questions, Mapping):
        problems += [each for name, given in task.questions.items() for each in _split_problems(name, given)]
    for what in ("decided_by", "shortcuts"):
        roles = getattr(task, what)
        problems += settings_problems(**{what: (roles, Mapping, _ROLES.format(what=what))})
        for name, given in roles.items() if isinstance(roles, Mapping) else ():
            problems += names_problems(**{f"{what}[{name!r}]": given}) or (
                [] if given else [f"{what}[{name!r}] has no role"]
            )
    problems += [] if task.token_names is None else names_problems(token_names=task.token_names)
    problems += [] if task.n_tokens is None else whole_problems(1, most=MOST_TOKENS, n_tokens=task.n_tokens)
    problems += [] if task.id_test is None else name_problems(id_test=task.id_test)
    problems += [] if task.ood_test is None else name_problems(ood_test=task.ood_test)
    return problems + name_problems(regime=task.regime) + seed_problems(task.seed)


def _split_problems(name: Any, given: Any) -> list[str]:
    """Why something is no split: its name, what it is for, and its questions."""
    problems = []
    if not _is_name(name) or set(name) & set(',"') or name in COLUMNS or name.startswith(PREFIXES):
        taken = f"is none of {', '.join(COLUMNS)} and does not begin with {', '.join(PREFIXES)}"
        problems.append(f"a split is called {name!r}; its name has no whitespace, comma, quotation mark or @, {taken}")
    if not isinstance(given, tuple | list) or len(given) != 2:
        return [*problems, f"questions[{name!r}] is {kind_of(given)}, needed is {_QUESTIONS}"]
    part, queries = given
    problems += choice_problems(**{f"what {name!r} is for": (part, get_args(Part))})
    if not isinstance(queries, Queries):
        return [*problems, f"the questions of {name!r} are {kind_of(queries)}, needed are Queries"]
    names = [each for each in (*queries.intermediates, *queries.facts) if not _is_name(each)]
    return problems + [
        f"{name}: intermediates and facts have names without whitespace and @, got {each!r}" for each in names
    ]


def _is_name(name: Any) -> bool:
    """Whether something can be a name in files, as roles can."""
    return not role_problems((name,), 1)


def content_problems(task: "QuestionTask") -> list[str]:
    """What is wrong with questions that are of the right kinds."""
    splits = {name: queries for name, (_, queries) in task.questions.items()}
    composed = {name: splits[name] for name, part in task.splits.items() if part != "atomic"}
    problems = _part_problems(task) + _outside(task, splits)
    if not composed:
        return problems
    different = _differences(composed)
    roles = next(iter(composed.values())).roles
    problems += different + _name_problems(task, splits, composed) + _repeated(task, splits)
    for what in ("decided_by", "shortcuts"):
        problems += [
            f"{what}[{name!r}]: {problem}"
            for name, each in getattr(task, what).items()
            for problem in missing_problems("role", each, roles)
        ]
    return problems if different or problems else _contradictions(task, composed)


def _part_problems(task: "QuestionTask") -> list[str]:
    """Splits that lack, or are not what a field says of them."""
    parts = task.splits
    trained = [name for name, part in parts.items() if part == "trained" and len(task.questions[name][1])]
    problems = [] if trained else ["no split has trained questions"]
    tests = [name for name, part in parts.items() if part == "test"]
    if not [name for name in tests if name != task.ood_test]:
        return [*problems, f"there is no test split{' besides ood_test' if tests else ''}"]
    given = {"id_test": task.id_test} | ({} if task.ood_test is None else {"ood_test": task.ood_test})
    problems += choice_problems(**{name: (split, tests) for name, split in given.items()})
    same = ["id_test and ood_test are the same split"] if task.id_test == task.ood_test else []
    n_names = len(task.token_names or ())
    few = [f"there are {n_names} token_names for {task.n_tokens} tokens"] if n_names not in (0, task.n_tokens) else []
    return problems + same + few


def _outside(task: "QuestionTask", splits: Mapping[str, Queries]) -> list[str]:
    """Tokens beyond the vocabulary."""
    problems = []
    for name, each in splits.items():
        columns = {"a token": each.tokens, "an answer": each.answers}
        columns |= {f"a value of {what}": column for what, column in each.intermediates.items()}
        for what, column in columns.items():
            if (wrong := (column < 0) | (column >= task.n_tokens)).any():
                found, row = int(column[wrong][0]), int(wrong.nonzero()[0, 0])
                how = "; number the values from 0 on, as tokens" if what.startswith("a value") else ""
                problems.append(f"{name}: {what} is {found} (row {row}), tokens are 0 to {task.n_tokens - 1}{how}")
    return problems


def _differences(composed: Mapping[str, Queries]) -> list[str]:
    """In what trained and tested questions are not of one kind."""
    first, *others = composed
    problems = []
    for what in ("roles", "answer_position", "intermediates"):
        wanted, *found = (_said(getattr(each, what)) for each in composed.values())
        problems += [
            f"{name} has the {what.replace('_', ' ')} {there}, {first} has {wanted}: trained and tested questions are of "
            "one kind, shorter ones are atomic"
            for name, there in zip(others, found, strict=True)
            if there != wanted
        ]
    return problems


def _said(value: Any) -> str:
    names = sorted(value) if isinstance(value, Mapping) else value
    return str(value) if isinstance(value, int) else " ".join(names) or "none"


def _name_problems(task: "QuestionTask", splits: Mapping[str, Queries], composed: Mapping[str, Queries]) -> list[str]:
    """Intermediates that nothing carries or that are called as something else."""
    carried = next(iter(composed.values())).intermediates
    taken = {"answer", *(role for each in splits.values() for role in each.roles)}
    problems = [f"an intermediate cannot be called {name}, as a role or the answer is" for name in carried if name in taken]
    return problems + missing_problems("intermediate", task.decided_by, carried)


def _repeated(task: "QuestionTask", splits: Mapping[str, Queries]) -> list[str]:
    """Prompts that are there twice: a test of what is trained tests memory, and in pairs each prompt may be once."""
    seen: dict[tuple[int, ...], tuple[str, int]] = {}
    found: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], tuple[int, int]] = {}
    for name, each in splits.items():
        for row, prompt in enumerate(map(tuple, each.tokens.tolist())):
            before = seen.setdefault(prompt, (name, row))
            if before != (name, row):
                found[before[0], name] += 1
                first.setdefault((before[0], name), (before[1], row))
    return [
        f"{counted(n, 'prompt')} of {other} ({task.splits[other]}) also in {one} ({task.splits[one]}): "
        f"row {first[one, other][1]} is row {first[one, other][0]} there; keep each once"
        for (one, other), n in found.items()
    ]


def _contradictions(task: "QuestionTask", composed: Mapping[str, Queries]) -> list[str]:
    """Two questions that cannot both be if roles decide an intermediate, and it the answer."""
    tokens = torch.cat([each.tokens for each in composed.values()])
    answers = torch.cat([each.answers for each in composed.values()])
    roles, problems = next(iter(composed.values())).roles, []
    for name, deciding in task.decided_by.items():
        values = torch.cat([each.intermediates[name] for each in composed.values()])
        at = torch.tensor([role in deciding for role in roles], device="cpu")
        said = ", ".join(deciding)
        if both := clash(tokens[:, at], values):
            problems.append(
                f"{_named(composed, both)} have the same tokens at {said} and another {name}: "
                f"name all roles that decide it in decided_by"
            )
        if both := clash(torch.cat([tokens[:, ~at], values[:, None]], 1), answers):
            problems.append(
                f"{_named(composed, both)} have the same {name} and the same tokens but at {said}, and other answers: the "
                f"answer depends on more than the {name} there"
            )
    return problems


def _named(composed: Mapping[str, Queries], rows: Sequence[int]) -> str:
    """Which questions these rows of all are."""
    said = []
    for row in rows:
        for name, each in composed.items():
            if row < len(each):
                said.append(f"row {row} of {name}")
                break
            row -= len(each)
    return " and ".join(said)
