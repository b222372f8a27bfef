"""Templates as objects of the `hist` package (UHI), to plot and to combine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from systwise.errors import ConfigError
from systwise.optional import optional_module
from systwise.study import StoredTemplates, nominal_variances


def to_hist(stored: StoredTemplates, nuisances: Mapping[str, float] | None = None, region: str | None = None) -> Any:
    """Return the templates as one `hist.Hist` with the axes `component` and `score`, weighted storage.

    Contents are expected events of each component at coefficient 1, variances sums of squared weights of the
    simulation; between anchors both follow the morph (variances as the square of the contents).

    Args:
        stored: templates of a run (`StoredTemplates.load`).
        nuisances: values in their own units; nominal where a name is missing.
        region: name of the region, the first one where None.

    Raises:
        ConfigError: `hist` is not installed, or a name is unknown.
    """
    hist = optional_module("hist", "this")
    model = stored.model(simulation=False)
    contents, nominal = model.templates(dict(nuisances or {})), model.templates({})
    ratio = np.divide(contents, nominal, out=np.ones_like(contents), where=nominal != 0)
    variances = nominal_variances(stored.fitted.templates, stored.nuisances) * ratio**2
    regions = stored.templates.region_edges(stored.region)
    name = region or stored.region
    if name not in regions:
        raise ConfigError(f"region '{name}': the templates have {', '.join(regions)}")
    edges, own = regions[name], model.region_slices()[name] if model.regions else slice(0, model.bins)
    found = hist.Hist(
        hist.axis.StrCategory(list(stored.components.names), name="component"),
        hist.axis.Variable(edges, name="score", underflow=False, overflow=False, label="score"),
        storage=hist.storage.Weight(),
        name=f"{stored.case}, {stored.strategy}, {stored.observable}",
    )
    found.view(flow=False)[...] = (
        np.stack([contents[:, own], variances[:, own]], axis=-1).view(found.view().dtype).squeeze(-1)
    )
    return found
