"""The model that is evaluated: a classifier, whatever it is wrapped in, and its logits, whatever they come in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ConfigurationError

_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")
_ONE_CLASS = (None, "single_label_classification")


def as_classifier(model: Any) -> Any:
    """The classifier inside a wrapper for several devices, checked to be one that evaluations can judge.

    Args:
        model: What was handed over.

    Raises:
        ConfigurationError: If it is no model, has no configuration that says what its classes are, was quantised by
            torch, or does not choose one class per input.
    """
    while isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        model = model.module
    if not isinstance(model, nn.Module):
        raise ConfigurationError(
            f"expected a model, got {type(model).__name__}: load it first, "
            "AutoModelForSequenceClassification.from_pretrained(...)"
        )
    config = getattr(model, "config", None)
    if not isinstance(getattr(config, "num_labels", None), int):
        raise ConfigurationError(
            f"expected a classifier of transformers, got {type(model).__name__} without a configuration of its "
            "classes: derive it from PreTrainedModel, with config.num_labels and config.id2label"
        )
    if name := next((type(part).__name__ for part in model.modules() if _is_quantised(part)), None):
        raise ConfigurationError(
            f"expected weights that torch has not quantised, got a {name} of torch.ao: its answers depend on the "
            "other inputs of a batch; evaluate the model that it was made from"
        )
    problem = getattr(config, "problem_type", None)
    if config.num_labels < 2 or problem not in _ONE_CLASS:
        raise ConfigurationError(
            f"expected a classifier with one of two or more classes per input, got num_labels={config.num_labels} and "
            f"problem_type={problem!r}: accuracy has no meaning for it (several labels: evaluate_label_sets)"
        )
    return model


def class_logits(outputs: Any) -> Tensor:
    """The logits among what a model put out: an output object, a tuple (`return_dict=False`), or a bare tensor.

    Raises:
        ConfigurationError: If there are none, as from a model without the head of a classifier.
    """
    if torch.is_tensor(outputs):
        return outputs
    found = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    if found is None and type(outputs) in (tuple, list) and outputs and torch.is_tensor(outputs[0]):
        found = outputs[0]
    if torch.is_tensor(found):
        return found
    got = ", ".join(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
    raise ConfigurationError(
        f"expected logits of the model, got {got}: evaluate a classifier, AutoModelForSequenceClassification, or one "
        "for images"
    )


def checked_logits(outputs: Any, classes: int) -> Tensor:
    """As `class_logits`, (examples, classes), float32.

    Raises:
        ConfigurationError: If they are of another shape: one row per token, or other classes than the configuration's.
    """
    logits = class_logits(outputs)
    if logits.dim() != 2 or logits.shape[1] != classes:
        raise ConfigurationError(
            f"expected logits of the shape (examples, {classes}), as config.num_labels says, got "
            f"{tuple(logits.shape)}: evaluate a classifier of whole inputs"
        )
    return logits.float()


def _is_quantised(module: nn.Module) -> bool:
    return type(module).__module__.startswith(_QUANTISED)
