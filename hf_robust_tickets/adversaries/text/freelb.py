"""FreeLB: free large-batch adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..registry import register_adversary
from .pgd import PGD


@dataclass(frozen=True)
class FreeLB(PGD):
    """PGD in which every pass trains the weights, with weight 1/K: a virtual batch K times as large.

    Zhu, Cheng, Gan, Sun, Goldstein and Liu, "FreeLB: Enhanced Adversarial Training for Natural Language
    Understanding", ICLR 2020, algorithm 1: `delta_0 = U(-init, init) / sqrt(tokens * dim)`, then K times: accumulate
    `1/K * grad L(x + delta)`, and `delta <- project(delta + step_size * g / ||g||)`. The ascent after the last pass
    would not be used and is left out.

    The start of 0.05, five passes and no projection are the values of EarlyRobust's script (Xi et al., EMNLP 2022).
    The step size decides: too small does nothing, too large ends in chance accuracy within the first steps. See
    `docs/results.md` for the range measured on a small encoder, and delay the attack (`adversary_start_step`) to go
    higher.

    Cost: K.
    Trains on: the mean loss of all K passes.
    Use when: the default: steady, and often better clean accuracy too.

    Example:
        >>> AdversarialTrainer(model, args, adversary=FreeLB(steps=3, step_size=0.1), train_dataset=train)
    """

    steps: int = 5
    step_size: float = 0.1
    init_magnitude: float = 0.05
    max_norm: float = 0.0

    name: ClassVar[str] = "freelb"

    def loss_weight(self, k: int) -> float:
        """1/K for each of the K passes."""
        return 1.0 / self.num_passes


register_adversary("freelb", FreeLB)
