// What the diagram says in words: captions, tips, the headline, why nothing is drawn.

const Z = 1.96; // of a 95 % interval

function effectOf(panel, frame, graph, i) {
  if (i < 0) return graph.senders.length < graph.n_edges ? "not among the edges of this page" : "not measured";
  if (frame.effect[i] === null) return `no number${frame.reason ? `: ${frame.reason}` : ""}`;
  const how = isEstimated(frame, i) ? ", estimated" : "";
  const [gap, n] = [frame.gap_each ? frame.gap_each[i] : frame.gap, frame.n_each ? frame.n_each[i] : frame.n];
  const where = gap ? ` of a gap of ${gap}, n = ${n}` : "";
  return `${withError(frame.effect[i], frame.stderr[i])}${where}${how}`;
}

function labelled(panel, text) {
  return panel.label ? `${panel.label}: ${text}` : text;
}

// The numbers of an edge in every panel; of a sum those of its members.
function aboutEdge(app, name, members, graph) {
  const state = app.store.get();
  const names = members.length ? members.map((i) => edgeName(graph, i)) : [name];
  const lines = names.slice(0, 6).flatMap((each) => {
    const numbers = app.data.panels.map((panel) => {
      const own = app.graphs[panel.graph];
      const frame = frameAt(panel, state.step);
      const i = edgeOf(own, each);
      const drawn = i >= 0 && drawnEdges(own, frame, state, app.data).includes(i) ? "" : " (not drawn)";
      return labelled(panel, effectOf(panel, frame, own, i)) + (i >= 0 && frame.effect[i] !== null ? drawn : "");
    });
    return names.length > 1 ? [each, ...numbers.map((line) => `  ${line}`)] : numbers;
  });
  if (names.length > 1) lines.unshift(`sum of ${names.length} edges, which is not the effect of patching them together`);
  if (names.length > 6) lines.push(`and ${names.length - 6} more`);
  return lines;
}

function differenceInWords(curve, [a, b]) {
  if (curve.difference === null || curve.difference === undefined) return "no difference known";
  const sure = curve.differs === null ? "no interval known" : curve.differs ? "the interval excludes 0" : "the interval includes 0";
  return `${b.label} − ${a.label}: ${fixed(curve.difference, 3, true)}${interval(curve.low, curve.high, 3, true)}, ${sure}`;
}

// Several lines about what is pointed at; the first is its name.
function tipOf(app, view, found) {
  if (found.move) return aboutMove(view, found.move);
  if (found.curve) {
    const lines = [found.curve.name, ...aboutEdge(app, found.curve.name, found.curve.all, view.graph)];
    if (view.panels.length > 1) lines.push(differenceInWords(found.curve, view.panels));
    return lines;
  }
  const { box } = found;
  const lines = [box.isGroup ? `${box.name} (${counted(box.members.length, "node")})` : box.name];
  if (app.data.about && app.data.about[box.name]) lines.push(app.data.about[box.name]);
  view.scene.frames.forEach((frame, p) => {
    const { graph, scene, panels } = view;
    const count = (test) => scene.drawn[p].filter(test).length;
    const into = count((i) => scene.boxOf(graph.entered(i)) === box);
    const out = count((i) => scene.boxOf(graph.senders[i]) === box);
    const carries = frame.marks.filter(([node]) => scene.boxOf(node) === box).map(([, what, share]) => `${what} readable ${share.toFixed(3)}`);
    lines.push(labelled(panels[p], [`${counted(into, "drawn edge")} in`, `${out} out`, ...carries].join(", ")));
  });
  const node = view.scene.comparison && !view.isMerged && !box.isGroup ? nodeRow(view.scene.comparison, box.members[0]) : null;
  if (node) lines.push(`effects out of it, ${view.panels[1].label} − ${view.panels[0].label}: ${fixed(node.value, 3, true)}${interval(node.low, node.high, 3, true)}`);
  return lines;
}

function nodeRow(comparison, node) {
  const i = comparison.nodes.node.indexOf(node);
  return i < 0 ? null : { value: comparison.nodes.value[i], low: comparison.nodes.low[i], high: comparison.nodes.high[i] };
}

function aboutMove(view, move) {
  const lines = [`${move.from.name} → ${move.to.name}`];
  view.panels.forEach((panel, p) => {
    const parts = [];
    if (move.effects[p] !== null) parts.push(`${fixed(move.effects[p], 3)} of the gap enters there along drawn edges`);
    if (move.attention[p] !== null) parts.push(`mean attention ${move.attention[p].toFixed(3)}`);
    if (parts.length) lines.push(labelled(panel, parts.join(", ")));
  });
  return lines;
}

// Below a picture: what was measured, what is drawn, and what that keeps.
function captionOf(view, state) {
  if (view.panels.length > 1) return differenceCaption(view, state);
  const [panel, frame] = [view.panels[0], view.scene.frames[0]];
  const n = view.scene.drawn[0].length;
  const step = frame.step === null ? "" : `step ${frame.step.toLocaleString("en")} · `;
  const rule = state.cut === "kept" && frame.rule ? ` (${frame.rule})` : "";
  const inner = innerEdges(view, 0);
  const within = inner ? `, ${inner} of them within groups` : "";
  const parts = [`${step}${n.toLocaleString("en")} of ${counted(view.graph.n_edges, "edge")}${within}${cutInWords(state)}${rule}`, frame.caption, keptBy(panel, frame, n, state), exampleOf(panel)];
  return parts.filter(Boolean).join(" · ");
}

