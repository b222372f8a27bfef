"""What must hold for the weights of a source as a whole, which may be read in portions."""

from __future__ import annotations

import dataclasses

import numpy as np

from systwise.errors import DataError

MENDED = 0.01
"""Largest fraction of events whose varied weight may have no logarithm."""


@dataclasses.dataclass
class _Signs:
    """How many varied weights of a source have another sign than the nominal ones, and the total weights."""

    mended: int = 0
    events: int = 0
    nominal: float = 0.0
    varied: float = 0.0


class Tallies:
    """Counts while rows are read, and is checked when all have been."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._zero: dict[str, bool] = {}
        self._signs: dict[tuple[str, str], _Signs] = {}

    def not_all_zero(self, weights: np.ndarray, words: str) -> None:
        """Expect that some weight is not zero, of all those that are counted under the same words.

        Args:
            weights: of some of the events.
            words: the message if there is none.
        """
        self._zero[words] = self._zero.get(words, True) and not np.any(weights)

    def positive_ratios(self, where: str, label: str, mended: int, nominal: np.ndarray, varied: np.ndarray) -> None:
        """Expect that hardly a varied weight has another sign than the nominal one.

        Args:
            where: path in the analysis file, with the nuisance value.
            label: of the source.
            mended: events that have another sign.
            nominal: `[event]` weights.
            varied: `[event]` weights.
        """
        signs = self._signs.setdefault((where, label), _Signs())
        signs.mended += mended
        signs.events += len(nominal)
        signs.nominal += float(nominal.sum())
        signs.varied += float(varied.sum())

    def check(self) -> None:
        """Refuse what did not hold.

        Raises:
            DataError: weights that are all zero, or too many of another sign.
        """
        for words, zero in self._zero.items():
            if zero:
                raise DataError(words)
        for (where, label), signs in self._signs.items():
            if signs.mended > MENDED * signs.events or not signs.nominal * signs.varied > 0:
                raise DataError(
                    f"{where}: the weight has another sign than the nominal one in {signs.mended:,} of "
                    f"{signs.events:,} events of {label}; a weight variation needs positive ratios"
                )
