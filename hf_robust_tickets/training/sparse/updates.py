"""The masks of one training, from its start to its end: what `SparseTrainingCallback` does at each event."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor, nn
from transformers import TrainerState

from ...errors import CheckpointError, ConfigurationError
from ...sparse import MaskedWeights, ScoredMethod, SparseMethod
from ...sparse.base import Decision
from ...sparse.mask import read_together
from ...sparse.packing import masks_from_json_beside, masks_to_json_beside
from ...sparse.updating import all_finite, gradients_of, propose_masks
from ..steps.runner import bare_optimizer
from .curvature import Curvature
from .ranks import as_of_first_rank
from .search import MaskSearch

logger = logging.getLogger(__name__)

# These move each weight by its own gradient and state alone: a gradient that is zero keeps both at zero. (Adamax adds
# epsilon to its state.)
_WEIGHT_BY_WEIGHT = {"SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adadelta"}


class SparseRun:
    """Masks, and where in its course a training is.

    Args:
        method: What chooses and moves the masks.

    Attributes:
        layers: The weights and their masks; None before `start`.
        log: See `SparseTrainingCallback.log`.
        phase: `"start"`; `"score"` (the first gradients are awaited); `"search"` (stage 1 of Robust Bird); `"train"`.
        search: Robust Bird's search; None for other methods.
        due: Whether masks move after the present step.
        scored: Steps whose scores have been added up so far; 0 again when the masks are drawn.
    """

    def __init__(self, method: SparseMethod) -> None:
        self.method = method
        self.layers: MaskedWeights | None = None
        self.log: list[dict[str, Any]] = []
        self.phase = "start"
        self.search = MaskSearch(method) if method.searches else None
        self.due = False
        self.scored = 0
        self._scores: dict[str, Tensor] = {}
        self._curvature: Curvature | None = None
        self._postponed = False
        self._saved_masks: dict[str, Any] | None = None

    def start(
        self,
        layers: MaskedWeights,
        state: TrainerState,
        optimizer: Any,
        seed: int,
        steps_per_epoch: int,
        model: nn.Module | None = None,
    ) -> None:
        """Chooses the first masks, or goes on with those of the checkpoint.

        Args:
            layers: The weights to mask.
            state: The Trainer's.
            optimizer: What moves the weights.
            seed: Seed of random masks and random growth.
            steps_per_epoch: Optimiser steps.
            model: The model, not wrapped, for methods that look at more than weights and gradients.

        Raises:
            ConfigurationError: If the training is too short to score all steps that the method asks for.
            TicketError: If masks are for another model.
            CheckpointError: If the weights are not those that the masks of the checkpoint were saved with.
        """
        self.layers, self._seed, self._steps_per_epoch = layers, seed, steps_per_epoch
        self._masks_after_step = type(bare_optimizer(optimizer)).__name__ not in _WEIGHT_BY_WEIGHT
        if self._saved_masks is not None:
            self.take_masks(self._saved_masks)
            self._saved_masks = None
        if self.phase == "train":
            layers.hold_gradients()
        if self.phase == "start":
            weights = {name: w.detach() for name, w in layers.weights.items()}
            if self.method.looks_at_model:
                masks = self.method.masks_from_model(model, weights)
            else:
                masks = self.method.initial_masks(weights, seed)
            if masks is None:
                self.phase = "search" if self.search is not None else "score"
            else:
                self._settle(masks, optimizer, "start", 0)
        if self.phase == "score":
            self._check_can_score(state.max_steps)
            self._curvature = Curvature(model) if self.method.by_curvature else None

    def _check_can_score(self, max_steps: int) -> None:
        if not isinstance(self.method, ScoredMethod):
            raise ConfigurationError(
                f"{type(self.method).__name__} gives no initial masks, which a ScoredMethod or a search alone may "
                "do: derive it from ScoredMethod"
            )
        needed = self.method.warmup_steps + self.method.scored_steps
        if needed > max_steps:
            raise ConfigurationError(
                f"{type(self.method).__name__} needs {self.method.warmup_steps} + {self.method.scored_steps} steps "
                f"before it masks, got a training of {max_steps}: lower warmup_steps or scored_steps, or train longer"
            )

    def end(self) -> None:
        """Takes all hooks from the model."""
        self.layers.release_gradients()
        if self._curvature is not None:
            self._curvature.close()
            self._curvature = None
        if self.phase == "score":
            logger.warning("the training ended before %s had scored its steps: no mask was drawn", self.method.name)

    def before_step(self, state: TrainerState) -> None:
        """Lets the gradient of masked weights through where growth will look at it."""
        regular = self.method.is_update_step(state.global_step + 1, state.max_steps)
        self.due = self.phase == "train" and (regular or self._postponed)
        self.layers.lets_dense_gradients = self.due and self.method.grows_by_gradient

    def before_optimizer(self, state: TrainerState, optimizer: Any) -> None:
        """Scores weights by the step's gradient, before it moves anything; draws the masks after the last score."""
        if self.phase != "score" or state.global_step < self.method.warmup_steps:
            return
        weights = self.layers.weights
        derivatives = gradients_of(self.layers) if self._curvature is None else self._curvature.products(weights)
        if not all_finite(derivatives):
            logger.warning("step %d has no finite gradient to choose by: the next one counts", state.global_step + 1)
            return
        scores = self.method.score(weights, derivatives)
        self._scores = {name: score + self._scores[name] if self._scores else score for name, score in scores.items()}
        self.scored += 1
        if self.scored < self.method.scored_steps:
            return
        masks = self.method.masks_from_scores(self._scores)
        self._scores, self.scored = {}, 0
        self._settle(masks, optimizer, "start", state.global_step)
        self.layers.zero_gradients()
        if self._curvature is not None:
            self._curvature.close()
            self._curvature = None

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
            bare_optimizer(optimizer).state.clear()  # stage 2 begins with a fresh one
            self._settle(masks, optimizer, "ticket", step, attacked=self.method.attack_search)
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
        masks = self.layers.masks
        changed = sum(read_together([(grown[name] != mask).sum() for name, mask in masks.items()]))
        regrown = sum(read_together([(grown[name] & mask & ~survivors[name]).sum() for name, mask in masks.items()]))
        # What was masked before is zero already, value and state. What is dropped becomes so: before growth, where
        # that is to hold for what grows again at once too.
        self.layers.set_masks(survivors if self.method.reset_regrown else grown)
        self._zero(optimizer)
        self.layers.set_masks(grown)
        counts = {"changed": changed, "regrown": regrown}
        self._note(step, "update", drop_fraction=fraction, **counts, **decision._asdict())

    def _settle(self, masks: dict[str, Tensor], optimizer: Any, event: str, step: int, **more: Any) -> None:
        """Puts masks in place that the training, or its next stage, begins with."""
        self.layers.set_masks(as_of_first_rank(masks))
        self._zero(optimizer)
        self.layers.hold_gradients()
        self.phase = "train"
        self._note(step, event, **more)

    def _zero(self, optimizer: Any) -> None:
        self.layers.zero_weights()
        self.layers.zero_state(bare_optimizer(optimizer))

    def _note(self, step: int, event: str, **more: Any) -> None:
        entry = {
            "step": step,
            "epoch": self.epochs(step),
            "event": event,
            **self.layers.densities(),
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
            "scored": self.scored,
            "masks": {} if layers is None else masks_to_json_beside(layers.masks, layers.weights),
            "log": self.log,
            "search": None if self.search is None else self.search.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where another run stopped; `start` puts the masks in place.

        Raises:
            CheckpointError: If that was between two steps whose scores belong together.
        """
        if state["scored"]:
            raise CheckpointError(
                f"expected a checkpoint from before or after the scored steps, got one after {state['scored']} of "
                "them, whose scores it does not hold: resume an older one"
            )
        self.phase, self._postponed, self.log = state["phase"], state["postponed"], state["log"]
        self._saved_masks = state["masks"]
        if self.search is not None:
            self.search.load_state_dict(state["search"])
