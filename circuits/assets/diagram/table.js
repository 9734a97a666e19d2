// The table beside the picture: edges, nodes or differences, sorted by a click; a row and its edge are one selection.

const MOST_ROWS = 100; // at once

// The columns of a list: [key, heading, number or text of a row, whether it sorts as a number].
function listOf(app, state) {
  const { data, graphs } = app;
  const shown = app.views[0];
  const graph = shown.graph;
  const panels = data.panels.map((panel, p) => ({ panel, p })).filter(({ panel }) => graphs[panel.graph] === graph);
  if (state.list === "differences" && couplesOf(data).length) return differencesList(app, state, graph);
  return state.list === "nodes" ? nodesList(app, state, graph, panels) : edgesList(app, state, graph, panels);
}

function edgesList(app, state, graph, panels) {
  const { data } = app;
  const drawn = panels.map(({ panel }) => new Set(drawnEdges(graph, frameAt(panel, state.step), state, data)));
  const all = [...new Set(drawn.flatMap((edges) => [...edges]))];
  const columns = [{ key: "edge", text: "edge" }];
  panels.forEach(({ panel }, k) => columns.push({ key: `effect ${k}`, text: panel.label || "effect", title: "share of the gap, with its 95 % interval", isNumber: true }));
  const rows = all.map((i) => {
    const cells = panels.map(({ panel }, k) => {
      const frame = frameAt(panel, state.step);
      return { sort: frame.effect[i], text: withError(frame.effect[i], frame.stderr[i]), isFaint: !drawn[k].has(i) };
    });
    return { name: edgeName(graph, i), size: Math.max(...cells.map(({ sort }) => Math.abs(sort || 0))), cells };
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
    const isSure = excludesZero(low, high);
    cells.push({ sort: value, text: value === null ? "–" : fixed(value, 2, true) + interval(low, high, 2, true), isSure, side: isSure ? (value < 0 ? "a" : "b") : "" });
    return { name: edgeName(graph, i), size: Math.abs(value || 0), cells };
  }) : [];
  return { columns, rows, sort: ["size", -1], what: "edge", sides: [a.label, b.label] };
}

function nodesList(app, state, graph, panels) {
  const { data } = app;
  const columns = [{ key: "node", text: "node" }];
  panels.forEach(({ panel }, k) => columns.push({ key: `effect ${k}`, text: panel.label ? `out of it, ${panel.label}` : "effects out of it", title: "sum of the effects of the drawn edges that leave it", isNumber: true }));
  const comparison = couplesOf(data).length ? comparisonOf(data, state.pair, state.step) : null;
  if (comparison) columns.push({ key: "difference", text: `${data.panels[state.pair[1]].label} − ${data.panels[state.pair[0]].label}`, title: "of all measured edges out of it", isNumber: true });
  const sums = panels.map(({ panel }) => {
    const frame = frameAt(panel, state.step);
    const found = new Map();
    for (const i of drawnEdges(graph, frame, state, data)) {
      for (const node of [graph.senders[i], graph.entered(i)]) if (!found.has(node)) found.set(node, 0);
      found.set(graph.senders[i], found.get(graph.senders[i]) + frame.effect[i]);
    }
    return found;
  });
  const all = [...new Set(sums.flatMap((found) => [...found.keys()]))];
  const rows = all.map((node) => {
    const cells = sums.map((found) => ({ sort: found.has(node) ? found.get(node) : null, text: found.has(node) ? fixed(found.get(node), 3) : "–" }));
    const size = Math.max(...cells.map(({ sort }) => Math.abs(sort || 0)));
    if (comparison) {
      const row = nodeRow(comparison, node);
      const isSure = row && excludesZero(row.low, row.high);
      cells.push(row ? { sort: row.value, text: fixed(row.value, 2, true) + interval(row.low, row.high, 2, true), isSure, side: isSure ? (row.value < 0 ? "a" : "b") : "" } : { sort: null, text: "–" });
    }
    return { name: graph.nodes[node].name, size, cells };
  });
  return { columns, rows, sort: ["size", -1], what: "node" };
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
    const button = tag("button", { type: "button", title: column.title || "sort" }, cell, column.text + (column.key === key ? (way < 0 ? " ▾" : " ▴") : ""));
    button.addEventListener("click", () => app.store.set({ sort: [column.key, column.key === key ? -way : column.isNumber ? -1 : 1] }));
  }
  const body = tag("tbody", {}, table);
  const selected = new Set(state.selected);
  for (const row of rows.slice(0, most)) {
    const line = tag("tr", { "data-row": row.name, ...(selected.has(row.name) ? { class: "gs-selected" } : {}) }, body);
    const name = tag("button", { type: "button", "aria-pressed": String(selected.has(row.name)) }, tag("th", { scope: "row" }, line));
    row.name.split(/ (?=-> )/).forEach((part, i) => tag("span", {}, name, i ? ` ${part}` : part)); // a line ends between them
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
