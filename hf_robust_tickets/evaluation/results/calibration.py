"""Whether a classifier knows when it is wrong, on clean texts and on what an attack made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ...errors import ConfigurationError

DEFAULT_BINS = 15
"""As in Guo et al. (2017)."""

LEAST_PER_BIN = 10
"""Smaller bins measure chance: with few examples a report has fewer bins."""

CURVE_POINTS = 50
"""Points of a risk-coverage curve that a report keeps."""


def _check(confidences: Sequence[float], correct: Sequence[bool]) -> int:
    if len(confidences) != len(correct):
        raise ConfigurationError(f"expected one verdict per confidence, got {len(correct)} and {len(confidences)}")
    wrong = [value for value in confidences if not 0 <= value <= 1]
    if wrong:
        raise ConfigurationError(f"expected confidences in [0, 1], got {wrong[0]}: pass probabilities, not logits")
    return len(confidences)


def expected_calibration_error(
    confidences: Sequence[float], correct: Sequence[bool], bins: int = DEFAULT_BINS
) -> float:
    """ECE with bins of equal mass: `sum_b |b| / n * |accuracy(b) - confidence(b)|`.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3; bins that hold equally many examples
    each (within one): Nguyen and O'Connor, EMNLP 2015, section 3. Errors among equal confidences are
    spread evenly, as in `risk_coverage`.

    Args:
        confidences: Probability of the predicted class, one per example, in [0, 1].
        correct: Whether the prediction is right.
        bins: Number of bins; with fewer examples, each is its own.

    Returns:
        A number in [0, 1]; NaN for no examples.
    """
    total = _check(confidences, correct)
    if bins < 1:
        raise ConfigurationError(f"expected bins >= 1, got {bins}")
    if not total:
        return math.nan
    # equal confidences have no order: each counts with the mean of its kind, wherever a bin ends
    verdicts: dict[float, list[bool]] = {}
    for confidence, ok in zip(confidences, correct):
        verdicts.setdefault(confidence, []).append(ok)
    share = {confidence: sum(found) / len(found) for confidence, found in verdicts.items()}
    pairs = [(confidence, share[confidence]) for confidence in sorted(confidences)]
    edges = [round(i * total / min(bins, total)) for i in range(min(bins, total) + 1)]
    gaps = [abs(sum(c - ok for c, ok in pairs[start:end])) for start, end in pairwise(edges)]
    return sum(gaps) / total


def brier_score(probabilities: Sequence[Sequence[float]], labels: Sequence[int]) -> float:
    """Mean over examples of `sum_k (p_k - [k = label])^2` (Brier, Monthly Weather Review 78, 1950, equation 2).

    Args:
        probabilities: Per example, one probability per class.
        labels: True classes.

    Returns:
        A number in [0, 2], 0 for certain and right; NaN for no examples.
    """
    if len(probabilities) != len(labels):
        raise ConfigurationError(f"expected one label per example, got {len(labels)} and {len(probabilities)}")
    sums = [
        sum((p - (k == label)) ** 2 for k, p in enumerate(row))
        for row, label in zip(probabilities, labels, strict=True)
    ]
    return sum(sums) / len(sums) if sums else math.nan


def risk_coverage(confidences: Sequence[float], correct: Sequence[bool]) -> list[tuple[float, float]]:
    """Share of errors among the k most confident predictions, for every k.

    Equal confidences have no order: the errors among them are spread evenly, which is the mean over all orders.

    Args:
        confidences: As in `expected_calibration_error`.
        correct: Whether the prediction is right.

    Returns:
        (coverage k / n, risk) for k = 1 ... n.
    """
    total = _check(confidences, correct)
    errors: dict[float, list[int]] = {}
    for confidence, ok in zip(confidences, correct):
        errors.setdefault(confidence, []).append(0 if ok else 1)
    curve: list[tuple[float, float]] = []
    before = 0.0
    for confidence in sorted(errors, reverse=True):
        group = errors[confidence]
        share = sum(group) / len(group)
        for _ in group:
            before += share
            curve.append(((len(curve) + 1) / total, before / (len(curve) + 1)))
    return curve


def area_under_risk_coverage(confidences: Sequence[float], correct: Sequence[bool]) -> float:
    """AURC: the mean of the risks over all coverages; lower is better.

    Geifman, Uziel and El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019,
    section 2.

    Returns:
        A number in [0, 1]; NaN for no examples.
    """
    curve = risk_coverage(confidences, correct)
    return sum(risk for _, risk in curve) / len(curve) if curve else math.nan


@dataclass(frozen=True)
class Calibration:
    """How far confidence can be trusted on one set of predictions.

    Attributes:
        num_examples: Number of predictions.
        accuracy: Share that is right.
        mean_confidence: Mean probability of the predicted class.
        ece: Expected calibration error, equal-mass bins.
        brier: Brier score over all classes.
        aurc: Area under the risk-coverage curve.
        risk_coverage: The curve, (coverage, risk), thinned to `CURVE_POINTS`.
    """

    num_examples: int
    accuracy: float
    mean_confidence: float
    ece: float
    brier: float
    aurc: float
    risk_coverage: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, probabilities: Sequence[Sequence[float]], labels: Sequence[int]) -> Calibration:
        """From probabilities, one row per example, and true classes.

        Raises:
            ConfigurationError: If there are none, or not equally many of both.
        """
        if not probabilities:
            raise ConfigurationError("expected predictions to calibrate, got none")
        confidences = [max(row) for row in probabilities]
        brier = brier_score(probabilities, labels)
        correct = [row.index(top) == label for row, top, label in zip(map(list, probabilities), confidences, labels)]
        curve = risk_coverage(confidences, correct)
        total = len(curve)
        kept = sorted({max(1, round(i * total / CURVE_POINTS)) for i in range(1, CURVE_POINTS + 1)})
        return cls(
            num_examples=total,
            accuracy=sum(correct) / total,
            mean_confidence=sum(confidences) / total,
            ece=expected_calibration_error(confidences, correct, max(1, min(DEFAULT_BINS, total // LEAST_PER_BIN))),
            brier=brier,
            aurc=sum(risk for _, risk in curve) / total,
            risk_coverage=tuple(curve[k - 1] for k in kept),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**vars(self), "risk_coverage": [list(point) for point in self.risk_coverage]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """The inverse of `to_dict`."""
        return cls(**{**values, "risk_coverage": tuple((k, risk) for k, risk in values["risk_coverage"])})
