"""Higgs + jets events of other generators: Les Houches event files with several weights an event."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
import xml.etree.ElementTree
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from systwise.cases._case import Progress, no_progress
from systwise.cases.higgs_jets._generator_settings import SCALES, Process
from systwise.cases.higgs_jets._physics import COEFFICIENTS
from systwise.cases.higgs_jets._sample import Sample, jet_pair_features
from systwise.errors import ConfigError, DataError
from systwise.events import file_fingerprint
from systwise.optional import optional_module

CENTRAL_WEIGHT = "XWGTUP"
"""Name of the weight in an event's first line, beside those of `<rwgt>` or `<weights>`."""

_HIGGS, _PARTONS = 25, {*range(-5, 0), *range(1, 6), 21}
_REPORT_EVERY = 10_000
_UNREADABLE = (
    ValueError,
    KeyError,
    IndexError,
    OSError,
    EOFError,
    RuntimeWarning,
    xml.etree.ElementTree.ParseError,
)


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """What a named weight of an event file stands for.

    Attributes:
        c_t: top Yukawa coupling over its Standard Model value.
        c_g: effective gluon coupling.
        scale: (mu_R, mu_F) over the central scale, one of `SCALES`.
    """

    c_t: float
    c_g: float
    scale: tuple[float, float] = (1.0, 1.0)


def read_lhe(
    path: str | Path,
    process: Process,
    hypotheses: Mapping[str, Hypothesis],
    normalisation: Literal["mean", "sum"] = "mean",
    progress: Progress = no_progress,
) -> Sample:
    """Return the events of a Les Houches event file (arXiv:hep-ph/0609017; weights: arXiv:1405.1067).

    A weight is quadratic in the couplings, so three pairs of them that are not degenerate give the
    coefficients of c_t^2, c_t c_g and c_g^2 (more are fitted by least squares). At the central scale three are
    needed. At any other scale one is enough: the central coefficients are then multiplied by the ratio of that
    weight to the central one of the same couplings, which takes the scale variation to be the same for all
    couplings. Jets are the partons; no selection is applied.

    Args:
        path: the file, `.lhe` or `.lhe.gz`.
        process: `hj` or `hjj`.
        hypotheses: what each weight means, by its id; `XWGTUP` is the event's own.
        normalisation: whether the mean or the sum of a weight over the file is the cross section in pb.
        progress: called every so often, in events (the total is not known before the end).

    Raises:
        ConfigError: the package pylhe is missing, a scale is not one of `SCALES`, or the hypotheses do not
            determine the coefficients at every scale.
        DataError: the file cannot be read, an event lacks a weight, or is not of the process.
    """
    solve = _Coefficients.of(hypotheses)
    rows, jets = [], []
    name = Path(path).name
    # Closed at once where an event is refused, and the file with it.
    with contextlib.closing(_events(Path(path))) as events:
        for number, event in enumerate(events):
            rows.append(_weights(event, hypotheses, f"{path}: event {number}"))
            jets.append(_momenta(event, 1 if process == "hj" else 2, f"{path}: event {number}"))
            if number % _REPORT_EVERY == 0:
                progress(f"reading {name}", number, number + _REPORT_EVERY)
    if not rows:
        raise DataError(f"{path}: holds no events; give another file")
    progress(f"reading {name}", len(rows), len(rows))
    weights = solve(np.array(rows), str(path))
    if normalisation == "mean":
        weights /= len(rows)
    features = _features(process, np.array(jets))
    numbers = np.arange(len(rows), dtype=np.int64)
    return Sample(
        process,
        len(rows),
        numbers,
        features.astype(np.float32),
        weights.astype(np.float32),
        file_fingerprint(path),
    )


