"""The model's first layer run alone, and the gradient that arrives at its output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class _Reached(Exception):
    """Ends a forward pass at the layer that was wanted."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


class FirstLayer:
    """f0 of YOPO: everything from the perturbed embedding to the output of the first transformer layer.

    Args:
        layer: The first transformer layer; its output is a tensor or a tuple that begins with one.
    """

    def __init__(self, layer: nn.Module) -> None:
        self._handle = layer.register_forward_hook(self._hook)
        self._mode = "off"
        self._output: Tensor | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While a full pass lasts, its first layer's output keeps its gradient."""
        self._mode = "watch"
        try:
            yield
        finally:
            self._mode = "off"

    def co_state(self) -> Tensor:
        """p: the gradient of the watched pass's loss at the first layer's output, `(batch, tokens, dim)`."""
        return self._output.grad.detach()

    def run(self, model: nn.Module, inputs: dict[str, Any]) -> Tensor:
        """The first layer's output; nothing above it is run."""
        self._mode = "stop"
        try:
            model(**inputs)
        except _Reached as reached:
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
            self._mode = "off"
            first.retain_grad()
            self._output = first
        elif self._mode == "stop":
            raise _Reached(first)
