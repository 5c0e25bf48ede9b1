"""FreeAT: adversarial training for free, by replaying the batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..base import AdversaryState
from ..registry import register_adversary
from ..units import Lengths
from .pgd import PGD


@dataclass(frozen=True)
class FreeAT(PGD):
    """One backward pass gives both the gradient of the weights and that of delta, and every pass steps the optimiser.

    Shafahi et al., "Adversarial Training for Free!", NeurIPS 2019, algorithm 1: each batch is given `steps` times in a
    row (their m); delta moves between the replays and goes on from batch to batch where the shapes agree. One pass per
    training step. An epoch therefore sees every example `steps` times: divide `num_train_epochs` by it to pay what
    plain training costs, as the paper does.

    The absolute radius is the paper's for CIFAR-10 in units of pixels, 8/255, and the step as large as it; m = 8 did
    best there. For word embeddings choose all three on development data.

    Cost: 1 per step, each batch K times.
    Trains on: every pass, which steps the optimiser.
    Use when: training should cost what plain training costs.
    """

    steps: int = 3
    norm: str = "linf"

    name: ClassVar[str] = "free-at"
    lengths: ClassVar[Mapping[str, Lengths]] = {
        "relative": Lengths(0.05, 0.0, 0.05),
        "absolute": Lengths(8 / 255, 0.0, 8 / 255),
    }
    remembers: ClassVar[str | None] = "batch"

    @property
    def num_passes(self) -> int:
        """1: the replays are training steps of their own."""
        return 1

    @property
    def replays(self) -> int:
        """`steps`."""
        return self.steps

    def recall(self, state: AdversaryState, delta: Tensor, input_ids: Tensor | None) -> Tensor:
        """The last step's delta, where its shape fits."""
        kept = state.get("delta")
        return delta if kept is None or kept.shape != delta.shape else kept.to(delta)

    def remember(self, state: AdversaryState, delta: Tensor, input_ids: Tensor | None, mask: Tensor) -> None:
        """Keeps delta."""
        state["delta"] = delta


register_adversary("free-at", FreeAT)
