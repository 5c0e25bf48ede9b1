"""Balls, directions and random starts in the space of perturbations.

All functions take tensors whose first dimension is the batch. With scope `"sentence"` the norm runs over all other
dimensions (all tokens of a sentence, all pixels of an image); with `"token"` over the last one alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

NORMS = ("l2", "linf", "l1")
SCOPES = ("sentence", "token")

# FreeLB's reference clamps the gradient's norm here before it divides.
_SMALLEST_NORM = 1e-8


def expand_mask(mask: Tensor, like: Tensor) -> Tensor:
    """Brings a `(batch, tokens)` mask to the dtype of `like` and as many dimensions."""
    return mask.to(like.dtype).reshape(mask.shape + (1,) * (like.dim() - mask.dim()))


def _dims(x: Tensor, scope: str) -> tuple[int, ...]:
    return tuple(range(1, x.dim())) if scope == "sentence" else (-1,)


def norm_of(x: Tensor, norm: str, scope: str) -> Tensor:
    """Norm per sentence or per token, with dimensions kept so that it broadcasts against `x`."""
    order = {"l2": 2.0, "linf": float("inf"), "l1": 1.0}[norm]
    return torch.linalg.vector_norm(x, ord=order, dim=_dims(x, scope), keepdim=True)


def steepest_direction(grad: Tensor, norm: str, scope: str) -> Tensor:
    """The unit vector of the ball along which the loss grows fastest.

    l2: `g / max(||g||_2, 1e-8)`; linf: `sign(g)`; l1: `sign(g)` in the entry of largest `|g|`, 0 elsewhere. A zero
    gradient gives a zero direction.
    """
    if norm == "l2":
        return normalized(grad, norm, scope)
    if norm == "linf":
        return grad.sign()
    balls = _balls(grad, scope)
    largest = balls.abs().argmax(dim=1, keepdim=True)
    return torch.zeros_like(balls).scatter_(1, largest, balls.gather(1, largest).sign()).reshape(grad.shape)


def normalized(grad: Tensor, norm: str, scope: str) -> Tensor:
    """`g / ||g||`: the gradient's own direction, of length 1 in `norm`; a zero gradient gives a zero direction."""
    return grad / norm_of(grad, norm, scope).clamp_min(_SMALLEST_NORM)


def project(delta: Tensor, max_norm: float, norm: str, scope: str) -> Tensor:
    """The nearest point of the ball of radius `max_norm`; `max_norm` 0 means that there is no ball."""
    if max_norm == 0:
        return delta
    if norm == "linf":
        return delta.clamp(-max_norm, max_norm)
    if norm == "l1":
        return _project_l1(_balls(delta, scope), max_norm).reshape(delta.shape)
    return delta * shrinkage(delta, max_norm, norm, scope)


def shrinkage(delta: Tensor, max_norm: float, norm: str, scope: str) -> Tensor:
    """The factor, at most 1 and per ball, that brings delta into the ball of radius `max_norm`; 0 means no ball."""
    if max_norm == 0:
        return torch.ones_like(norm_of(delta, norm, scope))
    return (max_norm / norm_of(delta, norm, scope).clamp_min(_SMALLEST_NORM)).clamp_max(1.0)


def _balls(x: Tensor, scope: str) -> Tensor:
    """One row per ball."""
    return x.flatten(1) if scope == "sentence" else x.reshape(-1, x.shape[-1])


def _project_l1(rows: Tensor, radius: float) -> Tensor:
    """Nearest points of the l1 ball: Duchi et al., "Efficient Projections onto the l1-Ball", ICML 2008, figure 1."""
    sizes = rows.abs()
    ordered, _ = sizes.sort(dim=1, descending=True)
    excess = ordered.cumsum(1) - radius
    position = torch.arange(1, rows.shape[1] + 1, device=rows.device)
    last = (ordered * position > excess).sum(1, keepdim=True).clamp_min(1)
    threshold = (excess.gather(1, last - 1) / last).clamp_min(0)
    return rows.sign() * (sizes - threshold).clamp_min(0)


def uniform_start(x: Tensor, mask: Tensor, magnitude: float, norm: str, scope: str) -> Tensor:
    """FreeLB's random start: uniform in a cube, scaled so that its expected norm does not depend on the length.

    l2, sentence: `U(-1, 1) * magnitude / sqrt(tokens * dim)`, tokens being those of the mask; l2, token:
    `U(-1, 1) * magnitude / sqrt(dim)`; linf: `U(-1, 1) * magnitude`; l1: as l2, with the number of entries in place
    of its root.
    """
    if magnitude == 0:
        return torch.zeros_like(x)
    weights = expand_mask(mask, x)
    start = torch.empty_like(x).uniform_(-1, 1) * (weights * magnitude)
    if norm == "linf":
        return start
    power = 0.5 if norm == "l2" else 1.0
    if scope == "token":
        return start / x.shape[-1] ** power
    entries = weights.expand_as(x).flatten(1).sum(1).clamp_min(1)
    return start / entries.pow(power).reshape((-1,) + (1,) * (x.dim() - 1))


def normal_start(x: Tensor, mask: Tensor, magnitude: float) -> Tensor:
    """Independent normal entries with standard deviation `magnitude`, 0 where the mask is."""
    return torch.randn_like(x) * (expand_mask(mask, x) * magnitude)
