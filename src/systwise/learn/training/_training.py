"""The one training loop: fixed-shape chunks of events stream through one compiled step."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from systwise.cases import AbstractCase, Progress
from systwise.compilation import keep_compiled_unless_declined
from systwise.errors import DataError
from systwise.events import AbstractFeed, Events, EventTable
from systwise.learn.training._checkpoints import Checkpoint, Checkpoints, Course
from systwise.learn.training._game import AbstractGame, Draw, make_batch
from systwise.learn.training._schedule import CHUNK_STEPS
from systwise.random import named_key

EVALUATION_BLOCK = 8192
EVALUATION_EVENTS = 65_536

BatchMaker = Callable[[AbstractCase, PyTree, Draw, Events, Key[Array, ""]], PyTree]
"""`maker(case, task, draw, events, key)` returns what a step sees of its events; pure JAX, and hashable."""


def train_chunk(
    game: AbstractGame,
    case: AbstractCase,
    task: PyTree,
    draw: Draw,
    players: PyTree,
    state: PyTree,
    events: Events,
    controls: Float[Array, "step control"],
    key: Key[Array, ""],
    batches: BatchMaker = make_batch,
) -> tuple[PyTree, PyTree, Float[Array, " step"]]:
    """Make `step` steps over `events`, whose arrays are `[step * batch, ...]`.

    Returns before the device is done, so that the next events can be gathered meanwhile.
    """
    arrays, static = eqx.partition(players, eqx.is_array)
    arrays, state, losses = _compiled_chunk(
        game, case, _Frozen.of(static), batches, task, draw, arrays, state, events, controls, key
    )
    return eqx.combine(arrays, static), state, losses


@dataclasses.dataclass(frozen=True)
class _Frozen:
    """What is no array in a tree, hashable: static under `jax.jit` (`eqx.filter_jit` waits for the device)."""

    leaves: tuple[Any, ...]
    structure: Any

    @classmethod
    def of(cls, static: PyTree) -> _Frozen:
        leaves, structure = jax.tree.flatten(static)
        return cls(tuple(leaves), structure)

    def joined_to(self, arrays: PyTree) -> PyTree:
        return eqx.combine(arrays, jax.tree.unflatten(self.structure, self.leaves))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _compiled_chunk(
    game: AbstractGame,
    case: AbstractCase,
    static: _Frozen,
    batches: BatchMaker,
    task: PyTree,
    draw: Draw,
    arrays: PyTree,
    state: PyTree,
    events: Events,
    controls: Float[Array, "step control"],
    key: Key[Array, ""],
) -> tuple[PyTree, PyTree, Float[Array, " step"]]:
    steps = controls.shape[0]
    parts = jax.tree.map(lambda a: a.reshape(steps, a.shape[0] // steps, *a.shape[1:]), events)

    def one(carry: tuple[PyTree, PyTree], step: tuple[Events, Array, Array]) -> tuple[tuple[PyTree, PyTree], Array]:
        events, controls, key = step
        made = functools.partial(batches, case, task, draw, events)
        players, state, loss = game.step(static.joined_to(carry[0]), carry[1], made, controls, key)
        return (eqx.filter(players, eqx.is_array), state), loss

    (arrays, state), losses = jax.lax.scan(one, (arrays, state), (parts, controls, jax.random.split(key, steps)))
    return arrays, state, losses


@functools.partial(jax.jit, static_argnums=(0, 1))
def _compiled_begin(game: AbstractGame, static: _Frozen, arrays: PyTree) -> PyTree:
    return game.begin(static.joined_to(arrays))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _compiled_batch(
    batches: BatchMaker, case: AbstractCase, task: PyTree, draw: Draw, events: Events, key: Key[Array, ""]
) -> PyTree:
    return batches(case, task, draw, events, key)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _compiled_score(
    game: AbstractGame, static: _Frozen, arrays: PyTree, batch: PyTree, controls: Float[Array, " control"]
) -> Float[Array, ""]:
    return game.score(static.joined_to(arrays), batch, controls)


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What a training needs besides the rules: the events, and where nuisances are drawn.

    Attributes:
        case: how nuisances move events.
        table: all events.
        task: what events weigh, as `batches` wants it.
        draw: nuisance values seen in training.
        training: events of the table to descend on.
        stopping: events of the table that decide when to stop.
        feed: all events to descend on, which are more than those in the table where that is a sample.
        batches: makes what a step of the game sees of its events.
        checkpoints: where the training is kept as it goes; None: nowhere.
    """

    case: AbstractCase
    table: EventTable
    task: PyTree
    draw: Draw
    training: np.ndarray
    stopping: np.ndarray
    feed: AbstractFeed
    batches: BatchMaker = make_batch
    checkpoints: Checkpoints | None = None

    def checkpoint(
        self, game: AbstractGame, players: PyTree, controls: np.ndarray, seed: int, words: tuple[str | int, ...]
    ) -> Checkpoint | None:
        """Return where this training is kept, None where nothing is."""
        if self.checkpoints is None:
            return None
        identity = {
            "game": [repr(game), repr(self.batches)],
            "case": [self.case.name, self.case.settings.model_dump(mode="json")],
            "data": self.table.fingerprint,
            "seed": seed,
            "words": words,
            "structure": str(jax.tree.structure(players)),
            "events": self.feed.count,
        }
        arrays = (players, self.task, self.draw, controls, self.training, self.stopping)
        return self.checkpoints.of("-".join(str(word) for word in words), identity, arrays)


