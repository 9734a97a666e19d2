"""A link inside the built site that leads nowhere fails the build: mkdocs itself looks at none of a notebook."""

import logging
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

log = logging.getLogger("mkdocs.hooks.built_links")


class Links(HTMLParser):
    """What a page links to, and the places in it that can be linked to."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.places: set[str] = {""}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links, sources and ids."""
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        self.targets += [given[name] for name in ("href", "src") if name in given]


@cache
def links(path: Path) -> Links:
    """Those of a page."""
    found = Links()
    found.feed(path.read_text(encoding="utf-8"))
    return found


def on_post_build(config: Any) -> None:
    """Warn of each; a strict build then fails."""
    site = Path(config.site_dir)
    for page in sorted(site.rglob("*.html")):
        for target in broken(page):
            log.warning("%s links to %s, which is not there", page.relative_to(site), target)


def broken(page: Path) -> Iterator[str]:
    """Links of a page to files or places that are not in the site."""
    for target in dict.fromkeys(links(page).targets):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc or page.name == "404.html":
            continue
        path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not path.exists() or (path.suffix == ".html" and unquote(parts.fragment) not in links(path).places):
            yield target
