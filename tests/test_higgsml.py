"""The tau energy scale against an independent float64 computation, and the yields that follow it."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from systwise.cases import CASES
from systwise.cases.higgsml import FEATURES, PROCESSES, UNDEFINED, Higgsml, HiggsmlSettings, recover_process, scale_tau
from systwise.events import Events, EventTable

SCALES = (0.8, 0.9, 1.0, 1.1)
COUNTS = {0.8: 14_538, 0.9: 17_306, 1.0: 20_089, 1.1: 22_887}
scaled = jax.jit(scale_tau)
YIELDS = {0.8: (568.1, 189_525), 0.9: (622.9, 253_058), 1.0: (662.5, 328_265), 1.1: (692.0, 410_946)}


def four_vector(pt: np.ndarray, eta: np.ndarray, phi: np.ndarray, mass: float = 0.0) -> np.ndarray:
    """Return (E, px, py, pz) in float64."""
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    return np.array([np.sqrt(px**2 + py**2 + pz**2 + mass**2), px, py, pz])


def mass(vector: np.ndarray) -> np.ndarray:
    """Return the invariant mass."""
    return np.sqrt(np.maximum(vector[0] ** 2 - (vector[1:] ** 2).sum(axis=0), 0))


def textbook(columns: dict[str, np.ndarray], z: float) -> dict[str, np.ndarray]:
    """Return the shifted columns from textbook formulas: four-vectors and their components, no tricks."""
    c = {name: np.asarray(values, np.float64) for name, values in columns.items()}
    tau = four_vector(z * c["PRI_tau_pt"], c["PRI_tau_eta"], c["PRI_tau_phi"], 0.8)
    lep = four_vector(c["PRI_lep_pt"], c["PRI_lep_eta"], c["PRI_lep_phi"])
    met_x = c["PRI_met"] * np.cos(c["PRI_met_phi"]) + (1 - z) / z * tau[1]
    met_y = c["PRI_met"] * np.sin(c["PRI_met_phi"]) + (1 - z) / z * tau[2]
    met, met_phi = np.hypot(met_x, met_y), np.arctan2(met_y, met_x)

    number = c["PRI_jet_num"]
    sum_x, sum_y = tau[1] + lep[1] + met_x, tau[2] + lep[2] + met_y
    pt_h = np.hypot(sum_x, sum_y)
    for least, jet in ((1, "leading"), (2, "subleading")):
        exists, pt, phi = number >= least, c[f"PRI_jet_{jet}_pt"], c[f"PRI_jet_{jet}_phi"]
        sum_x, sum_y = sum_x + exists * pt * np.cos(phi), sum_y + exists * pt * np.sin(phi)

    a = np.sin(met_phi - c["PRI_lep_phi"])
    b = np.sin(c["PRI_tau_phi"] - met_phi)
    orientation = np.sign(np.sin(c["PRI_tau_phi"] - c["PRI_lep_phi"]))
    length = np.hypot(a * orientation, b * orientation)
    dphi = np.abs(c["PRI_tau_phi"] - c["PRI_lep_phi"])
    dphi = np.where(dphi > np.pi, 2 * np.pi - dphi, dphi)
    eta1, eta2 = c["PRI_jet_leading_eta"], c["PRI_jet_subleading_eta"]
    between = np.divide(c["PRI_lep_eta"] - (eta1 + eta2) / 2, eta1 - eta2, where=eta1 != eta2, out=np.full_like(a, 1e9))

    out = dict(c)
    out["PRI_tau_pt"] = z * c["PRI_tau_pt"]
    out["PRI_met"], out["PRI_met_phi"] = met, met_phi
    out["DER_mass_transverse_met_lep"] = np.sqrt(
        np.maximum((c["PRI_lep_pt"] + met) ** 2 - (lep[1] + met_x) ** 2 - (lep[2] + met_y) ** 2, 0)
    )
    out["DER_mass_vis"] = mass(tau + lep)
    out["DER_pt_h"], out["DER_pt_tot"] = pt_h, np.hypot(sum_x, sum_y)
    out["DER_deltar_tau_lep"] = np.hypot(c["PRI_tau_eta"] - c["PRI_lep_eta"], dphi)
    out["DER_sum_pt"] = c["PRI_lep_pt"] + out["PRI_tau_pt"] + c["PRI_jet_all_pt"]
    out["DER_pt_ratio_lep_tau"] = c["PRI_lep_pt"] / out["PRI_tau_pt"]
    out["DER_met_phi_centrality"] = np.where(length > 0, orientation * (a + b) / np.where(length > 0, length, 1), 0)
    out["DER_lep_eta_centrality"] = np.where(number >= 2, np.exp(-4 * between**2), UNDEFINED)
    return out


@pytest.fixture(scope="module")
def case(higgsml_path: Path) -> Higgsml:
    """The case on the real file."""
    return Higgsml(HiggsmlSettings(data=higgsml_path))


@pytest.fixture(scope="module")
def table(case: Higgsml) -> EventTable:
    """Real events."""
    return case.load(0)


@pytest.fixture(scope="module")
def vary(case: Higgsml):
    """The jitted variation."""
    return jax.jit(case.vary)


@pytest.fixture(scope="module")
def raw(higgsml_path: Path) -> dict[str, np.ndarray]:
    """The file's columns as they are."""
    import pyarrow.parquet as pq

    columns = pq.read_table(higgsml_path, columns=list(FEATURES))
    return {name: columns[name].to_numpy() for name in FEATURES}


