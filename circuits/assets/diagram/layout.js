// Where nodes and edges go, as in layout.py, which draws the still picture: the same picture and shown nodes, the same places.

// `stretch` sets rows further apart, for windows that are higher than wide.
function layoutOf(picture, shown, c, stretch = 1) {
  const cells = new Map();
  for (const node of picture.nodes.filter(({ i }) => shown.has(i)).sort((a, b) => a.slot - b.slot)) {
    const key = `${node.column} ${node.row}`;
    cells.set(key, [...(cells.get(key) || []), node]);
  }
  const content = (cell) => cell.reduce((sum, node) => sum + node.width + c.nodeGap, 0);
  const columns = columnsOf(picture, cells, content, c);
  const last = columns[columns.length - 1];
  const width = last ? last.middle + last.size / 2 : c.marginLeft;
  const live = new Set([...cells.values()].flat().map((node) => node.row));
  const { height, rows, rowSize } = rowsOf(picture, live, width - c.marginLeft, c, stretch);
  const middles = (bands) => new Map(bands.flatMap((band) => band.members.map((member) => [member, band.middle])));
  const [x, y] = [middles(columns), middles(rows)];
  const aside = (cell, node) => {
    let at = -content(cell) / 2;
    for (const each of cell) {
      if (each.i === node.i) return at + (each.width + c.nodeGap) / 2;
      at += each.width + c.nodeGap;
    }
    return cell.length ? at + 8 : 0;
  };
  const nodes = picture.nodes.map((node) => [
    x.get(node.column) + aside(cells.get(`${node.column} ${node.row}`) || [], node), y.get(node.row)]);
  const bandOf = new Map(columns.flatMap((band) => band.members.map((member) => [member, band])));
  return { picture, width, height, columns, rows, rowTexts: rowTextsOf(picture, rows), nodes, shown, rowSize, bandOf, c };
}

// Runs of neighbours that are alike: [whether they are folded, their numbers].
function runsOf(n, isFolded) {
  const runs = [];
  for (let i = 0; i < n; i++) {
    if (runs.length && runs[runs.length - 1][0] && isFolded(i)) runs[runs.length - 1][1].push(i);
    else runs.push([isFolded(i), [i]]);
  }
  return runs;
}

