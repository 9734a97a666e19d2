// A figure for a paper: SVG that needs no style sheet, with title, legend, scale and a caption of what is drawn. Text is text.

const FONT = "font-family=\"system-ui, 'Helvetica Neue', Arial, sans-serif\"";

function escaped(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

// Lines of a text that fit a width.
function wrapped(text, width, size) {
  const lines = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    const longer = line ? `${line} ${word}` : word;
    if (line && textWidth(longer, size) > width) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return line ? [...lines, line] : lines;
}

function words(text, x, y, size, look = "") {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" font-size="${size}" ${look}>${escaped(text)}</text>`;
}

// The whole figure: its pictures side by side, or below each other if they are wide.
function figureOf(app) {
  const { views, colour } = app;
  const gap = 24;
  const widths = views.map((view) => view.layout.width);
  const together = widths.reduce((sum, width) => sum + width + gap, -gap);
  const isRow = together <= 1400;
  const width = Math.max(420, isRow ? together : Math.max(...widths));
  let [x, y, parts] = [0, 8, []];
  const heading = wrapped(app.headline || app.data.title, (width - 16) / 1.08, 14); // bold is wider
  heading.forEach((text) => parts.push(words(text, 8, (y += 18), 14, `fill="${colour("ink")}" font-weight="600"`)));
  y += 10;
  let lowest = y;
  for (const view of views) {
    const top = isRow ? y : lowest;
    const room = isRow && views.length > 1 ? view.layout.width : width;
    const { markup, height } = panelOf(app, view, isRow ? x : 0, top, room);
    parts.push(markup);
    lowest = Math.max(lowest, top + height + 12);
    x += view.layout.width + gap;
  }
  const legend = legendOf(app, width, lowest);
  parts.push(legend.markup);
  const height = lowest + legend.height + 10;
  const marker = `<defs><marker id="gs-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="${colour("faint")}"/></marker></defs>`;
  return `<svg xmlns="${SVG_NS}" width="${width.toFixed(0)}" height="${height.toFixed(0)}" viewBox="0 0 ${width.toFixed(0)} ${height.toFixed(0)}" ${FONT}>${marker}<rect width="100%" height="100%" fill="${colour("paper")}"/>${parts.join("")}</svg>`;
}

function panelOf(app, view, x, y, room) {
  const { colour } = app;
  const { layout, scene } = view;
  const label = view.panels[0].label ? words(view.title, 8, 14, 13, `font-weight="600" fill="${colour("ink")}"`) : "";
  const top = label ? 22 : 4;
  const style = { ...view.style, colour };
  const dashes = (dash) => (dash.length ? ` stroke-dasharray="${dash.join(" ")}"` : "");
  const lit = view.trace && view.trace.keys;
  const curves = scene.order.map((curve) => {
    const look = lookOfCurve(curve, style);
    const d = pathOf(curve.points);
    const faded = lit && !lit.has(curve.key) ? 0.1 : 0.8;
    const rim = `<path data-edge="${escaped(curve.name)}" d="${d}" fill="none" stroke="${look.colour}" stroke-width="${look.width.toFixed(2)}" stroke-opacity="${faded}"${dashes(look.dash)}><title>${escaped(curve.name)}: ${curve.effects.map((x) => (x === null ? "no number" : fixed(x, 3))).join(" | ")}</title></path>`;
    return rim + (look.core && look.width >= 3 ? `<path d="${d}" fill="none" stroke="${colour("paper")}" stroke-width="${(look.width * 0.36).toFixed(2)}"/>` : "");
  });
  const moves = scene.moves.map((move) => {
    const [mx, my] = pointAt(move.points, 0.5);
    return `<path d="${pathOf(move.points)}" fill="none" stroke="${colour("faint")}" stroke-width="1.6" stroke-dasharray="2 3" marker-end="url(#gs-arrow)"/>` + words(moveNumber(move), mx, my - 3, 11, `text-anchor="middle" fill="${colour("soft")}"`);
  });
  const touched = new Set(scene.order.flatMap((curve) => [curve.from.id, curve.to.id]).concat(scene.moves.flatMap((move) => [move.from.id, move.to.id])));
  const boxes = [...scene.boxes.values()].filter((box) => touched.has(box.id)).map((box) => {
    const [bx, by] = box.at;
    if (!box.shown) return `<circle cx="${bx.toFixed(1)}" cy="${by.toFixed(1)}" r="4" fill="${colour("paper")}" stroke="${colour("line")}"><title>${escaped(box.name)}</title></circle>`;
    return `<rect x="${(bx - box.width / 2).toFixed(1)}" y="${(by - 10).toFixed(1)}" width="${box.width.toFixed(1)}" height="20" rx="4" fill="${(style.isDifference && nodeDifferenceColour({ ...view, style }, box)) || colour("paper")}" stroke="${colour("line")}"/>` + words(box.label, bx, by + 4, 11.5, `text-anchor="middle" fill="${colour("ink")}"`);
  });
  const marks = scene.frames.flatMap((frame, p) => frame.marks.filter(([node]) => touched.has(scene.boxOf(node).id)).map(([node, what]) => {
    const box = scene.boxOf(node);
    const [x0, y0] = [box.at[0] + box.width / 2 - 1 - 10 * p, box.at[1] - 10];
    return what === "bridge" ? `<path d="M${x0} ${y0 - 5} l5 5 l-5 5 l-5 -5 z" fill="${colour("ink")}"/>` : `<circle cx="${x0}" cy="${y0}" r="4" fill="${colour("paper")}" stroke="${colour("ink")}" stroke-width="1.6"/>`;
  }));
  const rows = layout.rowTexts.map(([text, middle]) => words(text, 4, middle + 4, 11, `fill="${colour("soft")}"`));
  const columns = layout.columns.map((band) => words(band.text, band.middle, layout.height - 14, band.isFolded ? 11 : 13, `text-anchor="middle" fill="${colour(band.isFolded ? "soft" : "ink")}"${band.isFolded ? "" : " font-weight=\"600\""}`));
  const caption = wrapped(view.caption.textContent + (lit ? ` Paths through ${view.trace.name} are drawn in full.` : ""), room - 12, 11);
  const lines = caption.map((text, i) => words(text, 8, top + layout.height + 8 + 14 * i, 11, `fill="${colour("soft")}"`));
  const markup = `<g transform="translate(${x} ${y})">${label}<g transform="translate(0 ${top})">${[...moves, ...curves, ...boxes, ...marks, ...rows, ...columns].join("")}</g>${lines.join("")}</g>`;
  return { markup, height: top + layout.height + 8 + 14 * caption.length };
}

// Legend and scale, in rows.
function legendOf(app, width, top) {
  const { colour, data, views } = app;
  const items = [];
  const stroke = (x, y, w, c, dash = "") => `<path d="M${x} ${y} h24" stroke="${c}" stroke-width="${w}"${dash ? ` stroke-dasharray="${dash}"` : ""} fill="none"/>`;
  const hollow = (x, y, w, c) => stroke(x, y, w, c) + stroke(x, y, 0.36 * w, colour("paper"));
  const isDifference = views[0].panels.length > 1;
  if (isDifference) {
    const most = mostDifferent(views[0].scene);
    const [a, b] = views[0].panels;
    items.push([stroke, 6, differenceColour(-most, most, colour), "", `−${amount(most)}, higher in ${a.label}`], [stroke, 6, differenceColour(most, most, colour), "", `+${amount(most)}, higher in ${b.label}`], [stroke, 1.2, colour("neutral"), "", "the interval of the difference includes 0"]);
  } else {
    const used = new Set(views.flatMap((view) => view.scene.order.map((curve) => curve.look)));
    for (const look of used) items.push([stroke, 4, colour(`edge-${data.looks[look][0]}`), "", data.looks[look][1]]);
  }
  for (const part of [0.1, 0.4, 1]) items.push([stroke, Math.max(data.drawing.minWidth, data.drawing.maxWidth * part), colour("plain"), "", data.measure ? `${data.measure} ${amount(data.widest * part)}` : `|effect| ${amount(data.widest * part)} of the gap`]);
  const curves = views.flatMap((view) => view.scene.order);
  if (curves.some((curve) => curve.isNegative)) items.push([stroke, 3, colour("plain"), "7 4", "negative"]);
  if (curves.some((curve) => curve.isEstimated)) items.push([stroke, 3, colour("plain"), "1 4", "estimated, not measured"]);
  if (isDifference) items.push([hollow, 7, colour("plain"), "", "in both; full: in one only"]);
  if (views.some((view) => view.scene.moves.length)) items.push([stroke, 1.6, colour("faint"), "2 3", data.moved.join(", or ")]);
  const marked = new Set(views.flatMap((view) => view.scene.frames.flatMap((frame) => frame.marks.map(([, what]) => what))));
  for (const what of marked) items.push([(x0, y0) => (what === "bridge" ? `<path d="M${x0 + 12} ${y0 - 5} l5 5 l-5 5 l-5 -5 z" fill="${colour("ink")}"/>` : `<circle cx="${x0 + 12}" cy="${y0}" r="4" fill="none" stroke="${colour("ink")}" stroke-width="1.6"/>`), 0, "", "", `${what} readable`]);
  let [x, y, markup] = [8, top + 12, ""];
  for (const [draw, w, c, dash, text] of items) {
    const size = 32 + textWidth(text, 11) + 18;
    if (x + size > width && x > 8) [x, y] = [8, y + 18];
    markup += draw(x, y - 4, w, c, dash) + words(text, x + 30, y, 11, `fill="${colour("ink")}"`);
    x += size;
  }
  return { markup, height: y - top + 8 };
}
