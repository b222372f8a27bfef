"""How long a training lasts and how fast it learns."""

from __future__ import annotations

import math

import numpy as np

from systwise.learn.training._game import TrainingSettings

CHUNK_STEPS = 32
"""Steps a compiled call; every training lasts a multiple of it."""


def count_steps(settings: TrainingSettings, events: int) -> int:
    """Return the number of steps, a multiple of the chunk length."""
    steps = max(settings.passes * events / settings.batch, settings.minimum_steps)
    return CHUNK_STEPS * max(1, math.ceil(steps / CHUNK_STEPS))


def learning_rates(settings: TrainingSettings, steps: int) -> np.ndarray:
    """Return the learning rate of every step, `[step]`."""
    warm = round(settings.warmup * steps)
    t = np.arange(steps)
    ramp = np.minimum(1.0, (t + 1) / max(warm, 1))
    fall = 0.5 * (1 + np.cos(np.pi * np.clip((t - warm) / max(steps - warm, 1), 0, 1)))
    return settings.learning_rate * ramp * (fall if settings.schedule == "cosine" else 1.0)
