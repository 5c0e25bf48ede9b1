"""`AdversarialTrainer` whose loop a search takes part in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import TrainerCallback, TrainingArguments

from ..trainer import AdversarialTrainer
from .search import LogRemainder
from .search_method import SearchMethod


class SearchTrainer(AdversarialTrainer):
    """A trainer that can search: while `searching` lasts, a `SearchMethod` has its say in the optimiser and the steps.

    Outside of that it is `AdversarialTrainer`.
    """

    _search: SearchMethod | None = None
    _search_callbacks: list[TrainerCallback]

    @contextmanager
    def searching(self, method: SearchMethod, args: TrainingArguments) -> Iterator[None]:
        """While it lasts, this trainer has the arguments, adversary and callbacks of a search.

        Afterwards it has its own arguments and callbacks again, and no adversary.
        """
        before = (self.args, self.callback_handler.callbacks)
        try:
            self.args, self._search, self.runner.terms = args, method, method.terms
            self._set_adversary(method.build_adversary(), method.adversary)
            self.adversarial_step = method.build_step() or self.adversarial_step
            self.callback_handler.callbacks = [*self._search_callbacks, *method.callbacks, LogRemainder()]
            yield
        finally:
            self.args, self.callback_handler.callbacks = before
            self._search, self.runner.terms = None, []
            self._set_adversary(None, method.adversary)

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
        """As in `AdversarialTrainer.training_step`; in a search by first-order scores, it may score and not train."""
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
