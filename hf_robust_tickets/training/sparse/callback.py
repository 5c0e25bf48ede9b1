"""Sparse training inside `transformers.Trainer`, as a callback."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from accelerate.utils import extract_model_from_parallel
from torch import Tensor
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from ...adversaries import Adversary, PerturbationHook
from ...errors import CheckpointError, ConfigurationError
from ...sparse import MaskedWeights, RobustRecord, SparseMethod, get_sparse_method, select_weights
from ...sparse.base import REGULAR, Decision
from ..callbacks.base import AttackCallback, StatefulCallback, differences
from ..steps.schedule import steps_per_epoch
from .ranks import check_mask_surroundings, check_no_replicas, check_not_transposed
from .records import RobustHistory, may_decide
from .updates import SparseRun

logger = logging.getLogger(__name__)


class SparseTrainingCallback(StatefulCallback, AttackCallback):
    """Keeps weights at zero by a mask, and moves the mask as a method says.

    Works on any `Trainer`, under data parallelism, accumulation and mixed precision. On an `AdversarialTrainer` masks
    grow by gradients of the adversarial loss. Masks, schedule and records travel in checkpoints: a training that was
    cut off ends as if it had not been.

    Masked weights have no gradient, so that clipping does not see them, except in steps whose gradient decides about
    growth: there it is accumulated, exchanged, unscaled and clipped with all others.

    Args:
        method: A `SparseMethod`, its name, or what `SparseMethod.describe()` gives.
        include: Name patterns of the weights to mask; see `select_weights`.
        exclude: Name patterns of weights to leave out.
        seed: Seed of random masks and random growth; None for that of the training.
        stop_after_search: Stop training when Robust Bird has its mask, rather than go on with stage 2.

    Attributes:
        masks: Parameter name -> BoolTensor of its shape, True = kept; empty before training.
        log: One dict per change of masks: `step`, `epoch`, `event` (`"start"`, `"ticket"`, `"update"`), `density`,
            `layer_density`, `dense_gradient`; for a ticket also `attacked` (whether stage 1 was); for updates also
            `drop_fraction`, `changed`, `regrown` (dropped and grown again at once), `prune_more`, `grow_more`.
        records: One `RobustRecord` per evaluation, for methods that adapt to them.
        distances: For Robust Bird: largest distance of each mask to those before it in the queue, None at first.
        converged: For Robust Bird: whether the mask settled; None before the search has ended.

    Example:
        >>> callback = SparseTrainingCallback(FlyingBird(density=0.1, period=100))
        >>> AdversarialTrainer(model, args, train_dataset=train, callbacks=[callback]).train()
    """

    must_resume = True

    def __init__(
        self,
        method: SparseMethod | str | Mapping[str, Any],
        include: str | Iterable[str] | None = None,
        exclude: str | Iterable[str] | None = None,
        seed: int | None = None,
        stop_after_search: bool = False,
    ) -> None:
        if isinstance(method, str):
            method = get_sparse_method(method)
        elif isinstance(method, Mapping) and "name" in method:
            method = get_sparse_method(**method)
        if not isinstance(method, SparseMethod):
            raise ConfigurationError(
                f"expected a sparse method, its name, or a dict with its name and options, got {method!r}"
            )
        self.method = method
        self._patterns = {"include": _as_list(include), "exclude": _as_list(exclude)}
        self._seed = seed
        self._stop_after_search = stop_after_search
        self._running = False
        self.reset()

    def reset(self) -> None:
        """Forgets all progress."""
        self._search_is_over = False
        self._run = SparseRun(self.method)
        self._history = RobustHistory()

    @property
    def masks(self) -> dict[str, Tensor]:
        """Parameter name -> BoolTensor of its shape, True = kept."""
        return {} if self._run.layers is None else self._run.layers.masks

    @property
    def density(self) -> float:
        """Fraction of the maskable weights that is kept now; 1 before training."""
        return 1.0 if self._run.layers is None else self._run.layers.density

    @property
    def log(self) -> list[dict[str, Any]]:
        """One dict per change of masks."""
        return self._run.log

    @property
    def records(self) -> list[RobustRecord]:
        """Evaluations so far, oldest first."""
        return self._history.records

    @property
    def distances(self) -> list[float | None]:
        """Largest distance of each mask of the search to those before it in the queue."""
        return [] if self._run.search is None else self._run.search.queue.distances

    @property
    def converged(self) -> bool | None:
        """Whether Robust Bird's mask settled."""
        return None if self._run.search is None else self._run.search.converged

    @property
    def pauses_attack(self) -> bool:
        """Whether the present step is to be one of standard training; an `AdversarialTrainer` asks."""
        run = self._run
        decides = run.due or run.phase == "score"
        searches = run.phase == "search" and not self.method.attack_search
        return self._running and (searches or (decides and self.method.under_standard_loss))

    @property
    def demands_attack(self) -> bool:
        """Whether the present step is to be attacked out of turn: masks grow by the gradient of this loss."""
        run = self._run
        return self._running and run.due and self.method.grows_by_gradient and not self.method.under_standard_loss

    def meet_adversary(self, adversary: Adversary, hook: PerturbationHook, *, attacks: bool) -> None:
        """Told by an `AdversarialTrainer` at each step: the attack, and whether the step is under it."""
        self._history.measure_under(adversary, hook)
        self._history.accuracy.counts = attacks

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Chooses the weights and their first masks, or takes those of the checkpoint back.

        Raises:
            ConfigurationError: If the surroundings cannot be right, or no weight matches.
            CheckpointError: If the checkpoint was made with another method.
            TicketError: If given masks are for another model.
        """
        check_mask_surroundings(args, kwargs["model"], self._patterns["include"] is not None)
        check_no_replicas(args, self.method)
        self._check_own_checkpoint(state)
        self.restore(state)
        self._model = extract_model_from_parallel(kwargs["model"])
        weights = select_weights(self._model, **self._patterns)
        if isinstance(self.method.density, str):
            check_not_transposed(self._model, weights)
        layers = MaskedWeights(weights)
        seed = args.seed if self._seed is None else self._seed
        steps = steps_per_epoch(args, state, kwargs.get("train_dataloader"))
        self._run.start(layers, state, kwargs["optimizer"], seed, steps, self._model)
        self._running = True
        if self.method.adapts:
            self._watch_accuracy(args)

    def _watch_accuracy(self, args: TrainingArguments) -> None:
        self._history.accuracy.watch(self._model)
        if args.eval_strategy == "no":
            logger.warning(
                "%s has no evaluations to decide on and keeps its density: give an eval_dataset (a development split, "
                "never the test split) and eval_strategy='epoch'",
                type(self.method).__name__,
            )

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Lets the gradient of masked weights through where growth will look at it."""
        self._run.before_step(state)

    def on_substep_end(self, *args: Any, **kwargs: Any) -> None:
        """Counts the answers of the micro-batch."""
        self._history.accuracy.commit()

    def on_pre_optimizer_step(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Draws masks that depend on the first gradients, before they move anything."""
        self._history.accuracy.commit()
        self._run.before_optimizer(state, kwargs["optimizer"])

    def on_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Moves the masks when it is time; the gradients of the step are still there."""
        ended = self._run.after_optimizer(state, kwargs["optimizer"], self._decide(state))
        if ended and self._stop_after_search:
            control.should_training_stop = self._search_is_over = True

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keeps steps from being saved that end a search, or whose scores are not complete: there is no going on."""
        if self._search_is_over or self._run.scored:
            control.should_save = False

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """As `on_step_end`."""
        self.on_step_end(args, state, control)

    def _decide(self, state: TrainerState) -> Decision:
        if not (self.method.adapts and self._run.due):
            return REGULAR
        epochs = self._run.epochs
        return self.method.decide(self.records, epochs(state.global_step + 1), epochs(state.max_steps))

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Measures robust accuracy on the development split, for methods that adapt to it.

        Raises:
            ConfigurationError: If the only set to evaluate on is a test split.
        """
        if self._running and self.method.adapts and may_decide(kwargs["eval_dataloader"], kwargs.get("metrics")):
            self._history.evaluate(self._model, kwargs["eval_dataloader"], state.global_step, args.device)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Leaves the model without hooks, and with the masks that belong to its weights."""
        self._run.end()
        self._history.accuracy.leave()
        self._history.measure_under(None, None)
        self._running = False
        if args.load_best_model_at_end and state.best_model_checkpoint:
            path = Path(state.best_model_checkpoint) / TRAINER_STATE_NAME
            record = json.loads(path.read_text())["stateful_callbacks"][type(self).__name__]
            self._run.take_masks(record["attributes"]["progress"]["run"]["masks"])

    def options(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        stop = self._stop_after_search
        return {"method": self.method.describe(), **self._patterns, "seed": self._seed, "stop_after_search": stop}

    @property
    def progress(self) -> dict[str, Any]:
        """All that the training so far has made, as JSON; the weights of the checkpoint complete the masks."""
        return {"run": self._run.state_dict(), "history": self._history.state_dict()}

    @progress.setter
    def progress(self, value: dict[str, Any]) -> None:
        self.reset()
        self._run.load_state_dict(value["run"])
        self._history.load_state_dict(value["history"])

    def _check_own_checkpoint(self, state: TrainerState) -> None:
        if state.global_step == 0:
            return
        record = (state.stateful_callbacks or {}).get(type(self).__name__)
        found = record["args"] if isinstance(record, dict) else None
        options = json.loads(json.dumps(self.options()))
        if found is None:
            raise CheckpointError(
                f"expected a checkpoint of a training under {self.method.name}, got one without masks: start anew"
            )
        if found != options:
            told = differences(_flat(options), _flat(found))
            raise CheckpointError(
                f"the checkpoint was made with another sparse training: expected {told}; resume with those, or start "
                "anew"
            )


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of callback and method side by side."""
    rest = {name: value for name, value in options.items() if name != "method"}
    return {f"method.{name}": value for name, value in options.get("method", {}).items()} | rest


def _as_list(patterns: str | Iterable[str] | None) -> list[str] | None:
    if patterns is None:
        return None
    return [patterns] if isinstance(patterns, str) else list(patterns)
