"""The Python that documents give."""

import re
from pathlib import Path


def python_blocks(page: Path) -> list[str]:
    """All blocks of Python on a page of markdown, in order."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
