"""What a model puts out, whatever its task: logits, the rows of them that count, losses per example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigurationError

_IGNORED = -100


def find_logits(outputs: Any) -> list[Tensor]:
    """The logits, one tensor per head of the task (two for question answering); none where the model gives none."""
    for names in (("logits",), ("start_logits", "end_logits")):
        if isinstance(outputs, Mapping) and all(outputs.get(name) is not None for name in names):
            return [outputs[name] for name in names]
    if isinstance(outputs, tuple) and len(outputs) > 1 and torch.is_tensor(outputs[1]):
        return [outputs[1]]
    return []


def logits_of(outputs: Any) -> list[Tensor]:
    """As `find_logits`.

    Raises:
        ConfigurationError: If the model gives none.
    """
    logits = find_logits(outputs)
    if not logits:
        raise ConfigurationError("this adversary compares logits, and the model gives none: use FreeLB or PGD")
    return logits


def valid_rows(logits: Tensor, inputs: Mapping[str, Any]) -> Tensor | None:
    """Which rows of `(batch, tokens, classes)` stand for real tokens; `None` where a row is an example."""
    mask = inputs.get("attention_mask")
    if logits.dim() < 3 or mask is None or mask.shape != logits.shape[:-1]:
        return None
    return mask


def without_labels(inputs: Mapping[str, Any], label_names: Iterable[str]) -> dict[str, Any]:
    """The batch without what only the loss needs."""
    return {key: value for key, value in inputs.items() if key not in set(label_names)}


def example_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """The task's loss of every example, `(batch,)`: cross entropy, or the squared error where there is one class."""
    if logits.shape[-1] == 1:
        return (logits.float().reshape(len(labels), -1) - labels.float().reshape(len(labels), -1)).square().sum(1)
    losses = F.cross_entropy(
        logits.float().reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="none", ignore_index=_IGNORED
    )
    return losses.reshape(len(labels), -1).sum(1)
