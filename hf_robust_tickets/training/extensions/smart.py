"""SMART: a moving average of the weights, the model's output with it, and the pull towards that output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call
from transformers import Trainer

from ..._sharding import is_sharded, reshard, shard_like, whole
from ...adversaries import Adversary
from ...errors import ConfigurationError
from ..steps.outputs import divergence, kind_of_outputs, logits_of
from ..steps.state import load_tensors
from .base import Extension, register_extension

if TYPE_CHECKING:
    from ..arguments import AdversaryOptions
    from ..steps.context import StepContext

_FILE = "adversary_weight_average.safetensors"


class ProximalTerm(Extension):
    """Pulls the output towards that of averaged weights (the momentum Bregman proximal point method of `SMART`).

    The method has `proximal_coefficient`, and `momentum_at(progress)`.

    Attributes:
        average: The averaged weights.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.average = WeightAverage()
        self._averaged: list[Tensor] = []

    @classmethod
    def validate(cls, trainer: Trainer, adversary: Adversary, options: AdversaryOptions) -> None:
        """As in `Extension.validate`: between passes ZeRO-3 leaves a rank without the weights."""
        engine = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
        if engine is not None and engine.zero_stage == 3:
            raise ConfigurationError(
                f"{adversary.name} averages weights, which ZeRO-3 does not leave in the model, got "
                f"proximal_coefficient={adversary.proximal_coefficient}: set it to 0, or use ZeRO-2 or FSDP2"
            )

    @classmethod
    def uncached_cost(cls, adversary: Adversary) -> float:
        """As in `Extension.uncached_cost`: the averaged weights see the clean batch, a forward pass."""
        return 1 / 3

    def begin_batch(self, context: StepContext) -> None:
        """As in `Extension.begin_batch`: the average takes in the weights, once per step, and gives its output."""
        model, state = self.runner.unwrapped(), self.runner.trainer.state
        if context.first_of_step:
            self.average.update(model, context.adversary.momentum_at(state.global_step / max(state.max_steps, 1)))
        # Before the clean pass: under FSDP2 no other pass may wait for its backward pass meanwhile.
        self._averaged = logits_of(self.average.outputs(model, context.bare_inputs))

    def end_batch(self, context: StepContext) -> None:
        """As in `Extension.end_batch`."""
        self._averaged = []

    def penalty(self, context: StepContext, clean: list[Tensor]) -> Tensor:
        """As in `Extension.penalty`."""
        adversary = context.adversary
        kind = kind_of_outputs(self.runner.unwrapped(), clean, context.labels)
        pull = divergence(adversary, self._averaged, clean, context.bare_inputs, kind)
        return adversary.proximal_coefficient * pull

    def save(self, folder: Path) -> None:
        """As in `Extension.save`."""
        tensors = self.average.whole()
        if tensors and self.runner.trainer.args.should_save:
            save_file(tensors, folder / _FILE)

    def load(self, folder: Path) -> None:
        """As in `Extension.load`."""
        if (folder / _FILE).exists():
            self.average.tensors = load_tensors(folder / _FILE, self.runner.trainer.args)

    def forget(self) -> None:
        """As in `Extension.forget`."""
        self.average.tensors = {}


class WeightAverage:
    """`average <- momentum * average + (1 - momentum) * weights`, of the parameters that train.

    Only tensors are kept, in float32 (in bfloat16 the small steps of the average would be lost), each cut into shards
    as its parameter is: the output comes from the model itself, called with the average in place of its weights.

    Attributes:
        tensors: Name of the parameter -> its average; empty before the first update.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, model: nn.Module, momentum: float) -> None:
        """Takes in the present weights; the first call copies them."""
        reshard(model)
        weights = {name: p.detach().float() for name, p in model.named_parameters() if p.requires_grad}
        if not self.tensors:
            self.tensors = {name: weight.clone() for name, weight in weights.items()}
            return
        # A checkpoint gives whole tensors.
        self.tensors = {name: shard_like(self.tensors[name], weight) for name, weight in weights.items()}
        torch._foreach_lerp_(list(self.tensors.values()), list(weights.values()), 1 - momentum)

    def whole(self) -> dict[str, Tensor]:
        """The average without shards; all ranks must ask."""
        return {name: whole(tensor) for name, tensor in self.tensors.items()}

    @torch.no_grad()
    def outputs(self, model: nn.Module, inputs: Mapping[str, Any]) -> Any:
        """The model's output with the averaged weights, without dropout.

        Under FSDP2, no other pass may wait for its backward pass meanwhile.
        """
        training = model.training
        model.eval()
        try:
            if any(is_sharded(tensor) for tensor in self.tensors.values()):
                with _lent(model, self.tensors):
                    return model(**inputs)
            parameters = dict(model.named_parameters())
            average = {name: tensor.to(parameters[name].dtype) for name, tensor in self.tensors.items()}
            return functional_call(model, average, (), dict(inputs), tie_weights=True)
        finally:
            model.train(training)


@contextmanager
def _lent(model: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """While it lasts, the shards of the weights hold other values: FSDP2 gathers from them in every pass."""
    reshard(model)
    parameters = {name: p.to_local() for name, p in model.named_parameters() if name in tensors}
    kept = {name: local.clone() for name, local in parameters.items()}
    for name, local in parameters.items():
        local.copy_(tensors[name].to_local())
    try:
        yield
    finally:
        reshard(model)
        for name, local in parameters.items():
            local.copy_(kept[name])


register_extension("weight-average", ProximalTerm)
