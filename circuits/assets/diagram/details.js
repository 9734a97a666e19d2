// The panel of what was selected last: it stays, with all that is known of it.

function fillDetails(app, holder, state) {
  holder.replaceChildren();
  const name = state.selected[state.selected.length - 1];
  if (!name) return;
  const view = app.views.find((each) => isIn(each.scene, name)) || app.views[0];
  const head = tag("div", { class: "gs-selected-head" }, holder);
  tag("p", { class: "gs-title" }, head, name);
  const others = state.selected.length - 1;
  if (others) tag("span", { class: "gs-soft" }, head, `and ${counted(others, "other")}`);
  const acts = tag("div", { class: "gs-acts" }, holder);
  const act = (text, title, does) => tag("button", { type: "button", title }, acts, text).addEventListener("click", does);
  act("hide", "leave it out of the picture", () => app.store.set({ hidden: [...state.hidden, ...state.selected], selected: [] }));
  const nodes = state.selected.filter((each) => !each.includes(" -> "));
  if (nodes.length > 1) act("group", "draw the selected nodes as one", () => nameGroup(app, holder, nodes));
  const group = state.groups.find((each) => each.name === name);
  if (group) {
    act("ungroup", "draw its nodes again", () => app.store.set({ groups: state.groups.filter((each) => each !== group), selected: [] }));
    tag("p", { class: "gs-soft" }, holder, `Group of ${group.nodes.join(", ")}. Edges into it and out of it are sums, which are not the effects of patching them together.`);
  }
  act("close", "select nothing", () => app.select(null));
  if (name.includes(" -> ")) edgeDetails(app, view, holder, name, state);
  else nodeDetails(app, holder, name, state);
}

function nameGroup(app, holder, nodes) {
  if (holder.querySelector(".gs-naming")) return;
  const form = tag("form", { class: "gs-naming" });
  holder.querySelector(".gs-acts").after(form);
  const input = tag("input", { "aria-label": "name of the group", placeholder: "name of the group", maxlength: "40" }, form);
  tag("button", {}, form, "group");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const { groups } = app.store.get();
    const taken = new Set([...groups.map((each) => each.name), ...app.views[0].picture.nodes.map((node) => node.name)]);
    const name = input.value.trim().replace(/->/g, "→");
    if (!name || taken.has(name)) {
      input.setCustomValidity(name ? "this name is taken" : "a group needs a name");
      return input.reportValidity();
    }
    const rest = groups.map((each) => ({ ...each, nodes: each.nodes.filter((node) => !nodes.includes(node)) })).filter((each) => each.nodes.length > 1);
    const members = nodes.flatMap((node) => (groups.find((each) => each.name === node) || { nodes: [node] }).nodes);
    app.store.set({ groups: [...rest.filter((each) => !nodes.includes(each.name)), { name, nodes: members }], selected: [name] });
  });
  input.addEventListener("input", () => input.setCustomValidity(""));
  input.focus();
}

function edgeDetails(app, view, holder, name, state) {
  const curve = curveNamed(view.scene, name);
  const own = edgeOf(view.graph, name);
  const members = curve ? curve.all : own < 0 ? [] : [own];
  numberTable(app, holder, members.length ? members.slice(0, 12).map((i) => edgeName(view.graph, i)) : [name], state);
  if (members.length > 1) tag("p", { class: "gs-soft" }, holder, `A sum of ${members.length} edges${members.length > 12 ? ", of which 12 are listed" : ""}; it is not the effect of patching them together.`);
  if (curve && view.panels.length > 1) tag("p", {}, holder, differenceInWords(curve, view.panels));
  else if (members.length === 1) differenceLine(app, view, holder, members[0], state);
  traceWords(view, holder);
  members.slice(0, 1).forEach((i) => queryTable(app, view, holder, i, state));
  const heads = [...new Set(members.flatMap((i) => view.graph.outputs(i)).concat(members.map((i) => view.graph.entered(i))).map((node) => view.graph.nodes[node].label))];
  heads.slice(0, 1).forEach((head) => attentionMap(app, holder, head));
}

