// Pictures drawn from data and state. Nothing here listens to anything.

const SVG_NS = "http://www.w3.org/2000/svg";

function draw(name, attributes, parent, text) {
  const made = document.createElementNS(SVG_NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function tag(name, attributes, parent, text) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function set(element, key, value) {
  if (element.getAttribute(key) !== value) element.setAttribute(key, value);
}

function hide(element, hidden) {
  if (hidden) set(element, "display", "none");
  else element.removeAttribute("display");
}

// The circuit that a panel shows at the step of the state: the last one up to it.
function frameOf(panel, state) {
  const upTo = panel.frames.filter((frame) => frame.step === null || frame.step <= state.step);
  return upTo[upTo.length - 1] || panel.frames[0];
}

// Places of the edges by |effect|, strongest first; those without a number are left out.
function ranked(frame) {
  if (!frame.ranked) {
    const strength = (i) => Math.abs(frame.effect[i]);
    frame.ranked = frame.effect.map((_, i) => i).filter((i) => frame.effect[i] !== null);
    frame.ranked.sort((a, b) => strength(b) - strength(a) || a - b);
  }
  return frame.ranked;
}

// Which edges are drawn: those of the circuit, those of at least a strength, or the strongest ones.
function drawnEdges(frame, state) {
  if (state.cut === "kept") return frame.kept;
  if (state.cut === "top") return ranked(frame).slice(0, state.top);
  return ranked(frame).filter((i) => Math.abs(frame.effect[i]) >= state.threshold);
}

// What the strongest k edges keep, at the largest measured size up to k; null if all are larger.
function faithfulnessAt(panel, k) {
  return panel.curve.reduce((best, row) => (row[0] <= k && (!best || row[0] > best[0]) ? row : best), null);
}

// Edges on a path through the seeds, over the drawn edges: what feeds them and what they feed.
function traced(graph, drawn, isSeed) {
  const [leaving, writing] = [new Map(), new Map()]; // edges by the node they leave, and by the nodes that what they feed writes
  const add = (map, node, i) => (map.has(node) ? map.get(node).push(i) : map.set(node, [i]));
  for (const i of drawn) {
    add(leaving, graph.edges[i][2], i);
    for (const node of graph.outputs[i]) add(writing, node, i);
  }
  const walk = (next) => {
    const found = new Set(drawn.filter(isSeed));
    for (const i of found) next(i).forEach((j) => found.add(j)); // a set is walked with what is added on the way
    return found;
  };
  const downstream = walk((i) => graph.outputs[i].flatMap((node) => leaving.get(node) || []));
  const upstream = walk((i) => writing.get(graph.edges[i][2]) || []);
  return new Set([...downstream, ...upstream]);
}

// An empty picture of a graph: labels, nodes, and every edge and move, hidden. `panels` are the circuits it shows.
function createPicture(graph, merged, panels, title, drawing) {
  const view = merged ? graph.merged : graph;
  const size = { width: view.width, height: view.height };
  const svg = draw("svg", { ...size, viewBox: `0 0 ${view.width} ${view.height}`, tabindex: "0", role: "application" });
  svg.setAttribute("aria-label", `${title}: arrow keys move along edges and nodes, Enter traces, Escape lets go`);
  const marker = { id: "gs-arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 6, markerHeight: 6, orient: "auto" };
  draw("path", { d: "M0 0 L8 4 L0 8 z", class: "gs-arrowhead" }, draw("marker", marker, draw("defs", {}, svg)));
  for (const [text, y] of view.rows) draw("text", { class: "gs-row", x: 4, y }, svg, text);
  for (const [text, x, y] of view.columns) draw("text", { class: "gs-role", x, y }, svg, text);
  const moves = view.moves.map(([, , d]) =>
    draw("path", { class: "gs-move", d, "marker-end": "url(#gs-arrow)", display: "none" }, svg));
  const edges = view.edges.map(([name, kind, , , d], i) => {
    const rim = draw("path", { class: `gs-edge gs-into-${kind}`, d, "data-place": i, "data-edge": name, display: "none" }, svg);
    const core = panels.length > 1 ? draw("path", { class: "gs-core", d, display: "none" }, svg) : null;
    return { rim, core };
  });
  const nodes = view.nodes.map(([name, component, x, y, width], i) => {
    const group = draw("g", { class: "gs-node gs-idle", "data-node": i, "data-name": name }, svg);
    const height = drawing.nodeHeight;
    draw("rect", { x: x - width / 2, y: y - height / 2, width, height, rx: 4 }, group);
    draw("text", { x, y: y + 3.5 }, group, component);
    return group;
  });
  const labels = view.edges.map(([, , , , , x, y]) =>
    merged ? draw("text", { class: "gs-loops", x, y, display: "none" }, svg) : null);
  return { svg, graph, view, merged, panels, moves, edges, nodes, labels, marks: draw("g", {}, svg), drawing };
}

// Bring a picture up to the state.
function updatePicture(picture, state, widest) {
  const { graph, view, merged, panels } = picture;
  const frames = panels.map((panel) => frameOf(panel, state));
  const drawn = frames.map((frame) => drawnEdges(frame, state));
  const seed = seedOf(picture, state.pinned);
  const lit = drawn.map((edges) => (seed ? traced(graph, edges, seed) : new Set()));
  picture.members = view.edges.map(() => panels.map(() => []));
  drawn.forEach((edges, p) => {
    for (const i of edges) picture.members[merged ? graph.of_weights[i] : i][p].push(i);
  });
  picture.strengths = picture.members.map((byPanel) =>
    byPanel.map((edges, p) => edges.reduce((best, i) => {
      const effect = frames[p].effect[i];
      return Math.abs(effect) > Math.abs(best) ? effect : best;
    }, 0)));
  const scale = (x) => Math.max(picture.drawing.minWidth, (picture.drawing.maxWidth * Math.abs(x)) / widest).toFixed(2);
  picture.edges.forEach(({ rim, core }, place) => {
    const byPanel = picture.members[place];
    const isDrawn = byPanel.some((edges) => edges.length);
    hide(rim, !isDrawn);
    if (core) hide(core, !byPanel.every((edges) => edges.length));
    if (!isDrawn) return;
    const [a, b = 0] = picture.strengths[place];
    const isLit = byPanel.some((edges, p) => edges.some((i) => lit[p].has(i)));
    set(rim, "stroke-width", scale(Math.max(Math.abs(a), Math.abs(b))));
    let kind = `gs-edge gs-into-${view.edges[place][1]}`;
    if (core) {
      kind = `gs-edge gs-${Math.abs(a) >= Math.abs(b) ? "a" : "b"}`;
      if (!byPanel[1].length) kind += " gs-only-a";
      if (!byPanel[0].length) kind += " gs-only-b";
      set(core, "stroke-width", scale(Math.min(Math.abs(a), Math.abs(b))));
      set(core, "class", isLit ? "gs-core gs-lit" : "gs-core");
    }
    const negative = Math.abs(a) >= Math.abs(b) ? a < 0 : b < 0;
    set(rim, "class", kind + (negative ? " gs-negative" : "") + (isLit ? " gs-lit" : ""));
  });
  updateNodes(picture, drawn, lit);
  updateLabels(picture);
  updateMarks(picture, frames);
  picture.svg.classList.toggle("gs-tracing", lit.some((edges) => edges.size > 0));
  picture.drawn = drawn;
}

// Nodes that drawn edges touch, and what is carried along between positions.
function updateNodes(picture, drawn, lit) {
  const { graph, view, merged } = picture;
  const fold = (node) => (merged ? graph.fold[node] : node);
  const touched = new Set();
  const inTrace = new Set();
  const carried = new Map();
  drawn.forEach((edges, p) => {
    const used = new Set(edges.map((i) => graph.edges[i][2]));
    for (const i of edges) {
      const [, , sender, entered] = graph.edges[i];
      for (const node of [sender, entered]) {
        touched.add(fold(node));
        if (lit[p].has(i)) inTrace.add(fold(node));
      }
      for (const output of graph.outputs[i]) {
        const key = `${fold(entered)} ${fold(output)}`;
        if (used.has(output)) carried.set(key, carried.get(key) || lit[p].has(i));
      }
    }
  });
  view.moves.forEach(([from, to], i) => {
    const key = `${from} ${to}`;
    hide(picture.moves[i], !carried.has(key));
    set(picture.moves[i], "class", carried.get(key) ? "gs-move gs-lit" : "gs-move");
    if (carried.has(key)) [from, to].forEach((node) => touched.add(node));
  });
  picture.nodes.forEach((group, i) => {
    set(group, "class", "gs-node" + (touched.has(i) ? "" : " gs-idle") + (inTrace.has(i) ? " gs-lit" : ""));
  });
}

// From which loop to which merged edges lead, as far as they are drawn.
function updateLabels({ graph, labels, members }) {
  labels.forEach((label, place) => {
    if (!label) return;
    const edges = [...new Set(members[place].flat())];
    hide(label, !edges.length);
    const pairs = edges.map((i) => {
      const [from, to] = graph.loops[i];
      return `${from < 0 ? "in" : from}→${graph.outputs[i].length ? to : "out"}`;
    });
    label.textContent = pairs.length > 2 ? `${pairs.length} pairs` : pairs.join(", ");
  });
}

// What a lens reads after a node: a diamond for the bridge, a disc for the answer.
function updateMarks({ graph, view, merged, marks, panels, drawing }, frames) {
  marks.replaceChildren();
  if (panels.length > 1) return;
  for (const [node, carries, share] of frames[0].marks) {
    const [name, , x, y, width] = view.nodes[merged ? graph.fold[node] : node];
    const at = [x + width / 2, y - drawing.nodeHeight / 2 + (carries === "bridge" ? 3 : 15)];
    const shape = carries === "bridge"
      ? draw("rect", { x: at[0] - 4, y: at[1] - 4, width: 8, height: 8, transform: `rotate(45 ${at})` })
      : draw("circle", { cx: at[0], cy: at[1], r: 4.5 });
    shape.setAttribute("class", `gs-mark gs-${carries}`);
    draw("title", {}, shape, `${carries} readable after ${name} in ${share.toFixed(3)} of the queries`);
    marks.append(shape);
  }
}

// Whether an edge belongs to what is pinned; null if nothing of it is in this picture.
function seedOf({ graph, view, merged }, pinned) {
  if (!pinned) return null;
  const fold = (node) => (merged ? graph.fold[node] : node);
  const place = view.edges.findIndex(([name]) => name === pinned.edge);
  if (place >= 0) return (i) => (merged ? graph.of_weights[i] : i) === place;
  const node = view.nodes.findIndex(([name]) => name === pinned.node);
  return node < 0 ? null : (i) => fold(graph.edges[i][2]) === node || fold(graph.edges[i][3]) === node;
}
