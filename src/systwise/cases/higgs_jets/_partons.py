"""Parton densities of the proton, read from LHAPDF6 text grids (arXiv:1412.7420, format `lhagrid1`)."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.interpolate import NdBSpline, RectBivariateSpline

from systwise.errors import DataError

FLAVOURS = (-5, -4, -3, -2, -1, 21, 1, 2, 3, 4, 5)
"""PDG codes of the partons, in the order of every `[flavour]` axis: antiquarks b to d, gluon, quarks d to b."""

GLUON = FLAVOURS.index(21)

_NUMBER = re.compile(r"[-+]?\d+\.\d*(?:[eE][-+]\d\d)?")


@dataclasses.dataclass(frozen=True)
class PartonDensities:
    """x f(x, Q) of eleven partons, cubic splines in (ln x, ln Q) on each subgrid of the file.

    Densities are clipped at zero: fits go slightly negative at large x, and a negative cross section there
    is no physics.

    Attributes:
        name: name of the set's member.
        fingerprint: SHA-256 of the file.
        edges: `[subgrid + 1]` scales in GeV between which each subgrid holds (flavour thresholds inside).
        lowest: smallest x of the grid.
    """

    name: str
    fingerprint: str
    edges: tuple[float, ...]
    lowest: float
    _splines: tuple[NdBSpline, ...] = dataclasses.field(repr=False, compare=False)

    @classmethod
    def read(cls, name: str, folder: str | Path | None = None) -> PartonDensities:
        """Read a set's member by name or path; see `find_grid` for where it is looked for.

        Raises:
            DataError: there is no such grid, or the file is not one.
        """
        path = find_grid(name, folder)
        content = path.read_bytes()
        try:
            grids = [_subgrid(block) for block in _blocks(content.decode("ascii"))]
        except (ValueError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: is no LHAPDF6 grid ({error}); give a file of format lhagrid1") from error
        edges = (*(float(grid.scales[0]) for grid in grids), float(grids[-1].scales[-1]))
        lowest = max(float(grid.momenta[0]) for grid in grids)
        return cls(
            path.stem, hashlib.sha256(content).hexdigest(), edges, lowest, tuple(grid.spline() for grid in grids)
        )

    def __call__(
        self, momentum: Float[np.ndarray, " event"], scale: Float[np.ndarray, " event"]
    ) -> Float[np.ndarray, "flavour event"]:
        """Return x f(x, Q), at least zero.

        Args:
            momentum: x, the parton's fraction of the proton's momentum, below 1.
            scale: the factorisation scale Q in GeV.

        Raises:
            DataError: a point lies outside of the grid.
        """
        if len(scale) and (scale.min() < self.edges[0] or scale.max() > self.edges[-1]):
            raise DataError(
                f"parton densities {self.name} hold for scales from {self.edges[0]:g} to {self.edges[-1]:g} GeV and "
                f"{scale.min():.4g} to {scale.max():.4g} GeV are asked for; raise the jet threshold or take another set"
            )
        if len(momentum) and (momentum.min() < self.lowest or momentum.max() > 1):
            raise DataError(
                f"parton densities {self.name} hold for x from {self.lowest:g} to 1 and {momentum.min():.4g} to "
                f"{momentum.max():.4g} are asked for; take another set"
            )
        points = np.stack([np.log(momentum), np.log(scale)], axis=-1)
        # All events of a process lie in one subgrid almost always; the others are left alone then.
        chosen = np.searchsorted(self.edges[1:-1], scale, side="right")
        present = np.unique(chosen)
        if len(present) == 1:
            values = self._splines[present[0]](points)
        else:
            values = np.empty((len(points), len(FLAVOURS)))
            for index in present:
                values[chosen == index] = self._splines[index](points[chosen == index])
        return np.maximum(values.T, 0.0)


def find_grid(name: str, folder: str | Path | None = None) -> Path:
    """Return the grid file of a member such as `NNPDF31_lo_as_0118_0000`.

    A name that is the path of a file is that file. Else `NAME.dat` and LHAPDF's `SET/NAME.dat` are looked
    for in `folder`, in the folders of the environment variable `LHAPDF_DATA_PATH` and in the data files
    that the package pythia8mc installs (of which only those are read, never its code).

    Raises:
        DataError: there is no such file; the message says how to get one.
    """
    if Path(name).is_file():
        return Path(name)
    stem = Path(name).name.removesuffix(".dat")
    folders = [] if folder is None else [Path(folder)]
    folders += [Path(part) for part in os.environ.get("LHAPDF_DATA_PATH", "").split(os.pathsep) if part]
    folders += [Path(prefix) / "share" / "Pythia8" / "pdfdata" for prefix in (sys.prefix, sys.base_prefix)]
    for base in folders:
        for path in (base / f"{stem}.dat", base / stem.rsplit("_", 1)[0] / f"{stem}.dat"):
            if path.is_file():
                return path
    raise DataError(
        f"parton densities '{name}' were not found; install the extra that brings grids "
        "(pip install '.[higgs-jets]'), or name a folder of LHAPDF6 grids in LHAPDF_DATA_PATH"
    )


@dataclasses.dataclass(frozen=True)
class _Subgrid:
    """Knots and values between two flavour thresholds."""

    momenta: Float[np.ndarray, " x"]
    scales: Float[np.ndarray, " q"]
    values: Float[np.ndarray, "x q flavour"]

    def spline(self) -> NdBSpline:
        """Return one spline with the flavours as its trailing axis: the basis is evaluated once for all."""
        # Some published files list their lowest x twice.
        momenta, rows = np.unique(self.momenta, return_index=True)
        x, q = np.log(momenta), np.log(self.scales)
        fits = [RectBivariateSpline(x, q, self.values[rows, :, i]).tck for i in range(len(FLAVOURS))]
        knots = fits[0][:2]
        shape = tuple(len(knot) - 4 for knot in knots)
        return NdBSpline(knots, np.stack([fit[2].reshape(shape) for fit in fits], axis=-1), 3)


def _blocks(text: str) -> list[str]:
    """Return the blocks of subgrids, leaving out the header."""
    blocks = [block.strip() for block in text.split("---")][1:]
    blocks = [block for block in blocks if block]
    if not blocks:
        raise ValueError("no block between lines of '---'")
    return blocks


def _subgrid(block: str) -> _Subgrid:
    """Parse one block: a line of x, a line of Q, a line of flavours, then rows with Q running fastest."""
    head = block.split("\n", 3)
    if len(head) < 4:
        raise ValueError("a block has fewer than four lines")
    momenta, scales = _numbers(head[0]), _numbers(head[1])
    codes = [21 if int(code) == 0 else int(code) for code in head[2].split()]
    if min(len(momenta), len(scales)) < 4:
        raise ValueError("a subgrid has fewer than four knots in x or Q")
    values = _numbers(head[3]).reshape(len(momenta), len(scales), len(codes))
    # A flavour that the file does not list has no density below its threshold.
    chosen = [values[..., codes.index(code)] if code in codes else np.zeros(values.shape[:2]) for code in FLAVOURS]
    return _Subgrid(momenta, scales, np.stack(chosen, axis=-1))


def _numbers(text: str) -> Float[np.ndarray, " number"]:
    """Return the numbers of a text; some published files have numbers that touch."""
    try:
        return np.array(text.split(), dtype=np.float64)
    except ValueError:
        return np.array(_NUMBER.findall(text), dtype=np.float64)
