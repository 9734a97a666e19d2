"""A public name, a parameter of a public function or a public method without a docstring fails the build."""

import logging
from collections.abc import Iterator
from typing import Any

import griffe
from mkdocs.plugins import event_priority
from sources import Public, public_names

log = logging.getLogger("mkdocs.hooks.documented")
NOT_GIVEN = ("self", "cls")


@event_priority(100)  # mkdocstrings wants the sources to be there
def on_config(config: Any) -> Any:
    """Warn of each gap; a strict build ends with the first warning."""
    for public in public_names():
        for gap in gaps(public):
            log.warning("%s.%s: %s", public.part, public.name, gap)
    return config


def gaps(public: Public) -> Iterator[str]:
    """What of a name nothing is said about."""
    if not public.found.docstring:
        yield "no docstring"
    elif isinstance(public.found, griffe.Function):
        yield from (f"parameter {name} is not documented" for name in undocumented(public.found))
    elif isinstance(public.found, griffe.Class):
        members = (each for name, each in public.found.members.items() if not name.startswith("_"))
        bare = (each for each in members if isinstance(each, griffe.Function) and not each.docstring)
        yield from (f"method {each.name} has no docstring" for each in bare)


def undocumented(function: griffe.Function) -> list[str]:
    """Parameters that the docstring's `Args` leave out."""
    sections = function.docstring.parse("google") if function.docstring else []
    listed = [section.value for section in sections if section.kind is griffe.DocstringSectionKind.parameters]
    told = {each.name.lstrip("*") for section in listed for each in section}
    return [each.name for each in function.parameters if each.name not in told | set(NOT_GIVEN)]