// By how much an edge differs between the circuits that are compared, whatever the view.
function differenceLine(app, view, holder, i, state) {
  const comparison = comparisonOf(app.data, state.pair, state.step);
  const panels = state.pair.map((p) => app.data.panels[p]);
  if (!comparison || panels.some((panel) => app.graphs[panel.graph] !== view.graph)) return;
  const [difference, low, high] = [comparison.value[i], comparison.low[i], comparison.high[i]];
  tag("p", {}, holder, differenceInWords({ difference, low, high, differs: excludesZero(low, high) }, panels));
}

// Effects with intervals by circuit, an edge a row; circuits of other graphs have theirs by the same name.
function numberTable(app, holder, names, state) {
  const table = tag("table", { class: "gs-numbers" }, holder);
  const head = tag("tr", {}, tag("thead", {}, table));
  tag("th", { scope: "col" }, head, "edge");
  app.data.panels.forEach((panel) => tag("th", { scope: "col" }, head, panel.label || "effect"));
  const body = tag("tbody", {}, table);
  for (const name of names) {
    const row = tag("tr", {}, body);
    tag("th", { scope: "row" }, row, name);
    app.data.panels.forEach((panel) => {
      const graph = app.graphs[panel.graph];
      tag("td", {}, row, effectOf(panel, frameAt(panel, state.step), graph, edgeOf(graph, name)));
    });
  }
}

// What enters a node, by kind of input, and what leaves it.
function nodeDetails(app, holder, name, state) {
  const views = app.views.filter((view) => boxNamed(view.scene, name));
  if (!views.length) return void tag("p", { class: "gs-soft" }, holder, "It is not in this picture.");
  if (app.data.about && app.data.about[name]) tag("p", {}, holder, app.data.about[name]);
  for (const view of views) nodeInView(app, view, holder, name);
  const [view] = views;
  const box = boxNamed(view.scene, name);
  const comparison = comparisonOf(app.data, state.pair, state.step);
  const [a, b] = state.pair.map((p) => app.data.panels[p]);
  const row = comparison && !box.isGroup && !view.isMerged && app.graphs[a.graph] === view.graph ? nodeRow(comparison, box.members[0]) : null;
  if (row) tag("p", {}, holder, `All measured effects out of it, ${b.label} − ${a.label}: ${fixed(row.value, 3, true)}${interval(row.low, row.high, 3, true)}.`);
  if (!box.isGroup) attentionMap(app, holder, box.label);
}

// What enters a node in one picture, by kind of input, what leaves it, and what passes.
function nodeInView(app, view, holder, name) {
  const { graph, scene } = view;
  const box = boxNamed(scene, name);
  scene.frames.forEach((frame, p) => {
    const into = scene.drawn[p].filter((i) => scene.boxOf(graph.entered(i)) === box && scene.boxOf(graph.senders[i]) !== box);
    const out = scene.drawn[p].filter((i) => scene.boxOf(graph.senders[i]) === box && scene.boxOf(graph.entered(i)) !== box);
    if (view.panels[p].label) tag("p", { class: "gs-title" }, holder, view.panels[p].label);
    if (!into.length && !out.length) tag("p", { class: "gs-soft" }, holder, "no drawn edge");
    for (const kind of new Set(into.map((i) => graph.lookOf(i)))) edgeList(view, holder, frame, app.data.looks[kind][1], into.filter((i) => graph.lookOf(i) === kind));
    edgeList(view, holder, frame, "out of it", out);
  });
  traceWords(view, holder);
}

function edgeList(view, holder, frame, title, edges) {
  if (!edges.length) return;
  const sum = edges.reduce((total, i) => total + frame.effect[i], 0);
  tag("p", { class: "gs-list-title" }, holder, `${title}: ${edges.length}, together ${fixed(sum, 3)}`);
  const list = tag("ul", { class: "gs-list" }, holder);
  const order = [...edges].sort((a, b) => Math.abs(frame.effect[b]) - Math.abs(frame.effect[a]));
  for (const i of order.slice(0, 8)) edgeLine(view, list, i, withError(frame.effect[i], frame.stderr[i]));
  if (edges.length > 8) tag("li", { class: "gs-soft" }, list, `and ${edges.length - 8} more`);
}

