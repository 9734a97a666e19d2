// A diagram comes to life: its state, its pictures, and what keeps all of them up to date.

let diagrams = 0;

function start(root) {
  if (root.grokscope) return root.grokscope; // a notebook may show the same diagram twice
  const source = root.outerHTML; // as it came, to be saved again
  root.dataset.started = "yes";
  const text = root.querySelector(".gs-data").textContent;
  const data = parse(text);
  const app = { root, data, source, number: diagrams++, skeleton: root.dataset.page, stop: new AbortController(), raw: () => parse(text) };
  app.graphs = data.graphs.map(prepared);
  const measured = data.panels.flatMap((panel) => panel.frames.map((frame) => frame.step)).filter((step) => step !== null);
  app.steps = [...new Set(measured)].sort((a, b) => a - b);
  app.first = { ...DEFAULTS, ...firstState(app) };
  app.isPage = document.body.classList.contains("grokscope-page");
  const sent = app.isPage ? fromAddress(app.number) : {};
  app.opened = { ...app.first, ...sensible(app, accepted(savedState(root))) };
  app.store = createStore(app.opened, sensible(app, sent));
  buildPage(app);
  app.store.listen(() => follow(app));
  update(app);
  watch(app);
  root.grokscope = {
    get state() { return differing(app.store.get(), app.first); },
    set: (change) => app.store.set(sensible(app, accepted(change))),
    show: (state) => app.store.set({ ...app.first, ...sensible(app, accepted(state)) }),
    stop: () => app.stop.abort(),
    get isBusy() { return app.seen !== app.store.get(); },
    get drawn() { return app.views.map((view) => view.scene.order.map((curve) => curve.name)); },
    get edges() { return app.views.flatMap((view) => view.scene.drawn.map((edges) => edges.map((i) => edgeName(view.graph, i)))); },
    onChange: (listener) => app.store.listen(() => listener(differing(app.store.get(), app.first))),
    app,
  };
  return root.grokscope;
}

function buildPage(app) {
  const { root, store } = app;
  app.colour = coloursOf(root);
  app.body = root.querySelector(".gs-body");
  app.holder = root.querySelector(".gs-panels");
  app.tip = root.querySelector(".gs-tip");
  app.hover = (view, found, at) => showTip(app, view, found, at);
  app.hoverName = (name) => {
    for (const view of app.views) {
      const curve = name && curveNamed(view.scene, name);
      if (view.hovered === (curve ? curve.key : null)) continue;
      view.hovered = curve ? curve.key : null;
      paintView(view);
    }
  };
  app.select = (name, more) => {
    const { selected } = store.get();
    if (!name) return selected.length && store.set({ selected: [] });
    const rest = selected.filter((each) => each !== name);
    if (more) return store.set({ selected: selected.includes(name) ? rest : [...rest, name] });
    store.set({ selected: selected.length === 1 && selected[0] === name ? [] : [name] });
  };
  Object.assign(app, { nameOf: edgeName, comparisonOf });
  app.lookOf = (curve, view = app.views[0]) => lookOfCurve(curve, view.style);
  app.aside = createAside(app);
  root.querySelectorAll(".gs-strips").forEach((each) => each.remove()); // of a page that the browser saved
  app.strip = tag("div", { class: "gs-strips", hidden: "" });
  app.holder.before(app.strip);
  app.showBar = createBar(app);
  root.addEventListener("keydown", (event) => {
    const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "range" && event.target.type !== "checkbox";
    if (!(event.ctrlKey || event.metaKey) || isTyping) return;
    const key = event.key.toLowerCase();
    if (key === "z" && !event.shiftKey) store.undo();
    else if (key === "y" || (key === "z" && event.shiftKey)) store.redo();
    else return;
    event.preventDefault();
  });
}

// The side: what is selected, and the lists.
function createAside(app) {
  const { root, store, data } = app;
  const aside = root.querySelector(".gs-aside");
  aside.replaceChildren();
  const details = tag("div", { class: "gs-details", "aria-live": "polite" }, aside);
  const listed = tag("div", { class: "gs-lists" }, aside);
  const tabs = tag("div", { class: "gs-tabs", role: "group", "aria-label": "lists" }, listed);
  const lists = [...(couplesOf(data).length ? [["differences", "differences"]] : []), ["edges", "edges"], ["nodes", "nodes"]];
  const made = lists.map(([list, text]) => {
    const button = tag("button", { type: "button", "data-list": list }, tabs, text);
    button.addEventListener("click", () => store.set({ list: store.get().list === list ? "" : list, sort: null }));
    return [list, button];
  });
  const holder = tag("div", { class: "gs-rows", tabindex: "0", role: "region", "aria-label": "list" }, listed);
  return (state) => {
    fillDetails(app, details, state);
    made.forEach(([list, button]) => set(button, "aria-pressed", state.list === list));
    holder.hidden = !state.list;
    if (state.list) fillTable(app, holder, state);
  };
}

const MOST_FINE = 2000; // curves; more are painted at half the resolution while a slider is dragged
const SMOOTH = 12; // milliseconds; if all takes longer, what is not the picture waits until the reader pauses

