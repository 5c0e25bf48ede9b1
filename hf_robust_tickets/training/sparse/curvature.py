"""The gradient of the first batch, and the Hessian times it: what GraSP looks at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..._random_numbers import kept_random_numbers
from ...errors import ConfigurationError, TicketError


class Curvature:
    """Remembers what a model was given in a step, and differentiates its loss on that twice.

    Args:
        model: The model, not wrapped; it gives `loss`.

    Attributes:
        batches: Positional and named arguments of each forward pass since the last product.
    """

    def __init__(self, model: nn.Module) -> None:
        # Fused kernels and compiled code have no second derivative.
        self._model = getattr(model, "_orig_mod", model)
        self.batches: list[tuple[Any, dict[str, Any]]] = []
        self._handle = self._model.register_forward_pre_hook(self._remember, with_kwargs=True)

    def close(self) -> None:
        """Takes the hook away and forgets the batches."""
        self._handle.remove()
        self.batches = []

    def _remember(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if model.training and torch.is_grad_enabled():
            self.batches.append((args, dict(kwargs)))

    def products(self, weights: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        """H g, with g the gradient of the loss on the remembered batches of all ranks, and H its Hessian.

        Without dropout; norms over the batch see the batch, and their running statistics stay as they are.

        Args:
            weights: Parameter name -> parameter; g and H are with respect to these alone.

        Returns:
            Parameter name -> tensor of its shape, equal on all ranks.

        Raises:
            ConfigurationError: If the model gives no loss, or cannot be differentiated twice.
            TicketError: If the loss does not depend on a weight.
        """
        batches, self.batches = self.batches, []
        parameters = list(weights.values())
        with self._as_a_function():
            gradient = [torch.zeros_like(parameter) for parameter in parameters]
            for batch in batches:
                self._add(gradient, self._gradient(batch, weights, twice=False))
            _sum_over_ranks(gradient)
            product = [torch.zeros_like(parameter) for parameter in parameters]
            for batch in batches:
                self._add(product, self._second(batch, weights, gradient))
            _sum_over_ranks(product)
        return dict(zip(weights, product, strict=True))

    def _gradient(self, batch: Any, weights: Mapping[str, nn.Parameter], twice: bool) -> list[Tensor]:
        args, kwargs = batch
        output = self._model(*args, **kwargs)
        loss = output.get("loss") if isinstance(output, Mapping) else output[0]
        if loss is None or loss.dim():
            raise ConfigurationError(
                "GraSP differentiates the model's own loss, got an output without one: train without label smoothing "
                "and compute_loss_func, or use SNIP"
            )
        found = torch.autograd.grad(loss, list(weights.values()), create_graph=twice, allow_unused=True)
        missing = [name for name, gradient in zip(weights, found, strict=True) if gradient is None]
        if missing:
            raise TicketError(
                f"expected a gradient to choose weights by, got none for {len(missing)} layers such as "
                f"{missing[0]!r}: exclude layers that the loss does not depend on, or choose by magnitude or at random"
            )
        return list(found)

    def _second(self, batch: Any, weights: Mapping[str, nn.Parameter], direction: list[Tensor]) -> list[Tensor | None]:
        """The gradient of the product of a batch's gradient with a direction."""
        try:
            first = self._gradient(batch, weights, twice=True)
            along = sum((own.float() * fixed.float()).sum() for own, fixed in zip(first, direction, strict=True))
            return list(torch.autograd.grad(along, list(weights.values()), allow_unused=True))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ConfigurationError(
                f"GraSP differentiates the loss twice, which {type(self._model).__name__} does not allow ({reason}): "
                "load it with attn_implementation='eager', or use SNIP"
            ) from error

    @staticmethod
    def _add(total: list[Tensor], more: list[Tensor | None]) -> None:
        for own, other in zip(total, more, strict=True):
            if other is not None:  # a weight that the loss is linear in has no second derivative
                own.add_(other.detach())

    @contextmanager
    def _as_a_function(self) -> Iterator[None]:
        """The loss depends on weights and batch alone, and evaluating it leaves no trace."""
        model = self._model
        training = {module: module.training for module in model.modules()}
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        device = next(model.parameters()).device
        try:
            model.eval()
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.train(training[module])
            with kept_random_numbers(device), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            for module, was in training.items():
                module.training = was
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    buffer.copy_(buffers[name])


def _sum_over_ranks(tensors: list[Tensor]) -> None:
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)
