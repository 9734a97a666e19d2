"""A recursive network run on from the middle, with some states replaced.

The state at a cell is what an application of a block puts out there: within a refinement it feeds the next block, at its end
it is z_L or z_H, which stay until they are refined again. The embedding (layer −1) is put into every refinement of z_L.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from .cached import States
from .replay import ReplayRun, number_of_state


def replayed_with(run: ReplayRun, layer: int, replaced: Sequence[States]) -> Float[Tensor, "copy query d_vocab"]:
    """The logits at the answer position, with states replaced after a layer and after the ones that follow it.

    Args:
        run: of the network.
        layer: after which the first states are put in; −1: the embedding.
        replaced: by layer, from `layer` on; those of layers that there are not are ignored.
    """
    recursion, n_copies = run.recursion, len(next(iter(replaced[0].values())))
    if layer == run.graph.n_layers - 1 and run.answer not in replaced[0]:
        return run.logits.expand(n_copies, -1, -1)  # to the bit, where nothing can reach the answer
    after = {number_of_state(each): states for each, states in enumerate(replaced, layer)}
    first = number_of_state(layer)
    states = [each[:, None].expand(-1, n_copies, -1, -1) for each in run.states[: first + 1]]
    states[first] = _put(states[first], replaced[0])
    for number in range(first + 1, len(run.states)):
        reading = recursion.reading(number - 1, states)
        state = recursion.state(number, reading, recursion.components[number - 1](reading))
        states.append(_put(state, after.get(number, {})))
    return recursion.decode(recursion.reading(len(states) - 1, states)[run.answer])


def _put(states: Float[Tensor, "pos copy query d_model"], replaced: States) -> Float[Tensor, "pos copy query d_model"]:
    if not replaced:
        return states
    states = states.clone()
    for position, state in replaced.items():
        states[position] = state
    return states
