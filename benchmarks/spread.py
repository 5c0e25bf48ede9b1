"""Several seeds as one figure."""

from __future__ import annotations

import statistics


def percent(values: list[float]) -> str:
    """Mean and, with several values, the spread from lowest to highest."""
    if not values:
        return ""
    mean = f"{100 * statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({100 * min(values):.1f}-{100 * max(values):.1f})"
