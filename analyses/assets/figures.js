// Plotly out of the page itself, then every figure from the numbers that follow its place: fitted to the window, on the ground
// that the reader's settings ask for, and on paper as wide as a page and light. A promise, so that others can wait.
async function unpackedText(place) {
  if (place.type !== "application/gzip") return place.textContent;
  const bytes = Uint8Array.from(atob(place.textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}
const plotly = (async () => {
  const script = document.createElement("script");
  script.textContent = await unpackedText(document.getElementById("plotly-packed"));
  document.head.append(script);
  return window.Plotly;
})();
(async () => {
  const places = [...document.querySelectorAll(".plotly-figure")];
  const contents = await Promise.all(places.map((place) => unpackedText(place.nextElementSibling)));
  const Plotly = await plotly;
  const PAPER = { width: 680, height: 790 }; // pixels between the margins of A4, with a heading and what is said of it
  const looks = JSON.parse(document.getElementById("figure-looks").textContent);
  const onDark = matchMedia("screen and (prefers-color-scheme: dark)"), onPaper = matchMedia("print");
  const figures = places.map((place, number) => ({ place, figure: JSON.parse(contents[number]), state: "" }));
  let printing = false;

  // The same figure with every colour that a dark ground would hide in that ground's own one.
  function recoloured(part, key = "") {
    if (typeof part === "string") return /colou?r/i.test(key) ? looks.colours[part.toLowerCase()] ?? part : part;
    if (Array.isArray(part)) return part.map((each) => recoloured(each, key));
    if (part === null || typeof part !== "object") return part;
    return Object.fromEntries(Object.entries(part).map(([name, each]) => [name, recoloured(each, name)]));
  }

  function darkened({ data, layout: { template, ...layout } }) {
    return { data: recoloured(data), layout: { ...recoloured(layout), template: looks.dark } };
  }

  // A picture that is saved is the figure as it was made, on light ground and with its title.
  function saved(figure) {
    const size = { width: 1100, height: figure.layout.height ?? 450 };
    const click = () => Plotly.downloadImage({ data: figure.data, layout: figure.layout }, { format: "png", scale: 2, ...size });
    return { name: "picture", title: "Save as a picture", icon: Plotly.Icons.camera, click };
  }

  function draw(each) {
    const paper = printing || onPaper.matches, dark = onDark.matches && !paper;
    if (!each.place.offsetParent) return; // in a part that is folded: drawn when it opens
    const width = paper ? PAPER.width : Math.floor(each.place.clientWidth) || PAPER.width;
    const state = [width, dark, paper].join();
    if (each.state === state) return;
    each.state = state;
    const { data, layout, inner } = fitted(dark ? darkened(each.figure) : each.figure, width, paper ? PAPER.height : undefined);
    const buttons = { modeBarButtonsToRemove: ["toImage"], modeBarButtonsToAdd: [saved(each.figure)] };
    const show = () => {
      each.place.style.height = `${layout.height}px`;
      Plotly.react(each.place, data, { ...layout, uirevision: "kept" }, { displaylogo: false, ...buttons });
    };
    show();
    const { t, b, h } = each.place._fullLayout._size; // legends and colour bars push panels together: as much room again
    if (!inner || Math.abs(inner - h) < 2) return;
    Object.assign(layout.margin, { t, b });
    layout.height = inner + t + b;
    show();
  }

  const drawAll = () => figures.forEach(draw);
  const onPrint = (now) => () => {
    printing = now;
    drawAll();
  };
  let waiting = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(drawAll);
  });
  document.addEventListener("toggle", drawAll, true);
  addEventListener("beforeprint", onPrint(true));
  addEventListener("afterprint", onPrint(false));
  for (const media of [onDark, onPaper]) media.addEventListener("change", drawAll);
  drawAll();
})();
