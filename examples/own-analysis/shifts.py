"""How the tau energy scale moves events: a function of columns and nuisance value, in JAX."""

import jax.numpy as jnp


def tau_energy_scale(columns, z):
    """Return what changes at scale `z` (1 is nominal); columns and `z` have one entry an event."""
    return {"tau_pt": columns["tau_pt"] * z, "mass": columns["mass"] * jnp.sqrt(z)}
