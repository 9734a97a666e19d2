"""The one skeleton of every HTML page that is written, and what such a page may do.

A page works from a file, loads nothing and sends nothing. Its content-security policy says so to the browser: the only
scripts that run are those whose text was declared, by their hashes, so that a script which got into a page by a name is
not run even if nothing escaped it. A policy is for whole pages; in a notebook it is the notebook's that counts.
"""

import base64
import hashlib
import html
from collections.abc import Iterable
from pathlib import Path

from .arguments import refuse
from .destination import page_problems
from .writing import write_atomic

BODY = "<!-- grokscope: the body -->"


def policy(scripts: Iterable[str]) -> str:
    """The content-security policy of a page that runs these scripts and no others.

    Plotly and CircuitsVis set styles on elements, so these are allowed; they can load nothing. An image can come from the
    page itself only, which is how plotly makes a PNG.

    >>> policy([])[:38]
    "default-src 'none'; script-src 'none';"
    """
    allowed = " ".join(dict.fromkeys(map(_hash, scripts))) or "'none'"
    rules = ("default-src 'none'", f"script-src {allowed}", "style-src 'unsafe-inline'", "img-src data: blob:")
    return "; ".join((*rules, "base-uri 'none'", "form-action 'none'"))


def page_of(title: str, body: str, *, scripts: Iterable[str], style: str = "") -> str:
    """A whole page.

    Args:
        title: any text.
        body: HTML.
        scripts: the texts of those that it runs, as they stand between their tags or are put there by another one.
        style: a style sheet.
    """
    rules = f"<style>{style}</style>" if style else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(scripts)}">'
        f'<meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>{rules}</head>'
        f'<body class="grokscope-page">{body}</body></html>'
    )


def save_page(path: str | Path, title: str, body: str, *, scripts: Iterable[str], style: str = "") -> Path:
    """Write a fragment as a page; returns the path. See `page_of`.

    Raises:
        ValueError: if it cannot be written there, or the file's name ends as that of something else than a page.
    """
    refuse(page_problems(path=path))
    return write_atomic(Path(path), page_of(title, body, scripts=scripts, style=style))


def _hash(script: str) -> str:
    """How a policy names a script; browsers read every end of a line as one character."""
    text = script.replace("\r\n", "\n").replace("\r", "\n")
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
