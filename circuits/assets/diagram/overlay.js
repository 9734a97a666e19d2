// What lies as SVG above the curves: arrows between positions, boxes, marks, names.

// Whether labels fit into boxes at a scale; else nodes are points.
function labelsFit(scene, scale) {
  if (scale < 0.7) return false;
  return [...scene.boxes.values()].every((box) => !box.shown || textWidth(box.label, 11) + 0.5 <= box.width * scale);
}

let markers = 0; // each picture has its own arrowhead, as large on the screen as its zoom asks for

// The SVG over the canvas, made anew when boxes change: arrows between positions, boxes, marks, labels, axes.
function createOverlay(svg) {
  const arrow = `gs-arrow-${markers++}`;
  svg.replaceChildren();
  const defs = svgTag("defs", {}, svg);
  const marker = { id: arrow, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" };
  svgTag("path", { d: "M0 0 L8 4 L0 8 z", class: "gs-arrowhead" }, svgTag("marker", marker, defs));
  const world = svgTag("g", { class: "gs-world" }, svg);
  const [bands, moves, nodes, marks, labels] = ["bands", "moves", "nodes", "marks", "labels"].map((name) => svgTag("g", { class: `gs-${name}` }, world));
  return { arrow, world, bands, moves, nodes, marks, labels, axes: svgTag("g", { class: "gs-axes" }, svg), made: new Map() };
}

// Bring the overlay up to a scene. `touched` are the ids of boxes that drawn edges reach.
function updateOverlay(overlay, view, scene, { scale, at, lit, litBoxes, selected, nodeColour }) {
  const [marker] = overlay.world.parentNode.getElementsByTagName("marker");
  for (const key of ["markerWidth", "markerHeight"]) marker.setAttribute(key, (9 / scale).toFixed(2)); // as large on the screen at any zoom
  overlay.world.setAttribute("transform", `translate(${at[0].toFixed(2)} ${at[1].toFixed(2)}) scale(${scale.toFixed(4)})`);
  const touched = new Set(scene.order.flatMap((curve) => [curve.from.id, curve.to.id]));
  scene.moves.forEach((move) => [move.from.id, move.to.id].forEach((id) => touched.add(id)));
  let wanted = [...scene.boxes.values()].filter((box) => box.shown || touched.has(box.id));
  scene.visible = new Set(wanted.map(({ id }) => id));
  const isMany = wanted.length > MOST_ELEMENTS;
  const asBoxes = !isMany && labelsFit(scene, scale);
  scene.asBoxes = asBoxes;
  scene.dots = isMany ? wanted.map((box) => ({ at: box.at, isLit: !lit || litBoxes.has(box.id), isSelected: selected.has(box.name), fill: nodeColour(box) })) : null;
  if (isMany) wanted = wanted.filter((box) => selected.has(box.name));
  for (const [id, group] of overlay.made) if (!wanted.some((box) => box.id === id)) group.remove(), overlay.made.delete(id);
  for (const box of wanted) drawBox(overlay, box, { scale, asBoxes: asBoxes && box.shown, isIdle: !touched.has(box.id), isLit: !lit || litBoxes.has(box.id), isSelected: selected.has(box.name), fill: nodeColour(box) });
  drawMoves(overlay, scene, scale, lit, litBoxes, asBoxes);
  drawMarks(overlay, view, scene, scale, asBoxes);
  drawLabels(overlay, scene, isMany ? [...scene.boxes.values()].filter((box) => scene.visible.has(box.id)) : wanted, touched, scale, asBoxes, view, at);
}

function drawBox(overlay, box, { scale, asBoxes, isIdle, isLit, isSelected, fill }) {
  let group = overlay.made.get(box.id);
  if (!group) {
    group = svgTag("g", { "data-node": box.name }, overlay.nodes);
    svgTag("rect", { rx: 4 }, group);
    svgTag("text", {}, group, box.label);
    overlay.made.set(box.id, group);
  }
  const kind = `gs-node${box.isGroup ? " gs-group" : ""}${isIdle ? " gs-idle" : ""}${isLit ? "" : " gs-unlit"}${isSelected ? " gs-selected" : ""}`;
  set(group, "class", kind);
  const across = pointSize(scale);
  const size = asBoxes ? [box.width, 20] : [across, across];
  const [rect, text] = group.children;
  set(rect, "x", (box.at[0] - size[0] / 2).toFixed(2));
  set(rect, "y", (box.at[1] - size[1] / 2).toFixed(2));
  set(rect, "width", size[0].toFixed(2));
  set(rect, "height", size[1].toFixed(2));
  set(rect, "rx", asBoxes ? 4 : across / 2);
  set(rect, "style", fill ? `fill: ${fill}` : "");
  set(text, "x", box.at[0].toFixed(2));
  set(text, "y", (box.at[1] + 4 / Math.min(1, scale)).toFixed(2));
  set(text, "style", `font-size: ${Math.max(11.5, 11 / scale).toFixed(2)}px`);
  set(text, "display", asBoxes ? "inline" : "none");
}

const MOST_NUMBERED = 60; // arrows; more are thin lines, and only those that are traced have heads and numbers
const MOST_ELEMENTS = 500; // nodes; more are points on the canvas

function drawMoves(overlay, scene, scale, lit, litBoxes, asBoxes) {
  overlay.moves.replaceChildren();
  const isMany = scene.moves.length > MOST_NUMBERED;
  const taken = [];
  const half = (box) => (asBoxes && box.shown ? box.width : 9 / scale);
  const order = [...scene.moves].sort((a, b) => sizeOfMove(b) - sizeOfMove(a));
  for (const move of order) {
    const isLit = !lit || (litBoxes.has(move.from.id) && litBoxes.has(move.to.id));
    if (isMany && !(lit && isLit)) continue; // on the canvas
    const group = svgTag("g", { class: isLit ? "gs-move" : "gs-move gs-unlit", "data-move": move.key }, overlay.moves);
    const points = moveCurve(move.from.at, move.to.at, half(move.from), half(move.to));
    svgTag("path", { d: pathOf(points), "stroke-width": 1.6, "marker-end": `url(#${overlay.arrow})` }, group);
    if (lit && !isLit) continue;
    const text = moveNumber(move);
    const [width, height] = [textWidth(text, 11) / scale + 4 / scale, 12 / scale];
    const free = [0.5, 0.38, 0.62, 0.28, 0.72].map((t) => pointAt(points, t)).find(([x, y]) =>
      taken.every(([a, b, w]) => Math.abs(a - x) > (w + width) / 2 || Math.abs(b - y) > height));
    if (!free || Math.abs(points[3][0] - points[0][0]) < width) continue; // no room: the number is in the tip
    taken.push([...free, width]);
    const size = 11 / Math.min(1, scale);
    svgTag("text", { x: free[0].toFixed(1), y: (free[1] - 3 / scale).toFixed(1), style: `font-size: ${size.toFixed(2)}px` }, group, text);
  }
}

function sizeOfMove(move) {
  return Math.max(...move.effects.map((effect) => Math.abs(effect || 0)));
}

// What an arrow between positions says: where the head looks if that is known, else what enters it.
function moveNumber(move) {
  const known = move.attention.filter((share) => share !== null);
  if (known.length) return known.map((share) => share.toFixed(2)).join(" | ");
  return move.effects.filter((effect) => effect !== null).map((effect) => fixed(effect, 2)).join(" | ");
}

// After a node: a diamond if the bridge is readable there, a disc if the answer is.
function drawMarks(overlay, view, scene, scale, asBoxes) {
  overlay.marks.replaceChildren();
  scene.frames.forEach((frame, p) => frame.marks.forEach(([node, what, share]) => {
    const box = scene.boxOf(node);
    if (!scene.visible.has(box.id)) return;
    const size = (asBoxes ? 4.5 : 3.5) / Math.min(1, scale);
    const corner = asBoxes ? [box.width / 2 - 1, -10] : [-7 / scale, -6 / scale];
    const [x, y] = [box.at[0] + corner[0] - p * 2.3 * size, box.at[1] + corner[1]];
    const mark = what === "bridge"
      ? svgTag("rect", { class: "gs-mark", x: x - size * 0.8, y: y - size * 0.8, width: 1.6 * size, height: 1.6 * size, transform: `rotate(45 ${x} ${y})` }, overlay.marks)
      : svgTag("circle", { class: "gs-mark gs-answer", cx: x, cy: y, r: size }, overlay.marks);
    const who = view.panels.length > 1 ? `, ${view.panels[p].label}` : "";
    svgTag("title", {}, mark, `${what} readable after ${view.graph.nodes[node].name} in ${share.toFixed(3)} of the queries${who}`);
  }));
}

// Where boxes are points: names beside them as far as there is room, those of strong edges first. By weights: loops.
function drawLabels(overlay, scene, boxes, touched, scale, asBoxes, view, at) {
  overlay.labels.replaceChildren();
  if (view.isMerged) drawLoops(overlay, scene, scale, view.graph, asBoxes);
  if (asBoxes) return;
  const strength = new Map();
  for (const { from, to, size } of scene.order) [from, to].forEach(({ id }) => strength.set(id, Math.max(size, strength.get(id) || 0)));
  const placed = boxes.map(({ at: [x, y] }) => [x * scale - 5, y * scale - 5, x * scale + 5, y * scale + 5]);
  const isFree = ([x0, y0, x1, y1]) => placed.every(([a, b, c, d]) => x1 < a || x0 > c || y1 < b || y0 > d);
  const isSeen = ({ at: [x, y] }) => x * scale + at[0] > 0 && x * scale + at[0] < view.size[0] && y * scale + at[1] > 0 && y * scale + at[1] < view.size[1];
  const live = boxes.filter((box) => touched.has(box.id) && isSeen(box)).sort((a, b) => (strength.get(b.id) || 0) - (strength.get(a.id) || 0));
  for (const box of live.slice(0, 400)) {
    const [x, y, width] = [box.at[0] * scale, box.at[1] * scale, textWidth(box.label, 11)];
    const sides = [[x + 7, y - 6, x + 7 + width, y + 6], [x - 7 - width, y - 6, x - 7, y + 6]];
    const isInside = ([x0, , x1]) => x0 + at[0] > AXIS.left - 4 && x1 + at[0] < view.size[0];
    const found = sides.find((side) => isInside(side) && isFree(side));
    if (!found) continue;
    placed.push(found);
    svgTag("text", { class: "gs-name", x: (found[0] / scale).toFixed(2), y: ((y + 4) / scale).toFixed(2), style: `font-size: ${(11 / scale).toFixed(2)}px` }, overlay.labels, box.label);
  }
}

// From which loop to which merged edges lead.
function drawLoops(overlay, scene, scale, graph, asBoxes) {
  const size = 11 / Math.min(1, scale);
  const names = [...scene.boxes.values()].filter(({ id }) => scene.visible.has(id));
  const placed = names.map(({ at: [x, y], width, label }) => // boxes, or points with their names at the right
    asBoxes ? [x, y, width] : [x + textWidth(label, 11) / scale / 2, y, (textWidth(label, 11) + 18) / scale]);
  for (const curve of [...scene.order].reverse()) {
    const pairs = [...new Set(curve.all.map((i) => {
      const [from, to] = [graph.loops[graph.senders[i]], graph.loops[graph.entered(i)]];
      return `${from < 0 ? "in" : from}→${graph.outputs(i).length ? to : "out"}`;
    }))];
    const text = pairs.length > 2 ? `${pairs.length} pairs of loops` : pairs.join(", ");
    const width = textWidth(text, 11) / scale;
    const free = [0.5, 0.35, 0.65, 0.22, 0.78].map((t) => pointAt(curve.points, t)).find(([x, y]) =>
      placed.every(([a, b, w]) => Math.abs(x - a) > (width + w) / 2 + 2 || Math.abs(y - b) > size));
    if (!free) continue; // the number is in the tip and in the table
    placed.push([...free, width]);
    svgTag("text", { class: "gs-loops", x: free[0].toFixed(1), y: free[1].toFixed(1), style: `font-size: ${size.toFixed(2)}px` }, overlay.labels, text);
  }
}
