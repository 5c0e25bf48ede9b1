"""Stage 1 of Robust Bird: a mask at every interval, until they have settled or the budget is spent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...sparse import MaskQueue, RobustBird
from ...sparse.density import count_up
from .ranks import as_of_first_rank

logger = logging.getLogger(__name__)


class MaskSearch:
    """Draws masks from the weights while they are trained.

    Args:
        method: When to draw, and how much masks may differ.

    Attributes:
        queue: The last masks and their distances.
        converged: Whether the mask settled; None before the search has ended.
    """

    def __init__(self, method: RobustBird) -> None:
        self.method = method
        self.queue = MaskQueue(method.tolerance, method.patience)
        self.converged: bool | None = None

    def look(
        self, weights: Mapping[str, Tensor], step: int, max_steps: int, steps_per_epoch: int
    ) -> dict[str, Tensor] | None:
        """Called after every optimiser step.

        Returns:
            The masks to go on with when the search has ended with this step, else None.
        """
        method = self.method
        budget = method.budget * (max_steps if method.budget < 1 else steps_per_epoch)
        over = step >= min(count_up(budget), max_steps)
        if step % max(1, round(method.interval * steps_per_epoch)) and not over:
            return None
        masks = as_of_first_rank(method.draw(weights))
        settled = self.queue.update(masks)
        logger.info("mask at step %d: largest distance to those before %s", step, self.queue.distances[-1])
        if not (settled or over):
            return None
        self.converged = settled
        if not settled:
            logger.warning(
                "the mask still changed when stage 1 ended at step %d (tolerance %g): the last one is used; raise "
                "budget or tolerance, or lower interval",
                step,
                method.tolerance,
            )
        return masks

    def state_dict(self) -> dict[str, Any]:
        """Everything that `look` depends on, as JSON."""
        return {"converged": self.converged, "queue": self.queue.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where another search stopped."""
        self.converged = state["converged"]
        self.queue.load_state_dict(state["queue"])
