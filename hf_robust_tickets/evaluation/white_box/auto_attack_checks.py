"""What AutoAttack's authors check of a model before they trust its figures.

Their package's `checks.py` and `flags_doc.md` (Croce and Hein); the figures below are theirs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor

from ..results.false_robustness import are_probabilities, probability_warnings

RANDOM_PASSES = 5
RANDOM_DIFFERENCE = 1e-4
"""Outputs of unit length that differ by more between passes are random, and not rounded."""

GRADIENT_FUNCTIONS = frozenset({"grad", "backward", "_make_grads"})
"""A forward pass that calls one of these computes with gradients of its own: it follows the input."""


def model_warnings(classifier: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> list[str]:
    """All checks of a classifier on one batch.

    Args:
        classifier: From pixels to logits, in evaluation mode.
        x: Images, (batch, channels, height, width).
        y: Their classes.

    Returns:
        Warnings; empty if nothing is odd.
    """
    found = [check(classifier, x, y) for check in (_randomized, _probabilities, _dynamic)]
    return [warning for warning in found if warning is not None]


@torch.no_grad()
def _randomized(classifier: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> str | None:
    outputs = [classifier(x) for _ in range(RANDOM_PASSES)]
    right = {int((output.argmax(1) == y).sum()) for output in outputs}
    units = [torch.nn.functional.normalize(output, dim=1, eps=1e-10) for output in outputs]
    difference = max(float((one - other).norm(dim=1).max()) for one in units for other in units)
    if len(right) == 1 and difference <= RANDOM_DIFFERENCE:
        return None
    return (
        f"the model is random (outputs of the same images differ by {difference:.1e}): each attack sees other "
        "gradients than the model that is asked in the end, the accuracy may be lower still; average over passes"
    )


@torch.no_grad()
def _probabilities(classifier: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> str | None:
    return next(iter(probability_warnings(are_probabilities(classifier(x)))), None)


def _dynamic(classifier: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> str | None:
    called: set[str] = set()

    def trace(frame: FrameType, event: str, argument: Any) -> None:
        code: CodeType = frame.f_code
        if event == "call" and code.co_name in GRADIENT_FUNCTIONS:
            called.add(code.co_name)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        classifier(x)
    finally:
        sys.settrace(before)
    if not called:
        return None
    return (
        f"the model's computation depends on the input (its forward pass calls {', '.join(sorted(called))}): "
        "AutoAttack may be too weak for it, use an attack that is made for it"
    )
