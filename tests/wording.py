"""What a report for readers must not say: Python's words, numbers that are none, and n of nothing."""

import html
import re

PYTHON = {
    "an infinite number": re.compile(r"(?<![\w-])-?inf(?![\w-])"),
    "a number that is none": re.compile(r"(?<![\w-])nan(?![\w-])"),
    "a zero with a sign": re.compile(r"[-−]0(\.0+)?(?![\d.])"),
    "a truth value": re.compile(r"\b(True|False|None)\b"),
    "a dict": re.compile(r"\{[^{}]*:[^{}]*\}"),
    "a list": re.compile(r"\[['\"(]|\(\d+,\)"),
    "backticks": re.compile("`"),
    "n of nothing": re.compile(r"\bn = 0\b|(?<!\d)(?<!\d,)(?<!of )\b0 graphs\b"),
}


def said(page: str) -> list[str]:
    """The texts of a page that readers see, figures' titles included: cells, captions, paragraphs."""
    titles = re.findall(r'"title":\{(?:"font":\{[^}]*\},)?"text":"((?:[^"\\]|\\.)*)"', page)
    shown = re.sub(r"<(script|style|svg)\b.*?</\1>", "", page, flags=re.DOTALL)
    texts = re.sub(r"<[^>]*>", "\n", re.sub(r"</?(code|b|i|a|span)\b[^>]*>", "", shown)).split("\n")
    return [text.strip() for text in (*map(html.unescape, texts), *titles) if text.strip()]


COUNTS = re.compile(r"n|n_\w+|(\w+ )?(graphs|runs|edges|questions|trainings|step|added)|random circuits")
"""Headings of columns of whole numbers."""


def problems(page: str) -> list[str]:
    """What is said as no reader should have to read it, with the text."""
    found = [f"{what}: {text}" for text in said(page) for what, sign in PYTHON.items() if sign.search(text)]
    for table in re.findall(r"<table\b.*?</table>", page, re.DOTALL):
        names = re.findall(r"<th\b[^>]*>(.*?)</th>", table, re.DOTALL)
        for row in re.findall(r"<tr\b[^>]*>\s*(<td.*?)</tr>", table, re.DOTALL):
            cells = zip(names, re.findall(r"<td\b[^>]*>(.*?)</td>", row, re.DOTALL), strict=False)
            found += [
                f"a count with decimals: {name} {cell}" for name, cell in cells if COUNTS.fullmatch(name) and "." in cell
            ]
    return found
