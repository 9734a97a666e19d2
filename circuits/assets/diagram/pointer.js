// Pointer, touch and keys of a picture.

function listen(view) {
  const { svg, app } = view;
  const { store } = app;
  let grabbed = null;
  let moved = false;
  const pinch = new Map();
  const at = (event) => {
    const frame = svg.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  };
  svg.addEventListener("pointerdown", (event) => {
    pinch.set(event.pointerId, at(event));
    grabbed = at(event);
    moved = false;
  });
  svg.addEventListener("pointermove", (event) => {
    const now = at(event);
    if (pinch.size === 2 && pinch.has(event.pointerId)) {
      const other = [...pinch.entries()].find(([id]) => id !== event.pointerId)[1];
      const before = Math.hypot(...[0, 1].map((k) => pinch.get(event.pointerId)[k] - other[k]));
      const after = Math.hypot(...[0, 1].map((k) => now[k] - other[k]));
      pinch.set(event.pointerId, now);
      moved = true;
      if (before > 0) zoomAt(view, after / before, [0, 1].map((k) => (now[k] + other[k]) / 2));
      return;
    }
    if (grabbed && (event.pointerType !== "touch" || store.get().zoom)) {
      const by = [now[0] - grabbed[0], now[1] - grabbed[1]];
      if (moved || Math.hypot(...by) > 4) {
        moved = true;
        grabbed = now;
        panBy(view, by);
      }
    }
    if (!grabbed) app.hover(view, under(view, now, 4), now);
  });
  const release = (event) => {
    pinch.delete(event.pointerId);
    grabbed = null;
  };
  svg.addEventListener("pointerup", release);
  svg.addEventListener("pointercancel", release);
  svg.addEventListener("pointerleave", (event) => {
    release(event);
    app.hover(null, null);
  });
  svg.addEventListener("click", (event) => {
    if (moved) return;
    const found = under(view, at(event), event.pointerType === "touch" ? 12 : 5);
    app.select(found ? found.name : null, event.shiftKey || event.ctrlKey || event.metaKey);
  });
  svg.addEventListener("dblclick", (event) => zoomAt(view, event.shiftKey ? 0.5 : 2, at(event)));
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls as always
    event.preventDefault();
    zoomAt(view, event.deltaY < 0 ? 1.2 : 1 / 1.2, at(event));
  }, { passive: false });
  svg.addEventListener("keydown", (event) => keyed(event, view));
  svg.addEventListener("blur", () => app.hover(null, null));
}

// Zoom about a point of the screen; all pictures move together. What is drawn never leaves the view.
function zoomAt(view, factor, point) {
  const { fit, middle } = view.fit;
  const now = view.scale / fit;
  const next = Math.min(MOST_ZOOM / Math.min(1, fit), Math.max(1, now * factor));
  const world = [0, 1].map((k) => (point[k] - view.at[k]) / view.scale);
  const centre = centreOf(view);
  const moved = centre.map((x, k) => world[k] - ((world[k] - x) * now) / next);
  view.app.store.set({ zoom: next === 1 ? null : [next, ...inside(view, moved, next, middle)] });
}

function centreOf(view) {
  const room = [view.size[0] - AXIS.left - AXIS.right, view.size[1] - AXIS.top - AXIS.bottom];
  return [(AXIS.left + room[0] / 2 - view.at[0]) / view.scale, (AXIS.top + room[1] / 2 - view.at[1]) / view.scale];
}

function panBy(view, by) {
  const { zoom } = view.app.store.get();
  if (!zoom) return;
  const centre = centreOf(view).map((x, k) => x - by[k] / view.scale);
  view.app.store.set({ zoom: [zoom[0], ...inside(view, centre, zoom[0])] });
}

// A centre of the view such that the picture fills it.
function inside(view, centre, times) {
  const { layout, fit } = view;
  const room = [view.size[0] - AXIS.left - AXIS.right, view.size[1] - AXIS.top - AXIS.bottom];
  const span = [[layout.c.marginLeft, layout.width], [0, layout.height - layout.c.marginBottom]];
  return centre.map((x, k) => {
    const half = room[k] / 2 / (fit.fit * times);
    const [low, high] = [span[k][0] + half, span[k][1] - half];
    return low > high ? (span[k][0] + span[k][1]) / 2 : Math.min(high, Math.max(low, x));
  });
}

// Left and right walk along the drawn edges, strongest first, up and down along the nodes.
function keyed(event, view) {
  const { app } = view;
  const edges = [...view.scene.order].reverse().map((curve) => ({ curve, name: curve.name }));
  const touched = new Set(view.scene.order.flatMap((curve) => [curve.from.id, curve.to.id]));
  const nodes = [...view.scene.boxes.values()].filter(({ id }) => touched.has(id)).map((box) => ({ box, name: box.name }));
  const walks = { ArrowRight: [edges, 1], ArrowLeft: [edges, -1], ArrowUp: [nodes, 1], ArrowDown: [nodes, -1] };
  if (event.key in walks && !event.altKey) {
    const [all, by] = walks[event.key];
    if (!all.length) return;
    const at = all.findIndex(({ name }) => view.focused && name === view.focused.name);
    view.focused = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : (at + by + all.length) % all.length];
    bringIn(view, view.focused);
    app.hover(view, view.focused, onScreen(view, view.focused));
  } else if ((event.key === "Enter" || event.key === " ") && view.focused) {
    app.select(view.focused.name, event.shiftKey);
  } else if (event.key === "Escape") {
    view.focused = null;
    app.hover(null, null);
    app.select(null);
  } else if (event.key === "+" || event.key === "-" || event.key === "=") {
    const middle = [view.size[0] / 2, view.size[1] / 2];
    zoomAt(view, event.key === "-" ? 1 / 1.4 : 1.4, view.focused ? onScreen(view, view.focused) : middle);
  } else if (event.key === "0") {
    app.store.set({ zoom: null });
  } else {
    return;
  }
  event.preventDefault();
}

function onScreen(view, { curve, box }) {
  const [x, y] = curve ? pointAt(curve.points, 0.5) : box.at;
  return [view.at[0] + view.scale * x, view.at[1] + view.scale * y];
}

// Pan so that what the keys reached can be seen.
function bringIn(view, found) {
  if (!view.app.store.get().zoom) return;
  const [x, y] = onScreen(view, found);
  const isIn = x > AXIS.left && x < view.size[0] - 20 && y > 10 && y < view.size[1] - AXIS.bottom;
  if (!isIn) panBy(view, [view.size[0] / 2 - x, view.size[1] / 2 - y]);
}
