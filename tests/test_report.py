"""Figures and the HTML report, drawn from invented studies."""

from __future__ import annotations

import dataclasses
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

import report_fixtures as invented
from systwise.errors import ConfigError
from systwise.fit import Toys
from systwise.report import write_report
from systwise.report.figures._layout import mesh, new_figure
from systwise.report.figures._style import looks, style
from systwise.report.figures.events import feature_figure, mass_levels, shape_change
from systwise.report.figures.fits import local_width, map_figure, profile_figure
from systwise.report.figures.ratios import ratio_figure
from systwise.report.figures.summary import summary_figure
from systwise.report.figures.toys import coverage_figure, estimate_figure
from systwise.report.page._html import render
from systwise.report.tables._rows import Place, places, preferred_place
from systwise.study.records._plotdata import FeatureDistribution, LikelihoodScan, PlotData
from systwise.study.records._results import NuisanceRecord

UNIFORM = Place("uniform", ("uniform",))


def parabola(sigma: float, **changes: object) -> LikelihoodScan:
    """Return a scan with an exactly parabolic profile."""
    mu, z = np.linspace(0.5, 1.5, 101), np.linspace(-1, 1, 21)
    values: dict = {
        "strategy": "nominal",
        "binning": "uniform",
        "convention": "poisson",
        "true": {"angle": invented.NOMINAL, "mu": 1.0},
        "poi_values": mu,
        "profiled": 0.5 * ((mu - 1) / sigma) ** 2,
        "stat_only": 0.5 * ((mu - 1) / sigma) ** 2,
        "nuisance_hat": np.zeros_like(mu),
        "map_poi": mu,
        "map_nuisance": z,
        "map_nll": 0.5 * ((mu - 1) / sigma) ** 2 + 0.5 * (z[:, None] / 0.3) ** 2,
        "estimate_poi": 1.0,
        "estimate_nuisance": 0.0,
        "nuisance": "angle",
    }
    return LikelihoodScan(**{**values, **changes})


def test_local_width_of_a_parabola_is_its_sigma() -> None:
    width = local_width(parabola(0.1))
    np.testing.assert_allclose(width[np.isfinite(width)], 0.1, rtol=1e-12)
    assert np.isnan(width[50])
    assert np.isfinite(width[[0, -1]]).all()


def test_contours_of_a_gaussian_hold_the_fraction_of_its_radius() -> None:
    axis = np.linspace(-5, 5, 401)
    density = np.exp(-0.5 * (axis[:, None] ** 2 + axis**2))
    outer, inner = mass_levels(density, (1 - math.exp(-0.5), 1 - math.exp(-2)))
    # Outside radius r of a two-dimensional Gaussian lies exp(-r^2/2) of it, where its height is the same.
    assert inner == pytest.approx(math.exp(-0.5), rel=5e-3)
    assert outer == pytest.approx(math.exp(-2), rel=5e-3)
    assert mass_levels(np.zeros((3, 3)), (0.5,)) == []


def test_shape_change_is_a_total_variation_distance_blind_to_rates() -> None:
    edges, shown = np.arange(3.0), np.arange(2.0)
    rate = FeatureDistribution("a", "a", edges, shown, np.array([[[1.0, 1.0]], [[5.0, 5.0]]]))
    shape = FeatureDistribution("a", "a", edges, shown, np.array([[[1.0, 1.0]], [[2.0, 0.0]]]))
    assert shape_change(rate, 0) == 0
    assert shape_change(shape, 0) == pytest.approx(0.5)


def test_twelve_features_with_the_largest_change_are_drawn() -> None:
    study = invented.results(strategies=("nominal",))
    plots = invented.plots(study, features=29)
    with style():
        figure, drawn = feature_figure(study, plots.feature_distributions, plots.components)
    assert drawn == 12
    labels = {axis.get_xlabel() for axis in figure.axes} - {""}
    assert labels == {f"DER_feature_{n} [GeV]" for n in range(12)}


def test_profiles_are_drawn_where_they_are() -> None:
    study = invented.results(strategies=("nominal",), angles=(invented.NOMINAL,))
    with style():
        figure = profile_figure(study, (parabola(0.1),), UNIFORM)
    assert figure is not None
    main, ratio = figure.axes
    levels = [line.get_ydata()[0] for line in main.lines[1:]]
    assert levels == [0.5, 2.0]
    drawn = ratio.lines[0].get_ydata()
    np.testing.assert_allclose(drawn[np.isfinite(drawn)], 0.1 / invented.BOUND)
    assert profile_figure(study, (), UNIFORM) is None


