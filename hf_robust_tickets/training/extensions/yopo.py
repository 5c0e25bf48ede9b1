"""YOPO: the model's first layer run alone, and the gradient that arrives at its output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from ...adversaries import Adversary
from ...adversaries.hooks import Reached
from ...architectures import layer_number, layers_of
from ...errors import ConfigurationError
from .base import Extension, register_extension
from .data_parallel import first_row

if TYPE_CHECKING:
    from ..arguments import AdversaryOptions
    from ..steps.context import StepContext


class FirstLayerAscents(Extension):
    """More ascents after a full pass, through the first layer above the perturbation alone (`YOPO`).

    The method has `inner_steps`: ascents per full pass, the first of which uses the full pass's own gradient.
    """

    counts_layers = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._layer: FirstLayer | None = None

    @classmethod
    def validate(cls, trainer: Trainer, adversary: Adversary, options: AdversaryOptions) -> None:
        """As in `Extension.validate`: a layer above the perturbed one, and weights that stay in it."""
        if not all(adversary.loss_weight(k) for k in range(adversary.num_passes)):
            raise ConfigurationError(
                f"{adversary.name} takes the gradient at its first layer from passes that train the weights, got "
                "passes of weight 0: give every pass a weight, as freelb does"
            )
        engine = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
        if engine is not None and engine.zero_stage == 3:
            raise ConfigurationError(
                f"{adversary.name} runs the first layer alone, which ZeRO-3 cannot follow: use ZeRO-2 or FSDP2"
            )
        model = trainer.accelerator.unwrap_model(trainer.model)
        if layer_number(model, options.adversary_layer) == len(layers_of(model)):
            raise ConfigurationError(
                f"{adversary.name} runs the layer above what it perturbs alone, got adversary_layer="
                f"{options.adversary_layer}, the last one: use a smaller number, or freelb"
            )

    @classmethod
    def extra_cost(cls, adversary: Adversary, num_layers: int) -> float:
        """As in `Extension.extra_cost`: each inner ascent is a pass through one layer, without weights."""
        return (adversary.steps - 1) * (adversary.inner_steps - 1) * (2 / 3) / num_layers

    def begin_batch(self, context: StepContext) -> None:
        """As in `Extension.begin_batch`."""
        model = self.runner.unwrapped()
        self._layer = FirstLayer(layers_of(model)[layer_number(model, self.options.adversary_layer)])

    def end_batch(self, context: StepContext) -> None:
        """As in `Extension.end_batch`."""
        if self._layer is not None:
            self._layer.remove()
            self._layer = None

    @contextmanager
    def around_train_pass(self, context: StepContext) -> Iterator[None]:
        """As in `Extension.around_train_pass`: the first layer's output keeps its gradient."""
        with self._layer.watched():
            yield

    def after_ascent(self, context: StepContext) -> None:
        """As in `Extension.after_ascent`."""
        model, perturbation = self.runner.unwrapped(), context.perturbation
        co_state = self._layer.co_state()
        for _ in range(context.adversary.inner_steps - 1):
            with context.one_pass(attached=False), self.runner.trainer.compute_loss_context_manager():
                reached = self._layer.run(model, context.bare_inputs)
            perturbation.grad = torch.autograd.grad((reached * co_state).sum(), perturbation.delta)[0]
            perturbation.ascend()


class FirstLayer:
    """f0 of YOPO: everything from the perturbed embedding to the output of the first transformer layer.

    Args:
        layer: The first transformer layer; its output is a tensor or a tuple that begins with one.
    """

    def __init__(self, layer: nn.Module) -> None:
        self._handle = layer.register_forward_hook(self._hook)
        self._mode = "off"
        # By the row of the batch that they begin with: one, or one of each replica.
        self._outputs: dict[int, Tensor] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While a full pass lasts, its first layer's output keeps its gradient."""
        self._mode, self._outputs = "watch", {}
        try:
            yield
        finally:
            self._mode = "off"

    def co_state(self) -> Tensor:
        """p: the gradient of the watched pass's loss at the first layer's output, `(batch, tokens, dim)`."""
        parts = [self._outputs[row].grad.detach() for row in sorted(self._outputs)]
        return torch.cat([part.to(parts[0].device) for part in parts])

    def run(self, model: nn.Module, inputs: dict[str, Any]) -> Tensor:
        """The first layer's output; nothing above it is run."""
        self._mode = "stop"
        try:
            model(**inputs)
        except Reached as reached:
            return reached.output
        finally:
            self._mode = "off"
        raise RuntimeError("the forward pass ended without its first layer")

    def remove(self) -> None:
        """Takes the hook away."""
        self._handle.remove()

    def _hook(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if self._mode == "watch":
            row = first_row(module)
            # Activation checkpointing runs the layer once more, in the backward pass.
            if row not in self._outputs:
                first.retain_grad()
                self._outputs[row] = first
        elif self._mode == "stop":
            raise Reached(first)


register_extension("first-layer", FirstLayerAscents)
