// The table beside the picture: edges, nodes or differences, sorted by a click; a row and its edge are one selection.

const MOST_ROWS = 100; // at once

// The columns and rows of a list: of all circuits, by name, since they may be of several graphs.
function listOf(app, state) {
  if (state.list === "differences" && couplesOf(app.data).length) return differencesList(app, state, app.graphs[app.data.panels[state.pair[0]].graph]);
  return state.list === "nodes" ? nodesList(app, state) : edgesList(app, state);
}

// Each panel with its graph, its frame and the numbers of the edges that it draws.
function drawnOf(app, state) {
  return app.data.panels.map((panel) => {
    const graph = app.graphs[panel.graph];
    const frame = frameAt(panel, state.step);
    return { panel, graph, frame, edges: drawnEdges(graph, frame, state, app.data) };
  });
}

function edgesList(app, state) {
  const panels = drawnOf(app, state);
  const drawn = panels.map(({ graph, edges }) => new Set(edges.map((i) => edgeName(graph, i))));
  const columns = [{ key: "edge", text: "edge" }];
  panels.forEach(({ panel }, k) => columns.push({ key: `effect ${k}`, text: panel.label || "effect", title: "share of the gap, with its 95 % interval", isNumber: true }));
  const digits = panels.length > 1 ? 2 : 3;
  const rows = [...new Set(drawn.flatMap((names) => [...names]))].map((name) => {
    const cells = panels.map(({ graph, frame }, k) => {
      const i = edgeOf(graph, name);
      const effect = i < 0 ? null : frame.effect[i];
      return { sort: effect, text: effect === null ? "–" : withError(effect, frame.stderr[i], digits), isFaint: !drawn[k].has(name) };
    });
    return { name, size: Math.max(...cells.map(({ sort }) => Math.abs(sort || 0))), cells };
  });
  return { columns, rows, sort: ["size", -1], what: "edge" };
}

function differencesList(app, state, graph) {
  const { data } = app;
  const comparison = comparisonOf(data, state.pair, state.step);
  const [a, b] = state.pair.map((i) => data.panels[i]);
  const frames = [a, b].map((panel) => frameAt(panel, state.step));
  const drawn = frames.map((frame) => drawnEdges(graph, frame, state, data));
  const all = [...new Set(membersOf(drawn, comparison, state.member).flat())];
  const columns = [
    { key: "edge", text: "edge" }, { key: "a", text: a.label, isNumber: true }, { key: "b", text: b.label, isNumber: true },
    { key: "difference", text: `${b.label} − ${a.label}`, title: "difference with an interval that holds for all edges at once; bold where it excludes zero", isNumber: true },
  ];
  const rows = comparison ? all.map((i) => {
    const [value, low, high] = [comparison.value[i], comparison.low[i], comparison.high[i]];
    const cells = frames.map((frame, p) => ({ sort: frame.effect[i], text: frame.effect[i] === null ? "–" : fixed(frame.effect[i], 2), isFaint: !drawn[p].includes(i) }));
    cells.push(differenceCell({ value, low, high }));
    return { name: edgeName(graph, i), size: Math.abs(value || 0), cells };
  }) : [];
  return { columns, rows, sort: ["size", -1], what: "edge", sides: [a.label, b.label] };
}

function nodesList(app, state) {
  const { data } = app;
  const panels = drawnOf(app, state);
  const columns = [{ key: "node", text: "node" }];
  panels.forEach(({ panel }, k) => columns.push({ key: `effect ${k}`, text: panel.label ? `out of it, ${panel.label}` : "effects out of it", title: "sum of the effects of the drawn edges that leave it", isNumber: true }));
  const comparison = comparisonOf(data, state.pair, state.step);
  if (comparison) columns.push({ key: "difference", text: `${data.panels[state.pair[1]].label} − ${data.panels[state.pair[0]].label}, all measured`, title: "of all measured edges out of it, drawn or not", isNumber: true });
  const sums = panels.map(sumsOut);
  const compared = comparison && app.graphs[data.panels[state.pair[0]].graph];
  const rows = [...new Set(sums.flatMap((found) => [...found.keys()]))].map((name) => {
    const cells = sums.map((found) => ({ sort: found.has(name) ? found.get(name) : null, text: found.has(name) ? fixed(found.get(name), 3) : "–" }));
    const size = Math.max(...cells.map(({ sort }) => Math.abs(sort || 0)));
    if (comparison) cells.push(differenceCell(compared.nodeOf.has(name) ? nodeRow(comparison, compared.nodeOf.get(name).i) : null));
    return { name, size, cells };
  });
  return { columns, rows, sort: ["size", -1], what: "node" };
}

