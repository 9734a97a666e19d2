// Small pictures of every step of every circuit.

function fillStrip(app, state) {
  const { strip, steps } = app;
  strip.hidden = !(state.multiples && steps.length > 1);
  strip.replaceChildren();
  if (strip.hidden) return;
  for (const view of app.views) {
    const row = tag("div", { class: "gs-strip" }, strip);
    if (app.views.length > 1) tag("span", { class: "gs-soft" }, row, view.panels[0].label);
    for (const step of steps) smallPicture(app, view, row, step, state);
  }
}

function smallPicture(app, view, row, step, state) {
  const name = `step ${step.toLocaleString("en")}`;
  const button = tag("button", { type: "button", "aria-pressed": String(step === state.step), "aria-label": `${view.panels[0].label} ${name}`.trim(), "data-focus": `${view.title} ${name}` }, row);
  const canvas = tag("canvas", { "aria-hidden": "true" }, button);
  tag("span", {}, button, step.toLocaleString("en"));
  button.addEventListener("click", () => app.store.set({ step }));
  const { ofEdge } = view;
  const scene = sceneOf(view, { ...state, step }, app.data);
  view.ofEdge = ofEdge; // of the step that is shown
  const { layout } = view;
  const inner = [layout.width - layout.c.marginLeft, layout.height - layout.c.marginBottom];
  const ratio = window.devicePixelRatio || 1;
  const scale = Math.min(150 / inner[0], 130 / inner[1]);
  Object.assign(canvas, { width: 150 * ratio, height: inner[1] * scale * ratio });
  canvas.style.width = "150px";
  canvas.style.height = `${inner[1] * scale}px`;
  const style = { ...view.style, most: view.panels.length > 1 ? mostDifferent(scene) : 1 };
  paintCurves(canvas.getContext("2d"), scene, style, { scale, at: [-layout.c.marginLeft * scale + (150 - inner[0] * scale) / 2, 0], ratio, lit: null, hovered: null });
}
