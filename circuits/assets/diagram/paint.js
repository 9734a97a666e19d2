// Curves on a canvas, since thousands are quick there, and their colours.

const THINNEST = 1;

// The colours of the page, light or dark, as the style sheet gives them.
function coloursOf(root) {
  const style = getComputedStyle(root);
  let known = {};
  const colour = (name) => (known[name] = known[name] || style.getPropertyValue(`--${name}`).trim());
  colour.forget = () => (known = {});
  return colour;
}

function rgbOf(hex) {
  const whole = hex.length === 4 ? [...hex.slice(1)].map((x) => x + x).join("") : hex.slice(1);
  return [0, 2, 4].map((i) => parseInt(whole.slice(i, i + 2), 16));
}

// Between two colours, t from 0 to 1.
function mixed(from, to, t) {
  const [a, b] = [rgbOf(from), rgbOf(to)];
  return `rgb(${a.map((x, i) => Math.round(x + (b[i] - x) * t)).join(" ")})`;
}

// The colour of a difference: neutral in the middle, that of the circuit in which it is stronger at the ends.
function differenceColour(value, most, colour) {
  const t = Math.min(1, Math.abs(value) / most);
  return mixed(colour("neutral"), colour(value < 0 ? "a" : "b"), 0.25 + 0.75 * t);
}

// How a curve is drawn: width in pixels, colour, dashes; `core` if it is one of both circuits.
function lookOfCurve(curve, { isDifference, hasIntervals, widest, most, colour, looks, drawing }) {
  const scale = (x) => Math.min(2 * drawing.maxWidth, Math.max(drawing.minWidth, (drawing.maxWidth * x) / widest));
  const dash = curve.isEstimated ? [1, 4] : curve.isNegative ? [7, 4] : [];
  if (!isDifference) return { width: scale(curve.size), colour: colour(`edge-${looks[curve.look][0]}`), dash, core: false };
  if (curve.differs === false || (curve.differs === null && hasIntervals)) return { width: THINNEST, colour: colour("neutral"), dash, core: false };
  return { width: scale(curve.size), colour: differenceColour(curve.difference, most, colour), dash, core: curve.member === "both" };
}

// Curves from the weakest to the strongest. `lit` are the keys of those that are traced, null if none is. `isQuick` leaves out
// dashes, which take long, while a slider is dragged.
function paintCurves(context, scene, style, { scale, at, ratio, lit, hovered, isQuick }) {
  const { width, height } = context.canvas;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, width, height);
  context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * at[0], ratio * at[1]);
  context.lineCap = "butt";
  const thin = Math.min(1, Math.max(0.35, Math.sqrt(scale)));
  if (scene.moves.length > MOST_NUMBERED) paintMoves(context, scene, style.colour("faint"), scale, lit);
  const [left, top] = [-at[0] / scale, -at[1] / scale];
  const [right, bottom] = [left + width / ratio / scale, top + height / ratio / scale];
  for (const curve of scene.order) {
    const [x0, y0, x1, y1] = curve.box;
    if (x1 < left || x0 > right || y1 < top || y0 > bottom) continue;
    const look = lookOfCurve(curve, style);
    const isHovered = hovered === curve.key;
    context.globalAlpha = isHovered ? 1 : lit && !lit.has(curve.key) ? 0.1 : 0.8;
    context.strokeStyle = look.colour;
    context.lineWidth = (look.width * thin + (isHovered ? 2 : 0)) / scale;
    context.setLineDash(isQuick ? [] : look.dash.map((x) => x / scale));
    context.stroke(curve.path);
    if (!look.core || look.width * thin < 3) continue;
    context.strokeStyle = style.colour("paper");
    context.lineWidth = (look.width * thin * 0.36) / scale;
    context.stroke(curve.path);
  }
  context.setLineDash([]);
  context.globalAlpha = 1;
  if (scene.dots) paintDots(context, scene, style.colour, scale);
}

// Many arrows between positions, as thin lines.
function paintMoves(context, scene, colour, scale, lit) {
  const path = new Path2D();
  for (const move of scene.moves) path.addPath(new Path2D(pathOf(move.points)));
  context.globalAlpha = lit ? 0.08 : 0.3;
  context.strokeStyle = colour;
  context.lineWidth = 0.8 / scale;
  context.setLineDash([]);
  context.stroke(path);
}

// Many nodes, as points.
function paintDots(context, scene, colour, scale) {
  const across = pointSize(scale);
  context.lineWidth = 1 / scale;
  context.strokeStyle = colour("line");
  for (const { at, isLit, isSelected, fill } of scene.dots) {
    context.globalAlpha = isLit ? 1 : 0.25;
    context.fillStyle = isSelected ? colour("focus") : fill || colour("paper");
    context.beginPath();
    context.arc(at[0], at[1], across / 2, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }
  context.globalAlpha = 1;
}

// How large a point is, so that it has about the same size on the screen.
function pointSize(scale) {
  return Math.min(9, Math.max(3.5, 22 * scale)) / scale;
}

// The largest difference that is sure, which has the full colour; of all if none is.
function mostDifferent(scene) {
  const sizes = (all) => all.map((curve) => Math.abs(curve.difference || 0));
  const sure = scene.order.filter((curve) => curve.differs);
  return Math.max(...sizes(sure.length ? sure : scene.order), 0) || 1;
}
