// Plotly out of the page itself, then every figure from the numbers that follow its place. A promise, so that others can wait.
const plotly = (async () => {
  const packed = atob(document.getElementById("plotly-packed").textContent);
  const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
  const script = document.createElement("script");
  script.textContent = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  document.head.append(script);
  return window.Plotly;
})();
plotly.then((Plotly) => {
  for (const place of document.querySelectorAll(".plotly-figure")) {
    const figure = JSON.parse(place.nextElementSibling.textContent);
    Plotly.newPlot(place, { ...figure, config: { responsive: true, displaylogo: false } });
  }
});
