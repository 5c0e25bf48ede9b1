"""Balls, directions and random starts in the space of perturbations.

All functions take tensors whose first dimension is the batch. With scope `"sentence"` the norm runs over all other
dimensions (all tokens of a sentence, all pixels of an image); with `"token"` over the last one alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

NORMS = ("l2", "linf")
SCOPES = ("sentence", "token")

# FreeLB's reference clamps the gradient's norm here before it divides.
_SMALLEST_NORM = 1e-8


def expand_mask(mask: Tensor, like: Tensor) -> Tensor:
    """Brings a `(batch, tokens)` mask to the dtype of `like` and as many dimensions."""
    return mask.to(like.dtype).reshape(mask.shape + (1,) * (like.dim() - mask.dim()))


def norm_of(x: Tensor, norm: str, scope: str) -> Tensor:
    """Norm per sentence or per token, with dimensions kept so that it broadcasts against `x`."""
    dims = tuple(range(1, x.dim())) if scope == "sentence" else (-1,)
    if norm == "l2":
        return torch.linalg.vector_norm(x, ord=2, dim=dims, keepdim=True)
    return x.abs().amax(dim=dims, keepdim=True)


def steepest_direction(grad: Tensor, norm: str, scope: str) -> Tensor:
    """The unit vector of the ball along which the loss grows fastest.

    l2: `g / max(||g||_2, 1e-8)`; linf: `sign(g)`. A zero gradient gives a zero direction.
    """
    if norm == "l2":
        return grad / norm_of(grad, norm, scope).clamp_min(_SMALLEST_NORM)
    return grad.sign()


def project(delta: Tensor, max_norm: float, norm: str, scope: str) -> Tensor:
    """The nearest point of the ball of radius `max_norm`; `max_norm` 0 means that there is no ball."""
    if max_norm == 0:
        return delta
    if norm == "linf":
        return delta.clamp(-max_norm, max_norm)
    length = norm_of(delta, norm, scope)
    return delta * (max_norm / length.clamp_min(_SMALLEST_NORM)).clamp_max(1.0)


def uniform_start(x: Tensor, mask: Tensor, magnitude: float, norm: str, scope: str) -> Tensor:
    """FreeLB's random start: uniform in a cube, scaled so that its expected norm does not depend on the length.

    l2, sentence: `U(-1, 1) * magnitude / sqrt(tokens * dim)`, tokens being those of the mask; l2, token:
    `U(-1, 1) * magnitude / sqrt(dim)`; linf: `U(-1, 1) * magnitude`.
    """
    if magnitude == 0:
        return torch.zeros_like(x)
    weights = expand_mask(mask, x)
    start = torch.empty_like(x).uniform_(-1, 1) * (weights * magnitude)
    if norm == "linf":
        return start
    if scope == "token":
        return start / x.shape[-1] ** 0.5
    entries = weights.expand_as(x).flatten(1).sum(1).clamp_min(1)
    return start / entries.sqrt().reshape((-1,) + (1,) * (x.dim() - 1))
