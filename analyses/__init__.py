"""How it is measured and what it means: lens, patching, discovery, faithfulness.

Its public names are listed in `__init__.pyi`; a name's module is imported when the name is first used.
"""

import lazy_loader

if not __name__.startswith("grokscope."):
    raise ImportError(f"`{__name__}` is a part of grokscope; write `from grokscope import {__name__}`")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
