"""What a model puts out, whatever its task: logits, the rows of them that count, losses per example."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ..._compat import without_adapter
from ...adversaries import Regularizer
from ...errors import ConfigurationError

_IGNORED = -100
_CAUSAL = frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())


def find_logits(outputs: Any) -> list[Tensor]:
    """The logits, one tensor per head of the task (two for question answering); none where the model gives none."""
    for names in (("logits",), ("start_logits", "end_logits")):
        if isinstance(outputs, Mapping) and all(outputs.get(name) is not None for name in names):
            return [outputs[name] for name in names]
    if isinstance(outputs, tuple):
        # A loss comes first where there are labels; a replica's has one entry per device.
        found = next((each for each in outputs if torch.is_tensor(each) and each.dim() > 1), None)
        return [] if found is None else [found]
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
    mask = inputs.get("decoder_attention_mask" if "decoder_input_ids" in inputs else "attention_mask")
    if logits.dim() < 3 or mask is None or mask.shape != logits.shape[:-1]:
        return None
    return mask


def divergence(
    adversary: Regularizer, clean: list[Tensor], other: list[Tensor], inputs: dict[str, Any], kind: str
) -> Tensor:
    """`Regularizer.divergence`, summed over the heads of the task.

    Args:
        adversary: The method.
        clean: Logits of each head.
        other: Those of another pass.
        inputs: The batch; says which rows count.
        kind: What the logits are, see `kind_of_outputs`.
    """
    heads = [adversary.divergence(a, b, valid_rows(a, inputs), kind) for a, b in zip(clean, other, strict=True)]
    return torch.stack(heads).sum()


def kind_of_outputs(model: Any, logits: Sequence[Tensor], labels: Sequence[Tensor]) -> str:
    """What logits are: `"classes"`, `"labels"` (several at once) or `"numbers"`, as the task's loss takes them.

    Args:
        model: Its `config.problem_type` tells, which transformers sets in the first pass with labels.
        logits: Of each head.
        labels: Of each head; they tell where the configuration does not.
    """
    problem = getattr(getattr(model, "config", None), "problem_type", None)
    if problem == "regression" or (logits and logits[0].shape[-1] == 1 and problem is None):
        return "numbers"
    if problem == "multi_label_classification":
        return "labels"
    several = problem is None and logits and labels and labels[0].is_floating_point()
    return "labels" if several and labels[0].shape == logits[0].shape else "classes"


def without_labels(inputs: Mapping[str, Any], label_names: Iterable[str]) -> dict[str, Any]:
    """The batch without what only the loss needs."""
    return {key: value for key, value in inputs.items() if key not in set(label_names)}


def decoder_inputs(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the decoder of a model of text pairs makes of labels, and which of its positions count; else nothing."""
    while isinstance(getattr(model, "module", None), nn.Module):
        model = model.module
    prepare = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if prepare is None or "labels" not in inputs or "decoder_input_ids" in inputs:
        return {}
    labels = inputs["labels"]
    return {"decoder_input_ids": prepare(labels), "decoder_attention_mask": (labels != _IGNORED).long()}


def predicts_next_token(model: Any) -> bool:
    """Whether a model is a causal language model, which shifts its labels itself.

    Its loss function does not tell: transformers gives that of causal language models to all models whose class it
    does not know (multiple choice, heads of one's own), and to GPT-2's, whose name says nothing.
    """
    model = without_adapter(model)
    named = any(kind.__name__ in _CAUSAL for kind in type(model).__mro__)
    return named or getattr(model, "loss_type", None) == "ForCausalLM"


def is_regression(model: Any) -> bool:
    """Whether a model was told, or has found out, that its outputs are numbers, not classes."""
    return getattr(getattr(model, "config", None), "problem_type", None) == "regression"


