// Export: files made in the page, without a server.

function save(name, type, text) {
  const link = tag("a", { download: name, href: URL.createObjectURL(new Blob([text], { type })) }, document.body);
  link.click();
  link.remove();
  URL.revokeObjectURL(link.href);
}

const STYLED = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "opacity", "font", "text-anchor"];

// The pictures side by side as one SVG that needs no style sheet.
function svgOf(pictures) {
  let x = 0;
  const whole = draw("svg", { xmlns: SVG_NS });
  for (const { svg, view, caption } of pictures) {
    const copy = svg.cloneNode(true);
    const originals = svg.querySelectorAll("*");
    [...copy.querySelectorAll("*")].forEach((element, i) => {
      const style = getComputedStyle(originals[i]);
      for (const name of STYLED) element.style.setProperty(name, style.getPropertyValue(name));
    });
    for (const hidden of copy.querySelectorAll('[display="none"]')) hidden.remove();
    const group = draw("svg", { x, y: 20, width: view.width, height: view.height, viewBox: copy.getAttribute("viewBox") }, whole);
    group.append(...copy.childNodes);
    draw("text", { x: x + 4, y: 14, "font-family": "sans-serif", "font-size": 10 }, whole, caption.textContent);
    x += view.width + 20;
  }
  const height = 20 + Math.max(...pictures.map(({ view }) => view.height));
  for (const [key, value] of Object.entries({ width: x, height, viewBox: `0 0 ${x} ${height}` })) whole.setAttribute(key, value);
  return new XMLSerializer().serializeToString(whole);
}

// The data of the page, without what the script cached in them; four bytes hold six digits.
function jsonOf(data) {
  const six = (x) => (x === null ? null : Number(x.toPrecision(6)));
  const told = { effect: (list) => list.map(six), stderr: (list) => list.map(six), ranked: () => undefined, estimates: () => undefined };
  return JSON.stringify(data, (key, value) => (told[key] ? told[key](value) : value));
}

// The page that the library writes, with the diagram in the place that it left for the body.
function pageOf(skeleton, fragment) {
  return skeleton.replace("<!-- grokscope: the body -->", () => fragment);
}
