"""What is learned (`tasks`), what was found in a model (`circuits`), and how that is measured (`analyses`).

Each of the three is imported when it is first used.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, _, _parts = lazy_loader.attach(__name__, submodules=["analyses", "circuits", "tasks"])
__all__ = ["__version__", *_parts]


def __dir__() -> list[str]:
    return __all__
