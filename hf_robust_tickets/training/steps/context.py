"""One micro-batch under attack: the batch, delta, and what is added to the model for its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...adversaries import Adversary, PerturbationHook
from ..extensions.awp import WeightPerturbation
from ..extensions.data_parallel import ReplicaPerturbation
from ..extensions.layer_cache import LayerCache
from .metrics import Reading
from .outputs import decoder_inputs, find_logits, without_labels
from .perturbation import Perturbation

if TYPE_CHECKING:
    from ..extensions import Extension


@dataclass
class StepContext:
    """One micro-batch under attack.

    Attributes:
        model: What the Trainer trains with.
        inputs: The batch, on its device.
        num_items_in_batch: As in `Trainer.training_step`.
        label_names: Names of the inputs that only the loss needs.
        device: Where the batch is.
        perturbation: Delta.
        hook: Adds it.
        clean_weight: Share of an additional clean pass in the loss.
        restarts: Random starts of the ascent.
        extensions: What the method needs beside delta.
        cache: The layers below a perturbed one, or `None`.
        weights: Adversarial weight perturbation, or `None`.
        traced: The model inside a compiled one whose forward pass is to hold nothing but a sum with delta, or `None`:
            delta then has its start before the first pass.
        replicas: Brings delta to the replicas of `torch.nn.DataParallel`, or `None`.
        first_of_step: Whether the micro-batch is the first of its optimiser step.
        perturbed: Whether the present pass is.
        readings: Loss and logits of the passes that reached the weights or began an ascent.
    """

    model: nn.Module
    inputs: dict[str, Any]
    num_items_in_batch: Any
    label_names: Sequence[str]
    device: torch.device
    perturbation: Perturbation
    hook: PerturbationHook
    clean_weight: float = 0.0
    restarts: int = 1
    extensions: Sequence[Extension] = ()
    cache: LayerCache | None = None
    weights: WeightPerturbation | None = None
    traced: nn.Module | None = None
    replicas: ReplicaPerturbation | None = None
    first_of_step: bool = True
    perturbed: bool = False
    readings: list[Reading] = field(default_factory=list)

    @property
    def adversary(self) -> Adversary:
        """The method, with its lengths as they are in this step."""
        return self.perturbation.adversary

    @property
    def labels(self) -> list[Tensor]:
        """The labels of each head of the task."""
        return [self.inputs[name] for name in self.label_names if name in self.inputs]

    @property
    def bare_inputs(self) -> dict[str, Any]:
        """The batch without what only the loss needs; the decoder of a pair of texts is given what it would be."""
        return decoder_inputs(self.model, self.inputs) | without_labels(self.inputs, self.label_names)

    def note(self, loss: Tensor, outputs: Any) -> None:
        """Keeps loss and logits of a pass for the log, detached."""
        self.readings.append(Reading(loss.detach(), [logits.detach() for logits in find_logits(outputs)]))

    @contextmanager
    def one_pass(self, perturbed: bool = True, attached: bool = True) -> Iterator[None]:
        """While it lasts, a forward pass is perturbed, or only goes through the cache.

        Args:
            perturbed: Whether delta is added.
            attached: Whether the gradient of the pass travels below a perturbed layer; see `LayerCache.one_pass`.
        """
        self.perturbed = perturbed
        self.perturbation.begin_pass(self.device)
        with ExitStack() as stack:
            if self.cache is not None:
                stack.enter_context(self.cache.one_pass(attached))
            if self.replicas is not None and perturbed:
                stack.enter_context(self.replicas.sending(self.perturbation))
            if self.traced is not None and perturbed and self._has_start():
                stack.enter_context(self.hook.adding(self.perturbation.added()))
            else:
                source = self.perturbation.add if perturbed else None
                stack.enter_context(self.hook.armed(source, self._before(perturbed)))
            yield

    def _has_start(self) -> bool:
        """Draws a start for delta, if it has none, at the module's clean output; nothing above the module is run."""
        if self.perturbation.delta is None:
            clean = self.hook.clean(self.traced, (), self.bare_inputs)
            if clean is not None:
                self.perturbation.restart(clean)
        return self.perturbation.delta is not None

    def _before(self, perturbed: bool) -> Callable[[Any], Any] | None:
        """What the perturbed module's output goes through before delta is added."""
        joint = None if self.cache is None else self.cache.joint
        if perturbed or not self.perturbation.shares_dropout:
            return joint

        def passed(output: Any) -> Any:
            output = output if joint is None else joint(output)
            self.perturbation.meet((output[0] if isinstance(output, tuple) else output).device)
            return output

        return passed

    def close(self) -> None:
        """Leaves the model as it was before the batch."""
        for extension in self.extensions:
            extension.end_batch(self)
        if self.weights is not None:
            self.weights.restore()
