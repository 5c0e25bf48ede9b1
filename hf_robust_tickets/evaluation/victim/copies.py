"""Copies between the host and an accelerator, as few as can be: each that is waited for leaves it idle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def on_host(values: Any, device: torch.device) -> Tensor:
    """Numbers on the CPU, in memory that is copied to a device without waiting.

    Args:
        values: A tensor on the CPU, or nested lists of numbers.
        device: Where they are going.
    """
    tensor = torch.as_tensor(values, device="cpu")
    return tensor.pin_memory() if device.type == "cuda" else tensor


def to_device(values: Any, device: torch.device) -> Tensor:
    """Numbers on a device; the host goes on while they are copied, and makes the next batch.

    Args:
        values: A tensor on the CPU, or nested lists of numbers.
        device: Where to.
    """
    tensor = on_host(values, device)
    # Apple's copies read their source later than they say.
    return tensor.to(device, non_blocking=device.type != "mps")


def batch_to_device(inputs: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
    """The arguments of a model on a device, each as `to_device` puts it there."""
    return {name: to_device(values, device) for name, values in inputs.items()}


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of one dtype on the CPU, by one copy for all that lie on one device.

    Args:
        tensors: Of any shapes.
    """
    if not tensors or tensors[0].device.type == "cpu":
        return list(tensors)
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).cpu()
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
