// What a diagram opens with: by itself, as it was saved, and what of a link or a wish belongs here.

// What a saved page opens with; nothing if it is damaged.
function savedState(root) {
  try {
    return JSON.parse(root.dataset.state || "{}");
  } catch {
    return {};
  }
}

function firstState(app) {
  const { data, steps } = app;
  const couples = couplesOf(data);
  const threshold = Math.max(data.widest / 50, data.left_out);
  return {
    cut: data.at_first ? "top" : "kept", threshold, top: data.at_first || Math.min(10, Math.max(1, data.most)),
    step: steps.length ? steps[steps.length - 1] : null, pair: couples.length ? couples[0] : [0, 1],
    list: couples.length ? "differences" : "edges",
  };
}

// What was sent may be of another diagram: only what there is here counts.
function sensible(app, given) {
  const { data, steps } = app;
  const found = { ...given };
  if ("pair" in found && !couplesOf(data).some((couple) => same(couple, found.pair))) delete found.pair;
  if ("step" in found && !steps.includes(found.step)) delete found.step;
  if (found.view === "difference" && !couplesOf(data).length) delete found.view;
  const options = { view: ["side", "difference"], cut: ["kept", "threshold", "top"], list: ["edges", "nodes", "differences", ""], measured: ["all", "measured", "estimated"], member: ["all", "a", "b", "both", "differs"] };
  for (const [key, values] of Object.entries(options)) if (key in found && !values.includes(found[key])) delete found[key];
  for (const key of ["hidden", "selected", "kinds"]) if (key in found) found[key] = found[key].filter((each) => typeof each === "string");
  if ("groups" in found) found.groups = found.groups.filter((each) => each && typeof each.name === "string" && Array.isArray(each.nodes) && each.nodes.every((node) => typeof node === "string"));
  if ("open" in found) found.open = openedParts(found.open);
  if ("zoom" in found && found.zoom && !(found.zoom.length === 3 && found.zoom.every(Number.isFinite) && found.zoom[0] >= 1)) delete found.zoom;
  for (const key of ["threshold", "top"]) if (key in found && !(found[key] >= 0 && Number.isFinite(found[key]))) delete found[key];
  if ("top" in found) found.top = Math.min(data.most, Math.round(found.top));
  if ("role" in found && !app.graphs.some((graph) => graph.columns.includes(found.role))) found.role = "";
  if ("layer" in found && !app.graphs.some((graph) => graph.rows.some((row) => String(row.layer) === found.layer))) found.layer = "";
  return found;
}

function openedParts(given) {
  const list = (value, kind) => (Array.isArray(value) ? value.filter((each) => typeof each === kind) : []);
  return { columns: list(given && given.columns, "string"), rows: list(given && given.rows, "number") };
}