def varied(table: EventTable, vary, z: float) -> Events:
    """Return all events at `z`."""
    return jax.device_get(vary(table.slice(slice(None)), jnp.array([z], jnp.float32)))


@pytest.mark.parametrize("z", SCALES)
def test_agrees_with_textbook_formulas(table, vary, raw, z):
    """Every feature of every kept event agrees to 1e-3 (GeV, radians modulo 2 pi, or pure numbers).

    The centrality of the missing momentum jumps where tau, lepton and missing momentum lie on one line;
    there the last digit of an angle decides. That rule would set aside events where both sines are
    below 1e-3: no kept event of the file is among them, and none is set aside.
    """
    result, truth = varied(table, vary, z), textbook(raw, z)
    kept = result.weights.any(axis=1)
    assert kept.sum() == COUNTS[z]
    np.testing.assert_array_equal(kept, truth["PRI_tau_pt"] > 22 + 1e-9)
    lep, tau, met = (truth[f"PRI_{name}_phi"][kept] for name in ("lep", "tau", "met"))
    assert not np.any(np.hypot(np.sin(met - lep), np.sin(tau - met)) < 1e-3)
    for index, name in enumerate(FEATURES):
        got, expected = result.features[kept, index].astype(np.float64), truth[name][kept]
        difference = np.abs(got - expected)
        if name.endswith("_phi"):
            difference = np.abs((got - expected + np.pi) % (2 * np.pi) - np.pi)
        assert difference.max() < 1e-3, f"{name} differs by {difference.max():.2g}"
        assert np.array_equal(got == UNDEFINED, expected == UNDEFINED), name


@pytest.mark.parametrize("z", SCALES)
def test_yields_follow_the_scale(table, vary, z):
    """The class factors are fixed before the cut, so that rates move with z."""
    weights = varied(table, vary, z).weights.astype(np.float64).sum(axis=0)
    assert weights[0] == pytest.approx(YIELDS[z][0], abs=0.051)
    assert weights[1] == pytest.approx(YIELDS[z][1], abs=0.51)


def test_nominal_point_differs_from_the_file_by_its_rounding(table, vary, raw):
    """At z = 1 derived columns move by at most 0.28 GeV; primitive columns by nothing."""
    result = varied(table, vary, 1.0).features
    for name in ("DER_mass_transverse_met_lep", "DER_mass_vis", "DER_pt_h", "DER_pt_tot"):
        difference = np.abs(result[:, FEATURES.index(name)] - raw[name]).max()
        assert 0 < difference < 0.285, name
    for name in (n for n in FEATURES if n.startswith("PRI_") and n not in ("PRI_met", "PRI_met_phi")):
        np.testing.assert_array_equal(result[:, FEATURES.index(name)], raw[name].astype(np.float32))
    np.testing.assert_allclose(result[:, FEATURES.index("PRI_met")], raw["PRI_met"], rtol=1e-6, atol=1e-5)


