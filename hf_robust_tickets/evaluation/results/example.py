"""What became of one example under one attack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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

    def __post_init__(self) -> None:
        """Lists, as JSON gives them, become tuples: an outcome that was read equals the one that was written."""
        for name in ("probabilities", "perturbed_probabilities"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))


def tokenizer_input(texts: Mapping[str, str]) -> str | tuple[str, ...]:
    """Column -> text, as a tokenizer takes it: a text, or a pair."""
    values = tuple(texts.values())
    return values[0] if len(values) == 1 else values


def plain(texts: Mapping[str, str]) -> Text:
    """Column -> text, as a report holds it: a text, or both with their columns."""
    return next(iter(texts.values())) if len(texts) == 1 else dict(texts)
