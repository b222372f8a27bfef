"""The unbinned extended likelihood with exact densities, in float64: the referee of learned fits.

`NLL = sum_k c_k Y_k f_k(z) - sum_i ln sum_k c_k Y_k f_k(z) p_k(x_i|z) + constraints`, with nominal yields
Y_k, coefficients c_k(theta) and normalisation factors f_k(z). Yields must not depend on the nuisances but
through normalisations, which holds where nothing is selected.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from iminuit import Minuit

from systwise.precision import in_float64

BLOCK = 4096


def _nll(case, yields, features, live, theta, z, auxiliary):
    components = case.components
    counts = components.coefficients(theta) * yields
    names = [nuisance.name for nuisance in case.nuisances]
    for normalisation in case.normalisations:
        factor = normalisation.factor(z[names.index(normalisation.nuisance)])
        scaled = jnp.array([name in normalisation.components for name in components.names])
        counts = jnp.where(scaled, counts * factor, counts)
    log_densities = case.truth.log_density(features, jnp.broadcast_to(z, (len(features), len(z))))
    # The largest density is taken out: every term of the sum may be far below the smallest double.
    top = jnp.max(log_densities, axis=1)
    density = jnp.sum(counts * jnp.exp(log_densities - top[:, None]), axis=1)
    logs = jnp.where(density > 0, jnp.log(jnp.where(density > 0, density, 1.0)), -jnp.inf)
    constraints = sum(
        (c.nll(value, datum) for c, value, datum in zip(case.constraints, z, auxiliary, strict=True)), jnp.zeros(())
    )
    return jnp.sum(counts) - jnp.sum(jnp.where(live, logs + top, 0.0)) + constraints


_jitted = jax.jit(_nll, static_argnums=0)
_varied = jax.jit(lambda case, events, z: case.vary(events, z).features, static_argnums=0)
_with_slopes = jax.jit(
    jax.value_and_grad(lambda p, case, y, x, live, a, pois: _nll(case, y, x, live, p[:pois], p[pois:], a)),
    static_argnums=(1, 6),
)


def _filled(features):
    """Return float64 features filled up to whole blocks, so that few shapes compile, and which are real."""
    features = np.asarray(features, np.float64)
    missing = -len(features) % BLOCK
    live = np.arange(len(features) + missing) < len(features)
    return np.concatenate([features, np.zeros((missing, features.shape[1]))]), live


def _doubles(auxiliary):
    return [np.asarray(datum, np.float64) for datum in auxiliary]


@in_float64
def exact_nll(case, yields, features, theta, z, auxiliary):
    """Return the exact NLL, without terms that depend on nothing.

    `yields` `[component]` at nominal parameters of interest' coefficients 1, `features` `[event, feature]`,
    `theta` `[poi]`, `z` `[nuisance]`, `auxiliary` one array a nuisance.
    """
    yields, theta, z = (np.asarray(a, np.float64) for a in (yields, theta, z))
    return float(_jitted(case, yields, *_filled(features), theta, z, _doubles(auxiliary)))


@dataclasses.dataclass(frozen=True)
class ExactFit:
    """Estimates and errors by parameter name; `interval` is that of the first one (NLL up by 0.5)."""

    values: dict[str, float]
    errors: dict[str, float]
    interval: tuple[float, float]
    nll: float
    valid: bool

    @property
    def sigma(self):
        return (self.interval[1] - self.interval[0]) / 2


def exact_fit(case, yields, features, auxiliary, start):
    """Minimise the exact NLL with iminuit from `start` `{name: value}`; MINOS on the first parameter."""
    pois = len(case.components.pois)
    names = [*case.components.pois, *(nuisance.name for nuisance in case.nuisances)]

    given = (np.asarray(yields, np.float64), *_filled(features), _doubles(auxiliary))

    @in_float64
    def value_and_slopes(parameters):
        value, slopes = _with_slopes(np.asarray(parameters, np.float64), case, *given, pois)
        return float(value), np.asarray(slopes)

    minuit = Minuit(
        lambda p: value_and_slopes(p)[0],
        [start[name] for name in names],
        name=names,
        grad=lambda p: value_and_slopes(p)[1],
    )
    minuit.errordef = Minuit.LIKELIHOOD
    minuit.limits = [*case.components.ranges, *(nuisance.range for nuisance in case.nuisances)]
    minuit.migrad()
    minuit.minos(names[0])
    first = minuit.merrors[names[0]]
    values = dict(zip(names, minuit.values, strict=True))
    return ExactFit(
        values,
        dict(zip(names, minuit.errors, strict=True)),
        (values[names[0]] + first.lower, values[names[0]] + first.upper),
        float(minuit.fval),
        bool(minuit.valid and first.is_valid),
    )


@in_float64
def pseudo_experiment(case, yields, seed, point):
    """Draw data and auxiliary data at `point` `{name: value}`; return features and auxiliary data.

    Counts are Poisson, events come from `case.sample` and are moved by `case.vary`; constraint centres
    are drawn around the true nuisances.
    """
    theta = np.array([point[name] for name in case.components.pois])
    z = np.array([point[nuisance.name] for nuisance in case.nuisances])
    expected = np.asarray(case.components.coefficients(jnp.asarray(theta))) * yields
    for normalisation in case.normalisations:
        scaled = np.array([name in normalisation.components for name in case.components.names])
        expected = expected * np.where(
            scaled, float(normalisation.factor(jnp.asarray(point[normalisation.nuisance]))), 1
        )
    counts = np.random.default_rng([seed, 1]).poisson(expected)
    table = case.sample(seed, counts.tolist())
    parts = [
        np.asarray(_varied(case, events, z), np.float64)[: len(rows)]
        for rows, events in table.blocks(np.arange(len(table)), BLOCK)
    ]
    features = np.concatenate(parts)
    auxiliary = [
        np.asarray(constraint.draw(jax.random.fold_in(jax.random.key(seed), j), jnp.asarray(value)))
        for j, (constraint, value) in enumerate(zip(case.constraints, z, strict=True))
    ]
    return features, auxiliary
