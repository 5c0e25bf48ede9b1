"""The model's first layer run alone, and the gradient that arrives at its output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...adversaries.hooks import Reached
from .data_parallel import first_row


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
