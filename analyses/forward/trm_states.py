"""A token-mixing network run on from the middle, with some states replaced.

The state at a cell is what an application of a block puts out there: within a refinement it feeds the next block, at its end
it is z_L or z_H, which stay until they are refined again. The embedding x (layer −1) is put into every refinement of z_L.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ...tasks.models.trm import TRM
from ...tasks.models.trm_config import TRMConfig
from ...tasks.models.trm_forward import block_of
from .cached import States
from .replay import ReplayRun

Layout = Float[Tensor, "pos copies_and_queries d_model"]


@torch.no_grad()
def replayed_with(run: ReplayRun, layer: int, replaced: Sequence[States]) -> Float[Tensor, "copy query d_vocab"]:
    """The logits at the answer position, with states replaced after a layer and after the ones that follow it.

    Args:
        run: of the network.
        layer: after which the first states are put in; −1: the embedding.
        replaced: by layer, from `layer` on; those of layers that there are not are ignored.
    """
    shape, (n_copies, n, d_model) = run.model.cfg.shape, next(iter(replaced[0].values())).shape
    after = dict(zip(range(layer, shape.n_layers), replaced, strict=False))
    answer = run.graph.roles.index(run.graph.answer_role)
    if layer == shape.n_layers - 1 and answer not in replaced[0]:
        return run.logits.expand(n_copies, -1, -1)  # to the bit, where nothing can reach the answer
    flow = _Flow(run, n_copies)
    flow.put(layer, flow.cached(layer), after[layer])
    for number in range(layer + 1, shape.n_layers):
        flow.put(number, flow.applied(number), after.get(number, {}))
    return (flow.z_h[answer] @ run.model.unembed.W_U).view(n_copies, n, -1)


def refines_low(shape: TRMConfig, layer: int) -> bool:
    """Whether an application is part of a refinement of z_L, or else of z_H."""
    return layer // shape.n_blocks % (shape.l_cycles + 1) < shape.l_cycles


def ends_refinement(shape: TRMConfig, layer: int) -> bool:
    """Whether the state after an application is z_L or z_H."""
    return layer % shape.n_blocks == shape.n_blocks - 1


class _Flow:
    """The states of copies of a run, on their way.

    Args:
        run: that the copies equal before anything is put in.
        n_copies: of each of its queries.
    """

    def __init__(self, run: ReplayRun, n_copies: int) -> None:
        self._run, self._n_copies = run, n_copies
        model: TRM = run.model
        self._shape = shape = model.cfg.shape
        parameters = dict(model.named_parameters())
        self._blocks = [block_of(parameters, shape, number, run.embedding.dtype) for number in range(shape.n_blocks)]
        self._x = self.last = self.cached(-1)
        self.z_h, self._z_l = (state.expand_as(self._x) for state in (model.z_h, model.z_l))

    def cached(self, layer: int) -> Layout:
        """The run's state after a layer, and from then on what it held before."""
        for earlier in range(layer):
            if ends_refinement(self._shape, earlier):
                self._keep(earlier, self._of_run(earlier))
        return self._of_run(layer)

    def applied(self, layer: int) -> Layout:
        """What a layer makes of the states before it."""
        if layer % self._shape.n_blocks:
            entering = self.last
        elif refines_low(self._shape, layer):
            entering = self._z_l + self.z_h + self._x
        else:
            entering = self.z_h + self._z_l
        return self._blocks[layer % self._shape.n_blocks](entering)

    def put(self, layer: int, states: Layout, replaced: States) -> None:
        """Take these states for those after a layer, but at some positions others."""
        if replaced:
            states = states.clone()
            for position, state in replaced.items():
                states[position] = state.to(states).flatten(0, 1)
        self.last = states
        if layer < 0:
            self._x = states
        elif ends_refinement(self._shape, layer):
            self._keep(layer, states)

    def _keep(self, layer: int, states: Layout) -> None:
        if refines_low(self._shape, layer):
            self._z_l = states
        else:
            self.z_h = states

    def _of_run(self, layer: int) -> Layout:
        states = self._run.state(layer).transpose(0, 1)
        return states[:, None].expand(-1, self._n_copies, -1, -1).flatten(1, 2)
