"""SynFlow: a static mask without data, by the flow through the absolute values of all weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import ConfigurationError, TicketError
from .base import SparseMethod, global_masks, register_sparse_method
from .mask import Masks
from .pattern import parse_pattern

_ACTIVATIONS = ("torch.nn.modules.activation", "transformers.activations")
# Of the largest score: far above the rounding of float64, far below what flows through a layer.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class SynFlow(SparseMethod):
    """Drops, little by little, the weights through which the least flows from an input of ones to the output.

    Tanaka, Kunin, Yamins and Ganguli, "Pruning neural networks without any data by iteratively conserving synaptic
    flow", NeurIPS 2020, algorithm 1: with R = 1^T (|W_L| ... |W_1|) 1, the sum of the outputs of the network in which
    each weight is its absolute value, a weight's score is

        S(w) = |w| * dR / d|w|

    and after iteration k of n the highest `density ** (k / n)` of all weights are kept; their flow is measured anew.

    The network is made linear for it: activations and norms pass on what they are given (norms times the absolute
    value of their scale), biases count as zero, dropout is off, and all of it is in float64, for R grows with the
    depth as a power does. No weight of the model is touched.

    For networks in which linear layers or convolutions follow each other. Nothing flows through the softmax of
    attention, so that query and key are to be excluded; an error says so.

    Cost: `iterations` passes forward and back with one example, in float64.
    Use when: convolutional networks at very high sparsity: no layer is emptied.

    Attributes:
        iterations: n; each is a pass forward and back with one example.
    """

    iterations: int = 100

    name: ClassVar[str] = "synflow"
    looks_at_model: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.iterations) is not int or self.iterations < 1:
            raise ConfigurationError(f"SynFlow: iterations must be a number of at least 1, got {self.iterations!r}")

    def initial_masks(self, weights: Mapping[str, Tensor], seed: int) -> None:
        """None: the weights alone do not say what follows what; see `masks_from_model`."""

    def masks_from_model(self, model: nn.Module, weights: Mapping[str, Tensor]) -> Masks:
        """The masks after the last iteration.

        Args:
            model: The model, not wrapped; it takes `pixel_values` of the size that its configuration names, or
                `inputs_embeds`.
            weights: Names and weights of the model that are to be masked.

        Raises:
            ConfigurationError: If there is no telling what an input of ones is.
            TicketError: If nothing flows through a layer, or more than a float64 can hold.
        """
        tensors, inputs = _absolute(model), _ones(model, next(iter(weights.values())).device)
        masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
        whole = parse_pattern(self.density) is not None
        for k in range(1, (1 if whole else self.iterations) + 1):
            scores = _flow(model, tensors, inputs, masks)
            _check_flow(scores, masks)
            # What is masked has no flow; it is not to come back where others have none either.
            scores = {name: score.masked_fill(~masks[name], -1.0) for name, score in scores.items()}
            masks = global_masks(scores, self.density if whole else self.density ** (k / self.iterations))
        return masks


def _absolute(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers as the linear network has them, in float64."""
    tensors = {}
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.is_floating_point():
            value = value.detach().abs().to(torch.float64)
            tensors[name] = torch.zeros_like(value) if "bias" in name.rpartition(".")[2] else value
    return tensors


def _ones(model: nn.Module, device: torch.device) -> dict[str, Tensor]:
    """One example of ones."""
    config, name = getattr(model, "config", None), getattr(model, "main_input_name", None)
    size, channels = getattr(config, "image_size", None), getattr(config, "num_channels", None)
    if name == "pixel_values" and size and channels:
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        return {name: torch.ones(1, channels, height, width, dtype=torch.float64, device=device)}
    if name == "input_ids":
        dimension = model.get_input_embeddings().weight.shape[1]
        return {"inputs_embeds": torch.ones(1, 1, dimension, dtype=torch.float64, device=device)}
    raise ConfigurationError(
        f"SynFlow sends ones through the model, got {type(model).__name__}, which does not say of which shape: give "
        "it main_input_name='pixel_values' and a config with image_size and num_channels, or use SNIP"
    )


def _flow(model: nn.Module, tensors: dict[str, Tensor], inputs: dict[str, Tensor], masks: Masks) -> dict[str, Tensor]:
    """`|w| * dR / d|w|` of each weight, float64."""
    leaves = {name: (tensors[name] * mask).requires_grad_() for name, mask in masks.items()}
    with torch.enable_grad(), _linear(model):
        output = functional_call(model, tensors | leaves, kwargs=inputs)
        logits = output["logits"] if isinstance(output, Mapping) else output[0]
        gradients = torch.autograd.grad(logits.sum(), list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else (leaf * gradient).detach()
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
    }


def _check_flow(scores: Mapping[str, Tensor], masks: Masks) -> None:
    if not all(bool(score.isfinite().all()) for score in scores.values()):
        raise TicketError("the synaptic flow is more than a float64 can hold: use SNIP or GraSP for so deep a model")
    # What a softmax lets through is zero but for rounding, which depends on the processor's kernels.
    least = _ROUNDING * max(float(score.max()) for score in scores.values())
    dry = sorted(name for name, score in scores.items() if not bool((score[masks[name]] > least).any()))
    if dry:
        raise TicketError(
            f"expected synaptic flow through every layer, got none through {len(dry)} such as {dry[0]!r}: softmax and "
            "saturated functions pass none on; exclude them, or use SNIP or GraSP"
        )


@contextmanager
def _linear(model: nn.Module) -> Iterator[None]:
    """Activations and norms pass on what they are given, and dropout is off."""
    training = {module: module.training for module in model.modules()}
    handles = []
    for module in model.modules():
        if _is_norm(module):
            handles.append(module.register_forward_hook(_scaled))
        elif type(module).__module__ in _ACTIVATIONS and not list(module.parameters()):
            handles.append(module.register_forward_hook(_passed_on))
    try:
        model.eval()
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, was in training.items():
            module.training = was


def _is_norm(module: nn.Module) -> bool:
    return "Norm" in type(module).__name__ and not list(module.children())


def _scaled(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    scale = getattr(module, "weight", None)
    if scale is None:
        return args[0]
    by_channel = isinstance(module, (nn.modules.batchnorm._NormBase, nn.GroupNorm))
    return args[0] * (scale.view(-1, *[1] * (args[0].dim() - 2)) if by_channel else scale)


def _passed_on(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    is_softmax = "softm" in type(module).__name__.lower()
    return output if is_softmax or output.shape != args[0].shape else args[0]


register_sparse_method(SynFlow.name, SynFlow)
