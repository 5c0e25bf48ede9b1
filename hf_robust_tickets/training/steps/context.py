"""Everything that one attacked micro-batch needs, in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from ...adversaries import Adversary, Injector, PixelInjector
from ..extensions.awp import WeightPerturbation
from ..extensions.data_parallel import ReplicaPerturbation
from ..extensions.infobert import CriticHook
from ..extensions.layer_cache import LayerCache
from ..extensions.yopo import FirstLayer
from .metrics import Reading
from .perturbation import Perturbation


class Attack:
    """Everything that one attacked micro-batch needs.

    Attributes:
        inputs: The batch, on its device.
        perturbation: Delta.
        injector: Adds it.
        cache: The layers below it, or `None`.
        first_layer: f0 of YOPO, or `None`.
        restarts: Random starts of the ascent.
        critic: For InfoBERT, or `None`.
        weights: Adversarial weight perturbation, or `None`.
        replicas: Brings delta to the replicas of `torch.nn.DataParallel`, or `None`.
        perturbed: Whether the present pass is.
        readings: Loss and logits of the passes that reached the weights or began an ascent.
    """

    def __init__(
        self,
        inputs: dict[str, Any],
        perturbation: Perturbation,
        injector: Injector | PixelInjector,
        cache: LayerCache | None,
        first_layer: FirstLayer | None,
        restarts: int = 1,
        critic: CriticHook | None = None,
        weights: WeightPerturbation | None = None,
        replicas: ReplicaPerturbation | None = None,
    ) -> None:
        self.inputs = inputs
        self.perturbation = perturbation
        self.adversary: Adversary = perturbation.adversary
        self.injector = injector
        self.cache = cache
        self.first_layer = first_layer
        self.restarts = restarts
        self.critic = critic
        self.weights = weights
        self.replicas = replicas
        self.perturbed = False
        self.readings: list[Reading] = []

    @contextmanager
    def one_pass(self, device: torch.device, perturbed: bool = True, attached: bool = True) -> Iterator[None]:
        """While it lasts, a forward pass is perturbed, or only goes through the cache."""
        self.perturbed = perturbed
        self.perturbation.begin_pass(device)
        with ExitStack() as stack:
            if self.cache is not None:
                stack.enter_context(self.cache.one_pass(attached))
            if self.replicas is not None and perturbed:
                stack.enter_context(self.replicas.sending(self.perturbation))
            source = self.perturbation.add if perturbed else None
            stack.enter_context(self.injector.armed(source, self._before(perturbed)))
            yield

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
        if self.first_layer is not None:
            self.first_layer.remove()
        if self.weights is not None:
            self.weights.restore()
