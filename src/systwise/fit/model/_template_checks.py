"""Templates that cannot carry a likelihood are refused, naming process, bin and nuisance value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from systwise.errors import TemplateError
from systwise.parameters import Components, Nuisance


def check_templates(components: Components, nuisances: Sequence[Nuisance], arrays: Sequence[np.ndarray]) -> None:
    """Refuse templates that cannot carry a likelihood, naming process, bin and nuisance value."""
    if len(arrays) != max(len(nuisances), 1):
        raise TemplateError(f"templates: {len(arrays)} arrays for {len(nuisances)} nuisances; give one a nuisance")
    reference = components.reference()
    constant = np.array([not any(row) for row in components.powers])
    for j, array in enumerate(arrays):
        if nuisances:
            nuisance = nuisances[j]
            shape = (len(nuisance.anchors), len(components.names))
            if array.ndim != 3 or array.shape[:2] != shape or array.shape[2] != arrays[0].shape[-1]:
                raise TemplateError(
                    f"templates of nuisance '{nuisance.name}': shape {array.shape} where (anchor, component, bin) = "
                    f"({shape[0]}, {shape[1]}, bins) is needed"
                )
            places = [f" at {nuisance.name}={value:g}" for value in nuisance.anchors]
        else:
            if array.ndim != 2 or array.shape[0] != len(components.names):
                raise TemplateError(
                    f"templates: shape {array.shape} where (component, bin) = ({len(components.names)}, bins) is needed"
                )
            array, places = array[None], [""]
        bad = ~np.isfinite(array) | (array < 0)
        if bad.any():
            a, k, b = (int(i) for i in np.argwhere(bad)[0])
            raise TemplateError(
                f"template of '{components.names[k]}', bin {b}{places[a]}, holds {array[a, k, b]:g}; contents must be "
                "finite and not negative, so merge bins with too few events or express negative components in a "
                "positive basis of hypotheses"
            )
        total = np.einsum("k,akb->ab", reference, array)
        if (total <= 0).any():
            a, b = (int(i) for i in np.argwhere(total <= 0)[0])
            raise TemplateError(
                f"templates: no process is expected in bin {b}{places[a]}; use fewer bins or more simulated events"
            )
        background = array[:, constant].sum(axis=1)
        if constant.any() and (background <= 0).any():
            a, b = (int(i) for i in np.argwhere(background <= 0)[0])
            named = " + ".join(f"'{name}'" for name, flag in zip(components.names, constant, strict=True) if flag)
            raise TemplateError(
                f"template of {named}, bin {b}{places[a]}, holds no events, so that a single event there would decide "
                "the fit; use fewer bins, another binning or more simulated events"
            )
