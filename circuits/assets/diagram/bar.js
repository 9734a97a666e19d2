// The controls above the picture.

function createBar(app) {
  const { root, data, store } = app;
  const bar = root.querySelector(".gs-bar");
  bar.replaceChildren();
  const shows = []; // what brings each control up to the state
  const field = (text, title) => {
    const label = tag("label", title ? { title } : {}, bar);
    if (text) tag("span", {}, label, text);
    return label;
  };
  const choice = (holder, name, options, key) => {
    const select = tag("select", { "aria-label": name }, holder);
    for (const [value, text] of options) tag("option", { value }, select, text);
    select.addEventListener("change", () => store.set({ [key]: select.value }));
    shows.push((state) => (select.value = state[key]));
    return select;
  };
  if (couplesOf(data).length) viewTabs(app, bar, shows);
  cutControls(app, field("edges"), choice, shows);
  searchField(app, field(""), shows);
  filterMenu(app, bar, choice, shows);
  if (app.graphs.some((graph) => graph.merged)) checkbox(app, field(""), "by weights", "weights", "one node for each set of weights; edges of several loops are summed", shows);
  if (app.steps.length > 1) stepControls(app, bar, shows);
  buttons(app, bar, shows);
  return (state) => shows.forEach((show) => show(state));
}

function checkbox(app, label, text, key, title, shows) {
  label.title = title;
  const box = tag("input", { type: "checkbox", "data-toggle": key }, label);
  label.append(` ${text}`);
  box.addEventListener("change", () => app.store.set({ [key]: box.checked, zoom: null, ...(key === "weights" ? { open: { columns: [], rows: [] }, selected: [] } : {}) }));
  shows.push((state) => (box.checked = state[key]));
}

function viewTabs(app, bar, shows) {
  const { data, store } = app;
  const group = tag("span", { class: "gs-tabs", role: "group", "aria-label": "view" }, bar);
  for (const [view, text] of [["side", "side by side"], ["difference", "difference"]]) {
    const button = tag("button", { type: "button", "data-view": view }, group, text);
    button.addEventListener("click", () => store.set({ view, list: view === "difference" ? "differences" : store.get().list, zoom: null }));
    shows.push((state) => set(button, "aria-pressed", state.view === view));
  }
  if (data.panels.length < 3) return;
  const select = tag("select", { "aria-label": "circuits that are compared" }, bar);
  const couples = couplesOf(data);
  couples.forEach(([a, b], i) => tag("option", { value: i }, select, `${data.panels[a].label} / ${data.panels[b].label}`));
  select.addEventListener("change", () => store.set({ pair: couples[Number(select.value)] }));
  shows.push((state) => (select.value = couples.findIndex((couple) => same(couple, state.pair))));
}

// Which edges: those of the circuit, those of at least a strength, the strongest; a slider and a number.
function cutControls(app, label, choice, shows) {
  const { data, store } = app;
  const most = Math.max(1, data.most);
  const isLong = most > 1000; // then the slider goes by factors
  const toSlider = (x) => 1000 + 333 * Math.log10(x / data.widest); // three decades
  const toThreshold = (at) => data.widest * 10 ** ((at - 1000) / 333);
  const least = data.left_out ? Math.min(1000, Math.max(0, Math.floor(toSlider(data.left_out)) + 1)) : 0; // weaker edges are not in the page
  choice(label, "which edges are drawn", [["kept", "of the circuit"], ["threshold", "of at least"], ["top", "strongest"]], "cut");
  const slider = tag("input", { type: "range", class: "gs-cut", step: 1, "aria-label": "threshold or number of edges" }, label);
  const number = tag("input", { type: "number", class: "gs-number", "aria-label": "threshold or number of edges, typed" }, label);
  slider.addEventListener("input", () => {
    const at = Number(slider.value);
    if (store.get().cut === "top") store.set({ top: isLong ? Math.round(most ** (at / 1000)) : at });
    else store.set({ threshold: toThreshold(at) });
  });
  number.addEventListener("change", () => {
    const value = Number(number.value);
    if (!(value >= 0)) return void shows.forEach((show) => show(store.get()));
    if (store.get().cut === "top") store.set({ top: Math.min(most, Math.round(value)) });
    else store.set({ threshold: Math.max(value, data.left_out) });
  });
  shows.push((state) => {
    const isTop = state.cut === "top";
    slider.hidden = number.hidden = state.cut === "kept";
    set(slider, "min", isTop ? 0 : least);
    set(slider, "max", isTop && !isLong ? most : 1000);
    slider.value = isTop ? (isLong ? Math.round((1000 * Math.log(Math.max(1, state.top))) / Math.log(most)) : state.top) : Math.round(toSlider(state.threshold));
    set(number, "step", isTop ? 1 : "any");
    if (document.activeElement !== number) number.value = isTop ? state.top : Number(state.threshold.toPrecision(3));
  });
}

function searchField(app, label, shows) {
  const input = tag("input", {
    type: "search", class: "gs-search", placeholder: "search: L2H*  mlp@r1  >0.1", "aria-label": "search",
    title: "Parts of names: L2H*, mlp@r1, @h, .q, from:embed, to:L1H0.v, a whole edge a -> b; sizes: >0.1; measured, estimated; -term leaves out. All terms must hold.",
  }, label);
  input.addEventListener("input", () => app.store.set({ search: input.value }));
  shows.push((state) => {
    if (input.value !== state.search) input.value = state.search;
  });
}

