"""How figures look: one colour and marker a strategy, sizes for a talk.

Figures are `matplotlib.figure.Figure` objects on the Agg canvas: pyplot and its current figure are
never used, and the settings hold only inside `style()`, so a notebook's own plots stay as they are.
Colours are those of M. Petroff (arXiv:2107.02270), made to be told apart by colour-blind readers.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import mplhep
import numpy as np
from matplotlib.figure import Figure

from systwise.report.text._numbers import significant
from systwise.study import Results

DPI = 150
SIGNAL, BACKGROUND = "#bd1f01", "#3f90da"
COMPONENT_COLOURS = (
    *(SIGNAL, BACKGROUND, "#832db6", "#ffa90e", "#a96b59"),
    *("#717581", "#e76300", "#b9ac70", "#92dadd", "#94a4a2"),
)
GREY = "#717581"

_TICKS: dict[Any, Any] = {
    key: value
    for key, value in mplhep.style.ROOT.items()
    if key.startswith(("xtick.", "ytick.")) and ("size" not in key and "pad" not in key)
}
_RC: dict[Any, Any] = {
    **_TICKS,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "font.size": 11,
    "axes.labelsize": 12,
    "axes.titlesize": 11,
    # A fixed place: matplotlib looks for one by measuring every tick label, a third of the time.
    "axes.titley": 1.0,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "axes.formatter.use_mathtext": False,
    "axes.formatter.limits": (-3, 5),
    "figure.dpi": 100,
    "savefig.dpi": DPI,
    "pdf.fonttype": 3,
    "text.usetex": False,
}


@dataclasses.dataclass(frozen=True)
class Look:
    """How a strategy is drawn, the same in every figure."""

    colour: str
    marker: str
    line: str


_LOOKS = {
    "nominal": Look("#3f90da", "o", "-"),
    "true_nuisance": Look("#717581", "D", "--"),
    "augmented": Look("#ffa90e", "s", "-"),
    "adversarial": Look("#832db6", "^", "-"),
    "distance_correlation": Look("#92dadd", "<", "-"),
    "moment_decomposition": Look("#b9ac70", ">", "-"),
    "tangent_propagation": Look("#832db6", "d", "-."),
    "inference_aware": Look("#a96b59", "v", "-"),
    "aware": Look("#bd1f01", "*", "-"),
    "ratio": Look("#e76300", "h", "-"),
    "optimal": Look("#000000", "P", ":"),
    "optimal_nominal": Look("#94a4a2", "X", ":"),
}
_SPARE = (
    Look("#a96b59", "p", "--"),
    Look("#92dadd", "8", "--"),
    Look("#b9ac70", "H", "--"),
)


def looks(strategies: list[str]) -> dict[str, Look]:
    """Return the look of each strategy; unknown ones get spare looks in the order given.

    A variant, `name@...`, looks like `name`.
    """
    spare = iter(_SPARE * (1 + len(strategies) // len(_SPARE)))
    return {name: _LOOKS.get(name.split("@")[0]) or next(spare) for name in dict.fromkeys(strategies)}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Apply the style to figures made and saved inside; everything is as before afterwards."""
    with matplotlib.rc_context(_RC):
        yield


def titles(names: list[str]) -> list[str]:
    """Return panel titles: a strategy with a training for each true point is numbered in their order.

    >>> titles(["a", "b", "a"])
    ['a (1)', 'b', 'a (2)']
    """
    return [
        f"{name} ({names[: number + 1].count(name)})" if names.count(name) > 1 else name
        for number, name in enumerate(names)
    ]


def poi_label(poi: str) -> str:
    r"""Return a parameter of interest as mathtext where it is a Greek letter or a letter with an index.

    >>> poi_label("mu"), poi_label("k_V"), poi_label("mu_ggH_8TeV")
    ('$\\mu$', '$k_V$', 'mu_ggH_8TeV')
    """
    greek = poi in {"mu", "kappa", "alpha", "beta", "theta", "lambda", "sigma"}
    letter = len(poi) == 3 and poi[1] == "_" and poi[0].isalpha() and poi[2].isalnum()
    return rf"$\{poi}$" if greek else f"${poi}$" if letter else poi


def shown_value(value: float, among: np.ndarray) -> str:
    """Return a nuisance value with three digits; one that is tiny beside the others is zero."""
    return significant(0.0 if abs(value) < 1e-3 * np.max(np.abs(among)) else value)


def nuisance_label(results: Results, name: str, unit: bool = True) -> str:
    """Return a nuisance's axis label, with its unit in brackets."""
    for record in results.nuisances:
        if record.name == name:
            text = record.label or record.name
            return f"{text} [{record.unit}]" if unit and record.unit else text
    return name


def save_figure(figure: Figure, folder: Path, name: str) -> Path:
    """Write `name.png` and `name.pdf` into `folder`; return the PNG's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=DPI, pil_kwargs={"compress_level": 2})
    figure.savefig(path.with_suffix(".pdf"), dpi=DPI)
    return path
