// What one picture shows at a state: boxes with their places, and curves between them, each of one edge or of several.

// The boxes of a picture by node: of groups one for all members. {id, name, label, at, width, members, isGroup, shown}
function boxesOf(graph, picture, layout, state, fold) {
  const boxes = new Map();
  const grouped = new Map(); // by node of the picture, its group
  state.groups.forEach((group, number) => {
    const members = picture.nodes.filter(({ name }) => group.nodes.includes(name)).map(({ i }) => i);
    if (members.length > 1) members.forEach((i) => grouped.set(i, { number, group, members }));
  });
  for (const node of picture.nodes) {
    const found = grouped.get(node.i);
    const id = found ? `group ${found.number}` : `node ${node.i}`;
    if (!boxes.has(id)) {
      boxes.set(id, found
        ? groupBox(id, found, picture, layout)
        : { id, name: node.name, label: node.label, at: layout.nodes[node.i], width: node.width, isGroup: false,
            members: [node.i], column: node.column, shown: layout.shown.has(node.i) });
    }
  }
  const byNode = (i) => boxes.get(grouped.has(i) ? `group ${grouped.get(i).number}` : `node ${i}`);
  return { boxes, boxOf: (node) => byNode(fold ? fold[node] : node) };
}

// A group stands where the member stood that was nearest to the middle of all.
function groupBox(id, { group, members }, picture, layout) {
  const places = members.map((i) => layout.nodes[i]);
  const middle = [0, 1].map((k) => places.reduce((sum, place) => sum + place[k], 0) / places.length);
  const far = ([x, y]) => Math.hypot(x - middle[0], y - middle[1]);
  const nearest = members[places.indexOf([...places].sort((a, b) => far(a) - far(b))[0])];
  const width = Math.max(42, textWidth(group.name, 11.5) + 12);
  return { id, name: group.name, label: group.name, at: layout.nodes[nearest], width, isGroup: true, members,
    column: picture.nodes[nearest].column, shown: true };
}

// All that a picture of some panels shows: curves by key, arrows between positions, and what each panel draws. `isQuick`
// leaves out the arrows, while a slider is dragged; curves of single edges are then those of before.
function sceneOf(view, state, data, isQuick) {
  if (!isQuick) view.ofEdge = new Map();
  const { graph, picture, layout, panels } = view;
  const fold = state.weights && graph.merged ? graph.fold : null;
  const foldInput = fold ? graph.fold_inputs : null;
  const { boxes, boxOf } = boxesOf(graph, picture, layout, state, fold);
  const frames = panels.map((panel) => frameAt(panel, state.step));
  const comparison = panels.length > 1 ? comparisonOf(data, state.pair, state.step) : null;
  let drawn = frames.map((frame) => drawnEdges(graph, frame, state, data));
  if (panels.length > 1) drawn = membersOf(drawn, comparison, state.member);
  const isSimple = panels.length === 1 && !fold && !state.groups.length;
  const curves = new Map();
  drawn.forEach((edges, p) => {
    for (const i of edges) {
      const known = isSimple && view.ofEdge.get(i);
      if (known) {
        curves.set(known.key, known);
        continue;
      }
      const [from, to] = [boxOf(graph.senders[i]), boxOf(graph.entered(i))];
      if (from === to) continue; // within a group
      const look = (fold ? picture.inputs[foldInput[graph.receivers[i]]] : graph.inputs[graph.receivers[i]]).look;
      const key = `${from.id}|${to.id}|${look}`;
      if (!curves.has(key)) curves.set(key, { key, from, to, look, edges: panels.map(() => []) });
      curves.get(key).edges[p].push(i);
    }
  });
  for (const curve of curves.values()) {
    if (curve.points) continue;
    measure(curve, view, frames, comparison, data);
    if (isSimple && curve.all.length === 1) view.ofEdge.set(curve.all[0], curve);
  }
  if (state.hidden.length) drawn = withoutHidden(curves, drawn, new Set(state.hidden));
  const order = [...curves.values()].sort((a, b) => a.size - b.size);
  return { boxes, boxOf, frames, drawn, curves, order, comparison, moves: isQuick ? [] : movesOf(view, frames, drawn, boxOf) };
}

function curveNamed(scene, name) {
  return scene.order.find((each) => each.name === name);
}

function boxNamed(scene, name) {
  return [...scene.boxes.values()].find((each) => each.name === name);
}

// Groups, merged nodes and their edges are hidden here, since they have names of their own.
function withoutHidden(curves, drawn, hidden) {
  const gone = drawn.map(() => new Set());
  for (const [key, { name, from, to, edges }] of curves) {
    if (![name, from.name, to.name].some((each) => hidden.has(each))) continue;
    edges.forEach((each, p) => each.forEach((i) => gone[p].add(i)));
    curves.delete(key);
  }
  return drawn.map((edges, p) => edges.filter((i) => !gone[p].has(i)));
}