def test_each_event_may_have_its_own_scale(table, vary):
    """A value an event gives what the same value for all gives."""
    index = np.arange(2000)
    values = np.float32(SCALES)[index % 4][:, None]
    events = table.slice(index)
    mixed = jax.device_get(vary(events, jnp.asarray(values)))
    for z in SCALES:
        alone = jax.device_get(vary(events, jnp.full_like(values, z)))
        rows = index[values[:, 0] == np.float32(z)]
        np.testing.assert_array_equal(mixed.features[rows], alone.features[rows])
        np.testing.assert_array_equal(mixed.weights[rows], alone.weights[rows])


def test_derivative_in_the_scale(table):
    """The Jacobian-vector product is finite everywhere and equals a float64 difference quotient."""
    features = jnp.asarray(table.features)
    z = jnp.ones(len(table), jnp.float32)
    _, slope = jax.jit(lambda z: jax.jvp(lambda v: scale_tau(features, v), (z,), (jnp.ones_like(z),)))(z)
    slope = np.asarray(slope)
    assert np.isfinite(slope).all()
    columns = {name: table.features[:, index] for index, name in enumerate(FEATURES)}
    step = 1e-6
    up, down = textbook(columns, 1 + step), textbook(columns, 1 - step)
    for name in ("PRI_tau_pt", "PRI_met", "DER_mass_vis", "DER_sum_pt", "DER_pt_ratio_lep_tau", "DER_pt_h"):
        expected = (up[name] - down[name]) / (2 * step)
        np.testing.assert_allclose(slope[:, FEATURES.index(name)], expected, rtol=1e-3, atol=0.02, err_msg=name)


def synthetic(**changes: float) -> jnp.ndarray:
    """Return one event without jets as a feature array, some columns changed."""
    values: dict[str, float] = dict.fromkeys(FEATURES, UNDEFINED)
    values |= {"PRI_tau_pt": 40.0, "PRI_tau_eta": 0.5, "PRI_tau_phi": 1.0, "PRI_lep_pt": 30.0, "PRI_lep_eta": -0.5}
    values |= {"PRI_lep_phi": -1.0, "PRI_met": 10.0, "PRI_met_phi": 2.0, "PRI_jet_num": 0.0, "PRI_jet_all_pt": 0.0}
    return jnp.asarray(np.array([[(values | changes)[name] for name in FEATURES]], np.float32))


DEGENERATE = {
    "no missing momentum": {"PRI_met": 0.0},
    "tau along lepton": {"PRI_tau_phi": -1.0},
    "tau on lepton": {"PRI_tau_phi": -1.0, "PRI_tau_eta": -0.5},
    "missing momentum along lepton": {"PRI_met_phi": -1.0},
    "missing momentum against lepton": {"PRI_met_phi": -1.0 + np.pi},
    "all on one line": {"PRI_tau_phi": -1.0, "PRI_met_phi": -1.0},
}


def test_degenerate_events_have_finite_values_and_gradients():
    """Zero denominators and roots give numbers, and so do derivatives forwards in z and backwards in all."""
    features = jnp.concatenate([synthetic(**changes) for changes in DEGENERATE.values()])

    @jax.jit
    def evaluate(z):
        values, slope = jax.jvp(lambda v: scale_tau(features, v), (z,), (jnp.ones_like(z),))
        backwards = jax.grad(lambda x, v: scale_tau(x, v).sum(), argnums=(0, 1))(features, z)
        return values, slope, *backwards

    for z in (1.0, 0.8):
        for part in evaluate(jnp.full(len(features), z)):
            bad = ~np.isfinite(part).reshape(len(DEGENERATE), -1).all(axis=1)
            assert not bad.any(), f"{np.array(list(DEGENERATE))[bad]} at z = {z}"


