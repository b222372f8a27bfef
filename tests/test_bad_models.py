"""What cannot be fitted is refused in one sentence with name, place and remedy; what cannot be told apart is said."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from systwise.errors import ConfigError, DataError, SystwiseError, TemplateError
from systwise.fit import Model, fit
from systwise.parameters import (
    AsymmetricGaussianConstraint,
    Components,
    GaussianConstraint,
    LogNormalConstraint,
    Nuisance,
    PoissonConstraint,
    signal_strength,
)

SHAPES = np.array([[[5.0, 3.0], [50.0, 40.0]], [[5.0, 3.0], [55.0, 41.0]], [[5.0, 3.0], [60.0, 42.0]]])


def model(*names: str) -> Model:
    nuisances = [Nuisance(name, width=1) for name in names]
    return Model.from_templates(signal_strength(-5, 8), nuisances, (), [SHAPES] * len(names) or SHAPES[1])


def two(names: tuple[str, str] = ("a", "b"), pois: tuple[str, str] = ("x", "y")) -> Components:
    return Components(names, pois, ((1, 0), (0, 1)), (1.0, 1.0), ((0.0, 2.0), (0.0, 2.0)))


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: model("b", "b"), ConfigError, "two parameters are called 'b'"),
        (lambda: model("mu"), ConfigError, "two parameters are called 'mu'"),
        (lambda: two(names=("a", "a")), ConfigError, "two are called 'a'; give each component"),
        (lambda: two(pois=("x", "x")), ConfigError, "two are called 'x'; give each parameter of interest"),
        (lambda: signal_strength(2, 10), ConfigError, r"\[2, 10\] of 'mu' does not hold its nominal value 1"),
        (lambda: signal_strength(10, 2), ConfigError, "does not hold its nominal value"),
        (lambda: Nuisance("b", 5.0, (-1, 1), (-1, 1), (-1, 0, 1)), ConfigError, "'b': nominal 5 is outside its range"),
        (lambda: GaussianConstraint("b", 0.0), ConfigError, "on 'b': width is 0 and must be positive"),
        (lambda: GaussianConstraint("b", -1.0), ConfigError, "width is -1"),
        (lambda: GaussianConstraint("b", math.nan), ConfigError, "width is nan"),
        (lambda: AsymmetricGaussianConstraint("b", 0.0, 1.0), ConfigError, "down is 0"),
        (lambda: PoissonConstraint("b", 0.0), ConfigError, "scale is 0"),
        (lambda: LogNormalConstraint("b", math.inf), ConfigError, "kappa is inf"),
        (lambda: model().data([60.0, 41.0, 3.0]), DataError, r"shape \(3,\) for a model of 2 bins"),
        (lambda: model().data([60.0, -1.0]), DataError, "bin 1 holds -1"),
        (lambda: model().data(["a", "b"]), DataError, "counts are no numbers"),
        (
            lambda: Model.from_templates(signal_strength(), (), (), np.array([[math.inf, 1.0], [5.0, 6.0]])),
            TemplateError,
            "'signal', bin 0, holds inf",
        ),
        (
            lambda: Model.from_templates(signal_strength(), (), (), np.array([[0.0, 1.0], [0.0, 6.0]])),
            TemplateError,
            "no process is expected in bin 0",
        ),
    ],
)
def test_it_is_refused_in_a_sentence(make: Callable[[], object], kind: type[SystwiseError], words: str) -> None:
    with pytest.raises(kind, match=words) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_two_free_nuisances_of_the_same_effect_are_indistinguishable() -> None:
    same = model("b", "c")
    result = fit(same, same.data([62.0, 46.0]))
    assert not result.converged
    assert "b and c are indistinguishable" in result.verdict or "c and b are indistinguishable" in result.verdict
    assert result.rows()[0] == ("mu", "-")


def test_a_free_nuisance_without_effect_is_named() -> None:
    shapes = np.stack([SHAPES[1]] * 3)
    idle = Model.from_templates(signal_strength(-5, 8), [Nuisance("idle", width=1)], (), [shapes])
    assert "nothing constrains idle" in fit(idle, idle.data([62.0, 46.0])).verdict


def test_a_model_is_a_line_when_it_is_shown() -> None:
    assert repr(model("b")) == "Model(mu | components: signal, background | 1 nuisances | regions: all bins (2 bins))"
