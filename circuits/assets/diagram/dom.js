// Elements, and numbers in words.

const SVG_NS = "http://www.w3.org/2000/svg";

function svgTag(name, attributes, parent, text) {
  const made = document.createElementNS(SVG_NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function tag(name, attributes, parent, text) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function set(element, key, value) {
  if (element.getAttribute(key) !== String(value)) element.setAttribute(key, value);
}

// A number with some decimals; a bound keeps one digit where it would round to zero, since its sign says something.
function fixed(value, digits, plus, isBound) {
  const isTiny = isBound && Math.abs(value) >= 1e-6 && Math.abs(value) < 0.5 * 10 ** -digits;
  const text = isTiny ? value.toFixed(Math.min(6, 1 - Math.ceil(Math.log10(Math.abs(value))))) : value.toFixed(digits).replace(/^-(?=[0.]*$)/, "");
  return plus && !text.startsWith("-") ? `+${text}` : text.replace("-", "−");
}

// A size in a legend: two decimals, or two digits where these say nothing.
function amount(value) {
  const size = Math.abs(value);
  return size && (size < 0.095 || size >= 1000) ? String(Number(value.toPrecision(2))).replace("-", "−") : fixed(value, 2);
}

function interval(low, high, digits, plus) {
  return low === null || high === null ? "" : ` [${fixed(low, digits, plus, true)}, ${fixed(high, digits, plus, true)}]`;
}

// An effect with its interval, from its standard error.
function withError(value, stderr, digits = 3) {
  if (value === null) return "no number";
  const half = stderr === null ? null : 1.96 * stderr;
  return fixed(value, digits) + (half === null ? "" : interval(value - half, value + half, digits));
}

const MEASURE = document.createElement("canvas").getContext("2d");

// The width of a text in pixels, at a size.
function textWidth(text, size) {
  MEASURE.font = `${size}px system-ui, sans-serif`;
  return MEASURE.measureText(text).width;
}
