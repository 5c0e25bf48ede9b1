"""Signs that a model only looks robust: what it takes to fool an attack is not what it takes to be right."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from torch import Tensor, nn

from ..victim.temperature import Temperature

SATURATED_MARGIN = 16.6
"""ln(2^24): beyond this difference of logits 1 - p is exactly 0 in float32, and an attack sees no change."""

FLAT_MARGIN = 1e-2
"""Below this median difference of logits every class is as likely as the other: a temperature, or no training."""

SUM_ERROR = 4e-3
"""By how much the sum of probabilities in bfloat16 may miss 1."""

BELOW_CHANCE = 1e-3
"""Clean accuracy as low as this is as likely as this under guessing: worth a warning."""

NOTICEABLE = 0.05
"""Share of examples from which on something is worth a warning."""


def mode_warnings(model: nn.Module) -> list[str]:
    """Looks whether a model was handed over in train mode, where dropout blurs answers and gradients.

    Returns:
        Warnings; empty if nothing is odd.
    """
    return ["the model was in train mode: evaluated without dropout"] if model.training else []


def margins(logits: Tensor) -> list[float]:
    """Largest minus second largest logit of each row of `(examples, classes)`."""
    top = logits.topk(2, dim=1).values
    return (top[:, 0] - top[:, 1]).tolist()


def are_probabilities(logits: Tensor) -> bool:
    """Whether what should be logits, `(examples, classes)`, has been through a softmax: sums of 1, none below 0."""
    if not len(logits):
        return False
    return bool((logits >= 0).all() and ((logits.float().sum(dim=1) - 1).abs() < SUM_ERROR).all())


def probability_warnings(probabilities: bool) -> list[str]:
    """What to say where a model puts out probabilities.

    Returns:
        Warnings; empty if nothing is odd.
    """
    if not probabilities:
        return []
    return [
        "the model puts out probabilities where logits are expected: gradients vanish where it is sure, attacks are "
        "blind where its answers round to 0 and 1, and calibration is of another model; leave its softmax out"
    ]


def chance_warnings(right: int, total: int, classes: int) -> list[str]:
    """Looks whether clean accuracy is below what guessing gives, by an exact one-sided test of 1/classes.

    Args:
        right: Examples that are classified right without an attack.
        total: All examples.
        classes: Classes of the model.

    Returns:
        Warnings; empty if nothing is odd.
    """
    chance = 1 / classes
    if not total or right / total >= chance or _at_most(right, total, chance) >= BELOW_CHANCE:
        return []
    return [
        f"clean accuracy {right / total:.1%} is below chance, {chance:.1%} for {classes} classes: the labels of "
        "the data may be in another order than the model's classes (config.id2label), or this is not its task"
    ]


def answer_warnings(logits: Tensor, labels: Sequence[int] | None = None) -> list[str]:
    """All signs in a model's clean answers.

    Args:
        logits: `(examples, classes)`.
        labels: True classes; None where they are not those of a whole sample.
    """
    probabilities = are_probabilities(logits)
    found = probability_warnings(probabilities) or logit_scale_warnings(margins(logits) if len(logits) else [])
    if labels is not None:
        right = sum(int(row.argmax()) == label for row, label in zip(logits, labels, strict=True))
        found += chance_warnings(right, len(labels), logits.shape[1])
    return found


def _at_most(successes: int, trials: int, p: float) -> float:
    """Probability of at most so many successes of a binomial distribution."""
    logs = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(p)
        + (trials - k) * math.log1p(-p)
        for k in range(successes + 1)
    ]
    return math.fsum(map(math.exp, logs))


def logit_scale_warnings(margins: Sequence[float]) -> list[str]:
    """Looks at how far the winning logit is above the next one, on clean inputs.

    Args:
        margins: Largest minus second largest logit, one per example.

    Returns:
        Warnings; empty if nothing is odd.
    """
    if not margins:
        return []
    saturated = sum(margin > SATURATED_MARGIN for margin in margins) / len(margins)
    if saturated > NOTICEABLE:
        return [
            f"the logits of {saturated:.0%} of the examples differ by more than {SATURATED_MARGIN}: probabilities are "
            "exactly 0 or 1, attacks that rank words by probability are blind; divide the logits by a temperature"
        ]
    if statistics.median(margins) < FLAT_MARGIN:
        return [
            f"the logits differ by {statistics.median(margins):.1e} at the median: the model hardly prefers any class "
            "(untrained, or a temperature); figures say little"
        ]
    return []


def temperature_warnings(temperature: Temperature) -> list[str]:
    """What the temperature rests on, where that is less than it should be.

    Returns:
        Warnings; empty if nothing is odd.
    """
    found = []
    if temperature.smoothed:
        found.append(
            f"all {temperature.num_examples} development examples are right, so that no temperature minimises their "
            "negative log-likelihood: T* was fitted to smoothed targets (Platt 1999); give more development data"
        )
    if temperature.head is None:
        found.append(
            "calibrated attacks see the model's logits as they are, since no last linear layer was found that reads "
            "one vector per text: what rounding takes from logits (bfloat16) is hidden from them"
        )
    return found


def gradient_warnings(zero: int, not_finite: int, total: int) -> list[str]:
    """Looks at the gradients of the loss with respect to the input, of examples that the model gets right.

    Args:
        zero: Examples whose gradient is 0 throughout.
        not_finite: Examples whose gradient holds NaN or infinity.
        total: Examples looked at.

    Returns:
        Warnings; empty if nothing is odd.
    """
    found = []
    if not_finite:
        found.append(f"{not_finite} of {total} gradients hold NaN or infinity: those examples were hardly attacked")
    if total and zero / total > NOTICEABLE:
        found.append(
            f"{zero} of {total} gradients are zero: masked or saturated, gradient attacks cannot work on them"
        )
    return found


def single_step_warnings(radius: float, iterated: float, single: float) -> list[str]:
    """Iterated attacks must do at least as much damage as one step: if not, gradients mislead.

    Args:
        radius: The ball's radius.
        iterated: Accuracy under the iterated attack.
        single: Accuracy under the single step.

    Returns:
        Warnings; empty if nothing is odd.
    """
    if iterated <= single:
        return []
    return [
        f"radius {radius:g}: a single step leaves {single:.1%} accuracy, the iterated attack {iterated:.1%}: "
        "gradients are masked, or the steps are too few or too short"
    ]


def transfer_warnings(recipe: str, rows: int, transferred: int, own: int) -> list[str]:
    """An attack made on another model must not do more damage than the attack that asks this one.

    Args:
        recipe: The attack.
        rows: Examples that this model classifies right and on which both were tried.
        transferred: How many of them are wrong after the other model's attack was replayed.
        own: How many of them are wrong after this model's own attack.

    Returns:
        Warnings; empty if nothing is odd.
    """
    if transferred <= own:
        return []
    return [
        f"{recipe}: texts made on another model fool this one on {transferred} of {rows} examples, its own attack on "
        f"{own}: its answers mislead the attack, figures of its own attack flatter it"
    ]
