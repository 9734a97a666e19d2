"""Three tasks in words whose circuits have been studied in language models, as prompts for `PromptPairs.from_text`.

    python examples/prompts_in_words.py --n 3          # show three pairs of each

To make pairs for a model with a tokenizer, here of the first task:

    pairs = tasks.PromptPairs.from_text(model, **indirect_object(n=64, seed=0)._asdict())

Names, places and words are ones that most tokenizers know as one token each; where yours does not, `from_text` says which.
"""

import random
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import typer

from grokscope.circuits.arguments import common_problems, refuse, whole_problems
from grokscope.circuits.command import run_command

NAMES = ("Anna", "David", "James", "John", "Kate", "Laura", "Lisa", "Mark", "Mary", "Paul", "Sarah", "Tom")
PLACES = ("garden", "hospital", "library", "market", "office", "park", "school", "station")
THINGS = ("bag", "book", "box", "card", "key", "letter", "map", "ticket")
BUILDINGS = ("bridge", "castle", "church", "harbor", "palace", "school", "station", "tower")
ARGUMENTS = ("color", "count", "date", "file", "height", "name", "path", "size", "text", "title", "user", "width")
FUNCTIONS = ("check", "draw", "find", "load", "print", "save", "send", "write")


class Texts(NamedTuple):
    """Prompts in words with the answers to both, as `PromptPairs.from_text` takes them."""

    clean: list[str]
    corrupt: list[str]
    answers: list[str]
    foils: list[str]
    template: str


def indirect_object(n: int = 64, seed: int = 0) -> Texts:
    """Who is given something: of two names the one that is not repeated. The corrupt prompt repeats the other one.

    Args:
        n: how many pairs, all different.
        seed: of the draws.
    """
    template = "After {IO} and {S} came to the {place}, {S2} handed the {thing} to"

    def draw(rng: random.Random) -> tuple[str, str, str, str]:
        (first, second), place, thing = rng.sample(NAMES, 2), rng.choice(PLACES), rng.choice(THINGS)
        said = {"IO": first, "S": second, "place": place, "thing": thing}
        return template.format(**said, S2=second), template.format(**said, S2=first), f" {first}", f" {second}"

    return _texts(draw, template, n, seed)


def greater_than(n: int = 64, seed: int = 0, years: Sequence[int] = range(1702, 1799)) -> Texts:
    """In which year something can have ended: after it began. The corrupt prompt has it begin earlier.

    The answer is later than both beginnings, the foil later than the corrupt one only.

    Args:
        n: how many pairs, all different.
        seed: of the draws.
        years: of one century, at least four. All must be two tokens, those of the century and of the year in it; leave out
            those that are one.
    """
    problems = [] if len(set(years)) > 3 else [f"years are {len(set(years))}, needed are at least 4"]
    problems += [] if len({year // 100 for year in years}) < 2 else ["years must be of one century"]
    template = "The repairs of the {building} began in {start} and were over in {century}"

    def draw(rng: random.Random) -> tuple[str, str, str, str]:
        corrupt, foil, clean, answer = sorted(rng.sample(sorted(set(years)), 4))
        said = {"building": rng.choice(BUILDINGS), "century": clean // 100}
        prompts = [template.format(**said, start=start) for start in (clean, corrupt)]
        return prompts[0], prompts[1], f"{answer % 100:02}", f"{foil % 100:02}"

    return _texts(draw, template, n, seed, problems)


def argument_names(n: int = 64, seed: int = 0) -> Texts:
    """Which argument of a function its docstring describes next: they come in their order.

    The corrupt prompt has the last two arguments the other way round.

    Args:
        n: how many pairs, all different.
        seed: of the draws.
    """
    head = "def {function}({first}, {second}, {third}, {fourth}):"
    template = head + '\n    """{function2} it.\n\n    :param {first2}: one\n    :param {second2}: another\n    :param'

    def draw(rng: random.Random) -> tuple[str, str, str, str]:
        function, (first, second, third, fourth) = rng.choice(FUNCTIONS), rng.sample(ARGUMENTS, 4)
        said = {"function": function, "function2": function.title()}
        said |= {"first": first, "second": second, "first2": first, "second2": second}
        clean = template.format(**said, third=third, fourth=fourth)
        return clean, template.format(**said, third=fourth, fourth=third), f" {third}", f" {fourth}"

    return _texts(draw, template, n, seed)


def _texts(
    draw: Callable[[random.Random], tuple[str, str, str, str]],
    template: str,
    n: int,
    seed: int,
    problems: Sequence[str] = (),
) -> Texts:
    """Different pairs, drawn until there are enough."""
    refuse([*problems, *whole_problems(1, n=n), *common_problems(seed=seed)])
    rng, found = random.Random(seed), {}
    for _ in range(100 * n):
        found |= dict.fromkeys([draw(rng)])
        if len(found) == n:
            clean, corrupt, answers, foils = map(list, zip(*found, strict=True))
            return Texts(clean, corrupt, answers, foils, template)
    raise ValueError(f"n is {n}, and of {100 * n} draws only {len(found)} pairs are different")


TASKS = {"indirect object": indirect_object, "greater than": greater_than, "argument names": argument_names}


def main(
    n: Annotated[int, typer.Option(help="pairs of each task")] = 2,
    seed: Annotated[int, typer.Option(help="of the draws")] = 0,
) -> None:
    """Show pairs of each task."""
    for name, texts in TASKS.items():
        typer.echo(f"{name}\n")
        clean, corrupt, answers, foils, _ = texts(n=n, seed=seed)
        for pair in zip(clean, answers, corrupt, foils, strict=True):
            typer.echo("clean    {}…{}\ncorrupt  {}…{}\n".format(*pair))


if __name__ == "__main__":
    run_command(main, stopped="stopped")
