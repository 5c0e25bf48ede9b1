"""How far two outputs of a model lie apart: what virtual adversaries climb, and what their penalty brings down."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigurationError

OUTPUTS = ("classes", "labels", "numbers")
"""What logits are: of one class among several, of several labels at once, or numbers of a regression."""


def kl_divergence(target: Tensor, logits: Tensor, valid: Tensor | None = None, kind: str = "classes") -> Tensor:
    """Mean of `KL(target || logits)`, between the distributions that the outputs stand for.

    - `"classes"`: of the two softmaxes.
    - `"labels"`: of Bernoulli distributions, one per label, their mean over the labels, as the task's binary
      cross-entropy is. A softmax over labels is blind to what moves all of them alike.
    - `"numbers"`: the squared difference, the mean over the numbers, as the task's loss is (up to a constant the KL of
      normal distributions of one variance). So it is for a single logit too, unless it is a label.

    Args:
        target: Logits, `(..., classes)`.
        logits: Of the same shape.
        valid: `(...)`, 1 for the rows that count; `None` means all.
        kind: What the logits are, one of `OUTPUTS`.

    Returns:
        A scalar, with gradient in both arguments.

    Raises:
        ConfigurationError: If there is no such kind.
    """
    if kind not in OUTPUTS:
        raise ConfigurationError(f"expected outputs among {', '.join(OUTPUTS)}, got {kind!r}")
    if kind == "labels":
        return _mean(_bernoulli(target.float(), logits.float()).mean(-1), valid)
    if kind == "numbers" or logits.shape[-1] == 1:
        return _mean((target - logits).square().mean(-1), valid)
    log_p, log_q = target.float().log_softmax(-1), logits.float().log_softmax(-1)
    return _mean(F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1), valid)


def symmetric_kl(first: Tensor, second: Tensor, valid: Tensor | None = None, kind: str = "classes") -> Tensor:
    """`KL(first || second) + KL(second || first)`; the squared difference (once) for a regression."""
    if is_squared(first, kind):
        return kl_divergence(first, second, valid, kind)
    return kl_divergence(first, second, valid, kind) + kl_divergence(second, first, valid, kind)


def is_squared(logits: Tensor, kind: str) -> bool:
    """Whether the divergence of these outputs is a squared difference, which is symmetric as it is."""
    return kind == "numbers" or (kind == "classes" and logits.shape[-1] == 1)


def _bernoulli(target: Tensor, logits: Tensor) -> Tensor:
    """KL of each label, of the shape of the logits; exact where a probability is near 0 or 1."""
    p = target.sigmoid()
    yes = F.logsigmoid(target) - F.logsigmoid(logits)
    no = F.logsigmoid(-target) - F.logsigmoid(-logits)
    return p * yes + (1 - p) * no


def _mean(values: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return values.mean()
    weights = valid.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp_min(1)
