// Positions below, layers at the left, in the size of the screen whatever the zoom; what is folded opens with a click.

const AXIS = { left: 84, bottom: 34, top: 8, right: 36 };

function drawAxes(overlay, view, { scale, at, size }) {
  const { layout, picture } = view;
  const axes = overlay.axes;
  axes.replaceChildren();
  drawBands(overlay, layout);
  svgTag("rect", { class: "gs-margin", x: 0, y: size[1] - AXIS.bottom + 4, width: size[0], height: AXIS.bottom }, axes);
  const start = Math.max(0, at[0] + scale * layout.c.marginLeft - AXIS.left); // names of rows stand close to the picture
  svgTag("rect", { class: "gs-margin", x: 0, y: 0, width: start + AXIS.left - 6, height: size[1] }, axes);
  const taken = [];
  for (const band of layout.columns) {
    const x = at[0] + scale * band.middle;
    const words = band.members.length > 1 ? band.text.split(" ") : [band.text];
    const width = Math.max(...words.map((word) => (band.isFolded ? textWidth(word, 11) : 1.08 * textWidth(word, 13)))); // bold is wider
    if (x < AXIS.left - 20 || x > size[0] || taken.some(([a, w]) => Math.abs(a - x) < (w + width) / 2 + 4)) continue;
    taken.push([x, width]);
    const label = axisLabel(axes, band, "column", x, size[1] - (words.length > 1 ? 18 : 12), words, "middle");
    if (band.isFolded) label.title = `${band.members.map((member) => picture.columns[member]).join(", ")}: no edge is drawn there; unfold`;
    finish(label, view, band.members.map((member) => picture.columns[member]));
  }
  const rows = [];
  for (const [text, middle, bands] of [...layout.rowTexts].sort((a, b) => a[2][0].isFolded - b[2][0].isFolded)) {
    const y = at[1] + scale * middle;
    const hidden = hiddenParts(view, bands);
    const fits = (n) => rows.every(([other, m]) => Math.abs(other - y) > 6 * (n + m));
    const lines = hidden && fits(2) ? [text, hidden] : [text];
    if (y < 6 || y > size[1] - AXIS.bottom || !fits(lines.length)) continue;
    rows.push([y, lines.length]);
    const label = axisLabel(axes, bands[0], "row", start + 4, y + 4 - 6 * (lines.length - 1), lines, "start");
    label.isButton = label.isButton || Boolean(hidden) || bands.some((band) => band.members.some((row) => view.open.rows.includes(row)));
    label.title = bands[0].isFolded ? "no edge is drawn there; unfold" : hidden ? "unfold" : "fold";
    finish(label, view, bands.flatMap((band) => band.members));
  }
}

// Thin stripes where columns are folded.
function drawBands(overlay, layout) {
  overlay.bands.replaceChildren();
  for (const band of layout.columns.filter(({ isFolded }) => isFolded)) {
    svgTag("line", { class: "gs-fold", x1: band.middle, x2: band.middle, y1: 0, y2: layout.height - layout.c.marginBottom }, overlay.bands);
  }
  for (const band of layout.rows.filter(({ isFolded, text }) => isFolded && text)) {
    svgTag("line", { class: "gs-fold", x1: layout.c.marginLeft - 6, x2: layout.width, y1: band.middle, y2: band.middle }, overlay.bands);
  }
}

// How many of the parts of a layer, such as heads, have no box in any column.
function hiddenParts({ picture, layout }, bands) {
  for (const band of bands.filter(({ isFolded, members }) => !isFolded && picture.rows[members[0]].n > 1)) {
    const row = band.members[0];
    const seen = new Set(picture.nodes.filter((node) => node.row === row && layout.shown.has(node.i)).map((node) => node.slot));
    const all = new Set(picture.nodes.filter((node) => node.row === row).map((node) => node.slot));
    if (all.size > seen.size) return `+${all.size - seen.size} ${picture.rows[row].parts}`;
  }
  return "";
}

function axisLabel(axes, band, kind, x, y, lines, anchor) {
  const group = svgTag("g", { class: `gs-${kind}${band.isFolded ? " gs-folded" : ""}` }, axes);
  const text = svgTag("text", { x, y, "text-anchor": anchor }, group);
  lines.forEach((line, i) => svgTag("tspan", { x, dy: i ? 12 : 0 }, text, line));
  return { group, kind, isButton: band.isFolded, title: "" };
}

// A label that folds or unfolds is a button.
function finish({ group, kind, isButton, title }, view, members) {
  const isOpen = members.some((member) => view.open[`${kind}s`].includes(member));
  if (!isButton && !isOpen) return;
  group.setAttribute("role", "button");
  group.setAttribute("tabindex", "0");
  group.setAttribute("data-focus", `${view.title} ${kind} ${members.join(" ")}`);
  group.setAttribute("aria-label", `${group.textContent}: ${isOpen ? "fold" : "unfold"}`);
  svgTag("title", {}, group, isOpen ? "fold" : title);
  const turn = () => {
    const opened = view.open[`${kind}s`];
    const rest = kind === "column" ? [] : opened.filter((member) => !members.includes(member)); // a gap folds as one
    view.unfold({ ...view.open, [`${kind}s`]: isOpen ? rest : [...opened, ...members] });
  };
  group.addEventListener("click", (event) => (event.stopPropagation(), turn()));
  group.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    turn();
  });
}
