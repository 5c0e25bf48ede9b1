"""Numbers as people read them: percentages with intervals, times, ratios."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import DataError

MISSING = "–"
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def format_percent(value: float, low: float | None = None, high: float | None = None, digits: int = 1) -> str:
    """A fraction as a percentage, with its interval if there is one.

    Args:
        value: The fraction; 1.0 is 100 %.
        low: Lower end of the interval; needs `high`.
        high: Upper end of the interval; needs `low`.
        digits: Decimal places.

    Returns:
        `"88.2 %"`, or `"88.2 % (86.0–90.1)"`.

    Raises:
        DataError: If only one end of the interval is given.
    """
    if (low is None) != (high is None):
        raise DataError(f"an interval needs both of its ends, got low={low} and high={high}: give both or none")
    text = f"{100 * value:.{digits}f} %"
    return text if low is None or high is None else f"{text} ({100 * low:.{digits}f}–{100 * high:.{digits}f})"


def format_parameters(number: int) -> str:
    """A number of parameters: `"22.7 M"`, below a million all of its digits."""
    return f"{number / 1e6:.1f} M" if number >= 1_000_000 else f"{number:,}"


def format_seconds(seconds: float) -> str:
    """A duration in the two units that matter: `"0.42 s"`, `"12.3 s"`, `"4 min 05 s"`, `"1 h 02 min"`, `"2 d 03 h"`.

    Raises:
        DataError: If the duration is negative or not finite.
    """
    if not math.isfinite(seconds) or seconds < 0:
        raise DataError(f"a duration is a finite number of seconds, 0 or more; got {seconds}")
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < _HOUR - 0.5:
        minutes, rest = divmod(round(seconds), _MINUTE)
        return f"{minutes} min {rest:02d} s"
    if seconds < _DAY - _MINUTE / 2:
        hours, rest = divmod(round(seconds / _MINUTE), 60)
        return f"{hours} h {rest:02d} min"
    days, rest = divmod(round(seconds / _HOUR), 24)
    return f"{days} d {rest:02d} h"


def format_ratio(value: float) -> str:
    """A factor with two significant digits or more: `"0.68×"`, `"7.3×"`, `"13×"`."""
    if value < 0.995:
        return f"{value:.2f}×"
    return f"{value:.1f}×" if value < 9.95 else f"{value:.0f}×"


def format_value(value: Any) -> str:
    """Any value as a table shows it: a dash for None, four significant digits for a float, separated thousands."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return value if isinstance(value, str) else str(value)
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {format_value(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return ", ".join(format_value(item) for item in value)
    return value if isinstance(value, str) else str(value)
