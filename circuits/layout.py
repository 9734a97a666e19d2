"""Where the nodes and edges of a picture go: positions across, steps upwards, what is idle folded away.

Data before pictures: places depend on the picture and on which nodes are shown alone, never on a threshold, so that a
difference on screen is a difference between circuits. A column or row without a shown node is a thin gap; a node that is
not shown has its point there, or beside the shown ones of its cell.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from .picture import Look, Picture
from .plain_text import counted

NODE_HEIGHT, NODE_GAP = 20.0, 6.0
SIDE = 22.0  # a column is as wide as its fullest cell, with room for curves at its sides
LEAST_COLUMN, MOST_COLUMN, WIDTH = 86.0, 112.0, 380.0  # few columns are wider, until the picture is that wide
LEAST_ROW, MOST_ROW, HEIGHT, ASPECT = 36.0, 92.0, 430.0, 0.42  # few rows likewise; a wide picture is higher, too
FOLDED_COLUMN, FOLDED_ROW, FOLDED_STEP = 64.0, 26.0, 12.0  # a gap for layers, and one within a layer
MARGIN_LEFT, MARGIN_TOP, MARGIN_BOTTOM = 84.0, 14.0, 44.0
REACH = 0.58  # how far from the middle of a column its edges are pulled, in its widths: no curve leaves the column
CONSTANTS = {
    "nodeHeight": NODE_HEIGHT,
    "nodeGap": NODE_GAP,
    "side": SIDE,
    "leastColumn": LEAST_COLUMN,
    "mostColumn": MOST_COLUMN,
    "width": WIDTH,
    "leastRow": LEAST_ROW,
    "mostRow": MOST_ROW,
    "height": HEIGHT,
    "aspect": ASPECT,
    "foldedColumn": FOLDED_COLUMN,
    "foldedRow": FOLDED_ROW,
    "foldedStep": FOLDED_STEP,
    "marginLeft": MARGIN_LEFT,
    "marginTop": MARGIN_TOP,
    "marginBottom": MARGIN_BOTTOM,
    "reach": REACH,
}
"""For the page's script."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Band:
    """A column or row, or a run of folded ones: which, where its middle is, its size, and what it says."""

    members: tuple[int, ...]
    middle: float
    size: float
    text: str
    is_folded: bool


@dataclass(frozen=True)
class Layout:
    """Places of a picture, in pixels, y downwards.

    Attributes:
        width, height: of all of it.
        columns, rows: from left to right, and from the first step upwards.
        row_texts: what stands at the left, and its y: a layer once, beside the middle of its rows.
        nodes: the middle of each node.
        shown: the numbers of those that have a box.
        row_size: how far rows are apart that are not folded.
    """

    picture: Picture
    width: float
    height: float
    columns: tuple[Band, ...]
    rows: tuple[Band, ...]
    row_texts: tuple[tuple[str, float], ...]
    nodes: tuple[Point, ...]
    shown: frozenset[int]
    row_size: float

    def curve(self, sender: int, entry: int) -> list[Point]:
        """The four points of the Bézier curve of an edge; one that leads downwards, between loops, goes around."""
        _, look, entered = self.picture.inputs[entry]
        column = self._band(self.picture.nodes[sender].column)
        from_node, to_node = self.picture.nodes[sender], self.picture.nodes[entered]
        wider = max(from_node.width, to_node.width)
        return _curve(self.nodes[sender], self.nodes[entered], self.picture.looks[look], wider, column, self.row_size)

    def move(self, source: int, target: int) -> list[Point]:
        """The arc along which something is carried from one column to another."""
        (x0, y0), (x1, y1) = self.nodes[source], self.nodes[target]
        side = 1.0 if x1 > x0 else -1.0
        start = x0 + side * self.picture.nodes[source].width / 2
        end = x1 - side * self.picture.nodes[target].width / 2
        lift = 12 + 0.05 * abs(x1 - x0)
        return [(start, y0), (start + side * 30, y0 - lift), (end - side * 30, y1 - lift), (end, y1)]

    def _band(self, column: int) -> Band:
        return next(band for band in self.columns if column in band.members)


def layout_of(picture: Picture, shown: Collection[int]) -> Layout:
    """Lay a picture out.

    Args:
        picture: what is drawn.
        shown: the numbers of the nodes that get boxes; columns and rows without one are folded.
    """
    shown = frozenset(shown)
    cells = _cells(picture, shown)
    columns = _columns(picture, cells)
    width = columns[-1].middle + columns[-1].size / 2 if columns else MARGIN_LEFT
    height, row_size, rows = _rows(picture, {row for _, row in cells}, width - MARGIN_LEFT)
    x = {member: band.middle for band in columns for member in band.members}
    y = {member: band.middle for band in rows for member in band.members}
    nodes = []
    for number, node in enumerate(picture.nodes):
        cell = cells.get((node.column, node.row), [])
        nodes.append((x[node.column] + _aside(picture, cell, number), y[node.row]))
    return Layout(picture, width, height, columns, rows, _row_texts(picture, rows), tuple(nodes), shown, row_size)


