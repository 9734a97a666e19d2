// One picture on the page: its figure, what is under the pointer, zoom and the keys.

const [NARROW, LEAST_HEIGHT] = [480, 260]; // pixels; a narrow picture is as high as this at least
const MOST_ZOOM = 12;
const LARGEST = 1.35; // scale at which a small picture opens

function createView(app, holder, panels) {
  const { data, store } = app;
  const state = store.get();
  const graph = app.graphs[panels[0].graph];
  const isMerged = Boolean(state.weights && graph.merged);
  const picture = isMerged ? graph.merged : graph;
  const figure = tag("figure", {}, holder);
  const title = panels.map((panel) => panel.label || data.title).join(" and ");
  if (panels[0].label) tag("p", { class: "gs-title" }, figure, panels.length > 1 ? `${panels[0].label} against ${panels[1].label}` : title);
  const box = tag("div", { class: "gs-view" }, figure);
  const canvas = tag("canvas", { "aria-hidden": "true" }, box);
  const svg = svgTag("svg", { tabindex: "0", role: "group", "aria-roledescription": "diagram" }, box);
  const nothing = tag("p", { class: "gs-nothing", hidden: "" }, figure);
  const caption = tag("figcaption", {}, figure);
  const view = { app, panels, graph, picture, isMerged, figure, canvas, svg, nothing, caption, title, focused: null, hovered: null };
  view.context = canvas.getContext("2d");
  view.overlay = createOverlay(svg);
  view.unfold = (open) => store.set({ open, zoom: null });
  listen(view);
  return view;
}

// The layout changes with what is folded and grouped only.
function layOut(view, state) {
  const room = Math.max(240, view.figure.clientWidth) - AXIS.left - AXIS.right;
  const key = JSON.stringify([state.open, state.groups, room < NARROW ? Math.round(room / 20) : 0]);
  if (view.key === key) return;
  view.key = key;
  view.open = state.open;
  const members = new Set(state.groups.flatMap((group) => group.nodes));
  const grouped = view.picture.nodes.filter(({ name }) => members.has(name)).map(({ i }) => i);
  const shown = shownNodes(view.picture, [...view.picture.shown, ...grouped], state.open);
  const c = view.app.data.layout;
  view.layout = layoutOf(view.picture, shown, c);
  const high = ((view.layout.height - c.marginBottom) * room) / (view.layout.width - c.marginLeft);
  if (room < NARROW && high < LEAST_HEIGHT) view.layout = layoutOf(view.picture, shown, c, Math.min(5, LEAST_HEIGHT / high));
  view.points = new Map();
  view.overlay = createOverlay(view.svg);
}

// Size on the screen, and how the picture lies in it: as large as fits, or as the reader zoomed.
function place(view, state) {
  const { layout } = view;
  const width = Math.max(240, view.figure.clientWidth);
  const inner = [layout.width - layout.c.marginLeft, layout.height - layout.c.marginBottom];
  const room = [width - AXIS.left - AXIS.right, 0];
  const wanted = inner[1] * Math.min(LARGEST, room[0] / inner[0]) + AXIS.top + AXIS.bottom;
  const most = document.fullscreenElement === view.app.root ? window.innerHeight - 190 : Math.max(340, 0.7 * window.innerHeight);
  const height = Math.round(Math.min(Math.max(wanted, 180), most));
  room[1] = height - AXIS.top - AXIS.bottom;
  const fit = Math.min(LARGEST, room[0] / inner[0], room[1] / inner[1]);
  const middle = [layout.c.marginLeft + inner[0] / 2, inner[1] / 2];
  const [times, x, y] = state.zoom || [1, ...middle];
  const scale = fit * times;
  view.size = [width, height];
  view.fit = { fit, middle };
  view.scale = scale;
  view.at = [AXIS.left + room[0] / 2 - scale * x, AXIS.top + room[1] / 2 - scale * y];
  setRatio(view, window.devicePixelRatio || 1);
  view.canvas.style.width = `${width}px`;
  view.canvas.style.height = `${height}px`;
  set(view.svg, "width", width);
  set(view.svg, "height", height);
  view.svg.style.touchAction = state.zoom ? "none" : "pan-y"; // two fingers zoom the picture, not the page
  set(view.svg, "viewBox", `0 0 ${width} ${height}`);
}

// How many pixels of the canvas one of the screen has.
function setRatio(view, ratio) {
  view.ratio = ratio;
  view.size.forEach((size, k) => {
    const [key, value] = [["width", "height"][k], Math.round(size * ratio)];
    if (view.canvas[key] !== value) view.canvas[key] = value;
  });
}

// Bring a picture up to the state.
function updateView(view, state) {
  const { app } = view;
  const isEmpty = !view.scene.order.length;
  view.figure.classList.toggle("gs-is-empty", isEmpty && state.cut === "kept" && !isFiltered(state) && !view.scene.drawn.some((edges) => edges.length));
  view.nothing.hidden = !isEmpty;
  view.nothing.textContent = isEmpty ? whyNothing(view, state) : "";
  view.caption.textContent = captionOf(view, state);
  view.trace = traceOf(view, state);
  set(view.svg, "aria-label", `${view.title}: ${counted(view.scene.order.length, "edge")} drawn. Arrow keys move along edges and nodes, Enter selects, Escape lets go. All numbers are in the table.`);
  place(view, state);
  paint(view);
}

// What curves of a scene look like by their numbers.
function styleOf(view) {
  const { app, scene } = view;
  const isDifference = view.panels.length > 1;
  const most = isDifference ? mostDifferent(scene) : 1;
  const hasIntervals = Boolean(scene.comparison && scene.comparison.how);
  return { isDifference, hasIntervals, most, widest: app.data.widest, colour: app.colour, looks: app.data.looks, drawing: app.data.drawing };
}

