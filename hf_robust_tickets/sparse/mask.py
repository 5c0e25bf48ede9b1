"""Masks on the weights of a model: what holds masked weights, their gradients and optimiser states at zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigurationError, TicketError

Masks = dict[str, Tensor]


class MaskedWeights:
    """Weights and a mask for each, kept in step.

    Args:
        weights: Parameter name -> parameter; see `select_weights`.

    Attributes:
        weights: The same.
        masks: Parameter name -> BoolTensor of its shape, on its device, True = kept; at first all True.
        lets_dense_gradients: While true, the gradient of masked weights is kept, for a method that looks at it.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter]) -> None:
        self.weights = dict(weights)
        self.masks: Masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in self.weights.items()}
        self.lets_dense_gradients = False
        self._handles: list[Any] = []

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Puts other masks in place; weights are left as they are.

        Raises:
            TicketError: If the masks are for another model.
        """
        check_masks(masks, self.weights)
        # In place: the gradient hooks look at these tensors.
        for name, mask in masks.items():
            self.masks[name].copy_(mask)

    @torch.no_grad()
    def zero_weights(self) -> None:
        """Sets masked weights to zero."""
        for name, weight in self.weights.items():
            weight.mul_(_as_factor(self.masks[name]))

    @torch.no_grad()
    def zero_state(self, optimizer: torch.optim.Optimizer) -> None:
        """Sets the optimiser's state of masked weights to zero: momentum, both moments, whatever has their shape.

        Factored moments (Adafactor's means over rows and columns) have no entry per weight and stay: a gradient of
        zero adds nothing to them, and what they divide is zero where the weight is masked.

        Raises:
            ConfigurationError: If the state is quantised, which has no zero to set.
        """
        for name, weight in self.weights.items():
            if weight not in optimizer.state:
                continue
            for value in optimizer.state[weight].values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    if not value.is_floating_point():
                        raise ConfigurationError(
                            f"expected an optimiser state in floating point, got {value.dtype} for {name}: masks "
                            "need an optimiser that is not quantised, such as adamw_torch"
                        )
                    value.mul_(_as_factor(self.masks[name]))

    @torch.no_grad()
    def zero_gradients(self) -> None:
        """Sets the gradient of masked weights to zero."""
        for name, weight in self.weights.items():
            if weight.grad is not None:
                weight.grad.mul_(_as_factor(self.masks[name]))

    def hold_gradients(self) -> None:
        """From now on the gradient of masked weights is zeroed as soon as a backward pass has accumulated it.

        So neither clipping nor the exchange between ranks sees it, and an optimiser that works weight by weight never
        moves a masked weight or its state: one pass over the gradient instead of one over the weight and each state.
        """
        if not self._handles:
            for name, weight in self.weights.items():
                self._handles.append(weight.register_post_accumulate_grad_hook(self._hook(self.masks[name])))

    def release_gradients(self) -> None:
        """Takes the hooks of `hold_gradients` away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, mask: Tensor) -> Any:
        factor = _as_factor(mask)

        def zero(weight: Tensor) -> None:
            if not self.lets_dense_gradients:
                weight.grad.mul_(factor)

        return zero

    @property
    def density(self) -> float:
        """Fraction of all weights that is kept."""
        return self.densities()["density"]

    @property
    def kept(self) -> dict[str, int]:
        """Layer -> number of weights that are kept."""
        return dict(zip(self.masks, read_together([mask.sum() for mask in self.masks.values()]), strict=True))

    def densities(self) -> dict[str, Any]:
        """`density`, the fraction of all weights that is kept, and `layer_density`, that of each layer."""
        kept = self.kept
        return {
            "density": sum(kept.values()) / sum(mask.numel() for mask in self.masks.values()),
            "layer_density": {name: count / self.masks[name].numel() for name, count in kept.items()},
        }


def read_together(numbers: Sequence[Tensor]) -> list[Any]:
    """What some scalars of one type say, brought to the host at once: each read waits for the device."""
    if not numbers:
        return []
    return torch.stack([number.to(numbers[0].device) for number in numbers]).tolist()


def _as_factor(mask: Tensor) -> Tensor:
    # The same bytes; products with uint8 are about twice as fast as with bool on a CPU.
    return mask.view(torch.uint8)


def check_masks(masks: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Checks that there is a mask for each weight and no other.

    Raises:
        TicketError: If names, shapes or types differ.
    """
    missing, unknown = weights.keys() - masks.keys(), masks.keys() - weights.keys()
    if missing or unknown:
        raise TicketError(
            f"the masks are for another model or other patterns: expected {len(weights)} of them, got {len(masks)}; "
            f"missing {_some(missing)}, unknown {_some(unknown)}"
        )
    for name, weight in weights.items():
        if masks[name].shape != weight.shape or masks[name].dtype != torch.bool:
            raise TicketError(
                f"the mask of {name} is for another model: expected a BoolTensor of shape {tuple(weight.shape)}, got "
                f"{masks[name].dtype} of shape {tuple(masks[name].shape)}"
            )


def _some(names: set[str]) -> str:
    return f"{sorted(names)[0]!r} and {len(names) - 1} more" if len(names) > 1 else f"{sorted(names) or 'none'}"


def mask_difference(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Normalised Hamming distance of two sets of masks: the fraction of all entries that differ."""
    differing = sum(int((mask != second[name]).sum()) for name, mask in first.items())
    return differing / sum(mask.numel() for mask in first.values())