def test_undefined_stays_and_nothing_else_moves():
    """An event without jets keeps -999, and columns that z cannot reach are returned to the bit."""
    before, after = synthetic(), scaled(synthetic(), jnp.array([0.9], jnp.float32))
    moved = {FEATURES[i] for i in np.flatnonzero(np.asarray(before != after)[0])}
    assert moved == {
        "DER_mass_transverse_met_lep",
        "DER_mass_vis",
        "DER_sum_pt",
        "DER_pt_ratio_lep_tau",
        "DER_met_phi_centrality",
        "PRI_tau_pt",
        "PRI_met",
        "PRI_met_phi",
    }


def test_scaling_there_and_back_is_the_identity():
    """z and then 1/z return the event: the missing momentum has recoiled and come back."""
    start = scaled(synthetic(), jnp.ones(1))
    there = scaled(start, jnp.array([0.8], jnp.float32))
    back = scaled(there, jnp.array([1.25], jnp.float32))
    np.testing.assert_allclose(back, start, rtol=1e-5, atol=1e-5)


def test_threshold_is_strict_and_comes_after_the_shift():
    """Exactly 22 GeV is cut, and so is what falls to it; what rises over it is kept."""
    case = Higgsml(HiggsmlSettings())
    features = jnp.concatenate([synthetic(PRI_tau_pt=pt) for pt in (20.0, 20.001, 22.0, 22.001)])
    vary = jax.jit(case.vary)
    events = Events(features, jnp.ones((4, 2)), jnp.zeros(4, jnp.int32), jnp.zeros(4, jnp.uint32), jnp.zeros((4, 0)))
    for z, kept in ((1.0, [False, False, False, True]), (1.1, [False, True, True, True]), (0.99, [False] * 4)):
        weights = vary(events, jnp.array([z], jnp.float32)).weights
        assert (np.asarray(weights).any(axis=1) == kept).all()


def test_processes_are_recovered_from_weights():
    """The published weight codes; the label decides on signal."""
    codes = np.array([2268701, 917703, 254338, 1234567, 57207])
    process = recover_process(codes * 1e-7, np.array([False, False, False, False, True]))
    assert [PROCESSES[code] for code in process] == ["ttbar", "Z", "Z", "W", "signal"]


def test_table_records_where_it_comes_from(table):
    """Process counts, fingerprint, and weights that sum to the full file's before the cut."""
    assert np.bincount(table.process).tolist() == [7817, 4620, 916, 9536]
    assert table.fingerprint == "7f89d726c7c95516c370bd839609067de0b598ea06c6f0e6748d2c7f8e3d1dcb"
    np.testing.assert_allclose(table.weights.sum(axis=0, dtype=np.float64), [691.9886, 410_999.8473], rtol=1e-7)


def test_labels_carry_units():
    """Momenta and masses in GeV, azimuths in radians, the rest without; -999 is known as undefined."""
    case = Higgsml(HiggsmlSettings())
    assert case.label("DER_sum_pt") == "DER_sum_pt [GeV]"
    assert case.label("PRI_tau_phi") == "PRI_tau_phi [rad]"
    for name in ("PRI_tau_eta", "PRI_jet_num", "DER_met_phi_centrality", "DER_deltar_tau_lep"):
        assert case.label(name) == name
    assert case.undefined == -999


def test_case_is_found_by_name_and_holds_its_test_points():
    """Anchors are evenly spaced, hold the paper's points, and true values lie inside the range."""
    case = CASES.get("higgsml")(HiggsmlSettings())
    (nuisance,) = case.nuisances
    assert len(case.features) == 29
    assert "DER_mass_MMC" not in case.features
    assert np.ptp(np.diff(nuisance.anchors)) < 1e-9
    assert {0.8, 0.9, 1.0, 1.1} <= set(nuisance.anchors)
    assert nuisance.training == (0.70, 1.14)
    low, high = nuisance.range
    assert all(low < point["tes"] < high for point in case.defaults.true)
    assert case.defaults.true[0] == {"tes": 1.0}
