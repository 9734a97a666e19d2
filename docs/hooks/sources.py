"""The library as it is installed, for reading only: its packages lie in several folders here, and under one name there."""

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import griffe

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / "build" / "site_sources"
PARTS = ("tasks", "circuits", "analyses")


class Public(NamedTuple):
    """A public name: the part that exports it, and the object itself, where it is defined."""

    part: str
    name: str
    found: griffe.Object

    @property
    def room(self) -> str:
        """The folder that defines it, as `analyses.bridge`; `circuits` has no folders."""
        package, _, folder = self.found.canonical_path.removeprefix("grokscope.").partition(".")
        return package if package == "circuits" else f"{package}.{folder.partition('.')[0]}"

    @property
    def says(self) -> str:
        """The first line of its docstring."""
        return self.found.docstring.value.partition("\n")[0] if self.found.docstring else ""


def copy_sources() -> None:
    """Put the packages where `import grokscope` would look; nothing is imported, so torch need not be there."""
    shutil.rmtree(INSTALLED, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__", "assets")
    shutil.copytree(ROOT / "src" / "grokscope", INSTALLED / "grokscope", ignore=ignore)
    for part in PARTS:
        shutil.copytree(ROOT / part, INSTALLED / "grokscope" / part, ignore=ignore)


@cache
def library() -> griffe.Module:
    """What griffe reads without running it."""
    copy_sources()
    return griffe.load("grokscope", search_paths=[INSTALLED], allow_inspection=False)  # pyright: ignore[reportReturnType]


@cache
def public_names() -> tuple[Public, ...]:
    """Every name in the `__all__` of a part, in that order."""
    return tuple(Public(part, name, _defined(part, name)) for part in PARTS for name in _exported(part))


def _exported(part: str) -> Iterator[str]:
    yield from (str(getattr(name, "name", name)) for name in library()[part].exports or ())


def _defined(part: str, name: str) -> griffe.Object:
    """Where a name is imported from: a function may be called like its module, and then the member is the module."""
    package = library()[part]
    found = library()[package.imports[name].removeprefix("grokscope.")] if name in package.imports else package[name]
    return found.final_target if found.is_alias else found
