"""Accuracy on texts as they are: AdvGLUE and other data sets that were made hard beforehand."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._files import write_json
from ..._provenance import describe_data
from ..fingerprints import describe_model, versions
from ..results import false_robustness as checks
from ..results.calibration import Calibration
from ..results.example import tokenizer_input
from ..results.metrics import wilson_interval
from ..sampling import select_examples
from ..victim.model import Victim, evaluation_mode

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

SCHEMA = "hf_robust_tickets/accuracy"


@dataclass(frozen=True)
class AccuracyResult:
    """Accuracy and calibration on a data set.

    Attributes:
        calibration: Accuracy, calibration and risk-coverage.
        model: What was evaluated.
        settings: The arguments that bear on the figures, and the data set.
        warnings: What a reader has to know.
    """

    calibration: Calibration
    model: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        """Share of texts that are classified right, in [0, 1]."""
        return self.calibration.accuracy

    @property
    def num_examples(self) -> int:
        """Size of the sample."""
        return self.calibration.num_examples

    @property
    def confidence_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson_interval(round(self.accuracy * self.num_examples), self.num_examples)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "schema": SCHEMA,
            "schema_version": 1,
            **self.calibration.to_dict(),
            "confidence_interval": list(self.confidence_interval),
            "model": dict(self.model),
            "settings": dict(self.settings),
            "versions": versions(),
            "warnings": list(self.warnings),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result as JSON, atomically."""
        write_json(Path(path), self.to_dict())


def evaluate_accuracy(
    model: PreTrainedModel,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    num_examples: int | None = None,
    seed: int = 0,
    text_columns: str | Sequence[str] | None = None,
    label_column: str = "label",
    batch_size: int = 64,
    max_length: int | None = None,
) -> AccuracyResult:
    """Measures accuracy and calibration without an attack; arguments as in `evaluate_noise`.

    Raises:
        DataError: If data set and model do not fit.
    """
    examples = select_examples(
        dataset,
        model.config,
        num_examples=num_examples,
        seed=seed,
        text_columns=text_columns,
        label_column=label_column,
    )
    victim = Victim(model, tokenizer, batch_size=batch_size, max_length=max_length)
    warnings = checks.mode_warnings(model)
    with evaluation_mode(model):
        logits = victim([tokenizer_input(example.texts) for example in examples])
    warnings += checks.logit_scale_warnings(checks.margins(logits))
    for warning in warnings:
        logger.warning("%s", warning)
    return AccuracyResult(
        calibration=Calibration.of(logits.double().softmax(dim=1).tolist(), [example.label for example in examples]),
        model=describe_model(model),
        settings={
            "text_columns": list(examples[0].texts),
            "label_column": label_column,
            "max_length": victim.max_length,
            "seed": seed,
            "data": describe_data(dataset),
        },
        warnings=tuple(warnings),
    )