def _cells(picture: Picture, shown: frozenset[int]) -> dict[tuple[int, int], list[int]]:
    """The shown nodes by column and row, from left to right."""
    found: dict[tuple[int, int], list[int]] = {}
    for number in sorted(shown, key=lambda number: picture.nodes[number].slot):
        node = picture.nodes[number]
        found.setdefault((node.column, node.row), []).append(number)
    return found


def _content(picture: Picture, cell: Sequence[int]) -> float:
    """How wide the nodes of a cell are together."""
    return sum(picture.nodes[number].width + NODE_GAP for number in cell)


def _aside(picture: Picture, cell: Sequence[int], number: int) -> float:
    """How far a node is from the middle of its column: in its cell, or beside it if it is not shown."""
    at = -_content(picture, cell) / 2
    for each in cell:
        step = picture.nodes[each].width + NODE_GAP
        if each == number:
            return at + step / 2
        at += step
    return at + 8.0 if cell else 0.0


def _columns(picture: Picture, cells: dict[tuple[int, int], list[int]]) -> tuple[Band, ...]:
    contents = {}
    for (column, _), cell in cells.items():
        contents[column] = max(contents.get(column, 0.0), _content(picture, cell))
    least = min(MOST_COLUMN, max(LEAST_COLUMN, WIDTH / max(1, len(contents))))
    at, bands = MARGIN_LEFT, []
    for is_folded, run in groupby(range(len(picture.columns)), lambda column: column not in contents):
        members = tuple(run)
        for part in [members] if is_folded else [(member,) for member in members]:
            size = FOLDED_COLUMN if is_folded else max(least, contents[part[0]] + 2 * SIDE)
            text = picture.columns[part[0]] if len(part) == 1 else counted(len(part), "position")
            bands.append(Band(part, at + size / 2, size, text, is_folded))
            at += size
    return tuple(bands)


def _rows(picture: Picture, live: set[int], width: float) -> tuple[float, float, tuple[Band, ...]]:
    """The height of the picture, that of a row, and the rows."""
    each = min(MOST_ROW, max(LEAST_ROW, max(HEIGHT, ASPECT * width) / max(1, len(live))))
    up, bands = MARGIN_BOTTOM, []
    for is_folded, run in groupby(range(len(picture.rows)), lambda row: row not in live):
        members = tuple(run)
        whole = _whole_layers(picture, members) if is_folded else set()
        for part in [members] if is_folded else [(member,) for member in members]:
            size = each if not is_folded else FOLDED_ROW if whole else FOLDED_STEP
            text = (
                counted(len(whole), "layer")
                if len(whole) > 1
                else ""
                if is_folded and not whole
                else next(picture.rows[row].text for row in part if not whole or picture.rows[row].layer in whole)
            )
            bands.append(Band(part, up + size / 2, size, text, is_folded))
            up += size
    height = up + MARGIN_TOP
    flipped = [Band(band.members, height - band.middle, band.size, band.text, band.is_folded) for band in bands]
    return height, each, tuple(flipped)


def _whole_layers(picture: Picture, rows: Sequence[int]) -> set[int]:
    """The layers that have all their rows among these."""
    inside = {picture.rows[row].layer for row in rows}
    outside = {row.layer for number, row in enumerate(picture.rows) if number not in rows}
    return {layer for layer in inside - outside if layer >= 0}


def _row_texts(picture: Picture, rows: Sequence[Band]) -> tuple[tuple[str, float], ...]:
    found: dict[str, list[float]] = {}
    for band in rows:
        if band.text:
            key = (
                f"{band.text}\n{band.members[0]}"
                if band.is_folded
                else f"{band.text}\n{picture.rows[band.members[0]].layer}"
            )
            found.setdefault(key, []).append(band.middle)
    return tuple((text.partition("\n")[0], sum(ys) / len(ys)) for text, ys in found.items())


def _curve(start: Point, end: Point, look: Look, width: float, column: Band, row: float) -> list[Point]:
    bulge, port = look.bulge, look.port
    (x0, y0), (x1, y1) = start, end
    x1, y0, y1 = x1 + port, y0 - NODE_HEIGHT / 2, y1 + NODE_HEIGHT / 2
    if y1 >= y0:
        around = bulge * (width + 40.0)
        return [(x0, y0), (x0 + around, y0 - 30), (x1 + around, y1 + 30), (x1, y1)]
    lift = 0.35 * (y0 - y1)
    if abs(x1 - x0) > column.size:  # into another column, as edges between positions are
        return [(x0, y0), (x0, y0 - lift), (x1, y1 + lift), (x1, y1)]
    is_next = y0 - y1 < 1.2 * row - NODE_HEIGHT  # nothing lies between
    swing = bulge * (0.0 if is_next else min(width + 0.2 * (y0 - y1), REACH * column.size))
    least, most = column.middle - REACH * column.size, column.middle + REACH * column.size
    pulled = [min(max(x + swing, least), most) for x in (x0, x1)]
    return [(x0, y0), (pulled[0], y0 - lift), (pulled[1], y1 + lift), (x1, y1)]


def svg_path(points: Sequence[Point]) -> str:
    """A Bézier curve as SVG writes it."""
    start, *others = (f"{x:.1f} {y:.1f}" for x, y in points)
    return f"M{start} C{' '.join(others)}"
