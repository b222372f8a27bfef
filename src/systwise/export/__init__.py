"""What leaves this package for others: workspaces, histograms, networks, predictions. Trains and measures nothing.

What to use when: `export_pyhf` for a HistFactory workspace with the loss of the translation measured
(`histfactory_workspace` and `compare` for a model of your own); `export_cabinetry` for histograms and a
configuration; `to_hist` for histograms in Python; `export_onnx` for a trained network; `predict` for scores of
events in files.
"""

from systwise.export._cabinetry import export_cabinetry
from systwise.export._choice import choose_model, choose_templates
from systwise.export._hist import to_hist
from systwise.export._onnx import export_onnx
from systwise.export._predict import predict, predict_run
from systwise.export._pyhf import export_pyhf, translate
from systwise.export._pyhf_model import Refit
from systwise.export._refit import Comparison, compare
from systwise.export._run import run_export
from systwise.export._scorer import Scorer, load_scorer
from systwise.export._workspace import Workspace, histfactory_workspace

__all__ = [
    "Comparison",
    "Refit",
    "Scorer",
    "Workspace",
    "choose_model",
    "choose_templates",
    "compare",
    "export_cabinetry",
    "export_onnx",
    "export_pyhf",
    "histfactory_workspace",
    "load_scorer",
    "predict",
    "predict_run",
    "run_export",
    "to_hist",
    "translate",
]
