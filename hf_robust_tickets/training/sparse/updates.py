"""The masks of one training, from its start to its end: what `SparseTrainingCallback` does at each event."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerState

from ...sparse import MaskedWeights, SparseMethod
from ...sparse.base import Decision
from ...sparse.packing import masks_from_json_beside, masks_to_json_beside
from ...sparse.updating import all_finite, gradients_of, propose_masks
from .ranks import as_of_first_rank
from .search import MaskSearch

logger = logging.getLogger(__name__)

# These move each weight by its own gradient and state alone: a gradient that is zero keeps both at zero. (Adamax adds
# epsilon to its state.)
_WEIGHT_BY_WEIGHT = {"SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adadelta"}


def bare(optimizer: Any) -> torch.optim.Optimizer:
    """The optimiser inside Accelerate's wrapper."""
    return getattr(optimizer, "optimizer", optimizer)


class SparseRun:
    """Masks, and where in its course a training is.

    Args:
        method: What chooses and moves the masks.

    Attributes:
        layers: The weights and their masks; None before `start`.
        log: See `SparseTrainingCallback.log`.
        phase: `"start"`; `"score"` (the first gradient is awaited); `"search"` (stage 1 of Robust Bird); `"train"`.
        search: Robust Bird's search; None for other methods.
        due: Whether masks move after the present step.
    """

    def __init__(self, method: SparseMethod) -> None:
        self.method = method
        self.layers: MaskedWeights | None = None
        self.log: list[dict[str, Any]] = []
        self.phase = "start"
        self.search = MaskSearch(method) if method.searches else None
        self.due = False
        self._postponed = False
        self._saved_masks: dict[str, Any] | None = None

    def start(
        self, layers: MaskedWeights, state: TrainerState, optimizer: Any, seed: int, steps_per_epoch: int
    ) -> None:
        """Chooses the first masks, or goes on with those of the checkpoint.

        Raises:
            TicketError: If masks are for another model.
            CheckpointError: If the weights are not those that the masks of the checkpoint were saved with.
        """
        self.layers, self._seed, self._steps_per_epoch = layers, seed, steps_per_epoch
        self._masks_after_step = type(bare(optimizer)).__name__ not in _WEIGHT_BY_WEIGHT
        if self._saved_masks is not None:
            self.take_masks(self._saved_masks)
            self._saved_masks = None
        if self.phase == "train":
            layers.hold_gradients()
        if self.phase != "start":
            return
        masks = self.method.initial_masks({name: w.detach() for name, w in layers.weights.items()}, seed)
        if masks is None:
            self.phase = "search" if self.search is not None else "score"
        else:
            self._settle(masks, optimizer, "start", 0)

    def before_step(self, state: TrainerState) -> None:
        """Lets the gradient of masked weights through where growth will look at it."""
        regular = self.method.is_update_step(state.global_step + 1, state.max_steps)
        self.due = self.phase == "train" and (regular or self._postponed)
        self.layers.lets_dense_gradients = self.due and self.method.grows_by_gradient

    def before_optimizer(self, state: TrainerState, optimizer: Any) -> None:
        """Draws masks that depend on the first gradient, before it moves anything."""
        if self.phase != "score":
            return
        gradients = gradients_of(self.layers)
        if not all_finite(gradients):
            logger.warning("step %d has no finite gradient to choose by: the next one counts", state.global_step + 1)
            return
        masks = self.method.masks_from_gradient(self.layers.weights, gradients)
        self._settle(masks, optimizer, "start", state.global_step)
        self.layers.zero_gradients()

    def after_optimizer(self, state: TrainerState, optimizer: Any, decision: Decision) -> bool:
        """Moves the masks when it is time; the gradients of the step are still there.

        Returns:
            Whether a search has ended with this step.
        """
        step = state.global_step + 1
        if self.phase == "search":
            masks = self.search.look(self.layers.weights, step, state.max_steps, self._steps_per_epoch)
            if masks is None:
                return False
            bare(optimizer).state.clear()  # stage 2 begins with a fresh one
            self._settle(masks, optimizer, "ticket", step)
            return True
        if self.phase == "train" and (self._masks_after_step or self.layers.lets_dense_gradients):
            self._zero(optimizer)
        if self.due:
            self._update(state, optimizer, step, decision)
        return False

    def _update(self, state: TrainerState, optimizer: Any, step: int, decision: Decision) -> None:
        """Drops and grows in every layer."""
        gradients = gradients_of(self.layers) if self.method.grows_by_gradient else None
        skipped = getattr(optimizer, "step_was_skipped", False)
        self._postponed = gradients is not None and (skipped or not all_finite(gradients))
        if self._postponed:
            logger.warning("step %d has no finite gradient to grow by: masks change one step later", step)
            return
        fraction = self.method.drop_fraction_at(step, state.max_steps)
        proposed = propose_masks(self.method, self.layers, gradients, fraction, decision, (self._seed, step))
        survivors, grown = (as_of_first_rank(masks) for masks in proposed)
        changed = sum(int((grown[name] != mask).sum()) for name, mask in self.layers.masks.items())
        regrown = sum(int((grown[name] & mask & ~survivors[name]).sum()) for name, mask in self.layers.masks.items())
        # What was masked before is zero already, value and state. What is dropped becomes so: before growth, where
        # that is to hold for what grows again at once too.
        self.layers.set_masks(survivors if self.method.reset_regrown else grown)
        self._zero(optimizer)
        self.layers.set_masks(grown)
        counts = {"changed": changed, "regrown": regrown}
        self._note(step, "update", drop_fraction=fraction, **counts, **decision._asdict())

    def _settle(self, masks: dict[str, Tensor], optimizer: Any, event: str, step: int) -> None:
        """Puts masks in place that the training, or its next stage, begins with."""
        self.layers.set_masks(as_of_first_rank(masks))
        self._zero(optimizer)
        self.layers.hold_gradients()
        self.phase = "train"
        self._note(step, event)

    def _zero(self, optimizer: Any) -> None:
        self.layers.zero_weights()
        self.layers.zero_state(bare(optimizer))

    def _note(self, step: int, event: str, **more: Any) -> None:
        entry = {
            "step": step,
            "epoch": self.epochs(step),
            "event": event,
            "density": self.layers.density,
            "layer_density": self.layers.layer_density,
            "dense_gradient": self.layers.lets_dense_gradients,
            **more,
        }
        self.log.append(entry)
        logger.info("masks at step %d (%s): density %.6f", step, event, entry["density"])

    def epochs(self, step: int) -> float:
        """That number of steps in epochs."""
        return step / self._steps_per_epoch

    def take_masks(self, saved: dict[str, Any]) -> None:
        """Puts masks in place that `state_dict` gave; the weights are those of the same checkpoint."""
        self.layers.set_masks(masks_from_json_beside(saved, self.layers.weights))

    def state_dict(self) -> dict[str, Any]:
        """All that the training so far has made, as JSON; the weights of the checkpoint complete the masks."""
        layers = self.layers
        return {
            "phase": self.phase,
            "postponed": self._postponed,
            "masks": {} if layers is None else masks_to_json_beside(layers.masks, layers.weights),
            "log": self.log,
            "search": None if self.search is None else self.search.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where another run stopped; `start` puts the masks in place."""
        self.phase, self._postponed, self.log = state["phase"], state["postponed"], state["log"]
        self._saved_masks = state["masks"]
        if self.search is not None:
            self.search.load_state_dict(state["search"])
