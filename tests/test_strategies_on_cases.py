"""Every strategy that trains on every built-in case: finite scores, or one sentence."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from systwise.cases import CASES
from systwise.errors import SystwiseError
from systwise.events import SplitSettings, split_events
from systwise.learn import STRATEGIES, AbstractNetworkStrategy, Problem
from systwise.settings import validate

EVERYWHERE = ("distance_correlation", "moment_decomposition", "tangent_propagation", "inference_aware")
"""All others are trained on most cases by other tests; here they meet the case with the most peculiarities."""
TRAINED = [name for name in STRATEGIES.names() if issubclass(STRATEGIES.get(name), AbstractNetworkStrategy)]
SMALL = {
    "network": {"layers": 1, "width": 8},
    "training": {"batch": 512, "passes": 0.01, "minimum_steps": 32, "evaluations": 1},
}
PLACES = [
    ("inferno-mixture", {"events": 12_000, "benchmark": "B0"}),
    ("inferno-mixture", {"events": 12_000, "benchmark": "B4"}),
    ("eventwise-toy", {"events": 12_000}),
    ("higgsml", {}),
    ("higgs-jets", {}),
    ("higgs-jets", {"rate_input": False}),
]
REFUSED = {
    ("inferno-mixture", "B0"): ("tangent_propagation", "distance_correlation", "moment_decomposition"),
    ("higgs-jets", "False"): ("tangent_propagation",),
}


@pytest.fixture(scope="module", params=PLACES, ids=lambda p: "-".join([p[0], *map(str, p[1].values())]))
def place(request, tmp_path_factory):
    name, settings = request.param
    tree = dict(settings)
    if name == "higgsml":
        tree["data"] = str(request.getfixturevalue("higgsml_path"))
    if name == "higgs-jets":
        pytest.importorskip("pythia8mc", reason="the parton densities come with the extra [higgs-jets]")
        from systwise.cases.higgs_jets import load_sample, write_sample

        path = tmp_path_factory.mktemp("sample") / "hj.parquet"
        write_sample(path, load_sample("hj", 6_000, 3, folder=path.parent))
        tree["sample"] = str(path)
    kind = CASES.get(name)
    case = kind(validate(kind.settings_class, tree, "case"))
    table = case.load(0)
    words = {str(value) for value in settings.values()}
    return Problem(case, table, split_events(table, SplitSettings(scheme="third"))), words


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_scores_are_finite_or_a_sentence_says_why_not(place, name):
    problem, words = place
    if name not in EVERYWHERE and not (problem.case.name == "higgs-jets" and not words):
        pytest.skip("trained on this case by other tests")
    strategy = validate(STRATEGIES.get(name), SMALL)
    if name == "adversarial" and not problem.case.shape_nuisances:
        pytest.skip("an adversary without nuisances")
    refused = any(
        problem.case.name == case and word in words and name in names for (case, word), names in REFUSED.items()
    )
    if name == "ratio" and problem.case.components.alternative is not None:
        refused = True  # components of both signs have no densities
    if refused:
        with pytest.raises(SystwiseError) as caught:
            strategy.fit(problem, 0)
        assert len(str(caught.value).splitlines()) == 1
        return
    observable = strategy.fit(problem, 0).observable
    events = problem.table.slice(slice(0, 500))
    nominal = [nuisance.nominal for nuisance in problem.case.nuisances]
    z = jnp.broadcast_to(jnp.asarray(nominal, jnp.float32), (500, len(nominal)))
    logits = np.asarray(observable.output(problem.case.vary(events, z), z, jnp.int32(0)))
    assert np.isfinite(logits).all()
    assert np.ptp(logits) > 0
