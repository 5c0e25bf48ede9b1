"""Published weights of classifiers of small images, opened as models of this package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from .cifar_resnet import CifarResNetConfig, CifarResNetForImageClassification


def convert_cifar_resnet(state_dict: Mapping[str, Tensor], **config: Any) -> CifarResNetForImageClassification:
    """A CIFAR ResNet with weights in the widespread naming: `conv1`, `bn1`, `layer{1,2,3}.{i}.*`, `linear`.

    Depth, widths, channels and classes are read off the weights; a prefix `module.` is taken away.

    Args:
        state_dict: Name -> tensor, as `safetensors.torch.load_file` gives it.
        **config: Further options of `CifarResNetConfig`: `image_size`, `id2label`, ...

    Returns:
        The model, in eval mode.

    Raises:
        CheckpointError: If weights are missing, left over, or of another shape.
    """
    weights = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    weights = {re.sub(r"^(linear|fc)\.", "classifier.", name): tensor for name, tensor in weights.items()}
    blocks = {tuple(map(int, m.groups())) for m in (re.match(r"layer(\d+)\.(\d+)\.", name) for name in weights) if m}
    stages = max((stage for stage, _ in blocks), default=0)
    try:
        widths = [weights[f"layer{stage}.0.conv1.weight"].shape[0] for stage in range(1, stages + 1)]
        shape, classes = weights["conv1.weight"].shape, weights["classifier.weight"].shape[0]
    except KeyError as error:
        raise CheckpointError(
            "expected the weights of a CIFAR ResNet (conv1, bn1, layer1.0.conv1, ..., linear), got none named "
            f"{error}: the file is of another model"
        ) from error
    if not stages or 2 * len(blocks) % (2 * stages):
        raise CheckpointError(f"expected stages of equally many blocks, got {len(blocks)} blocks in {stages} stages")
    options = {"depth": 2 * len(blocks) + 2, "widths": widths, "num_channels": shape[1]}
    labels = {} if "id2label" in config else {"num_labels": classes}
    model = CifarResNetForImageClassification(CifarResNetConfig(**options, **labels, **config))
    _fill(model, weights)
    return model.eval()


def _fill(model: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """Loads weights; the counters of the norms, which inference does not read, may be absent."""
    own = model.state_dict()
    missing = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    unknown = [name for name in weights if name not in own]
    other = [name for name in weights if name in own and weights[name].shape != own[name].shape]
    if missing or unknown or other:
        raise CheckpointError(
            f"expected the weights of {type(model).__name__}; missing: {missing[:3]}, unknown: {unknown[:3]}, "
            f"of another shape: {other[:3]}: the file is of another model, or damaged"
        )
    model.load_state_dict(weights, strict=False)
