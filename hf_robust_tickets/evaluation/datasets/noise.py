"""Natural noise: typing errors, wrong keys, casing, white space and errors of text recognition. No attack."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Unpack

from ..._arguments import check_arguments
from ...errors import ConfigurationError
from ..config import EvaluationConfig, EvaluationSettings
from ..fingerprints import derive_seed, describe_model, describe_texts, versions
from ..results import false_robustness
from ..results.base import EvaluationResult, log_warnings
from ..results.compare import Comparison
from ..results.example import plain, tokenizer_input
from ..results.metrics import wilson_interval
from ..sampling import Example, select_examples
from ..victim.classifier import as_classifier
from ..victim.model import Victim, evaluation_mode
from ..victim.reading import unread_warnings
from .noise_text import KINDS, SEVERITIES, add_noise, check_noise

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class NoiseCell:
    """One kind of noise at one severity.

    Attributes:
        kind: One of `KINDS`.
        severity: 1 to 5.
        paired: Clean against noisy texts: both right, only clean, only noisy, neither; with interval and McNemar's
            test of the difference.
        changed: Texts that the noise changed.
        broken: Row -> noisy text, where the clean text was right and the noisy one is wrong.
    """

    kind: str
    severity: int
    paired: Comparison
    changed: int
    broken: Mapping[int, str | dict[str, str]] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Accuracy on the noisy texts, in [0, 1]."""
        return (self.paired.both + self.paired.only_second) / self.paired.num_examples

    @property
    def confidence_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson_interval(self.paired.both + self.paired.only_second, self.paired.num_examples)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        counts = {name: getattr(self.paired, name) for name in ("both", "only_first", "only_second", "neither")}
        return {
            "kind": self.kind,
            "severity": self.severity,
            "accuracy": self.accuracy,
            "confidence_interval": list(self.confidence_interval),
            "difference": self.paired.difference,
            "difference_interval": list(self.paired.confidence_interval),
            "p_value": self.paired.p_value,
            "right_with_both_clean_noisy_neither": list(counts.values()),
            "changed": self.changed,
            "broken": [{"index": index, "text": text} for index, text in self.broken.items()],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NoiseCell:
        """The inverse of `to_dict`."""
        kind, severity = values["kind"], values["severity"]
        counts = values["right_with_both_clean_noisy_neither"]
        broken = {entry["index"]: entry["text"] for entry in values["broken"]}
        return cls(kind, severity, _paired(kind, severity, counts), values["changed"], broken)


def _paired(kind: str, severity: int, counts: Sequence[int]) -> Comparison:
    return Comparison(f"{kind}-{severity}", "clean", "noisy", *counts)


@dataclass(frozen=True)
class NoiseResult(EvaluationResult, kind="noise"):
    """Accuracy under natural noise.

    Attributes:
        clean_accuracy: Accuracy on the sample as it is, in [0, 1].
        cells: One entry per kind and severity.
        num_examples: Size of the sample.
    """

    clean_accuracy: float
    cells: tuple[NoiseCell, ...]
    num_examples: int

    def accuracy(self, kind: str, severity: int) -> float:
        """Accuracy on noisy texts of one kind and severity, in [0, 1]."""
        for cell in self.cells:
            if (cell.kind, cell.severity) == (kind, severity):
                return cell.accuracy
        raise ConfigurationError(f"expected a kind and severity that were evaluated, got {kind!r}, {severity}")

    def to_table(self) -> list[dict[str, Any]]:
        """One row per kind and severity."""
        rows = []
        for cell in self.cells:
            low, high = cell.confidence_interval
            row = {"noise": cell.kind, "severity": cell.severity, "accuracy": f"{100 * cell.accuracy:.1f}"}
            row |= {"95 % interval": f"{100 * low:.1f}–{100 * high:.1f}"}
            row |= {
                "clean → noisy": f"{100 * cell.paired.difference:+.1f}",
                "McNemar's p": f"{cell.paired.p_value:.3g}",
            }
            rows.append(row)
        return rows

    def derived(self) -> dict[str, Any]:
        """The interval of the clean accuracy."""
        clean = wilson_interval(round(self.clean_accuracy * self.num_examples), self.num_examples)
        return {"clean_confidence_interval": list(clean)}

    def _encoded(self, name: str, value: Any) -> Any:
        return [cell.to_dict() for cell in value] if name == "cells" else super()._encoded(name, value)

    @classmethod
    def _decoded(cls, name: str, value: Any) -> Any:
        return tuple(map(NoiseCell.from_dict, value)) if name == "cells" else super()._decoded(name, value)


@check_arguments
def evaluate_noise(
    model: PreTrainedModel,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    severities: Sequence[int] = (1, 3, 5),
    config: EvaluationConfig | None = None,
    **settings: Unpack[EvaluationSettings],
) -> NoiseResult:
    """Measures accuracy on texts with natural noise, paired with the same texts without.

    All texts of an example get noise. It depends on seed, kind and row alone, not on the model: two models see the
    same noisy texts.

    Args:
        model: A sequence classifier; it is put into evaluation mode and back.
        dataset: One split of texts and labels.
        tokenizer: Its tokenizer.
        kinds: Any of typos, keyboard, casing, whitespace and ocr.
        severities: Any of 1 to 5: 5, 10, 20, 40 and 80 % of the words, one edit each.
        config: Settings that evaluations share.
        **settings: The same as keywords, see `EvaluationConfig`.

    Returns:
        Accuracy per kind and severity, with intervals and paired tests.

    Raises:
        ConfigurationError: If a kind or severity is unknown.
        DataError: If data set and model do not fit.
    """
    config = EvaluationConfig.merged(evaluate_noise, config, settings)
    model = as_classifier(model)
    check_noise(kinds, severities)
    examples = select_examples(dataset, model.config, config)
    victim = Victim(model, tokenizer, **config.victim_options)
    warnings = false_robustness.mode_warnings(model)
    cells = []
    with evaluation_mode(model):
        logits = victim([tokenizer_input(example.texts) for example in examples])
        clean = [int(row.argmax()) == e.label for row, e in zip(logits, examples)]
        for kind in dict.fromkeys(kinds):
            for severity in dict.fromkeys(severities):
                cells.append(_cell(victim, examples, clean, kind, severity, config.seed))
                victim.forget()
    warnings += false_robustness.answer_warnings(logits, [example.label for example in examples])
    warnings += unread_warnings([example.texts for example in examples], victim)
    log_warnings(warnings)
    words_changed = {str(severity): SEVERITIES[severity] for severity in severities}
    return NoiseResult(
        clean_accuracy=sum(clean) / len(clean),
        cells=tuple(cells),
        num_examples=len(examples),
        model=describe_model(model),
        settings=describe_texts(dataset, examples, config, victim.max_length) | {"words_changed": words_changed},
        seed=config.seed,
        sample_ids=tuple(example.index for example in examples),
        warnings=tuple(warnings),
        versions=versions(),
    )


def _cell(
    victim: Victim, examples: Sequence[Example], clean: Sequence[bool], kind: str, severity: int, seed: int
) -> NoiseCell:
    noisy = []
    for example in examples:
        rng = random.Random(derive_seed(seed, f"noise-{kind}-{severity}", example.index))
        noisy.append({name: add_noise(text, kind, severity, rng) for name, text in example.texts.items()})
    logits = victim([tokenizer_input(text) for text in noisy])
    right = [int(row.argmax()) == example.label for row, example in zip(logits, examples)]
    pairs = list(zip(clean, right))
    counts = [pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))]
    broken = {
        example.index: plain(text) for example, text, pair in zip(examples, noisy, pairs) if pair == (True, False)
    }
    changed = sum(text != example.texts for text, example in zip(noisy, examples))
    return NoiseCell(kind, severity, _paired(kind, severity, counts), changed, broken)
