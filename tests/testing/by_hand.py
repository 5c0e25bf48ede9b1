"""A gradient that never changes, on which the perturbations of a method can be worked out by hand."""

from __future__ import annotations

import torch

from hf_robust_tickets.adversaries import Adversary

# Two tokens and one of padding; the gradient has norm 5 on the real tokens, and something on the padding.
GRAD = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [7.0, 7.0]]])
MASK = torch.tensor([[1, 1, 0]])
UNIT = torch.tensor([[[0.6, 0.0], [0.0, 0.8], [0.0, 0.0]]])


def deltas(adversary: Adversary) -> list[torch.Tensor]:
    """The perturbation of each pass when the gradient never changes."""
    path = [adversary.init(torch.zeros_like(GRAD), MASK)]
    for _ in range(adversary.num_passes - 1):
        path.append(adversary.ascend(path[-1], GRAD, MASK))
    return path
