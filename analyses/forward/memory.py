"""How much may be run at once: one budget in bytes, and what runs, copies and gradients take of it.

Sizes follow from shapes and dtype. Half of the budget is for plain runs and results, half for what is computed from them;
`examples/benchmarks/memory.py` compares them with what is used. However large the budget, no more than `MAX_BATCH` prompts
are run at once: more is not faster, and so the numbers of small models do not depend, in their last bits, on how much memory
happens to be free.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from ...circuits.arguments import budget_problems, refuse
from ...tasks.models.trm import TRM
from ...tasks.transformerlens import Model
from .decoder import device_of, dtype_of

MAX_BATCH = 4096  # prompts run at once
MAX_SET_ROWS = 1024  # the same for sets of edges, of which each prompt takes many times more
ENOUGH = 2**28  # bytes of copies at once; more is slower, since it must be cleared first, and bars would stand still
ENOUGH_GRADIENTS = 2**30  # the same for backward passes, which need a large model's states of fewer prompts to be as fast
SHARE_OF_FREE = 0.25
N_COPIES = 16  # wanted of each prompt: copies that enter at one place share work
UNKNOWN = 4 * 2**30  # bytes taken as free where the system does not say
EDGE_BYTES = 1000  # of an edge outside tensors: its names in graph and tables, its places, rankings of all edges
METRIC_COPIES = 4  # of logits in double precision that a metric makes
LENS_COPIES = 5  # of logits that the lens makes to rank tokens and to compare with the model's


def budget(max_memory: int | None, model: Model) -> int:
    """The bytes that an analysis may use; by default a quarter of what is free.

    Raises:
        ValueError: if it is no number of at least 1.
    """
    if max_memory is None:
        return int(SHARE_OF_FREE * free_memory(device_of(model)))
    refuse(budget_problems(max_memory))
    return int(max_memory)


def free_memory(device: torch.device) -> int:
    """Bytes that are free: the device's, or the system's within the limit of the control group."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return min(_system_memory(), _group_memory())


def _system_memory() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return UNKNOWN


def _group_memory() -> int:
    """What the innermost control group that states a limit leaves; caches of files do not count as used."""
    found = [2**62]
    for limit, used, folder in _group_files():
        try:
            stated = (folder / limit).read_text().strip()
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            if stated != "max":
                found.append(int(stated) - int((folder / used).read_text()) + int(stat.get("inactive_file", 0)))
        except (OSError, ValueError):
            continue
    return max(0, min(found))


def _group_files() -> list[tuple[str, str, Path]]:
    """Names of the files with limit and use, and the folders of the process's control groups."""
    root = Path("/sys/fs/cgroup")
    try:
        group = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip().strip("/")
    except OSError:
        group = ""
    inner = root / group
    folders = [inner, *(parent for parent in inner.parents if parent.is_relative_to(root))]
    files = [("memory.max", "memory.current", folder) for folder in folders]
    return [*files, ("memory.limit_in_bytes", "memory.usage_in_bytes", root / "memory")]


