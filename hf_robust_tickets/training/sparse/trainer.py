"""Sparse adversarial training as one `Trainer`: the method's own stages, in one `train()`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import TrainingArguments
from transformers.trainer_utils import SaveStrategy, SchedulerType, TrainOutput

from ...adversaries import Adversary
from ...errors import CheckpointError, ConfigurationError
from ...sparse import FixedMasks, SparseMethod, load_masks, save_masks
from ..hub.card import adversary_facts
from ..jobs.checkpoints import checkpoints, explain_failed_save, last_complete_checkpoint
from ..jobs.cost import with_all_phases
from ..jobs.folder import SEARCH, JobFolder
from ..jobs.phases import begin_next_phase, own_callbacks, phase, search_arguments
from ..jobs.trackers import callbacks_of_search
from ..trainer import AdversarialTrainer
from .callback import SparseTrainingCallback
from .cost import step_passes
from .facts import SUMMARY_FILE

logger = logging.getLogger(__name__)

_MASKS = "sparse_masks.safetensors"
# More epochs than a search will have: its end is that of its own training.
_WHOLE_TRAINING = 1e6


class SparseTrainer(AdversarialTrainer):
    """`AdversarialTrainer` with a `SparseTrainingCallback`; Robust Bird's stages are trainings of their own.

    With `RobustBird`, `train()` first trains the dense model plainly in `output_dir/_search` until the mask settles
    (at most `method.budget` of the epochs), and then starts adversarial training anew on the masked weights: a fresh
    optimiser and the whole of the schedule, as the paper has it. The rate of stage 1 is constant, as it is in the
    released code until epoch 50: under one that falls, masks settle because nothing moves.
    `train(resume_from_checkpoint=True)` goes on in whichever stage was cut off. Callbacks passed by the user see
    stage 2 alone. The other methods have one stage.

    Args:
        *args: As for `AdversarialTrainer`.
        method: A `SparseMethod`, its name, or what `SparseMethod.describe()` gives.
        include: Name patterns of the weights to mask; see `select_weights`.
        exclude: Name patterns of weights to leave out.
        search_adversary: What attacks stage 1, an `Adversary` or its name (then with the hyper-parameters of the
            arguments); None for plain training, or with `RobustBird(attack_search=True)` for the adversary of stage 2.
        search_lr_scheduler_type: Schedule of stage 1; None for that of the training, over the budget of stage 1.
        **kwargs: As for `AdversarialTrainer`.

    Attributes:
        sparse: The callback; its `masks` and `log` are those of the last stage.
        search: The callback of Robust Bird's stage 1; None for other methods, or where stage 1 was over already.
        has_two_stages: Whether stage 1 is a training of its own.

    Raises:
        ConfigurationError: With `RobustBird`, for a ready-made optimiser or `model_init`; without it, for a
            `search_adversary`.
    """

    def __init__(
        self,
        *args: Any,
        method: SparseMethod | str | Mapping[str, Any] = "flying-bird",
        include: str | Iterable[str] | None = None,
        exclude: str | Iterable[str] | None = None,
        search_adversary: Adversary | str | None = None,
        search_lr_scheduler_type: SchedulerType | str | None = "constant_with_warmup",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._own_callbacks = own_callbacks(self, kwargs.get("callbacks"))
        self.sparse = SparseTrainingCallback(method, include, exclude)
        self.search: SparseTrainingCallback | None = None
        self._patterns = {"include": include, "exclude": exclude}
        self._method = self.sparse.method
        self.has_two_stages = self.sparse.method.searches
        self._search_schedule = search_lr_scheduler_type
        self._search_adversary = self._build_search_adversary(search_adversary)
        self._asked_search = json.loads(json.dumps(self._describe_search()))
        if not self.has_two_stages:
            self.add_callback(self.sparse)
        elif self.optimizer is not None or self.lr_scheduler is not None or self.model_init is not None:
            raise ConfigurationError(
                "Robust Bird's second stage needs a fresh optimiser and schedule on the same model, got ready-made "
                "ones or model_init: pass model=, optimizer_cls_and_kwargs= and lr_scheduler_type"
            )

    def _build_search_adversary(self, asked: Adversary | str | None) -> Adversary | None:
        if asked is None:
            return self.adversary if self.sparse.method.attack_search else None
        if not self.has_two_stages:
            raise ConfigurationError(
                f"search_adversary attacks stage 1 of Robust Bird, got {type(self.sparse.method).__name__}, which has "
                "one stage: pass adversary="
            )
        return self.adversary_options.build_adversary(name=asked) if isinstance(asked, str) else asked

    def _describe_search(self) -> dict[str, Any]:
        """What the masks of stage 1 depend on."""
        attack = adversary_facts(self._search_adversary, self.adversary_options)
        return {"method": self.sparse.method.describe(), "adversary": attack}

    @property
    def masks(self) -> dict[str, Tensor]:
        """Parameter name -> BoolTensor of its shape, True = kept; empty before training."""
        return self.sparse.masks

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """As in `AdversarialTrainer.train`, with the search first.

        Raises:
            CheckpointError: If there is nothing to resume, or the folder holds another training, or one that runs.
            TrainingStopped: If a SIGTERM (with `enable_jit_checkpoint`) has ended stage 1.
        """
        with self.folder_lock.held():
            if self.has_two_stages:
                return self._train_in_stages(resume_from_checkpoint, *args, **kwargs)
            output = super().train(resume_from_checkpoint, *args, **kwargs)
            self._save_masks(Path(self.args.output_dir))
            return output

    def _train_in_stages(self, resume_from_checkpoint: str | bool | None, *args: Any, **kwargs: Any) -> TrainOutput:
        job = JobFolder(self.args.output_dir, writes=self.args.should_save)
        first, resume = self._where_to_resume(job.search, resume_from_checkpoint)
        self.cost_meter.reset()
        if resume_from_checkpoint and (job.search / _MASKS).exists():
            self._check_same_search(job)
        else:
            if self.optimizer is not None:
                # What an earlier training of this trainer has left.
                begin_next_phase(self)
            self._first_stage(job, first)
        masks = FixedMasks(load_masks(job.search / _MASKS))
        if not resume:
            job.load_weights(job.end, self.model)
        begin_next_phase(self)
        self.sparse = SparseTrainingCallback(masks, **self._patterns)
        callbacks = [*self.callback_handler.callbacks, self.sparse]
        with phase(self, self.args, callbacks, self.adversary, self.adversary_options):
            output = super().train(resume, *args, **kwargs)
            self.sparse = self._own_callback()
        self._save_masks(job.path)
        searched = (job.read(f"{SEARCH}/{SUMMARY_FILE}") or {}).get("cost")
        costs = {**({"search": searched} if searched else {}), "finetune": self.cost["train"]}
        return with_all_phases(output, costs)

    def _where_to_resume(self, folder: Path, asked: str | bool | None) -> tuple[str | bool | None, str | bool | None]:
        """What stage 1 and stage 2 resume from.

        Raises:
            CheckpointError: If that is nothing, or what the folder holds was not to be resumed.
        """
        output_dir, searched = self.args.output_dir, (folder / _MASKS).exists()
        if not asked:
            if checkpoints(output_dir) or checkpoints(folder):
                raise CheckpointError(f"{output_dir} holds another training: resume it, or use another output_dir")
            return None, None
        if asked is True:
            if not searched and last_complete_checkpoint(folder) is None:
                raise CheckpointError(f"no complete checkpoint in {folder}: train without resume_from_checkpoint")
            return True, True if last_complete_checkpoint(output_dir) is not None else None
        in_first_stage = Path(asked).resolve().parent == folder.resolve()
        if in_first_stage == searched:
            stage, remedy = ("2", "resume_from_checkpoint=True") if searched else ("1", f"a checkpoint in {folder}")
            raise CheckpointError(f"expected a checkpoint of stage {stage}, got {asked}: use {remedy}")
        return (asked, None) if in_first_stage else (None, asked)

    def _first_stage(self, job: JobFolder, resume: str | bool | None) -> None:
        """Trains until the mask has settled, and keeps weights and mask; the mask is written last."""
        attack = self._search_adversary
        method = replace(self._method, budget=_WHOLE_TRAINING, attack_search=attack is not None)
        self.search = SparseTrainingCallback(method, **self._patterns, stop_after_search=True)
        args = _search_arguments(self.args, job.search, self._method.budget, self._search_schedule)
        callbacks = [*callbacks_of_search(self.args, self._own_callbacks), self.search]
        with phase(self, args, callbacks, attack, self.adversary_options):
            passes = {} if attack is None else step_passes(attack, self.step_cost)
            super().train(resume)
            if self.stopping.stopped:
                self.stopping.require_going_on()
            self.search = self._own_callback()
            cost = self.cost_meter.cost(self.state).as_dict()
        found = {"log": self.search.log, "distances": self.search.distances, "converged": self.search.converged}
        with explain_failed_save(self.args.output_dir):
            job.save_weights(job.end, self.accelerator.unwrap_model(self.model))
            summary = {**self._asked_search, **found, "cost": cost, "step_passes": passes}
            job.write(f"{SEARCH}/{SUMMARY_FILE}", summary)
        self._save_masks(job.search, self.search.masks)
        self.accelerator.wait_for_everyone()

    def _check_same_search(self, job: JobFolder) -> None:
        summary = job.read(f"{SEARCH}/{SUMMARY_FILE}") or {}
        found = {name: summary.get(name) for name in self._asked_search}
        if found != self._asked_search:
            raise CheckpointError(
                f"the masks in {job.search} were found with other options: expected {self._asked_search}, got "
                f"{found}; resume with those, or use another output_dir"
            )

    def _own_callback(self) -> SparseTrainingCallback:
        """The callback of the present stage (a new object after its state was restored)."""
        return next(c for c in self.callback_handler.callbacks if isinstance(c, SparseTrainingCallback))

    def _save_masks(self, folder: Path, masks: Mapping[str, Tensor] | None = None) -> None:
        if self.args.should_save:
            with explain_failed_save(self.args.output_dir):
                save_masks(self.masks if masks is None else masks, folder / _MASKS)


def _search_arguments(
    args: TrainingArguments, folder: Path, budget: float, schedule: SchedulerType | str | None
) -> TrainingArguments:
    """The arguments of stage 1: those of the training, for a share of its epochs, without evaluation."""
    search = search_arguments(args, folder)
    if schedule is not None:
        search.lr_scheduler_type, search.lr_scheduler_kwargs = SchedulerType(schedule), None
    if args.max_steps > 0 and budget < 1:
        search.max_steps = max(1, round(budget * args.max_steps))
    else:
        search.max_steps = -1
        search.num_train_epochs = budget * args.num_train_epochs if budget < 1 else budget
    if args.save_strategy == SaveStrategy.BEST:
        search.save_strategy = SaveStrategy.EPOCH
    return search
