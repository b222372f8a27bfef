"""Reduce CMS Open Data of 2012 to one muon and one hadronic tau an event, with what the analysis needs.

The inputs are the reduced NanoAOD files of records 12350 to 12359 of the CERN Open Data portal (CC0), read over the
network with `pip install 'fsspec-xrootd'`, or from a folder with copies of them:

    python reduce.py --out data                      # from the portal, 20 GB are read
    python reduce.py --out data --from /my/copies    # GluGluToHToTauTau.root, ... in that folder

The selection and the choice of the pair follow the portal's own analysis of these files (record 12350): the trigger of
a muon and a tau, identified and not overlapping; the muon with the largest transverse momentum, then the most isolated
tau. `weight` is the number of events that a simulated one stands for at 11.467 fb^-1.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import awkward as ak
import numpy as np
import uproot

PORTAL = "root://eospublic.cern.ch//eos/opendata/cms/derived-data/AOD2NanoAODOutreachTool"
LUMINOSITY = 11467.0
"""Of Run2012B and C, in 1/pb."""
SAMPLES = {
    "GluGluToHToTauTau": (19.6, 476_963),
    "VBF_HToTauTau": (1.55, 491_653),
    "DYJetsToLL": (3503.7, 30_458_871),
    "TTbar": (225.2, 6_423_106),
    "W1JetsToLNu": (6381.2, 29_784_800),
    "W2JetsToLNu": (2039.8, 30_693_853),
    "W3JetsToLNu": (612.5, 15_241_144),
    "Run2012B_TauPlusX": None,
    "Run2012C_TauPlusX": None,
}
"""Cross sections in pb and numbers of generated events; None for data."""
TRIGGER = "HLT_IsoMu17_eta2p1_LooseIsoPFTau20"
MUON = ("pt", "eta", "phi", "mass", "pfRelIso03_all", "charge", "tightId", "genPartIdx")
TAU = ("pt", "eta", "phi", "mass", "relIso_all", "charge", "decayMode", "genPartIdx")
TAU_IDS = ("idDecayMode", "idIsoTight", "idAntiEleTight", "idAntiMuTight")
JET = ("pt", "eta", "phi", "mass", "btag", "puId")
MISSING = -999.0


def reduced(events: ak.Array, simulated: bool) -> dict[str, np.ndarray]:
    """Return the columns of the events that have a pair.

    Args:
        events: of a file, branches of the portal's layout.
        simulated: whether particles of the generator are there to be matched.
    """
    events = events[events[TRIGGER]]
    muons = ak.zip({name: events[f"Muon_{name}"] for name in MUON if f"Muon_{name}" in events.fields})
    taus = ak.zip({name: events[f"Tau_{name}"] for name in (*TAU, *TAU_IDS) if f"Tau_{name}" in events.fields})
    muons["number"], taus["number"] = ak.local_index(muons.pt), ak.local_index(taus.pt)
    muons = muons[(abs(muons.eta) < 2.1) & (muons.pt > 17) & muons.tightId]
    good = (taus.charge != 0) & (abs(taus.eta) < 2.3) & (taus.pt > 20)
    for name in TAU_IDS:
        good = good & taus[name]
    pairs = ak.cartesian({"muon": muons, "tau": taus[good]})
    distance = np.hypot(pairs.muon.eta - pairs.tau.eta, _angle(pairs.muon.phi - pairs.tau.phi))
    pairs = pairs[distance > 0.5]
    events, pairs = events[ak.num(pairs) > 0], pairs[ak.num(pairs) > 0]
    # The muon first, then the tau among the pairs that it has.
    pairs = pairs[pairs.muon.pt == ak.max(pairs.muon.pt, axis=1)]
    pairs = pairs[pairs.muon.number == ak.min(pairs.muon.number, axis=1)]
    pairs = pairs[ak.argmin(pairs.tau.relIso_all, axis=1, keepdims=True)]
    muon, tau = (ak.drop_none(ak.flatten(lepton)) for lepton in (pairs.muon, pairs.tau))
    out = {"npv": events.PV_npvs, "run": events.run, "pt_met": events.MET_pt, "phi_met": events.MET_phi}
    for number, lepton, iso in ((1, muon, "pfRelIso03_all"), (2, tau, "relIso_all")):
        for name, field in (("pt", "pt"), ("eta", "eta"), ("phi", "phi"), ("m", "mass"), ("iso", iso), ("q", "charge")):
            out[f"{name}_{number}"] = lepton[field]
        angle = _angle(lepton.phi - events.MET_phi)
        out[f"mt_{number}"] = np.sqrt(2 * lepton.pt * events.MET_pt * (1 - np.cos(angle)))
    out["dm_2"] = tau.decayMode
    out["m_vis"], out["pt_vis"] = _system(muon, tau)
    out |= _jets(events)
    matched = np.zeros(len(events), bool)
    if simulated:
        particles = abs(events.GenPart_pdgId)
        matched = (_at(particles, muon.genPartIdx) == 15) & (_at(particles, tau.genPartIdx) == 15)
    out["gen_match"] = matched
    return {name: ak.to_numpy(values) for name, values in out.items()}


def _angle(difference: ak.Array) -> ak.Array:
    """Return an azimuthal difference between -pi and pi."""
    return (difference + np.pi) % (2 * np.pi) - np.pi


def _at(values: ak.Array, index: ak.Array) -> np.ndarray:
    """Return an element of each event's list, 0 where the index is none of the list."""
    return ak.to_numpy(ak.fill_none(ak.firsts(values[ak.local_index(values) == index]), 0))