// An edge of a list, which a click selects, and what is said of it.
function edgeLine(view, list, i, text) {
  const name = edgeName(view.graph, i);
  const line = tag("li", {}, list);
  tag("button", { type: "button" }, line, name).addEventListener("click", () => view.app.select(name));
  line.append(` ${text}`);
}

// How much of what is selected passes along the strongest edges before and after it.
function traceWords(view, holder) {
  if (!view.trace) return;
  const { shares } = view.trace;
  for (const [way, title] of [["up", "What feeds it"], ["down", "What it feeds"]]) {
    shares.forEach((found, p) => {
      const seeds = new Set([...found.up.keys()].filter((i) => found.down.has(i)));
      const rows = [...found[way]].filter(([i]) => !seeds.has(i)).sort((a, b) => b[1] - a[1]).slice(0, 5);
      if (!rows.length) return;
      const who = view.panels.length > 1 ? `, ${view.panels[p].label}` : "";
      tag("p", { class: "gs-list-title", title: "a node hands on what it holds to the drawn edges in proportion to their |effects|; a way of reading, not a measurement" }, holder, `${title}${who}, with the share that passes`);
      const list = tag("ul", { class: "gs-list" }, holder);
      for (const [i, share] of rows) edgeLine(view, list, i, `${(100 * share).toFixed(0)} %`);
    });
  }
}

// The queries that an edge matters to most, in words.
function queryTable(app, view, holder, i, state) {
  view.panels.forEach((panel) => {
    const { queries } = panel;
    const row = queries && frameAt(panel, state.step).strongest.find(([place]) => place === i);
    if (!row) return;
    tag("p", { class: "gs-list-title" }, holder, labelled(panel, "queries that it matters to most, as shares of the mean gap"));
    const table = tag("table", { class: "gs-numbers" }, holder);
    const head = tag("tr", {}, tag("thead", {}, table));
    ["query", ...queries.roles, "share"].forEach((text) => tag("th", { scope: "col" }, head, text));
    const body = tag("tbody", {}, table);
    row[1].forEach((query, k) => {
      const line = tag("tr", {}, body);
      tag("th", { scope: "row" }, line, String(query));
      queries.clean[query].forEach((word, j) => {
        const cell = tag("td", {}, line, word);
        if (queries.corrupt[query][j] !== word) cell.append(tag("del", { title: "in the corrupt prompt" }, null, queries.corrupt[query][j]));
      });
      tag("td", {}, line, fixed(row[2][k], 2));
    });
  });
}

// Where a head looks on average: from rows to columns.
function attentionMap(app, holder, head) {
  for (const panel of app.data.panels) {
    const rows = panel.queries ? panel.queries.attention.filter(([name]) => name === head) : [];
    if (!rows.length) continue;
    tag("p", { class: "gs-list-title" }, holder, labelled(panel, `where ${head} looks, on average over the queries`));
    const order = [...panel.queries.roles, ...rows.map(([, , from]) => from)]; // what is elsewhere comes last
    const sources = [...new Set(order)].filter((from) => rows.some(([, , source, share]) => source === from && (share > 0 || panel.queries.roles.includes(from))));
    const table = tag("table", { class: "gs-map" }, holder);
    const top = tag("tr", {}, tag("thead", {}, table));
    tag("th", { scope: "col" }, top, "at");
    sources.forEach((from) => tag("th", { scope: "col" }, top, from));
    const body = tag("tbody", {}, table);
    for (const to of new Set(rows.map(([, at]) => at))) {
      const line = tag("tr", {}, body);
      const name = `${head}@${to}`;
      const cell = tag("th", { scope: "row" }, line);
      if (app.views[0].graph.nodeOf.has(name)) tag("button", { type: "button" }, cell, to).addEventListener("click", () => app.select(name));
      else cell.textContent = to;
      for (const from of sources) {
        const found = rows.find(([, at, source]) => at === to && source === from);
        const share = found ? found[3] : 0;
        tag("td", { style: `--share: ${share}`, ...(share > 0.55 ? { class: "gs-full" } : {}) }, line, found ? share.toFixed(2) : "");
      }
    }
  }
}
