"""Examples are no package: their modules are loaded by where they are."""

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]


@cache
def example(file: str) -> ModuleType:
    """The module of a file, given from the repository's root."""
    spec = importlib.util.spec_from_file_location(f"example_{Path(file).stem}", ROOT / file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
