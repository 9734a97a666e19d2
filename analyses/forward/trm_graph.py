"""The computation graph of a token-mixing network, whose edges are exact by replay.

States are normed again and again on their way, so what a component reads is no sum of what others write. It is a function of
all outputs before it, though: the states are rebuilt from them, `replay`. An edge from a sender into a receiver means the
sender's output, at the position of the edge, in the replay that only the receiver reads.

A norm over positions lets an output at one position change the scale of all others. That is part of the edge, which stays at
the position where the sender writes; so what MLPs and the logits read depends on all positions then, as token mixers do.
"""

from ...circuits import ComputationGraph
from ...circuits.arguments import refuse
from ...circuits.step import Step
from ...tasks.models.trm import TRM


def trm_graph(model: TRM, roles: tuple[str, ...], answer_position: int) -> ComputationGraph:
    """The graph of a token-mixing network on prompts with the given roles.

    Nodes are the embedding, the initial states (`init`, both together), and for every application of a block the token mixer
    (`MIX0`) and the MLP over channels (`MLP0`).

    Raises:
        ValueError: if the network has another number of positions, or some without a token.
    """
    refuse(problems_of_trm(model, len(roles)))
    shape = model.cfg.shape
    everywhere = (tuple(roles),) * len(roles)
    here = everywhere if shape.mixer_norm == "positions" else None
    steps = [Step("embed"), Step("init")]
    for layer in range(shape.n_layers):
        block = layer % shape.n_blocks
        steps += [Step("mixer", layer, group=block, sees=everywhere), Step("mlp", layer, group=block, sees=here)]
    return ComputationGraph(tuple(roles), roles[answer_position], (*steps, Step("logits", sees=here)))


def problems_of_trm(model: TRM, n_positions: int) -> list[str]:
    """Why effects are not measured in a network on prompts of a length."""
    problems = []
    if model.cfg.n_ctx != n_positions:
        problems.append(f"the network mixes {model.cfg.n_ctx} positions, the prompts have {n_positions}")
    if model.cfg.shape.n_prefix:
        problems.append(f"no roles are known for the n_prefix={model.cfg.shape.n_prefix} positions before the prompt")
    return problems
