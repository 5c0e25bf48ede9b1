"""The callback that attacks a small development sample while a model trains."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from accelerate.utils import broadcast_object_list
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy

from ...adversaries import Adversary
from ...errors import ConfigurationError
from ...evaluation import evaluate_robustness, evaluate_white_box, get_recipe
from ...evaluation.fingerprints import seeded
from ...evaluation.victim.model import evaluation_mode
from .development import DevelopmentSample

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

ACCURACY_UNDER_ATTACK = "eval_accuracy_under_attack"
"""Name of the figure among the metrics; `metric_for_best_model` takes it without `eval_` too."""

CLEAN_ACCURACY = "eval_attack_sample_accuracy"
"""Name of the accuracy on the same sample without the attack."""


class RobustSelectionCallback(TrainerCallback):
    """Attacks a small fixed development sample during training, and puts what is left among the metrics.

    The figure `eval_accuracy_under_attack` is among the metrics next to `eval_loss`, in the log and in every tracker,
    so it may choose the best model: `metric_for_best_model="accuracy_under_attack"` with `load_best_model_at_end` or
    `EarlyStoppingCallback`. Use a development split: on the sample that chose a model, its figures are too high.

    Training is the same, bit by bit, with the callback and without: random states are put back, dropout is off during
    the attack, and no gradient reaches a weight. On several ranks the figure of rank 0 counts on all of them.

    Works on any `Trainer`. In those of this package it comes before all other callbacks, wherever it is named. In
    transformers' own, `callback.join(trainer)` takes it to the front, where trackers see the figure too; without it,
    metrics, best model and `log_history` have it, and callbacks that are named after it.

    Args:
        dataset: Development examples: texts and labels, or `input_ids` (or `pixel_values`) and labels for an attack by
            gradients.
        attack: Name of a recipe of `evaluate_robustness` (the default, DeepWordBug, needs no resources), or an
            `Adversary`, e.g. `PGD(steps=6, step_size=0.1, max_norm=0.3)`: accuracy inside the ball of its radius.
        tokenizer: The tokenizer; None for the trainer's `processing_class`.
        num_examples: Size of the sample, stratified by label.
        every_n_steps: Attacks at every n-th step, whether the Trainer evaluates there or not; None: at each
            evaluation.
        seed: Seed of the sample and of the attacks.
        label_column: Column of the labels; `labels` is found too.
        **options: Further arguments of `evaluate_robustness` or `evaluate_white_box`, e.g. `text_columns`,
            `max_length`, `batch_size`, `restarts`, `criterion`.

    Attributes:
        history: One dict per attack: `step`, the two figures, and for an attack by gradients its `criterion`.

    Raises:
        ConfigurationError: If an argument cannot work.
        UnknownNameError: If there is no such recipe.
    """

    def __init__(
        self,
        dataset: Dataset | Sequence[Mapping[str, Any]],
        attack: str | Adversary = "deepwordbug",
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        num_examples: int = 64,
        every_n_steps: int | None = None,
        seed: int = 0,
        label_column: str = "label",
        **options: Any,
    ) -> None:
        if num_examples < 1:
            raise ConfigurationError(f"expected num_examples >= 1, got {num_examples}")
        if "output_dir" in options:
            raise ConfigurationError(
                "expected no output_dir, got one: a folder holds the evaluation of one model, and this model changes; "
                "the figures are in history and in the log"
            )
        if every_n_steps is not None and every_n_steps < 1:
            raise ConfigurationError(f"expected every_n_steps >= 1 or None, got {every_n_steps}")
        if isinstance(attack, Adversary) and not attack.max_norm > 0:
            raise ConfigurationError(f"expected an adversary with max_norm > 0, got {attack.max_norm}")
        if isinstance(attack, str):
            if get_recipe(attack).goal != "misclassify":
                raise ConfigurationError(f"expected an attack that leaves an accuracy, got {attack!r}")
        elif not isinstance(attack, Adversary):
            raise ConfigurationError(f"expected a recipe's name or an Adversary, got {type(attack).__name__}")
        self.attack, self.every_n_steps = attack, every_n_steps
        self._tokenizer, self._seed, self._label_column = tokenizer, seed, label_column
        self._options = options
        self._development = DevelopmentSample(dataset, num_examples, seed, label_column, options.get("text_columns"))
        self._sample = self._development.rows
        self._in_training = False
        self.history: list[dict[str, Any]] = []

    def join(self, trainer: Trainer) -> None:
        """Goes before all other callbacks of a trainer, so that trackers and early stopping see the figure."""
        callbacks = trainer.callback_handler.callbacks
        callbacks[:] = [self, *(callback for callback in callbacks if callback is not self)]

    def check_before(self, trainer: Trainer) -> None:
        """Attacks one example: asked before the search of a job, whose fine-tuning alone the callback sees.

        Raises:
            DataError: If a label is no class of the model; it names the row.
        """
        model = trainer.accelerator.unwrap_model(trainer.model)
        self._development.check_labels(model.config)
        self._measure(_first(self._sample), model=model, processing_class=trainer.processing_class)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Attacks one example, so that what cannot work stops the training before it begins.

        Raises:
            ConfigurationError: If the figure is to choose the best model, and is not there at each evaluation.
        """
        self._check_figures(args, state)
        if state.global_step == 0:
            self.history = []
        self._in_training = True
        self._measure(_first(self._sample), **kwargs)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From here on weights may change without a step."""
        self._in_training = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Asks for an entry of the log when an attack is due; `on_log` adds the figures to it."""
        if self.every_n_steps is not None and state.global_step % self.every_n_steps == 0:
            control.should_log = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Adds the figures to the entry of an evaluation, or of a step at which an attack is due."""
        evaluation = any(name.startswith("eval_") and name.endswith("_runtime") for name in logs)
        if not self._is_due(state, evaluation):
            return
        figures = self._figures(state, **kwargs)
        logs.update(figures)
        # The Trainer's own record is a copy that was made just before.
        if state.log_history and state.log_history[-1].get("step") == state.global_step:
            state.log_history[-1].update(figures)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Adds the figures where a trainer logs something else than its metrics."""
        evaluation = any(name.startswith("eval_") for name in metrics)
        if ACCURACY_UNDER_ATTACK not in metrics and self._is_due(state, evaluation):
            metrics.update(self._figures(state, **kwargs))

    def _is_due(self, state: TrainerState, evaluation: bool) -> bool:
        if self.every_n_steps is None or not self._in_training:
            return evaluation
        due = state.global_step > 0 and state.global_step % self.every_n_steps == 0
        return due and (evaluation or not self._is_known(state))

    def _is_known(self, state: TrainerState) -> bool:
        return self._in_training and bool(self.history) and self.history[-1]["step"] == state.global_step

    def _figures(self, state: TrainerState, **kwargs: Any) -> dict[str, float]:
        """The figures of the present weights; attacked once per step of training."""
        if not self._is_known(state):
            clean, robust = self._measure(self._sample, **kwargs)
            self.history.append({"step": state.global_step, CLEAN_ACCURACY: clean, ACCURACY_UNDER_ATTACK: robust})
            if isinstance(self.attack, Adversary):
                self.history[-1]["criterion"] = self._options.get("criterion", "any")
            logger.info("step %d: %.3f clean, %.3f under attack", state.global_step, clean, robust)
        return {name: self.history[-1][name] for name in (CLEAN_ACCURACY, ACCURACY_UNDER_ATTACK)}

    def _measure(
        self, sample: Any, model: PreTrainedModel, processing_class: Any = None, **_: Any
    ) -> tuple[float, float]:
        """Accuracy without and under attack, equal on all ranks.

        All ranks attack the same examples: they would only wait for each other otherwise, and where weights are
        sharded every pass needs all of them.
        """
        tokenizer = self._tokenizer or processing_class
        with seeded(self._seed, "callback", 0), evaluation_mode(model):
            figures = [self._attack(sample, model, tokenizer)]
        broadcast_object_list(figures, from_process=0)
        return figures[0]

    def _attack(self, sample: Any, model: PreTrainedModel, tokenizer: Any) -> tuple[float, float]:
        common = {"num_examples": None, "seed": self._seed, "label_column": self._label_column, "progress": False}
        if isinstance(self.attack, str):
            if tokenizer is None:
                raise ConfigurationError("expected a tokenizer for attacks on texts, got none: pass tokenizer=")
            report = evaluate_robustness(model, sample, tokenizer, recipes=[self.attack], **common, **self._options)
            return report.clean_accuracy, report[self.attack].accuracy_under_attack
        encoded = {"input_ids", "pixel_values"} & set(_columns(sample))
        result = evaluate_white_box(
            model, sample, None if encoded else tokenizer, adversary=self.attack, **common, **self._options
        )
        return result.clean_accuracy, result.robust_accuracy[self.attack.max_norm]

    def _check_figures(self, args: TrainingArguments, state: TrainerState) -> None:
        wanted = (args.metric_for_best_model or "").removeprefix("eval_") == ACCURACY_UNDER_ATTACK.removeprefix(
            "eval_"
        )
        if not wanted or self.every_n_steps is None:
            return
        if args.eval_strategy != IntervalStrategy.STEPS or state.eval_steps % self.every_n_steps:
            raise ConfigurationError(
                "expected an attack at each evaluation, since accuracy_under_attack chooses the best model, got "
                f"every_n_steps={self.every_n_steps}: leave it out, or make eval_steps a multiple of it"
            )


def _columns(data: Any) -> list[str]:
    return list(data.column_names) if hasattr(data, "column_names") else list(data[0])


def _first(data: Any) -> Any:
    return data.select([0]) if hasattr(data, "select") else data[:1]
