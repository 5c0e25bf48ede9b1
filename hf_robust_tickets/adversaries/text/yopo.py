"""YOPO: you only propagate once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...errors import ConfigurationError
from ..registry import register_adversary
from .freelb import FreeLB


@dataclass(frozen=True)
class YOPO(FreeLB):
    """FreeLB whose ascents are mostly run through the first layer alone.

    Zhang, Zhang, Lu, Zhu and Dong, "You Only Propagate Once: Accelerating Adversarial Training via Maximal Principle",
    NeurIPS 2019, algorithm 1 (YOPO-m-n): `steps` (m) full passes each give the gradient p of the loss at the output of
    the first transformer layer f0; p is then held, and delta climbs `<p, f0(x + delta)>` for `inner_steps` (n) steps,
    each a pass through f0. The gradients of the weights of the m passes are averaged (the paper's code adds them up,
    which a learning rate takes back). That code also gives the weights of f0 the gradient of `<p, f0(x + delta)>` at
    the end of each inner climb; here they have that of the full passes, as all other weights.

    Cost: K, and a little.
    Trains on: the mean loss of m full passes; most ascents run through one layer.
    Use when: more ascents for the same money.

    Attributes:
        inner_steps: Ascents per full pass; the first of them uses the full pass's own gradient. The last full pass
            has none.
    """

    inner_steps: int = 3

    name: ClassVar[str] = "yopo"

    @property
    def extensions(self) -> tuple[str, ...]:
        """Ascents through the first layer alone."""
        return ("first-layer",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.inner_steps, int) or self.inner_steps < 1:
            raise ConfigurationError(f"YOPO: inner_steps must be an integer of at least 1, got {self.inner_steps!r}")


register_adversary("yopo", YOPO)
