"""Hooks that a user left on a model, and things that are no model that could be asked."""

from torch import nn

from .padding import Forward


def hooks_in_place(model: nn.Module) -> list[str]:
    """The modules of a model that carry hooks, of TransformerLens or of torch; the model by itself is called `model`."""
    return [name or "model" for name, module in model.named_modules() if any(map(_foreign, _hooks(module)))]


def problems_of_hooks(model: Forward, why: str) -> list[str]:
    """Why a model is refused that carries hooks; only a module can carry any.

    Args:
        model: which is looked at.
        why: what is said of the model without hooks, as in "analyses tell about the model without any".
    """
    if not isinstance(model, nn.Module) or not (names := hooks_in_place(model)):
        return []
    return [
        f"the model carries hooks at {', '.join(names[:4])}{', …' if len(names) > 4 else ''}, and {why}; remove them with "
        "model.reset_hooks(including_permanent=True), those of torch by their handles"
    ]


def _foreign(hooks: dict) -> bool:
    """Whether any of a module's hooks is none of those by which a TransformerBridge works."""
    return not all(map(_of_bridge, hooks.values()))


def _of_bridge(hook: object) -> bool:
    """Whether a hook, or what a hook point wraps in it, is defined by TransformerLens' bridges."""
    inside = [cell.cell_contents for cell in getattr(hook, "__closure__", None) or ()]
    return any(str(getattr(each, "__module__", "")).startswith(_NOT_OF_USERS) for each in (hook, *inside))


_NOT_OF_USERS = ("transformer_lens.model_bridge", f"{__name__.partition('.')[0]}.analyses.forward.agreement")
"""Where hooks are defined by which bridges work, and the one by which another thread asks a model for its logits."""


def _hooks(module: nn.Module) -> list[dict]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [getattr(module, kind, {}) for kind in kinds]
