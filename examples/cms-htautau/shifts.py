"""How the energy scale of the tau moves what is measured of an event."""

import jax.numpy as jnp

SIZE = 0.03
"""Relative change of the tau's momentum at one standard deviation."""


def tau_energy_scale(columns, z):
    """Return what changes when the tau's four-momentum is scaled by `1 + 0.03 z`; the missing momentum balances it.

    Differences to the given values are added, so that nothing changes at z = 0, whatever the rounding.
    """
    scale = 1 + SIZE * z
    old, new = _derived(columns, 1.0), _derived(columns, scale)
    moved = {name: columns[name] + (new[name] - old[name]) for name in old}
    return {**moved, "pt_2": columns["pt_2"] * scale, "m_2": columns["m_2"] * scale}


def _derived(columns, scale):
    """Return all that follows from a tau scaled by `scale`."""
    pt_2, m_2 = columns["pt_2"] * scale, columns["m_2"] * scale
    more = columns["pt_2"] * (scale - 1)
    met_x = columns["pt_met"] * jnp.cos(columns["phi_met"]) - more * jnp.cos(columns["phi_2"])
    met_y = columns["pt_met"] * jnp.sin(columns["phi_met"]) - more * jnp.sin(columns["phi_2"])
    pt_met = jnp.sqrt(met_x**2 + met_y**2)
    phi_met = jnp.arctan2(met_y, met_x)
    x, y, z, energy = (
        a + b
        for a, b in zip(
            _momentum(columns["pt_1"], columns["eta_1"], columns["phi_1"], columns["m_1"]),
            _momentum(pt_2, columns["eta_2"], columns["phi_2"], m_2),
            strict=True,
        )
    )
    return {
        "pt_met": pt_met,
        "m_vis": jnp.sqrt(jnp.maximum(energy**2 - x**2 - y**2 - z**2, 0)),
        "pt_vis": jnp.sqrt(x**2 + y**2),
        "mt_1": _transverse(columns["pt_1"], columns["phi_1"], pt_met, phi_met),
        "mt_2": _transverse(pt_2, columns["phi_2"], pt_met, phi_met),
    }


def _momentum(pt, eta, phi, mass):
    x, y, z = pt * jnp.cos(phi), pt * jnp.sin(phi), pt * jnp.sinh(eta)
    return x, y, z, jnp.sqrt(x**2 + y**2 + z**2 + mass**2)


def _transverse(pt, phi, pt_met, phi_met):
    return jnp.sqrt(jnp.maximum(2 * pt * pt_met * (1 - jnp.cos(phi - phi_met)), 0))
