"""Settings of HiggsML, and the layers of study settings that `--preset paper` and `--quick` lay on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from systwise.cases._paper import paper_preset
from systwise.settings import Settings


class HiggsmlSettings(Settings):
    """Settings of HiggsML; yields in events at the luminosity of 2012 (20.3 fb^-1 at 8 TeV)."""

    data: Path | None = None
    """File with the challenge's columns (.csv, .csv.gz, .parquet); downloaded once where not given."""
    signal: float = Field(691.9886, gt=0)
    """Expected signal events before the selection (the full file's sum of weights)."""
    background: float = Field(410_999.8473, gt=0)
    """Expected background events before the selection (the full file's sum of weights)."""
    tes_width: float = Field(0.05, gt=0)
    """Width of the Gaussian constraint on the tau energy scale."""
    tes_range: tuple[float, float] = (0.75, 1.15)
    """Tau energy scales that a fit may reach."""
    tes_training: tuple[float, float] = (0.70, 1.14)
    """Tau energy scales drawn in training (the paper's)."""
    anchors: int = Field(17, ge=3)
    """Tau energy scales at which templates are made, evenly spaced over `tes_range`."""


_WIDE = {"network": {"layers": 10, "width": 512}}
# Profiled over the paper's 35 values from 0.80 to 1.14, which are the anchors as well.
PAPER = paper_preset({"tes_range": (0.80, 1.14), "anchors": 35}, {"nominal": _WIDE, "true_nuisance": _WIDE})
"""The networks, grid, binning and likelihood of arXiv:2105.08742."""

QUICK: dict[str, Any] = {"case": {"anchors": 9}, "training": {"passes": 4, "minimum_steps": 300}}
"""A small version."""