def _system(one: ak.Array, other: ak.Array) -> tuple[ak.Array, ak.Array]:
    """Return mass and transverse momentum of two particles together."""
    total = [0.0, 0.0, 0.0, 0.0]
    for particle in (one, other):
        pt, eta, phi, mass = (ak.values_astype(particle[f], np.float64) for f in ("pt", "eta", "phi", "mass"))
        x, y, z = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
        for place, part in enumerate((x, y, z, np.sqrt(x**2 + y**2 + z**2 + mass**2))):
            total[place] = total[place] + part
    x, y, z, energy = total
    return np.sqrt(np.maximum(energy**2 - x**2 - y**2 - z**2, 0)), np.hypot(x, y)


def _jets(events: ak.Array) -> dict[str, ak.Array]:
    """Return the two leading jets, -999 where there is no such jet, and what they make together."""
    jets = ak.zip({name: events[f"Jet_{name}"] for name in JET})
    jets = jets[jets.puId & (abs(jets.eta) < 4.7) & (jets.pt > 30)]
    out = {"njets": ak.num(jets)}
    both = ak.num(jets) >= 2
    padded = ak.pad_none(jets, 2, clip=True)
    for number in (0, 1):
        for name, field in (("jpt", "pt"), ("jeta", "eta"), ("jphi", "phi"), ("jm", "mass"), ("jbtag", "btag")):
            out[f"{name}_{number + 1}"] = ak.fill_none(padded[field][:, number], MISSING)
    out["mjj"], out["ptjj"] = _dijet(out, both)
    out["jdeta"] = ak.where(both, out["jeta_1"] - out["jeta_2"], MISSING)
    return out


def _dijet(out: dict[str, ak.Array], both: ak.Array) -> tuple[ak.Array, ak.Array]:
    """Return mass and transverse momentum of the two jets together."""
    particles = [
        ak.zip(
            {
                f: ak.where(both, out[f"{n}_{k}"], 0.0)
                for f, n in (("pt", "jpt"), ("eta", "jeta"), ("phi", "jphi"), ("mass", "jm"))
            }
        )
        for k in (1, 2)
    ]
    mass, pt = _system(*particles)
    return ak.where(both, mass, MISSING), ak.where(both, pt, MISSING)


def branches(tree: uproot.TTree) -> list[str]:
    """Return the branches that are read, of those that the file has."""
    wanted = {TRIGGER, "PV_npvs", "run", "MET_pt", "MET_phi", "GenPart_pdgId"}
    wanted |= {f"Muon_{name}" for name in MUON} | {f"Tau_{name}" for name in (*TAU, *TAU_IDS)}
    wanted |= {f"Jet_{name}" for name in JET}
    return sorted(wanted & set(tree.keys()))


def blocks(path: str) -> Iterator[ak.Array]:
    """Yield the events of a file, a few hundred megabytes at a time."""
    with uproot.open(path) as file:
        tree = file["Events"]
        yield from tree.iterate(branches(tree), step_size="200 MB")


def reduce(path: str, target: Path, weight: float, simulated: bool) -> int:
    """Write the reduced events of a file, and return their number."""
    count, part = 0, target.with_suffix(".part.root")
    with uproot.recreate(part) as file:
        for events in blocks(path):
            columns = reduced(events, simulated)
            columns["weight"] = np.full(len(columns["pt_1"]), weight)
            if count == 0:
                file.mktree("Events", {name: values.dtype for name, values in columns.items()})
            file["Events"].extend(columns)
            count += len(columns["weight"])
    part.replace(target)
    return count


def main() -> None:
    """Reduce all samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data"), help="folder of the reduced files")
    parser.add_argument("--from", dest="source", default=PORTAL, help="folder of the portal's files")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name, numbers in SAMPLES.items():
        weight = 1.0 if numbers is None else numbers[0] / numbers[1] * LUMINOSITY
        target = chosen.out / f"{name}Skim.root"
        count = reduce(f"{chosen.source}/{name}.root", target, weight, numbers is not None)
        print(f"{target}: {count:,} events")


if __name__ == "__main__":
    main()
