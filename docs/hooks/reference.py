"""The reference: a page for each room of the library, made of what its docstrings say.

Nothing here is listed by hand, so that a new public name, or a new room, is in the reference by being exported.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import griffe
from mkdocs.structure.files import File, Files
from sources import Public, library, public_names

KINDS = {"Functions": griffe.Function, "Classes": griffe.Class, "Constants": griffe.Attribute}
ORDER = tuple(KINDS)


def on_config(config: Any) -> Any:
    """Add a page for each room to the navigation's reference, and say where the sources are."""
    library()
    (reference,) = [item["Reference"] for item in config.nav if "Reference" in item]
    reference += [{title: [{room.rpartition(".")[2]: address(room)} for room in group]} for title, group in _parts()]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Make the pages."""
    files.append(File.generated(config, "reference/index.md", content=overview()))
    for room in rooms():
        files.append(File.generated(config, address(room), content=page(room)))
    return files


def rooms() -> list[str]:
    """Folders that define a public name, in the order of the parts."""
    return list(dict.fromkeys(public.room for public in sorted(public_names(), key=lambda each: each.room)))


def _parts() -> Iterator[tuple[str, list[str]]]:
    order = {"tasks": 0, "circuits": 1, "analyses": 2}
    ordered = sorted(rooms(), key=lambda room: order[room.partition(".")[0]])
    yield from ((part, list(group)) for part, group in groupby(ordered, lambda room: room.partition(".")[0]))


def address(room: str) -> str:
    """The page of a room."""
    return f"reference/{room.replace('.', '-')}.md"


def about(room: str) -> str:
    """What the folder's own docstring says."""
    docstring = library()[room].docstring
    return docstring.value.partition("\n")[0] if docstring else ""


def of_room(room: str) -> dict[str, list[Public]]:
    """The names that a room defines, by kind, in alphabetical order."""
    found = sorted((each for each in public_names() if each.room == room), key=lambda each: each.name.lower())
    return {kind: [each for each in found if isinstance(each.found, KINDS[kind])] for kind in ORDER}


def page(room: str) -> str:
    """A list of what is there, and then each in full."""
    kinds = {kind: names for kind, names in of_room(room).items() if names}
    listed = "\n".join(row(each) for names in kinds.values() for each in names)
    full = "\n".join(f"## {kind}\n\n" + "\n".join(map(block, names)) for kind, names in kinds.items())
    return f"# {room}\n\n{about(room)}\n\n| name | what it is |\n|---|---|\n{listed}\n\n{full}"


def row(public: Public) -> str:
    """A line of the list."""
    says = public.says.replace("|", "\\|")
    return f"| [`{public.name}`][{public.found.canonical_path}] | {says} |"


def block(public: Public) -> str:
    """What mkdocstrings renders, under the name by which it is imported."""
    options = f"      heading: {public.part}.{public.name}\n      toc_label: {public.name}\n"
    return f"::: {public.found.canonical_path}\n    options:\n{options}"


def overview() -> str:
    """All rooms on one page."""
    opening = (
        "Every public name, by the folder that defines it; import it from its part, as in `from grokscope import analyses`."
    )
    rooms = [room for _, group in _parts() for room in group]
    return "\n\n".join(["# Reference", opening, *map(summary, rooms)]) + "\n"


def summary(room: str) -> str:
    """A room by its heading, its purpose and its names."""
    return f"## [{room}]({address(room).removeprefix('reference/')})\n\n{about(room)}\n\n{_names(room)}"


def _names(room: str) -> str:
    return " · ".join(f"[`{each.name}`][{each.found.canonical_path}]" for names in of_room(room).values() for each in names)
