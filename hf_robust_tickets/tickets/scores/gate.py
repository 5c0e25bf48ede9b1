"""The score of EarlyRobust: how large the search has left a coefficient."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from .base import Score
from .registry import register_score


class GateScore(Score):
    """|c| of a trained coefficient (EarlyRobust, Xi et al., EMNLP 2022, section 3.3).

    The released code ranks the signed value, although its penalty acts on |c|: a coefficient of -1 then goes before
    one of 0. The magnitude is what is meant.

    Cost: adversarial training with gates, for at most `search_epochs`.
    Use when: EarlyRobust is to be reproduced.
    """

    name: ClassVar[str] = "gate"
    trains_gates: ClassVar[bool] = True

    def of_units(self, gate: Tensor, gradient: Tensor | None) -> Tensor:
        """The magnitudes."""
        return gate.abs()


register_score("gate", GateScore)
