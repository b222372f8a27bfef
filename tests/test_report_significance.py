"""Significances in the report: rows, sentences and figures from records alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from systwise.report.figures._figure import Stored
from systwise.report.figures._style import save_figure, style
from systwise.report.figures.significance import (
    SignificanceFigures,
    fake_figure,
    line_figure,
    plane_figure,
    significance_trade_off_figure,
    tints,
)
from systwise.report.tables._significance import significance_sections
from systwise.report.text._significance import CAUTION, region_sentences, significance_sentences
from systwise.study import (
    ClassifierRecord,
    DataRecord,
    FakeRecord,
    NuisanceRecord,
    PlotData,
    RegionRecord,
    Results,
    SignificancePlane,
    SignificanceRecord,
    SignificanceTradeOff,
    Timings,
    ToyCheckRecord,
)

SETS = (["one"], ["two"], ["one", "two"])
POWER = {"nominal": 1.0, "adversarial": 0.8}
SHAPE = {"nominal": 1.2, "adversarial": 0.3}


def significances(seeds: tuple[int, ...] = (1,)) -> list[SignificanceRecord]:
    """Significance 10 |c_g| a unit of power, 30 % less where nuisances are profiled."""
    return [
        SignificanceRecord(
            strategy=name,
            seed=seed,
            regions=regions,
            step=c_g,
            offset=offset,
            point={"c_t": 1 - c_g + offset, "c_g": c_g},
            data=data,
            nuisances=treatment,
            z=(10 * abs(c_g) + 50 * abs(offset))
            * POWER[name]
            * (1.0 if treatment == "fixed" else 0.7)
            * (1 + 0.02 * seed),
            converged=True,
            verdict="converged",
        )
        for seed in seeds
        for name in POWER
        for regions in SETS
        for offset in (0.0, 0.05)
        for c_g in (-0.2, 0.2, 0.4)
        for data in ("reference", "alternative")
        for treatment in ("fixed", "shape", "profiled", "uncorrelated")
        if treatment != "uncorrelated" or len(regions) > 1
    ]


def fakes(profiled: float = -2.0) -> list[FakeRecord]:
    """Rate fakes 20 for all, shapes as in SHAPE and half as much at the hold-out."""
    size = {"fixed": 20.0, "profiled": profiled}
    return [
        FakeRecord(
            strategy=name,
            seed=1,
            regions=regions,
            variation=variation,
            holdout=holdout,
            point={"c_t": 1 - c_g, "c_g": c_g},
            nuisances=treatment,
            z=size.get(treatment, SHAPE[name] * (0.5 if holdout else 1.0))
            * (1.0 if c_g > 0 else -1.0 if treatment == "fixed" else 1.0),
            converged=True,
        )
        for name in POWER
        for regions in SETS
        for variation, holdout in (("scale = -1", False), ("scale = 1", False), ("muR x2, muF x1", True))
        for c_g in (-0.2, 0.2)
        for treatment in ("fixed", "shape", "profiled")
    ]


def classifiers() -> list[ClassifierRecord]:
    return [
        ClassifierRecord(
            strategy=name,
            seed=1,
            region=region,
            told="nothing",
            strength=0.0 if name == "nominal" else 10.0,
            point={"c_t": 0.8, "c_g": 0.2},
            auc=0.52 if name == "nominal" else 0.51,
            ks=0.01 * SHAPE[name],
            ks_holdout=0.005 * SHAPE[name],
            rate=0.41,
        )
        for name in POWER
        for region in ("one", "two")
    ]


def toy_check(median: float = 4.1) -> ToyCheckRecord:
    return ToyCheckRecord(
        strategy="nominal",
        seed=1,
        regions=["one", "two"],
        point={"c_t": 0.8, "c_g": 0.2},
        nuisances="profiled",
        toys=1000,
        median=median,
        median_error=0.15,
        asimov=4.0,
    )


def results(
    records: list[SignificanceRecord],
    wrong: list[FakeRecord] | None = None,
    scores: list[ClassifierRecord] | None = None,
    checks: list[ToyCheckRecord] | None = None,
    kind: str = "theory",
) -> Results:
    """Return results that hold significances alone."""
    return Results(
        case="any",
        settings={},
        seeds=[1],
        versions={},
        timings=Timings(generate=0, train={}, score={}, fit=0, total=0),
        data=DataRecord(source="", fingerprint="", events=1),
        command="",
        nuisances=[NuisanceRecord(name="scale", nominal=0.0, kind=kind, unit="", label="")],
        yields=[],
        measurements=[],
        significances=records,
        fakes=wrong or [],
        classifiers=scores or [],
        toy_checks=checks or [],
        regions=[RegionRecord(region="one", point={"c_t": 1.0, "c_g": 0.0}, events=1200.0)],
    )


def plane(strategy: str, regions: list[str], treatment: str, lost: bool = False) -> SignificancePlane:
    offset, c_g = np.linspace(-0.2, 0.2, 9), np.linspace(-0.6, 0.6, 7)
    z = np.hypot(8 * c_g[None] * POWER[strategy], (50 if treatment == "fixed" else 20) * offset[:, None])
    if lost:
        z[-2:, -2:] = np.nan
    theta = np.stack(np.broadcast_arrays(1 - c_g + offset[:, None], c_g), axis=-1)
    pois = ("c_t", "c_g")
    return SignificancePlane(strategy, 1, tuple(regions), treatment, pois, "c_t", offset, c_g, theta, z)


def curve(regions: list[str]) -> SignificanceTradeOff:
    strength = np.array([0.0, 1.0, 10.0])
    ks, auc = np.array([0.012, 0.008, 0.003]), np.array([0.52, 0.518, 0.51])
    fixed = np.array([2.0, 1.9, 1.6])
    shape = np.array([1.2, 0.8, 0.3])
    return SignificanceTradeOff(
        "adversarial", 1, tuple(regions), {"c_t": 0.8, "c_g": 0.2}, strength, auc, ks, fixed, 0.7 * fixed, fixed, shape
    )


def test_the_table_shows_the_point_of_the_classifiers() -> None:
    sections = significance_sections(significances(), fakes(), classifiers())
    assert [section.regions for section in sections] == list(SETS)
    assert sections[-1].title == "one and two combined"
    assert sections[0].treatments == ("fixed", "shape", "profiled")
    assert sections[-1].treatments == ("fixed", "shape", "profiled", "uncorrelated")
    nominal, adversarial = sections[-1].rows
    assert sections[-1].where == "(c_t, c_g) = (0.800, 0.200)"
    assert sections[-1].holdouts
    assert nominal.significances["fixed"].mean == pytest.approx(2.04)
    assert nominal.significances["profiled"].mean == pytest.approx(0.7 * 2.04)
    assert adversarial.reverse.mean == pytest.approx(0.7 * 0.8 * 2.04)
    assert str(nominal.fakes["shape"]) == "1.20"
    assert str(nominal.holdouts["shape"]) == "0.600"
    # Nothing on the line is preferred: the reference itself, with zero, is the best of it.
    assert str(nominal.fakes["profiled"]) == "0"
    assert not nominal.failed


def test_seeds_are_averaged() -> None:
    (row, _) = significance_sections(significances((1, 3)), fakes())[0].rows
    value = row.significances["fixed"]
    assert value.spread is not None
    assert value.spread / value.mean == pytest.approx(np.sqrt(2) * 0.02 / 1.04)
    assert "±" in str(value)


def test_without_fakes_nothing_is_said_of_them() -> None:
    sentences = significance_sentences(results(significances()))
    assert not any("fakes" in sentence for sentence in sentences)
    assert not any(section.holdouts for section in significance_sections(significances(), []))
    assert sentences[-1] == CAUTION
    assert any("limited size of the simulation is not in" in sentence for sentence in sentences)
    # Theory is doubted where there is some.
    assert CAUTION not in significance_sentences(results(significances(), kind="detector"))
    assert significance_sentences(results([])) == []


def test_the_sentences_name_the_conservative_and_the_robust() -> None:
    sentences = significance_sentences(results(significances(), fakes(), classifiers(), [toy_check()]))
    conservative, rate, shape, profiled, *rest = sentences
    assert (
        "(c_t, c_g) = (0.800, 0.200) in one and two combined, nuisances profiled: adversarial (1.14), nominal (1.43)"
        in (conservative)
    )
    assert "The most conservative strategy is adversarial, 20 % below nominal" in conservative
    assert "of 2.04 with statistics only" in conservative
    assert "does not know of them, at most nominal (20.0), adversarial (20.0), which tells no strategy" in rate
    assert "shape alone" in shape
    assert "adversarial (0.30), nominal (1.20): adversarial is the most robust, nominal the least" in shape
    assert "at hold-out variations adversarial (0.15), nominal (0.60)" in shape
    assert "at most nothing: it never prefers a tested point" in profiled
    assert "nothing either" in profiled
    assert "nominal 0.0120, 0.00600 at hold-outs (AUC 0.5200)" in rest[0]
    assert "the rate changes by up to 41 %" in rest[0]
    assert "confirm the Asimov value" in rest[2]
    assert "DO NOT" not in rest[2]
    assert "arXiv:2109.08159" in sentences[-1]


def test_a_deviating_check_and_lost_points_are_said() -> None:
    records = significances()
    records[0] = records[0].model_copy(update={"z": None, "converged": False, "verdict": "not tested: reason"})
    sentences = significance_sentences(results(records, fakes(), classifiers(), [toy_check(median=6.0)]))
    assert any("DO NOT confirm" in sentence and "+13.3 errors" in sentence for sentence in sentences)
    assert any(f"1 of {len(records)} significances" in s and "not tested: reason" in s for s in sentences)


def test_equal_strategies_are_called_equal() -> None:
    records = [r.model_copy(update={"z": 1.0}) for r in significances()]
    assert "1.00 for all strategies" in significance_sentences(results(records, fakes(), classifiers()))[0]


def test_what_scores_are_told_is_said() -> None:
    records = [r.model_copy(update={"told": "sample"}) if r.strategy == "adversarial" else r for r in classifiers()]
    sentences = significance_sentences(results(significances(), fakes(), records))
    assert any("The score of adversarial is told a number of the sample" in s for s in sentences)
    fixed = [r.model_copy(update={"told": "nominal"}) for r in records]
    assert any(
        "nominal, adversarial is told one number of the sample" in s
        for s in significance_sentences(results(significances(), [], fixed))
    )


def test_regions_say_what_is_expected_and_where_their_rate_is_blind() -> None:
    plain = RegionRecord(region="SR", point={"mu": 1.0}, events=1234.0)
    blind = RegionRecord(
        region="hj",
        point={"c_t": 1.0, "c_g": 0.0},
        events=349_000.0,
        sample={"sigma": 11.63},
        effects={"scale": (0.414, -0.276)},
        blind_slope=-1.0251,
    )
    assert region_sentences([plain, blind]) == [
        "SR: 1230 events.",
        "hj: sigma = 11.6, 349000 events (+41 % and -28 % for scale one standard deviation down and up); the "
        "rate stays the same along dc_g/dc_t = -1.025.",
    ]


def test_single_points_are_drawn_by_value_or_by_name() -> None:
    def at(point: dict[str, float], z: float) -> SignificanceRecord:
        fields = {"seed": 1, "regions": ["SR"], "offset": 0.0, "data": "reference", "converged": True, "verdict": ""}
        return SignificanceRecord(strategy="nominal", step=None, point=point, nuisances="fixed", z=z, **fields)

    figure = line_figure([at({"mu": 2.0}, 3.0), at({"mu": 0.0}, 2.0)], {"mu": 1.0})
    assert figure is not None
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xdata(), [0.0, 1.0, 2.0])
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [2.0, 0.0, 3.0])
    # A single point lies on the line from the reference; points in which no parameter alone differs have names.
    one = line_figure([at({"mu": 0.0}, 2.0)], {"mu": 1.0})
    np.testing.assert_allclose(one.axes[0].lines[0].get_xdata(), [0.0, 1.0])


def test_many_wrong_nuisances_have_a_place_each() -> None:
    many = [
        record.model_copy(update={"variation": f"n{number} = {value}", "z": float(number + value)})
        for record in fakes()
        if not record.holdout and record.variation == "scale = 1"
        for number in range(6)
        for value in (1, 2)
    ]
    figure = fake_figure(many)
    assert figure is not None
    axis = figure.axes[0]
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == [f"n{number}" for number in range(6)]
    assert max(patch.get_height() for patch in axis.patches) == 7.0


def test_every_figure_is_drawn(tmp_path: Path) -> None:
    planes = [plane(n, r, t, lost=n == "nominal") for n in POWER for r in SETS for t in ("fixed", "profiled")]
    drawn: list[str] = []

    def add(name: str, title: str, caption: str, figure: Figure | None) -> None:
        assert figure is not None
        assert title
        assert caption.endswith(".")
        assert save_figure(figure, tmp_path, name).stat().st_size > 10_000
        drawn.append(name)

    with style():
        plots = PlotData(
            components=(), significance_planes=tuple(planes), significance_trade_offs=tuple(curve(r) for r in SETS)
        )
        for sketch in SignificanceFigures().sketches(Stored(results(significances(), fakes()), plots)):
            add(*sketch)
    assert len(drawn) == len(set(drawn)) == 4


def test_lines_and_bars_hold_the_numbers() -> None:
    figure = line_figure(significances(), {"c_t": 1.0, "c_g": 0.0})
    assert figure is not None
    (first, *_) = figure.axes
    curves = {(line.get_linestyle(), line.get_color()): line for line in first.lines}
    line = curves[":", tints(list(POWER))["nominal"]]
    np.testing.assert_allclose(line.get_xdata(), [-0.2, 0.0, 0.2, 0.4])
    np.testing.assert_allclose(line.get_ydata(), [2.04, 0.0, 2.04, 4.08])
    bars = fake_figure(fakes())
    assert bars is not None
    heights = sorted({round(float(patch.get_height()), 6) for patch in bars.axes[3].patches})
    assert heights == [0.15, 0.3, 0.6, 1.2]


def test_nothing_to_draw_draws_nothing() -> None:
    assert line_figure([]) is None
    assert fake_figure([]) is None
    assert plane_figure([]) is None
    assert significance_trade_off_figure([]) is None


def test_variants_get_lighter() -> None:
    colours = tints(["nominal", "adversarial@1", "adversarial@10"])
    assert sum(colours["adversarial@10"]) > sum(colours["adversarial@1"])