// By name of each node that drawn edges touch, the sum of those that leave it.
function sumsOut({ graph, frame, edges }) {
  const found = new Map();
  for (const i of edges) {
    const [from, to] = [graph.senders[i], graph.entered(i)].map((node) => graph.nodes[node].name);
    found.set(from, (found.get(from) || 0) + frame.effect[i]);
    if (!found.has(to)) found.set(to, 0);
  }
  return found;
}

function differenceCell(row) {
  if (!row || row.value === null) return { sort: null, text: "–" };
  const isSure = excludesZero(row.low, row.high);
  return { sort: row.value, text: fixed(row.value, 2, true) + interval(row.low, row.high, 2, true), isSure, side: isSure ? (row.value < 0 ? "a" : "b") : "" };
}

// What bold numbers, grey ones and the two colours mean.
function describeSides(caption, [a, b]) {
  caption.append("; grey: not drawn there; bold: the interval excludes 0, ");
  for (const [side, text] of [["a", `higher in ${a}, `], ["b", `higher in ${b}`]]) {
    tag("span", { class: "gs-chip", "aria-hidden": "true" }, tag("span", { class: `gs-${side}` }, caption));
    caption.append(` ${text}`);
  }
}

function sortedRows({ columns, rows, sort }, chosen) {
  const [key, way] = chosen || sort;
  const column = columns.findIndex((each) => each.key === key);
  const value = (row) => (key === "size" || column < 0 ? row.size : column === 0 ? row.name : row.cells[column - 1].sort);
  return [...rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return way * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y);
  });
}

function fillTable(app, holder, state) {
  const list = listOf(app, state);
  const rows = sortedRows(list, state.sort);
  const most = app.moreRows || MOST_ROWS;
  holder.replaceChildren();
  const table = tag("table", { class: "gs-table" }, holder);
  const caption = tag("caption", {}, table, `${counted(rows.length, list.what)}${rows.length > most ? `, the first ${most}` : ""}`);
  if (list.sides) describeSides(caption, list.sides);
  const head = tag("tr", {}, tag("thead", {}, table));
  const [key, way] = state.sort || list.sort;
  for (const column of list.columns) {
    const cell = tag("th", { scope: "col", "aria-sort": column.key === key ? (way < 0 ? "descending" : "ascending") : "none" }, head);
    const button = tag("button", { type: "button", title: column.title || "sort", "data-focus": `sort ${column.key}` }, cell, column.text + (column.key === key ? (way < 0 ? " ▾" : " ▴") : ""));
    button.addEventListener("click", () => app.store.set({ sort: [column.key, column.key === key ? -way : column.isNumber ? -1 : 1] }));
  }
  const body = tag("tbody", {}, table);
  const selected = new Set(state.selected);
  for (const row of rows.slice(0, most)) {
    const line = tag("tr", { "data-row": row.name, ...(selected.has(row.name) ? { class: "gs-selected" } : {}) }, body);
    const name = tag("button", { type: "button", "aria-pressed": String(selected.has(row.name)), "data-focus": `row ${row.name}` }, tag("th", { scope: "row" }, line));
    row.name.split(/ (?=-> )/).forEach((part, i) => {
      if (i) name.append(" "); // where a line may end
      tag("span", {}, name, part);
    });
    name.addEventListener("click", (event) => app.select(row.name, event.shiftKey || event.ctrlKey || event.metaKey));
    line.addEventListener("pointerenter", () => app.hoverName(row.name));
    line.addEventListener("pointerleave", () => app.hoverName(null));
    for (const cell of row.cells) {
      const made = tag("td", { class: [cell.isFaint && "gs-faint", cell.isSure && `gs-sure gs-${cell.side}`].filter(Boolean).join(" ") }, line, cell.text);
      if (cell.isSure) tag("span", { class: "gs-chip", "aria-hidden": "true" }, made);
    }
  }
  if (rows.length <= most) return;
  tag("button", { type: "button", class: "gs-more" }, holder, `show ${Math.min(500, rows.length - most)} more`)
    .addEventListener("click", () => {
      app.moreRows = most + 500;
      fillTable(app, holder, state);
    });
}