def example_losses(logits: Tensor, labels: Tensor, next_token: bool = False, regression: bool = False) -> Tensor:
    """The task's loss of every example, `(batch,)`, without gradient of its own: to compare examples, not to train.

    Cross entropy, summed over the tokens of a sentence; the squared error where there is one class, or the outputs
    are numbers; binary cross entropy where the labels are as many as the classes.

    Args:
        logits: `(batch, classes)` or `(batch, tokens, classes)`.
        labels: `(batch,)`, `(batch, tokens)`, or of the shape of the logits. -100 and positions beyond the last class
            do not count.
        next_token: Whether the label of a token is the next one's (causal language models).
        regression: Whether several outputs are numbers.
    """
    logits, count = logits.float(), len(labels)
    if logits.shape[-1] == 1 or (regression and labels.shape == logits.shape):
        return (logits.reshape(count, -1) - labels.float().reshape(count, -1)).square().sum(1)
    if labels.shape == logits.shape and labels.is_floating_point():
        return F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none").reshape(count, -1).sum(1)
    if next_token and labels.dim() > 1:
        logits, labels = logits[:, :-1], labels[:, 1:]
    labels = labels.masked_fill(labels >= logits.shape[-1], _IGNORED)
    losses = F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="none", ignore_index=_IGNORED
    )
    return losses.reshape(count, -1).sum(1)


def certainties(logits: Sequence[Tensor], labels: Sequence[Tensor], model: Any) -> Tensor:
    """How much surer of the truth a model is than a guess, for every example, `(batch,)` in [0, 1].

    1 minus the loss over that of a guess, the logarithm of the number of classes, and at least 0; means over tokens,
    labels and heads of the task. 1 where the outputs are numbers, which nobody guesses.

    Args:
        logits: Of each head, as in `example_losses`.
        labels: Of each head.
        model: The model, not wrapped.
    """
    losses, guesses = [], []
    next_token, regression = predicts_next_token(model), is_regression(model)
    for given, truth in zip(logits, labels, strict=True):
        losses.append(example_losses(given, truth, next_token, regression))
        guesses.append(_guess(given, truth, next_token, regression))
    loss, guess = torch.stack(losses).sum(0), torch.stack(guesses).sum(0)
    return torch.where(guess > 0, 1 - loss / guess, 1).clamp(0, 1)


def _guess(logits: Tensor, labels: Tensor, next_token: bool, regression: bool) -> Tensor:
    """What `example_losses` is for equal probabilities, `(batch,)`; 0 for numbers."""
    count, classes = len(labels), logits.shape[-1]
    if classes == 1 or (regression and labels.shape == logits.shape):
        return logits.new_zeros(count, dtype=torch.float32)
    if labels.shape == logits.shape and labels.is_floating_point():
        return torch.full((count,), math.log(2) * labels[0].numel(), device=logits.device)
    counted = labels[:, 1:] if next_token and labels.dim() > 1 else labels
    return ((counted >= 0) & (counted < classes)).reshape(count, -1).sum(1) * math.log(classes)


def share_of_flips(
    first: Sequence[Tensor], last: Sequence[Tensor], labels: Sequence[Tensor], inputs: Mapping[str, Any], model: Any
) -> Tensor | None:
    """Share of the first head's predictions that differ between two passes; `None` where no classes are predicted.

    What counts is what the loss counts: neither padding nor tokens labelled -100. With several labels at once, every
    one of them is a prediction.

    Args:
        first: Logits of one pass, one tensor per head.
        last: Those of another.
        labels: The labels of each head.
        inputs: The batch.
        model: Says what its outputs are.
    """
    if not first or not last or first[0].shape != last[0].shape:
        return None
    kind = kind_of_outputs(model, first, labels)
    before, after, label = first[0], last[0], labels[0] if labels else None
    if kind == "labels":
        return ((before > 0) != (after > 0)).float().mean()
    if kind == "numbers" or before.shape[-1] == 1:
        return None
    rows = valid_rows(before, inputs)
    counted = torch.ones(before.shape[:-1], dtype=torch.bool, device=before.device) if rows is None else rows.bool()
    if label is not None and label.shape == counted.shape:
        if label.dim() > 1 and predicts_next_token(model):
            label = F.pad(label[:, 1:], (0, 1), value=_IGNORED)
        counted = counted & (label != _IGNORED)
    changed = (before.argmax(-1) != after.argmax(-1)) & counted
    return changed.sum() / counted.sum().clamp_min(1)
