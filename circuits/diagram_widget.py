"""A diagram that talks to Python: what is selected in it can be read, what it shows can be set. It needs anywidget.

It lives as long as the kernel; a notebook that is opened again shows diagrams that were shown by themselves, as HTML.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

RENDER = """
export default {
  render({ model, el }) {
    el.innerHTML = model.get("fragment");
    const shown = start(el.querySelector(".grokscope"));
    let isTold = false;
    shown.show(model.get("state"));
    shown.onChange((state) => {
      if (isTold) return;
      model.set("state", state);
      model.save_changes();
    });
    const follow = () => {
      isTold = true;
      shown.show(model.get("state"));
      isTold = false;
    };
    model.on("change:state", follow);
    return () => {
      model.off("change:state", follow);
      shown.stop();
    };
  },
};
"""


def has_widgets() -> bool:
    """Whether anywidget is installed."""
    try:
        import anywidget  # noqa: F401 (not at the top: a diagram needs no widgets)
    except ImportError:
        return False
    return True


def widget_of(fragment: str, functions: str, state: Mapping[str, Any]) -> Any:
    """The widget of a diagram.

    Args:
        fragment: its HTML.
        functions: of the page's script.
        state: what it shows first.

    Raises:
        ImportError: without anywidget.
    """
    if not has_widgets():
        raise ImportError("a diagram talks to Python through anywidget: pip install 'grokscope[notebook]'")
    return _widget_class(functions)(fragment=fragment, state=dict(state))


@cache
def _widget_class(functions: str) -> Any:
    import anywidget
    import traitlets

    class DiagramWidget(anywidget.AnyWidget):
        """What Python and the page share: the page's HTML, once, and what is seen."""

        _esm = f"{functions}\n{RENDER}"
        fragment = traitlets.Unicode().tag(sync=True)
        state = traitlets.Dict().tag(sync=True)

    return DiagramWidget
