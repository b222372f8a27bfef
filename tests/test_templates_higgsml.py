"""The chain from real events to templates, with the few events of the HiggsML piece."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from systwise.cases.higgsml import Higgsml, HiggsmlSettings
from systwise.events import uniform_hash
from systwise.learn import AbstractObservable
from systwise.templates import (
    anchor_pairs,
    auc,
    build_templates,
    effective_counts,
    merge_sparse,
    optimised_edges,
    score,
    uniform_edges,
    yields,
)

# Signal and background yields at z (statistics of the 22,889-event piece, rescaled to the full file).
YIELDS = {0.8: (568.1, 189_525), 0.9: (622.9, 253_058), 1.0: (662.5, 328_265), 1.1: (692.0, 410_946)}


class MassAndMomentum(AbstractObservable):
    """A score by hand: near a visible mass of 90 GeV and high in the tau's momentum; one network a fold."""

    scales: Array
    mass: int = eqx.field(static=True)
    momentum: int = eqx.field(static=True)
    moving: bool = eqx.field(static=True)
    folds: int = eqx.field(static=True)

    def output(self, events, z, fold):
        mass, momentum = events.features[:, self.mass], events.features[:, self.momentum]
        return self.scales[fold] * (momentum / z[:, 0] - 40) / 20 - jnp.abs(mass - 90) / 30


@pytest.fixture(scope="module")
def case(higgsml_path):
    return Higgsml(HiggsmlSettings(data=higgsml_path))


@pytest.fixture(scope="module")
def events(case):
    return case.load(0)


def test_yields_of_the_real_events(case, events):
    found = yields(case, events, np.arange(len(events)), np.array([[z] for z in YIELDS]))
    np.testing.assert_allclose(found, list(YIELDS.values()), rtol=2e-4)


def test_real_events_make_templates(case, events):
    index = [case.features.index(name) for name in ("DER_mass_vis", "PRI_tau_pt")]
    observable = MassAndMomentum(True, 5, jnp.linspace(0.9, 1.1, 5), *index)
    drawn = uniform_hash(events.id, "test")
    fold_of = np.floor(5 * drawn).astype(np.int8)
    own = np.floor(50 * drawn).astype(int) % 10 < 6
    true = ({}, {case.nuisances[0].name: 0.9})
    pairs = anchor_pairs(case.nuisances, true, moving=True)
    totals = yields(case, events, np.arange(len(events)), pairs.z_true)
    binning, scored = (
        score(observable, case, events, np.flatnonzero(part), fold_of, pairs).scaled_to(totals) for part in (~own, own)
    )
    np.testing.assert_allclose(scored.totals, totals, rtol=1e-12)
    assert 0.6 < auc(scored, 0, case.components) < 0.9
    edges = optimised_edges(binning, case.components, case.nuisances, case.constraints, 10)
    assert 5 <= len(edges) - 1 <= 10
    templates = build_templates(scored, edges, case.components, case.nuisances, true_points=true, moving=True)
    effective = effective_counts(templates.counts[0], templates.variances[0], case.components)
    assert effective.min() > 20
    # The data at z = 0.9 under the hypothesis 0.9 is the template there.
    anchors = templates.anchors[0]
    at = int(np.argmin(np.abs(anchors - 0.9)))
    assert anchors[at] == pytest.approx(0.9)
    np.testing.assert_array_equal(templates.at_true[1][0][at], templates.truth[1])
    np.testing.assert_array_equal(templates.counts[0][at], templates.truth[1])
    sparse, warning = merge_sparse(uniform_edges(30), scored, case.components, case.nuisances, 10)
    assert warning is None or len(sparse) - 1 < 30
    build_templates(scored, sparse, case.components, case.nuisances)
