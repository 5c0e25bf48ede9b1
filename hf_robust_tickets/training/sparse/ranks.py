"""What masks need of several processes, and the surroundings in which they cannot be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from torch import distributed as dist
from transformers import TrainingArguments

from ...errors import ConfigurationError
from ...sparse.base import SparseMethod
from ...sparse.selection import transposed_weights

# These step inside the backward pass, or on a projection of the gradient.
_OPTIMISERS_WITHOUT_GRADIENT = ("lomo", "galore", "apollo")
# A block of a quantised state shares one scale: no element of it can be set to zero alone.
_QUANTISED_STATES = ("8bit", "4bit")


def as_of_first_rank(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masks of rank 0 on every rank: equal weights and gradients may still rank ties in another order."""
    masks = dict(masks)
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return masks
    flat = torch.cat([mask.reshape(-1) for mask in masks.values()]).to(torch.uint8)
    dist.broadcast(flat, src=0)
    parts = flat.bool().split([mask.numel() for mask in masks.values()])
    return {name: part.reshape(mask.shape) for (name, mask), part in zip(masks.items(), parts, strict=True)}


def sum_over_ranks(values: Sequence[float], device: torch.device) -> list[float]:
    """Sums over all ranks, equal on each of them."""
    if not (dist.is_available() and dist.is_initialized()):
        return [float(value) for value in values]
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return total.tolist()


def check_not_transposed(model: nn.Module, weights: Mapping[str, nn.Parameter]) -> None:
    """Raises ConfigurationError where a pattern N:M would lie along the outputs."""
    names = transposed_weights(model, weights)
    if names:
        raise ConfigurationError(
            f"a pattern N:M lies along the inputs, which come first in {names[0]!r} and {len(names) - 1} more: give "
            "density as a fraction, or exclude them"
        )


def check_no_replicas(args: TrainingArguments, method: SparseMethod) -> None:
    """Raises ConfigurationError where a method looks inside the model, and there are replicas of it."""
    if args.n_gpu > 1 and (method.adapts or getattr(method, "by_curvature", False)):
        what = "counts answers inside" if method.adapts else "differentiates"
        raise ConfigurationError(
            f"{type(method).__name__} {what} the model, got {args.n_gpu} devices in one process, each with a "
            f"replica of torch.nn.DataParallel: launch with `torchrun --nproc_per_node {args.n_gpu}`"
        )


def check_mask_surroundings(args: TrainingArguments, model: Any, named: bool) -> None:
    """Raises ConfigurationError where masks cannot be kept, or would lie where nobody wants them.

    Args:
        args: Those of the training.
        model: The model, wrapped or not.
        named: Whether the weights to mask were named.
    """
    sharded = type(model).__name__ == "FullyShardedDataParallel" or any(
        type(parameter).__name__ == "DTensor" for parameter in model.parameters()
    )
    if sharded or args.deepspeed or args.fsdp:
        raise ConfigurationError(
            "masks lie on whole weights, got FSDP, tensor parallelism or DeepSpeed: use data parallelism (torchrun)"
        )
    name = str(getattr(args.optim, "value", args.optim)).lower()
    if any(word in name for word in _OPTIMISERS_WITHOUT_GRADIENT):
        raise ConfigurationError(
            f"the optimiser {name} does not move weights by their whole gradient, which masks need: use adamw or sgd"
        )
    if any(word in name for word in _QUANTISED_STATES):
        raise ConfigurationError(
            f"masks reach into the state of the optimiser, got {name}, whose state is quantised: use adamw or sgd"
        )
    if not named and hasattr(extract_model_from_parallel(model), "peft_config"):
        raise ConfigurationError(
            "masks would lie on the adapters, whose products with the frozen weights stay dense, got a PEFT model: "
            "merge_and_unload() it first, or name the weights with include"
        )
