"""What is learned (`tasks`), what was found in a model (`circuits`), and how that is measured (`analyses`).

Each of the three is imported when it is first used.
"""

import lazy_loader

__version__ = "0.1.0"

__all__ = ["analyses", "circuits", "tasks"]  # pyright: ignore[reportUnsupportedDunderAll]
__getattr__, _, _ = lazy_loader.attach(__name__, submodules=__all__)


def __dir__() -> list[str]:
    return ["__version__", *__all__]
