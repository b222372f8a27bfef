"""Numbers as a physicist writes them: rounded to what is known."""

from __future__ import annotations

import math

from systwise.fit import error_decimals

MISSING = "–"


def significant(value: float | None, digits: int = 3) -> str:
    """Return `value` with `digits` significant digits, in plain notation where that is readable.

    >>> significant(0.0676012), significant(12345.6), significant(None)
    ('0.0676', '12300', '–')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    # Rounding may carry into the next decade: 0.9996 has three digits as 1.00.
    exponent = math.floor(math.log10(abs(round(value, digits - 1 - exponent)) or abs(value)))
    if not -5 <= exponent < 7:
        return f"{value:.{digits - 1}e}"
    decimals = digits - 1 - exponent
    return f"{round(value, decimals):.{max(decimals, 0)}f}"


def with_error(value: float | None, error: float | None, digits: int = 3) -> str:
    """Return `value ± error`, both rounded by the rule of the Particle Data Group.

    The value never has more than four significant digits: a spread over three trainings that happens
    to be tiny is no licence for six. Without an error (None, zero, not finite, or too small to show)
    the value alone has `digits` significant digits.

    >>> with_error(0.06931, 0.00042), with_error(0.827, 0.119), with_error(0.0691, None)
    ('0.0693 ± 0.0004', '0.83 ± 0.12', '0.0691')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if error is None or not math.isfinite(error) or error <= 0:
        return significant(value, digits)
    most = 3 - math.floor(math.log10(abs(value))) if value else 8
    decimals = min(error_decimals(error), most)
    if round(error, decimals) == 0:
        return significant(value, digits)
    places = max(decimals, 0)
    return f"{round(value, decimals):.{places}f} ± {round(error, decimals):.{places}f}"


def excess(ratio: float) -> str:
    """Return how far a ratio is from one, in words.

    >>> excess(1.0213), excess(1.75), excess(0.95), excess(1.0004)
    ('2.1 % above', '75 % above', '5.0 % below', 'equal to')
    """
    part = 100 * abs(ratio - 1)
    if part < 0.1:
        return "equal to"
    side = "above" if ratio > 1 else "below"
    return f"{part:.1f} % {side}" if part < 9.95 else f"{part:.0f} % {side}"
