// What the page holds, made ready to be drawn: numbers unpacked, names from nodes, what feeds what.

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

// A picture's tables as objects.
function named(picture) {
  const nodes = picture.nodes.map(([name, label, column, row, slot, width], i) => ({ i, name, label, column, row, slot, width }));
  const inputs = picture.inputs.map(([name, look, node]) => ({ name, look, node }));
  const rows = picture.rows.map(([text, layer, n, parts]) => ({ text, layer, n, parts }));
  return { columns: picture.columns, rows, nodes, inputs, nodeOf: new Map(nodes.map((node) => [node.name, node])) };
}

// A graph with what follows from its tables. Its edges are known by their numbers; `merged` is the picture by weights.
function prepared(graph) {
  const spread = (runs) => runs.flatMap((first, i) => (i % 2 ? [] : Array.from({ length: runs[i + 1] }, (_, j) => first + j)));
  const outputs = graph.outputs.map(spread);
  const made = { ...graph, ...named(graph), outputs: (i) => outputs[graph.receivers[i]] };
  made.entered = (i) => made.inputs[graph.receivers[i]].node;
  made.lookOf = (i) => made.inputs[graph.receivers[i]].look;
  const carried = new Map();
  made.carried = (i) => { // [where what it feeds reads it, where that writes], as far as these are two positions
    if (!carried.has(i)) {
      const pairs = made.outputs(i).map((output) => [carriedFrom(made, made.entered(i), output), output]);
      carried.set(i, pairs.filter(([from, output]) => from !== output));
    }
    return carried.get(i);
  };
  made.merged = graph.merged && named(graph.merged);
  if (made.merged) made.merged.shown = [...new Set(graph.shown.map((node) => graph.fold[node]))];
  return made;
}

function edgeName(graph, i) {
  return `${graph.nodes[graph.senders[i]].name} -> ${graph.inputs[graph.receivers[i]].name}`;
}

// The edge of a name, or −1.
function edgeOf(graph, name) {
  graph.places = graph.places || new Map(graph.senders.map((_, i) => [edgeName(graph, i), i]));
  return graph.places.has(name) ? graph.places.get(name) : -1;
}

// The component of an output where its input is read; heads that share an input each carry it from their own place.
function carriedFrom(graph, read, output) {
  const name = graph.nodes[read].name;
  const found = graph.nodeOf.get(graph.nodes[output].label + name.slice(graph.nodes[read].label.length));
  return found ? found.i : output;
}

// The circuit that a panel shows at a step: the last one up to it.
function frameAt(panel, step) {
  const upTo = panel.frames.filter((frame) => frame.step === null || step === null || frame.step <= step);
  return upTo[upTo.length - 1] || panel.frames[0];
}

// Numbers of the edges by |effect|, strongest first; those without a number are left out.
function ranked(frame) {
  if (!frame.ranked) {
    const strength = (i) => Math.abs(frame.effect[i]);
    frame.ranked = frame.effect.map((_, i) => i).filter((i) => frame.effect[i] !== null);
    frame.ranked.sort((a, b) => strength(b) - strength(a) || a - b);
  }
  return frame.ranked;
}

function isEstimated(frame, i) {
  frame.estimates = frame.estimates || new Set(frame.estimated);
  return frame.estimates.has(i);
}

function isKept(frame, i) {
  frame.keptOnes = frame.keptOnes || new Set(frame.kept);
  return frame.keptOnes.has(i);
}

// The comparison of two panels at a step, the second's effects minus the first's; null if they were not compared.
function comparisonOf(data, [a, b], step) {
  const of = (x, y) => data.differences.filter((each) => each.a === x && each.b === y);
  const upTo = (all) => all.filter((each) => each.step === null || step === null || each.step <= step).pop() || all[0] || null;
  const found = upTo(of(a, b));
  if (found || a === b) return found;
  const turned = upTo(of(b, a));
  return turned && negated(turned);
}

function negated(comparison) {
  if (!comparison.negated) {
    const minus = (list) => list.map((x) => (x === null ? null : -x));
    const turn = (each) => ({ ...each, value: minus(each.value), low: minus(each.high), high: minus(each.low) });
    comparison.negated = { ...turn(comparison), a: comparison.b, b: comparison.a, nodes: turn(comparison.nodes) };
  }
  return comparison.negated;
}

// Whether an interval excludes zero; null where there is none.
function excludesZero(low, high) {
  return low === null || high === null ? null : low > 0 || high < 0;
}

// Which panels can be compared: those with one table of edges that the library compared.
function couplesOf(data) {
  const found = new Map(data.differences.map(({ a, b }) => [`${a} ${b}`, [a, b]]));
  return [...found.values()];
}
