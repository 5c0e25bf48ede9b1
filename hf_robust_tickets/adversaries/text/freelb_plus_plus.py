"""FreeLB++: FreeLB without a ball and with more steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ...errors import ConfigurationError
from ..registry import register_adversary
from ..units import Lengths
from .freelb import FreeLB


@dataclass(frozen=True)
class FreeLBPlusPlus(FreeLB):
    """FreeLB with the norm bound taken away and the number of steps raised.

    Li et al., "Searching for an Effective Defender: Benchmarking Defense against Adversarial Word Substitution",
    EMNLP 2021, section 4.2: the bound keeps the search inside a region smaller than the distance between synonyms;
    without it, and with 10 to 30 steps, robustness grows. Ten passes here, the smallest number of the paper. Its
    step sizes (10 to 30 in absolute units, by its users' accounts) are for BERT-base and are badly reproducible: start
    low.

    Cost: K (10).
    Trains on: the mean loss of all K passes, without a ball.
    Use when: robustness against word substitution.
    """

    steps: int = 10

    name: ClassVar[str] = "freelb++"
    lengths: ClassVar[Mapping[str, Lengths]] = {
        "relative": Lengths(0.005, 0.01),
        "absolute": Lengths(0.1, 0.05),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_norm != 0:
            raise ConfigurationError(
                f"FreeLB++ is FreeLB without a ball, got max_norm={self.max_norm}: leave it at 0, or use FreeLB"
            )


register_adversary("freelb++", FreeLBPlusPlus)
