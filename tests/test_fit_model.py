"""Models and data: conventions, derivatives, auxiliary data, and everything that must be refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln

from systwise.errors import ConfigError, DataError, FitError, TemplateError
from systwise.fit import CONVENTIONS, Data, Model, asimov, fit, moving_asimov, stack, study_auxiliary
from systwise.parameters import Components, CountsConstraint, GaussianConstraint, Nuisance, signal_strength

ANCHORS = tuple(np.linspace(-2.0, 2.0, 9).tolist())
SHIFT = Nuisance("shift", 0.0, (-2.0, 2.0), (-2.0, 2.0), ANCHORS)
CONSTRAINT = GaussianConstraint("shift", 1.0)


def templates(scale: float = 1.0) -> np.ndarray:
    """Return `[anchor, component, bin]` with contents that move across the bins."""
    z = np.array(ANCHORS)[:, None]
    signal = 10 * np.exp(-0.5 * (np.arange(4) - 2 - 0.3 * z) ** 2) + 1
    background = 50 * np.exp(-0.2 * (np.arange(4) + 0.2 * z)) + 2
    return scale * np.stack([signal, background], axis=1)


def model(**options: object) -> Model:
    return Model.from_templates(signal_strength(), (SHIFT,), (CONSTRAINT,), templates(), **options)  # type: ignore[arg-type]


def test_expected_counts_at_an_anchor_are_the_templates_contracted() -> None:
    expected = model().expected(2.5, ANCHORS[3])
    np.testing.assert_allclose(expected, 2.5 * templates()[3, 0] + templates()[3, 1], rtol=1e-12)
    assert expected.dtype == np.float64


def test_conventions_differ_by_the_stated_terms_in_the_counts() -> None:
    n = np.array([55.0, 0.0, 31.0, 40.0])
    data = Data(n, (np.array([0.3]),))
    nu, constraint = model().expected(1.2, 0.7), 0.5 * (0.7 - 0.3) ** 2
    drop = np.sum(nu - n * np.log(nu)) + constraint
    assert model(convention="drop").nll(1.2, 0.7, data) == pytest.approx(drop, abs=1e-10)
    assert model(convention="poisson").nll(1.2, 0.7, data) == pytest.approx(drop + gammaln(n + 1).sum(), abs=1e-10)
    terms = np.sum(np.where(n > 0, n * np.log(np.maximum(n, 1)) - n, 0.0))
    assert model(convention="deviance").nll(1.2, 0.7, data) == pytest.approx(drop + terms, abs=1e-10)
    filled = Data(n + 1, data.auxiliary)
    expected = np.sum(nu - (n + 1) * np.log(nu) + gammaln(n + 1)) + constraint
    assert model(convention="loggamma").nll(1.2, 0.7, filled) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    "convention", [c if c in ("poisson", "deviance") else pytest.param(c, marks=pytest.mark.slow) for c in CONVENTIONS]
)
def test_gradient_and_hessian_of_a_moving_likelihood_are_the_automatic_ones(convention: str) -> None:
    moving = model(convention=convention, moving=True)
    data = moving_asimov(moving, 1.0, 0.4, templates()[::-1])
    lik = moving.likelihood()
    observed = jax.tree.map(lambda leaf: leaf[0], moving.observed(data.batch()))
    with jax.enable_x64(True):
        x = jnp.array([1.3, 0.45])
        found = jax.jit(lik.terms)(observed, x)
        value = jax.jit(lambda x: lik.value(observed, x))
        assert float(found.value) == pytest.approx(float(value(x)), abs=1e-9)
        np.testing.assert_allclose(found.gradient, jax.grad(value)(x), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.hessian, jax.hessian(value)(x), rtol=1e-8, atol=1e-8)


def test_a_belief_stays_at_the_nominal_value_and_a_measurement_follows_the_true_one() -> None:
    assert study_auxiliary(model(), 0.8)[0].tolist() == [0.0]
    assert asimov(model(), 1.0, 0.8).auxiliary[0].tolist() == [0.0]
    assert asimov(model(), 1.0, 0.8, auxiliary_at=0.8).auxiliary[0].tolist() == [0.8]
    measured = CountsConstraint("shift", lambda z: jnp.stack([10 + z, 10 - z]))
    counting = Model.from_templates(signal_strength(), (SHIFT,), (measured,), templates())
    np.testing.assert_allclose(study_auxiliary(counting, 0.8)[0], [10.8, 9.2])


def test_moving_asimov_contracts_with_the_coefficients() -> None:
    moving = model(moving=True)
    data = moving_asimov(moving, 3.0, 0.5, templates())
    assert isinstance(data.counts, tuple)
    np.testing.assert_allclose(data.counts[0], 3 * templates()[:, 0] + templates()[:, 1])


def test_values_may_be_named_and_unknown_names_are_refused() -> None:
    assert model().nuisance_values({}).tolist() == [0.0]
    np.testing.assert_array_equal(model().expected({"mu": 2.0}, {"shift": 0.5}), model().expected(2.0, 0.5))
    with pytest.raises(FitError, match="unknown nuisance 'shfit'"):
        model().expected(1.0, {"shfit": 0.5})
    with pytest.raises(FitError, match="2 value"):
        model().expected([1.0, 2.0], 0.5)


def test_nll_is_infinite_where_an_expected_count_is_not_positive() -> None:
    assert model().nll(-100.0, 0.0, asimov(model(), 1.0, 0.0)) == np.inf


def test_stacked_data_are_taken_apart_again() -> None:
    sets = [asimov(model(), mu, 0.1) for mu in (0.0, 1.0, 2.0)]
    both = stack(sets)
    assert len(both) == 3
    assert both.stacked
    np.testing.assert_array_equal(both[1].counts, sets[1].counts)
    with pytest.raises(FitError, match="stack"):
        sets[0][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.__setitem__((2, 0, 1), np.nan), r"'signal', bin 1 at shift=-1, holds nan"),
        (lambda t: t.__setitem__((2, 1, 3), -1.0), r"'background', bin 3 at shift=-1, holds -1.*positive basis"),
        (lambda t: t.__setitem__((4, 1, 0), 0.0), r"'background', bin 0 at shift=0, holds no events.*fewer bins"),
        (lambda t: t.__setitem__((4, slice(None), 0), 0.0), r"no process is expected in bin 0 at shift=0"),
    ],
)
def test_bad_templates_are_refused_by_process_bin_and_nuisance(change, message: str) -> None:
    bad = templates()
    change(bad)
    with pytest.raises(TemplateError, match=message):
        Model.from_templates(signal_strength(), (SHIFT,), (CONSTRAINT,), bad)


def test_wrong_shapes_and_names_are_refused() -> None:
    with pytest.raises(TemplateError, match="shape"):
        Model.from_templates(signal_strength(), (SHIFT,), (CONSTRAINT,), templates()[1:])
    with pytest.raises(TemplateError, match="2 arrays for 1 nuisances"):
        Model.from_templates(signal_strength(), (SHIFT,), (CONSTRAINT,), [templates(), templates()])
    with pytest.raises(TemplateError, match="component, bin"):
        Model.from_templates(signal_strength(), (), (), np.ones((3, 4)))
    with pytest.raises(ConfigError, match="no such nuisance"):
        Model.from_templates(signal_strength(), (SHIFT,), (GaussianConstraint("other", 1.0),), templates())
    with pytest.raises(ConfigError, match="unknown convention 'saturated'"):
        model(convention="saturated")
    with pytest.raises(FitError, match="grid"):
        fit(model(), asimov(model(), 1.0, 0.0), grid=np.ones((3, 2)))


def test_bad_data_are_refused() -> None:
    with pytest.raises(DataError, match="bin 2 holds nan"):
        Data(np.array([1.0, 2.0, np.nan]), ())
    with pytest.raises(DataError, match="bin 0 holds -1"):
        Data(np.array([-1.0, 2.0]), ())
    with pytest.raises(DataError, match="shapes"):
        model().nll(1.0, 0.0, Data(np.ones(5), (np.zeros(1),)))
    with pytest.raises(DataError, match="auxiliary arrays"):
        model().nll(1.0, 0.0, Data(np.ones(4), ()))
    with pytest.raises(DataError, match="moving"):
        model(moving=True).nll(1.0, 0.0, Data(np.ones(4), (np.zeros(1),)))
    with pytest.raises(FitError, match="moving_asimov"):
        asimov(model(moving=True), 1.0, 0.0)
    with pytest.raises(DataError, match="component, bin"):
        moving_asimov(model(moving=True), 1.0, 0.0, templates()[1:])
    empty = templates()
    empty[3, :, 2] = 0.0
    data = moving_asimov(model(moving=True), 1.0, 0.0, empty)
    with pytest.raises(DataError, match=r"bin 2 is empty at anchor 3.*poisson"):
        model(moving=True, convention="loggamma").nll(1.0, 0.0, data)


def test_components_without_a_constant_one_need_no_background() -> None:
    couplings = Components(("tt", "tg", "gg"), ("ct", "cg"), ((2, 0), (1, 1), (0, 2)), (1.0, 1.0), ((-3, 3), (-3, 3)))
    built = Model.from_templates(couplings, (), (), np.array([[5.0, 1.0], [1.0, 2.0], [2.0, 0.5]]))
    np.testing.assert_allclose(built.expected([2.0, 0.5], ()), [4 * 5 + 1 + 0.5, 4 + 2 + 0.125])
