"""Gradients wherever the caller stands: with gradients switched off globally, under `no_grad`, or in inference mode."""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import chain

import torch
from torch import Tensor

from ...tasks.transformerlens import Model
from .cached import CachedRun, LayerCache
from .decoder import Decoder
from .model import described


@contextlib.contextmanager
def gradients_on() -> Iterator[None]:
    """Record gradients in the block, whatever holds around it."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def differentiable(run: CachedRun) -> CachedRun:
    """The run, with copies of what was made in inference mode, which autograd refuses to remember."""
    layers = [LayerCache(*(remembered(getattr(cache, each.name)) for each in fields(cache))) for cache in run.layers]
    mask = None if run.mask is None else remembered(run.mask)
    changed = {"embedding": remembered(run.embedding), "logits": remembered(run.logits), "layers": layers, "mask": mask}
    return replace(run, decoder=_remembered_decoder(run.decoder), **changed)


def remembered(tensor: Tensor) -> Tensor:
    """The tensor, or a copy if it was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor


def remembered_model(model: Model) -> Model:
    """The model, or a copy if its parameters were made in inference mode."""
    made_so = any(each.is_inference() for each in chain(model.parameters(), model.buffers()))
    return copy.deepcopy(model) if made_so else model


def _remembered_decoder(decoder: Decoder) -> Decoder:
    source = remembered_model(decoder.source)
    return decoder if source is decoder.source else described(source)
