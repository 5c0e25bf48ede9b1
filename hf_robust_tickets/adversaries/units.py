"""In which unit the lengths of a perturbation are: those of the tensor, or shares of its norm."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

UNITS = ("relative", "absolute")

LARGEST_SHARE = 10.0
"""A relative length above this is taken for one in absolute units."""


class Lengths(NamedTuple):
    """The lengths of a method, all in one unit.

    Attributes:
        step_size: Length of one ascent step.
        init_magnitude: Size of the random start.
        max_norm: Radius of the ball; 0 means none.
    """

    step_size: float
    init_magnitude: float = 0.0
    max_norm: float = 0.0


def in_tensor_units(grad: Tensor, unit: Tensor | None) -> Tensor:
    """The gradient with respect to u delta, given that with respect to delta: what small gradients are told by.

    Args:
        grad: `(..., batch, tokens, dim)`.
        unit: u, `(batch, 1, 1)`; `None` for 1. Where it is 0, the gradient is too.
    """
    return grad if unit is None else grad / unit.clamp_min(torch.finfo(unit.dtype).tiny)


def norm_at(x: Tensor, mask: Tensor, norm: str, scope: str) -> Tensor:
    """The norm of what is perturbed, of each sentence: the unit of relative lengths.

    With n the mean l2 norm of the sentence's tokens, L their number and d their dimension: l2, sentence:
    `n * sqrt(L)`; l2, token: `n`; linf: `n / sqrt(d)`, the size of an entry; l1: `n * sqrt(d) * L` for the sentence,
    `n * sqrt(d)` for a token. These are the norms of a sentence (or token) all of whose entries are as large. So equal
    shares move every token by equal shares, whatever the layer, the model and the length of the sentence; the mean
    over the tokens keeps one of unusual length from having a unit of its own.

    A sentence's unit depends on nothing but the sentence: not on its batch, the ranks, or the steps before.

    Args:
        x: `(batch, tokens, dim)`, float32.
        mask: `(batch, tokens)`, 1 for the tokens that are perturbed; the others do not count.
        norm: Of the ball.
        scope: Of the ball.

    Returns:
        `(batch, 1, 1)`, on the device of `x` and without waiting for it; 0 for a sentence without tokens.
    """
    weights = mask.to(x.dtype)
    count = weights.sum(1).clamp_min(1)
    # Not a product with the mask: padding may hold anything, and infinity times 0 is no number.
    sizes = torch.linalg.vector_norm(x, dim=-1).masked_fill(weights == 0, 0.0)
    entry = sizes.sum(1) / count / math.sqrt(x.shape[-1])
    entries = x.shape[-1] * (count if scope == "sentence" else torch.ones_like(count))
    power = {"linf": 0.0, "l2": 0.5, "l1": 1.0}[norm]
    return (entry * entries.pow(power)).reshape(-1, 1, 1)
