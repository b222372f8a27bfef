"""The known optimum of a case, where there is one."""

from __future__ import annotations

import abc

import numpy as np
from jaxtyping import Array, Float


class AbstractTruth(abc.ABC):
    """The known optimum of a problem whose densities can be written down."""

    @abc.abstractmethod
    def log_density(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, "event component"]:
        """Return `ln p_k(x|z)`, normalised densities of the components; pure JAX."""

    @abc.abstractmethod
    def logit(
        self, features: Float[Array, "event feature"], z: Float[Array, "event nuisance"]
    ) -> Float[Array, " event"]:
        """Return ln of the density ratio of the first component to all others at nuisance values `z`.

        The others are weighted by their nominal yields; with two components this is
        `ln p_0(x|z) - ln p_1(x|z)`.
        """

    @abc.abstractmethod
    def bound(self, poi: Float[np.ndarray, " poi"], z: Float[np.ndarray, " nuisance"]) -> tuple[float, float]:
        """Return the Cramér-Rao bounds on the first parameter of interest: (profiled, nuisances known)."""
