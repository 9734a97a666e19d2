// Which edges are drawn: the cut, what is searched for, and what is filtered or hidden.

// A search as a test of an edge {sender, receiver, effect, isEstimated}; all its terms must hold.
function searched(text) {
  const trimmed = text.trim();
  if (trimmed.includes("->")) {
    const whole = trimmed.replace(/\s*->\s*/, " -> ").toLowerCase();
    const [from, to] = whole.split(" -> ");
    return (edge) => `${edge.sender} -> ${edge.receiver}`.toLowerCase() === whole || (matches(edge.sender, from) && matches(edge.receiver, to));
  }
  const terms = trimmed.replace(/([<>]=?)\s+/g, "$1").split(/\s+/).filter(Boolean);
  const tests = terms.map((term) => (term[0] === "-" && term.length > 1 ? negate(termTest(term.slice(1))) : termTest(term)));
  return (edge) => tests.every((test) => test(edge));
}

function negate(test) {
  return (edge) => !test(edge);
}

function termTest(term) {
  const size = /^([<>]=?)(\d*\.?\d+(?:e-?\d+)?)$/i.exec(term);
  if (size) {
    const limit = Math.fround(Number(size[2])); // as effects are held
    const holds = { ">": (x) => x > limit, ">=": (x) => x >= limit, "<": (x) => x < limit, "<=": (x) => x <= limit }[size[1]];
    return ({ effect }) => effect !== null && holds(Math.abs(effect));
  }
  const [, side, pattern] = /^(?:(from|to):)?(.*)$/.exec(term.toLowerCase());
  if (pattern === "estimated") return ({ isEstimated }) => isEstimated;
  if (pattern === "measured") return ({ isEstimated }) => !isEstimated;
  if (side === "from") return ({ sender }) => matches(sender, pattern);
  if (side === "to") return ({ receiver }) => matches(receiver, pattern);
  return ({ sender, receiver }) => matches(sender, pattern) || matches(receiver, pattern);
}

const PATTERNS = new Map();

// Whether a node's name fits `L2H*`, `mlp@r1`, `@r1`, `.q`: a part of a name stands for all that go on after it, but not
// within a number, so that L1 is not L10.
function matches(name, pattern) {
  if (!PATTERNS.has(pattern)) {
    const [component, role] = pattern.split("@");
    const escape = (part) => part.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, "[^@]*").replace(/\?/g, "[^@]");
    const start = component.startsWith(".") ? `[^@]*${escape(component)}` : escape(component);
    const rest = /\d$/.test(component) ? "(?!\\d)[^@]*" : "[^@]*";
    const where = role === undefined ? "(@.*)?" : `@${escape(role)}`;
    PATTERNS.set(pattern, new RegExp(`^${start}${rest}${where}$`, "i"));
  }
  return PATTERNS.get(pattern).test(name);
}

// The numbers of the edges that a panel shows.
function drawnEdges(graph, frame, state, data) {
  const cut = cutEdges(frame, state);
  const wanted = filterOf(graph, frame, state, data);
  return wanted ? cut.filter(wanted) : cut;
}

function cutEdges(frame, state) {
  if (state.cut === "kept") return frame.kept.filter((i) => frame.effect[i] !== null);
  if (state.cut === "top") return ranked(frame).slice(0, state.top);
  const all = ranked(frame);
  const threshold = Math.fround(state.threshold); // as effects are held
  let [low, high] = [0, all.length]; // they are sorted: the first that is too weak ends them
  while (low < high) {
    const middle = (low + high) >> 1;
    if (Math.abs(frame.effect[all[middle]]) >= threshold) low = middle + 1;
    else high = middle;
  }
  return all.slice(0, low);
}

// What else is asked of an edge; null if nothing is.
function filterOf(graph, frame, state, data) {
  const tests = [];
  if (state.search.trim()) {
    const test = searched(state.search);
    tests.push((i) => test({
      sender: graph.nodes[graph.senders[i]].name, receiver: graph.inputs[graph.receivers[i]].name,
      effect: frame.effect[i], isEstimated: isEstimated(frame, i),
    }));
  }
  if (state.kinds.length) tests.push((i) => !state.kinds.includes(data.looks[graph.lookOf(i)][0]));
  if (state.measured !== "all") tests.push((i) => isEstimated(frame, i) === (state.measured === "estimated"));
  if (state.role) tests.push((i) => graph.columns[graph.nodes[graph.senders[i]].column] === state.role);
  if (state.layer !== "") tests.push((i) => touchesLayer(graph, i, Number(state.layer)));
  if (state.hidden.length) {
    const hidden = new Set(state.hidden);
    const isHidden = (node) => hidden.has(graph.nodes[node].name);
    tests.push((i) => !isHidden(graph.senders[i]) && !isHidden(graph.entered(i)) && !hidden.has(edgeName(graph, i)));
  }
  return tests.length ? (i) => tests.every((test) => test(i)) : null;
}

function touchesLayer(graph, i, layer) {
  return [graph.senders[i], graph.entered(i)].some((node) => graph.rows[graph.nodes[node].row].layer === layer);
}

// What the strongest k edges keep, at the largest measured size up to k; null if all are larger.
function faithfulnessAt(panel, k) {
  return panel.curve.reduce((best, row) => (row[0] <= k && (!best || row[0] > best[0]) ? row : best), null);
}