@dataclasses.dataclass(frozen=True)
class _Coefficients:
    """How the weights of an event become coefficients at every scale.

    Attributes:
        central: which weights are at the central scale, and the matrix that solves for the coefficients.
        others: the same for each other scale, or the two weights whose ratio is taken.
    """

    central: tuple[list[int], Float[np.ndarray, "coefficient weight"]]
    others: list[tuple[list[int], Float[np.ndarray, "coefficient weight"] | None]]

    @classmethod
    def of(cls, hypotheses: Mapping[str, Hypothesis]) -> _Coefficients:
        """Look at what is given."""
        given = list(hypotheses.values())
        for name, hypothesis in hypotheses.items():
            if hypothesis.scale not in SCALES:
                raise ConfigError(f"weight '{name}': scale {hypothesis.scale} is none of {SCALES}; leave it out")
        solutions = [_solution(given, scale) for scale in SCALES]
        indices, matrix = solutions[0]
        if matrix is None:
            raise ConfigError(
                "the weights at the central scale do not determine the coefficients of c_t^2, c_t c_g and c_g^2; "
                "name at least three with different ratios of c_g to c_t"
            )
        central = {(given[index].c_t, given[index].c_g): index for index in indices}
        others: list[tuple[list[int], np.ndarray | None]] = []
        for scale, (found, solution) in zip(SCALES[1:], solutions[1:], strict=True):
            pairs = [[i, central[key]] for i in found if (key := (given[i].c_t, given[i].c_g)) in central]
            if solution is None and not pairs:
                raise ConfigError(
                    f"no weight at scale (mu_R, mu_F) = {scale} mu_0 has couplings that the central scale has; name one"
                )
            others.append((found, solution) if solution is not None else (pairs[0], None))
        return cls((indices, matrix), others)

    def __call__(
        self, weights: Float[np.ndarray, "event weight"], source: str
    ) -> Float[np.ndarray, "event scale coefficient"]:
        """Return coefficients from the weights, in the order of the hypotheses."""
        indices, matrix = self.central
        central = weights[:, indices] @ matrix.T
        columns = [central]
        for chosen, solution in self.others:
            if solution is not None:
                columns.append(weights[:, chosen] @ solution.T)
                continue
            varied, nominal = weights[:, chosen[0]], weights[:, chosen[1]]
            if not nominal.all():
                raise DataError(f"{source}: a weight at the central scale is zero, so that it has no scale variation")
            columns.append(central * (varied / nominal)[:, None])
        return np.stack(columns, axis=1)


def _solution(given: list[Hypothesis], scale: tuple[float, float]) -> tuple[list[int], np.ndarray | None]:
    """Return which hypotheses are at a scale, and the matrix from their weights to coefficients if there is one."""
    indices = [index for index, hypothesis in enumerate(given) if hypothesis.scale == scale]
    design = np.array([[given[i].c_t ** 2, given[i].c_t * given[i].c_g, given[i].c_g ** 2] for i in indices])
    if len(indices) < len(COEFFICIENTS) or np.linalg.matrix_rank(design) < len(COEFFICIENTS):
        return indices, None
    return indices, np.linalg.pinv(design)


def _events(path: Path) -> Any:
    """Yield the events of a file through pylhe."""
    pylhe = optional_module("pylhe", "reading Les Houches event files")
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path")
    try:
        # A damaged file ends early with no more than a warning.
        with _warnings_are_errors():
            # A generator, whatever the annotation says: closing it closes the file.
            events: Any = pylhe.LHEFile.fromfile(str(path), with_attributes=True).events
        with contextlib.closing(events):
            while True:
                with _warnings_are_errors():
                    event = next(events, None)
                if event is None:
                    return
                yield event
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read as Les Houches events ({error}); check that it is complete") from error


@contextlib.contextmanager
def _warnings_are_errors() -> Iterator[None]:
    """Turn warnings of the reader into errors, and leave those of others as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def _weights(event: Any, hypotheses: Mapping[str, Hypothesis], where: str) -> list[float]:
    """Return an event's weights in the order of the hypotheses."""
    missing = [name for name in hypotheses if name != CENTRAL_WEIGHT and name not in event.weights]
    if missing:
        has = ", ".join(list(event.weights)[:6])
        raise DataError(f"{where} has no weight '{missing[0]}' (it has {has or 'none'}); correct the names of weights")
    own = float(event.eventinfo.weight)
    return [own if name == CENTRAL_WEIGHT else float(event.weights[name]) for name in hypotheses]


def _momenta(event: Any, jets: int, where: str) -> list[tuple[float, float, float, float]]:
    """Return (px, py, pz, E) of the jets and, last, of the Higgs boson."""
    higgs = [p for p in event.particles if p.id == _HIGGS]
    partons = [p for p in event.particles if p.status == 1 and p.id in _PARTONS]
    if not higgs or len(partons) != jets:
        raise DataError(
            f"{where} has {len(higgs)} Higgs bosons and {len(partons)} final partons, {jets} are meant; "
            "give events of this process with an undecayed Higgs boson"
        )
    return [(p.px, p.py, p.pz, p.e) for p in (*partons, higgs[-1])]


def _features(process: Process, momenta: Float[np.ndarray, "event particle 4"]) -> Float[np.ndarray, "event feature"]:
    """Return the features of events given as (px, py, pz, E)."""
    px, py, pz, energy = np.moveaxis(momenta, 2, 0)
    pt = np.hypot(px, py)
    if process == "hj":
        rapidity = np.arctanh(pz[:, 1] / energy[:, 1])
        return np.stack([pt[:, 0], np.arcsinh(pz[:, 0] / pt[:, 0]), rapidity], axis=-1)
    jets = pt[:, :2].T
    angle = np.arctan2(py, px)
    between = np.abs(np.remainder(angle[:, 0] - angle[:, 1] + np.pi, 2 * np.pi) - np.pi)
    return jet_pair_features(jets, np.arcsinh(pz[:, :2] / pt[:, :2]).T, between, pt[:, 2])