def test_maps_draw_contours_at_one_and_two_sigma_where_resolved() -> None:
    study = invented.results(strategies=("nominal",), angles=(invented.NOMINAL,))
    with style():
        wide = map_figure(study, (parabola(0.1),), UNIFORM)
        narrow = map_figure(study, (parabola(0.1, map_nll=np.full((21, 101), 50.0)),), UNIFORM)
        empty = map_figure(study, (parabola(0.1, map_nll=np.full((21, 101), np.nan)),), UNIFORM)
    assert wide is not None
    assert narrow is not None
    assert empty is not None
    contours = [item for item in wide.axes[0].collections if type(item).__name__ == "QuadContourSet"]
    assert [list(item.levels) for item in contours] == [[0.5, 2.0]]
    inner = contours[0].get_paths()[0].vertices
    assert inner[:, 0].max() == pytest.approx(1.1, abs=2e-3)
    assert not [item for item in narrow.axes[0].collections if type(item).__name__ == "QuadContourSet"]
    assert "no likelihood" in [text.get_text() for text in empty.axes[0].texts]


def test_summary_bars_are_the_widths() -> None:
    study = invented.results(strategies=("nominal", "aware"), seeds=(1, 2))
    with style():
        figure = summary_figure(study, "mu")
    widths = sorted(patch.get_width() for patch in figure.axes[0].patches)
    for row in study.summaries:
        if row.true["angle"] == invented.NOMINAL:
            assert min(abs(width - row.sigma.mean) for width in widths) < 1e-12
            assert min(abs(width - row.sigma_stat_only.mean) for width in widths) < 1e-12


def test_cells_are_centred_on_their_values_both_ways() -> None:
    values = np.arange(6.0).reshape(2, 3)
    axis = new_figure(3, 3).subplots()
    image = mesh(axis, np.array([0.0, 1.0, 2.0]), np.array([5.0, 7.0]), values)
    assert image.get_extent() == [-0.5, 2.5, 4.0, 8.0]
    quads = mesh(axis, np.array([0.0, 1.0, 3.0]), np.array([5.0, 7.0]), values)
    assert type(quads).__name__ == "QuadMesh"


def test_each_strategy_has_its_own_colour() -> None:
    names = [*invented.ALL, "mine", "yours"]
    assert len({look.colour for look in looks(names).values()}) == len(names)
    assert looks(["true_nuisance@angle=1.57"])["true_nuisance@angle=1.57"] == looks(["true_nuisance"])["true_nuisance"]


def test_style_leaves_no_trace() -> None:
    before = dict(matplotlib.rcParams)
    with style():
        assert matplotlib.rcParams["xtick.direction"] == "in"
    assert dict(matplotlib.rcParams) == before


class _Checker(HTMLParser):
    """Balance of tags, and everything that would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "img", "link"}:
            self.open.append(tag)
        for name, value in attrs:
            if name in {"src", "href"}:
                self.links.append(value or "")
        self.images += tag == "img"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A report of two strategies and two seeds: its folder and text."""
    folder = tmp_path_factory.mktemp("report")
    study = invented.results(strategies=("nominal", "aware"), seeds=(1, 2))
    study.save(folder / "results.json")
    invented.plots(study).save(folder / "plots.npz")
    return folder, write_report(folder).read_text(encoding="utf-8")


def test_report_is_one_file_without_network(written: tuple[Path, str]) -> None:
    folder, text = written
    checker = _Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.images == len(list((folder / "figures").glob("*.png"))) == 11
    assert all(link.startswith("data:image/png;base64,") for link in checker.links)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)


def test_report_says_what_was_done(written: tuple[Path, str]) -> None:
    _, text = written
    for word in (
        "Smallest profiled σ(mu) at angle = 1.57 rad",
        "not the likelihood of one observable",
        "raise train.epochs",
        "systwise run gaussian-toy --out toy",
        "2,000,000 events",
        "ab" * 32,
        "jax 0.10.0",
        "&#34;schedule&#34;",
        "train aware",
        "a second minimum at angle = 0",
        "mean ± spread over 2 trainings",
    ):
        assert word in text, word


