"""What saved density ratios are made of, so that they can be read without training any like them first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from systwise.errors import DataError
from systwise.learn.networks._structure import empty_layers, empty_scaler, layers_of, scaler_of
from systwise.learn.ratios._calibrator import fresh_calibrator
from systwise.learn.ratios._network import PolynomialRatio
from systwise.learn.ratios._ratio import RatioObservable
from systwise.parameters import ChebyshevBasis

KIND = "ratios"
"""Their name in a saved structure."""


def ratio_structure(observable: RatioObservable) -> dict[str, Any] | None:
    """Return the structure of learned ratios as plain values; None where they are no polynomials in the nuisances."""
    network = observable.networks
    if not isinstance(network, PolynomialRatio):
        return None
    return {
        "kind": KIND,
        "scaler": scaler_of(network.scaler),
        "mlp": layers_of(network.mlp),
        "exponents": [list(row) for row in network.basis.exponents],
        "wide": [list(row) for row in observable.basis.exponents],
        "components": network.components,
        "members": observable.members,
        "points": len(observable.points),
        "calibrated": observable.calibrator is not None,
    }


def ratios_like(structure: Mapping[str, Any], folds: int) -> RatioObservable:
    """Return ratios of a structure with all numbers zero, into which arrays can be read.

    Raises:
        DataError: the structure cannot be read.
    """
    try:
        components, members, features = structure["components"], structure["members"], structure["scaler"]["size"]
        basis, wide = _basis(structure["exponents"]), _basis(structure["wide"])
        linear = jnp.zeros((components * basis.terms, features), jnp.float32)
        scaler, mlp = empty_scaler(structure["scaler"]), empty_layers(structure["mlp"])
        network = PolynomialRatio(scaler=scaler, linear=linear, mlp=mlp, basis=basis, components=components)
        calibrated, points = structure["calibrated"], structure["points"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"saved ratios: their structure cannot be read ({error}); train them again") from None
    nuisances = len(wide.exponents[0])
    return RatioObservable(
        networks=jax.tree.map(
            lambda leaf: jnp.zeros((folds, members, *leaf.shape), leaf.dtype) if eqx.is_array(leaf) else leaf, network
        ),
        basis=wide,
        shift=jnp.zeros((folds, components, wide.terms), jnp.float32),
        calibrator=fresh_calibrator(np.zeros(nuisances), folds, components, wide.terms) if calibrated else None,
        points=jnp.zeros((points, nuisances), jnp.float32),
        log_fractions=jnp.zeros(components, jnp.float32),
        folds=folds,
        members=members,
        moving=True,
    )


def _basis(exponents: list[list[int]]) -> ChebyshevBasis:
    zeros = jnp.zeros(len(exponents[0]), jnp.float32)
    return ChebyshevBasis(zeros, zeros, tuple(tuple(row) for row in exponents))
