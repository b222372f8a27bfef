"""The script that reduces CMS Open Data, on a small file of the portal's layout, and the example's function."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import awkward as ak
import jax.numpy as jnp
import numpy as np
import pytest
import uproot

EXAMPLE = Path(__file__).parents[1] / "examples" / "cms-htautau"


def module(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLE / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def lists(values, kind=np.float32):
    return ak.values_astype(ak.Array(values), kind)


def events() -> dict[str, ak.Array]:
    """Four events: one with two muons and two taus and two jets, one that fails, one without trigger, a plain one."""
    flag = {name: lists([[1, 1, 1], [1], [1], [1]], bool) for name in ("idDecayMode", "idIsoTight", "idAntiMuTight")}
    return {
        "run": np.array([7, 7, 7, 8], np.int32),
        "PV_npvs": np.array([3, 4, 5, 6], np.int32),
        "MET_pt": np.array([30, 10, 10, 20], np.float32),
        "MET_phi": np.array([1.0, 0, 0, -3.0], np.float32),
        "HLT_IsoMu17_eta2p1_LooseIsoPFTau20": np.array([True, True, False, True]),
        "Muon_pt": lists([[18, 40], [30], [30], [25]]),
        "Muon_eta": lists([[0.1, -0.5], [0], [0], [2.0]]),
        "Muon_phi": lists([[0, 3.1], [0], [0], [1]]),
        "Muon_mass": lists([[0.1057, 0.1057], [0.1057], [0.1057], [0.1057]]),
        "Muon_pfRelIso03_all": lists([[0.01, 0.02], [0.1], [0.1], [0.05]]),
        "Muon_charge": lists([[1, -1], [1], [1], [1]], np.int32),
        "Muon_tightId": lists([[1, 1], [0], [1], [1]], bool),
        "Muon_genPartIdx": lists([[0, 1], [0], [0], [-1]], np.int32),
        # The first tau lies on the second muon (across the wrap of the angle), the third is more isolated.
        "Tau_pt": lists([[60, 30, 25], [30], [30], [22]]),
        "Tau_eta": lists([[-0.5, 1.0, -1.0], [1], [1], [0.0]]),
        "Tau_phi": lists([[-3.1, 1.0, 0.5], [2], [2], [-1]]),
        "Tau_mass": lists([[1.0, 0.8, 1.2], [1], [1], [0.9]]),
        "Tau_relIso_all": lists([[0.1, 3.0, 2.0], [1], [1], [1]]),
        "Tau_charge": lists([[1, 1, -1], [1], [1], [-1]], np.int32),
        "Tau_decayMode": lists([[0, 1, 10], [1], [1], [0]], np.int32),
        "Tau_genPartIdx": lists([[0, 0, 2], [0], [0], [0]], np.int32),
        "Tau_idAntiEleTight": lists([[1, 1, 1], [1], [1], [1]], bool),
        **{f"Tau_{name}": values for name, values in flag.items()},
        "Jet_pt": lists([[80, 50, 40], [], [], [29]]),
        "Jet_eta": lists([[1.0, 5.0, -2.0], [], [], [0]]),
        "Jet_phi": lists([[0.0, 1.0, 3.0], [], [], [0]]),
        "Jet_mass": lists([[5, 5, 4], [], [], [3]]),
        "Jet_btag": lists([[0.9, 0.1, 0.2], [], [], [0]]),
        "Jet_puId": lists([[1, 1, 1], [], [], [1]], bool),
        "GenPart_pdgId": lists([[13, 15, -15], [15], [15], [15]], np.int32),
    }


def write(path: Path, values: dict) -> None:
    with uproot.recreate(path) as file:
        kinds = {
            name: f"var * {ak.type(v).content.content}" if isinstance(v, ak.Array) else v.dtype
            for name, v in values.items()
        }
        file.mktree("Events", kinds)
        file["Events"].extend(values)


@pytest.fixture(scope="module")
def skim(tmp_path_factory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("portal")
    write(folder / "in.root", events())
    assert module("reduce").reduce(str(folder / "in.root"), folder / "out.root", 0.5, simulated=True) == 2
    with uproot.open(folder / "out.root") as file:
        return file["Events"].arrays(library="np")


def test_the_hardest_muon_gets_the_most_isolated_tau_that_does_not_overlap(skim):
    np.testing.assert_allclose(skim["pt_1"], [40, 25])
    np.testing.assert_allclose(skim["pt_2"], [25, 22])
    np.testing.assert_allclose(skim["iso_2"], [2.0, 1.0])
    np.testing.assert_array_equal(skim["q_1"] * skim["q_2"], [1, -1])
    np.testing.assert_array_equal(skim["run"], [7, 8])
    np.testing.assert_array_equal(skim["weight"], [0.5, 0.5])
    np.testing.assert_array_equal(skim["gen_match"], [True, False])


def test_masses_and_jets(skim):
    def vector(pt, eta, phi, mass):
        p = np.array([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
        return np.array([*p, np.sqrt(np.sum(p**2) + mass**2)])

    total = vector(40, -0.5, 3.1, 0.1057) + vector(25, -1.0, 0.5, 1.2)
    assert skim["m_vis"][0] == pytest.approx(np.sqrt(total[3] ** 2 - np.sum(total[:3] ** 2)), rel=1e-5)
    assert skim["pt_vis"][0] == pytest.approx(np.hypot(*total[:2]), rel=1e-5)
    assert skim["mt_1"][0] == pytest.approx(np.sqrt(2 * 40 * 30 * (1 - np.cos(2.1))), rel=1e-5)
    np.testing.assert_array_equal(skim["njets"], [2, 0])
    jets = vector(80, 1.0, 0.0, 5) + vector(40, -2.0, 3.0, 4)
    assert skim["mjj"][0] == pytest.approx(np.sqrt(jets[3] ** 2 - np.sum(jets[:3] ** 2)), rel=1e-5)
    np.testing.assert_allclose(skim["jdeta"], [3.0, -999])
    np.testing.assert_allclose([skim["jpt_2"][0], skim["jpt_1"][1], skim["mjj"][1]], [40, -999, -999])


def test_the_energy_scale_changes_nothing_at_zero_and_recomputes_everything_elsewhere(skim):
    shift = module("shifts").tau_energy_scale
    names = ["pt_1", "eta_1", "phi_1", "m_1", "pt_2", "eta_2", "phi_2", "m_2", "pt_met", "phi_met"]
    columns = {n: jnp.asarray(skim[n], jnp.float32) for n in [*names, "m_vis", "pt_vis", "mt_1", "mt_2"]}
    still = shift(columns, jnp.zeros(2))
    for name, values in still.items():
        np.testing.assert_array_equal(values, columns[name])
    moved = shift(columns, jnp.full(2, 2.0))
    np.testing.assert_allclose(moved["pt_2"], 1.06 * skim["pt_2"], rtol=1e-6)
    # All transverse momenta together stay: what the tau gains, the missing momentum loses.
    for part in (np.cos, np.sin):
        before = skim["pt_2"] * part(skim["phi_2"]) + skim["pt_met"] * part(skim["phi_met"])
        x = skim["pt_met"] * part(skim["phi_met"]) - 0.06 * skim["pt_2"] * part(skim["phi_2"])
        np.testing.assert_allclose(moved["pt_2"] * part(skim["phi_2"]) + x, before, rtol=1e-5, atol=1e-4)
