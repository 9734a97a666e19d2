"""Every kind of result of the library."""

import importlib
import pkgutil

import grokscope
from grokscope import analyses, circuits, tasks
from grokscope.circuits.result import _KINDS

for _part in (analyses, circuits, tasks):
    for _module in pkgutil.walk_packages(_part.__path__, f"{_part.__name__}."):
        if not _module.name.endswith("__main__"):
            importlib.import_module(_module.name)

KINDS = {name: kind for name, kind in sorted(_KINDS.items()) if kind.__module__.startswith(f"{grokscope.__name__}.")}
