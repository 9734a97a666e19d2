"""What was measured so far, kept in a folder, so that hours of patching can be stopped and go on.

A folder belongs to one question: a model, pairs, edges and how they are patched. Effects are kept as changes by edge and
query, as they are measured; since a call that goes on has the memory of the first one, it runs what is left in the same
parts, and gives the same numbers to the bit. Nothing else is stored: what follows from changes is computed again.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import ConfigDict
from safetensors import numpy
from torch import Tensor

from ...circuits import Edge
from ...circuits.documents import FileError, check_is_file, read_document, validated, write_document
from ...circuits.interrupts import Stop, interrupt, noticing_interrupts, signal_of, stop_at_once
from ...circuits.lock import only_writer
from ...circuits.tensor_files import labelled, metadata_of, tensors_of
from ...circuits.writing import write_atomic
from ...tasks import PromptPairs
from ...tasks.transformerlens import Model
from ..forward.engine import budget
from .metrics import AnyMetric, as_metric

KIND, QUESTION = "question of kept effects", "question.json"
EFFECTS_KIND, EFFECTS = "kept effects", "effects.safetensors"
FORMAT = 1
SAVE_EVERY = 60.0  # seconds
MOST_OF_TIME = 0.05  # that saving may take
_TO_DO = "choose another folder, or delete this one"


@dataclass(frozen=True)
class Question:
    """What effects were asked for.

    Attributes:
        about: by name, texts that differ if anything does on which changes depend, but for the code of a metric.
        memory: bytes that may be used, as of the first call.
        folder: that belongs to it.
    """

    about: dict[str, str]
    memory: int
    folder: Path

    @property
    def key(self) -> str:
        """Of what is kept for it."""
        return hashlib.sha256(json.dumps([self.about, self.memory], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Written:
    """What the file of a question holds."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")
    about: dict[str, str]
    memory: int


def begin(folder: Path, about: Mapping[str, str], memory: int) -> Question:
    """The question that a folder belongs to, which it does from now on if it is new.

    Raises:
        ValueError: if it belongs to another one; the message says in what they differ.
        FileError: if its file is damaged.
    """
    path = folder / QUESTION
    if not path.exists():
        write_document(path, KIND, {"about": dict(about), "memory": memory}, written_format=FORMAT, indent=1)
    there = validated(_Written, read_document(path, [KIND], known_format=FORMAT).content, str(path))
    kept, asked = ({"engine": "fast", **each} for each in (there.about, about))
    if names := [name for name in {**kept, **asked} if kept.get(name) != asked.get(name)]:
        other = "; ".join(f"{name}: {kept.get(name)}, asked is {asked.get(name)}" for name in names)
        raise ValueError(f"keep_in: {folder} keeps effects of something else ({other}); {_TO_DO}")
    return Question(there.about, there.memory, folder)


@contextlib.contextmanager
def keeping(
    folder: str | Path | None,
    model: Model,
    pairs: PromptPairs,
    edges: Sequence[Edge],
    *,
    direction: str,
    metric: AnyMetric,
    max_memory: int | None,
    memory: int | None = None,
    engine: str = "fast",
) -> Iterator[Question | None]:
    """Hold a folder for what is measured of a model on pairs; None if none is named.

    Args:
        folder: that is held.
        model: that is measured.
        pairs: on which.
        edges: that are measured.
        direction: noising or denoising.
        metric: what is measured.
        max_memory: as asked for.
        memory: bytes that a first call may use; by default what `max_memory` gives.
        engine: the name of what measures.

    Raises:
        ValueError: if it keeps the effects of something else.
        FolderInUseError: if another process writes into it.
    """
    if folder is None:
        yield None
        return
    about = {"model": hash_of_model(model), "pairs": pairs.key, "edges": hash_of_edges(edges), "direction": direction}
    about |= {"metric": as_metric(metric).name, "max_memory": str(max_memory)}
    about |= {} if engine == "fast" else {"engine": engine}  # which gives other last bits
    try:  # `patch_each` and `prune` notice interrupts themselves; between them there is nothing to finish
        with noticing_interrupts(then=stop_at_once), only_writer(Path(folder)):
            yield begin(Path(folder), about, budget(max_memory, model) if memory is None else memory)
    except KeyboardInterrupt as error:
        if str(error):
            raise
        line = f"stopped; what is measured is kept in {folder}, the same call goes on"
        raise interrupt(line, signal_of(error)) from None


