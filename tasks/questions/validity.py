"""What can be asked of a model: the one place where tokens, roles and positions are checked, before any work is done.

Questions and prompt pairs check themselves when they are made: shapes, whole numbers, no token below 0, names of roles.
What also depends on the model (its vocabularies, its context) is checked by `check`, which each analysis calls first.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int, Integer
from torch import Tensor

from ...circuits.arguments import is_whole, shortly

IGNORED = -100
_PROMPTS = ("tokens", "clean", "corrupt")
_TARGETS = ("answers", "foils")


@runtime_checkable
class Asked(Protocol):
    """Questions or prompt pairs; either has some of the columns named in `_PROMPTS` and `_TARGETS`."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The name of each position."""
        ...

    @property
    def intermediates(self) -> Mapping[str, Int[Tensor, " _"]]:
        """By name, what has to be found on the way to the answer."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...


def check(model: Any, asked: Asked, *, intermediates: Collection[str] = (), roles: Collection[str] = ()) -> None:
    """Raise unless there is something to ask and the model has all its tokens and positions.

    Args:
        model: a HookedTransformer, or anything with its `cfg`.
        asked: questions or prompt pairs.
        intermediates: those that are read as tokens; they must be there, and among the model's outputs.
        roles: those that must be there.

    Raises:
        ValueError: with all problems at once.
    """
    if problems := problems_with(model, asked, intermediates=intermediates, roles=roles):
        what = "pairs" if hasattr(asked, "clean") else "questions"
        raise ValueError(f"the model cannot be asked these {what}: " + "; ".join(problems))


def problems_with(
    model: Any, asked: Asked, *, intermediates: Collection[str] = (), roles: Collection[str] = ()
) -> list[str]:
    """What `check` says, to be said with what else is wrong."""
    cfg, problems = getattr(model, "cfg", None), []
    if not len(asked):
        is_pairs = hasattr(asked, "clean")
        name = getattr(asked, "contrast" if is_pairs else "split")
        problems.append(f"no pair: {name} holds none" if is_pairs else f"no question: {name} holds no query")
    columns = {name: getattr(asked, name) for name in (*_PROMPTS, *_TARGETS) if hasattr(asked, name)}
    problems += _located({name: columns[name] for name in _PROMPTS if name in columns}, inputs_of(cfg))
    problems += context_problems(len(asked.roles), cfg)
    if not (missing := missing_problems("intermediate", intermediates, asked.intermediates)):
        columns |= {f"the {name}": asked.intermediates[name] for name in intermediates}
    problems += _located({n: c for n, c in columns.items() if n not in _PROMPTS}, outputs_of(cfg))
    return problems + missing + missing_problems("role", roles, asked.roles)


def check_same_roles(what: str, asked: Asked, roles: Sequence[str]) -> None:
    """Raise unless questions that are run on another's graph have its roles."""
    if tuple(asked.roles) != tuple(roles):
        raise ValueError(f"{what} have the roles {', '.join(asked.roles)}, the questions asked {', '.join(roles)}")


# What a model has


def inputs_of(cfg: Any) -> int | None:
    """How many tokens a model reads; None if it does not say."""
    return getattr(cfg, "d_vocab", None)


def outputs_of(cfg: Any) -> int | None:
    """How many tokens a model can answer; None if it does not say."""
    size = getattr(cfg, "d_vocab_out", None)
    return inputs_of(cfg) if size is None or size < 0 else size


def vocabulary_problems(columns: Mapping[str, Tensor], size: int | None) -> list[str]:
    """By name, columns that hold tokens which a vocabulary of that size does not have."""
    problems = []
    for what, tokens in columns.items():
        if size is not None and (outside := (tokens < 0) | (tokens >= size)).any():
            problems.append(f"{what} is {int(tokens[outside][0])} and the model's tokens are 0 to {size - 1}")
    return problems


def _located(columns: Mapping[str, Tensor], size: int | None) -> list[str]:
    """As `vocabulary_problems`, with the row of the first such token."""
    found = []
    for what, tokens in columns.items():
        for problem in vocabulary_problems({what: tokens}, size):
            found.append(f"{problem}{_place((tokens < 0) | (tokens >= (size or 0)))}")
    return found


def context_problems(n_pos: int, cfg: Any) -> list[str]:
    """Prompts that are longer than a model's context."""
    n_ctx = getattr(cfg, "n_ctx", None)
    return [f"prompts have {n_pos} positions and the model's context {n_ctx}"] if n_ctx is not None and n_pos > n_ctx else []


def layer_problems(layers: Sequence[int], n_layers: int) -> list[str]:
    """Layers after which a model has no state."""
    wrong = [layer for layer in layers if not is_whole(layer) or not -1 <= layer < n_layers]
    return [f"no layer {', '.join(map(repr, wrong))}; there are -1, the embedding, to {n_layers - 1}"] if wrong else []


def missing_problems(what: str, wanted: Collection[str], there: Collection[str]) -> list[str]:
    """Names that are asked for and are not there."""
    if isinstance(wanted, str) or not isinstance(wanted, Collection):
        return [f"{what}s are names, as in {what}s=[{', '.join(map(repr, list(there)[:1]))}], got {wanted!r}"]
    unknown = [name if isinstance(name, str) and name else repr(name) for name in wanted if name not in there]
    return (
        [f"no {what}s {', '.join(dict.fromkeys(unknown))}; there are {', '.join(map(str, there)) or 'none'}"]
        if unknown
        else []
    )


