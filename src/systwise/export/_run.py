"""One export of a run directory, from words to lines that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from systwise.errors import ConfigError
from systwise.export._cabinetry import export_cabinetry
from systwise.export._choice import choose_model, choose_templates
from systwise.export._onnx import export_onnx
from systwise.export._pyhf import about_path, export_pyhf, shown
from systwise.export._refit import Comparison
from systwise.registry import suggestion
from systwise.study import StoredTemplates, read_counts

FORMATS = ("pyhf", "cabinetry", "onnx")


def run_export(
    run: Path,
    out: Path,
    kind: str = "pyhf",
    *,
    point: Mapping[str, float] | None = None,
    data: str = "asimov",
    simulation: bool | None = None,
    allow: float = 0.1,
    folds: str = "mean",
    **chosen: Any,
) -> list[str]:
    """Write one export and return what there is to say about it, a line each.

    Args:
        run: output directory of a run.
        out: the file to write, or a folder for cabinetry.
        kind: `pyhf`, `cabinetry` or `onnx`.
        point: true point of the Asimov data, the nominal one where None.
        data: `asimov`, or `observed` for the counts that `systwise unblind --stage full` read.
        simulation: include the uncertainty of the simulation; the study's choice where None.
        allow: largest loss of a workspace.
        folds: `mean` or `separate` networks (`onnx`).
        chosen: `strategy`, `observable`, `binning` and `seed` of `choose_templates`.

    Raises:
        SystwiseError: one sentence on what is wrong and what to do.
    """
    if kind not in FORMATS:
        raise ConfigError(f"unknown format '{kind}'{suggestion(kind, list(FORMATS))} (known: {', '.join(FORMATS)})")
    if kind == "onnx":
        files = export_onnx(choose_model(run, chosen.get("strategy"), chosen.get("seed")), out, folds)  # type: ignore[arg-type]
        return [f"{file}: scores agree with onnxruntime's to {difference:.1e}" for file, difference in files.items()]
    path = choose_templates(run, **chosen)
    stored = StoredTemplates.load(path)
    write = export_pyhf if kind == "pyhf" else export_cabinetry
    if data not in ("asimov", "observed"):
        raise ConfigError(f"--data {data}: choose asimov or observed")
    observed = read_counts(run, stored) if data == "observed" else None
    found = write(stored, out, point=point, observed=observed, simulation=simulation, allow=allow)
    where = about_path(out) if kind == "pyhf" else out / "about.json"
    head = f"{out}: {stored.strategy}, {stored.observable}, {stored.binning} binning, seed {stored.seed}"
    return [head, *comparison_lines(found), f"{where} holds the same."]


def comparison_lines(found: Comparison) -> list[str]:
    """Return our result beside pyhf's, and what is lost, a line each."""
    ours, theirs = found.ours, found.theirs
    lines = [
        f"  {found.poi} here:    {shown(ours.estimate)} ± {shown(ours.sigma)}",
        f"  {found.poi} in pyhf: {shown(theirs.estimate)} ± {shown(theirs.sigma)}",
    ]
    if found.sigma_change is not None and found.shift is not None:
        lines.append(f"  loss: σ {100 * found.sigma_change:+.2f} %, estimate {found.shift:+.3f} σ")
    lines += [
        f"  interpolation of {name}: expected counts off by up to {size:.2g} statistical standard deviations within "
        "±1σ of its constraint"
        for name, size in found.interpolation.items()
    ]
    return lines + [f"  {loss}" for loss in found.losses]
