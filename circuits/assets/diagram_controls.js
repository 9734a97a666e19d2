// The diagram's state and what changes it: sliders, buttons, pointer and keys.

function start(root) {
  if (root.dataset.started) return; // a notebook may show the same diagram twice
  const page = root.outerHTML; // as it came, to be saved again
  root.dataset.started = "yes";
  const data = parse(root.querySelector(".gs-data").textContent);
  const graphs = data.graphs.map((graph) => prepared(graph, data.looks));
  const bar = root.querySelector(".gs-bar");
  const holder = root.querySelector(".gs-panels");
  const tip = root.querySelector(".gs-tip");
  const measured = data.panels.flatMap((panel) => panel.frames.map((frame) => frame.step)).filter((step) => step !== null);
  const steps = [...new Set(measured)].sort((a, b) => a - b);
  const most = Math.max(1, data.most);
  const isLong = most > 1000; // then the slider goes by factors
  const toSlider = (x) => 1000 + 333 * Math.log10(x / data.widest); // three decades
  const least = data.left_out ? Math.min(1000, Math.max(0, Math.floor(toSlider(data.left_out)) + 1)) : 0; // weaker edges are not in the page
  const toThreshold = (at) => data.widest * 10 ** ((at - 1000) / 333);
  const threshold = Math.max(data.widest / 50, data.left_out && toThreshold(least));
  const state = { cut: data.at_first ? "top" : "kept", threshold, top: data.at_first || Math.min(10, most) };
  state.step = steps[steps.length - 1];
  Object.assign(state, { overlay: false, merged: false, pair: [0, 1], pinned: null, zoom: 1, at: [0, 0] });
  let pictures = [];

  const titleOf = (panel) => panel.label || data.title;

  function rebuild() {
    const shown = state.overlay ? [state.pair.map((i) => data.panels[i])] : data.panels.map((panel) => [panel]);
    holder.replaceChildren();
    pictures = shown.map((panels) => {
      const figure = tag("figure", {}, holder);
      const title = panels.map(titleOf).join(" and ");
      if (panels[0].label) tag("h4", {}, figure, title);
      const caption = tag("figcaption", {}, figure);
      const graph = graphs[panels[0].graph];
      const picture = createPicture(graph, state.merged && graph.merged, panels, title, data.drawing);
      const box = tag("div", { class: "gs-view" }, figure);
      box.append(picture.svg);
      if (picture.view.width > data.drawing.wide) figure.classList.add("gs-wide");
      box.scrollLeft = box.scrollWidth; // the answer is mostly read at the last position
      listen(picture);
      return { ...picture, caption };
    });
    root.classList.toggle("gs-overlaid", state.overlay);
    state.pair.forEach((panel, side) => {
      const name = root.querySelector(`.gs-legend svg:has(.gs-${"ab"[side]}) + .gs-who`);
      if (name && data.panels[panel]) name.textContent = `stronger in ${titleOf(data.panels[panel])}`;
    });
    update();
  }

  function update() {
    for (const picture of pictures) {
      updatePicture(picture, state, data.widest);
      const frames = picture.panels.map((panel) => frameOf(panel, state));
      picture.caption.textContent = frames.map((frame, i) => captionOf(picture.panels[i], frame, picture.drawn[i])).join(" | ");
      const { width, height } = picture.view;
      const box = [...state.at, width / state.zoom, height / state.zoom];
      picture.svg.setAttribute("viewBox", box.map((x) => x.toFixed(1)).join(" "));
    }
    controls.show();
  }

  // What stands in the bar.
  const controls = createControls();

  function createControls() {
    const cut = tag("select", { "aria-label": "which edges are drawn" }, tag("label", {}, bar, "edges "));
    for (const [value, text] of [["kept", "of the circuit"], ["threshold", "of at least"], ["top", "strongest"]]) {
      tag("option", { value }, cut, text);
    }
    const slider = tag("input", { type: "range", class: "gs-cut", "aria-label": "threshold or number of edges" }, bar);
    const number = tag("output", { class: "gs-number" }, bar);
    const range = (min, max, value) => Object.assign(slider, { min, max, step: 1, value });
    const choose = () => {
      state.cut = cut.value;
      if (cut.value === "threshold") range(least, 1000, Math.round(toSlider(state.threshold)));
      if (cut.value === "top") range(0, isLong ? 1000 : most, isLong ? Math.round((1000 * Math.log(state.top)) / Math.log(most)) : state.top);
    };
    cut.value = state.cut;
    choose();
    cut.addEventListener("change", () => {
      choose();
      update();
    });
    slider.addEventListener("input", () => {
      if (state.cut === "top") state.top = isLong ? Math.round(most ** (slider.value / 1000)) : Number(slider.value);
      else state.threshold = toThreshold(slider.value);
      update();
    });
    const count = tag("span", { class: "gs-count" }, bar);
    const stepOut = steps.length > 1 ? createSteps() : null;
    const sameGraph = data.panels.length > 1 && data.panels.every((panel) => panel.graph === data.panels[0].graph);
    if (sameGraph) createOverlay();
    if (graphs.some((graph) => graph.merged)) toggle("by weights", "merged", "one node for each set of weights, all loops");
    const buttons = tag("span", { class: "gs-buttons" }, bar);
    const button = (text, title, act) => tag("button", { type: "button", title, "aria-label": title }, buttons, text)
      .addEventListener("click", act);
    button("+", "zoom in", () => zoom(1.4));
    button("−", "zoom out", () => zoom(1 / 1.4));
    button("⟲", "whole picture, nothing pinned", reset);
    if (root.requestFullscreen) {
      button("full", "full screen", () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen()));
    }
    const name = data.title.replace(/[^\w.-]+/g, "-");
    button("SVG", "save the drawing", () => save(`${name}.svg`, "image/svg+xml", svgOf(pictures)));
    button("JSON", "save the numbers", () => save(`${name}.json`, "application/json", jsonOf(data)));
    button("HTML", "save this page", () => save(`${name}.html`, "text/html", pageOf(root.dataset.page, page)));
    return {
      show() {
        slider.hidden = number.hidden = state.cut === "kept";
        number.textContent = state.cut === "top" ? String(state.top) : state.threshold.toPrecision(3);
        count.textContent = pictures.flatMap((p) => p.panels.map((panel, i) => counted(panel, p.drawn[i]))).join("; ");
        if (stepOut) stepOut.textContent = state.step.toLocaleString("en");
      },
    };
  }

  // The circuit's caption, which says what its edges keep; where others are drawn, what is drawn and what that keeps.
  function captionOf(panel, frame, drawn) {
    if (state.cut !== "kept") return `${frame.caption} · drawn: ${numberOf(panel, drawn)}${keptBy(panel, frame, drawn)}`;
    return frame.caption + (frame.keeps && ` · ${frame.keeps}`);
  }

  function counted(panel, drawn) {
    const label = panel.label ? `${panel.label}: ` : "";
    return label + numberOf(panel, drawn) + keptBy(panel, frameOf(panel, state), drawn);
  }

  function numberOf(panel, drawn) {
    return `${drawn.length} of ${graphs[panel.graph].n_edges} edges`;
  }

  // What the drawn edges keep, or as many of them as were measured.
  function keptBy(panel, frame, drawn) {
    if (state.cut === "kept") return frame.keeps && `, ${frame.keeps}`;
    if (!panel.curve.length || !drawn.length) return "";
    const kept = faithfulnessAt(panel, drawn.length);
    if (!kept) return `, no size up to ${drawn.length} was measured, the smallest is ${Math.min(...panel.curve.map(([k]) => k))}`;
    const [size, value, low, high] = kept;
    if (value === null) return `, what the strongest ${size} keep is undefined`;
    const who = size === drawn.length ? (size === 1 ? "it" : "they") : `the strongest ${size} of them, the next smaller measured size,`;
    return `, ${who} ${drawn.length === 1 ? "keeps" : "keep"} ${fixed(value, 2)}${low === null ? "" : ` [${fixed(low, 2)}, ${fixed(high, 2)}]`} of the gap`;
  }

  function toggle(text, key, title) {
    const label = tag("label", { title }, bar);
    const box = tag("input", { type: "checkbox", "data-toggle": key }, label);
    label.append(` ${text}`);
    box.addEventListener("change", () => {
      Object.assign(state, { [key]: box.checked, pinned: null, zoom: 1, at: [0, 0] });
      rebuild();
    });
  }

  function createOverlay() {
    toggle("one over the other", "overlay", "both circuits in one picture");
    if (data.panels.length === 2) return;
    state.pair.forEach((chosen, side) => {
      const select = tag("select", { "aria-label": `circuit ${side + 1} of the overlay` }, bar);
      data.panels.forEach((panel, i) => tag("option", { value: i }, select, panel.label));
      select.value = chosen;
      select.addEventListener("change", () => {
        state.pair[side] = Number(select.value);
        rebuild();
      });
    });
  }

  function createSteps() {
    const label = tag("label", {}, bar, "step ");
    const slider = tag("input", { type: "range", class: "gs-step", min: 0, max: steps.length - 1, step: 1 }, label);
    slider.value = steps.length - 1;
    const shown = tag("output", {}, label);
    const go = (i) => {
      slider.value = i;
      state.step = steps[i];
      update();
    };
    slider.addEventListener("input", () => go(Number(slider.value)));
    const play = tag("button", { type: "button", class: "gs-play" }, bar, "▶ play");
    let timer = null;
    const stop = () => {
      clearInterval(timer);
      timer = null;
      play.textContent = "▶ play";
    };
    play.addEventListener("click", () => {
      if (timer) return stop();
      play.textContent = "❚❚ pause";
      let i = Number(slider.value) === steps.length - 1 ? 0 : Number(slider.value);
      go(i);
      timer = setInterval(() => (++i < steps.length ? go(i) : stop()), 700);
    });
    return shown;
  }

  // Zoom about the middle, or a point of the picture; all pictures move together.
  function zoom(factor, point) {
    const { width, height } = pictures[0].view;
    const next = Math.min(8, Math.max(1, state.zoom * factor));
    const centre = point || [state.at[0] + width / state.zoom / 2, state.at[1] + height / state.zoom / 2];
    state.at = state.at.map((x, i) => centre[i] - ((centre[i] - x) * state.zoom) / next);
    state.zoom = next;
    pan([0, 0]);
  }

  function pan([dx, dy]) {
    const { width, height } = pictures[0].view;
    const inside = (x, size) => Math.min(size - size / state.zoom, Math.max(0, x));
    state.at = [inside(state.at[0] + dx, width), inside(state.at[1] + dy, height)];
    update();
  }

  function reset() {
    Object.assign(state, { pinned: null, zoom: 1, at: [0, 0] });
    update();
  }

  function pin(what) {
    state.pinned = state.pinned && what && state.pinned.name === what.name ? null : what;
    update();
  }

  // An edge or node as something to point at.
  function target(element) {
    if (!element || !element.closest) return null;
    const edge = element.closest("[data-edge]");
    if (edge) return { name: edge.dataset.edge, edge: edge.dataset.edge, place: Number(edge.dataset.place), element: edge };
    const node = element.closest("[data-node]");
    return node && { name: node.dataset.name, node: node.dataset.name, place: Number(node.dataset.node), element: node };
  }

  // What is under the pointer, or a few pixels next to it: thin lines are hard to hit.
  function near(event) {
    for (const [dx, dy] of [[0, 0], [3, 0], [-3, 0], [0, 3], [0, -3]]) {
      const found = target(document.elementFromPoint(event.clientX + dx, event.clientY + dy));
      if (found && root.contains(found.element)) return found;
    }
    return null;
  }

  function listen(picture) {
    const { svg } = picture;
    const current = () => pictures.find((each) => each.svg === svg);
    let grabbed = null;
    let moved = false;
    svg.addEventListener("pointermove", (event) => {
      if (grabbed && state.zoom > 1) {
        const unit = picture.view.width / state.zoom / svg.clientWidth;
        const by = [(grabbed[0] - event.clientX) * unit, (grabbed[1] - event.clientY) * unit];
        moved = moved || Math.hypot(...by) > 2;
        grabbed = [event.clientX, event.clientY];
        pan(by);
      }
      show(current(), near(event));
    });
    svg.addEventListener("pointerdown", (event) => {
      grabbed = [event.clientX, event.clientY];
      moved = false;
    });
    svg.addEventListener("pointerup", () => (grabbed = null));
    svg.addEventListener("pointerleave", () => {
      grabbed = null;
      show(null, null);
    });
    svg.addEventListener("click", (event) => moved || pin(near(event)));
    svg.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls as always
      event.preventDefault();
      const frame = svg.getBoundingClientRect();
      const unit = picture.view.width / state.zoom / frame.width;
      zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, [
        state.at[0] + (event.clientX - frame.left) * unit, state.at[1] + (event.clientY - frame.top) * unit]);
    }, { passive: false });
    svg.addEventListener("blur", () => show(null, null));
    svg.addEventListener("keydown", (event) => keyed(event, current()));
  }

  // Left and right walk along the drawn edges, strongest first, up and down along the nodes.
  function keyed(event, picture) {
    const strength = (place) => Math.max(...picture.strengths.get(place).map(Math.abs));
    const edges = [...picture.members.keys()].sort((a, b) => strength(b) - strength(a) || a - b);
    const walks = {
      ArrowRight: [edges, 1, "edge"], ArrowLeft: [edges, -1, "edge"],
      ArrowUp: [picture.nodes.map((_, i) => i), 1, "node"], ArrowDown: [picture.nodes.map((_, i) => i), -1, "node"],
    };
    if (event.key in walks) {
      const [places, by, what] = walks[event.key];
      if (!places.length) return;
      const at = places.indexOf(picture.focused && picture.focused[what] ? picture.focused.place : -1);
      const place = places[at < 0 ? (by > 0 ? 0 : places.length - 1) : (at + by + places.length) % places.length];
      picture.focused = target(what === "edge" ? picture.edges.get(place).rim : picture.nodes[place]);
      picture.focused.element.scrollIntoView({ block: "nearest", inline: "nearest" });
      show(picture, picture.focused);
    } else if ((event.key === "Enter" || event.key === " ") && picture.focused) {
      pin(picture.focused);
    } else if (event.key === "Escape") {
      picture.focused = state.pinned = null;
      update();
      show(null, null);
    } else if (event.key === "+" || event.key === "-") {
      zoom(event.key === "+" ? 1.4 : 1 / 1.4);
    } else {
      return;
    }
    event.preventDefault();
  }

  // The tip next to an edge or node, and the same one emphasised in every picture.
  function show(picture, what) {
    if (what && !tip.hidden && tip.dataset.about === what.name && what.element.classList.contains("gs-hover")) return;
    for (const each of root.querySelectorAll(".gs-hover")) each.classList.remove("gs-hover");
    tip.hidden = !what;
    if (!what) return;
    for (const other of root.querySelectorAll("[data-edge], [data-node]")) {
      if ((other.dataset.edge || other.dataset.name) === what.name) other.classList.add("gs-hover");
    }
    tip.dataset.about = what.name;
    tip.textContent = what.edge ? aboutEdge(picture, what.place) : aboutNode(picture, what);
    const frame = root.getBoundingClientRect();
    const box = what.element.getBoundingClientRect();
    const left = box.left + box.width / 2 - frame.left + 16;
    tip.style.left = `${Math.max(0, Math.min(left, frame.width - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, box.top + box.height / 2 - frame.top - tip.offsetHeight / 2)}px`;
  }

  // Every circuit's numbers for an edge, or for all that share its weights.
  function aboutEdge({ graph, view, merged }, place) {
    const same = merged ? graph.senders.map((_, i) => i).filter((i) => graph.of_weights[i] === place) : [place];
    const names = same.map((i) => nameOf(graph, i));
    const lines = names.flatMap((name) => {
      const numbers = data.panels.map((panel) => numbersOf(panel, name));
      return names.length > 1 ? [name, ...numbers.map((line) => `  ${line}`)] : numbers;
    });
    return (names.length > 1 ? lines : [nameOf(view, place), ...lines]).join("\n");
  }

  function fixed(value, digits) {
    return value.toFixed(digits).replace(/^-(?=[0.]*$)/, ""); // what rounds to zero has no sign
  }

  function numbersOf(panel, name) {
    const graph = graphs[panel.graph];
    const i = placeOf(graph, name);
    const label = panel.label ? `${panel.label}: ` : "";
    if (i < 0) return `${label}${graph.senders.length < graph.n_edges ? "not among the edges of this page" : "not measured"}`;
    const frame = frameOf(panel, state);
    if (frame.effect[i] === null) return `${label}no number${frame.reason ? `: ${frame.reason}` : ""}`;
    const error = frame.stderr[i] === null ? "" : ` ± ${(1.96 * frame.stderr[i]).toFixed(3)}`;
    const drawn = drawnEdges(frame, state).includes(i) ? "" : " (not drawn)";
    const how = isEstimated(frame, i) ? ", estimated" : "";
    return `${label}${fixed(frame.effect[i], 3)}${error} of a gap of ${frame.gap}, n = ${frame.n}${how}${drawn}`;
  }

  function aboutNode({ graph, merged }, { name, place }) {
    const is = (node) => (merged ? graph.fold[node] : node) === place;
    const lines = data.panels.map((panel) => {
      if (graphs[panel.graph] !== graph) return null;
      const frame = frameOf(panel, state);
      const drawn = drawnEdges(frame, state);
      const entering = drawn.filter((i) => is(entered(graph, i))).length;
      const leaving = drawn.filter((i) => is(graph.senders[i])).length;
      const carries = frame.marks.filter(([node]) => is(node)).map(([, what, share]) => `${what} readable ${share.toFixed(3)}`);
      const parts = [`${entering} drawn edges in`, `${leaving} out`, ...carries];
      return `${panel.label ? `${panel.label}: ` : ""}${parts.join(", ")}`;
    });
    return [name, ...lines.filter(Boolean)].join("\n");
  }

  rebuild();
}
