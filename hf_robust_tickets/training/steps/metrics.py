"""What the log says of an attack, averaged over the steps since the last entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """Loss and logits of one pass, detached."""

    loss: Tensor
    logits: Sequence[Tensor]


class AttackMeter:
    """Sums what attacked steps show, on their device and without waiting for it.

    Attributes:
        sums: Name of the quantity -> its sum over `steps`.
        steps: Attacked micro-batches since the last `pop`.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps = 0

    def note(
        self,
        first: Reading,
        last: Reading,
        *,
        clean: bool,
        penalty: bool,
        compared: bool,
        flips: Tensor | None,
        delta_norm: Tensor,
        skipped: Tensor | int,
    ) -> None:
        """Adds one micro-batch.

        Args:
            first: Reading of its first pass.
            last: Reading of its last pass.
            clean: Whether delta was zero in the first pass; else it was the start.
            penalty: Whether the last reading is of a penalty, not of the task's loss.
            compared: Whether the first pass is another one than the last; else there is no gap and nothing flips.
            flips: Share of predictions that differ between both; `None` where no classes are predicted.
            delta_norm: Mean l2 norm of the perturbation in the last pass.
            skipped: Ascents left out because the gradient was not finite.
        """
        self._add(f"adversary_{'clean' if clean else 'start'}_loss", first.loss)
        if penalty:
            self._add("adversary_divergence", last.loss)
        else:
            self._add("adversary_loss", last.loss)
            if compared:
                self._add("adversary_gap", last.loss - first.loss)
        self._add("adversary_delta_norm", delta_norm)
        if not isinstance(skipped, Tensor):
            # Filled on the device: a copy of a number of the host's would wait for it.
            skipped = torch.full((), skipped, dtype=torch.float, device=last.loss.device)
        self._add("adversary_skipped_ascents", skipped)
        if compared and flips is not None:
            self._add("adversary_flips", flips)
        self.steps += 1

    def take(self, other: AttackMeter) -> None:
        """Adds what another meter has noted, whose tensors may be written again afterwards."""
        for name, value in other.sums.items():
            self._add(name, value.clone())
        self.steps += other.steps

    def pop(self) -> dict[str, Tensor]:
        """Means since the last call (for the skipped ascents: the sum), and forgets them."""
        means = {name: total / self.steps for name, total in self.sums.items()}
        if means:
            means["adversary_skipped_ascents"] = self.sums["adversary_skipped_ascents"]
        self.sums, self.steps = {}, 0
        return means

    def _add(self, name: str, value: Tensor) -> None:
        value = value.detach().float()
        self.sums[name] = self.sums[name] + value if name in self.sums else value
