"""What stands between a model and its numbers: hooks that a user left on it, and torch computing in another precision."""

import torch

from ...circuits.arguments import refuse
from ...tasks.questions.hooks import problems_of_hooks
from ...tasks.transformerlens import Model


def refuse_hooks(model: Model) -> None:
    """The one rule for all analyses: a model that carries hooks, or is run under autocast, is refused.

    Partial runs would skip hooks, and what is then said of the model would be true of neither, with hooks or without. Under
    autocast torch computes some steps in fewer bits than the model has, and its forward pass is another one than outside.

    Raises:
        ValueError: with the places of the hooks, or the precision.
    """
    device = next(model.parameters()).device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        raise ValueError(
            f"torch.autocast is on: it computes parts of the model in {torch.get_autocast_dtype(device)} on {device}, and "
            "analyses tell about the model as it is without; call them outside of it, and to study the model in fewer bits "
            "convert it, as by model.to(torch.bfloat16)"
        )
    refuse(problems_of_hooks(model, "analyses tell about the model without any"))
