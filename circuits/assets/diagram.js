function (root) {
  const circuits = JSON.parse(root.querySelector(".gs-data").textContent);
  const tip = root.querySelector(".gs-tip");
  const edges = [...root.querySelectorAll(".gs-panels .gs-edge")];
  edges.forEach((edge) => edge.querySelector("title").remove()); // the tip says more

  function describe(name) {
    const lines = circuits.map(({ label, edges }) => {
      const found = edges[name];
      if (!found) return `${label}: not measured`;
      const [effect, stderr, n, kept] = found;
      const number = effect === null ? "undefined" : effect.toFixed(3);
      const error = stderr === null ? "" : ` ± ${(1.96 * stderr).toFixed(3)}`;
      return `${label ? label + ": " : ""}${number}${error}, n = ${n}${kept ? "" : " (not in the circuit)"}`;
    });
    return [name, ...lines].join("\n");
  }

  function show(edge) {
    const name = edge.dataset.edge;
    edges.forEach((other) => other.classList.toggle("gs-lit", other.dataset.edge === name));
    tip.textContent = describe(name);
    tip.hidden = false;
    const frame = root.getBoundingClientRect();
    const box = edge.getBoundingClientRect();
    const left = box.left + box.width / 2 - frame.left + 14;
    tip.style.left = `${Math.max(0, Math.min(left, frame.width - tip.offsetWidth))}px`;
    tip.style.top = `${box.top + box.height / 2 - frame.top - tip.offsetHeight / 2}px`;
  }

  function hide() {
    edges.forEach((edge) => edge.classList.remove("gs-lit"));
    tip.hidden = true;
  }

  for (const edge of edges) {
    edge.addEventListener("mouseenter", () => show(edge));
    edge.addEventListener("focus", () => show(edge));
    edge.addEventListener("mouseleave", hide);
    edge.addEventListener("blur", hide);
  }
}
