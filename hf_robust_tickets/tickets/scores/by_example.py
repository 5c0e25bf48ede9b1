"""Gradients of the gates example by example: what a score adds up without losing to cancellation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import TicketError
from ..gates import BY_EXAMPLE_NAME, gated_projections


class ExampleGradients:
    """Sums over examples of |dL/dc|, where a backward pass gives the sum over the batch alone.

    In the forward pass each coefficient is multiplied by one for each example; the gradients of these ones are those
    of the coefficient, example by example, for the price of a few numbers per example. An example that is run more
    than once in a step (the passes of an attack, a penalty on two outputs) has one gradient: the absolute value is
    taken of the sum.

    Example:
        >>> gradients = ExampleGradients()
        >>> with gradients.watching(model):
        ...     model(**batch).loss.backward()
        >>> gradients.take()  # one vector per gate, heads first
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._ones: dict[tuple[str, torch.device], Tensor] = {}
        self._shapes: dict[torch.device, tuple[int, int | None]] = {}

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """While it lasts, the batches that run through a gated model are watched; then their gradients are added.

        Args:
            model: The module that is called with the batch, inside its wrappers; replicas of it are watched too.

        Raises:
            TicketError: If an activation does not tell its examples apart (texts that are packed into one).
        """
        projections = gated_projections(model)
        hook = model.register_forward_pre_hook(self._note_batch, with_kwargs=True)
        for name, projection in projections.items():
            projection.__dict__[BY_EXAMPLE_NAME] = partial(self._multiply, name)
        try:
            # A compiled graph keeps no tensors between forward passes.
            with torch.compiler.set_stance("force_eager"):
                yield
            self._add(list(projections))
        finally:
            hook.remove()
            for projection in projections.values():
                del projection.__dict__[BY_EXAMPLE_NAME]
            self._ones, self._shapes = {}, {}

    def take(self) -> list[Tensor]:
        """What has been added since the last call: one vector per gate, in the order of `Gates.parameters`."""
        taken, self._sums = list(self._sums.values()), {}
        return taken

    def _add(self, names: list[str]) -> None:
        for name in names:
            of_devices = [ones.grad for (of, _), ones in self._ones.items() if of == name and ones.grad is not None]
            if not of_devices:
                raise TicketError("the score needs gradients of the gates, got none: run a backward pass first")
            # Replicas hold different examples.
            parts = [gradient.abs().sum(dim=0) for gradient in of_devices]
            total = torch.stack([part.to(parts[0].device) for part in parts]).sum(dim=0)
            self._sums[name] = total + self._sums[name] if name in self._sums else total

    def _note_batch(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        names = (getattr(model, "main_input_name", "input_ids"), "input_ids", "inputs_embeds", "pixel_values")
        given = [kwargs[name] for name in names if isinstance(kwargs.get(name), Tensor)]
        given += [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.dim() > 1]
        if not given:
            raise TicketError(f"expected a batch with tensors, got {', '.join(kwargs) or 'nothing'}")
        self._shapes[given[0].device] = len(given[0]), _positions(given[0])

    def _multiply(self, name: str, gate: Tensor, x: Tensor, channels: bool) -> Tensor:
        """A projection's input times its gate, that of each example by a one of its own."""
        examples, length = self._shapes[x.device]
        told_apart = x.shape[0] % examples == 0 if x.dim() > 2 else x.shape[0] == examples * (length or 1)
        if not told_apart:
            raise TicketError(
                f"a score by example expects activations of {examples} examples, got {tuple(x.shape)}: load the model "
                "with attn_implementation='sdpa', which does not pack texts"
            )
        ones = self._ones.get((name, x.device))
        if ones is None:
            ones = torch.ones(examples, gate.numel(), dtype=torch.float32, device=x.device, requires_grad=True)
            self._ones[name, x.device] = ones
        factors = (gate * ones).to(x.dtype)
        if channels:
            return x * factors[:, :, None, None]
        factors = factors.repeat_interleave(x.shape[-1] // gate.numel(), dim=1)
        return (x.reshape(examples, -1, x.shape[-1]) * factors[:, None]).reshape(x.shape)


def _positions(batch: Tensor) -> int | None:
    """Positions of an example: of ids `(examples, ..., positions)` or embeddings; None for images."""
    if not batch.is_floating_point():
        return batch[0].numel()
    return batch.shape[1] if batch.dim() == 3 else None
