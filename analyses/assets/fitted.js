// What a figure becomes in a window of some width, from plotly's own description of it: as many panels side by side as there
// is room for and the others below, long names in lines, what explains the colours above or beside, legends below.
// What the figure says in its `meta`: `flow`, that the places of its panels mean nothing, and `least`, how wide they have to be.
// Sizes are pixels; `inner` is the height of all panels. A figure that is no grid of panels stays as it is.
const fitted = (() => {
  const LEAST = 180, WIDEST = 320, NARROW = 760; // of a panel, and of its names before they break; below it windows are narrow
  const CELL = 130, BAR = 260, LINE = 16, TICKS = 22, TITLE = 20, GAP = 14, BETWEEN = 18;
  const AROUND = 190, LOWEST = 0.4; // what stands around panels, and the least of their heights that is left on paper
  const DRAWN = ["scatter", "bar", "heatmap"];
  const pen = document.createElement("canvas").getContext("2d");
  const plain = document.createElement("textarea");

  function long(text, size = 12) {
    plain.innerHTML = text; // a text area holds text: `&lt;` becomes a sign, and nothing an element
    pen.font = `${size}px system-ui, sans-serif`;
    return pen.measureText(plain.value).width;
  }

  // Between words, and after signs within them; a word that is too long stays whole.
  function broken(text, room, size = 12) {
    const lines = [""];
    for (const word of String(text).split(/(?<=[\s_/,])/)) {
      if (lines.at(-1) && long(lines.at(-1) + word.trimEnd(), size) > room) lines.push("");
      lines[lines.length - 1] += word;
    }
    return lines.map((line) => line.trimEnd());
  }

  const widest = (lines, size) => Math.max(0, ...lines.map((line) => long(line, size)));
  const titleOf = (holder) => (typeof holder.title === "string" ? holder.title : holder.title?.text) ?? "";

  function retitle(holder, room) {
    if (!titleOf(holder)) return 0;
    const lines = broken(titleOf(holder), room);
    holder.title = { ...(typeof holder.title === "string" ? {} : holder.title), text: lines.join("<br>") };
    return lines.length;
  }

  // The panels row by row, each with its two axes; nothing if the figure is no grid of them.
  function gridOf(data, layout) {
    if (!data.every((trace) => DRAWN.includes(trace.type ?? "scatter"))) return null;
    if (!layout.xaxis) Object.assign(layout, { xaxis: {}, yaxis: layout.yaxis ?? {} });
    const drawn = new Set(data.map((trace) => (trace.xaxis ?? "x").replace("x", "xaxis"))); // a grid's last places may be empty
    const names = Object.keys(layout).filter((name) => /^xaxis\d*$/.test(name) && (drawn.has(name) || !data.length));
    const panels = names.map((name) => {
      const y = (layout[name].anchor ?? "y").replace("y", "yaxis");
      return { name: name.replace("axis", ""), yname: y.replace("axis", ""), x: layout[name], y: layout[y] };
    });
    if (panels.some((panel) => !panel.y || panel.x.overlaying || panel.y.overlaying)) return null;
    const start = (axis) => (axis.domain ?? [0, 1])[0].toFixed(4);
    const rows = [...new Set(panels.map((panel) => start(panel.y)))].sort((a, b) => b - a);
    const columns = [...new Set(panels.map((panel) => start(panel.x)))].sort((a, b) => a - b);
    for (const panel of panels) {
      panel.row = rows.indexOf(start(panel.y));
      panel.column = columns.indexOf(start(panel.x));
      panel.height = (panel.y.domain ?? [0, 1]).reduce((low, high) => high - low);
    }
    if (layout.meta?.flow) {
      for (const [n, panel] of panels.sort((a, b) => a.row - b.row || a.column - b.column).entries()) {
        Object.assign(panel, { row: 0, column: n });
        if (n) Object.assign(panel.y, { showticklabels: false, title: undefined }); // those at the left get them back
      }
    }
    const places = new Set(panels.map((panel) => `${panel.row} ${panel.column}`));
    panels.sort((a, b) => a.row - b.row || a.column - b.column);
    const across = Math.max(...panels.map((panel) => panel.column)) + 1;
    return places.size === panels.length ? { panels, columns: across } : null;
  }

  // What stands above each panel: its title, or lines of names; and how much room these want.
  function above(layout, grid, narrow) {
    for (const panel of grid.panels) {
      const [low, high] = panel.x.domain ?? [0, 1];
      const top = (panel.y.domain ?? [0, 1])[1];
      const own = (note) => note.xref === "paper" && note.yref === "paper" && note.x >= low && note.x <= high;
      panel.title = (layout.annotations ?? []).find((note) => own(note) && !note.showarrow && Math.abs(note.y - top) < 1e-6);
      panel.names = (layout.annotations ?? []).filter((note) => note.yref === `${panel.yname} domain` && note.y === 1);
      panel.least = panel.title && !narrow ? Math.min(WIDEST, long(panel.title.text, 13)) : 0;
      for (const note of panel.names.filter((each) => each.xref === `${panel.name} domain`)) {
        panel.least = Math.max(panel.least, Math.min(WIDEST, (long(note.text, 11) + (note.xshift ?? 0) + 8) / (1 - note.x)));
      }
    }
  }

  // A name above a panel, in as many lines as it takes there.
  function inLines(note, panel, width) {
    if (note.xref !== `${panel.name} domain`) return 1;
    const lines = broken(note.text, width * (1 - note.x) - (note.xshift ?? 0), 11);
    note.text = lines.join("<br>");
    return lines.length;
  }

  // The places of words along an axis, in the order of the figure.
  function words(data, panel, letter) {
    const axis = panel[letter], name = letter === "x" ? panel.name : panel.yname;
    if (axis.ticktext) return { vals: axis.tickvals, text: axis.ticktext };
    const of = (trace) => (trace[`${letter}axis`] ?? letter) === name && Array.isArray(trace[letter]);
    const seen = [...new Set([...(axis.categoryarray ?? []), ...data.filter(of).flatMap((trace) => trace[letter])])];
    return axis.type === "category" && seen.length ? { vals: seen, text: seen } : null;
  }

  function sayInLines(axis, found, room, most = 3) {
    const lines = found.text.map((text) => broken(text, room).slice(0, most + 9));
    Object.assign(axis, { tickmode: "array", tickvals: found.vals, ticktext: lines.map((each) => each.join("<br>")) });
    return { lines: Math.max(...lines.map((each) => each.length)), width: Math.max(...lines.map((each) => widest(each))) };
  }

  // Words along a panel's foot: in lines if each fits its place, else upright. The room that ticks want.
  function foot(data, panel, width) {
    if (panel.x.showticklabels === false) return 8;
    const found = words(data, panel, "x");
    if (!found) return TICKS;
    if (panel.x.type !== "category") return TICKS;
    const place = width / found.text.length - 6;
    const parts = found.text.flatMap((text) => broken(text, 0));
    if (widest(parts) <= place) return 8 + LINE * sayInLines(panel.x, found, place).lines;
    panel.x.tickangle = -90;
    if (place < 13) return Math.min(160, widest(found.text)) + 10;
    return Math.min(160, sayInLines(panel.x, found, place > 2 * LINE ? 110 : 160).width) + 10;
  }

  // How wide a panel has to be for its words to stand side by side, within reason.
  function feet(data, panel, most) {
    const found = panel.x.type === "category" && panel.x.showticklabels !== false ? words(data, panel, "x") : null;
    return found ? Math.min(most, found.text.length * (widest(found.text.flatMap((text) => broken(text, 0))) + 8)) : 0;
  }

  // Which traces a legend lists, in its own size.
  function listed(data, key) {
    const groups = new Set();
    return data.filter((trace) => {
      const shown = trace.showlegend ?? (data.length > 1 && trace.type !== "heatmap");
      if (!shown || (trace.legend ?? "legend") !== key || groups.has(trace.legendgroup)) return false;
      if (trace.legendgroup) groups.add(trace.legendgroup);
      return true;
    });
  }

  // Names at the ends of lines have no room in a narrow window: they become a legend.
  function intoLegend(data, layout) {
    const ends = new Set((layout.annotations ?? []).filter((note) => note.name === "end of a line").map((note) => note.text));
    if (!ends.size) return;
    layout.annotations = layout.annotations.filter((note) => note.name !== "end of a line");
    layout.margin = { ...layout.margin, r: undefined };
    for (const trace of data) {
      if (ends.delete(trace.name)) trace.showlegend = true;
    }
  }

  return (figure, width, tallest = Infinity) => {
    const { data, layout } = structuredClone(figure);
    const given = { t: 100, b: 80, ...layout.margin }, height = (layout.height ?? 450) - given.t - given.b;
    delete layout.title; // stands above the figure
    delete layout.width;
    const grid = gridOf(data, layout);
    if (!grid) return { data, layout: { ...layout, width, height: layout.height ?? 450 } };
    const narrow = width < NARROW;
    if (narrow) intoLegend(data, layout);
    above(layout, grid, narrow);

    // Left: names of rows, with the title of their axis. Right: colours, or what the figure itself leaves there.
    let left = 0;
    for (const panel of grid.panels) {
      const found = panel.y.showticklabels === false ? null : words(data, panel, "y");
      const said = found && found.text.some((text) => /[^\d.,]/.test(text)) ? sayInLines(panel.y, found, Math.min(300, 0.36 * width)) : null;
      const size = said?.lines > 1 ? found.text.length * (said.lines * LINE + 10) : 0;
      panel.height = Math.max(panel.height * height, size);
      if (panel.column === 0) left = Math.max(left, (said?.width ?? 34) + 34);
    }
    const bar = data.find((trace) => trace.type === "heatmap" && trace.showscale !== false);
    const key = layout.showlegend === false ? [] : listed(data, "legend"), flat = narrow || layout.legend?.orientation === "h";
    const beside = flat || !key.length ? 0 : widest(key.map((trace) => trace.name ?? ""), 11) + 60;
    const right = Math.max(bar && !narrow ? 90 : 14, beside, narrow ? 0 : layout.margin?.r ?? 0);

    // As many columns as fit, as even as they go; if all fit they stay where they are.
    const several = grid.panels.some((panel) => panel.column > 0 && panel.y.showticklabels !== false);
    const gap = several ? 70 : GAP;
    const least = Math.max(LEAST, layout.meta?.least ?? 0, ...grid.panels.map((panel) => Math.max(panel.least, feet(data, panel, narrow ? LEAST : WIDEST))));
    const most = Math.max(1, Math.floor((width - left - right + gap) / (least + gap)));
    const chunks = Math.ceil(grid.columns / Math.min(grid.columns, most)), columns = Math.ceil(grid.columns / chunks);
    let size = (width - left - right - (columns - 1) * gap) / columns;
    if (data.every((trace) => trace.type === "heatmap")) {
      size = Math.min(size, Math.max(BAR, CELL * Math.max(...data.map((trace) => trace.x.length))));
    }
    const across = columns * size + (columns - 1) * gap;
    const rows = [];
    for (const panel of grid.panels) {
      panel.at = panel.row * chunks + Math.floor(panel.column / columns);
      panel.place = panel.column % columns;
      (rows[panel.at] ??= { panels: [] }).panels.push(panel);
      const first = grid.panels.find((each) => each.row === panel.row);
      if (panel.place === 0 && panel !== first) {
        panel.y.showticklabels = true;
        if (!titleOf(panel.y) && titleOf(first.y)) panel.y.title = structuredClone(first.y.title);
        if (!panel.y.ticktext && first.y.ticktext) Object.assign(panel.y, { tickmode: "array", tickvals: first.y.tickvals, ticktext: first.y.ticktext });
      }
    }

    // Each row's height, and the room above and below it.
    const legends = Object.keys(layout).filter((name) => /^legend\d+$/.test(name));
    for (const row of rows) {
      row.height = Math.max(...row.panels.map((panel) => panel.height));
      row.above = row.below = 0;
      for (const panel of row.panels) {
        const lines = panel.title ? broken(panel.title.text, size, 13) : [];
        const names = Math.max(0, ...panel.names.map((note) => (note.yshift ?? 0) + inLines(note, panel, size) * LINE));
        row.above = Math.max(row.above, names + (lines.length ? lines.length * 17 + 6 : 0));
        if (lines.length) panel.title.text = lines.join("<br>");
        if (panel.title && panel.title.yshift) panel.title.yshift = names + 4;
        retitle(panel.y, row.height);
        panel.foot = foot(data, panel, size) + retitle(panel.x, size) * TITLE;
        if (titleOf(panel.x)) panel.x.title.standoff = 6;
        panel.key = legends.length && grid.columns > 1 ? ["legend", ...legends][panel.column] : null;
        row.below = Math.max(row.below, panel.foot + (panel.key ? listed(data, panel.key).length * 20 + 8 : 0));
      }
    }
    const apart = rows.reduce((sum, row, n) => sum + (n ? rows[n - 1].below + row.above + BETWEEN : 0), 0);
    const heights = rows.reduce((sum, row) => sum + row.height, 0);
    const lower = Math.min(1, Math.max(LOWEST, (tallest - apart - AROUND) / heights)); // so that a page of paper holds all
    for (const part of [...rows, ...grid.panels]) part.height *= lower;
    const total = heights * lower + apart;
    let from = total;
    for (const [n, row] of rows.entries()) {
      if (n) from -= rows[n - 1].below + row.above + BETWEEN;
      row.domain = [Math.max(0, from - row.height) / total, from / total];
      from -= row.height;
      for (const panel of row.panels) {
        const start = panel.place * (size + gap);
        if (chunks > 1 || grid.columns === 1 || layout.meta?.flow) panel.x.domain = [start / across, Math.min(1, (start + size) / across)];
        panel.y.domain = [row.domain[1] - panel.height / total, row.domain[1]].map((end) => Math.max(0, end));
        if (panel.title) Object.assign(panel.title, { x: (panel.x.domain[0] + panel.x.domain[1]) / 2, y: panel.y.domain[1] });
        if (panel.key) {
          const below = panel.y.domain[0] - panel.foot / total;
          layout[panel.key] = { ...layout[panel.key], orientation: "v", x: panel.x.domain[0], xanchor: "left", y: below, yanchor: "top" };
        }
      }
    }

    // Above all the colours in a narrow window, below all the one legend.
    const margin = { l: 8, r: Math.max(14, narrow ? 0 : layout.margin?.r ?? 0), t: rows[0].above + 12, b: rows.at(-1).below + 10 };
    if (bar) {
      const title = { ...(bar.colorbar?.title ?? {}), side: narrow ? "top" : "right" };
      const look = { ...bar.colorbar, title, lenmode: "pixels", xanchor: "left", ypad: 4 };
      const lines = retitle(look, narrow ? width - 40 : Math.min(total, BAR));
      if (narrow) {
        Object.assign(look, { orientation: "h", len: Math.min(across, BAR), x: 0, yref: "container", yanchor: "top" });
        margin.t += 46 + lines * LINE;
        look.y = 1 - 4 / (total + margin.t + margin.b);
      } else Object.assign(look, { len: Math.min(total, BAR), x: 1.01, y: 1, yanchor: "top" });
      bar.colorbar = look;
    }
    if (key.length && flat && !legends.length) {
      const about = titleOf(layout.legend ?? {});
      const lines = about ? broken(about, width - 30, 11) : [];
      for (const trace of key) trace.name = broken(trace.name ?? "", width - 80, 11).join("<br>");
      const cells = key.map((trace) => broken(trace.name, 1e9, 11).flatMap((line) => line.split("<br>")));
      const entry = Math.max(...cells.map((each) => widest(each, 11))) + 52;
      const down = Math.ceil(key.length / Math.max(1, Math.floor(across / entry))) * Math.max(...cells.map((each) => each.length)) * 19;
      layout.legend = { ...layout.legend, orientation: "h", x: 0, xanchor: "left", y: -(rows.at(-1).below + 6) / total, yanchor: "top" };
      if (about) layout.legend.title = { ...layout.legend.title, text: lines.join("<br>"), side: "top" };
      margin.b += down + lines.length * LINE + 14;
    }
    Object.assign(layout, { margin, width: Math.min(width, left + across + right), height: total + margin.t + margin.b });
    return { data, layout, inner: total };
  };
})();