// Bring all up to the state; while a slider is dragged over thousands of edges only the curves, and the rest afterwards.
function follow(app) {
  if (app.views && app.cost > SMOOTH && quickly(app)) {
    clearTimeout(app.waiting);
    app.waiting = setTimeout(() => update(app), 150);
    return;
  }
  update(app);
}

// The curves of a new cut alone; false if more than the cut changed.
function quickly(app) {
  const state = app.store.get();
  const rest = ({ threshold, top, ...others }) => others;
  if (!same(rest(state), rest(app.seen))) return false;
  for (const view of app.views) {
    const { dots, visible, asBoxes } = view.scene;
    view.scene = { ...sceneOf(view, state, app.data, true), dots, visible, asBoxes };
    if (view.scene.order.length > MOST_FINE) setRatio(view, 0.5 * (window.devicePixelRatio || 1));
    view.trace = null;
    paintView(view, true);
  }
  app.showBar(state);
  return true;
}

function update(app) {
  clearTimeout(app.waiting);
  const begun = performance.now();
  const focused = app.root.contains(document.activeElement) ? document.activeElement.getAttribute("data-focus") : null;
  updateAll(app);
  if (focused) refocus(app.root, focused);
  app.seen = app.store.get();
  app.cost = performance.now() - begun;
}

// What had the focus may have been made anew.
function refocus(root, key) {
  const found = [...root.querySelectorAll("[data-focus]")].find((each) => each.getAttribute("data-focus") === key);
  if (found && found !== document.activeElement) found.focus({ preventScroll: true });
}

function updateAll(app) {
  const { root, data, store } = app;
  const state = store.get();
  const isDifference = state.view === "difference" && couplesOf(data).length > 0;
  const wanted = isDifference ? [state.pair.map((i) => data.panels[i])] : data.panels.map((panel) => [panel]);
  const key = JSON.stringify([isDifference, state.weights, isDifference ? state.pair : 0]);
  if (app.viewsKey !== key) {
    app.viewsKey = key;
    app.holder.replaceChildren();
    app.views = wanted.map((panels) => createView(app, app.holder, panels));
  }
  for (const view of app.views) layOut(view, state);
  arrange(app);
  for (const view of app.views) view.scene = sceneOf(view, state, data);
  for (const view of app.views) updateView(view, state);
  app.headline = headlineOf(app);
  const headline = root.querySelector(".gs-headline");
  headline.hidden = !app.headline;
  if (headline.textContent !== app.headline) headline.textContent = app.headline;
  fillLegend(app, root.querySelector(".gs-legend"), state);
  app.showBar(state);
  app.aside(state);
  fillStrip(app, state);
  if (app.tipped) showTip(app, null, null);
  if (app.isPage) toAddress(app.number, encoded(state, app.first, app.opened));
}

const ASIDE = 330; // pixels that the table needs beside the pictures

// The table stands beside the pictures where they keep their size, else below.
function arrange(app) {
  const wanted = app.views.reduce((sum, { layout }) => sum + 0.78 * (layout.width - layout.c.marginLeft) + AXIS.left + AXIS.right + 16, 0);
  app.root.classList.toggle("gs-below", wanted > app.body.clientWidth - ASIDE);
}

// Pictures follow the window, the theme and the printer.
function watch(app) {
  const until = { signal: app.stop.signal };
  const repaint = () => {
    app.colour.forget();
    update(app);
  };
  let width = app.body.clientWidth;
  new ResizeObserver(() => {
    if (Math.abs(app.body.clientWidth - width) < 2) return;
    width = app.body.clientWidth;
    repaint();
  }).observe(app.body);
  document.addEventListener("fullscreenchange", repaint, until);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint, until);
  const themes = new MutationObserver(repaint);
  app.stop.signal.addEventListener("abort", () => themes.disconnect());
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  const print = () => {
    const holder = app.root.querySelector(".gs-print");
    holder.innerHTML = figureOf({ ...app, colour: (name) => app.printColour(name) });
  };
  app.printColour = (name) => getComputedStyle(app.root.querySelector(".gs-print")).getPropertyValue(`--${name}`).trim();
  addEventListener("beforeprint", print, until);
  if (app.isPage) addEventListener("hashchange", () => app.store.set({ ...app.opened, ...sensible(app, fromAddress(app.number)) }), until);
  matchMedia("print").addEventListener("change", (event) => event.matches && print(), until);
}

// The tip beside what is pointed at, and the same edge emphasised in every picture.
function showTip(app, view, found, at) {
  app.tipped = found;
  app.hoverName(found && found.curve ? found.name : null);
  const { tip, root } = app;
  tip.hidden = !found;
  if (!found) return;
  const lines = tipOf(app, view, found);
  if (tip.textContent !== lines.join("\n")) tip.textContent = lines.join("\n");
  const frame = root.getBoundingClientRect();
  const box = view.svg.getBoundingClientRect();
  const [x, y] = [box.left - frame.left + at[0], box.top - frame.top + at[1]];
  const left = x + 18 + tip.offsetWidth > frame.width ? Math.max(0, x - 18 - tip.offsetWidth) : x + 18;
  tip.style.left = `${left}px`;
  tip.style.top = `${Math.max(0, Math.min(y + 14, frame.height - tip.offsetHeight))}px`;
}
