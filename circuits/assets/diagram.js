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

// Whether there is only an estimate of an edge, where others were measured.
function isEstimated(frame, i) {
  frame.estimates = frame.estimates || new Set(frame.estimated);
  return frame.estimates.has(i);
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
    add(leaving, graph.senders[i], i);
    for (const node of graph.outputs(i)) add(writing, node, i);
  }
  const walk = (next) => {
    const found = new Set(drawn.filter(isSeed));
    for (const i of found) next(i).forEach((j) => found.add(j)); // a set is walked with what is added on the way
    return found;
  };
  const downstream = walk((i) => graph.outputs(i).flatMap((node) => leaving.get(node) || []));
  const upstream = walk((i) => writing.get(graph.senders[i]) || []);
  return new Set([...downstream, ...upstream]);
}

// A picture of a graph: labels and nodes; edges and moves come as they are drawn. `panels` are the circuits it shows.
function createPicture(graph, merged, panels, title, drawing) {
  const view = merged ? graph.merged : graph;
  const size = { width: view.width, height: view.height };
  const svg = draw("svg", { ...size, viewBox: `0 0 ${view.width} ${view.height}`, tabindex: "0", role: "application" });
  svg.setAttribute("aria-label", `${title}: arrow keys move along edges and nodes, Enter traces, Escape lets go`);
  const marker = { id: "gs-arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 6, markerHeight: 6, orient: "auto" };
  draw("path", { d: "M0 0 L8 4 L0 8 z", class: "gs-arrowhead" }, draw("marker", marker, draw("defs", {}, svg)));
  for (const [text, y] of view.rows) draw("text", { class: "gs-row", x: 4, y }, svg, text);
  for (const [text, x, y] of view.columns) draw("text", { class: "gs-role", x, y }, svg, text);
  const [moveGroup, edgeGroup, nodeGroup, labelGroup, marks] = Array.from({ length: 5 }, () => draw("g", {}, svg));
  const nodes = view.nodes.map(([name, component, x, y, width], i) => {
    const group = draw("g", { class: "gs-node gs-idle", "data-node": i, "data-name": name }, nodeGroup);
    const height = drawing.nodeHeight;
    draw("rect", { x: x - width / 2, y: y - height / 2, width, height, rx: 4 }, group);
    draw("text", { x, y: y + 3.5 }, group, component);
    return group;
  });
  const groups = { moveGroup, edgeGroup, labelGroup, marks };
  return { svg, graph, view, merged, panels, nodes, ...groups, moves: new Map(), edges: new Map(), labels: new Map(), drawing };
}

// The elements of an edge, made when it is first drawn.
function edgeElements({ view, panels, edges, drawing }, place) {
  if (!edges.has(place)) {
    const d = pathOf(curveOf(view, place, drawing));
    const rim = draw("path", { d, "data-place": place, "data-edge": nameOf(view, place) });
    edges.set(place, { rim, core: panels.length > 1 ? draw("path", { class: "gs-core", d }) : null });
  }
  return edges.get(place);
}

// The edges that are drawn stand in the picture, in the order of the graph; the others wait outside.
function placeEdges({ edgeGroup, members, edges }) {
  const places = [...members.keys()].sort((a, b) => a - b);
  const wanted = places.flatMap((place) => [edges.get(place).rim, edges.get(place).core].filter(Boolean));
  const kept = new Set(wanted);
  for (const element of [...edgeGroup.children]) if (!kept.has(element)) element.remove();
  let next = edgeGroup.firstChild;
  for (const element of wanted) {
    if (element === next) next = next.nextSibling;
    else edgeGroup.insertBefore(element, next);
  }
}

// Bring a picture up to the state.
function updatePicture(picture, state, widest) {
  const { graph, view, merged, panels } = picture;
  const frames = panels.map((panel) => frameOf(panel, state));
  const drawn = frames.map((frame) => drawnEdges(frame, state));
  const seed = seedOf(picture, state.pinned);
  const lit = drawn.map((edges) => (seed ? traced(graph, edges, seed) : new Set()));
  picture.members = new Map(); // of each place that is drawn, its edges by panel
  drawn.forEach((edges, p) => {
    for (const i of edges) {
      const place = merged ? graph.of_weights[i] : i;
      if (!picture.members.has(place)) picture.members.set(place, panels.map(() => []));
      picture.members.get(place)[p].push(i);
    }
  });
  picture.strengths = new Map();
  const scale = (x) => Math.max(picture.drawing.minWidth, (picture.drawing.maxWidth * Math.abs(x)) / widest).toFixed(2);
  for (const [place, byPanel] of picture.members) {
    const strengths = byPanel.map((edges, p) => edges.reduce((best, i) => {
      const effect = frames[p].effect[i];
      return Math.abs(effect) > Math.abs(best) ? effect : best;
    }, 0));
    picture.strengths.set(place, strengths);
    const { rim, core } = edgeElements(picture, place);
    if (core) hide(core, !byPanel.every((edges) => edges.length));
    const [a, b = 0] = strengths;
    const isLit = byPanel.some((edges, p) => edges.some((i) => lit[p].has(i)));
    set(rim, "stroke-width", scale(Math.max(Math.abs(a), Math.abs(b))));
    let kind = `gs-edge gs-into-${lookOf(view, place)[0]}`;
    if (core) {
      kind = `gs-edge gs-${Math.abs(a) >= Math.abs(b) ? "a" : "b"}`;
      if (!byPanel[1].length) kind += " gs-only-a";
      if (!byPanel[0].length) kind += " gs-only-b";
      set(core, "stroke-width", scale(Math.min(Math.abs(a), Math.abs(b))));
      set(core, "class", isLit ? "gs-core gs-lit" : "gs-core");
    }
    const negative = Math.abs(a) >= Math.abs(b) ? a < 0 : b < 0;
    const estimated = byPanel.every((edges, p) => edges.every((i) => isEstimated(frames[p], i)));
    set(rim, "class", kind + (negative ? " gs-negative" : "") + (estimated ? " gs-estimated" : "") + (isLit ? " gs-lit" : ""));
  }
  placeEdges(picture);
  updateNodes(picture, drawn, lit);
  updateLabels(picture);
  updateMarks(picture, frames);
  picture.svg.classList.toggle("gs-tracing", lit.some((edges) => edges.size > 0));
  picture.drawn = drawn;
}

// Nodes that drawn edges touch, and what is carried along between positions.
function updateNodes(picture, drawn, lit) {
  const { graph, view, merged, moves, moveGroup } = picture;
  const fold = (node) => (merged ? graph.fold[node] : node);
  const touched = new Set();
  const inTrace = new Set();
  const carried = new Map(); // whether it is lit, by where it leads from and to
  drawn.forEach((edges, p) => {
    const used = new Set(edges.map((i) => graph.senders[i]));
    for (const i of edges) {
      const ends = [graph.senders[i], entered(graph, i)];
      for (const node of ends) {
        touched.add(fold(node));
        if (lit[p].has(i)) inTrace.add(fold(node));
      }
      for (const output of graph.outputs(i)) {
        const from = used.has(output) ? carriedFrom(graph, ends[1], output) : output;
        if (from === output) continue;
        const key = `${fold(from)} ${fold(output)}`;
        carried.set(key, carried.get(key) || lit[p].has(i));
      }
    }
  });
  for (const [key, isLit] of carried) {
    const [from, to] = key.split(" ").map(Number);
    if (!moves.has(key)) moves.set(key, draw("path", { d: pathOf(moveCurve(view, from, to)), "marker-end": "url(#gs-arrow)" }));
    set(moves.get(key), "class", isLit ? "gs-move gs-lit" : "gs-move");
    [from, to].forEach((node) => touched.add(node));
  }
  moveGroup.replaceChildren(...[...carried.keys()].map((key) => moves.get(key)));
  picture.nodes.forEach((group, i) => {
    set(group, "class", "gs-node" + (touched.has(i) ? "" : " gs-idle") + (inTrace.has(i) ? " gs-lit" : ""));
  });
}

// From which loop to which merged edges lead, as far as they are drawn.
function updateLabels({ graph, view, merged, labels, labelGroup, members, drawing }) {
  if (!merged) return;
  labelGroup.replaceChildren(...[...members].map(([place, byPanel]) => {
    if (!labels.has(place)) {
      const [x, y] = middleOf(curveOf(view, place, drawing));
      labels.set(place, draw("text", { class: "gs-loops", x: x.toFixed(1), y: y.toFixed(1) }));
    }
    const edges = [...new Set(byPanel.flat())];
    const pairs = edges.map((i) => {
      const [from, to] = [graph.loops[graph.senders[i]], graph.loops[entered(graph, i)]];
      return `${from < 0 ? "in" : from}→${graph.outputs(i).length ? to : "out"}`;
    });
    labels.get(place).textContent = pairs.length > 2 ? `${pairs.length} pairs` : pairs.join(", ");
    return labels.get(place);
  }));
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
  const place = pinned.edge ? placeOf(view, pinned.edge) : -1;
  if (place >= 0) return (i) => (merged ? graph.of_weights[i] : i) === place;
  const node = view.nodes.findIndex(([name]) => name === pinned.node);
  return node < 0 ? null : (i) => fold(graph.senders[i]) === node || fold(entered(graph, i)) === node;
}