// How many drawn edges of a panel lie within groups, where no curve is.
function innerEdges({ scene }, p) {
  const shown = scene.order.reduce((sum, curve) => sum + curve.edges[p].length, 0);
  return scene.drawn[p].length - shown;
}

// The first prompt, in words, with what the corrupt one has instead.
function exampleOf({ queries }) {
  if (!queries || !queries.clean.length) return "";
  const changed = (word, i) => (queries.corrupt[0][i] === word ? "" : ` (corrupt: ${queries.corrupt[0][i]})`);
  return `the first query: ${queries.clean[0].map((word, i) => `${queries.roles[i]} ${word}${changed(word, i)}`).join(", ")}`;
}

function cutInWords(state) {
  const cut = { kept: "", top: ", the strongest", threshold: `, those of at least ${state.threshold === null ? "" : state.threshold.toPrecision(3)}` }[state.cut];
  return cut + (isFiltered(state) ? ", filtered" : "");
}

function isFiltered(state) {
  return Boolean(state.search.trim() || state.kinds.length || state.role || state.layer !== "" || state.measured !== "all" || state.hidden.length);
}

function differenceCaption(view, state) {
  const [a, b] = view.panels;
  const [inA, inB] = view.scene.drawn.map((edges) => new Set(edges));
  const only = (x, y) => [...x].filter((i) => !y.has(i)).length;
  const counts = { a: only(inA, inB), b: only(inB, inA), both: inA.size - only(inA, inB) };
  const of = (member) => counts[member];
  const cut = cutInWords(state).replace(/^, /, "");
  const { comparison } = view.scene;
  const sure = comparison && comparison.how ? ` Intervals: 95 %, for all ${comparison.n_family} measured edges at once; ${comparison.how}.` : " No intervals: nothing says how sure the effects are.";
  return `${cut ? `${cut}: ` : ""}${of("a")} only in ${a.label}, ${of("b")} only in ${b.label}, ${of("both")} in both. Differences are shares of the gap, ${b.label} − ${a.label}.${sure}`;
}

// What the drawn edges keep, or as many of them as were measured.
function keptBy(panel, frame, n, state) {
  if (state.cut === "kept" && !isFiltered(state)) return frame.keeps;
  if (!panel.curve.length || !n || isFiltered(state)) return "";
  const kept = faithfulnessAt(panel, n);
  if (!kept) return `no size up to ${n} was measured, the smallest is ${Math.min(...panel.curve.map(([k]) => k))}`;
  const [size, value, low, high] = kept;
  if (value === null) return `what the strongest ${size} keep is undefined`;
  const who = size === n ? (size === 1 ? "it keeps" : "they keep") : `the strongest ${size} of them, the next smaller measured size, keep`;
  return `${who} ${fixed(value, 2)}${interval(low, high, 2)} of the gap`;
}

function whyNothing(view, state) {
  const frames = view.scene.frames;
  if (view.scene.drawn.some((edges) => edges.length)) return "All drawn edges are within groups.";
  if (isFiltered(state) || state.cut !== "kept" || (view.panels.length > 1 && state.member !== "all")) return "No edge is drawn: none fits the cut and the filters.";
  const reasons = frames.map((frame) => frame.empty || frame.reason || "none was kept");
  return `No edge is drawn: ${[...new Set(reasons)].join("; ")}.`;
}

// The answer to what differs, in a sentence or two.
function headlineOf(app) {
  const { data, store } = app;
  const state = store.get();
  if (!couplesOf(data).length) return "";
  const [a, b] = state.pair.map((i) => data.panels[i]);
  const comparison = comparisonOf(data, state.pair, state.step);
  if (!comparison) return "";
  const graph = app.graphs[a.graph];
  const frames = [a, b].map((panel) => frameAt(panel, state.step));
  const either = frames[0].kept.concat(frames[1].kept.filter((i) => !isKept(frames[0], i)));
  const of = (test) => either.filter(test).length;
  const [both, onlyA, onlyB] = [of((i) => isKept(frames[0], i) && isKept(frames[1], i)), of((i) => !isKept(frames[1], i)), of((i) => !isKept(frames[0], i))];
  const parts = [`${a.label} and ${b.label} share ${counted(both, "edge")}; ${onlyA} only in ${a.label}, ${onlyB} only in ${b.label}.`];
  if (!either.length) return "Neither circuit keeps an edge.";
  if (!comparison.how) return `${parts[0]} How sure differences of effects are is not known.`;
  const differing = either.filter((i) => excludesZero(comparison.low[i], comparison.high[i]));
  const where = `95 % intervals that hold for all of them at once, over queries, not over trainings; ${comparison.how}`;
  if (!differing.length) return `${parts[0]} No effect is known to differ: all intervals include zero (${where}).`;
  parts.push(`${differing.length} of these ${counted(either.length, "effect")} ${differing.length === 1 ? "differs" : "differ"} (${where}).`);
  const size = (i) => Math.abs(comparison.value[i]);
  const largest = differing.sort((x, y) => size(y) - size(x))[0];
  const [x, y] = frames.map((frame) => amount(frame.effect[largest]));
  const by = `${fixed(comparison.value[largest], 2, true)}${interval(comparison.low[largest], comparison.high[largest], 2, true)}`;
  parts.push(`The largest: ${edgeName(graph, largest)}, ${x} of the gap in ${a.label}, ${y} in ${b.label}, a difference of ${by}.`);
  return parts.join(" ");
}