function counted(n, what) {
  return `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
}

function columnsOf(picture, cells, content, c) {
  const contents = new Map();
  for (const cell of cells.values()) {
    const column = cell[0].column;
    contents.set(column, Math.max(contents.get(column) || 0, content(cell)));
  }
  const least = Math.min(c.mostColumn, Math.max(c.leastColumn, c.width / Math.max(1, contents.size)));
  let at = c.marginLeft;
  return runsOf(picture.columns.length, (column) => !contents.has(column)).map(([isFolded, members]) => {
    const size = isFolded ? c.foldedColumn : Math.max(least, contents.get(members[0]) + 2 * c.side);
    const text = members.length === 1 ? picture.columns[members[0]] : counted(members.length, "position");
    const band = { members, middle: at + size / 2, size, text, isFolded };
    at += size;
    return band;
  });
}

function rowsOf(picture, live, width, c, stretch) {
  const rowSize = stretch * Math.min(c.mostRow, Math.max(c.leastRow, Math.max(c.height, c.aspect * width) / Math.max(1, live.size)));
  let up = c.marginBottom;
  const bands = runsOf(picture.rows.length, (row) => !live.has(row)).map(([isFolded, members]) => {
    const whole = isFolded ? wholeLayers(picture, members) : [];
    const size = !isFolded ? rowSize : whole.length ? c.foldedRow : c.foldedStep;
    const named = members.find((row) => !whole.length || whole.includes(picture.rows[row].layer));
    const text = whole.length > 1 ? counted(whole.length, "layer") : isFolded && !whole.length ? "" : picture.rows[named].text;
    const band = { members, up: up + size / 2, size, text, isFolded };
    up += size;
    return band;
  });
  const height = up + c.marginTop;
  return { height, rowSize, rows: bands.map((band) => ({ ...band, middle: height - band.up })) };
}

function wholeLayers(picture, rows) {
  const inside = new Set(rows.map((row) => picture.rows[row].layer));
  const outside = new Set(picture.rows.filter((_, row) => !rows.includes(row)).map((row) => row.layer));
  return [...inside].filter((layer) => layer >= 0 && !outside.has(layer));
}

// What stands at the left: [text, y, band]; a layer once, beside the middle of its rows.
function rowTextsOf(picture, rows) {
  const found = new Map();
  for (const band of rows.filter(({ text }) => text)) {
    const key = band.isFolded ? `${band.text}\n${band.members[0]}` : `${band.text}\n${picture.rows[band.members[0]].layer}`;
    const [ys, bands] = found.get(key) || [[], []];
    found.set(key, [[...ys, band.middle], [...bands, band]]);
  }
  return [...found].map(([key, [ys, bands]]) => [key.split("\n")[0], ys.reduce((a, b) => a + b) / ys.length, bands]);
}

// The four points of an edge's curve, between places [x, y] with boxes of a width.
function curveOf([x0, below], [x, above], [, , bulge, port], width, column, rowSize, c) {
  const [x1, y0, y1] = [x + port, below - c.nodeHeight / 2, above + c.nodeHeight / 2];
  if (y1 >= y0) {
    const around = bulge * (width + 40);
    return [[x0, y0], [x0 + around, y0 - 30], [x1 + around, y1 + 30], [x1, y1]];
  }
  const lift = 0.35 * (y0 - y1);
  if (Math.abs(x1 - x0) > column.size) return [[x0, y0], [x0, y0 - lift], [x1, y1 + lift], [x1, y1]];
  const isNext = y0 - y1 < 1.2 * rowSize - c.nodeHeight;
  const swing = bulge * (isNext ? 0 : Math.min(width + 0.2 * (y0 - y1), c.reach * column.size));
  const pulled = (at) => Math.min(Math.max(at + swing, column.middle - c.reach * column.size), column.middle + c.reach * column.size);
  return [[x0, y0], [pulled(x0), y0 - lift], [pulled(x1), y1 + lift], [x1, y1]];
}

// The arc from where an input is read to the output at another position.
function moveCurve([x0, y0], [x1, y1], width0, width1) {
  const side = x1 > x0 ? 1 : -1;
  const [start, end] = [x0 + (side * width0) / 2, x1 - (side * width1) / 2];
  const lift = 12 + 0.05 * Math.abs(x1 - x0);
  return [[start, y0], [start + side * 30, y0 - lift], [end - side * 30, y1 - lift], [end, y1]];
}

function pathOf(points) {
  const [start, ...others] = points.map((point) => point.map((x) => x.toFixed(1)).join(" "));
  return `M${start} C${others.join(" ")}`;
}

// The point at a part t of a curve.
function pointAt(points, t) {
  const s = 1 - t;
  const [a, b, d, e] = [s * s * s, 3 * s * s * t, 3 * s * t * t, t * t * t];
  return [0, 1].map((k) => a * points[0][k] + b * points[1][k] + d * points[2][k] + e * points[3][k]);
}

// Which nodes have boxes: those of the library, and those of rows and columns that the reader unfolded.
function shownNodes(picture, base, open) {
  const shown = new Set(base);
  const live = (key) => new Set(picture.nodes.filter(({ i }) => shown.has(i)).map((node) => node[key]));
  const [columns, rows] = [live("column"), live("row")];
  const [openColumns, openRows] = [new Set(open.columns), new Set(open.rows)];
  for (const node of picture.nodes) {
    const inColumn = openColumns.has(picture.columns[node.column]);
    const inRow = openRows.has(node.row);
    if ((inColumn && (rows.has(node.row) || inRow)) || (inRow && columns.has(node.column))) shown.add(node.i);
  }
  return shown;
}
