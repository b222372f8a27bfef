"""How the tau energy scale moves events: a function of columns and nuisance value, in JAX."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def tau_energy_scale(columns: dict[str, Array], z: Array) -> dict[str, Array]:
    """Return what changes at scale `z` (1 is nominal); columns and `z` have one entry an event."""
    return {"tau_pt": columns["tau_pt"] * z, "mass": columns["mass"] * jnp.sqrt(z)}
