"""Text of figures that is shown as it is: plotly reads `<…>` as markup, `&…;` as one character and `$…$` as a formula."""

ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"})


def escaped(text: str) -> str:
    """The text as plotly is to be given it.

    >>> escaped("a<b>$c$")
    'a&lt;b&gt;&#36;c&#36;'
    """
    return text.translate(ESCAPES)
