"""The whole job as one `Trainer`: search, early-bird stop, draw, prune, fine-tune."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from transformers import set_seed
from transformers.trainer_utils import TrainOutput

from ..architectures import get_architecture
from ..errors import ConfigurationError
from ..reporting.model_card import CardFacts
from ..tickets import (
    RobustTicket,
    is_pruned,
    prune_,
    refuse_unfit,
    write_pruned_files,
)
from .arguments import AdversaryOptions
from .callbacks.early_bird import EarlyBirdCallback
from .callbacks.tickets import TicketCallback
from .checks.labels import refuse_unlabelled
from .checks.validation import check_adversary
from .hub.card import adversary_facts
from .jobs import phases
from .jobs.checkpoints import explain_failed_save, last_complete_checkpoint
from .jobs.folder import JobFolder, describe_job, refuse_foreign_checkpoint
from .jobs.search import (
    describe_origin,
    describe_search,
    gated_model,
    refuse_prepared,
    refuse_sharding,
    search_arguments,
    search_method,
)
from .jobs.search_method import SearchMethod
from .jobs.search_trainer import SearchTrainer
from .ticket_arguments import RobustTicketArguments, TicketOptions

logger = logging.getLogger(__name__)


class RobustTicketTrainer(SearchTrainer):
    """`Trainer` whose `train()` makes the model small first: EarlyRobust (Xi et al., EMNLP 2022, algorithm 1).

    `train()` searches with adversarial training and gates on heads and neurons, stops when the ticket no longer
    changes, rewinds the weights, cuts heads and neurons out of `model` in place, and fine-tunes what is left. Both
    phases are the Trainer's own loop, so a subclass that overrides `compute_loss` or the data loaders is obeyed in
    both. Callbacks passed by the user see the fine-tuning alone. Each phase logs a line when it begins.

    Args:
        *args: As for `Trainer`. `args` is a `RobustTicketArguments`, or any `TrainingArguments`, with all ticket
            options at their defaults.
        ticket: A ticket to use as it is (a `random_ticket`, one drawn before): no search.
        callbacks: As for `Trainer`.
        **kwargs: As for `Trainer`.

    Attributes:
        ticket: The `RobustTicket`; `None` before `train()` has drawn it.
        tickets: All tickets drawn in the search, oldest first.
        search_log: One dict per ticket drawn in the search; see `EarlyBirdCallback.log` and `ScoreCallback.log`.
        converged: Whether the ticket had settled when the search ended; `None` before.

    Raises:
        ConfigurationError: For a ready-made optimiser, a pruned model, DeepSpeed or the first version of FSDP.
        DataError: If the training data has no labels and the collator makes none.
        UnknownArchitectureError: If the model's family is not known.
    """

    def __init__(
        self, *args: Any, ticket: RobustTicket | None = None, callbacks: list[Any] | None = None, **kwargs: Any
    ) -> None:
        if "adversary" in kwargs:
            raise ConfigurationError(
                "RobustTicketTrainer takes no adversary: name the search's in args.adversary, the fine-tuning's in "
                "args.finetune_adversary"
            )
        super().__init__(*args, adversary=None, callbacks=callbacks, **kwargs)
        self.ticket_options = self.args if isinstance(self.args, TicketOptions) else TicketOptions()
        self._search_adversary = self.args if isinstance(self.args, AdversaryOptions) else AdversaryOptions()
        self._given_ticket = ticket
        self._refuse_unsupported()
        # Those of the Trainer itself: progress, logging integrations, cost.
        self._search_callbacks = [c for c in self.callback_handler.callbacks if c not in (callbacks or [])]
        self._job: JobFolder | None = None
        self._forget()
        self._use_finetune_adversary()

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Runs the whole job; afterwards `self.model` is the small model.

        Args:
            resume_from_checkpoint: `True` continues in whichever phase was cut off. A path is a checkpoint of the
                fine-tuning phase of this job.
            trial: Given by `hyperparameter_search`: the job runs in `run-<number>` of the output folder.
            ignore_keys_for_eval: As for `Trainer.train`.

        Returns:
            The output of the fine-tuning phase.

        Raises:
            CheckpointError: If the output folder belongs to another job, or there is nothing to resume.
        """
        if trial is not None:
            with self._trying(trial):
                return self.train(resume_from_checkpoint, ignore_keys_for_eval=ignore_keys_for_eval)
        if self._job is None or resume_from_checkpoint:
            self.search(resume_from_checkpoint=bool(resume_from_checkpoint))
        job, self._job = self._job, None
        with self._without_model_init():
            self._draw(job)
            checkpoint = self._finetuning_checkpoint(resume_from_checkpoint)
            set_seed(self.args.seed)
            phases.say(self, phases.finetuning_begins(self.args, self.adversary, checkpoint))
            output = super().train(checkpoint, ignore_keys_for_eval=ignore_keys_for_eval)
        self._close_phase("finetune", job)
        return output

    def search(self, resume_from_checkpoint: bool = False) -> RobustTicket:
        """The first phase alone; a `train()` after it goes on with the ticket.

        Args:
            resume_from_checkpoint: Continue a search that was cut off.

        Returns:
            The ticket, also in `self.ticket` and in the output folder. The model stays dense, with the weights that
            fine-tuning starts from.

        Raises:
            CheckpointError: If the output folder belongs to another job, or there is nothing to resume.
        """
        self._remake_model()
        with self._without_model_init():
            job = self._open_job(resume=resume_from_checkpoint)
            if self.ticket is None:
                callback = EarlyBirdCallback() if self._given_ticket else self._run_search(job, resume_from_checkpoint)
                self._finish_search(job, self._given_ticket or callback.result, callback)
            else:
                phases.say(self, phases.ALREADY_SEARCHED)
            job.load_weights(job.start if self.ticket_options.rewind else job.end, self.model)
        self._job = job
        return self.ticket

    @property
    def cost(self) -> dict[str, dict[str, float]]:
        """Per phase that is over (`search`, `finetune`), the fields of `PhaseCost`."""
        return self._phase_costs

    def card_facts(self, **options: Any) -> CardFacts:
        """As in `AdversarialTrainer.card_facts`, with the search and where the ticket is from."""
        facts, attack = super().card_facts(**options), self._search_adversary
        if facts.ticket is None:
            return facts
        method = search_method(self.ticket_options.ticket_score)
        attacked = method.uses_adversary(self.ticket_options) and attack.build_adversary()
        searched = {"search": adversary_facts(attacked or None, attack)} if self.search_log else {}
        return replace(
            facts,
            adversaries={**searched, "finetune": facts.adversaries.get("train")},
            search=describe_search(self.search_log, self.ticket_options),
            ticket={**facts.ticket, "origin": describe_origin(self.converged, self._asked)},
            cost=self.cost,
        )

    def _run_search(self, job: JobFolder, resume: bool) -> TicketCallback:
        set_seed(self.args.seed)
        method = self._search_method()
        # Without rewinding, fine-tuning starts from what the search has trained, gates included.
        with (
            gated_model(self, method, fold=not self.ticket_options.rewind),
            self.searching(method, search_arguments(self.args, self.ticket_options, method)),
        ):
            phases.say(self, phases.search_begins(self.args, self.adversary, method))
            super().train(last_complete_checkpoint(self.args.output_dir) if resume else None)
            self._close_phase("search", job)
            callback = method.callback
            method.report()
        self._use_finetune_adversary()
        return callback

    def _finish_search(self, job: JobFolder, ticket: RobustTicket | None, callback: TicketCallback) -> None:
        if ticket is None:
            raise ConfigurationError(
                f"the search ended after {self.state.global_step} steps without a ticket: raise its budget, or lower "
                "ticket_interval"
            )
        searched = self._given_ticket is None
        self.converged = (callback.ticket is not None) if searched else None
        self.ticket, self.search_log, self.tickets = ticket, callback.log, callback.tickets
        if searched and (self.converged or self._asked):
            phases.say(self, phases.search_ended(callback.log))
        with explain_failed_save(self.args.output_dir):
            if not self.ticket_options.rewind:
                job.save_weights(job.end, self.model)
            job.save_ticket(ticket, {"searched": searched, "converged": self.converged}, callback.found)
        self.accelerator.wait_for_everyone()

    @property
    def _asked(self) -> bool:
        """Whether the ticket is that of a step that was asked for."""
        return bool(self.search_log and self.search_log[-1].get("asked"))

    def _search_method(self) -> SearchMethod:
        options = self.ticket_options
        return search_method(options.ticket_score)(self, options, self._search_adversary)

    def _forget(self) -> None:
        self.ticket: RobustTicket | None = None
        self.tickets: list[RobustTicket] = []
        self.search_log: list[dict[str, Any]] = []
        self.converged: bool | None = None
        self._phase_costs: dict[str, dict[str, float]] = {}

    def _open_job(self, resume: bool) -> JobFolder:
        """Makes the output folder ours and brings the model and what is known to where the job stands."""
        job = JobFolder(self.args.output_dir, writes=self.args.should_save)
        if is_pruned(self.model):
            raise ConfigurationError("the model is pruned already: pass the dense model to start or resume a job")
        self._forget()
        description = describe_job(
            self.model, self.args, self.ticket_options, self._search_adversary, self.train_dataset
        )
        given = self._given_ticket
        job.open({**description, "given_ticket": None if given is None else given.fingerprint()}, resume=resume)
        if not job.start.exists():
            with explain_failed_save(self.args.output_dir):
                job.save_weights(job.start, self.model)
        self.accelerator.wait_for_everyone()
        if resume:
            job.load_weights(job.start, self.model)
            self._phase_costs = job.load_cost()
        if resume and job.ticket.exists():
            self.ticket = RobustTicket.load(job.ticket)
            self.search_log, self.tickets = job.load_progress()
            self.converged = bool(self.search_log and self.search_log[-1]["stop"]) if given is None else None
        return job

    def _draw(self, job: JobFolder) -> None:
        """Cuts; optimiser and wrappers are built anew, since parameters are new objects."""
        dense = phases.count_parameters(self.model)
        prune_(self.model, self.ticket)
        phases.say(self, phases.cut(self.ticket, dense, self.model))
        if self.args.should_save:
            # The Trainer's uploads during training take the weights from a checkpoint, and the rest from here.
            write_pruned_files(self.model, job.path)
        self.model_wrapped = self.model
        self.optimizer, self.lr_scheduler, self._created_lr_scheduler = None, None, False

    def _finetuning_checkpoint(self, resume: str | bool | None) -> str | None:
        checkpoint = last_complete_checkpoint(self.args.output_dir) if resume is True else resume or None
        if checkpoint is not None:
            refuse_foreign_checkpoint(checkpoint, self.ticket)
        return checkpoint

    def _close_phase(self, name: str, job: JobFolder) -> None:
        self._phase_costs[name] = self.cost_meter.cost(self.state).as_dict()
        job.save_cost(self._phase_costs)

    @contextmanager
    def _trying(self, trial: Any) -> Iterator[None]:
        """While it lasts, this trainer has the arguments of a hyper-parameter trial, and a folder of its own."""
        self._hp_search_setup(trial)
        self._check_trial()
        output_dir, self.args.output_dir = self.args.output_dir, self._get_output_dir(trial)
        try:
            yield
        finally:
            self.args.output_dir = output_dir

    def _check_trial(self) -> None:
        """The search space sets attributes, which the arguments have not checked."""
        if isinstance(self.args, RobustTicketArguments):
            self.args._check_adversary()
            self.args._check_ticket_options()
        self._use_finetune_adversary()

    @contextmanager
    def _without_model_init(self) -> Iterator[None]:
        """Hides `model_init`: `Trainer.train` would make the model anew, dense, at the start of each phase."""
        model_init, self.model_init = self.model_init, None
        try:
            yield
        finally:
            self.model_init = model_init

    def _remake_model(self) -> None:
        if self.model_init is not None:
            set_seed(self.args.seed)
            self.model = self.call_model_init(self._trial)
            self._move_model_to_device(self.model, self.args.device)
            self.model_wrapped = self.model

    def _use_finetune_adversary(self) -> None:
        adversary = self.ticket_options.finetune_adversary_options()
        self._set_adversary(adversary.build_adversary(), adversary)

    def _refuse_unsupported(self) -> None:
        get_architecture(self.model)
        refuse_prepared(self)
        refuse_sharding(self)
        refuse_unfit(self.model, None if is_pruned(self.model) else self._given_ticket)
        refuse_unlabelled(self.train_dataset, self.data_collator, self.label_names)
        if self._given_ticket is None:
            method = self._search_method()
            adversary = method.build_adversary()
            if adversary is not None:
                check_adversary(self, adversary, method.adversary)
