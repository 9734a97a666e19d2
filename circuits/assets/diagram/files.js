// What can be taken away: pictures, numbers, the page, a link; made in the page, without a server.

function download(name, type, content) {
  const link = tag("a", { download: name, href: URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type })) }, document.body);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function saveMenu(app, group) {
  const menu = tag("details", { class: "gs-menu" }, group);
  tag("summary", {}, menu, "save");
  const box = tag("div", { class: "gs-pop" }, menu);
  const name = app.data.title.replace(/[^\w.-]+/g, "-");
  const button = (text, title, act) => tag("button", { type: "button", title }, box, text).addEventListener("click", act);
  button("SVG", "the figure as vectors", () => download(`${name}.svg`, "image/svg+xml", figureOf(app)));
  button("PNG", "the figure as pixels, twice as fine as the screen", () => pngOf(figureOf(app), (blob) => download(`${name}.png`, "image/png", blob)));
  button("JSON", "all numbers of the page, and what is seen", () => download(`${name}.json`, "application/json", jsonOf(app)));
  button("CSV", "the edges that are drawn, with their numbers", () => download(`${name}.csv`, "text/csv", csvOf(app)));
  button("page", "this page as it is now", () => download(`${name}.html`, "text/html", pageOf(app)));
  const link = tag("button", { type: "button", title: "an address that shows what you see" }, box, "link");
  link.addEventListener("click", async () => {
    const address = `${location.href.split("#")[0]}#${addressKey(app.number)}=${encoded(app.store.get(), app.first, app.opened)}`;
    try {
      await navigator.clipboard.writeText(address);
      link.textContent = "copied";
    } catch {
      let shown = box.querySelector("input");
      if (!shown) shown = tag("input", { readonly: "", "aria-label": "address" }, box);
      shown.value = address;
      shown.select();
    }
    setTimeout(() => (link.textContent = "link"), 1500);
  });
  closeOutside(app, menu);
}

function pngOf(svg, done) {
  const image = new Image();
  image.onload = () => {
    const canvas = tag("canvas", { width: 2 * image.width, height: 2 * image.height });
    const context = canvas.getContext("2d");
    context.scale(2, 2);
    context.drawImage(image, 0, 0);
    canvas.toBlob(done, "image/png");
  };
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
}

// The data of the page as they came; four bytes hold six digits.
function jsonOf(app) {
  const six = (x) => (typeof x === "number" ? Number(x.toPrecision(6)) : x);
  const lists = new Set(["effect", "stderr", "value", "low", "high"]);
  const tell = (key, value) => (lists.has(key) && Array.isArray(value) ? value.map(six) : value);
  return JSON.stringify({ ...app.raw(), state: differing(app.store.get(), app.first) }, tell);
}

function csvOf(app) {
  const state = app.store.get();
  const quoted = (value) => (value === null || value === undefined ? "" : /[",\n\r]/.test(value) ? `"${String(value).replace(/"/g, '""')}"` : String(value));
  const lines = [["circuit", "step", "edge", "sender", "receiver", "effect", "low", "high", "n", "kept", "verified"]];
  const seen = new Set();
  for (const view of app.views) {
    view.panels.forEach((panel, p) => {
      const frame = view.scene.frames[p];
      for (const i of [...view.scene.drawn[p]].sort((a, b) => Math.abs(frame.effect[b]) - Math.abs(frame.effect[a]))) {
        const [sender, receiver] = [view.graph.nodes[view.graph.senders[i]].name, view.graph.inputs[view.graph.receivers[i]].name];
        const half = frame.stderr[i] === null ? null : Z * frame.stderr[i];
        const bounds = half === null ? [null, null] : [frame.effect[i] - half, frame.effect[i] + half].map((x) => Number(x.toPrecision(6)));
        lines.push([panel.label, frame.step, edgeName(view.graph, i), sender, receiver, Number(frame.effect[i].toPrecision(6)), ...bounds, frame.n_each ? frame.n_each[i] : frame.n, isKept(frame, i), isEstimated(frame, i) ? "estimated" : "measured"]);
        seen.add(i);
      }
    });
  }
  if (state.view === "difference" && app.views[0].scene.comparison) {
    const { comparison } = app.views[0].scene;
    const graph = app.views[0].graph;
    const name = `${app.views[0].panels[1].label} - ${app.views[0].panels[0].label}`;
    for (const i of seen) lines.push([name, comparison.step, edgeName(graph, i), graph.nodes[graph.senders[i]].name, graph.inputs[graph.receivers[i]].name, ...[comparison.value[i], comparison.low[i], comparison.high[i]].map((x) => (x === null ? null : Number(x.toPrecision(6)))), "", "", "difference"]);
  }
  return lines.map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";
}

// The page that the library writes, with the diagram in the place that it left for the body, opening as it is seen now.
function pageOf(app) {
  const state = escaped(JSON.stringify(differing(app.store.get(), app.first)));
  const fragment = app.source.replace(/ data-state="[^"]*"/, () => ` data-state="${state}"`);
  return app.skeleton.replace("<!-- grokscope: the body -->", () => fragment);
}
