"""The whole job as one `Trainer`: search, stop, draw, prune, fine-tune."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers.trainer_utils import TrainOutput

from ..errors import ConfigurationError
from ..reporting.model_card import CardFacts
from ..tickets import RobustTicket, is_pruned
from .arguments import AdversaryOptions
from .checks.late import check_callbacks
from .checks.ticket_job import check_ticket_job
from .hub.search_facts import facts_of_search
from .jobs import console
from .jobs.checkpoints import explain_failed_save, last_complete_checkpoint
from .jobs.cost import with_all_phases
from .jobs.cutting import cut
from .jobs.phases import begin_next_phase, own_callbacks, phase, remake_model, without_model_init
from .jobs.recipe import finetune_options
from .jobs.search import (
    LogRemainder,
    gated_model,
    keeps_searched,
    search_arguments,
    search_method,
)
from .jobs.search_method import SearchMethod
from .jobs.ticket_folder import SearchResult, TicketFolder, checkpoint_of_finetuning, describe_job
from .jobs.trackers import callbacks_of_search
from .ticket_arguments import RobustTicketArguments, TicketOptions
from .trainer import AdversarialTrainer


class RobustTicketTrainer(AdversarialTrainer):
    """`Trainer` whose `train()` makes the model small first: EarlyRobust (Xi et al., EMNLP 2022, algorithm 1).

    `train()` searches for the heads and neurons that matter (`ticket_score`), stops when their ticket has settled,
    rewinds the weights, cuts the rest out of `model` in place, refits what is left to the dense model where
    `refit_examples` asks for it, and fine-tunes it. Both phases are the Trainer's own loop, so a subclass that
    overrides `compute_loss` or the data loaders is obeyed in both. Callbacks passed by the user see the fine-tuning
    alone. Each phase logs a line when it begins.

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

    searches = True

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
        self._search: SearchMethod | None = None
        method = None if ticket is not None else self._search_method()
        adversary = None if method is None else method.build_adversary()
        check_ticket_job(self, ticket, adversary, self._search_adversary if method is None else method.adversary)
        self._own_callbacks = own_callbacks(self, callbacks)
        self._job: TicketFolder | None = None
        self._take(SearchResult(), {})
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
            The output of the fine-tuning phase; of its metrics, `train_runtime` and `total_flos` are those of the
            whole job, and each phase has its own beside them (`search_runtime`, ...).

        Raises:
            CheckpointError: If the output folder belongs to another job, another one runs in it, or there is nothing
                to resume.
            TrainingStopped: If a SIGTERM (with `enable_jit_checkpoint`) has ended the search; one in the fine-tuning
                ends it as in `Trainer.train`, and sets `stopping.stopped`.
        """
        if trial is not None:
            with self._trying(trial):
                return self.train(resume_from_checkpoint, ignore_keys_for_eval=ignore_keys_for_eval)
        with self.folder_lock.held():
            if self._job is None or resume_from_checkpoint:
                self.search(resume_from_checkpoint=bool(resume_from_checkpoint))
            job, self._job = self._job, None
            with without_model_init(self):
                checkpoint = checkpoint_of_finetuning(self.args.output_dir, resume_from_checkpoint, self.ticket)
                # A checkpoint of the fine-tuning holds what the refit has made.
                self._phase_costs |= cut(self, job, refits=checkpoint is None)
                begin_next_phase(self)
                console.say(self, console.finetuning_begins(self.args, self.adversary, checkpoint))
                output = super().train(checkpoint, ignore_keys_for_eval=ignore_keys_for_eval)
            self._close_phase("finetune", job)
        return with_all_phases(output, self.cost)

    def search(self, resume_from_checkpoint: bool = False) -> RobustTicket:
        """The first phase alone; a `train()` after it goes on with the ticket.

        Args:
            resume_from_checkpoint: Continue a search that was cut off.

        Returns:
            The ticket, also in `self.ticket` and in the output folder. The model stays dense, with the weights that
            fine-tuning starts from.

        Raises:
            CheckpointError: If the output folder belongs to another job, another one runs in it, or there is nothing
                to resume.
            TrainingStopped: If a SIGTERM (with `enable_jit_checkpoint`) has ended it.
        """
        remake_model(self, self._trial)
        if self._trial is not None:
            self._use_finetune_adversary()
        check_callbacks(self)
        with self.folder_lock.held(), without_model_init(self), self._opened_job(resume_from_checkpoint) as job:
            if self.ticket is not None:
                console.say(self, console.ALREADY_SEARCHED)
            elif self._given_ticket is not None:
                self._keep(job, SearchResult(self._given_ticket), {"log": [], "detector": None})
            else:
                self._run_search(job, resume_from_checkpoint)
            job.load_weights(job.start if self.ticket_options.rewind else job.end, self.model)
        self._job = job
        return self.ticket

    @property
    def cost(self) -> dict[str, dict[str, float]]:
        """Per phase that is over (`search`, `refit`, `finetune`), the fields of `PhaseCost`."""
        return self._phase_costs

    def card_facts(self, **options: Any) -> CardFacts:
        """As in `AdversarialTrainer.card_facts`, with the search and where the ticket is from."""
        facts = super().card_facts(**options)
        if facts.ticket is None:
            return facts
        return replace(
            facts_of_search(facts, self._found, self.ticket_options, self._search_adversary), cost=self.cost
        )

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Optimizer:
        """As in `Trainer.create_optimizer`; in the search, what the gates need of it too."""
        create = partial(super().create_optimizer, *args, **kwargs)
        if self._search is None or self.optimizer is not None:
            return create()
        return self._search.create_optimizer(self.model, create)

    def create_scheduler(self, *args: Any, **kwargs: Any) -> LRScheduler:
        """As in `Trainer.create_scheduler`; in the search, with the schedule of the gates."""
        present, scheduler = self.lr_scheduler, super().create_scheduler(*args, **kwargs)
        if self._search is not None and present is None:
            self._search.adapt_scheduler(scheduler)
        return scheduler

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """As in `AdversarialTrainer.training_step`; a search by first-order scores may score and not train."""
        if self._search is None:
            return super().training_step(model, inputs, num_items_in_batch)
        with self._search.around_step(model):
            return super().training_step(model, inputs, num_items_in_batch)

    @property
    def is_attacking(self) -> bool:
        """As in `AdversarialTrainer.is_attacking`; a search by first-order scores attacks what it scores."""
        on_turn = super().is_attacking
        return on_turn if self._search is None else self._search.attacks(on_turn)

    def floating_point_ops(self, inputs: dict[str, Tensor | Any]) -> float:
        """As in `AdversarialTrainer.floating_point_ops`; batches that are scored have no gradients of weights."""
        flops = super().floating_point_ops(inputs)
        return flops if self._search is None else self._search.count_flops(flops)

    def _run_search(self, job: TicketFolder, resume: bool) -> None:
        # What an earlier job of this trainer has left is of other parameters.
        begin_next_phase(self)
        method = self._search_method()
        # Without rewinding, fine-tuning starts from what the search has trained, gates included.
        with gated_model(self, method, fold=keeps_searched(self.args, self.ticket_options)), self._searching(method):
            console.say(self, console.search_begins(self.args, self.adversary, method))
            super().train(last_complete_checkpoint(self.args.output_dir) if resume else None)
            if self.stopping.stopped:
                self.stopping.require_going_on()
            self._close_phase("search", job)
            callback = method.callback
            method.report()
        found = SearchResult.of(callback)
        if found.ticket is None:
            raise ConfigurationError(
                f"the search ended after {self.state.global_step} steps without a ticket: raise its budget, or lower "
                "ticket_interval"
            )
        if found.converged or found.asked:
            console.say(self, console.search_ended(found.log))
        self._keep(job, found, callback.found)
        self.stopping.require_going_on()

    @contextmanager
    def _searching(self, method: SearchMethod) -> Iterator[None]:
        """While it lasts, a `SearchMethod` has its say in the optimiser and the steps."""
        args = search_arguments(self.args, self.ticket_options, method)
        callbacks = [*callbacks_of_search(self.args, self._own_callbacks), *method.callbacks, LogRemainder()]
        with phase(self, args, callbacks, method.build_adversary(), method.adversary):
            self._search, self.runner.terms = method, method.terms
            self.adversarial_step = method.build_step() or self.adversarial_step
            try:
                yield
            finally:
                self._search, self.runner.terms = None, []

    def _search_method(self) -> SearchMethod:
        options = self.ticket_options
        return search_method(options.ticket_score)(self, options, self._search_adversary)

    def _keep(self, job: TicketFolder, found: SearchResult, progress: dict[str, Any]) -> None:
        """The search is over: what it has found, and the weights that fine-tuning may start from, go to the folder."""
        self._take(found, self._phase_costs)
        with explain_failed_save(self.args.output_dir):
            if keeps_searched(self.args, self.ticket_options):
                job.save_weights(job.end, self.model)
            job.save_search(found, progress)
        self.accelerator.wait_for_everyone()

    def _take(self, found: SearchResult, costs: dict[str, dict[str, float]]) -> None:
        self._found, self._phase_costs = found, costs
        self.ticket, self.tickets, self.search_log, self.converged = found

    @contextmanager
    def _opened_job(self, resume: bool) -> Iterator[TicketFolder]:
        """While it lasts, a job that is refused before it has trained leaves the folder as it was."""
        self.cost_meter.reset()
        job = self._open_job(resume)
        try:
            yield job
        except BaseException:
            if not resume and not self.cost_meter.has_begun:
                job.forget()
            raise

    def _open_job(self, resume: bool) -> TicketFolder:
        """Makes the output folder ours and brings the model and what is known to where the job stands."""
        job, given = TicketFolder(self.args.output_dir, writes=self.args.should_save), self._given_ticket
        if is_pruned(self.model):
            raise ConfigurationError("the model is pruned already: pass the dense model to start or resume a job")
        self._take(SearchResult(), {})
        options = self.ticket_options, self._search_adversary
        description = describe_job(self.model, self.args, *options, self.train_dataset)
        job.open({**description, "given_ticket": None if given is None else given.fingerprint()}, resume=resume)
        if not job.start.exists():
            with explain_failed_save(self.args.output_dir):
                job.save_weights(job.start, self.model)
        self.accelerator.wait_for_everyone()
        if resume:
            job.load_weights(job.start, self.model)
            self._take(job.load_search(), job.load_cost())
        return job

    def _close_phase(self, name: str, job: TicketFolder) -> None:
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
            self.args._check_augmentation()
            self.args._check_ticket_options()
        self._use_finetune_adversary()

    def _use_finetune_adversary(self) -> None:
        adversary = finetune_options(self, self.ticket_options)
        self._set_adversary(adversary.build_adversary(), adversary)