def test_figures_are_png_and_pdf_of_some_content(written: tuple[Path, str]) -> None:
    folder, _ = written
    names = {path.stem for path in (folder / "figures").glob("*.png")}
    assert names == {path.stem for path in (folder / "figures").glob("*.pdf")}
    assert {"summary", "profiles_uniform", "profiles_optimised", "maps", "decisions", "features", "plane"} <= names
    for name in names:
        with Image.open(folder / "figures" / f"{name}.png") as image:
            assert len(image.convert("L").getcolors(256) or ()) > 20, name
        assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_report_of_one_failed_strategy_without_plots_or_bound(tmp_path: Path) -> None:
    record = invented.measurement(
        bound=None,
        bound_stat_only=None,
        sigma=None,
        sigma_stat_only=None,
        auc=None,
        ks_background=None,
        converged=False,
    )
    invented.results(measurements=[record], nuisances=[], warnings=["<b>odd</b>"]).save(tmp_path / "results.json")
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "nothing competes" in text
    assert "&lt;b&gt;odd&lt;/b&gt;" in text
    assert "/ bound" not in text
    assert [path.name for path in (tmp_path / "figures").glob("*.png")] == ["summary.png"]


def test_report_of_several_nuisances_and_points(tmp_path: Path) -> None:
    nuisances = [NuisanceRecord(name=name, nominal=1.0) for name in ("tes", "jes")]
    points = [{"tes": tes, "jes": jes, "mu": 1.0} for tes, jes in ((1, 1), (0.9, 1), (1.1, 1), (1, 1.05))]
    records = [invented.measurement(true=point, auc=0.9) for point in points]
    study = invented.results(measurements=records, nuisances=nuisances)
    text = render(study, [])
    assert text.count('class="point"') == 4
    assert "true tes = 0.900, jes = 1.00" in text
    with style():
        figure = summary_figure(study, "mu")
    assert [axis.get_title() for axis in figure.axes if axis.get_visible()][3] == "true tes = 1.00, jes = 1.05"
    assert preferred_place(study) == UNIFORM


def test_a_study_without_measurements_still_reports(tmp_path: Path) -> None:
    invented.results(measurements=[]).save(tmp_path / "results.json")
    PlotData().save(tmp_path / "plots.npz")
    assert "Comparison" in write_report(tmp_path).read_text(encoding="utf-8")


