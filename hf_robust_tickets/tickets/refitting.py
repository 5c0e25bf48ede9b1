"""Least squares after the cut: output projections that give what those of the dense model gave, without a gradient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from .._arguments import check_arguments
from ..architectures import get_architecture
from ..architectures.units import in_features
from ..errors import ConfigurationError, DataError, TicketError
from .pruning import check_fits


@dataclass(frozen=True)
class RefitStep:
    """One projection that was refitted.

    Attributes:
        layer: Number of its layer, from 0.
        kind: `"heads"`: the attention output projection; `"neurons"`: the down projection.
        before: Squared distance of its outputs from those of the dense model, as a share of the squared norm of the
            latter, over all sentences; that of the layers below is mended by then.
        after: The same with the new weights; never larger.
    """

    layer: int
    kind: str
    before: float
    after: float


@check_arguments
@torch.no_grad()
def refit(
    model: PreTrainedModel, dense: PreTrainedModel, batches: Iterable[Mapping[str, Any]], *, ridge: float = 0.1
) -> tuple[RefitStep, ...]:
    r"""Refits the output projections of a pruned model to the dense one, in place, layer by layer.

    For each attention output projection and each down projection, from the first layer to the last, the weights and
    the bias become those of a ridge regression. Inputs $x$ are those of the pruned model, whose layers below are
    refitted already, so that what they still miss is made up for here; targets $y$ are the outputs of the same
    projection of the dense model. What the targets hold is what one projection adds, not the sum with the residual
    stream, for families differ in where they add it. With $W_0, b_0$ the weights that the cut has left,

    $$W, b = \arg\min \sum \lVert W x + b - y \rVert^2 + \lambda \lVert W - W_0 \rVert^2,
    \qquad \lambda = \text{ridge} \cdot \operatorname{mean}(\operatorname{diag} \textstyle\sum x x^\top),$$

    so that weights stay as they are where there is nothing to mend, and what the sentences do not tell is left to
    $W_0$. Sums are taken over all tokens but padding, batch by batch in float64; activations are not kept. Each
    projection takes a forward pass of both models up to itself. A module that several layers share (ALBERT) is fitted
    once for all its uses; a block that lost all units has its bias refitted; a projection without a bias gets none.

    The idea is that of the solver of K-prune (Park, Choi and Kang, *Accurate Retraining-free Pruning for Pretrained
    Encoder-based Language Models*, ICLR 2024, arXiv:2308.03449), without its residual stream in the
    targets and with the ridge about $W_0$ in place of plain least squares.

    Args:
        model: The pruned model; both must be whole, not wrapped, and without gates.
        dense: The model that it was cut from.
        batches: What the models take, as mappings of tensors, on any device; gone through twice per layer, so a list
            or a data loader. Entries of an `attention_mask` (`decoder_attention_mask`) that are 0 do not count.
        ridge: Weight of the distance from $W_0$, relative to the mean squared length of the inputs; positive.

    Returns:
        What was refitted, in order.

    Raises:
        ConfigurationError: If `ridge` is not positive.
        DataError: If there is no batch, or the batches can be gone through only once.
        TicketError: If `dense` cannot be what `model` was cut from, or one of the two is gated, wrapped or sharded.
    """
    if not ridge > 0:
        raise ConfigurationError(f"expected a positive ridge, got {ridge}: pass e.g. 0.1")
    pairs = _pairs(model, dense)
    if iter(batches) is batches:
        raise DataError(
            "expected batches that can be gone through again, got an iterator: pass a list, or a data loader"
        )
    steps = []
    with _evaluating(model), _evaluating(dense):
        uses = _count_uses(dense, [pair[-1] for pair in pairs], batches)
        in_encoder, order = len(get_architecture(dense).layers(dense)), list(uses)
        for layer, kind, projection, target in sorted(pairs, key=lambda pair: order.index(pair[-1])):
            times, sums = uses[target], _Sums(projection)
            mask = "attention_mask" if layer < in_encoder else "decoder_attention_mask"
            for batch in batches:
                found = _watched(model, projection, batch, times)
                wanted = _watched(dense, target, batch, times)
                for (x, output), (_, goal) in zip(found, wanted):
                    sums.add(x, output, goal, batch.get(mask))
            steps.append(RefitStep(layer, kind, *sums.solve_(ridge)))
    return tuple(steps)


def _pairs(model: PreTrainedModel, dense: PreTrainedModel) -> list[tuple[int, str, nn.Module, nn.Module]]:
    """Layer, kind, projection and its counterpart in the dense model."""
    check_fits(model)
    check_fits(dense)
    small, large = get_architecture(model), get_architecture(dense)
    depths = len(small.places(model)), len(large.places(dense))
    if small.name != large.name or depths[0] != depths[1]:
        raise TicketError(
            f"expected the dense model that the pruned one was cut from ({small.name}, {depths[0]} layers), got "
            f"{large.name} with {depths[1]} layers: load the right one"
        )
    heads = zip(small.head_outputs(model), large.head_outputs(dense))
    neurons = zip(small.neuron_outputs(model), large.neuron_outputs(dense))
    pairs = []
    for layer, (of_heads, of_neurons) in enumerate(zip(heads, neurons)):
        for kind, (projection, target) in (("heads", of_heads), ("neurons", of_neurons)):
            # Blocks without such units, and projections of which nothing is left to fit.
            if isinstance(projection, nn.Identity) or not list(projection.parameters()):
                continue
            sizes = _out_features(projection), _out_features(target)
            if sizes[0] != sizes[1] or in_features(projection) > in_features(target):
                raise TicketError(
                    f"expected a dense model at least as wide as the pruned one, got a projection of "
                    f"{in_features(target)} -> {sizes[1]} for one of {in_features(projection)} -> {sizes[0]} in layer "
                    f"{layer}: load the model that it was cut from"
                )
            pairs.append((layer, kind, projection, target))
    return pairs


class _Sums:
    """The normal equations of one projection, for the change of its weights: sums over tokens, in float64.

    With a bias, inputs have a last entry of one. A convolution is a projection of its patches.
    """

    def __init__(self, projection: nn.Module) -> None:
        self._projection = projection
        self._bias = projection.bias is not None
        device = next(projection.parameters()).device
        # What has no float64 computes these sums on the CPU.
        self._where = {"device": "cpu" if device.type == "mps" else device, "dtype": torch.float64}
        width = _patch_features(projection) + self._bias
        self._gram = torch.zeros(width, width, **self._where)
        self._cross = torch.zeros(width, _out_features(projection), **self._where)
        self._error = torch.zeros((), **self._where)
        self._norm = torch.zeros((), **self._where)

    def add(self, x: Tensor, output: Tensor, goal: Tensor, mask: Tensor | None) -> None:
        """Takes in one batch: inputs, what comes of them, and what should; of any shape `(..., features)`."""
        x, output, goal = (
            _rows(self._projection, tensor, i == 0).to(**self._where) for i, tensor in enumerate((x, output, goal))
        )
        if mask is not None and mask.numel() == len(x):
            kept = mask.reshape(-1).to(x.device) != 0
            x, output, goal = x[kept], output[kept], goal[kept]
        if self._bias:
            x = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
        missing = goal - output
        self._gram += x.T @ x
        self._cross += x.T @ missing
        self._error += missing.square().sum()
        self._norm += goal.square().sum()

    def solve_(self, ridge: float) -> tuple[float, float]:
        """Changes the projection; its error before and after, relative to the norm of the goal."""
        system, size = self._gram.clone(), len(self._gram) - self._bias
        if size:
            diagonal = system.diagonal()[:size]
            # Inputs that are all zero tell nothing: any ridge keeps the weights.
            diagonal += ridge * (diagonal.mean().item() or 1.0)
        change = torch.cholesky_solve(self._cross, torch.linalg.cholesky(system))
        explained = (change * (2 * self._cross - self._gram @ change)).sum()
        self._write(change, size)
        norm = self._norm.item() or 1.0
        # What is explained to the last bit leaves a rounding error of either sign.
        return self._error.item() / norm, max(0.0, (self._error - explained).item() / norm)

    def _write(self, change: Tensor, size: int) -> None:
        if size:
            weight = self._projection.weight
            update = change[:size] if isinstance(self._projection, Conv1D) else change[:size].T.reshape(weight.shape)
            weight.copy_(weight.to(**self._where) + update)
        if self._bias:
            bias = self._projection.bias
            bias.copy_(bias.to(**self._where) + change[-1])


def _rows(projection: nn.Module, tensor: Tensor, is_input: bool) -> Tensor:
    """One row of features per token; per place of the output for a convolution."""
    if not isinstance(projection, nn.Conv2d):
        return tensor.reshape(-1, tensor.shape[-1]) if tensor.shape[-1] else tensor.flatten(0, -2)
    if is_input:
        options = {name: getattr(projection, name) for name in ("dilation", "padding", "stride")}
        tensor = nn.functional.unfold(tensor.float(), projection.kernel_size, **options)
    return tensor.flatten(2).transpose(1, 2).flatten(0, 1)


def _patch_features(projection: nn.Module) -> int:
    size = projection.kernel_size if isinstance(projection, nn.Conv2d) else (1,)
    return in_features(projection) * torch.Size(size).numel()


def _out_features(projection: nn.Module) -> int:
    return next(getattr(projection, n) for n in ("out_features", "out_channels", "nf") if hasattr(projection, n))


class _Reached(Exception):
    """The projection has run: what comes after it is not needed."""


def _watched(
    model: PreTrainedModel, projection: nn.Module, batch: Mapping[str, Any], times: int
) -> list[tuple[Tensor, Tensor]]:
    """Input and output of each use of a projection; the model is left after the last one."""
    seen: list[tuple[Tensor, Tensor]] = []

    def watch(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((inputs[0], output))
        if len(seen) == times:
            raise _Reached

    handle = projection.register_forward_hook(watch)
    try:
        _call(model, batch)
    except _Reached:
        return seen
    finally:
        handle.remove()
    raise TicketError(
        f"expected both models to use a projection {times} times, got {len(seen)}: load the dense model that the "
        "pruned one was cut from"
    )


def _count_uses(model: PreTrainedModel, projections: list[nn.Module], batches: Iterable[Any]) -> dict[nn.Module, int]:
    """How often each projection runs in one forward pass, by the first batch, in the order in which they run."""
    counts: dict[nn.Module, int] = {}

    def count(module: nn.Module, *_: Any) -> None:
        counts[module] = counts.get(module, 0) + 1

    handles = [module.register_forward_hook(count) for module in projections]
    try:
        for batch in batches:
            _call(model, batch)
            break
        else:
            raise DataError("expected at least one batch to refit with, got none: pass sentences of the training data")
    finally:
        for handle in handles:
            handle.remove()
    return counts | {module: 0 for module in projections if module not in counts}


def _call(model: PreTrainedModel, batch: Mapping[str, Any]) -> None:
    device = next(model.parameters()).device
    model(**{key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()})


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """While it lasts, no dropout; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
