"""Networks, the training loop and a file a strategy; out comes an observable."""

from systwise.learn._saving import load_arrays, load_observable, read_observable, save_observable
from systwise.learn._strategy import (
    STRATEGIES,
    AbstractNetworkStrategy,
    AbstractStrategy,
    Problem,
    Trained,
)
from systwise.learn.external._host import AbstractHostModel, HostObservable, host_logits, logits_of
from systwise.learn.networks._network import ACTIVATIONS, AbstractNetwork, Blind, Halves, NetworkSettings, Scaler, Told
from systwise.learn.observables._bins import AbstractDiscreteObservable, BinObservable
from systwise.learn.observables._given import GivenBins, given_observable
from systwise.learn.observables._observable import AbstractObservable, NetworkObservable
from systwise.learn.observables._truth import TruthObservable
from systwise.learn.ratios._calibration import reference_draw
from systwise.learn.ratios._diagnostics import RatioDiagnostics, ratio_diagnostics
from systwise.learn.ratios._ratio import AbstractRatioObservable, RatioObservable
from systwise.learn.training._checkpoints import Checkpoints
from systwise.learn.training._game import TrainingSettings
from systwise.learn.training._task import Task, signal_task
from systwise.learn.training._training import History

__all__ = [
    "ACTIVATIONS",
    "STRATEGIES",
    "AbstractDiscreteObservable",
    "AbstractHostModel",
    "AbstractNetwork",
    "AbstractNetworkStrategy",
    "AbstractObservable",
    "AbstractRatioObservable",
    "AbstractStrategy",
    "BinObservable",
    "Blind",
    "Checkpoints",
    "GivenBins",
    "Halves",
    "History",
    "HostObservable",
    "NetworkObservable",
    "NetworkSettings",
    "Problem",
    "RatioDiagnostics",
    "RatioObservable",
    "Scaler",
    "Task",
    "Told",
    "Trained",
    "TrainingSettings",
    "TruthObservable",
    "given_observable",
    "host_logits",
    "load_arrays",
    "load_observable",
    "logits_of",
    "ratio_diagnostics",
    "read_observable",
    "reference_draw",
    "save_observable",
    "signal_task",
]
