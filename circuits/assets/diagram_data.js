// What the page holds, made ready to be drawn: numbers unpacked, edges between places, names and curves from nodes.

const ARRAYS = { f32: Float32Array, u16: Uint16Array, u32: Uint32Array };

// The numbers that the library packed; what is not one is null.
function unpack(held) {
  const [[kind, text]] = Object.entries(held);
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  return Array.from(new ARRAYS[kind](bytes.buffer), (x) => (Number.isNaN(x) ? null : x));
}

function parse(text) {
  const isPacked = (value) => value && Object.keys(ARRAYS).some((kind) => typeof value[kind] === "string");
  return JSON.parse(text, (key, value) => (isPacked(value) ? unpack(value) : value));
}

// A graph with what follows from its tables; `merged` gets edges too: one for all that share sender and input there.
function prepared(graph, looks) {
  const spread = (runs) => runs.flatMap((first, i) => (i % 2 ? [] : Array.from({ length: runs[i + 1] }, (_, j) => first + j)));
  const outputs = graph.outputs.map(spread);
  const made = { ...graph, looks, outputs: (i) => outputs[graph.receivers[i]], merged: null };
  if (!graph.merged) return made;
  const merged = { ...graph.merged, looks, senders: [], receivers: [] };
  const places = new Map();
  made.of_weights = graph.senders.map((sender, i) => {
    const [from, into] = [graph.fold[sender], graph.fold_inputs[graph.receivers[i]]];
    const key = from * merged.inputs.length + into;
    if (!places.has(key)) {
      places.set(key, places.size);
      merged.senders.push(from);
      merged.receivers.push(into);
    }
    return places.get(key);
  });
  return { ...made, merged };
}

function nameOf(view, i) {
  return `${view.nodes[view.senders[i]][0]} -> ${view.inputs[view.receivers[i]][0]}`;
}

// The edge of a name, or −1.
function placeOf(view, name) {
  view.places = view.places || new Map(view.senders.map((_, i) => [nameOf(view, i), i]));
  return view.places.has(name) ? view.places.get(name) : -1;
}

function entered(view, i) {
  return view.inputs[view.receivers[i]][2];
}

function lookOf(view, i) {
  return view.looks[view.inputs[view.receivers[i]][1]];
}

// The four points of an edge's curve, as in layout.py, which draws the still picture.
function curveOf(view, i, { nodeHeight, rowHeight, marginLeft, reach }) {
  const [, bulge, port] = lookOf(view, i);
  const [, , x0, below, width0] = view.nodes[view.senders[i]];
  const [, , x, above, width1] = view.nodes[entered(view, i)];
  const [x1, y0, y1] = [x + port, below - nodeHeight / 2, above + nodeHeight / 2];
  const width = Math.max(width0, width1);
  if (y1 >= y0) {
    const around = bulge * (width + 40);
    return [[x0, y0], [x0 + around, y0 - 0.8 * rowHeight], [x1 + around, y1 + 0.8 * rowHeight], [x1, y1]];
  }
  const apart = Math.abs(y0 - y1) / view.row_height;
  const swing = bulge * (apart < 1 ? 0 : Math.min(width + 9 * apart, reach * view.column_width));
  const lift = 0.35 * (y0 - y1);
  const middle = marginLeft + view.column_width * (Math.floor((x0 - marginLeft) / view.column_width) + 0.5);
  const pulled = (at) => Math.min(Math.max(at + swing, middle - reach * view.column_width), middle + reach * view.column_width);
  return [[x0, y0], [pulled(x0), y0 - lift], [pulled(x1), y1 + lift], [x1, y1]];
}

// The component of an output where its input is read; heads that share an input each carry it from their own place.
function carriedFrom(graph, read, output) {
  graph.nodeOf = graph.nodeOf || new Map(graph.nodes.map(([name], i) => [name, i]));
  const [name, component] = graph.nodes[read];
  return graph.nodeOf.get(graph.nodes[output][1] + name.slice(component.length));
}

// The arc from where an input is read to the output at another position.
function moveCurve(view, from, to) {
  const [, , x0, y, width0] = view.nodes[from];
  const [, , x1, , width1] = view.nodes[to];
  const side = x1 > x0 ? 1 : -1;
  const [start, end] = [x0 + (side * width0) / 2, x1 - (side * width1) / 2];
  return [[start, y], [start + side * 30, y - 12], [end - side * 30, y - 12], [end, y]];
}

function pathOf(points) {
  const [start, ...others] = points.map((point) => point.map((x) => x.toFixed(1)).join(" "));
  return `M${start} C${others.join(" ")}`;
}

function middleOf(points) {
  return [0, 1].map((k) => (points[0][k] + 3 * points[1][k] + 3 * points[2][k] + points[3][k]) / 8);
}
