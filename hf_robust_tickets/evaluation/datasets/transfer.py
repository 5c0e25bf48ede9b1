"""Adversarial examples made on one model, replayed on another."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._files import write_json
from ...errors import DataError
from ..fingerprints import describe_model, versions
from ..results import false_robustness as checks
from ..results.metrics import wilson_interval
from ..results.report import RecipeResult, Text
from ..sampling import match_classes
from ..victim.model import TextInput, Victim, evaluation_mode

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


logger = logging.getLogger(__name__)

SCHEMA = "hf_robust_tickets/transfer"


@dataclass(frozen=True)
class TransferResult:
    """How a model fares on examples that fooled another.

    A model that withstands attacks on itself but falls for examples made on a plain one is not robust: its own
    attacks were misled.

    Attributes:
        recipe: The attack that made the examples.
        num_examples: Examples that fooled the model they were made on.
        originally_right: How many of their originals the replaying model classifies right.
        still_right: How many of those it classifies right after the attack too.
        fooled: Rows that it classified right before and wrong after.
        warnings: Signs of false robustness, of the attack on itself too where that was handed over.
        model: What they were replayed on.
        source: What they were made on.
        settings: The arguments that bear on the figures.
    """

    recipe: str
    num_examples: int
    originally_right: int
    still_right: int
    fooled: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    model: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Of the examples it classified right before, the share that it still does, in [0, 1]; NaN for none."""
        return self.still_right / self.originally_right if self.originally_right else math.nan

    @property
    def confidence_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson_interval(self.still_right, self.originally_right)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        accuracy = None if math.isnan(self.accuracy) else self.accuracy
        figures = {"accuracy": accuracy, "confidence_interval": list(self.confidence_interval)}
        lists = {"fooled": list(self.fooled), "warnings": list(self.warnings)}
        return {"schema": SCHEMA, "schema_version": 1, **vars(self), **figures, **lists, "versions": versions()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result as JSON, atomically."""
        write_json(Path(path), self.to_dict())


def evaluate_transfer(
    result: RecipeResult,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch_size: int = 64,
    max_length: int | None = None,
    own: RecipeResult | None = None,
) -> TransferResult:
    """Replays a recipe's successful attacks on another model with the same classes.

    Labels of a result that is from a report are matched to this model's classes by name; where one side has no names,
    or none are shared, class numbers are taken as they are.

    Args:
        result: Outcomes on the model that was attacked, e.g. `report["textfooler"]`.
        model: The model to replay them on; it is put into evaluation mode and back.
        tokenizer: Its tokenizer.
        batch_size: Most texts per forward call.
        max_length: Truncation in tokens; None for the tokenizer's limit.
        own: What the same recipe did to this model when it was attacked itself, on the same data: replayed texts that
            do more damage are a sign of false robustness, and give a warning.

    Returns:
        How many of the examples fool this model too.

    Raises:
        DataError: If the model has fewer classes than the labels need, or only some of the other's names.
    """
    fooled = [outcome for outcome in result.outcomes if outcome.outcome == "succeeded"]
    labels = _labels([outcome.label for outcome in fooled], result, model)
    victim = Victim(model, tokenizer, batch_size=batch_size, max_length=max_length)
    with evaluation_mode(model):
        clean = victim([_input(outcome.original) for outcome in fooled])
        after = victim([_input(outcome.perturbed) for outcome in fooled]).argmax(dim=1).tolist()
    right = [label == prediction for label, prediction in zip(labels, clean.argmax(dim=1).tolist())]
    still = [was and label == now for was, label, now in zip(right, labels, after)]
    attacked = [outcome.index for was, outcome in zip(right, fooled) if was]
    broken = tuple(outcome.index for was, now, outcome in zip(right, still, fooled) if was and not now)
    warnings = checks.mode_warnings(model) + checks.logit_scale_warnings(checks.margins(clean))
    if own is not None:
        kinds = {outcome.index: outcome.outcome for outcome in own.outcomes if outcome.outcome != "skipped"}
        rows = [index for index in attacked if index in kinds]
        damage = sum(kinds[index] == "succeeded" for index in rows)
        replayed = len(set(broken) & set(rows))
        warnings += checks.transfer_warnings(result.recipe, len(rows), replayed, damage)
    for warning in warnings:
        logger.warning("%s", warning)
    return TransferResult(
        result.recipe,
        len(fooled),
        sum(right),
        sum(still),
        broken,
        tuple(warnings),
        model=describe_model(model),
        source=dict(result.model),
        settings={"max_length": victim.max_length},
    )


def _labels(labels: list[int], result: RecipeResult, model: PreTrainedModel) -> list[int]:
    """Labels in the numbering of the model that replays."""
    names = result.model.get("id2label", {})
    mapping = match_classes([names[key] for key in sorted(names, key=int)], model.config) if names else None
    if mapping is not None:
        return [mapping[label] for label in labels]
    highest = max(labels, default=0)
    if highest >= model.config.num_labels:
        raise DataError(f"expected a model with more than {highest} classes, got {model.config.num_labels}")
    return labels


def _input(text: Text) -> TextInput:
    return text if isinstance(text, str) else tuple(text.values())
