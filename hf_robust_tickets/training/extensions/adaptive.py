"""Attacks in proportion to how sure the model is of an example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..steps.outputs import certainties
from .base import Extension, register_extension

if TYPE_CHECKING:
    from ..steps.context import StepContext


class AdaptiveAttack(Extension):
    """Weakens the one step of ascent where the clean pass was not sure of the truth (`FGM.adaptive`)."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._shares: Tensor | None = None

    def before_ascent(self, context: StepContext) -> None:
        """As in `Extension.before_ascent`: how much of the attack each example gets."""
        context.perturbation.require_delta()
        self._shares = self.shares(context) if context.adversary.adaptive else None

    def after_ascent(self, context: StepContext) -> None:
        """As in `Extension.after_ascent`: the step along the gradient is as long as the model is sure."""
        if self._shares is not None:
            context.perturbation.weaken(self._shares)
            self._shares = None

    def shares(self, context: StepContext) -> Tensor:
        """How much of the attack every row gets, by how sure the clean pass was of its truth: `(rows,)`."""
        sure = certainties(context.readings[-1].logits, context.labels, self.runner.unwrapped())
        shares = (sure / context.adversary.adaptive).clamp(max=1)
        # Models of multiple choice read the texts of all choices as rows.
        rows = len(context.perturbation.mask)
        # Of a loss that is not finite, whose gradient moves nothing.
        return torch.nan_to_num(shares).repeat_interleave(rows // len(shares))


register_extension("adaptive", AdaptiveAttack)
