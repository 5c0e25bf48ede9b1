"""FreeLB: free large-batch adversarial training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..registry import register_adversary
from ..units import Lengths
from .pgd import PGD


@dataclass(frozen=True)
class FreeLB(PGD):
    """PGD in which every pass trains the weights, with weight 1/K: a virtual batch K times as large.

    Zhu, Cheng, Gan, Sun, Goldstein and Liu, "FreeLB: Enhanced Adversarial Training for Natural Language
    Understanding", ICLR 2020, algorithm 1: `delta_0 = U(-init, init) / sqrt(tokens * dim)`, then K times: accumulate
    `1/K * grad L(x + delta)`, and `delta <- project(delta + step_size * g / ||g||)`. The ascent after the last pass
    would not be used and is left out.

    The absolute start of 0.05, five passes and no projection are the values of EarlyRobust's script (Xi et al., EMNLP
    2022). The step size decides: too small does nothing, too large ends in chance accuracy within the first steps. On
    MiniLM, whose sentences have a norm of about 5.3 in the word embeddings, an absolute step of 0.05 is a relative one
    of 0.01 and costs no clean accuracy (`docs/results.md`); 0.02 is more robust and costs some; delay the attack
    (`adversary_start_step`) to go higher.

    Cost: K.
    Trains on: the mean loss of all K passes.
    Use when: the default: steady, and often better clean accuracy too.

    Example:
        >>> AdversarialTrainer(model, args, adversary=FreeLB(steps=3, step_size=0.02), train_dataset=train)
    """

    steps: int = 5

    name: ClassVar[str] = "freelb"
    lengths: ClassVar[Mapping[str, Lengths]] = {
        "relative": Lengths(0.01, 0.01),
        "absolute": Lengths(0.1, 0.05),
    }

    def loss_weight(self, k: int) -> float:
        """1/K for each of the K passes."""
        return 1.0 / self.num_passes


register_adversary("freelb", FreeLB)
