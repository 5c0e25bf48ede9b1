"""`Trainer` with a teacher, frozen embeddings and averaged weights: what does not depend on the adversary."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from torch import nn
from transformers import PreTrainedModel, Trainer

from ...errors import ConfigurationError
from ..callbacks.averaging import WeightAveragingCallback
from ..callbacks.base import FileCallback
from ..sparse.callback import SparseTrainingCallback
from ..steps.outputs import without_labels
from .distillation import Distillation, check_teacher, load_teacher
from .frozen import FrozenEmbeddings
from .options import SEARCHED, option_of


class _OfOptions(WeightAveragingCallback):
    """One that the options of a training ask for, not the user."""


class FineTuningTrainer(Trainer):
    """`Trainer` that reads `FineTuningOptions` from its arguments; `AdversarialTrainer` extends it, and has a runner.

    The options are taken up when a training begins and let go when it ends. The search of a ticket job, whose
    arguments are its own, has none of them.

    Args:
        *args: As for `Trainer`.
        teacher: A model to distil from; its weights are not touched, and it is put into evaluation mode. Default: that
            of `args.distillation_teacher`, if any.
        **kwargs: As for `Trainer`.

    Attributes:
        teacher: The teacher, or `None`; the searched model is there from the cut on.
        distillation: Its part in the loss of the present training, or `None`.

    Raises:
        ConfigurationError: If the teacher does not fit the model.
    """

    searches: ClassVar[bool] = False
    """Whether a training of this class is the fine-tuning of what a search has left."""

    def __init__(self, *args: Any, teacher: PreTrainedModel | None = None, **kwargs: Any) -> None:
        self.distillation: Distillation | None = None
        self.teacher: PreTrainedModel | None = None
        self._frozen: FrozenEmbeddings | None = None
        super().__init__(*args, **kwargs)
        self.teacher = self._take_teacher(teacher)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer.train`."""
        try:
            return super().train(*args, **kwargs)
        finally:
            self._end_options()

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, *args: Any, **kwargs: Any
    ) -> Any:
        """As in `Trainer.compute_loss`; while training, with the teacher's share."""
        if self.distillation is None or not model.training:
            return super().compute_loss(model, inputs, return_outputs, *args, **kwargs)
        labels = [inputs[name] for name in self.label_names if name in inputs]
        bare = without_labels(inputs, self.label_names)
        loss, outputs = super().compute_loss(model, inputs, True, *args, **kwargs)
        counted = args[0] if args else kwargs.get("num_items_in_batch")
        with self.accelerator.autocast():
            term = self.distillation.term(outputs, self.runner.unwrapped(model), bare, labels)
        weight = self.distillation.weight
        loss = (1 - weight) * loss + weight * self.runner.per_step(term, counted)
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer.training_step`.

        Raises:
            ConfigurationError: If a subclass computes its loss without this one, which would leave the teacher out.
        """
        before = 0 if self.distillation is None else self.distillation.uses
        loss = super().training_step(*args, **kwargs)
        if self.distillation is not None and self.distillation.uses == before:
            raise ConfigurationError(
                f"the teacher is part of compute_loss, got {type(self).__name__}, whose compute_loss does not come to "
                "it: call super().compute_loss, or leave the teacher out"
            )
        return loss

    def teacher_flops(self, inputs: dict[str, Any]) -> float:
        """Theoretical operations of the teacher's forward pass over a micro-batch: 2 per weight and token."""
        name = getattr(self.model, "main_input_name", "input_ids")
        if self.distillation is None or name not in inputs:
            return 0.0
        return 2.0 * inputs[name].numel() * self.teacher.num_parameters(exclude_embeddings=True)

    def _take_teacher(self, given: PreTrainedModel | None) -> PreTrainedModel | None:
        source = getattr(self.args, "distillation_teacher", None)
        if given is not None and source is not None:
            raise ConfigurationError(
                f"expected one teacher, got a model and distillation_teacher={source!r}: leave one out"
            )
        if source == SEARCHED and not self.searches:
            raise ConfigurationError(
                f"the searched model teaches in a ticket job, got distillation_teacher={SEARCHED!r} in "
                f"{type(self).__name__}, which searches for none: name another teacher, or use RobustTicketTrainer"
            )
        if given is None and source in (None, SEARCHED):
            return None
        student = self.accelerator.unwrap_model(self.model)
        teacher = load_teacher(source, student) if given is None else given
        check_teacher(teacher, student, source, self.processing_class)
        return teacher

    def _begin_options(self) -> None:
        """Takes up the options of the training that begins."""
        self._end_options()
        if option_of(self.args, "freeze_embeddings"):
            self._frozen = FrozenEmbeddings(self.accelerator.unwrap_model(self.model), self.args)
        start, *rest = (option_of(self.args, f"average_weights_{name}") for name in ("from", "every", "decay"))
        if start is not None:
            self.add_callback(_OfOptions(start, *rest))
        callbacks = self.callback_handler.callbacks
        if self._file_callbacks and any(isinstance(callback, SparseTrainingCallback) for callback in callbacks):
            raise ConfigurationError(
                "the average of weights under masks is not masked as they are, got WeightAveragingCallback and "
                "SparseTrainingCallback: leave one out"
            )
        weight, heat = (option_of(self.args, f"distillation_{name}") for name in ("weight", "temperature"))
        if self.teacher is not None and weight > 0:
            self.distillation = Distillation(self.teacher, weight, heat)

    def _end_options(self) -> None:
        """Leaves model and callbacks as they were."""
        if self._frozen is not None:
            self._frozen.let_go()
        for callback in self._file_callbacks:
            if isinstance(callback, _OfOptions):
                self.remove_callback(callback)
        self._frozen = self.distillation = None

    def _hp_search_setup(self, trial: Any) -> None:
        # Every training comes here with its model made, and no optimiser and no checkpoint yet.
        super()._hp_search_setup(trial)
        self._begin_options()

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        if self.args.should_save:
            for callback in self._file_callbacks:
                callback.save(Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            for callback in self._file_callbacks:
                callback.load(Path(checkpoint), self.args.device)

    @property
    def _file_callbacks(self) -> list[FileCallback]:
        return [callback for callback in self.callback_handler.callbacks if isinstance(callback, FileCallback)]