def hash_of_model(model: Model) -> str:
    """Of its weights and its settings."""
    cfg: Any = model.cfg
    settings = cfg.to_dict() if hasattr(cfg, "to_dict") else asdict(cfg)
    settings = {name: value for name, value in settings.items() if name not in ("device", "n_devices")}
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for name, values in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
        digest.update(tensor_bytes(values))
    return digest.hexdigest()[:12]


def tensor_bytes(values: Tensor) -> bytes:
    """A tensor's numbers as they lie in memory, row by row, of any dtype; for a digest."""
    return values.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()


def hash_of_edges(edges: Iterable[Edge]) -> str:
    """Of their names, in their order."""
    return hashlib.sha256("\n".join(map(str, edges)).encode()).hexdigest()[:12]


@dataclass
class Changes:
    """Changes of the metric by target and query, as far as they are measured; kept in a file if there is one.

    Attributes:
        deltas: m(patched) − m(base).
        done: by target and batch of queries.
        path: where they are kept.
        key: of the question.
    """

    deltas: Float[np.ndarray, "target query"]
    done: Bool[np.ndarray, "target batch"]
    path: Path | None = None
    key: str = ""
    saved_at: float = field(default_factory=time.perf_counter)
    wait: float = SAVE_EVERY

    @classmethod
    def of(cls, n_targets: int, batches: Sequence[Any], question: Question | None) -> "Changes":
        """Those that the question's folder keeps, or none yet."""
        shapes = (n_targets, sum(map(len, batches))), (n_targets, len(batches))
        path, key = (question.folder / EFFECTS, question.key) if question else (None, "")
        if path is None or not path.exists():
            return cls(np.zeros(shapes[0]), np.zeros(shapes[1], dtype=bool), path, key)
        found = _read(path, key)
        if (found["deltas"].shape, found["done"].shape) != shapes:
            raise FileError(f"{path}: its changes have another shape than is asked for; {_TO_DO}")
        return cls(found["deltas"], found["done"], path, key)

    def note(self, batch: int, places: Int[np.ndarray, " _"], rows: Int[np.ndarray, " _"], values: Any) -> None:
        """Add what was measured, and save it if that is due."""
        self.deltas[places[:, None], rows] = values
        self.done[places, batch] = True
        if time.perf_counter() - self.saved_at > self.wait:
            self.save()

    def save(self) -> None:
        """Write the file, if there is one."""
        if self.path is None:
            return
        start = time.perf_counter()
        plain = numpy.save({"deltas": self.deltas, "done": self.done})
        write_atomic(self.path, labelled(plain, EFFECTS_KIND, {"key": self.key}))
        self.saved_at = time.perf_counter()
        self.wait = max(SAVE_EVERY, (self.saved_at - start) / MOST_OF_TIME)

    def stopped(self, stop: Stop) -> KeyboardInterrupt:
        """Save, and say how far it came and how to go on."""
        self.save()
        n_targets, n_queries = self.deltas.shape
        far = f"patching: stopped with {self.done.mean():.0%} of {n_targets:,} effects on {n_queries:,} pairs measured"
        return stopped(stop, far, self.path)


def stopped(stop: Stop, far: str, path: Path | None) -> KeyboardInterrupt:
    """Says how far it came, where that is kept, if anywhere, and how to go on."""
    if path is None:
        return stop.interrupted(f"{far}; nothing is kept, since no folder was named by keep_in=")
    return stop.interrupted(f"{far}, kept in {path.parent}; the same call goes on")


def _read(path: Path, key: str) -> dict[str, np.ndarray]:
    """The tensors of a file of effects.

    Raises:
        FileError: if it is damaged, or of another question.
    """
    check_is_file(path)
    data = path.read_bytes()
    if metadata_of(data, EFFECTS_KIND, str(path)).get("key") != key:
        raise FileError(f"{path}: it is of another question than the {QUESTION} in its folder; {_TO_DO}")
    return tensors_of(data, numpy.load, str(path))
