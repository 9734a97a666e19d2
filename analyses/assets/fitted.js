// What a figure becomes in a window of some width, from plotly's own description of it: as many panels side by side as there
// is room for and the others below, long names in lines, colours explained beside the panels or above them, legends below.
// What the figure says in its `meta`: `flow`, that the places of its panels mean nothing, and `least`, how wide they have to be.
// Sizes are pixels; `inner` is the height of all panels. A figure that is no grid of panels keeps its shape.
const fitted = (() => {
  const NARROW = 760; // below it windows are narrow
  const LEAST = 180, FOOT = 240, WIDEST = 320, CELL = 130; // of a panel; what words at its foot and names may ask for; of cells
  const BAR = 260, LINE = 16, TICKS = 22, TITLE = 20, GAP = 14, BETWEEN = 18, AROUND = 190; // around: what is not panels
  const LOWEST = 0.4; // what is left at least of panels' heights where paper ends
  const TEXT = 12, HEADING = 13, SMALL = 11; // sizes of letters
  const DRAWN = ["scatter", "bar", "heatmap"];
  const pen = document.createElement("canvas").getContext("2d");
  const plain = document.createElement("textarea");

  function long(text, size = TEXT) {
    plain.innerHTML = text; // a text area holds text: `&lt;` becomes a sign, and nothing an element
    pen.font = `${size}px system-ui, sans-serif`;
    return pen.measureText(plain.value).width;
  }

  const widest = (lines, size) => Math.max(0, ...lines.map((line) => long(line, size)));
  const most = (values) => Math.max(0, ...values);

  // Between words, and after signs within them; a word that is too long stays whole.
  function broken(text, room, size = TEXT) {
    const lines = [""];
    for (const word of String(text ?? "").split(/(?<=[\s_/,])/)) {
      if (lines.at(-1) && long(lines.at(-1) + word.trimEnd(), size) > room) lines.push("");
      lines[lines.length - 1] += word;
    }
    return lines.map((line) => line.trimEnd());
  }

  const titleOf = (holder) => (typeof holder?.title === "string" ? holder.title : holder?.title?.text) ?? "";

  function retitle(holder, room) {
    if (!titleOf(holder)) return 0;
    const lines = broken(titleOf(holder), room);
    holder.title = { ...(typeof holder.title === "string" ? {} : holder.title), text: lines.join("<br>") };
    return lines.length;
  }

  // ---- panels

  // The panels row by row, each with its two axes; nothing if the figure is no grid of them.
  function gridOf(data, layout) {
    if (!data.every((trace) => DRAWN.includes(trace.type ?? "scatter"))) return null;
    layout.xaxis ??= {};
    layout.yaxis ??= {};
    const used = new Set(data.map((trace) => (trace.xaxis ?? "x").replace("x", "xaxis"))); // a grid's last places may be empty
    const names = Object.keys(layout).filter((name) => /^xaxis\d*$/.test(name) && (used.has(name) || !data.length));
    const panels = names.map((name) => {
      const y = layout[name].anchor ?? "y";
      return { name: name.replace("axis", ""), yname: y, x: layout[name], y: layout[y.replace("y", "yaxis")] };
    });
    if (panels.some((panel) => !panel.y || panel.x.overlaying || panel.y.overlaying)) return null;
    const start = (axis) => (axis.domain ?? [0, 1])[0].toFixed(4);
    const rows = [...new Set(panels.map((panel) => start(panel.y)))].sort((a, b) => b - a);
    const columns = [...new Set(panels.map((panel) => start(panel.x)))].sort((a, b) => a - b);
    for (const panel of panels) {
      panel.row = rows.indexOf(start(panel.y));
      panel.column = columns.indexOf(start(panel.x));
    }
    panels.sort((a, b) => a.row - b.row || a.column - b.column);
    if (layout.meta?.flow) panels.forEach(intoOneRow);
    const places = new Set(panels.map((panel) => `${panel.row} ${panel.column}`));
    return places.size === panels.length ? { panels, columns: most(panels.map((panel) => panel.column)) + 1 } : null;
  }

  function intoOneRow(panel, place) {
    Object.assign(panel, { row: 0, column: place });
    if (place) Object.assign(panel.y, { showticklabels: false, title: undefined }); // those at the left get them back
  }

  // What stands above each panel, its title and lines of names, and how wide it has to be for that.
  function readNotes({ panels, layout, narrow }) {
    const notes = layout.annotations ?? [];
    for (const panel of panels) {
      const [low, high] = panel.x.domain ?? [0, 1], top = (panel.y.domain ?? [0, 1])[1];
      const own = (note) => note.xref === "paper" && note.yref === "paper" && note.x >= low && note.x <= high && !note.showarrow;
      panel.title = notes.find((note) => own(note) && Math.abs(note.y - top) < 1e-6);
      panel.names = notes.filter((note) => note.yref === `${panel.yname} domain` && note.y === 1);
      const across = panel.names.filter((note) => note.xref === `${panel.name} domain`);
      const asked = across.map((note) => (long(note.text, SMALL) + (note.xshift ?? 0) + 8) / (1 - note.x));
      if (panel.title && !narrow) asked.push(long(panel.title.text, HEADING));
      panel.least = Math.min(WIDEST, most(asked));
    }
  }

  // A name above a panel, in as many lines as it takes there.
  function inLines(note, panel, width) {
    if (note.xref !== `${panel.name} domain`) return 1;
    const lines = broken(note.text, width * (1 - note.x) - (note.xshift ?? 0), SMALL);
    note.text = lines.join("<br>");
    return lines.length;
  }

  // ---- words along axes

  // In the order of the figure; none where there are numbers.
  function wordsOf({ data }, panel, letter) {
    const axis = panel[letter], name = letter === "x" ? panel.name : panel.yname;
    if (axis.showticklabels === false) return null;
    if (axis.ticktext) return axis.ticktext.some((text) => /[^\d.,]/.test(text)) ? { vals: axis.tickvals, text: axis.ticktext } : null;
    const of = (trace) => (trace[`${letter}axis`] ?? letter) === name && Array.isArray(trace[letter]);
    const seen = [...new Set([...(axis.categoryarray ?? []), ...data.filter(of).flatMap((trace) => trace[letter])])];
    return axis.type === "category" && seen.length ? { vals: seen, text: seen } : null;
  }

  function sayInLines(axis, words, room) {
    const lines = words.text.map((text) => broken(text, room));
    Object.assign(axis, { tickmode: "array", tickvals: words.vals, ticktext: lines.map((each) => each.join("<br>")) });
    return { lines: most(lines.map((each) => each.length)), width: most(lines.map((each) => widest(each))) };
  }

  // How wide a panel has to be for the words at its foot to stand side by side, within reason.
  function footOf(plan, panel) {
    const words = wordsOf(plan, panel, "x"), parts = words?.text.flatMap((text) => broken(text, 0));
    return words ? Math.min(plan.narrow ? LEAST : FOOT, words.text.length * (widest(parts) + 8)) : 0;
  }

  // Words at a panel's foot: in lines if each fits its place, else upright. The room that they want.
  function layFoot(plan, panel) {
    if (panel.x.showticklabels === false) return 8;
    const words = wordsOf(plan, panel, "x");
    if (!words || panel.x.type !== "category") return TICKS;
    const place = plan.size / words.text.length - 6;
    if (widest(words.text.flatMap((text) => broken(text, 0))) <= place) return 8 + LINE * sayInLines(panel.x, words, place).lines;
    panel.x.tickangle = -90;
    if (place < HEADING) return Math.min(160, widest(words.text)) + 10; // plotly leaves some out
    return Math.min(160, sayInLines(panel.x, words, place > 2 * LINE ? 110 : 160).width) + 10;
  }

  // ---- legends

  // Which traces a legend lists.
  function listed({ data, layout }, key = "legend") {
    const groups = new Set();
    if (layout.showlegend === false) return [];
    return data.filter((trace) => {
      const shown = trace.showlegend ?? (data.length > 1 && trace.type !== "heatmap");
      if (!shown || (trace.legend ?? "legend") !== key || groups.has(trace.legendgroup)) return false;
      if (trace.legendgroup) groups.add(trace.legendgroup);
      return true;
    });
  }

  // Names at the ends of lines have no room in a narrow window: they become a legend.
  function namesIntoLegend({ data, layout }) {
    const at = (note) => note.name === "end of a line";
    const ends = new Set((layout.annotations ?? []).filter(at).map((note) => note.text));
    if (!ends.size) return;
    layout.annotations = layout.annotations.filter((note) => !at(note));
    for (const trace of data) {
      if (ends.delete(trace.name)) trace.showlegend = true;
    }
  }

  // ---- sizes and places

  // Left of the panels names of rows and the title of their axis; right of them colours, a legend, or what the figure leaves.
  function takeSides(plan) {
    const { panels, layout, narrow, width, height } = plan;
    plan.left = 0;
    for (const panel of panels) {
      const words = wordsOf(plan, panel, "y"), [low, high] = panel.y.domain ?? [0, 1];
      const said = words && sayInLines(panel.y, words, Math.min(300, 0.36 * width));
      panel.lines = said?.lines > 1 ? words.text.length * said.lines * LINE : 0; // the height that these take at least
      panel.height = Math.max((high - low) * height, said?.lines > 1 ? panel.lines + 10 * words.text.length : 0);
      if (panel.column === 0) plan.left = Math.max(plan.left, (said?.width ?? 34) + 34);
    }
    plan.bar = plan.data.find((trace) => trace.type === "heatmap" && trace.showscale !== false);
    plan.several = Object.keys(layout).filter((name) => /^legend\d+$/.test(name));
    plan.key = listed(plan);
    plan.flat = narrow || layout.legend?.orientation === "h";
    plan.kept = narrow ? 0 : layout.margin?.r ?? 0;
    const key = plan.flat ? 0 : most(plan.key.map((trace) => long(trace.name ?? "", SMALL) + 60));
    plan.right = Math.max(plan.bar && !narrow ? 90 : 14, key, plan.kept);
  }

  // As many columns as fit, as even as they go; if all fit they stay where they are.
  function takeColumns(plan) {
    const { panels, data, layout, width, left, right } = plan;
    plan.gap = panels.some((panel) => panel.column > 0 && panel.y.showticklabels !== false) ? 70 : GAP;
    const least = Math.max(LEAST, layout.meta?.least ?? 0, ...panels.map((panel) => Math.max(panel.least, footOf(plan, panel))));
    const room = width - left - right + plan.gap;
    plan.chunks = Math.ceil(plan.columns / Math.min(plan.columns, Math.max(1, Math.floor(room / (least + plan.gap)))));
    const columns = Math.ceil(plan.columns / plan.chunks);
    plan.size = room / columns - plan.gap;
    if (data.every((trace) => trace.type === "heatmap")) {
      plan.size = Math.min(plan.size, Math.max(BAR, CELL * most(data.map((trace) => trace.x.length))));
    }
    plan.across = columns * (plan.size + plan.gap) - plan.gap;
    plan.rows = [];
    for (const panel of panels) {
      panel.place = panel.column % columns;
      (plan.rows[panel.row * plan.chunks + Math.floor(panel.column / columns)] ??= { panels: [] }).panels.push(panel);
      if (panel.place === 0) likeFirst(panel, panels.find((each) => each.row === panel.row));
    }
  }

  // A panel that comes to stand at the left says what the first one of its row does.
  function likeFirst(panel, first) {
    if (panel === first) return;
    panel.y.showticklabels = true;
    if (!titleOf(panel.y) && titleOf(first.y)) panel.y.title = structuredClone(first.y.title);
    if (panel.y.ticktext || !first.y.ticktext) return;
    Object.assign(panel.y, { tickmode: "array", tickvals: first.y.tickvals, ticktext: first.y.ticktext });
  }

  // Each row's height, and the room above and below it.
  function takeRows(plan) {
    for (const row of plan.rows) {
      Object.assign(row, { height: most(row.panels.map((panel) => panel.height)), above: 0, below: 0 });
      for (const panel of row.panels) {
        const names = most(panel.names.map((note) => (note.yshift ?? 0) + inLines(note, panel, plan.size) * LINE));
        const lines = panel.title ? broken(panel.title.text, plan.size, HEADING) : [];
        if (panel.title) Object.assign(panel.title, { text: lines.join("<br>"), yshift: names ? names + 4 : panel.title.yshift });
        row.above = Math.max(row.above, names + (lines.length ? lines.length * 17 + 6 : 0));
        panel.foot = layFoot(plan, panel) + retitle(panel.x, plan.size) * TITLE;
        if (titleOf(panel.x)) panel.x.title.standoff = 6;
        panel.key = plan.several.length && plan.columns > 1 ? ["legend", ...plan.several][panel.column] : null;
        row.below = Math.max(row.below, panel.foot + (panel.key ? listed(plan, panel.key).length * 20 + 8 : 0));
      }
    }
    const apart = plan.rows.reduce((sum, row, n) => sum + (n ? plan.rows[n - 1].below + row.above + BETWEEN : 0), 0);
    const heights = plan.rows.reduce((sum, row) => sum + row.height, 0);
    const lower = Math.min(1, Math.max(LOWEST, (plan.tallest - apart - AROUND) / heights)); // so that paper holds all
    for (const panel of plan.panels) panel.height = Math.max(panel.height * lower, panel.lines);
    for (const row of plan.rows) row.height = most(row.panels.map((panel) => panel.height));
    plan.total = apart + plan.rows.reduce((sum, row) => sum + row.height, 0);
  }

  function putPanels({ rows, layout, total, size, gap, across, chunks, columns }) {
    let top = total;
    for (const [n, row] of rows.entries()) {
      if (n) top -= rows[n - 1].below + row.above + BETWEEN;
      for (const panel of row.panels) {
        const start = (panel.place * (size + gap)) / across;
        if (chunks > 1 || columns === 1 || layout.meta?.flow) panel.x.domain = [start, Math.min(1, start + size / across)];
        panel.y.domain = [Math.max(0, (top - panel.height) / total), top / total];
        retitle(panel.y, panel.height);
        const [low, high] = panel.x.domain ?? [0, 1];
        if (panel.title) Object.assign(panel.title, { x: (low + high) / 2, y: panel.y.domain[1] });
        const below = { orientation: "v", x: low, xanchor: "left", y: panel.y.domain[0] - panel.foot / total, yanchor: "top" };
        if (panel.key) layout[panel.key] = { ...layout[panel.key], ...below };
      }
      top -= row.height;
    }
  }

  // ---- what explains the panels

  // Colours: beside the panels, or above them in a narrow window. There plotly would write their name into the bar.
  function putColours({ bar, layout, narrow, width, rows, total, across, margin }) {
    if (!bar) return;
    const name = titleOf(bar.colorbar), lines = broken(name, narrow ? width - 40 : Math.min(total, BAR));
    const look = { ...bar.colorbar, title: { text: narrow ? "" : lines.join("<br>"), side: "right" } };
    Object.assign(look, { lenmode: "pixels", xanchor: "left", yanchor: "top", y: 1, ypad: 4 });
    bar.colorbar = look;
    if (!narrow) return Object.assign(look, { len: Math.min(total, BAR), x: 1.01 });
    const room = rows[0].above + 50;
    margin.t = room + lines.length * LINE + 4;
    const above = { xref: "paper", x: 0, xanchor: "left", yref: "paper", y: 1, yanchor: "bottom", yshift: room - 4 };
    const note = { ...above, text: lines.join("<br>"), showarrow: false, align: "left", font: { size: TEXT } };
    layout.annotations = [...(layout.annotations ?? []), note];
    const down = (lines.length * LINE + 4) / (total + margin.t + margin.b);
    Object.assign(look, { orientation: "h", len: Math.min(across, BAR), x: 0, yref: "container", y: 1 - down });
  }

  // The one legend, below the panels; its entries as wide as the widest, as plotly sets them.
  function putLegend({ key, flat, several, layout, width, rows, total, across, margin }) {
    if (!key.length || !flat || several.length) return;
    const names = key.map((trace) => broken(trace.name, width - 80, SMALL));
    for (const [n, trace] of key.entries()) trace.name = names[n].join("<br>");
    const beside = Math.max(1, Math.floor(across / (most(names.map((each) => widest(each, SMALL))) + 52)));
    const down = Math.ceil(key.length / beside) * most(names.map((each) => each.length)) * 19;
    const below = { orientation: "h", x: 0, xanchor: "left", y: -(rows.at(-1).below + 6) / total, yanchor: "top" };
    layout.legend = { ...layout.legend, ...below };
    const lines = titleOf(layout.legend) ? broken(titleOf(layout.legend), width - 30, SMALL) : [];
    if (lines.length) layout.legend.title = { ...layout.legend.title, text: lines.join("<br>"), side: "top" };
    margin.b += down + lines.length * LINE + 14;
  }

  return (figure, width, tallest = Infinity) => {
    const { data, layout } = structuredClone(figure);
    const outer = layout.height ?? 450, given = { t: 100, b: 80, ...layout.margin };
    delete layout.title; // stands above the figure
    delete layout.width;
    const grid = gridOf(data, layout);
    if (!grid) return { data, layout: { ...layout, width, height: outer } };
    const plan = { data, layout, ...grid, width, tallest, narrow: width < NARROW, height: outer - given.t - given.b };
    if (plan.narrow) namesIntoLegend(plan);
    for (const step of [readNotes, takeSides, takeColumns, takeRows, putPanels]) step(plan);
    const { rows, total, left, right, across, kept } = plan;
    plan.margin = { l: 8, r: Math.max(14, kept), t: rows[0].above + 12, b: rows.at(-1).below + 10 };
    putColours(plan);
    putLegend(plan);
    const size = { width: Math.min(width, left + across + right), height: total + plan.margin.t + plan.margin.b };
    return { data, layout: { ...layout, margin: plan.margin, ...size }, inner: total };
  };
})();