@dataclass(frozen=True)
class Sizes:
    """Bytes of what a model holds for one prompt.

    Attributes:
        n_layers: of the model.
        n_heads: of each layer.
        n_senders: nodes that write at each position.
        residual: the residual stream at all positions.
        heads: queries, keys, values, or what is gathered, of one layer's heads.
        scores: attention scores of one layer.
        hidden: the MLP's hidden states of one layer.
        logits: at one position.
        exact: the same in double precision, as metrics see them.
        n_positions: of the prompt.
        item: one number.
    """

    n_layers: int
    n_heads: int
    n_senders: int
    residual: int
    heads: int
    scores: int
    hidden: int
    logits: int
    exact: int
    n_positions: int
    item: int

    @classmethod
    def of(cls, model: Model, n_positions: int) -> "Sizes":
        """For prompts of a length."""
        if isinstance(model, TRM):
            return cls._of_trm(model, n_positions)
        cfg, size = model.cfg, dtype_of(model).itemsize
        d_vocab = cfg.d_vocab_out
        return cls(
            n_layers=cfg.n_layers,
            n_heads=cfg.n_heads,
            n_senders=1 + cfg.n_layers * (cfg.n_heads + (not cfg.attn_only)),
            residual=size * n_positions * cfg.d_model,
            heads=size * n_positions * cfg.n_heads * cfg.d_head,
            scores=size * n_positions**2 * cfg.n_heads,
            hidden=0 if cfg.attn_only else size * n_positions * (cfg.d_mlp or 0),
            logits=size * d_vocab,
            exact=8 * d_vocab,
            n_positions=n_positions,
            item=size,
        )

    @classmethod
    def _of_trm(cls, model: TRM, n_positions: int) -> "Sizes":
        """Of a token-mixing network: a token mixer counts as one head, its hidden states as what that holds.

        They are not kept of every application, so that this is more than is used.
        """
        shape, size = model.cfg.shape, dtype_of(model).itemsize
        n_all = shape.n_prefix + n_positions
        return cls(
            n_layers=shape.n_layers,
            n_heads=1,
            n_senders=2 + 2 * shape.n_layers,
            residual=size * n_all * shape.d_model,
            heads=size * shape.d_mixer * shape.d_model,
            scores=0,
            hidden=size * n_all * shape.d_mlp,
            logits=size * model.cfg.d_vocab_out,
            exact=8 * model.cfg.d_vocab_out,
            n_positions=n_positions,
            item=size,
        )

    @property
    def run(self) -> int:
        """A cached run, the model's forward pass that it is compared with, and what computing it takes."""
        kept = self.residual + self.n_layers * (2 * self.residual + 4 * self.heads + self.scores) + self.logits
        working = 6 * self.residual + 6 * self.heads + 3 * self.scores + 3 * self.hidden + 2 * self.logits
        return kept + working

    @property
    def pair(self) -> int:
        """A run of the base and one of the donor prompt, what the heads of a layer of both write, and all differences."""
        return 2 * (self.run + self.n_heads * self.residual) + self.n_senders * self.residual

    @property
    def copy(self) -> int:
        """A changed copy of a run on its way through the layers, and its logits."""
        layer = 9 * self.residual + 9 * self.heads + 3 * self.scores
        return layer + self.decoded

    @property
    def whole_pass(self) -> int:
        """A copy's pass through the whole model, its logits at all positions, and what hooks hold of it."""
        working = 8 * self.residual + 9 * self.heads + 3 * self.scores + 2 * self.hidden
        return working + 2 * self.n_positions * self.logits + self.decoded

    @property
    def edge_set(self) -> int:
        """A run with a set of edges: what each sender writes, and what each head of a layer reads by itself."""
        layer = (4 * self.n_heads + 3) * self.residual + 7 * self.heads + 3 * self.scores
        return self.n_senders * self.residual + layer + self.decoded

    @property
    def backward(self) -> int:
        """What a forward pass keeps for the backward one, and the gradients on their way."""
        layer = 8 * self.residual + 9 * self.heads + 5 * self.scores + 5 * self.hidden
        return self.n_layers * layer + self.decoded

    @property
    def gradients(self) -> int:
        """The same, with all differences once more and the gradients by queries, keys and values.

        Of one layer at a time also what goes through its norm, and products in double precision and in another order.
        """
        by_input, n_inputs = (3 * self.n_heads + 1) * self.residual, 3 * self.n_heads
        kept = self.n_layers * (3 * self.heads + self.residual) + self.n_senders * self.residual
        products = (self.item + 16) * self.n_positions * self.n_senders * n_inputs
        return self.backward + kept + 3 * by_input + products

    @property
    def lens(self) -> int:
        """The states at all stages, the run that gives them, and the logits of one stage at all positions, compared."""
        stages = (2 * self.n_layers + 1) * self.residual
        working = 6 * self.residual + 6 * self.heads + 3 * self.scores + 2 * self.hidden
        return stages + working + LENS_COPIES * self.n_positions * self.logits

    @property
    def decoded(self) -> int:
        """Logits, and what a metric makes of them."""
        return 2 * self.logits + METRIC_COPIES * self.exact


def how_many(n: int, each: int, allowed: int, what: str) -> int:
    """How many things of a size fit, at most n.

    Raises:
        MemoryError: if not even one does.
    """
    if each > allowed:
        raise MemoryError(
            f"{what} needs {readable(each)}, of which {readable(max(0, allowed))} are allowed here; a larger max_memory or "
            "shorter prompts may help"
        )
    return max(1, min(n, allowed // max(1, each)))


def batches_of(
    model: Model,
    n: int,
    n_positions: int,
    max_memory: int | None = None,
    *,
    n_runs: int = 1,
    n_copies: int = 1,
    results: int = 0,
) -> list[Int[Tensor, " row"]]:
    """The rows of some prompts, as many at a time as memory allows for some cached runs and copies of each.

    Args:
        model: that is run.
        n: prompts.
        n_positions: of each.
        max_memory: bytes that may be used; by default a quarter of what is free.
        n_runs: plain runs that are held at once.
        n_copies: changed copies of each prompt that are run at once.
        results: bytes that are kept of all prompts.

    Raises:
        MemoryError: if not a single prompt fits.
    """
    sizes = Sizes.of(model, n_positions)
    each = n_runs * sizes.run + n_copies * sizes.copy
    most = how_many(n, each, budget(max_memory, model) - results, "one prompt and what is made of it")
    return batches(n, min(most, max(1, MAX_BATCH // max(1, n_copies))))


def readable(n_bytes: int) -> str:
    """A number of bytes with its unit.

    >>> readable(3 * 2**20)
    '3.0 MiB'
    """
    value, units = float(n_bytes), ["bytes", "KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.1f} {units[0]}"


def evenly(n: int, most: int) -> int:
    """The size of as few parts as possible of about the same size, none of which is larger than `most`.

    >>> evenly(32, 29)
    16
    """
    return -(-n // max(1, -(-n // most)))


def batches(n: int, size: int) -> list[Int[Tensor, " row"]]:
    """The numbers from 0 to n − 1, in parts of a size."""
    return list(torch.arange(n, device="cpu").split(size)) if n else []