// The curves of a scene.
function paintView(view, isQuick) {
  view.style = styleOf(view);
  const lit = view.trace && view.trace.keys;
  paintCurves(view.context, view.scene, view.style, { scale: view.scale, at: view.at, ratio: view.ratio, lit, hovered: view.hovered, isQuick });
}

function paint(view) {
  const { app, scene, scale, at, size } = view;
  view.style = styleOf(view);
  const nodeColour = (box) => (view.style.isDifference ? nodeDifferenceColour(view, box) : "");
  const selected = new Set(app.store.get().selected);
  const [lit, litBoxes] = [view.trace && view.trace.keys, view.trace && view.trace.boxes];
  updateOverlay(view.overlay, view, scene, { scale, at, lit, litBoxes, selected, nodeColour });
  paintView(view);
  drawAxes(view.overlay, view, { scale, at, size });
}

// Fill of a node by how what leaves it differs, if that is sure.
function nodeDifferenceColour(view, box) {
  const { colour, most } = view.style;
  const { comparison } = view.scene;
  if (!comparison || box.isGroup || view.isMerged) return "";
  comparison.byNode = comparison.byNode || new Map(comparison.nodes.node.map((node, i) => [node, i]));
  const i = comparison.byNode.get(box.members[0]);
  if (i === undefined || !excludesZero(comparison.nodes.low[i], comparison.nodes.high[i])) return "";
  const value = comparison.nodes.value[i];
  return mixed(colour("paper"), colour(value < 0 ? "a" : "b"), Math.min(0.45, 0.12 + (0.33 * Math.abs(value)) / most));
}

function isIn(scene, name) {
  return Boolean(curveNamed(scene, name) || boxNamed(scene, name));
}

// What is selected is in another picture only: nothing of this one is on its paths.
function untraced(name) {
  return { keys: new Map(), boxes: new Set(), shares: [], name };
}

// Which curves and boxes are on paths through what was selected last, and with which share.
function traceOf(view, state) {
  const name = state.selected[state.selected.length - 1];
  if (!name) return null;
  const { graph, scene } = view;
  const [curve, box] = [curveNamed(scene, name), boxNamed(scene, name)];
  if (!curve && !box) return view.app.views.some((each) => each !== view && each.scene && isIn(each.scene, name)) ? untraced(name) : null;
  const [keys, boxes, reached, shares] = [new Map(), new Set(), new Set(), []];
  scene.frames.forEach((frame, p) => {
    const drawn = scene.drawn[p];
    const nodes = box ? graph.nodes.map(({ i }) => i).filter((i) => scene.boxOf(i) === box) : [];
    const seeds = curve ? curve.edges[p] : [];
    const all = curve ? [traced(graph, frame, drawn, { seeds })] : nodes.map((node) => traced(graph, frame, drawn, { node }));
    const sum = { up: new Map(), down: new Map() };
    for (const each of all) for (const way of ["up", "down"]) each[way].forEach((share, i) => sum[way].set(i, (sum[way].get(i) || 0) + share / (curve ? 1 : all.length)));
    shares.push(sum);
  });
  for (const each of scene.order) {
    const share = Math.max(0, ...each.edges.flatMap((edges, p) => ["up", "down"].map((way) => edges.reduce((sum, i) => sum + (shares[p][way].get(i) || 0), 0))));
    if (!share) continue;
    keys.set(each.key, share);
    [each.from, each.to].forEach(({ id }) => boxes.add(id));
    for (const i of each.all) for (const output of graph.outputs(i)) reached.add(scene.boxOf(output));
  }
  for (const move of scene.moves) if (reached.has(move.to)) [move.from, move.to].forEach(({ id }) => boxes.add(id));
  if (box) boxes.add(box.id);
  return { keys, boxes, shares, name };
}

// The curve or box at a point of the picture, in pixels of the screen; within a few pixels, since thin lines are hard to hit.
function under(view, [x, y], reach) {
  const world = [(x - view.at[0]) / view.scale, (y - view.at[1]) / view.scale];
  const near = reach / view.scale;
  for (const box of view.scene.boxes.values()) {
    const half = view.scene.asBoxes && box.shown ? [box.width / 2, 10] : [6 / view.scale, 6 / view.scale];
    if (view.scene.visible.has(box.id) && Math.abs(world[0] - box.at[0]) <= half[0] && Math.abs(world[1] - box.at[1]) <= half[1]) return { box, name: box.name };
  }
  let best = null;
  for (const curve of view.scene.order) {
    const [x0, y0, x1, y1] = curve.box;
    if (world[0] < x0 - near || world[0] > x1 + near || world[1] < y0 - near || world[1] > y1 + near) continue;
    const half = lookOfCurve(curve, view.style).width / 2 / view.scale;
    const distance = Math.max(0, distanceTo(curve.points, world) - half);
    if (distance <= near && (!best || distance < best.distance - 0.5 || (distance < best.distance + 0.5 && curve.size > best.curve.size))) best = { curve, distance };
  }
  if (best) return { curve: best.curve, name: best.curve.name };
  const move = view.scene.moves.find((each) => distanceTo(each.points, world) <= near);
  return move ? { move, name: null } : null;
}

// How far a point is from a curve, along short straight pieces.
function distanceTo(points, [x, y]) {
  let least = Infinity;
  let before = points[0];
  for (let n = 1; n <= 16; n++) {
    const now = pointAt(points, n / 16);
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    const t = Math.min(1, Math.max(0, ((x - before[0]) * dx + (y - before[1]) * dy) / (dx * dx + dy * dy || 1)));
    least = Math.min(least, Math.hypot(before[0] + t * dx - x, before[1] + t * dy - y));
    before = now;
  }
  return least;
}
