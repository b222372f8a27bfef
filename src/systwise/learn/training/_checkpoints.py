"""Trainings that survive: where a training stands, written to disk as it goes, and taken up again to the bit.

A file is a line of JSON (what the training is, how far it came, a digest) and the arrays. Random numbers need
not be stored: each chunk of steps has a key of its own, and the order of the events follows from the seed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from systwise.atomic import write_atomically
from systwise.errors import DataError

FORMAT = "systwise/checkpoint/1"
SECONDS = 20.0
"""Time between two checkpoints of one training; its end is always written."""


@dataclasses.dataclass
class Course:
    """Where a training stands.

    Attributes:
        players: networks after `chunk` chunks.
        state: the optimisers'.
        best: networks of the best evaluation.
        best_loss: its validation loss.
        kept: its number.
        waited: evaluations since without improvement.
        rows: (steps, training loss, validation loss) of each evaluation.
        chunk: chunks of steps made.
        over: whether the training has ended.
    """

    players: PyTree
    state: PyTree
    best: PyTree
    best_loss: float = float("inf")
    kept: int = 0
    waited: int = 0
    rows: list[tuple[int, float, float]] = dataclasses.field(default_factory=list)
    chunk: int = 0
    over: bool = False

    @property
    def trees(self) -> tuple[PyTree, ...]:
        """What has to be kept: once the training is over the best networks only."""
        return (self.best,) if self.over else (self.best, self.players, self.state)


PLAIN = ("best_loss", "kept", "waited", "rows", "chunk", "over")


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """A folder of checkpoints.

    Attributes:
        folder: where they lie.
    """

    folder: Path

    def of(self, name: str, identity: Mapping[str, Any], arrays: PyTree) -> Checkpoint:
        """Return the checkpoint of one training.

        Args:
            name: for the file's name.
            identity: all that decides the training, as text or numbers.
            arrays: arrays that decide it, the fresh networks among them.
        """
        # Functions print with their address, which differs from process to process.
        text = re.sub(r" at 0x[0-9a-f]+", "", json.dumps(identity, sort_keys=True, default=str))
        digest = hashlib.sha256(text.encode())
        for leaf in jax.tree.leaves(eqx.filter(arrays, eqx.is_array_like)):
            array = np.asarray(leaf)
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        word = digest.hexdigest()
        return Checkpoint(self.folder / f"{name}-{word[:12]}.checkpoint", word)


@dataclasses.dataclass
class Checkpoint:
    """One training's file.

    Attributes:
        path: of the file.
        identity: digest of all that decides the training.
    """

    path: Path
    identity: str
    _written: float = dataclasses.field(default_factory=time.monotonic)

    def save(self, course: Course) -> None:
        """Write where the training stands, unless it was written just now and goes on."""
        now = time.monotonic()
        if not course.over and now - self._written < SECONDS:
            return
        self._written = now
        buffer = io.BytesIO()
        eqx.tree_serialise_leaves(buffer, eqx.filter(course.trees, eqx.is_array))
        payload = buffer.getvalue()
        header: dict[str, Any] = {"format": FORMAT, "identity": self.identity}
        header["digest"] = hashlib.sha256(payload).hexdigest()
        header["course"] = {name: getattr(course, name) for name in PLAIN}

        def write(file: Any) -> None:
            file.write(json.dumps(header).encode() + b"\n")
            file.write(payload)

        write_atomically(self.path, write)

    def load(self, fresh: Course) -> Course:
        """Return where an earlier run stopped, `fresh` where there was none.

        Args:
            fresh: the beginning of the same training.

        Raises:
            DataError: the file is damaged.
        """
        if not self.path.exists():
            return fresh
        with self.path.open("rb") as file:
            line, payload = file.readline(), file.read()
        try:
            header = json.loads(line)
            sound = header["format"] == FORMAT and header["digest"] == hashlib.sha256(payload).hexdigest()
            if not sound or header["identity"] != self.identity:
                raise ValueError("its contents do not match its first line")
            plain = {name: header["course"][name] for name in PLAIN}
            trees = dataclasses.replace(fresh, over=plain["over"]).trees
            arrays, static = eqx.partition(trees, eqx.is_array)
            loaded = eqx.combine(eqx.tree_deserialise_leaves(io.BytesIO(payload), arrays), static)
        except (ValueError, KeyError, TypeError, EOFError, RuntimeError) as error:
            raise DataError(
                f"{self.path}: checkpoint is damaged ({error}); delete this file, and its training starts afresh"
            ) from error
        plain["rows"] = [tuple(row) for row in plain["rows"]]
        best, players, state = loaded if len(loaded) == 3 else (loaded[0], fresh.players, fresh.state)
        return Course(players, state, best, **plain)
