// The page's script is in it compressed; the still picture stands there until it is unpacked.
(async () => {
  const bytes = Uint8Array.from(atob(document.querySelector(".grokscope .gs-code").textContent), (sign) => sign.charCodeAt(0));
  const script = document.createElement("script");
  script.textContent = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  document.head.append(script);
  script.remove();
})();
