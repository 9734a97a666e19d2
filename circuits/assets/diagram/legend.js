// What widths and colours mean, in numbers; the kinds of edges are switches.

function fillLegend(app, holder, state) {
  holder.replaceChildren();
  if (state.view === "difference" && app.views[0].panels.length > 1) differenceLegend(app, holder);
  else kindsLegend(app, holder, state);
  const scenes = app.views.map((view) => view.scene);
  widthLegend(app, holder);
  if (scenes.some((scene) => scene.order.some((curve) => curve.isNegative))) sample(holder, "gs-plain gs-negative", "negative");
  if (scenes.some((scene) => scene.order.some((curve) => curve.isEstimated))) sample(holder, "gs-plain gs-estimated", "estimated, not measured");
  const moves = [...new Set(scenes.filter((scene) => scene.moves.length).flatMap(() => app.data.moved))];
  const attends = scenes.some((scene) => scene.moves.some((move) => move.attention.some((share) => share !== null)));
  const number = attends ? "mean attention" : "share of the gap that enters";
  if (moves.length) sample(holder, "gs-move", `${moves.join(", or ")} (number: ${number})`);
  if (scenes.some((scene) => scene.frames.some((frame) => frame.marks.length))) {
    mark(holder, "rect", "bridge readable");
    mark(holder, "circle", "answer readable");
  }
  for (const graph of app.graphs.filter((each) => each.senders.length < each.n_edges)) {
    tag("span", { class: "gs-soft" }, holder, `the page holds ${graph.senders.length.toLocaleString("en")} of ${counted(graph.n_edges, "edge")}, the strongest of each circuit`);
  }
}

function kindsLegend(app, holder, state) {
  const drawn = app.views.flatMap((view) => view.scene.frames.flatMap((frame) => cutEdges(frame, state).map((i) => view.graph.lookOf(i))));
  const used = new Set(drawn);
  for (const [look, [name, text]] of app.data.looks.entries()) {
    if (!used.has(look) && !state.kinds.includes(name)) continue;
    const isOff = state.kinds.includes(name);
    const button = tag("button", { type: "button", class: "gs-kind", "data-focus": `kind ${name}`, "aria-pressed": String(!isOff), title: isOff ? "draw them" : "leave them out" }, holder);
    line(button, `gs-into-${name}`);
    tag("span", {}, button, text);
    button.addEventListener("click", () => app.store.set({ kinds: isOff ? state.kinds.filter((each) => each !== name) : [...state.kinds, name] }));
  }
}

function differenceLegend(app, holder) {
  const view = app.views[0];
  const [a, b] = view.panels;
  const most = mostDifferent(view.scene);
  const scale = tag("span", { class: "gs-scale" }, holder);
  tag("span", {}, scale, `difference: higher in ${a.label} −${amount(most)}`);
  const bar = svgTag("svg", { width: 120, height: 12, "aria-hidden": "true" }, scale);
  for (let i = 0; i < 24; i++) {
    const value = (((i + 0.5) / 24) * 2 - 1) * most;
    svgTag("rect", { x: i * 5, y: 1, width: 5.2, height: 10, style: `fill: ${differenceColour(value, most, app.colour)}` }, bar);
  }
  tag("span", {}, scale, `+${amount(most)} higher in ${b.label}`);
  sample(holder, "gs-unsure", "the interval of the difference includes 0");
  const core = tag("span", {}, holder);
  const svg = line(core, "gs-plain", 7);
  svgTag("path", { class: "gs-corepath", "stroke-width": 2.4, d: "M1 6 H25" }, svg);
  tag("span", {}, core, "in both (hollow); full: in one only");
}

function widthLegend(app, holder) {
  const { widest, drawing } = app.data;
  const span = tag("span", { class: "gs-scale" }, holder);
  tag("span", {}, span, `width: ${app.data.measure || "|effect|, a share of the clean–corrupt gap"}`);
  for (const part of [0.1, 0.4, 1]) {
    line(span, "gs-plain", Math.max(drawing.minWidth, drawing.maxWidth * part));
    tag("span", {}, span, amount(widest * part));
  }
}

function line(holder, kind, width = 4) {
  const svg = svgTag("svg", { width: 26, height: 12, "aria-hidden": "true" }, holder);
  svgTag("path", { class: kind, "stroke-width": width, d: "M1 6 H25", fill: "none" }, svg);
  return svg;
}

function sample(holder, kind, text) {
  const span = tag("span", {}, holder);
  line(span, kind, kind === "gs-unsure" ? 1.2 : kind === "gs-move" ? 1.6 : 3);
  tag("span", {}, span, text);
}

function mark(holder, shape, text) {
  const span = tag("span", {}, holder);
  const svg = svgTag("svg", { width: 13, height: 12, "aria-hidden": "true" }, span);
  if (shape === "rect") svgTag("rect", { class: "gs-mark", x: 3, y: 2, width: 7, height: 7, transform: "rotate(45 6.5 5.5)" }, svg);
  else svgTag("circle", { class: "gs-mark gs-answer", cx: 6.5, cy: 6, r: 4.5 }, svg);
  tag("span", {}, span, text);
}
