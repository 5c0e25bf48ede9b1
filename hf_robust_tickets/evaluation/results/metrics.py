"""The figures of a robustness evaluation: definitions, each a function of three counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from ...errors import ConfigurationError

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution: two-sided 95 % intervals."""


def _ratio(part: int, whole: int) -> float:
    if part < 0 or whole < part:
        raise ConfigurationError(f"expected counts with 0 <= part <= whole, got {part} of {whole}")
    return part / whole if whole else math.nan


def clean_accuracy(succeeded: int, failed: int, skipped: int) -> float:
    """Accuracy without an attack: (succeeded + failed) / all. An example is skipped when it is wrong to begin with.

    Returns:
        A fraction in [0, 1]; NaN for no examples.
    """
    return _ratio(succeeded + failed, succeeded + failed + skipped)


def accuracy_under_attack(succeeded: int, failed: int, skipped: int) -> float:
    """Aua: failed attacks / all examples; what was wrong before the attack counts as wrong.

    Returns:
        A fraction in [0, 1]; NaN for no examples.
    """
    return _ratio(failed, succeeded + failed + skipped)


def attack_success_rate(succeeded: int, failed: int, skipped: int = 0) -> float:
    """Succeeded attacks / attacked examples; skipped examples are not attacked.

    Returns:
        A fraction in [0, 1]; NaN when nothing was attacked.
    """
    return _ratio(succeeded, succeeded + failed)


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), which keeps its coverage near 0 and 1.

    Args:
        successes: How often it happened.
        trials: Of how many.
        z: Quantile of the standard normal distribution; the default gives 95 %.

    Returns:
        Lower and upper end, in [0, 1]; (0, 1), no knowledge, for no trials.

    Raises:
        ConfigurationError: If the counts are impossible.
    """
    p = _ratio(successes, trials)
    if not trials:
        return 0.0, 1.0
    denominator = 1 + z * z / trials
    centre = (p + z * z / (2 * trials)) / denominator
    half = z / denominator * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    # at 0 and 1 the exact ends are 0 and 1; rounding errors of 1e-17 would show up in comparisons
    lower = 0.0 if successes == 0 else centre - half
    upper = 1.0 if successes == trials else centre + half
    return lower, upper


def mean_words(texts: Iterable[str | Mapping[str, str]]) -> float:
    """Mean number of words, as white space separates them; NaN without texts.

    Args:
        texts: Texts, or pairs as `{column: text}`.
    """
    counts = [
        sum(len(part.split()) for part in ([text] if isinstance(text, str) else text.values())) for text in texts
    ]
    return sum(counts) / len(counts) if counts else math.nan
