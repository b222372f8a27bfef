"""The parts of a HistFactory workspace as arrays over the bins of all channels, and what is refused of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from systwise.errors import ConfigError

VERSION = "1.0.0"
"""Version of pyhf's schema that is read."""
KNOWN = ("normfactor", "normsys", "histosys", "staterror", "lumi", "shapesys", "shapefactor")


def chosen_measurement(workspace: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    """Return a measurement by name, the first where None.

    Raises:
        ConfigError: no such measurement, or none at all.
    """
    known = {entry["name"]: entry for entry in workspace.get("measurements", [])}
    if not known:
        raise ConfigError("workspace: no measurements; add one that names the parameter of interest")
    if name is not None and name not in known:
        raise ConfigError(f"workspace: no measurement '{name}' (known: {', '.join(known)})")
    return known[name] if name is not None else next(iter(known.values()))


def checked_channels(workspace: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the channels of a workspace.

    Raises:
        ConfigError: another version of the schema, no channels, or a channel without samples.
    """
    version = workspace.get("version", VERSION)
    if version != VERSION:
        raise ConfigError(f"workspace: version {version} of the schema; {VERSION} is read, convert it with pyhf")
    channels = workspace.get("channels") or []
    if not channels:
        raise ConfigError("workspace: no channels; is this a workspace of pyhf's schema (or a HistFactory XML file)?")
    bare = next((channel["name"] for channel in channels if not channel.get("samples")), None)
    if bare is not None:
        raise ConfigError(f"workspace: channel '{bare}' has no samples; add some or drop it")
    return channels  # type: ignore[no-any-return]


def observations(workspace: Mapping[str, Any]) -> np.ndarray:
    """Return the observed counts of all channels, `[bin]`.

    Raises:
        ConfigError: a channel has no observation, or one of another length.
    """
    observed = {entry["name"]: entry["data"] for entry in workspace.get("observations", [])}
    counts = []
    for channel in checked_channels(workspace):
        name, bins = channel["name"], len(channel["samples"][0]["data"])
        if name not in observed:
            raise ConfigError(f"workspace: channel '{name}' has no observation; add one to observations")
        if len(observed[name]) != bins:
            raise ConfigError(
                f"workspace: channel '{name}' has {len(observed[name])} observed counts for {bins} bins; "
                "take the data of the same binning"
            )
        counts.append(_numbers(observed[name], bins, f"observation of channel '{name}'", "counts"))
    return np.concatenate(counts)


def _numbers(values: Any, bins: int, who: str, what: str) -> np.ndarray:
    """Return numbers `[bin]`.

    Raises:
        ConfigError: another number of bins, or a value that is not finite.
    """
    array = np.asarray(values, np.float64)
    if array.shape != (bins,):
        raise ConfigError(f"workspace: {who}: {array.size} {what} for {bins} bins")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise ConfigError(f"workspace: {who}, bin {bad[0]}: {array[bad[0]]} is no number that can be fitted; mend it")
    return array


@dataclasses.dataclass
class Vector:
    """A factor for every bin of a channel.

    Attributes:
        masks: what each of them multiplies, `[factor][sample, bin]`.
        scales: auxiliary count expected at 1; None without constraint, infinite where there is no uncertainty.
    """

    masks: list[np.ndarray]
    scales: list[float | None]


class Layout:
    """The workspace as arrays `[sample, bin]` over the bins of all channels.

    Attributes:
        samples: names in order of first appearance.
        nominal: expected counts.
        channels: their names.
        starts: first bin of each channel, and the number of bins.
        factors: names of normalisation factors.
        scaled: the factors of each sample.
        rates: up and down factors of each `normsys`.
        shapes: up and down templates of each `histosys`.
        lumi: `[sample, bin]` masks of each `lumi`.
        vectors: factors a bin, by name.
        errors: absolute uncertainties of the samples' `staterror`.
        simulation: bins of each `staterror`, by name.
        simulated: 1 where a sample has a `staterror`.
    """

    def __init__(self, workspace: Mapping[str, Any]) -> None:
        channels = checked_channels(workspace)
        self.samples = list(dict.fromkeys(s["name"] for c in channels for s in c["samples"]))
        widths = [len(channel["samples"][0]["data"]) for channel in channels]
        shape = (len(self.samples), sum(widths))
        self.nominal = np.zeros(shape)
        self.factors: list[str] = []
        self.systematics: list[str] = []
        self.scaled: dict[str, set[str]] = {sample: set() for sample in self.samples}
        self.rates: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.shapes: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.lumi: dict[str, np.ndarray] = {}
        self.vectors: dict[str, Vector] = {}
        self._squares: dict[str, np.ndarray] = {}
        self.errors = np.zeros(shape)
        self.simulation: dict[str, list[int]] = {}
        self.simulated = np.zeros(shape)
        starts = np.cumsum([0, *widths]).tolist()
        self.channels, self.starts = [channel["name"] for channel in channels], starts
        placed = [
            (self.samples.index(sample["name"]), slice(starts[c], starts[c + 1]), sample, channel["name"])
            for c, channel in enumerate(channels)
            for sample in channel["samples"]
        ]
        for k, bins, sample, where in placed:
            self.nominal[k, bins] = _numbers(
                sample["data"], bins.stop - bins.start, f"sample '{sample['name']}', channel '{where}'", "contents"
            )
        seen: dict[str, list[str]] = {sample: [] for sample in self.samples}
        for k, bins, sample, where in placed:
            for modifier in sample["modifiers"]:
                self._add(modifier, k, bins, sample["name"], where)
            own = sorted(m["name"] for m in sample["modifiers"] if m["type"] == "normfactor")
            seen[sample["name"]].append(",".join(own))
        split = next((name for name, own in seen.items() if len(set(own)) > 1), None)
        if split is not None:
            raise ConfigError(
                f"workspace: sample '{split}' has different normalisation factors in different channels; "
                "give it a name of its own in each"
            )

    def _add(self, modifier: Mapping[str, Any], k: int, bins: slice, sample: str, where: str) -> None:
        kind, name, data = modifier["type"], modifier["name"], modifier.get("data")
        if kind not in KNOWN:
            raise ConfigError(
                f"workspace: modifier '{name}' of sample '{sample}', channel '{where}', is a {kind}; "
                f"known are {', '.join(KNOWN)}"
            )
        who = f"{kind} '{name}' of sample '{sample}', channel '{where}'"
        if kind == "normfactor":
            self.scaled[sample].add(name)
            if name not in self.factors:
                self.factors.append(name)
            return
        if kind == "staterror" and modifier.get("constraint") == "Poisson":
            self._add_counts(name, k, bins, _numbers(data, bins.stop - bins.start, who, "uncertainties"), who)
            return
        if kind == "staterror":
            self.errors[k, bins] = _numbers(data, bins.stop - bins.start, who, "uncertainties")
            self.simulated[k, bins] = 1.0
            own = self.simulation.setdefault(name, [])
            own += [b for b in range(bins.start, bins.stop) if b not in own]
            return
        if kind in ("shapesys", "shapefactor"):
            self._add_vector(name, kind, k, bins, data, who)
            return
        if name not in self.systematics:
            self.systematics.append(name)
        if kind == "lumi":
            self.lumi.setdefault(name, np.zeros_like(self.nominal))[k, bins] = 1.0
        elif kind == "normsys":
            up, down = self.rates.setdefault(name, (np.ones_like(self.nominal), np.ones_like(self.nominal)))
            for factor, side in ((up, "hi"), (down, "lo")):
                value = float(data[side])  # type: ignore[index]
                if not 0 < value < np.inf:
                    raise ConfigError(
                        f"workspace: {who}: {side} is {value:g}, and a factor must be positive; use a histosys instead"
                    )
                factor[k, bins] = value
        else:
            up, down = self.shapes.setdefault(name, (self.nominal.copy(), self.nominal.copy()))
            for template, side in ((up, "hi_data"), (down, "lo_data")):
                template[k, bins] = _numbers(data[side], bins.stop - bins.start, f"{who}, {side}", "contents")  # type: ignore[index]

    def _add_vector(self, name: str, kind: str, k: int, bins: slice, data: Any, who: str) -> None:
        count = bins.stop - bins.start
        vector = self.vectors.setdefault(name, Vector([np.zeros_like(self.nominal) for _ in range(count)], []))
        if vector.scales and (vector.scales[0] is None) != (kind == "shapefactor"):
            raise ConfigError(f"workspace: {who}: the name is one of another kind elsewhere; give it its own name")
        if len(vector.masks) != count:
            raise ConfigError(f"workspace: {who}: {count} bins where it has {len(vector.masks)} elsewhere")
        for i, mask in enumerate(vector.masks):
            mask[k, bins.start + i] = 1.0
        if kind == "shapefactor":
            vector.scales = [None] * count
            return
        if vector.scales:
            raise ConfigError(f"workspace: {who}: it belongs to another sample already; give it its own name")
        errors = _numbers(data, count, who, "uncertainties")
        contents = self.nominal[k, bins]
        known = (errors > 0) & (contents > 0)
        ratio = np.divide(contents, errors, out=np.full(count, np.inf), where=known)
        vector.scales = [float(value) for value in ratio**2]

    def _add_counts(self, name: str, k: int, bins: slice, errors: np.ndarray, who: str) -> None:
        """Add a sample to simulation factors whose constraint is the Poisson probability of the simulated events.

        All samples of a name have the same factors; `(sum of contents)^2 / sum of squared errors` were simulated.
        """
        count = len(errors)
        vector = self.vectors.setdefault(name, Vector([np.zeros_like(self.nominal) for _ in range(count)], []))
        if len(vector.masks) != count:
            raise ConfigError(f"workspace: {who}: {count} bins where it has {len(vector.masks)} elsewhere")
        for i, mask in enumerate(vector.masks):
            mask[k, bins.start + i] = 1.0
        squares = self._squares.setdefault(name, np.zeros(count))
        squares += errors**2
        contents = np.array([np.sum(mask * self.nominal) for mask in vector.masks])
        known = (squares > 0) & (contents > 0)
        vector.scales = [float(v) for v in np.divide(contents**2, squares, out=np.full(count, np.inf), where=known)]

    def check_expected(self) -> None:
        """Refuse bins in which no sample expects anything: a single event there would decide every fit."""
        empty = np.flatnonzero(self.nominal.sum(axis=0) <= 0)
        if len(empty):
            channel = int(np.searchsorted(self.starts, empty[0], side="right")) - 1
            place = f"channel '{self.channels[channel]}', bin {empty[0] - self.starts[channel]}"
            raise ConfigError(f"workspace: {place}: no sample expects events there; merge or drop the bin")

    def relative_variance(self) -> np.ndarray | None:
        """Return the squared relative uncertainty of each bin's simulated samples, None without any."""
        if not self.simulated.any():
            return None
        total = np.sum(self.nominal * self.simulated, axis=0)
        squares = np.sum(self.errors**2, axis=0)
        return np.divide(squares, total**2, out=np.zeros(len(total)), where=total > 0)
