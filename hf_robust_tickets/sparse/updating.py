"""One update of all masks of a model by a dynamic method."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..errors import TicketError
from .base import Decision, SparseMethod
from .mask import MaskedWeights, Masks, read_together


def gradients_of(layers: MaskedWeights) -> dict[str, Tensor]:
    """The gradient of each weight.

    Raises:
        TicketError: If one has none.
    """
    gradients = {name: weight.grad for name, weight in layers.weights.items()}
    missing = sorted(name for name, gradient in gradients.items() if gradient is None)
    if missing:
        raise TicketError(
            f"expected a gradient to choose weights by, got none for {len(missing)} layers such as {missing[0]!r}: "
            "exclude layers that the loss does not depend on, or choose by magnitude or at random"
        )
    return gradients


def all_finite(gradients: Mapping[str, Tensor]) -> bool:
    """Whether no gradient is NaN or infinite."""
    return all(read_together([gradient.isfinite().all() for gradient in gradients.values()]))


def propose_masks(
    method: SparseMethod,
    layers: MaskedWeights,
    gradients: Mapping[str, Tensor] | None,
    fraction: float,
    decision: Decision,
    seed: tuple[int, int],
) -> tuple[Masks, Masks]:
    """Drops and grows in every layer; nothing is changed yet.

    Args:
        method: A method with `update_layer`.
        layers: Weights and their present masks.
        gradients: Gradients of the weights, masked or not; None where growth is random.
        fraction: The schedule's drop fraction.
        decision: What the records ask for.
        seed: Seed and step, for random growth.

    Returns:
        What survives the drop, and that with what has grown.
    """
    survivors, grown = {}, {}
    for index, (name, weight) in enumerate(layers.weights.items()):
        gradient = None if gradients is None else gradients[name]
        update = method.update_layer(weight, layers.masks[name], gradient, fraction, decision, (*seed, index))
        survivors[name], grown[name] = update
    return survivors, grown
