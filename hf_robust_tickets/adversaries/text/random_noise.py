"""Random noise on the embeddings: the control that perturbs without looking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...errors import ConfigurationError
from ..base import Adversary
from ..geometry import uniform_start
from ..registry import register_adversary
from ..units import Lengths


@dataclass(frozen=True)
class RandomNoise(Adversary):
    """One pass over randomly perturbed embeddings: what of a method's gain is not the adversary's.

    With the l2 norm and scope `"sentence"` this is NEFTune (Jain et al., "NEFTune: Noisy Embeddings Improve
    Instruction Finetuning", ICLR 2024, algorithm 1): `U(-1, 1) * alpha / sqrt(tokens * dim)`, `alpha` being
    `init_magnitude` in absolute units. The paper takes 5, 10 and 15 for models of 7 billion weights. Tokens are
    counted without padding, which the Trainer's own `neftune_noise_alpha` counts in.

    Cost: 1.
    Trains on: one pass over noise.
    Use when: a control: what noise alone gives.
    """

    steps: int = 1

    name: ClassVar[str] = "random-noise"
    lengths: ClassVar[Mapping[str, Lengths]] = {
        "relative": Lengths(0.0, 0.2),
        "absolute": Lengths(0.0, 5.0),
    }
    _climbs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps != 1:
            raise ConfigurationError(f"RandomNoise has exactly 1 pass, got steps={self.steps}: use FreeLB for more")

    def init(self, x: Tensor, mask: Tensor) -> Tensor:
        """Uniform of size `init_magnitude`. Shapes as in `Adversary.init`."""
        return uniform_start(x, mask, self.init_magnitude, self.norm, self.scope)

    def ascend(self, delta: Tensor, grad: Tensor, mask: Tensor) -> Tensor:
        """Delta as it is. Shapes as in `Adversary.ascend`."""
        return delta

    def loss_weight(self, k: int) -> float:
        """1."""
        return 1.0


register_adversary("random-noise", RandomNoise)