def test_report_of_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"results\.json: no such file"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_case_without_nuisances_reports(tmp_path: Path) -> None:
    known = {"true": {"s": 50.0}, "poi": "s", "nuisance_estimate": {}, "nuisance_sigma": {}}
    records = [
        invented.measurement(sigma=15.0, bound=14.7, bound_stat_only=14.7, binning="optimised", **known),
        invented.measurement(
            strategy="aware", observable="anchored", binning="joint", bins=20, sigma=14.9, bound=14.7, **known
        ),
    ]
    study = invented.results(measurements=records, nuisances=[], case="inferno-mixture")
    study.save(tmp_path / "results.json")
    score = invented.plots(invented.results(strategies=("nominal",))).score_templates[1]
    bare = dataclasses.replace(score, nuisance="", anchors=np.zeros(1), counts=score.counts[:1])
    check = dataclasses.replace(invented.ratio_check(), points=np.zeros((5, 0)))
    PlotData(score_templates=(bare,), ratio_checks=(check,)).save(tmp_path / "plots.npz")
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Smallest profiled σ(s) at s = 50.0: 14.9, aware as an anchored observable with 20 joint cells" in text
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == {"summary", "templates", "ratios"}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A report of every kind of observable, with pseudo-experiments and a check of ratios."""
    folder = tmp_path_factory.mktemp("complete")
    study = invented.with_toys(invented.every_observable(), folder)
    study.save(folder / "results.json")
    PlotData(ratio_checks=(invented.ratio_check(),)).save(folder / "plots.npz")
    return folder, write_report(folder).read_text(encoding="utf-8")


def test_report_answers_with_coverage(complete: tuple[Path, str]) -> None:
    _, text = complete
    checker = _Checker()
    checker.feed(text)
    assert checker.open == []
    head = text[: text.index("Before you believe it")]
    assert (
        "Do the intervals hold what they promise? At angle = 0.785 rad, ratio, unbinned: no, and the estimate is biased"
        in head
    )
    assert "Pseudo-experiments contradict the intervals" in head
    assert text.count('class="wrong"') >= 4 * 2 + 4
    assert "drawn from events that neither trained" in text
    assert "Every fit converged" in text
    assert "<th>converged</th>" not in text


def test_pseudo_experiments_and_ratios_are_drawn(complete: tuple[Path, str]) -> None:
    folder, text = complete
    names = {path.stem for path in (folder / "figures").glob("*.png")}
    assert names == {"summary", "coverage", "estimates", "ratios"}
    # The invented fits of expected data are off by 0.004 / 0.0678.
    assert "Bias of the unbinned estimate: +0.06 σ of expected data and +0.3" in text


def test_coverage_figure_shows_every_set_and_what_is_off() -> None:
    study = invented.with_toys(invented.every_observable(), None)
    with style():
        figure = coverage_figure(study)
    panels = [axis for axis in figure.axes if axis.containers]
    assert len(panels) == 2 * 4
    assert all(len(axis.containers) == 10 for axis in panels)
    first = [bar.lines[0] for bar in panels[0].containers]
    drawn = [float(line.get_xdata()[0]) for line in first]
    np.testing.assert_allclose(drawn, [100 * r.coverage for r in study.toys if r.true["angle"] == invented.NOMINAL])
    wrong = [abs(value - 68.2689) > 3 * 100 * study.toys[0].coverage_error for value in drawn]
    assert [line.get_color() != first[0].get_color() for line in first] == wrong
    assert 2 <= sum(wrong) < 5


def test_estimates_are_densities_and_sets_without_rows_are_left_out(tmp_path: Path) -> None:
    study = invented.with_toys(invented.every_observable(), tmp_path)
    toys = {record.file: Toys.load(tmp_path / record.file) for record in study.toys if record.strategy == "aware"}
    with style():
        figure = estimate_figure(study, toys)
        nothing = estimate_figure(study, {})
    assert figure is not None
    assert nothing is None
    assert len(figure.axes) == 2
    for axis in figure.axes:
        steps = [patch.get_data() for patch in axis.patches]
        assert len(steps) == 3
        for values, edges, _ in steps:
            assert np.sum(values * np.diff(edges)) == pytest.approx(1.0)
        (line,) = [line for line in axis.lines if len(line.get_xdata()) > 2]
        x, y = line.get_data()
        assert np.trapezoid(y, x) == pytest.approx(1.0, abs=2e-3)
        spread = math.sqrt(np.trapezoid(y * (x - 1) ** 2, x))
        assert spread == pytest.approx(invented.BOUND, rel=5e-3)


@pytest.mark.parametrize("nuisances", [0, 1, 3])
def test_ratio_figure_draws_three_points_and_all_means(nuisances: int) -> None:
    study = invented.results(strategies=("nominal",))
    check = invented.ratio_check(nuisances)
    with style():
        figure = ratio_figure(study, check)
    panels = figure.axes
    assert len(panels) == 4 * 2
    curves = panels[0].containers
    assert len(curves) == 3
    np.testing.assert_array_equal(curves[1].lines[0].get_ydata(), check.observed[0, 2])
    assert len(curves[0].lines[0].get_ydata()) == 19  # the empty bin has no point
    np.testing.assert_allclose([bar.lines[0].get_ydata()[0] for bar in panels[6].containers], check.means[0])
    np.testing.assert_allclose(panels[4].containers[0].lines[0].get_ydata(), (check.closure / check.target)[0, 0])


def test_summary_figure_gives_each_observable_the_bars_it_has() -> None:
    study = invented.every_observable()
    with style():
        figure = summary_figure(study, "mu")
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    expected = "nominal aware†,_poisson aware,_anchored ratio,_unbinned optimal†,_poisson optimal,_anchored"
    assert labels == [*(word.replace("_", " ") for word in expected.split()), "optimal, unbinned"]
    assert len(figure.axes[0].patches) == 2 * (3 * 2 + 4)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[:2] == ["uniform binning", "optimised binning, joint cells or unbinned"]


def test_joint_cells_and_unbinned_stand_with_the_optimised_binning() -> None:
    found = places(invented.every_observable())
    assert [(place.name, place.binnings) for place in found] == [
        ("uniform", ("uniform",)),
        ("optimised", ("optimised", "joint", "none")),
    ]
    alone = [invented.measurement(observable="unbinned", binning="none", bins=0)]
    (place,) = places(invented.results(measurements=alone))
    assert (place.name, place.title, place.full_title) == ("none", "unbinned", "unbinned")
