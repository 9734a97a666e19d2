"""Hooks that a user left on a model, which no analysis may take for the model's computing."""

from transformer_lens import HookedTransformer


def hooks_in_place(model: HookedTransformer) -> list[str]:
    """The modules of a model that carry hooks, of TransformerLens or of torch; the model by itself is called `model`."""
    return [name or "model" for name, module in model.named_modules() if any(map(len, _hooks(module)))]


def refuse_hooks(model: HookedTransformer) -> None:
    """The one rule for all analyses: a model that carries hooks is refused.

    Partial runs would skip them, and what is then said of the model would be true of neither, with hooks or without.

    Raises:
        ValueError: with the places of the hooks.
    """
    if names := hooks_in_place(model):
        raise ValueError(
            f"the model carries hooks at {', '.join(names[:4])}{', …' if len(names) > 4 else ''}, and analyses tell about "
            "the model without any; remove them with model.reset_hooks(including_permanent=True), those of torch by their "
            "handles"
        )


def _hooks(module: object) -> list[dict]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [getattr(module, kind, {}) for kind in kinds]
