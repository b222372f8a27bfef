"""Score histograms of Higgs plus jets from the published-order-of-magnitude tables of the generator, for tests.

The "score" is the transverse momentum of the Higgs boson: components and scale variations of every bin are those
of leading-order h j (exact top mass) and h j j at 13 TeV, so that significances come out as they do in the case.
"""

from __future__ import annotations

import numpy as np

from systwise.parameters import Components, GaussianConstraint, Nuisance
from systwise.study import Hypotheses, Question, RegionTable, SignificanceSettings, Systematics
from systwise.study.significance._region_table import Anchors

POWERS = ((2, 0), (1, 1), (0, 2))
NAMES = ("tt", "tg", "gg")
STANDARD_MODEL = (1.0, 0.0)
SCALES = (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)
HOLDOUTS = ("muR x2, muF x1", "muR x1, muF x2")
# pT 30-50-75-100-150-200-300-400-500-600-800-1000 GeV: fb, full/HEFT, TG/(2 GG), mu0/2 and 2 mu0 over mu0.
ONE_JET = np.array(
    [
        [6049.7, 2855.6, 1223.4, 952.3, 329.6, 175.2, 33.13, 7.825, 2.266, 0.983, 0.147],
        [1.0606, 1.0543, 1.0449, 1.0327, 1.0046, 0.8758, 0.6338, 0.4469, 0.3198, 0.2159, 0.1245],
        [1.0297, 1.0262, 1.0207, 1.0113, 0.9885, 0.9142, 0.7673, 0.6385, 0.5367, 0.4374, 0.3293],
        [1.4153, 1.4121, 1.4107, 1.4117, 1.4157, 1.4228, 1.4312, 1.4371, 1.4416, 1.4463, 1.4525],
        [0.7231, 0.7257, 0.7267, 0.7265, 0.7248, 0.7215, 0.7176, 0.7148, 0.7127, 0.7105, 0.7075],
    ]
)
# pT_H 0-100-200-300-400-600-1000 GeV: fb, (0.6, 0.4) and (0, 1) over the standard model.
TWO_JETS = np.array(
    [
        [3206.0, 1769.0, 371.0, 89.2, 32.7, 4.42],
        [0.980, 0.985, 1.026, 1.156, 1.403, 2.044],
        [0.950, 0.966, 1.083, 1.453, 2.213, 4.470],
    ]
)


def systematics(anchors: tuple[float, ...] = SCALES) -> Systematics:
    """Return the scale with its constraint N(0, 1)."""
    scale = Nuisance("scale", 0.0, (anchors[0], anchors[-1]), (-1.0, 1.0), anchors, kind="theory")
    return Systematics((scale,), (GaussianConstraint("scale", 1.0),))


def question(alone: tuple[str, ...] = ("hj", "hjj"), **settings: object) -> Question:
    """Return the tests of points along c_t + c_g = 1, at two wrong scales."""
    line = {
        "direction": {"c_t": -1.0, "c_g": 1.0},
        "across": "c_t",
        "steps": (-0.2, 0.0, 0.2),
        "wrong": (-1.0, 0.5),
        **settings,
    }
    components = Components(NAMES, ("c_t", "c_g"), POWERS, STANDARD_MODEL, ((0.0, 2.0), (-1.0, 1.0)), (0.8, 0.2))
    hypotheses = Hypotheses(SignificanceSettings(**line), components)
    return Question(hypotheses, systematics(), alone, {"scale": 1.0}, {"hj": {"sigma": 11.0}})


def components(channel: str) -> np.ndarray:
    """Return cross sections `[component, bin]` in fb at the nominal scale."""
    if channel == "hj":
        tt, ratio, interference = ONE_JET[:3]
        gg = tt / ratio
        return np.stack([tt, 2 * gg * interference, gg])
    tt, mixed, pure = TWO_JETS
    tg = (mixed - 0.36 - 0.16 * pure) / 0.24
    return np.stack([tt, tt * tg, tt * pure])


def factors(channel: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what mu0/2 and 2 mu0 do to every bin."""
    if channel == "hj":
        return ONE_JET[3], ONE_JET[4]
    drift = np.linspace(0, 1, TWO_JETS.shape[1])
    return 1.65 + 0.03 * drift, 0.63 - 0.01 * drift


def table(
    channel: str = "hj",
    events_a_fb: float = 3.0,
    blur: float = 0.0,
    told: np.ndarray | None = None,
    scales: tuple[float, ...] = SCALES,
) -> RegionTable:
    """Return a table of one region.

    Args:
        channel: `hj` or `hjj`.
        events_a_fb: luminosity times branching ratio times efficiency.
        blur: fraction of every bin that is spread over all bins, as a weaker classifier would.
        told: cross sections at which the score is tabulated; the score then moves with them.
        scales: anchors.
    """
    parts = components(channel)
    down, up = (np.log(f) for f in factors(channel))

    def scaled(z: float) -> np.ndarray:
        # ln of the weight is a parabola through z = -1 (mu0/2), 0 and 1.
        return np.exp(z * (up - down) / 2 + z**2 * (up + down) / 2)

    # Hold-outs: muR alone carries most of the rate, muF a slope against pT.
    slope = np.linspace(0.03, -0.05, parts.shape[1])
    # The nominal variation comes first.
    moved = [z for z in scales if z != 0]
    varied = [scaled(0.0), *(scaled(z) for z in moved), scaled(0.85) * (1 + slope / 2), 1 + slope]
    fine = np.stack([parts * factor for factor in varied])
    sigma = fine.sum(axis=2) / 1000
    bins = parts.shape[1]
    values = np.array([sigma[0] @ [1.0, 0.0, 0.0]]) if told is None else np.asarray(told)
    counts = []
    for s in values:
        move = blur + (0.0 if told is None else 0.02 * (1 + np.tanh(np.log(s / values.mean()))))
        mixing = (1 - move) * np.eye(bins) + move / bins
        counts.append(events_a_fb * fine @ mixing)
    stacked = np.stack(counts)
    return RegionTable(
        name=channel,
        component_names=NAMES,
        powers=POWERS,
        sample_values=values,
        variations=("nominal", *(f"scale = {z:g}" for z in moved), *HOLDOUTS),
        counts=stacked,
        rates=sigma,
        anchors=(scale_anchors(scales),),
        holdouts=(len(scales), len(scales) + 1),
    )


def scale_anchors(scales: tuple[float, ...]) -> Anchors:
    """Return the anchors of the scale where the nominal variation comes first and the others in order."""
    moved = [z for z in scales if z != 0]
    return Anchors("scale", scales, tuple(0 if z == 0 else 1 + moved.index(z) for z in scales))