def taken_problems(what: str, names: Collection[str], taken: Collection[str], *, by: str) -> list[str]:
    """Names of the user's that a table has for something else, so that its rows or columns could not be told apart."""
    return [f"{what} cannot be called {name}, which {by}" for name in dict.fromkeys(names) if name in taken]


# What questions are made of


def prompt_problems(what: str, prompts: Any) -> list[str]:
    """Why something is no prompts: a tensor of tokens, a row for each."""
    return _tensor_problems(what, prompts, ("query", "pos")) or _negative(what, prompts)


def column_problems(what: str, column: Any, n: int, *, are_tokens: bool, wrong_size: str) -> list[str]:
    """Why something is no column of n whole numbers, or of tokens.

    Args:
        what: its name.
        column: which is checked.
        n: the number of prompts.
        are_tokens: whether numbers below 0 are refused.
        wrong_size: what to say of another number of rows, with the fields n, found and what.
    """
    problems = _tensor_problems(what, column, ("query",))
    if not problems and len(column) != n:
        problems.append(wrong_size.format(n=n, found=len(column), what=what))
    return problems or (_negative(what, column) if are_tokens else [])


def columns_problems(what: str, columns: Any) -> list[str]:
    """Why something is no mapping from names to columns."""
    if not isinstance(columns, Mapping):
        kind = type(columns).__name__
        return [f"{what} is a {kind}, needed are columns [query] by name, as in {what}={{{_EXAMPLES[what]}}}"]
    wrong = [repr(name) for name in columns if not isinstance(name, str)]
    return [f"{what} are called by names, got {', '.join(wrong)}"] if wrong else []


_EXAMPLES = {
    "intermediates": "'bridge': …",
    "corrupt_intermediates": "'bridge': …",
    "facts": "'hop1': …, 'hop2': …",
}


def settings_problems(**settings: tuple[Any, type, str]) -> list[str]:
    """Of settings by name, with their type and how that is called: which are of another type."""
    return [
        f"{name} is {shortly(value)}, needed is {called}"
        for name, (value, kind, called) in settings.items()
        if not isinstance(value, kind)
    ]


def position_problems(position: Any, n_pos: int) -> list[str]:
    """Why the answer cannot be read there."""
    if is_whole(position) and -n_pos <= position < n_pos:
        return []
    return [f"answer_position={shortly(position)} is outside the {n_pos} positions"]


def checked_rows(rows: Any, n: int) -> Tensor:
    """Row numbers or a mask over n rows, as they are taken.

    Raises:
        ValueError: for a mask of another length, and for numbers of rows that are not there.
    """
    if not isinstance(rows, Tensor | np.ndarray | Sequence) or isinstance(rows, str):
        raise ValueError(f"rows are numbers or a mask, a tensor of them, got {rows!r}")
    if isinstance(rows, Sequence) and not all(isinstance(row, bool) or is_whole(row) for row in rows):
        raise ValueError(f"rows are numbers or a mask, a tensor of them, got {rows!r}")
    rows = torch.as_tensor(rows, dtype=torch.long if isinstance(rows, Sequence) and not len(rows) else None, device="cpu")
    if rows.ndim != 1 or (rows.dtype != torch.bool and not _is_integer(rows)):
        raise ValueError(f"rows are numbers or a mask, a tensor of them, got {rows.dtype} of the shape {tuple(rows.shape)}")
    if rows.dtype == torch.bool:
        if len(rows) != n:
            raise ValueError(f"a mask needs an entry for each of the {n} rows, got {len(rows)}")
        return rows.cpu()
    if (outside := (rows < -n) | (rows >= n)).any():
        raise ValueError(f"no row {int(rows[outside][0])}; there are {n}, counted from 0")
    return rows.cpu().long()


def held(values: Integer[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Whole numbers as they are kept: 64 bits, on the CPU, since not everything takes fewer bits as an index.

    They are a copy, since what questions are must not change with a tensor that is filled anew; row after row in memory,
    since TransformerLens cannot run what it embeds of others if it adds no positions.
    """
    return values.detach().to("cpu", torch.long, copy=True).contiguous()


def _tensor_problems(what: str, values: Any, axes: tuple[str, ...]) -> list[str]:
    if not isinstance(values, Tensor):
        return [f"{what} is a {type(values).__name__}, needed is a tensor of whole numbers [{', '.join(axes)}]"]
    problems = [f"{what} is on the meta device and holds no numbers"] if values.is_meta else []
    if not _is_integer(values):
        problems.append(f"{what} is of {values.dtype}, needed are whole numbers (torch.long)")
    if values.ndim != len(axes):
        problems.append(f"{what} has the shape {tuple(values.shape)}, needed is [{', '.join(axes)}]")
    return problems


def _negative(what: str, tokens: Tensor) -> list[str]:
    if not (below := held(tokens) < 0).any():  # which knows more kinds of whole numbers
        return []
    first = int(tokens[below][0])
    why = f": {IGNORED} is the label that losses ignore, leave such rows out" if first == IGNORED else ""
    return [f"{what} is {first} and tokens are numbers from 0 on{_place(below)}{why}"]


def _place(wrong: Tensor) -> str:
    """Where the first wrong entry is, and how many there are."""
    row, *position = wrong.nonzero()[0].tolist()
    more = f", and {n - 1} more" if (n := int(wrong.sum())) > 1 else ""
    return f" (row {row}{f', position {position[0]}' if position else ''}{more})"


def _is_integer(values: Tensor) -> bool:
    return not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)