function filterMenu(app, bar, choice, shows) {
  const { data, store } = app;
  const menu = tag("details", { class: "gs-menu" }, bar);
  const summary = tag("summary", {}, menu, "filter");
  const box = tag("div", { class: "gs-pop" }, menu);
  const roles = [...new Set(app.graphs.flatMap((graph) => graph.columns))];
  const layers = [...new Set(app.graphs.flatMap((graph) => graph.rows.map((row) => row.layer)))].filter((layer) => layer >= 0);
  const row = (text) => {
    const label = tag("label", {}, box);
    tag("span", {}, label, text);
    return label;
  };
  choice(row("position"), "position", [["", "all"], ...roles.map((role) => [role, role])], "role");
  choice(row("layer"), "layer", [["", "all"], ...layers.map((layer) => [String(layer), String(layer)])], "layer");
  choice(row("effects"), "measured or estimated", [["all", "all"], ["measured", "measured"], ["estimated", "only estimated"]], "measured");
  const member = couplesOf(data).length ? row("difference") : null;
  if (member) shows.push((state) => (member.hidden = state.view !== "difference"));
  if (member) choice(member, "which edges of a difference", [["all", "all"], ["differs", "whose interval excludes 0"], ["a", "only in the first"], ["b", "only in the second"], ["both", "in both"]], "member");
  const hidden = tag("p", { class: "gs-soft" }, box);
  tag("button", { type: "button" }, box, "show all again").addEventListener("click", () => store.set({ role: "", layer: "", measured: "all", member: "all", hidden: [], kinds: [], search: "" }));
  shows.push((state) => {
    const n = [state.role, state.layer, state.measured !== "all", state.view === "difference" && state.member !== "all", state.hidden.length].filter(Boolean).length;
    summary.textContent = n ? `filter (${n})` : "filter";
    hidden.textContent = state.hidden.length ? `hidden: ${state.hidden.join(", ")}` : "";
  });
  closeOutside(app, menu);
}

// A menu closes when one clicks elsewhere or presses Escape.
function closeOutside(app, menu) {
  document.addEventListener("pointerdown", (event) => menu.contains(event.target) || menu.removeAttribute("open"), { signal: app.stop.signal });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.removeAttribute("open");
    menu.querySelector("summary").focus();
  });
}

function stepControls(app, bar, shows) {
  const { steps, store } = app;
  const label = tag("label", { class: "gs-steps" }, bar);
  tag("span", {}, label, "step");
  const slider = tag("input", { type: "range", class: "gs-step", min: 0, max: steps.length - 1, step: 1, "aria-label": "training step" }, label);
  const shown = tag("output", {}, label);
  const go = (i) => store.set({ step: steps[i] });
  slider.addEventListener("input", () => go(Number(slider.value)));
  const play = tag("button", { type: "button", class: "gs-play" }, bar, "▶ play");
  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ play";
  };
  app.stop.signal.addEventListener("abort", stop);
  play.addEventListener("click", () => {
    if (timer) return stop();
    play.textContent = "❚❚ pause";
    let i = steps.indexOf(store.get().step);
    i = i === steps.length - 1 ? 0 : i;
    go(i);
    timer = setInterval(() => (++i < steps.length ? go(i) : stop()), 900);
  });
  checkbox(app, tag("label", {}, bar), "all steps", "multiples", "a small picture of every step", shows);
  shows.push((state) => {
    slider.value = steps.indexOf(state.step);
    shown.textContent = state.step.toLocaleString("en");
  });
}

function buttons(app, bar, shows) {
  const { root, store } = app;
  const group = tag("span", { class: "gs-buttons" }, bar);
  const button = (text, title, act) => {
    const made = tag("button", { type: "button", title, "aria-label": title }, group, text);
    made.addEventListener("click", act);
    return made;
  };
  const undo = button("↶", "undo", store.undo);
  const redo = button("↷", "redo", store.redo);
  const middle = (view) => [view.size[0] / 2, view.size[1] / 2];
  button("+", "zoom in", () => zoomAt(app.views[0], 1.4, middle(app.views[0])));
  button("−", "zoom out", () => zoomAt(app.views[0], 1 / 1.4, middle(app.views[0])));
  button("reset", "as it opened", store.reset);
  if (root.requestFullscreen) button("full", "full screen", () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen()));
  saveMenu(app, group);
  helpMenu(app, group);
  shows.push(() => {
    undo.disabled = !store.canUndo();
    redo.disabled = !store.canRedo();
  });
}

function helpMenu(app, group) {
  const menu = tag("details", { class: "gs-menu gs-help" }, group);
  tag("summary", { "aria-label": "help" }, menu, "?");
  const list = tag("dl", { class: "gs-pop" }, menu);
  const lines = [
    ["← →", "walk along edges, strongest first"], ["↑ ↓", "walk along nodes"], ["Enter, click", "select, and trace its paths; with Shift several"],
    ["Esc", "select nothing"], ["+ − 0, Ctrl and wheel", "zoom, whole picture"], ["drag", "move a zoomed picture"], ["Ctrl Z, Ctrl Y", "undo, redo"],
    ["grey labels", "a gap of idle positions or layers: click to unfold"],
  ];
  for (const [key, text] of lines) {
    tag("dt", {}, list, key);
    tag("dd", {}, list, text);
  }
  closeOutside(app, menu);
}