@dataclasses.dataclass(frozen=True)
class History:
    """Losses of one training, one entry an evaluation.

    Attributes:
        step: steps made before the evaluation.
        training: mean loss of the steps since the evaluation before.
        validation: loss on the validation events.
        best: index of the evaluation whose network was kept.
    """

    step: np.ndarray
    training: np.ndarray
    validation: np.ndarray
    best: int


def train(
    game: AbstractGame,
    players: PyTree,
    lesson: Lesson,
    controls: Float[np.ndarray, "step control"],
    seed: int,
    words: tuple[str | int, ...],
    progress: Progress,
) -> tuple[PyTree, History]:
    """Train `players` and return those of the best evaluation.

    Where the lesson keeps checkpoints, a training that was interrupted goes on from the last one, to the bit.

    Events stream from the host in chunks of fixed shape, so memory does not grow with the table and
    nothing compiles twice for the same network.

    Args:
        game: the rules.
        players: networks at the start.
        lesson: events and nuisance draws.
        controls: what each step is told, learning rates among it; its length is the number of steps.
        seed: the study's seed.
        words: the name of this training's random stream.
        progress: told after each chunk.

    Raises:
        DataError: the loss is not finite, as with extreme weights or too high a learning rate, or a checkpoint is
            damaged.
    """
    keep_compiled_unless_declined()
    settings, batch = game.settings, game.settings.batch
    state = _begin(game, players)
    key = named_key(seed, *words)
    order = np.random.SeedSequence([int(v) for v in np.asarray(jax.random.key_data(jax.random.fold_in(key, 0)))])
    chunks = len(controls) // CHUNK_STEPS
    every = max(1, round(chunks / settings.evaluations))
    stopping = _validation_batches(lesson, named_key(seed, "validation"))
    validated = len(lesson.stopping[:EVALUATION_EVENTS])
    checkpoint = lesson.checkpoint(game, players, controls, seed, words)
    course = Course(players, state, players)
    if checkpoint is not None:
        course = checkpoint.load(course)
    stream = lesson.feed.chunks(CHUNK_STEPS * batch, order, skip=course.chunk)
    recent: list[Array] = []
    while course.chunk < chunks and not course.over:
        chunk = course.chunk
        events = next(stream)
        told = np.asarray(controls[chunk * CHUNK_STEPS : (chunk + 1) * CHUNK_STEPS], np.float32)
        course.players, course.state, losses = train_chunk(
            game,
            lesson.case,
            lesson.task,
            lesson.draw,
            course.players,
            course.state,
            events,
            jnp.asarray(told),
            jax.random.fold_in(key, chunk + 1),
            lesson.batches,
        )
        if recent:
            # One chunk ahead of the device and no more, else waiting events would pile up.
            recent[-1].block_until_ready()
        recent.append(losses)
        course.chunk += 1
        progress(str(words[0]), chunk + 1, chunks)
        if (chunk + 1) % every and chunk + 1 < chunks:
            continue
        training = float(np.mean([np.mean(np.asarray(r)) for r in recent]))
        recent = []
        validation = _validate(game, course.players, stopping, jnp.asarray(told[-1])) / validated
        if not (math.isfinite(training) and math.isfinite(validation)):
            raise DataError(
                f"training '{words[0]}' diverged after {(chunk + 1) * CHUNK_STEPS} steps (loss {training:g});"
                " lower training.learning_rate, or look for extreme weights"
            )
        course.rows.append(((chunk + 1) * CHUNK_STEPS, training, validation))
        if validation < course.best_loss or settings.patience is None:
            course.best, course.best_loss, course.kept, course.waited = (
                course.players,
                validation,
                len(course.rows) - 1,
                0,
            )
        else:
            course.waited += 1
        course.over = course.chunk == chunks or (settings.patience is not None and course.waited >= settings.patience)
        if checkpoint is not None:
            checkpoint.save(course)
    step, training_loss, validation_loss = (np.array(column) for column in zip(*course.rows, strict=True))
    progress(str(words[0]), chunks, chunks)
    return course.best, History(step, training_loss, validation_loss, course.kept)


def _begin(game: AbstractGame, players: PyTree) -> PyTree:
    """Return the optimiser state, made in one compiled call instead of one an array."""
    arrays, static = eqx.partition(players, eqx.is_array)
    return _compiled_begin(game, _Frozen.of(static), arrays)


def _validation_batches(lesson: Lesson, key: Key[Array, ""]) -> list[PyTree]:
    """Return the validation events, varied once: every evaluation sees the same nuisance draws."""
    blocks = lesson.table.blocks(lesson.stopping[:EVALUATION_EVENTS], EVALUATION_BLOCK)
    return [
        _compiled_batch(lesson.batches, lesson.case, lesson.task, lesson.draw, events, jax.random.fold_in(key, number))
        for number, (_, events) in enumerate(blocks)
    ]


def _validate(game: AbstractGame, players: PyTree, batches: list[PyTree], controls: Float[Array, " control"]) -> float:
    """Return the validation loss, summed over events."""
    arrays, static = eqx.partition(players, eqx.is_array)
    frozen = _Frozen.of(static)
    losses = [_compiled_score(game, frozen, arrays, batch, controls) for batch in batches]
    return sum(float(loss) for loss in losses) * EVALUATION_BLOCK