// In the difference of two circuits: only what is in one, in the other, in both, or differs.
function membersOf(drawn, comparison, member) {
  if (member === "all") return drawn;
  const [a, b] = drawn.map((edges) => new Set(edges));
  const differs = (i) => comparison && excludesZero(comparison.low[i], comparison.high[i]) === true;
  const wanted = {
    a: (i) => a.has(i) && !b.has(i), b: (i) => b.has(i) && !a.has(i), both: (i) => a.has(i) && b.has(i), differs,
  }[member];
  return drawn.map((edges) => edges.filter(wanted));
}

// Place and numbers of a curve. Of several edges effects and differences are summed; the bounds of a sum are sums of bounds,
// which hold since those of single edges hold all at once.
function measure(curve, view, frames, comparison, data) {
  const { graph, layout } = view;
  if (!view.points.has(curve.key)) {
    const width = Math.max(curve.from.width, curve.to.width);
    const look = data.looks[curve.look];
    const points = curveOf(curve.from.at, curve.to.at, look, width, layout.bandOf.get(curve.from.column), layout.rowSize, layout.c);
    const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
    const box = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
    view.points.set(curve.key, { points, box, path: new Path2D(pathOf(points)) });
  }
  Object.assign(curve, view.points.get(curve.key));
  const [first, second] = curve.edges;
  const all = second ? [...new Set([...first, ...second])] : first;
  curve.all = all;
  const sum = (list, edges) => edges.reduce((total, i) => (total === null || list[i] === null ? null : total + list[i]), 0);
  curve.strengths = curve.edges.map((edges, p) => (edges.length ? sum(frames[p].effect, edges) || 0 : 0));
  curve.effects = frames.map((frame) => sum(frame.effect, all)); // whether a circuit draws them or not
  curve.size = Math.max(...curve.strengths.map(Math.abs));
  curve.isEstimated = curve.edges.every((edges, p) => edges.every((i) => isEstimated(frames[p], i)));
  const strongest = curve.strengths.reduce((best, x) => (Math.abs(x) > Math.abs(best) ? x : best), 0);
  curve.isNegative = strongest < 0;
  if (frames.length > 1) {
    curve.member = curve.edges[0].length ? (curve.edges[1].length ? "both" : "a") : "b";
    const numbers = comparison ? [comparison.value, comparison.low, comparison.high].map((list) => sum(list, all)) : null;
    curve.difference = numbers ? numbers[0] : sum(frames[1].effect, all) - sum(frames[0].effect, all);
    [curve.low, curve.high] = numbers ? numbers.slice(1) : [null, null];
    curve.differs = excludesZero(curve.low, curve.high);
  }
  curve.name = all.length === 1 && !curve.from.isGroup && !curve.to.isGroup && !view.isMerged
    ? edgeName(graph, all[0]) : `${curve.from.name} -> ${curve.to.name}${inputOf(graph, all, curve.to)}`;
}

// The input that merged edges enter, as it is written after a node's name.
function inputOf(graph, edges, box) {
  const name = graph.inputs[graph.receivers[edges[0]]].name.split("@")[0];
  const at = name.indexOf(".");
  return at < 0 || box.isGroup ? "" : ` (${name.slice(at + 1)})`;
}

// Where something is carried between positions: {from, to, effect, attention, panels}, by boxes. The effect is the sum over
// the drawn edges that enter at the one position, of heads whose output at the other is used.
function movesOf(view, frames, drawn, boxOf) {
  const { graph, panels } = view;
  const found = new Map();
  drawn.forEach((edges, p) => {
    const used = new Set(edges.map((i) => graph.senders[i]));
    for (const i of edges) {
      for (const [from, output] of graph.carried(i)) {
        if (!used.has(output)) continue;
        const [a, b] = [boxOf(from), boxOf(output)];
        if (a === b) continue;
        const key = `${a.id}|${b.id}`;
        if (!found.has(key)) found.set(key, { key, from: a, to: b, effects: panels.map(() => null), source: from, target: output });
        const move = found.get(key);
        move.effects[p] = (move.effects[p] || 0) + (frames[p].effect[i] || 0);
      }
    }
  });
  for (const move of found.values()) {
    move.attention = panels.map((panel) => attentionOf(graph, panel, move.source, move.target));
    move.points = moveCurve(move.from.at, move.to.at, move.from.width, move.to.width);
  }
  return [...found.values()];
}

// The mean attention of a head from where its output is used to where its input is read; null where it is not known.
function attentionOf(graph, panel, source, target) {
  if (!panel.queries || !panel.queries.attention.length) return null;
  panel.attention = panel.attention || new Map(panel.queries.attention.map(([head, to, from, share]) => [`${head}|${to}|${from}`, share]));
  const [to, from] = [target, source].map((i) => graph.columns[graph.nodes[i].column]);
  const found = panel.attention.get(`${graph.nodes[target].label}|${to}|${from}`);
  return found === undefined ? null : found;
}
