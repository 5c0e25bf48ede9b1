"""Accuracy on texts as they are: AdvGLUE and other data sets that were made hard beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Unpack

from ..._arguments import check_arguments
from ..config import EvaluationConfig, EvaluationSettings
from ..fingerprints import describe_model, describe_texts, versions
from ..results import false_robustness
from ..results.base import EvaluationResult, log_warnings
from ..results.calibration import Calibration
from ..results.example import tokenizer_input
from ..results.metrics import wilson_interval
from ..sampling import select_examples
from ..victim.classifier import as_classifier
from ..victim.model import Victim, evaluation_mode
from ..victim.reading import unread_warnings

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class AccuracyResult(EvaluationResult, kind="accuracy"):
    """Accuracy and calibration on a data set.

    Attributes:
        calibration: Accuracy, calibration and risk-coverage.
    """

    calibration: Calibration

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

    def derived(self) -> dict[str, Any]:
        """The interval."""
        return {"confidence_interval": list(self.confidence_interval)}

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, the figures of the calibration among them."""
        values = super().to_dict()
        return {**values.pop("calibration"), **values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], origin: str = "") -> AccuracyResult:
        """The inverse of `to_dict`."""
        names = [each.name for each in fields(Calibration)]
        if isinstance(values, dict) and set(names) <= set(values):
            values = {**values, "calibration": {name: values[name] for name in names}}
        return super().from_dict(values, origin)

    def _encoded(self, name: str, value: Any) -> Any:
        return value.to_dict() if name == "calibration" else super()._encoded(name, value)

    @classmethod
    def _decoded(cls, name: str, value: Any) -> Any:
        return Calibration.from_dict(value) if name == "calibration" else super()._decoded(name, value)


@check_arguments
def evaluate_accuracy(
    model: PreTrainedModel,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    config: EvaluationConfig | None = None,
    **settings: Unpack[EvaluationSettings],
) -> AccuracyResult:
    """Measures accuracy and calibration without an attack.

    Args:
        model: A sequence classifier; it is put into evaluation mode and back.
        dataset: One split of texts and labels.
        tokenizer: Its tokenizer.
        config: Settings that evaluations share.
        **settings: The same as keywords, see `EvaluationConfig`.

    Raises:
        ConfigurationError: If a setting cannot work.
        DataError: If data set and model do not fit.
    """
    config = EvaluationConfig.merged(evaluate_accuracy, config, settings)
    model = as_classifier(model)
    examples = select_examples(dataset, model.config, config)
    victim = Victim(model, tokenizer, **config.victim_options)
    warnings = false_robustness.mode_warnings(model)
    with evaluation_mode(model):
        logits = victim([tokenizer_input(example.texts) for example in examples])
    warnings += false_robustness.answer_warnings(logits, [example.label for example in examples])
    warnings += unread_warnings([example.texts for example in examples], victim)
    log_warnings(warnings)
    return AccuracyResult(
        calibration=Calibration.of(logits.double().softmax(dim=1).tolist(), [example.label for example in examples]),
        model=describe_model(model),
        settings=describe_texts(dataset, examples, config, victim.max_length),
        seed=config.seed,
        sample_ids=tuple(example.index for example in examples),
        warnings=tuple(warnings),
        versions=versions(),
    )
