"""HiggsML with a tau energy scale as a case."""

from __future__ import annotations

import functools
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp

from systwise.cases._case import CASES, AbstractCase, Progress, no_progress
from systwise.cases._study_defaults import StudyDefaults
from systwise.cases.higgsml._columns import COLUMN, FEATURES, UNDEFINED, unit
from systwise.cases.higgsml._load import CHECKSUM, URL, load_table
from systwise.cases.higgsml._settings import PAPER, QUICK, HiggsmlSettings
from systwise.cases.higgsml._transformation import THRESHOLD, TauEnergyScale
from systwise.events import AbstractVariation, Events, EventTable, fetch
from systwise.parameters import (
    AbstractConstraint,
    Components,
    GaussianConstraint,
    Nuisance,
    signal_strength,
    uniform_anchors,
)


@CASES.register
class Higgsml(AbstractCase):
    """Higgs to tau tau against Z, ttbar and W of the ATLAS challenge, the tau energy scale uncertain.

    The events are those of CERN Open Data record 328, the protocol that of arXiv:2105.08742.

    Derived features are recomputed from the primitive ones at every z, the nominal one included. At
    z = 1 they differ from the file's own columns, by up to 0.28 GeV in masses and momenta, since the
    file's momenta and angles are rounded to three decimals and its derived columns were computed
    before that. `DER_mass_MMC` cannot be recomputed and is left out: 29 features.

    The selection, `PRI_tau_pt > 22` GeV after the shift, sits above the file's own threshold of
    20 GeV, so yields follow z up to 22/20 = 1.1. Above, events are missing that a shift would have
    brought over the threshold, and the yields stay where they are: results there are the paper's
    convention (it goes to 1.14), not a simulation. An event exactly at the threshold is not kept.
    """

    name = "higgsml"
    summary = "real simulated events of the 2014 challenge, tau energy scale uncertain (arXiv:2105.08742)"
    order = 2
    settings_class = HiggsmlSettings
    presets = {"paper": PAPER, "quick": QUICK}
    settings: HiggsmlSettings

    @property
    def features(self) -> tuple[str, ...]:
        """The file's features without `DER_mass_MMC`."""
        return FEATURES

    @property
    def components(self) -> Components:
        """Signal and background with coefficients (mu, 1)."""
        return signal_strength()

    @functools.cached_property
    def nuisances(self) -> tuple[Nuisance, ...]:
        """The tau energy scale, nominal 1."""
        s = self.settings
        return (
            Nuisance(
                name="tes",
                nominal=1.0,
                range=s.tes_range,
                training=s.tes_training,
                anchors=tuple(round(z, 9) for z in uniform_anchors(*s.tes_range, s.anchors)),
                label="tau energy scale $z$",
            ),
        )

    @functools.cached_property
    def constraints(self) -> tuple[AbstractConstraint, ...]:
        """A Gaussian around the nominal scale."""
        return (GaussianConstraint("tes", self.settings.tes_width),)

    @functools.cached_property
    def variations(self) -> tuple[AbstractVariation, ...]:
        """The scaling of the tau's momentum."""
        return (TauEnergyScale("tes"),)

    @property
    def defaults(self) -> StudyDefaults:
        """The paper's test points, bins and grid."""
        return StudyDefaults(
            true=({"tes": 1.0}, {"tes": 0.8}, {"tes": 1.1}),
            uniform_bins=30,
            optimised_bins=30,
            shown=(0.9, 1.0, 1.1),
            paper_grid=tuple(round(0.80 + 0.01 * step, 2) for step in range(35)),
        )

    def label(self, feature: str) -> str:
        """Return the feature's name and unit."""
        return f"{feature} [{unit(feature)}]" if unit(feature) else feature

    @property
    def undefined(self) -> float:
        """The file's mark of a quantity that an event does not have, -999."""
        return UNDEFINED

    def select(self, events: Events) -> Events:
        """Set the weights of events with `PRI_tau_pt <= 22` GeV to zero."""
        kept = events.features[:, COLUMN["PRI_tau_pt"]] > THRESHOLD
        return eqx.tree_at(lambda e: e.weights, events, jnp.where(kept[:, None], events.weights, 0))

    def load(self, seed: int, progress: Progress = no_progress) -> EventTable:
        """Read the events of `data`, or of the downloaded file; `seed` plays no part.

        Raises:
            DataError: the file is missing, cannot be downloaded or is unusable.
        """
        s = self.settings
        path = s.data
        if path is None:
            path = fetch(URL, CHECKSUM, progress, "fetch it by other means and give its path as case.data=PATH")
        return load_table(Path(path), (s.signal, s.background), progress)
