"""Histograms of the UHI protocol as a model: the same as their arrays, and what a mistake says."""

from __future__ import annotations

import re
from pathlib import Path

import hist
import numpy as np
import pytest

from systwise.errors import TemplateError
from systwise.fit import Model, asimov, fit, histogram_model
from systwise.parameters import GaussianConstraint, Nuisance, signal_strength

JES = Nuisance("jes", 0.0, (-1, 1), (-1, 1), (-1.0, 0.0, 1.0))
CONSTRAINT = GaussianConstraint("jes", 1.0)


def filled(counts, bins=3, variance=0.1):
    histogram = hist.Hist(hist.axis.Regular(bins, 0, 1), storage=hist.storage.Weight())
    histogram.view().value, histogram.view().variance = counts, variance * np.asarray(counts)
    return histogram


NOMINAL = {"signal": filled([5, 20, 30]), "background": filled([100, 50, 10])}
VARIED = {"jes": {-1.0: {"background": filled([95, 47, 9])}, 1.0: {"background": filled([105, 53, 11])}}}


@pytest.mark.slow
@pytest.mark.parametrize("simulation", [False, True])
def test_histograms_give_the_same_fit_as_their_arrays(simulation):
    model = histogram_model(signal_strength(), NOMINAL, [JES], [CONSTRAINT], varied=VARIED, simulation=simulation)
    arrays = np.array([[[5, 20, 30], b] for b in ([95, 47, 9], [100, 50, 10], [105, 53, 11])], float)
    other = Model.from_templates(
        signal_strength(), [JES], [CONSTRAINT], arrays, variances=0.1 * arrays[1] if simulation else None
    )
    found, expected = (fit(m, asimov(m, theta=1.0, z=0.0)) for m in (model, other))
    assert found.sigma == pytest.approx(expected.sigma, rel=1e-12)
    assert found.estimate == pytest.approx(1.0, abs=1e-6)


BAD = {
    "no component": ({"nominal": {"signal": NOMINAL["signal"]}}, "nominal: no histogram for component 'background'"),
    "unknown component": ({"nominal": NOMINAL | {"backgroud": NOMINAL["signal"]}}, "did you mean 'background'"),
    "unknown nuisance": (
        {"varied": {"jer": VARIED["jes"]}},
        "'jer' is no nuisance that changes shapes, did you mean 'jes'",
    ),
    "missing anchor": ({"varied": {"jes": {1.0: {}}}}, "varied 'jes': no histograms at its anchor -1"),
    "no anchor": ({"varied": {"jes": {0.5: {}}}}, "varied 'jes': 0.5 is no anchor of it"),
    "other edges": (
        {"varied": {"jes": {-1.0: {"background": filled([1, 2], 2)}, 1.0: {}}}},
        "'background' at jes=-1: its edges differ",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_names_the_histogram(name):
    change, sentence = BAD[name]
    arguments = {"nominal": NOMINAL, "varied": VARIED} | change
    with pytest.raises(TemplateError, match=re.escape(sentence)):
        histogram_model(signal_strength(), arguments["nominal"], [JES], [CONSTRAINT], varied=arguments["varied"])


def test_the_documented_lines_run():
    text = (Path(__file__).parents[1] / "docs" / "own-analysis.md").read_text()
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "histogram_model" in block)
    names: dict = {}
    exec(code.rsplit("print", 1)[0], names)
    assert fit(names["model"], asimov(names["model"], theta=1.0, z=0.0)).sigma > 0
