"""Natural noise: what hurried fingers, keyboards, scanners and forms do to a text. No attack, no model in the loop."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._files import write_json
from ..._provenance import describe_data
from ...errors import ConfigurationError
from ..fingerprints import derive_seed, describe_model, versions
from ..results import false_robustness as checks
from ..results.compare import Comparison
from ..results.example import plain, tokenizer_input
from ..results.metrics import wilson_interval
from ..sampling import Example, select_examples
from ..victim.model import Victim, evaluation_mode
from .noise_text import KINDS, SEVERITIES, add_noise, check_noise

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

SCHEMA = "hf_robust_tickets/noise"


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


@dataclass(frozen=True)
class NoiseResult:
    """Accuracy under natural noise.

    Attributes:
        clean_accuracy: Accuracy on the sample as it is, in [0, 1].
        cells: One entry per kind and severity.
        num_examples: Size of the sample.
        seed: Seed of the sample and of the noise.
        model: What was evaluated.
        settings: The arguments that bear on the figures.
        warnings: What a reader has to know.
    """

    clean_accuracy: float
    cells: tuple[NoiseCell, ...]
    num_examples: int
    seed: int = 0
    model: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

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

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        low, high = wilson_interval(round(self.clean_accuracy * self.num_examples), self.num_examples)
        return {
            "schema": SCHEMA,
            "schema_version": 1,
            "clean_accuracy": self.clean_accuracy,
            "clean_confidence_interval": [low, high],
            "num_examples": self.num_examples,
            "seed": self.seed,
            "cells": [cell.to_dict() for cell in self.cells],
            "model": dict(self.model),
            "settings": dict(self.settings),
            "versions": versions(),
            "warnings": list(self.warnings),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result as JSON, atomically."""
        write_json(Path(path), self.to_dict())


def evaluate_noise(
    model: PreTrainedModel,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    kinds: Sequence[str] = tuple(KINDS),
    severities: Sequence[int] = (1, 3, 5),
    *,
    num_examples: int | None = None,
    seed: int = 0,
    text_columns: str | Sequence[str] | None = None,
    label_column: str = "label",
    batch_size: int = 64,
    max_length: int | None = None,
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
        num_examples: Size of a seeded, stratified sample; None for all.
        seed: Seed of the sample and of the noise.
        text_columns: The text column or pair; None to guess.
        label_column: Column of the labels.
        batch_size: Most texts per forward call.
        max_length: Truncation in tokens; None for the tokenizer's limit.

    Returns:
        Accuracy per kind and severity, with intervals and paired tests.

    Raises:
        ConfigurationError: If a kind or severity is unknown.
        DataError: If data set and model do not fit.
    """
    check_noise(kinds, severities)
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
    cells = []
    with evaluation_mode(model):
        logits = victim([tokenizer_input(example.texts) for example in examples])
        clean = [int(row.argmax()) == e.label for row, e in zip(logits, examples)]
        for kind in dict.fromkeys(kinds):
            for severity in dict.fromkeys(severities):
                cells.append(_cell(victim, examples, clean, kind, severity, seed))
                victim.forget()
    warnings += checks.logit_scale_warnings(checks.margins(logits))
    for warning in warnings:
        logger.warning("%s", warning)
    return NoiseResult(
        clean_accuracy=sum(clean) / len(clean),
        cells=tuple(cells),
        num_examples=len(examples),
        seed=seed,
        model=describe_model(model),
        settings={
            "text_columns": list(examples[0].texts),
            "label_column": label_column,
            "max_length": victim.max_length,
            "words_changed": {str(severity): SEVERITIES[severity] for severity in severities},
            "data": describe_data(dataset),
        },
        warnings=tuple(warnings),
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
    return NoiseCell(kind, severity, Comparison(f"{kind}-{severity}", "clean", "noisy", *counts), changed, broken)
