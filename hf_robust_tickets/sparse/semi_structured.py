"""2:4 weights in the form that the tensor cores of Nvidia's Ampere and later multiply at up to twice the rate."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ..errors import ConfigurationError, TicketError
from .pattern import Pattern, follows_pattern
from .selection import select_weights, transposed_weights

TWO_OF_FOUR = Pattern(2, 4)
_CAPABILITY = (8, 0)
_DTYPES = (torch.float16, torch.bfloat16)


def to_semi_structured_(
    model: nn.Module, include: str | Iterable[str] | None = None, exclude: str | Iterable[str] | None = None
) -> list[str]:
    """Compresses the 2:4 weights of linear layers with `torch.sparse.to_sparse_semi_structured`, in place.

    For inference: the weights become constants, half as large, whose products run on sparse tensor cores. Nothing is
    changed unless all of it can be.

    Args:
        model: A model that was trained with `density="2:4"`, on a CUDA device, in half precision.
        include: Name patterns, as for the training; see `select_weights`. Convolutions among them stay as they are.
        exclude: The same.

    Returns:
        Names of the weights that were compressed.

    Raises:
        ConfigurationError: If the device, the dtype or a shape is none that the hardware multiplies so.
        TicketError: If a weight has more than two of four entries.

    Example:
        >>> to_semi_structured_(model.to("cuda", torch.float16).eval())
    """
    weights = select_weights(model, include, exclude, trainable_only=False)
    chosen = {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if type(module) is nn.Linear and f"{name}.weight" in weights
    }
    if not chosen or transposed_weights(model, weights):
        raise ConfigurationError(
            "expected weights of nn.Linear to compress, got none or transposed ones: exclude them"
        )
    for name, module in chosen.items():
        _check_fits(name, module.weight)
    try:
        compressed = {
            name: torch.sparse.to_sparse_semi_structured(module.weight.detach()) for name, module in chosen.items()
        }
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"a 2:4 weight cannot be compressed ({reason}): exclude its layer") from error
    for name, module in chosen.items():
        module.weight = nn.Parameter(compressed[name], requires_grad=False)
    return list(chosen)


def _check_fits(name: str, weight: torch.Tensor) -> None:
    if weight.device.type != "cuda" or torch.cuda.get_device_capability(weight.device) < _CAPABILITY:
        raise ConfigurationError(
            f"expected {name} on a CUDA device of compute capability 8.0 or later, got {weight.device}: elsewhere the "
            "masked weights give the same result uncompressed"
        )
    if weight.dtype not in _DTYPES:
        raise ConfigurationError(
            f"expected {name} in float16 or bfloat16, got {weight.dtype}: call model.half() first"
        )
    if not follows_pattern(weight, TWO_OF_FOUR):
        raise TicketError(
            f"expected at most 2 of 4 neighbours of {name} not to be zero, got more: train with density='2:4', or "
            "exclude it"
        )
