"""Shifted events as a file, for users who need files."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from systwise.cases import AbstractCase, Progress
from systwise.errors import ConfigError
from systwise.events import check_events, write_varied_table


def write_varied(
    case: AbstractCase, values: dict[str, float], path: Path, seed: int, progress: Progress
) -> tuple[int, int]:
    """Write all events of `case` at the nuisance `values` and return (kept, all).

    Args:
        case: where the events come from and how nuisances move them.
        values: nuisance values by name, nominal where not given.
        path: the parquet file; it appears complete or not at all.
        seed: seed of generated events.
        progress: told about reading and writing.

    Raises:
        ConfigError: a nuisance is unknown or its value out of range.
    """
    known = {nuisance.name: nuisance for nuisance in case.nuisances}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"case '{case.name}' has no nuisance '{name}' (known: {', '.join(known)})")
        known[name].check(value)
    z = np.array([values.get(name, nuisance.nominal) for name, nuisance in known.items()])
    table = case.load(seed, progress)
    check_events(table)
    words = {f"nuisance.{name}": repr(float(value)) for name, value in zip(known, z, strict=True)}
    point = jnp.asarray(z, jnp.float32)
    write_varied_table(path, table, lambda events: case.vary(events, point), words, progress)
    kept = pq.read_table(path, columns=["kept"])["kept"]
    return int(pc.sum(kept).as_py() or 0), len(table)
