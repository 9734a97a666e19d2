// What a reader chose to see. It is plain JSON, kept in the page's address, in saved pages and in notebooks; and its past.

const DEFAULTS = {
  view: "side", weights: false, cut: "kept", threshold: null, top: null, step: null, pair: [0, 1], search: "", kinds: [],
  role: "", layer: "", measured: "all", member: "all", hidden: [], groups: [], selected: [], open: { columns: [], rows: [] },
  zoom: null, list: "edges", sort: null, multiples: false,
};
const PASSING = ["zoom", "list", "sort"]; // what no undo brings back by itself

function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}

// Only what differs from how the diagram opened.
function differing(state, first) {
  return Object.fromEntries(Object.entries(state).filter(([key, value]) => !same(value, first[key])));
}

// As text: what differs from how diagrams open, and also what the page was saved with, so that nothing of it comes back.
function encoded(state, first, opened = first) {
  const chosen = Object.fromEntries(Object.entries(state).filter(([key, value]) => !same(value, first[key]) || !same(opened[key], first[key])));
  if (same(state, opened)) return "";
  if (!Object.keys(chosen).length) return "";
  const bytes = new TextEncoder().encode(JSON.stringify(chosen));
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

function decoded(text) {
  try {
    const binary = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(binary, (sign) => sign.charCodeAt(0))));
  } catch {
    return {}; // a damaged link opens the diagram as it is
  }
}

// Of what came from outside, the entries that are known and of the right kind.
function accepted(given) {
  const kind = (value) => (Array.isArray(value) ? "list" : value === null ? "none" : typeof value);
  const may = { threshold: ["number"], top: ["number"], step: ["number"], zoom: ["list"], sort: ["list"] };
  const fits = (key, value) => kind(value) === kind(DEFAULTS[key]) || (may[key] || []).includes(kind(value));
  return Object.fromEntries(Object.entries(given || {}).filter(([key, value]) => key in DEFAULTS && fits(key, value)));
}

// The present state, those before and after it, and who wants to hear of changes.
function createStore(opened, initial) {
  let now = { ...opened, ...initial };
  const [past, future, listeners] = [[], [], []];
  let last = { key: "", at: 0 };
  const tell = () => listeners.forEach((listener) => listener(now));
  return {
    get: () => now,
    listen: (listener) => listeners.push(listener),
    // Changes of one thing in quick succession, as of a slider that is dragged, are one step back.
    set(change) {
      const next = { ...now, ...change };
      if (same(next, now)) return;
      const key = Object.keys(change).join();
      const isPassing = Object.keys(change).every((name) => PASSING.includes(name));
      const goesOn = key === last.key && Date.now() - last.at < 1000 && !("selected" in change);
      if (!isPassing && !goesOn) past.push(now);
      if (!isPassing) future.length = 0;
      last = { key, at: Date.now() };
      now = next;
      tell();
    },
    undo() {
      if (!past.length) return;
      future.push(now);
      now = past.pop();
      last = { key: "", at: 0 };
      tell();
    },
    redo() {
      if (!future.length) return;
      past.push(now);
      now = future.pop();
      tell();
    },
    reset: () => {
      past.push(now);
      now = { ...opened };
      tell();
    },
    canUndo: () => past.length > 0,
    canRedo: () => future.length > 0,
  };
}

// The part of the page's address that belongs to a diagram: several on one page have each their own.
function addressKey(number) {
  return number ? `gs${number}` : "gs";
}

function fromAddress(number) {
  const found = new URLSearchParams(location.hash.slice(1)).get(addressKey(number));
  return found ? accepted(decoded(found)) : {};
}

function toAddress(number, text) {
  const all = new URLSearchParams(location.hash.slice(1));
  if (text) all.set(addressKey(number), text);
  else all.delete(addressKey(number));
  const hash = all.toString();
  try {
    history.replaceState(null, "", hash ? `#${hash}` : location.href.split("#")[0]);
  } catch {
    // a page inside another one may have no address of its own
  }
}
