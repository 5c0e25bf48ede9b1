"""What became of one example under one attack."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Text = str | dict[str, str]
"""One text, or `{column: text}` for tasks on pairs of texts."""


@dataclass(frozen=True)
class ExampleOutcome:
    """What became of one example under one recipe.

    Attributes:
        index: Row in the data set that was passed in.
        label: The true class, in the model's numbering.
        original: The text before the attack.
        perturbed: The text that the attack ended with; the original where it was skipped.
        outcome: "succeeded" (the attack fooled the model), "failed" (the model withstood), "skipped" (the model was
            wrong to begin with and was not attacked).
        queries: Texts that the attack asked the model about, the original among them.
        original_prediction: Class predicted for `original`.
        perturbed_prediction: Class predicted for `perturbed`.
        margin: Largest minus second largest logit for `original`.
        probabilities: Probability of each class for `original`; None in reports of schema version 1.
        perturbed_probabilities: The same for `perturbed`.
        flips: Tokens that were replaced, where the attack counts them.
        error: Why the row was not attacked, where the attack could not treat it; its outcome is then that of the model
            alone. A text that no tokenizer can read has the predictions -1 and no probabilities.
        class_names: Class -> name, for `str` alone: it is not written to files.
    """

    index: int
    label: int
    original: Text
    perturbed: Text
    outcome: Literal["succeeded", "failed", "skipped"]
    queries: int
    original_prediction: int
    perturbed_prediction: int
    margin: float = 0.0
    probabilities: tuple[float, ...] | None = None
    perturbed_probabilities: tuple[float, ...] | None = None
    flips: int | None = None
    error: str | None = None
    class_names: Mapping[int, str] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Lists, as JSON gives them, become tuples: an outcome that was read equals the one that was written."""
        for name in ("probabilities", "perturbed_probabilities"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))

    def __str__(self) -> str:
        """What happened, and the text before and after with the changed words in `[[...]]`."""
        if self.error is not None:
            return f"not attacked: {self.error}\ntext: {_joined(self.original)}"
        before, after = (self._name(label) for label in (self.original_prediction, self.perturbed_prediction))
        if self.outcome == "skipped":
            return f"skipped: the model says {before}, not {self._name(self.label)}\ntext: {_joined(self.original)}"
        said = f"{before} → {after}" if before != after else f"still {before}"
        texts = mark_changes(_joined(self.original), _joined(self.perturbed))
        return f"{self.outcome} after {self.queries} queries: {said}\nbefore: {texts[0]}\nafter:  {texts[1]}"

    def _name(self, label: int) -> str:
        return (self.class_names or {}).get(label, str(label))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: what files hold of it."""
        values = asdict(self)
        del values["class_names"]
        return values


def mark_changes(before: str, after: str) -> tuple[str, str]:
    """Both texts, with the words that differ in double brackets, as TextAttack shows them."""
    words = [re.findall(r"\s+|[^\s]+", text) for text in (before, after)]
    matcher = difflib.SequenceMatcher(None, *words, autojunk=False)
    parts: tuple[list[str], list[str]] = ([], [])
    for kind, *ends in matcher.get_opcodes():
        for side, (start, end) in enumerate((ends[:2], ends[2:])):
            text = "".join(words[side][start:end])
            parts[side].append(text if kind == "equal" or not text else f"[[{text}]]")
    return "".join(parts[0]), "".join(parts[1])


def _joined(text: Text) -> str:
    return text if isinstance(text, str) else " | ".join(f"{column}: {part}" for column, part in text.items())


def tokenizer_input(texts: Mapping[str, str]) -> str | tuple[str, ...]:
    """Column -> text, as a tokenizer takes it: a text, or a pair."""
    values = tuple(texts.values())
    return values[0] if len(values) == 1 else values


def plain(texts: Mapping[str, str]) -> Text:
    """Column -> text, as a report holds it: a text, or both with their columns."""
    return next(iter(texts.values())) if len(texts) == 1 else dict(texts)
