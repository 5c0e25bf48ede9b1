"""How far two outputs of a model lie apart: what virtual adversaries climb, and what their penalty brings down."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def kl_divergence(target: Tensor, logits: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean of `KL(softmax(target) || softmax(logits))`.

    Args:
        target: Logits, `(..., classes)`; one class means a regression, for which the squared difference is taken.
        logits: Of the same shape.
        valid: `(...)`, 1 for the rows that count; `None` means all.

    Returns:
        A scalar, with gradient in both arguments.
    """
    if logits.shape[-1] == 1:
        return _mean((target - logits).square().squeeze(-1), valid)
    log_p, log_q = target.float().log_softmax(-1), logits.float().log_softmax(-1)
    return _mean(F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1), valid)


def symmetric_kl(first: Tensor, second: Tensor, valid: Tensor | None = None) -> Tensor:
    """`KL(first || second) + KL(second || first)`; the squared difference (once) for a regression."""
    if first.shape[-1] == 1:
        return kl_divergence(first, second, valid)
    return kl_divergence(first, second, valid) + kl_divergence(second, first, valid)


def _mean(values: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return values.mean()
    weights = valid.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp_min(1)
