"""A moving average of the weights, and the model's output with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..._sharding import is_sharded, reshard, shard_like, whole


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
