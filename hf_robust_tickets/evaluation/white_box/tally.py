"""What a white-box evaluation counts, left on the device while batches are attacked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..results import false_robustness
from ..victim.copies import to_host


class Tally:
    """Counts over all batches, which the device adds up: each that the host asked for would make it wait.

    Args:
        radii: Of the balls, in the order in which batches are attacked in them.

    Attributes:
        total: Number of examples.
        clean: How many are right without a perturbation.
        single: How many withstand one step, by radius.
        iterated: How many withstand the adversary, by radius.
        robust: How many withstand both, and all smaller radii where those count, by radius.
    """

    def __init__(self, radii: Sequence[float]) -> None:
        self.total = self.clean = 0
        self.single, self.iterated, self.robust = (dict.fromkeys(radii, 0) for _ in range(3))
        self._zero = self._not_finite = 0
        self._logits: list[Tensor] = []
        self._seen: list[Tensor] = []
        self._found: list[Tensor] = []

    def look(self, logits: Tensor, right: Tensor, gradients: Tensor) -> None:
        """Counts a batch without perturbation: logits, which are right, and gradients, `(batch, entries)`."""
        self.total += len(right)
        self._logits.append(logits)
        odd, flat = ~gradients.isfinite().all(dim=1), (gradients == 0).all(dim=1)
        self._seen.append(torch.stack([right.sum(), (right & odd).sum(), (right & flat).sum()]))

    def attacked(self, found: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Counts the batch at every radius: which examples withstand one step, the adversary, and both."""
        self._found.append(torch.stack([torch.stack(each).sum(dim=1) for each in found]))

    def read(self) -> None:
        """Fetches the counts, after the last batch."""
        seen, found = torch.stack(self._seen).sum(dim=0), torch.stack(self._found).sum(dim=0)
        self.clean, self._not_finite, self._zero = seen.tolist()
        for radius, counts in zip(self.robust, found.tolist(), strict=True):
            self.single[radius], self.iterated[radius], self.robust[radius] = counts
        self._logits = to_host(self._logits)

    def warnings(self) -> list[str]:
        """Signs that the accuracy under attack may be false, once the counts were read."""
        logits = torch.cat(self._logits)
        found = false_robustness.probability_warnings(false_robustness.are_probabilities(logits))
        found = found or false_robustness.logit_scale_warnings(false_robustness.margins(logits))
        found += false_robustness.chance_warnings(self.clean, self.total, logits.shape[1])
        found += false_robustness.gradient_warnings(self._zero, self._not_finite, self.clean)
        for radius, count in self.iterated.items():
            found += false_robustness.single_step_warnings(
                radius, count / self.total, self.single[radius] / self.total
            )
        return found
